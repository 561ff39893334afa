"""The FER+ votes: what each of ten taggers saw in every FER2013 image, from the public file fer2013new.csv.

Barsoum, Zhang, Canton Ferrer and Zhang, "Training deep networks for facial expression recognition with crowd-sourced
label distribution", ICMI 2016; https://github.com/microsoft/FERPlus.
"""

from pathlib import Path

import numpy as np

from fer_lightning.data.faces import CLASSES, USAGES, Faces
from fer_lightning.errors import UserError
from fer_lightning.results.run_folder import read_table, refuse

TAGGERS = 10
_COLUMNS = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")  # FER+ names of CLASSES
APART = ("contempt", "unknown", "NF")  # what taggers could choose beside CLASSES; NF is not a face
CHOICES = (*CLASSES, *APART)
HEADER = (
    *("Usage", "Image name"),
    *("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", *APART),
)
# FER2013's label is the FER+ majority emotion for 65 % of the images with one; rows in another order agree on 18 %.
_LEAST_AGREEMENT = 0.4


def read_votes(path: Path, faces: Faces) -> np.ndarray:
    """int8 (N, 10): how many taggers chose each of CHOICES, for every image of `faces` in order.

    The file has no image in it, only the rows of fer2013.csv in their order; rows of a split that `faces` lacks, as
    some copies do, are left out. UserError with the faulty lines, or if the others are not those of `faces`: another
    number, another Usage in a row, or labels that have nothing to do with it.
    """
    usage, votes = _read(path)
    rows = np.flatnonzero(np.isin(usage, faces.usage))
    usage, votes = usage[rows], votes[rows]
    if len(votes) != len(faces):
        raise UserError(
            f"{path}: {len(votes):,} rows of votes for the {len(faces):,} images of {faces.source}; right: the votes "
            "on the same rows in the same order"
        )
    other = np.flatnonzero(usage != faces.usage)
    if len(other):
        row = int(other[0])
        raise UserError(
            f"{path}, line {rows[row] + 2}, column Usage: {USAGES[usage[row]]}, but image {row} of {faces.source} is "
            f"{USAGES[faces.usage[row]]} ({len(other):,} such rows); right: the votes on the same rows in the same "
            "order"
        )
    choice, _ = majority(votes)
    named = choice < len(CLASSES)
    agreeing = float((choice == faces.labels)[named].mean()) if named.any() else 1.0
    if agreeing < _LEAST_AGREEMENT:
        raise UserError(
            f"{path}: the majority emotion is the label of {faces.source} for {agreeing:.0%} of the rows only, so its "
            "rows stand in another order (65 % is usual for FER2013); right: data in the order of fer2013.csv"
        )
    return votes


def majority(votes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The choice with the most votes, int (N,) into CHOICES, and how many they are, int (N,), from int (N, 10).

    Among equals an emotion goes before APART, so an image is apart only where one of those has the most votes alone.
    """
    choice = votes.argmax(axis=1)
    return choice, votes[np.arange(len(votes)), choice]


def _read(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """int (N,) into USAGES and int8 (N, 10), the columns of CHOICES."""
    table = read_table(path, HEADER)
    usages, counts = USAGES[:-1], [str(count) for count in range(TAGGERS + 1)]
    refuse(path, table["Usage"], ~table["Usage"].isin(usages), f"one of {', '.join(usages)}")
    votes = table[[*_COLUMNS, *APART]]
    for column in votes:
        refuse(path, votes[column], ~votes[column].isin(counts), f"a whole number of votes from 0 to {TAGGERS}")
    return table["Usage"].map(usages.index).to_numpy(np.int64), votes.astype(np.int8).to_numpy()
