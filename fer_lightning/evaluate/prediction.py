"""From networks and images to probabilities."""

import sys
from collections.abc import Callable, Sequence

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from fer_lightning.data.faces import Faces
from fer_lightning.data.splits import Splits
from fer_lightning.results.members import Member


def predict(
    faces: Faces, sides: Sequence[tuple[Sequence[Member], Splits]], tta: bool, device: torch.device
) -> list[dict[str, np.ndarray]]:
    """For each side its splits' `probabilities`. A terminal is shown how far they are."""
    passes = sum(len(members) * len(where) for members, splits in sides for where in splits.values())
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("scoring", total=passes)

        def advance(images: int) -> None:
            bar.advance(task, images)

        return [
            {name: probabilities(members, faces, where, tta, device, advance) for name, where in splits.items()}
            for members, splits in sides
        ]


def probabilities(
    members: Sequence[Member],
    faces: Faces,
    where: np.ndarray,
    tta: bool,
    device: torch.device,
    advance: Callable[[int], None],
) -> np.ndarray:
    """float32 (N, 7): the mean of the members' class probabilities for the images at `where`, int (N,)."""
    each = []
    for member in members:
        member.classifier.model.to(device)
        each.append(member.classifier.probabilities(faces.pixels, member.precision, tta, where, advance))
    return np.mean(each, axis=0)
