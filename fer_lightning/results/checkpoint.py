"""From a checkpoint to class probabilities: what training, evaluation and every later command share."""

import importlib
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fer_lightning.data.augment import Normalize
from fer_lightning.data.datamodule import DATA_STATE, EVAL_BATCH, Batches, shared_tensor, unit
from fer_lightning.data.faces import CLASSES
from fer_lightning.errors import UserError
from fer_lightning.models import EmotionClassifier
from fer_lightning.results.paths import best_checkpoint
from fer_lightning.results.weights import SUFFIX, read_weights

TTA_SHIFT = 2  # pixels
TTA_COPIES = 10
MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The checkpoint's dictionary, on the CPU, read without running code in it. UserError where it is none of ours.

    Of a safetensors file of ours (see `fer_lightning.results.weights`), what it holds of one.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such checkpoint")
    if path.suffix == SUFFIX:
        try:
            return read_weights(path)
        except ValueError as error:
            raise UserError(f"{path}: no weights of fer_lightning, or damaged ones: {error}") from None
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler stumbles over files of another kind in some ten ways
        reason = type(error).__name__  # its message would tell to load the file without weights_only
        raise UserError(f"{path}: not a readable checkpoint, or a damaged one (torch.load: {reason})") from None
    if not isinstance(checkpoint, dict) or "network" not in checkpoint or DATA_STATE not in checkpoint:
        raise UserError(f"{path}: not a checkpoint of fer_lightning (it names no network)")
    return checkpoint


@dataclass
class Classifier:
    """A trained network with what it must know of its data."""

    model: EmotionClassifier
    normalize: Normalize
    data: dict[str, Any]  # FERDataModule.state_dict() of its training

    @torch.inference_mode()
    def probabilities(
        self,
        pixels: np.ndarray,
        precision: str = "32-true",
        tta: bool = False,
        where: np.ndarray | None = None,
        after_batch: Callable[[int], None] = lambda images: None,
    ) -> np.ndarray:
        """Class probabilities, float32 (N, 7), of uint8 (N, 48, 48), on the model's device; it stays in eval mode.

        precision: Lightning's name of it, one of MIXED to compute as such a training does; float32 is everything else.
        tta: the mean over the copies of each image that `tta_copies` makes, at as many times the cost.
        where: int64 (N,) into `pixels`, if not all are meant. after_batch: called with the number of images done.

        The figures are those of `trainer.predict` on a FERDataModule: the same batches through the same step. Only the
        trainer is missing, which a single picture has no need of, nor one process of several at the end of a training.
        """
        self.model.eval()
        device = self.model.device
        positions = torch.arange(len(pixels)) if where is None else torch.from_numpy(where)
        results = [np.empty((0, len(CLASSES)), np.float32)]
        with torch.autocast(device.type, MIXED[precision]) if precision in MIXED else nullcontext():
            for (batch,) in Batches([shared_tensor(np.ascontiguousarray(pixels))], positions, EVAL_BATCH):
                faces = self.normalize(unit(batch.to(device)))  # (B, 1, 48, 48)
                copies = tta_copies(faces) if tta else [faces]
                # one copy at a time: no more memory for activations than without
                each = [self.model.predict_step((copy,)) for copy in copies]
                results.append(torch.stack(each).mean(0).cpu().numpy())
                after_batch(len(batch))
        return np.concatenate(results)


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
    try:
        model = network(**checkpoint["hyper_parameters"])
        model.load_state_dict(checkpoint["state_dict"])
    except (TypeError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"{path}: its {name} is another than the one installed here: {reason}") from None
    return Classifier(model.eval(), Normalize(data["mean"], data["std"]), data)


def tta_copies(faces: Tensor) -> list[Tensor]:
    """The faces and their mirror images, each in place and shifted: TTA_COPIES times float (B, 1, H, W).

    A shift moves by TTA_SHIFT pixels to the left, right, top or bottom; the border's pixels fill what it opens. A
    network must know such changes from training: the DNN with aug=none lost 0.7 points of validation accuracy by it.
    """
    p = TTA_SHIFT
    height, width = faces.shape[-2:]
    padded = F.pad(faces, (p, p, p, p), mode="replicate")
    corners = ((p, p), (p, 0), (p, 2 * p), (0, p), (2 * p, p))  # of the windows, (p, p) being the image in place
    shifted = [padded[..., y : y + height, x : x + width] for y, x in corners]
    return [copy for image in shifted for copy in (image, image.flip(-1))]
