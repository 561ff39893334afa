"""What a trained network leaves: predictions of the scored splits, their scores, figures drawn from its files."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from fer_lightning.data.faces import CLASSES, TRAINING, Faces
from fer_lightning.data.splits import SCORED, Splits
from fer_lightning.results import figures, scores
from fer_lightning.results.files import write_file
from fer_lightning.results.run_folder import PREDICTION_COLUMNS, class_indices, read_run

if TYPE_CHECKING:  # torch, which what only reads and draws a run does without
    from fer_lightning.results.checkpoint import Classifier

CLASS_NAMES = np.array(CLASSES)
FIGURES = {"curves": "curves.png", "confusion_matrix": "confusion_matrix.png", "mistakes": "mistakes.png"}
SPLIT_TITLES = dict(zip(SCORED, ("validation data", "PublicTest", "PrivateTest"), strict=True))


def predict_splits(
    classifier: "Classifier", faces: Faces, splits: Splits, names: tuple[str, ...], precision: str
) -> pd.DataFrame:
    """A row an image of the named splits, in their order, with PREDICTION_COLUMNS (classes by name).

    Each split is computed by itself, in the same batches whatever else is scored, so that one of them can be repeated.
    """
    probabilities = {name: classifier.probabilities(faces.pixels, precision, where=splits[name]) for name in names}
    return prediction_table(faces, splits, probabilities)


def prediction_table(faces: Faces, splits: Splits, by_split: dict[str, np.ndarray]) -> pd.DataFrame:
    """The table of `predict_splits` from class probabilities float (N, 7) for each split's images."""
    where = np.concatenate([splits[name] for name in by_split])
    probabilities = np.concatenate(list(by_split.values()))
    table = pd.DataFrame(probabilities, columns=list(CLASSES))
    table["split"] = np.repeat(list(by_split), [len(each) for each in by_split.values()])
    table["index"] = faces.rows[where]
    table["target"] = CLASS_NAMES[faces.labels[where]]
    table["predicted"] = CLASS_NAMES[probabilities.argmax(1)]
    return table[list(PREDICTION_COLUMNS)]


def split_scores(table: pd.DataFrame, faces: Faces, splits: Splits) -> dict[str, Any]:
    """What metrics.json says of each scored split; null where `table` has no such rows.

    Accuracy, its 95 % Wilson interval, the number of images; for test splits also those of the images that do not also
    stand, exactly, among the Training rows.
    """
    training = faces.digests[faces.where(TRAINING)]
    found: dict[str, Any] = {}
    for split in SCORED:
        rows = table[table["split"] == split]
        prefix = "val" if split == "val" else f"test_{split}"
        hits = (rows["target"] == rows["predicted"]).to_numpy()
        found |= {f"{prefix}_{key}": value for key, value in scores.accuracy(hits).items()}
        if split != "val":  # validation images are Training rows themselves
            unseen = scores.accuracy(hits[~np.isin(faces.digests[splits[split]], training)] if len(hits) else hits)
            found |= {f"{prefix}_acc_unseen": unseen["acc"], f"{prefix}_acc_unseen_95": unseen["acc_95"]}
            found[f"{prefix}_unseen_n"] = unseen["n"]
    return found


def confusion_of(table: pd.DataFrame, split: str = "val") -> np.ndarray:
    """int (7, 7) of one split's predictions, rows = true class."""
    rows = table[table["split"] == split]
    return scores.confusion_matrix(class_indices(rows["target"]), class_indices(rows["predicted"]))


def write_predictions(table: pd.DataFrame, path: Path) -> None:
    write_file(path, table.to_csv(index=False, float_format="%.6g", lineterminator="\n").encode())


def submission(faces: Faces, where: np.ndarray, probabilities: np.ndarray) -> bytes:
    """submission.csv: `id,label` of the images at `where`, int (N,), from class probabilities (N, 7).

    An image's id is its name in the source, else its 0-based data row.
    """
    ids = faces.rows[where] if faces.names is None else faces.names[where]
    table = pd.DataFrame({"id": ids, "label": probabilities.argmax(1)})
    return table.to_csv(index=False, lineterminator="\n").encode()


def draw_run(folder: Path, faces: Faces, splits: Splits) -> None:
    """Draw the figures of a run from its metrics.csv, metrics.json and predictions.csv; also matrices as csv."""
    run = read_run(folder)
    trial = "TRIAL of " if run.metrics["trial"] else ""
    name = f"{trial}{run.metrics['model'].upper()}, aug={run.metrics['aug']}"
    style: dict[str, Any] = {"synthetic": run.metrics["synthetic"]}
    setting = (run.metrics["model"], run.metrics["aug"], "")
    best = run.metrics["best_epoch"]
    drawn = figures.curves(run.epochs, title=name, best_epoch=best, setting=setting, **style)
    figures.save(drawn, folder / FIGURES["curves"])
    if run.predictions is None:
        return
    write_confusions(run.predictions, folder, title=name, **style)
    rows = run.predictions[run.predictions["split"] == "val"]
    drawn = figures.mistakes(
        faces.pixels[splits["val"]],
        class_indices(rows["target"]),
        class_indices(rows["predicted"]),
        rows[list(CLASSES)].to_numpy(np.float64),
        title=f"{name}: {SPLIT_TITLES['val']}",
        **style,
    )
    figures.save(drawn, folder / FIGURES["mistakes"])


def write_confusions(table: pd.DataFrame, folder: Path, *, title: str, synthetic: bool) -> None:
    """confusion_matrix.png and .csv of validation data, confusion_matrix-public and -private of test splits.

    csv: a row a true class, counts by predicted class, then its recall (empty where it has no image). Files of splits
    that have no rows in `table`, PREDICTION_COLUMNS, are removed.
    """
    for split, name in SPLIT_TITLES.items():
        path = folder / ("confusion_matrix.png" if split == "val" else f"confusion_matrix-{split}.png")
        matrix = confusion_of(table, split)
        if matrix.any():
            counts = pd.DataFrame(matrix, pd.Index(CLASSES, name="target"), list(CLASSES))
            counts["recall"] = scores.recall(matrix)
            write_file(path.with_suffix(".csv"), counts.to_csv(float_format="%.6f", lineterminator="\n").encode())
            figure = figures.confusion_matrix(matrix, CLASSES, title=f"{title}: {name}", synthetic=synthetic)
            figures.save(figure, path)
        else:
            path.unlink(missing_ok=True)
            path.with_suffix(".csv").unlink(missing_ok=True)
