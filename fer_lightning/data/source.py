"""Which faces a run uses: FER2013 where it is found, or the built-in ones."""

import functools
import os
from dataclasses import replace

import numpy as np

from fer_lightning.data import fer2013, synthetic
from fer_lightning.data.faces import USAGES, Faces
from fer_lightning.errors import UserError

NAMES = ("auto", "fer2013", "synthetic")


def open_faces(name: str, root: str | None) -> Faces:
    """The faces of `data=name`, `data.root=root`; a UserError where they cannot be had, before any work.

    `auto` falls back to the synthetic faces only where no place for FER2013 was named and ./data holds none.
    """
    if name == "synthetic":
        if root is not None:
            raise UserError(f"data.root={root}: the synthetic faces are drawn, not read; data=fer2013 reads files")
        return built_in_faces()
    found = fer2013.find() if root is None else root
    if found is not None:
        return fer2013.load(found)
    if name == "fer2013":
        raise UserError(
            "data=fer2013: no FER2013 found. Name the file or folder with data.root=PATH, set the environment variable "
            "FER2013_ROOT, or put it into ./data (fer2013.csv, icml_face_data.csv, train/ and test/ folders, …), which "
            "`python -m fer_lightning.download` does from Kaggle; data=synthetic runs on the built-in faces"
        )
    return replace(built_in_faces(), left_out=fer2013.refused_in("data"))


def place_of(source: str | None) -> str | None:
    """Where the data of a run is now: its source if that is still there, else where FER2013 is found; None: nowhere.

    UserError where $FER2013_ROOT names a place without any.
    """
    if source and os.path.exists(source):
        return source
    found = fer2013.find()
    return None if found is None else str(found)


@functools.cache
def built_in_faces() -> Faces:
    """The synthetic faces of every run; drawn once, as a sweep checks and trains many times in one process."""
    return synthetic.draw()


def describe(faces: Faces) -> str:
    """A line or, for synthetic faces, a warning that cannot be missed."""
    if not faces.synthetic:
        aligned = ", each cropped anew by its face" if faces.aligned else ""
        left_out = f"\n  left out: {faces.left_out}" if faces.left_out else ""
        return f"data: {len(faces):,} images ({counts(faces)}) from {faces.source} ({faces.form}){aligned}{left_out}"
    bar = "!" * 79
    looked_at = f"!!  Looked at, and not taken: {faces.left_out}\n" if faces.left_out else ""
    return (
        f"{bar}\n"
        f"!!  SYNTHETIC FACES: {len(faces):,} schematic faces drawn by this program, not FER2013.\n"
        "!!  Scores on them say nothing about real faces. For FER2013: data.root=PATH,\n"
        "!!  FER2013_ROOT or ./data (see the README).\n"
        f"{looked_at}{bar}"
    )


def counts(faces: Faces) -> str:
    """`28,709 Training, 3,589 PublicTest`"""
    images = np.bincount(faces.usage, minlength=len(USAGES)).tolist()
    return ", ".join(f"{count:,} {usage}" for usage, count in zip(USAGES, images, strict=True) if count)
