"""`Teachers`: trained networks whose mean probabilities for a training batch another network learns from."""

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from fer_lightning.data.datamodule import FERDataModule
from fer_lightning.errors import UserError
from fer_lightning.results.checkpoint import Classifier
from fer_lightning.training.pretrained import digest, open_pretrained


class Teachers:
    """Networks in eval mode; each sees the very pixels that the student sees, normalized as in its own training.

    mean, std: of the student's normalization. temperature: by which logits are divided. No nn.Module, so that a student
    that refers to it neither trains nor saves them.

    Asked once about each training image, as it is, they cost little where the student is the smaller network: asked at
    every step, the published CNN made a DNN's epoch 114 s instead of 10 (docs/results.md). Where it
    can be paid for, the same pixels are better, see Beyer et al. (2022), https://arxiv.org/abs/2106.05237
    """

    def __init__(self, classifiers: Sequence[Classifier], mean: float, std: float, temperature: float) -> None:
        self.classifiers, self.mean, self.std, self.temperature = list(classifiers), mean, std, temperature
        for classifier in self.classifiers:
            classifier.model.requires_grad_(False)

    @cached_property
    def digests(self) -> list[str]:
        """What tells these networks from others, wherever their files are; in an order of its own."""
        return sorted(map(digest, self.classifiers))

    def to(self, device: torch.device) -> None:
        for classifier in self.classifiers:
            classifier.model.to(device)

    @torch.no_grad()
    def probabilities(self, faces: Tensor) -> Tensor:
        """The mean over the teachers, float (B, 7), for faces float (B, 1, 48, 48), normalized as the student's."""
        each = []
        for classifier in self.classifiers:
            theirs = classifier.normalize
            seen = faces
            if (theirs.mean, theirs.std) != (self.mean, self.std):
                seen = theirs(faces * self.std + self.mean)
            each.append((classifier.model(seen).float() / self.temperature).softmax(1))
        return torch.stack(each).mean(0)

    def soft_targets(self, pixels: np.ndarray, precision: str) -> np.ndarray:
        """The same of images as they are: float32 (N, 7) from uint8 (N, 48, 48). precision: see `Classifier`."""
        each = []
        for classifier in self.classifiers:
            sharp = classifier.probabilities(pixels, precision)
            soft = np.maximum(sharp, np.finfo(np.float32).tiny) ** (1 / self.temperature)  # softmax(logits / T) · const
            each.append(soft / soft.sum(axis=1, keepdims=True))
        return np.mean(each, axis=0)


def open_teachers(paths: Sequence[str], datamodule: FERDataModule, temperature: float) -> Teachers:
    """The networks of checkpoint files or run folders. UserError where one cannot be had, would not be honest, or is
    trained on other crops.

    From a teacher that has learned the images that the student is validated on, it hears of their labels.
    """
    classifiers = [open_pretrained("distill.teachers", path, datamodule) for path in paths]
    for path, classifier in zip(paths, classifiers, strict=True):
        if classifier.aligned != datamodule.faces.aligned:
            crop = "aligned" if classifier.aligned else "null"
            raise UserError(
                f"distill.teachers: {path} was trained with data.crop={crop}, and sees what its student sees; take one "
                "of the student's crop"
            )
    return Teachers(classifiers, datamodule.normalize.mean, datamodule.normalize.std, temperature)
