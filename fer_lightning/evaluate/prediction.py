"""From networks and images to probabilities."""

from collections.abc import Sequence

import numpy as np
import torch

from fer_lightning.data.faces import Faces
from fer_lightning.data.splits import Splits
from fer_lightning.errors import progress
from fer_lightning.photographs.aligned import aligned
from fer_lightning.results.members import Member

Chances = dict[str, np.ndarray]  # of each split, float32 (N, 7)


def predict(
    faces: Faces, sides: Sequence[tuple[Sequence[Member], Splits]], tta: str | None, device: torch.device
) -> list[tuple[Chances, Chances]]:
    """For each side the mean of its members' class probabilities for each of its splits: with `tta`, and without.

    faces: as they are in the data; a network that is trained on aligned ones sees those. tta: "shifted" or "aligned",
    see evaluation.TTA; None: both are the same. A terminal is shown how far they are.
    """
    crops = faces
    if tta == "aligned" or any(member.classifier.aligned for members, _ in sides for member in members):
        crops = aligned(faces, np.unique(np.concatenate([where for _, splits in sides for where in splits.values()])))
    with progress() as bar:
        images = sum(len(members) * len(where) for members, splits in sides for where in splits.values())
        task = bar.add_task("scoring", total=2 * images if tta else images)

        def mean(
            members: Sequence[Member], where: np.ndarray, shifted: bool = False, other: bool = False
        ) -> np.ndarray:
            """other: of the crops that they are not trained on."""
            each = []
            for member in members:
                member.classifier.model.to(device)
                classifier, precision = member.classifier, member.precision
                pixels = (crops if classifier.aligned != other else faces).pixels
                each.append(classifier.probabilities(pixels, precision, shifted, where, lambda n: bar.advance(task, n)))
            return np.mean(each, axis=0)

        found = []
        for members, splits in sides:
            plain = {name: mean(members, where) for name, where in splits.items()}
            better = plain
            if tta == "shifted":
                better = {name: mean(members, where, shifted=True) for name, where in splits.items()}
            elif tta == "aligned":
                better = {name: (plain[name] + mean(members, where, other=True)) / 2 for name, where in splits.items()}
            found.append((better, plain))
        return found
