"""The faces behind runs' predictions, where they are still at hand."""

import numpy as np
import pandas as pd

from fer_lightning.data import fer2013, synthetic
from fer_lightning.data.faces import UNLABELLED, USAGES, Faces, fingerprint
from fer_lightning.errors import UserError
from fer_lightning.results.outputs import class_indices
from fer_lightning.results.run_folder import Run


class Archive:
    """Opens each source once."""

    def __init__(self) -> None:
        self._opened: dict[str, Faces | str] = {}
        self._fingerprints: dict[str, str] = {}

    def faces(self, run: Run) -> Faces | str:
        """The faces that the run was trained and scored on, or why they cannot be had.

        They are looked for where the run read them, then where FER2013 is found now ($FER2013_ROOT, ./data). Taken are
        only those in which every row of predictions.csv bears the class that it gives.
        """
        if run.predictions is None:
            return "the run left no predictions.csv"
        if run.metrics["synthetic"]:
            if "synthetic" not in self._opened:
                self._opened["synthetic"] = synthetic.draw()
            faces = self._opened["synthetic"]
            return faces if fits(faces, run.predictions) else "this version draws other synthetic faces"
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
            faces = self._open(place)
            if fits(faces, run.predictions):
                return faces
            tried[place] = faces if isinstance(faces, str) else f"{place} holds other data than the run was scored on"
        return "; ".join(tried.values()) or "the run does not say where its data was, and no FER2013 is found here"

    def fingerprint(self, faces: Faces) -> str:
        """See `fingerprint`; computed once."""
        if faces.source not in self._fingerprints:
            self._fingerprints[faces.source] = fingerprint(faces)
        return self._fingerprints[faces.source]

    def _open(self, place: str) -> Faces | str:
        if place not in self._opened:
            try:
                self._opened[place] = fer2013.load(place)
            except UserError as error:
                self._opened[place] = first_line(error)
        return self._opened[place]


def first_line(error: UserError) -> str:
    return str(error).splitlines()[0]


def fits(faces: Faces | str, predictions: pd.DataFrame) -> bool:
    """Whether these are faces, and those of the predictions."""
    if isinstance(faces, str):
        return False
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
