"""From networks and images to probabilities."""

import sys
from collections.abc import Sequence

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from fer_lightning.data.faces import Faces
from fer_lightning.data.splits import Splits
from fer_lightning.photographs.faces import realigned
from fer_lightning.results.members import Member

Chances = dict[str, np.ndarray]  # of each split, float32 (N, 7)


def predict(
    faces: Faces, sides: Sequence[tuple[Sequence[Member], Splits]], tta: str | None, device: torch.device
) -> list[tuple[Chances, Chances]]:
    """For each side the mean of its members' class probabilities for each of its splits: with `tta`, and without.

    tta: "shifted" or "aligned", see evaluation.TTA; None: both are the same. A terminal is shown how far they are.
    """
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        crops = _crops(faces, sides, bar) if tta == "aligned" else {}
        images = sum(len(members) * len(where) for members, splits in sides for where in splits.values())
        task = bar.add_task("scoring", total=2 * images if tta else images)

        def mean(members: Sequence[Member], pixels: np.ndarray, where: np.ndarray, shifted: bool = False) -> np.ndarray:
            each = []
            for member in members:
                member.classifier.model.to(device)
                classifier, precision = member.classifier, member.precision
                each.append(classifier.probabilities(pixels, precision, shifted, where, lambda n: bar.advance(task, n)))
            return np.mean(each, axis=0)

        found = []
        for members, splits in sides:
            plain = {name: mean(members, faces.pixels, where) for name, where in splits.items()}
            better = plain
            if tta == "shifted":
                better = {name: mean(members, faces.pixels, where, shifted=True) for name, where in splits.items()}
            elif tta == "aligned":
                better = {
                    name: (plain[name] + mean(members, crops[name], np.arange(len(where)))) / 2
                    for name, where in splits.items()
                }
            found.append((better, plain))
        return found


def _crops(faces: Faces, sides: Sequence[tuple[Sequence[Member], Splits]], bar: Progress) -> dict[str, np.ndarray]:
    """uint8 (N, 48, 48) of each split: its images `realigned`."""
    splits = {name: where for _, splits in sides for name, where in splits.items()}
    task = bar.add_task("finding faces", total=sum(map(len, splits.values())))
    return {
        name: realigned(faces.pixels[where], lambda images: bar.advance(task, images)) for name, where in splits.items()
    }
