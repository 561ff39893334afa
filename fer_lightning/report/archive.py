"""The faces behind runs' predictions, where they are still at hand."""

from functools import cache

import numpy as np
import pandas as pd

from fer_lightning.data import fer2013, synthetic
from fer_lightning.data.faces import UNLABELLED, USAGES, Faces, fingerprint
from fer_lightning.errors import UserError
from fer_lightning.results.run_folder import Run, class_indices

DRAWN = ""  # where the synthetic faces are, among the places of files


class Archive:
    """Opens each source once."""

    def __init__(self) -> None:
        self._opened = cache(opened)

    def faces(self, run: Run) -> Faces | str:
        """The faces that the run was trained and scored on, or why they cannot be had.

        They are looked for where the run read them, then where FER2013 is found now ($FER2013_ROOT, ./data). Taken are
        only those of the run's `data_fingerprint`, in whose rows predictions.csv finds the classes that it gives (the
        fingerprint says nothing of the rows' order).
        """
        if run.predictions is None:
            return "the run left no predictions.csv"
        if run.metrics["data_fingerprint"] is None:
            return "its metrics.json has no data_fingerprint, so which faces it was scored on is not known"
        if run.metrics["synthetic"]:
            faces = self._matching(DRAWN, run)
            return "this version draws other synthetic faces" if isinstance(faces, str) else faces
        tried: dict[str, str] = {}
        for look in (lambda: run.metrics.get("source"), fer2013.find):
            try:
                found = look()
            except UserError as error:  # a place that is named, and holds nothing of use
                tried[""] = first_line(error)
                continue
            place = str(found)
            if found is None or place in tried:
                continue
            faces = self._matching(place, run)
            if isinstance(faces, Faces):
                return faces
            tried[place] = faces
        return "; ".join(tried.values()) or "the run does not say where its data was, and no FER2013 is found here"

    def _matching(self, place: str, run: Run) -> Faces | str:
        there = self._opened(place)
        if isinstance(there, str):
            return there
        faces, found = there
        assert run.predictions is not None
        if found == run.metrics["data_fingerprint"] and in_rows(faces, run.predictions):
            return faces
        return f"{place} holds other data than the run was scored on"


def opened(place: str) -> tuple[Faces, str] | str:
    """The faces of a place with their fingerprint, or why they cannot be had."""
    try:
        faces = synthetic.draw() if place == DRAWN else fer2013.load(place)
    except UserError as error:
        return first_line(error)
    return faces, fingerprint(faces)


def first_line(error: UserError) -> str:
    return str(error).splitlines()[0]


def in_rows(faces: Faces, predictions: pd.DataFrame) -> bool:
    """Whether every row of predictions.csv bears in the data the class that it gives."""
    where = positions(faces, predictions["index"].to_numpy())
    return bool((where >= 0).all()) and np.array_equal(faces.labels[where], class_indices(predictions["target"]))


def positions(faces: Faces, rows: np.ndarray) -> np.ndarray:
    """int64 (N,): where the labelled images of these data rows stand in `faces`; -1 where there is none."""
    labelled = np.flatnonzero(faces.usage != UNLABELLED)  # an unlabelled file has rows of the same numbers
    if len(labelled) == 0:
        return np.full(len(rows), -1)
    order = labelled[np.argsort(faces.rows[labelled], kind="stable")]
    place = np.minimum(np.searchsorted(faces.rows[order], rows), len(order) - 1)
    return np.where(faces.rows[order[place]] == rows, order[place], -1)


def counts(faces: Faces) -> str:
    """`28,709 Training, 3,589 PublicTest`"""
    found = ((USAGES[usage], len(faces.where(usage))) for usage in range(len(USAGES)))
    return ", ".join(f"{count:,} {name}" for name, count in found if count)
