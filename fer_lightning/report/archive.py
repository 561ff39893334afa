"""The faces behind runs' predictions, where they are still at hand."""

from functools import cache

import numpy as np
import pandas as pd

from fer_lightning.data import fer2013
from fer_lightning.data.faces import PRIVATE, PUBLIC, TRAINING, Faces, fingerprint
from fer_lightning.data.source import built_in_faces, place_of
from fer_lightning.errors import UserError
from fer_lightning.results.run_folder import Run, class_indices, flat


class Archive:
    """Opens each source once."""

    def __init__(self) -> None:
        self._opened = cache(opened)

    def faces(self, run: Run) -> Faces | str:
        """The faces that the run was trained and scored on, or why they cannot be had.

        Taken are only those of the run's `data_fingerprint` (which says nothing of the rows' order) that have every
        row of predictions.csv with the class that it gives.
        """
        if run.predictions is None:
            return "the run left no predictions.csv"
        if run.metrics["data_fingerprint"] is None:
            return "its metrics.json has no data_fingerprint, so which faces it was scored on is not known"
        there = self._opened(None if run.metrics["synthetic"] else run.metrics["source"] or "")
        if isinstance(there, str):
            return there
        faces, found = there
        if found == run.metrics["data_fingerprint"] and (positions(faces, run, run.predictions) >= 0).all():
            return faces
        if faces.synthetic:
            return "this version draws other synthetic faces"
        return f"{faces.source} holds other data than the run was scored on"


def opened(source: str | None) -> tuple[Faces, str] | str:
    """The faces of a run's source (None: the synthetic ones) with their fingerprint, or why they cannot be had."""
    try:
        if source is None:
            faces = built_in_faces()
        elif (place := place_of(source)) is not None:
            faces = fer2013.load(place)
        else:
            return f"{source or 'its data'} is not there, and no FER2013 is found here"
    except UserError as error:
        return str(error).splitlines()[0]
    return faces, fingerprint(faces)


def positions(faces: Faces, run: Run, predictions: pd.DataFrame) -> np.ndarray:
    """int64 (N,): where the images of these rows of the run's predictions.csv stand in `faces`.

    -1 where that holds none of this split, row and class, or several (files of one split may each count from 0).
    """
    val = PUBLIC if flat(run.config).get("data.val_split") == "public" else TRAINING
    usage = predictions["split"].map({"val": val, "public": PUBLIC, "private": PRIVATE})
    wanted = pd.MultiIndex.from_arrays([usage, predictions["index"], class_indices(predictions["target"])])
    keys = pd.MultiIndex.from_arrays([faces.usage, faces.rows, faces.labels])
    there = pd.Series(np.arange(len(faces)), keys)
    return there[~keys.duplicated(keep=False)].reindex(wanted, fill_value=-1).to_numpy()
