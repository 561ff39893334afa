"""Trained networks as safetensors files in half precision, and the one that comes with the package.

Such a file holds what is needed to use and to score a network, not what is needed to train it on: half the size of
best.ckpt, readable by any program that knows safetensors, and without code.
"""

import json
import zlib
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from fer_lightning.data.datamodule import DATA_STATE
from fer_lightning.results.files import write_file

SUFFIX = ".safetensors"
META = "fer_lightning"  # the one entry of the file's metadata: JSON of the parts of a checkpoint that are no tensors
CRC32 = "crc32"  # in it: of all the rest, as the form has no checksum of its own; the first files had none
WEIGHTS = Path(__file__).parents[1] / "weights"
PACKAGED = "published_cnn"  # the recipe of the network that comes with the package, and its file's name
DIGESTS = "training_digests"  # of the checkpoint's data state, beside the network's tensors


def packaged() -> Path:
    """The file of the network that comes with the package, as `checkpoint.load` takes it."""
    return WEIGHTS / f"{PACKAGED}{SUFFIX}"


def write_weights(checkpoint: dict[str, Any], target: Path) -> None:
    """Write a checkpoint's network to `target`, its floating-point tensors as float16, which they must fit into.

    OverflowError where one does not.
    """
    tensors: dict[str, Tensor] = {}
    for name, tensor in checkpoint["state_dict"].items():
        half = tensor.half() if tensor.is_floating_point() else tensor
        if not half.isfinite().all():
            raise OverflowError(f"{name} does not fit into float16")
        tensors[name] = half.contiguous()
    data = dict(checkpoint[DATA_STATE])
    tensors[DIGESTS] = data.pop(DIGESTS)
    about = {"network": checkpoint["network"], "hyper_parameters": checkpoint["hyper_parameters"], "data": data}
    metadata = {META: json.dumps({**about, CRC32: _crc32(about, tensors)})}  # of several entries the order is random
    write_file(target, save(tensors, metadata))  # `save_file`'s is for its owner alone


def _crc32(about: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    crc = zlib.crc32(json.dumps(about).encode())
    for name, tensor in sorted(tensors.items()):
        crc = zlib.crc32(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode(), crc)
        crc = zlib.crc32(tensor.contiguous().view(-1).view(torch.uint8).numpy().data, crc)
    return f"{crc:08x}"


def read_weights(path: Path) -> dict[str, Any]:
    """The checkpoint that `write_weights` was given, tensors as float32; null where the metadata lacks a part of it.

    ValueError where the file cannot be read or its metadata is not ours.
    """
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no mapping)
        about = json.loads(metadata.get(META, "null"))
        if isinstance(about, dict) and CRC32 in about and about.pop(CRC32) != _crc32(about, tensors):
            raise ValueError("its checksum is of other content")
    except (SafetensorError, OSError, RecursionError, MemoryError) as error:
        raise ValueError(str(error)) from None
    if not isinstance(about, dict):
        raise ValueError(f"its metadata has no JSON object {META!r}")
    data, digests = about.get("data"), tensors.pop(DIGESTS, None)
    return {
        "network": about.get("network"),
        "hyper_parameters": about.get("hyper_parameters"),
        "state_dict": {
            name: tensor.float() if tensor.dtype == torch.float16 else tensor for name, tensor in tensors.items()
        },
        DATA_STATE: {**data, DIGESTS: digests} if isinstance(data, dict) else data,
    }
