"""From a checkpoint to class probabilities: what training, evaluation and every later command share."""

import importlib
import pickle
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fer_lightning.augment import Normalize
from fer_lightning.data.datamodule import EVAL_BATCH, FERDataModule
from fer_lightning.data.faces import CLASSES
from fer_lightning.errors import UserError
from fer_lightning.models import EmotionClassifier
from fer_lightning.paths import best_checkpoint

DATA_STATE = FERDataModule.__qualname__  # where Lightning keeps the data module's state


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's dictionary, on the CPU, read without running code in it. UserError where it is none of ours."""
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise UserError(f"{path}: not a readable checkpoint ({str(error).splitlines()[0]})") from None
    if not isinstance(checkpoint, dict) or "network" not in checkpoint or DATA_STATE not in checkpoint:
        raise UserError(f"{path}: not a checkpoint of fer_lightning (it names no network)")
    return checkpoint


@dataclass
class Classifier:
    """A trained network with what it must know of its data."""

    model: EmotionClassifier
    normalize: Normalize
    data: dict[str, Any]  # FERDataModule.state_dict() of its training

    def probabilities(self, pixels: np.ndarray, precision: str = "32-true") -> np.ndarray:
        """float32 (N, 7) from uint8 (N, 48, 48)."""
        return predict(self.model, self.normalize, pixels, precision)


def load(path: Path) -> Classifier:
    """The network of a checkpoint file or run folder, in eval mode on the CPU. UserError where it cannot be had."""
    checkpoint = read_checkpoint(best_checkpoint(path))
    data = checkpoint[DATA_STATE]
    if tuple(data["classes"]) != CLASSES:
        raise UserError(f"{path}: its classes are {data['classes']}; this version knows {list(CLASSES)}")
    module, _, name = checkpoint["network"].rpartition(".")
    try:
        network = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        raise UserError(f"{path}: its network {checkpoint['network']} is not installed here") from None
    if not (isinstance(network, type) and issubclass(network, EmotionClassifier)):
        raise UserError(f"{path}: its network {checkpoint['network']} is no EmotionClassifier")
    model = network(**checkpoint["hyper_parameters"])
    model.load_state_dict(checkpoint["state_dict"])
    return Classifier(model.eval(), Normalize(data["mean"], data["std"]), data)


@torch.inference_mode()
def predict(model: EmotionClassifier, normalize: Normalize, pixels: np.ndarray, precision: str) -> np.ndarray:
    """Class probabilities, float32 (N, 7), of uint8 (N, 48, 48), on the model's device; the model is left in eval mode.

    precision: Lightning's name of it; "bf16-mixed" computes as in such a training, everything else in float32.
    """
    model.eval()
    device = model.device
    mixed = precision == "bf16-mixed"
    results = [np.empty((0, len(CLASSES)), np.float32)]
    with torch.autocast(device.type, torch.bfloat16) if mixed else nullcontext():
        for start in range(0, len(pixels), EVAL_BATCH):
            chunk = torch.from_numpy(np.array(pixels[start : start + EVAL_BATCH])).to(device)
            faces = normalize(chunk.unsqueeze(1).float() / 255)  # (B, 1, 48, 48)
            results.append(model(faces).float().softmax(1).cpu().numpy())
    return np.concatenate(results)
