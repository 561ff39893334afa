"""Put what the page to try a network needs into the package: python -m bench.web TARBALL WHEEL

TARBALL: onnxruntime-web 1.30.0's (`npm pack onnxruntime-web@1.30.0`). WHEEL: onnxruntime 1.30.0's, for the notices of
what both contain (`pip download --no-deps onnxruntime==1.30.0`). Writes the smallest build, for CPUs, the notices and
YuNet as an ONNX file to fer_lightning/photographs/web/, each with gzip, unless the tarball is another one.
"""

import argparse
import gzip
import hashlib
import sys
import tarfile
import zipfile
from pathlib import Path

import torch

from fer_lightning.errors import UserError, run_command
from fer_lightning.photographs.detector import MULTIPLE, YuNet, yunet
from fer_lightning.photographs.web_page import DETECTOR, NOTICES, RUNTIME, WASM, WEB
from fer_lightning.results.onnx_file import OPSET, forget_origin

SHA256 = "d2228df7e4616bc3348bf504ee888f3bec43789a273f0a63f3e68d203ce3bf71"
FILES = {RUNTIME: "package/dist/ort.wasm.bundle.min.mjs", WASM: "package/dist/ort-wasm-simd-threaded.wasm"}


def runtime(tarball: Path) -> dict[str, bytes]:
    """The files of onnxruntime-web by our names. UserError where the tarball is another one."""
    try:
        content = tarball.read_bytes()
    except OSError as error:
        raise UserError(f"{tarball}: {error.strerror}") from None
    if (found := hashlib.sha256(content).hexdigest()) != SHA256:
        raise UserError(f"{tarball}: its SHA-256 is {found}; right: {SHA256}")
    with tarfile.open(tarball) as archive:
        read = {name: archive.extractfile(member) for name, member in FILES.items()}
        return {name: file.read() for name, file in read.items() if file}


def to_onnx(model: YuNet) -> bytes:
    """The detector from `picture`, float32 (1, 3, H, W), to `cells`, float32 (1, cells, 15): see `YuNet`."""
    height, width = (MULTIPLE * torch.export.Dim(name, max=256) for name in ("rows", "columns"))
    program = torch.onnx.export(
        model,
        (torch.zeros(1, 3, 2 * MULTIPLE, 3 * MULTIPLE),),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=["picture"],
        output_names=["cells"],
        dynamic_shapes=({2: height, 3: width},),
    )
    assert program is not None
    made = program.model_proto
    forget_origin(made.graph)
    return made.SerializeToString()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.web", description=__doc__)
    parser.add_argument("tarball", metavar="TARBALL", type=Path)
    parser.add_argument("wheel", metavar="WHEEL", type=zipfile.ZipFile)
    given = parser.parse_args()

    def work() -> None:
        notices = given.wheel.read("onnxruntime/ThirdPartyNotices.txt")
        for name, content in {**runtime(given.tarball), NOTICES: notices, DETECTOR: to_onnx(yunet())}.items():
            path = WEB / name
            path.write_bytes(gzip.compress(content, mtime=0))
            print(f"{path}: {path.stat().st_size:,} bytes", file=sys.stderr)

    run_command(work)


if __name__ == "__main__":
    main()
