"""Which images train, which choose the checkpoint and which are only scored."""

import numpy as np

from fer_lightning.data.faces import PRIVATE, PUBLIC, TRAINING, UNLABELLED, Faces
from fer_lightning.errors import UserError

SCORED = ("val", "public", "private")  # the splits of predictions.csv
Splits = dict[str, np.ndarray]


def make_splits(faces: Faces, val_split: float | str, seed: int) -> Splits:
    """Positions in `faces`, int64 and ascending, of train, val, public, private and unlabelled; empty where none.

    val_split: the share of Training held out, in (0, 1), or "public": train on all of Training, validate on PublicTest,
    which is then no test split. Raises UserError where training or validation would be left without images.
    """
    training, public = faces.where(TRAINING), faces.where(PUBLIC)
    if val_split == "public":
        if len(public) == 0:
            raise UserError(
                f"{faces.source}: data.val_split=public needs PublicTest images and there are none; "
                "name a share of Training instead, such as data.val_split=0.1"
            )
        train, val, public = training, public, public[:0]
    else:
        held_out = hold_out(faces.labels[training], faces.digests[training], float(val_split), seed)
        train, val = training[~held_out], training[held_out]
    if len(train) < 2 or len(val) == 0:
        told = "; all that it holds is of other splits, or has no labels: is the folder above it meant?"
        raise UserError(
            f"{faces.source}: data.val_split={val_split} leaves {len(train)} images to train on and {len(val)} to "
            f"validate on, of {len(training)} Training images; at least 2 and 1 are needed"
            f"{told if not len(training) else ''}"
        )
    return {
        "train": train,
        "val": val,
        "public": public,
        "private": faces.where(PRIVATE),
        "unlabelled": faces.where(UNLABELLED),
    }


def hold_out(labels: np.ndarray, digests: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool (N,): a stratified random `share` of each class, identical images (equal digests) all on one side.

    A group of identical images counts with the class of its first image. A class is off its share by less than its
    largest group.
    """
    _, first, group, sizes = np.unique(digests, return_index=True, return_inverse=True, return_counts=True)
    order = np.random.default_rng(seed).permutation(len(sizes))
    held_out = np.zeros(len(sizes), dtype=bool)
    for label in np.unique(labels[first]):
        groups = order[labels[first[order]] == label]
        filled = np.cumsum(sizes[groups])
        held_out[groups[filled <= round(share * filled[-1])]] = True
    return held_out[group]
