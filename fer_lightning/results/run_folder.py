"""What a run leaves in its folder, from its plain files alone: no checkpoint, no live object, no torch.

The files are those of the README's section "What a run leaves"; their columns are below.
"""

import csv
import io
import itertools
import json
import math
import os
import shlex
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml  # type: ignore[import-untyped]
from omegaconf import OmegaConf

from fer_lightning.data.faces import CLASSES
from fer_lightning.data.faults import shown
from fer_lightning.data.splits import SCORED
from fer_lightning.errors import UserError
from fer_lightning.results import lock
from fer_lightning.results.files import naming, write_file
from fer_lightning.results.paths import in_order, nearest
from fer_lightning.results.words import count

TRAIN_LOSS = "train_cross_entropy"  # what compares with val_loss: train_loss is the objective, smoothing and all
EPOCH_COLUMNS = ("epoch", "train_loss", "train_acc", "val_loss", "val_acc", "lr", "seconds", TRAIN_LOSS)
PREDICTION_COLUMNS = ("split", "index", "target", "predicted", *CLASSES)
CONTRACT_KEYS = (  # every metrics.json has them, null where unknown
    *("model", "aug", "data", "seed", "params", "epochs", "best_epoch", "val_loss", "val_acc"),
    *("test_public_acc", "test_private_acc", "train_seconds", "seconds_per_epoch", "images_per_second"),
    *("precision", "device", "completed"),
)
RECENT = 600  # seconds since its last file was written, for which a run counts as going on: an epoch may take minutes
TEXT_KEYS = ("model", "aug", "data", "source", "data_fingerprint", "precision", "device")
METRIC_KEYS = (
    *CONTRACT_KEYS,
    *("source", "data_fingerprint", "max_epochs", "synthetic", "trial", "error", "interrupted", "stopped_early"),
    "decisive_settings",
    *("val_acc_95", "val_n", "recall", "classes"),
    *("test_public_acc_95", "test_public_acc_unseen", "test_public_acc_unseen_95", "test_public_n"),
    *("test_private_acc_95", "test_private_acc_unseen", "test_private_acc_unseen_95", "test_private_n"),
)

Row = dict[str, Any]  # of metrics.csv


@dataclass
class Run:
    """One run's files.

    name: the folder's name. config: config.yaml, nested; empty where the run failed before it wrote one.
    metrics: metrics.json with all METRIC_KEYS, null and absent as None.
    epochs: metrics.csv, a row an epoch with the columns EPOCH_COLUMNS (`epoch` int from 1, the others float, NaN where
        the cell is empty); without rows where the run ended before its first epoch did.
    """

    folder: Path
    name: str
    config: dict
    metrics: dict
    epochs: pd.DataFrame

    @cached_property
    def predictions(self) -> pd.DataFrame | None:
        """predictions.csv with the columns PREDICTION_COLUMNS, read on first use; None where the run left none."""
        path = self.folder / "predictions.csv"
        return read_predictions(path) if path.is_file() else None


def read_run(folder: str | Path) -> Run:
    """Read a run's folder. UserError, naming the file, where one is missing or broken.

    A run that did not complete may lack config.yaml and metrics.csv; a completed one may not.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; a run's folder is wanted (it holds metrics.json)")
    metrics = read_metrics(folder / "metrics.json")
    completed, settings, curves = metrics["completed"], folder / "config.yaml", folder / "metrics.csv"
    config = read_config(settings) if settings.is_file() or completed else {}
    epochs = read_epochs(curves) if curves.is_file() or completed else epochs_table([])
    if completed and len(epochs) != metrics["epochs"]:
        raise UserError(
            f"{curves}: {len(epochs)} epochs in whole lines, although metrics.json says that the run completed with "
            f"{metrics['epochs']}"
        )
    return Run(folder, folder.resolve().name, config, metrics, epochs)


def run_folders(folder: str | Path) -> list[Path]:
    """The folders of runs at or below a folder, whether it is a run, a sweep or holds both: all with a metrics.json.

    Folders whose name begins with a dot are not entered, nor are those inside a run. In the order of their paths, with
    numbers in names taken as numbers (`2-dnn-norm` before `10-dnn-norm`). UserError where there is none.
    """
    found = begun_folders(folder, ("metrics.json",))
    if not found:
        raise UserError(f"{folder}: no run in it or below it (a run's folder holds metrics.json)")
    return found


def begun_folders(folder: str | Path, marks: Iterable[str] = ("metrics.json", "fer_lightning.log")) -> list[Path]:
    """As `run_folders`, with those of runs that ended before they had a metrics.json; empty where there is none."""
    folder = Path(folder)
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; a folder with runs in it is wanted{nearest(folder)}")
    found: list[Path] = []
    for place, below, files in os.walk(folder):
        if not {*marks}.isdisjoint(files):
            found.append(Path(place))
            below.clear()
        below[:] = [name for name in below if not name.startswith(".")]
    return sorted(found, key=in_order)


def why_unfinished(run: Run) -> str | None:
    """In one line, why a run did not complete; None where it did."""
    if run.metrics["completed"]:
        return None
    cause = "interrupted" if run.metrics["interrupted"] else run.metrics["error"]
    if cause is None or lock.held(run.folder):  # it goes on meanwhile
        return going_on(run.folder, len(run.epochs))
    return f"{' '.join(str(cause).split())} (after {len(run.epochs)} epochs)"


def going_on(folder: Path, epochs: int) -> str:
    """What a run is that has not said how it ended: by its lock, else running where its files are recent."""
    newest = max((path.stat().st_mtime for path in folder.iterdir()), default=0.0)
    silent, so_far = time.time() - newest, count(epochs, "epoch")
    held = lock.held(folder)
    if held or (held is None and silent < RECENT):
        return f"running, {so_far} so far"
    if held is False:
        return f"killed, {so_far} so far"
    return f"killed, or in a long epoch: {so_far} so far, nothing written for {silent / 60:,.0f} minutes"


def versions_of(metrics: dict[str, Any]) -> str:
    """`fer_lightning 0.1.0, commit …, python …`: what a run was made with, as far as it is known."""
    known = (metrics.get("versions") or {}).items()
    return ", ".join(f"{name} {version}" for name, version in known if version is not None)


def is_completed(folder: Path) -> bool:
    """Whether the folder's metrics.json says that its run was trained and scored to the end."""
    path = folder / "metrics.json"
    return path.is_file() and bool(read_metrics(path)["completed"])


def overrides_of(folder: Path) -> list[str] | None:
    """What was given on the command line of a run, by Hydra's record of its last start; None where nobody can read it.

    Without ckpt_path and resume, so that it is the command of the whole run.
    """
    overrides = _yaml(_last_record(folder) / "overrides.yaml")
    if not isinstance(overrides, list):
        return None
    return [str(override) for override in overrides if not str(override).startswith(("ckpt_path=", "resume="))]


def runtime_of(record: dict[str, Any]) -> dict[str, Any]:
    """Where and how a run or sweep was started, of its `record_of`; nothing where that does not say it."""
    found = record.get("runtime")
    return found if isinstance(found, dict) else {}


def cd_to(record: dict[str, Any]) -> str:
    """`cd DIR && ` where relative paths in the command of a `record_of` mean other ones than here; else nothing."""
    folder = Path(str(runtime_of(record).get("cwd")))
    return "" if not folder.is_dir() or folder.samefile(Path.cwd()) else f"cd {shlex.quote(str(folder))} && "


def own_recipes(record: dict[str, Any]) -> list[str]:
    """`--config-dir DIR`, where the command of a `record_of` named one."""
    sources = runtime_of(record).get("config_sources") or []
    found = [each["path"] for each in sources if each.get("provider") == "command-line"]
    return ["--config-dir", *found] if found else []


def record_of(folder: Path, sweep: bool = False) -> dict[str, Any]:
    """Hydra's own settings in the last start of a run, or of a sweep; nothing where nobody can read them."""
    found = _yaml(folder / "multirun.yaml" if sweep else _last_record(folder) / "hydra.yaml")
    settings = found.get("hydra") if isinstance(found, dict) else None
    return settings if isinstance(settings, dict) else {}


def _last_record(folder: Path) -> Path:
    resumed = sorted((folder / ".hydra").glob("resumed-*/overrides.yaml"), key=in_order)
    return [folder / ".hydra" / "overrides.yaml", *resumed][-1].parent


def _yaml(path: Path) -> Any:
    try:
        # in C: 8 times as fast, of which `runs` and a report have many
        return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return None


def read_table(path: Path, columns: Sequence[str], whole_lines: bool = False, first: int | None = None) -> pd.DataFrame:
    """The cells of a csv of these columns, as text. UserError with file and line where it is broken.

    whole_lines: a last line without its end is left out. first: so many rows are read, whatever comes after them.
    """
    lines = _text(path).removeprefix("\ufeff").split("\n")
    try:
        rows = list(
            itertools.islice(csv.reader(lines[:-1] if whole_lines else lines), None if first is None else 1 + first)
        )
    except csv.Error as error:
        raise UserError(f"{path}: not a csv: {error}") from None
    while rows and not rows[-1]:  # blank lines at the end
        rows.pop()
    if not rows or rows[0] != [*columns]:
        found = shown(",".join(rows[0])) if rows else "nothing"
        raise UserError(f"{path}, line 1: expected the columns {','.join(columns)}, found {found}")
    for line, row in enumerate(rows[1:], start=2):
        if len(row) != len(columns):
            raise UserError(f"{path}, line {line}: {len(row)} values, expected {len(columns)}")
    return pd.DataFrame(rows[1:], columns=[*columns], dtype=str)


def refuse(path: Path, cells: pd.Series, wrong: pd.Series, expected: str) -> None:
    """UserError with file, line and column of the first wrong one of a table's cells, where there is any."""
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UserError(f"{path}, line {row + 2}, column {cells.name}: {shown(cells.iloc[row])}, expected {expected}")


def numbers(path: Path, cells: pd.Series) -> pd.Series:
    """A table's cells as float64, exact to the last digit; NaN where one is empty. UserError where one is no number."""

    def number(cell: str) -> float | None:
        try:
            return float(cell or "nan")
        except ValueError:
            return None

    found = [number(cell) for cell in cells.tolist()]
    refuse(path, cells, pd.Series([each is None for each in found]), "a number")
    return pd.Series(found, dtype=np.float64)


def read_epochs(path: Path, first: int | None = None) -> pd.DataFrame:
    """metrics.csv, or only its first rows, as a DataFrame, see `Run.epochs`.

    UserError with file, line and column where it is broken. A last line without a line end is half an epoch's (a full
    disk, a power failure) and left out.
    """
    cells = read_table(path, EPOCH_COLUMNS, whole_lines=True, first=first)
    table = pd.DataFrame({column: numbers(path, cells[column]) for column in EPOCH_COLUMNS})
    refuse(path, cells["epoch"], table["epoch"] != np.arange(1, len(table) + 1), "the epochs in order, from 1")
    return table.astype({"epoch": np.int64})


def write_epochs(rows: list[Row], path: Path) -> None:
    """metrics.csv of these rows, each with EPOCH_COLUMNS."""
    text = io.StringIO()
    writer = csv.DictWriter(text, EPOCH_COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue().encode())


def append_epoch(row: Row, path: Path) -> None:
    """Add a row to the metrics.csv of `write_epochs`."""
    with naming(path), open(path, "a", newline="") as file:
        csv.DictWriter(file, EPOCH_COLUMNS, lineterminator="\n").writerow(row)


def best_row(rows: list[Row]) -> Row:
    """The first epoch of the highest validation accuracy: the one whose weights best.ckpt holds."""
    return max(rows, key=lambda row: row["val_acc"])


def stalled_at(rows: list[Row], patience: int | None) -> int | None:
    """The first epoch by which validation accuracy has not been better for `patience` epochs, if there is one."""
    best = rows[0] if rows else None
    for row in rows:
        assert best is not None
        if row["val_acc"] > best["val_acc"]:
            best = row
        elif patience is not None and row["epoch"] - best["epoch"] >= patience:
            return int(row["epoch"])
    return None


def epochs_table(table: list[list[float]]) -> pd.DataFrame:
    """`Run.epochs` of rows with EPOCH_COLUMNS, perhaps none."""
    values = np.array(table, np.float64).reshape(-1, len(EPOCH_COLUMNS))
    return pd.DataFrame(values, columns=list(EPOCH_COLUMNS)).astype({"epoch": np.int64})


def read_predictions(path: Path) -> pd.DataFrame:
    """predictions.csv as a DataFrame: split, target, predicted str; index int64; a float64 probability per class.

    UserError with file, line and column where it is broken.
    """
    table = read_table(path, PREDICTION_COLUMNS)
    for column, known in {"split": SCORED, "target": CLASSES, "predicted": CLASSES}.items():
        refuse(path, table[column], ~table[column].isin(known), f"one of {', '.join(known)}")
    refuse(path, table["index"], ~table["index"].str.fullmatch("[0-9]{1,18}"), "a row number from 0")
    table["index"] = table["index"].astype(np.int64)
    for column in CLASSES:
        found = numbers(path, table[column])
        refuse(path, table[column], ~found.between(0, 1), "a probability from 0 to 1")
        table[column] = found
    return table


def class_indices(names: pd.Series) -> np.ndarray:
    """int64 (N,) of class names."""
    return pd.Categorical(names, categories=list(CLASSES)).codes.astype(np.int64)


def read_metrics(path: Path) -> dict:
    """metrics.json with all METRIC_KEYS, null and absent as None. UserError, naming the file, where it is broken."""
    try:
        metrics = json.loads(_text(path))
    except ValueError as error:
        raise UserError(f"{path}: not JSON: {error}") from None
    if not isinstance(metrics, dict):
        raise UserError(f"{path}: expected one JSON object, found a {type(metrics).__name__}")
    if missing := [key for key in CONTRACT_KEYS if key not in metrics]:
        raise UserError(f"{path}: lacks {', '.join(missing)} (null is right where a value is unknown)")
    metrics = {**dict.fromkeys(METRIC_KEYS), "synthetic": metrics["data"] == "synthetic", **metrics}
    for key in METRIC_KEYS:
        if wrong := _wrong_kind(key, metrics[key]):
            raise UserError(f"{path}: {key} is {json.dumps(metrics[key])[:80]}; right: {wrong}")
    return metrics


def _wrong_kind(key: str, value: object) -> str | None:
    """What a value of metrics.json should be, where it is something else."""
    if value is None or key in ("error", "recall", "classes", "decisive_settings"):
        return None
    if key in ("completed", "synthetic", "trial", "interrupted", "stopped_early"):
        return None if isinstance(value, bool) else "true or false"
    if key in TEXT_KEYS:
        return None if isinstance(value, str) else "a text or null"
    if key.endswith("_95"):
        pair = isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))
        return None if pair else "two numbers or null"
    return None if _is_number(value) else "a number or null"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def read_config(path: Path) -> dict:
    """config.yaml, nested. UserError where it is none."""
    try:
        config = OmegaConf.to_container(OmegaConf.create(_text(path)))  # PyYAML's own loader takes 1e-3 for a string
    except yaml.YAMLError as error:
        raise UserError(f"{path}: not YAML: {error}") from None
    if not isinstance(config, dict) or not config:
        raise UserError(f"{path}: expected configuration keys with their values, found {config!r}")
    return config


def flat(config: dict[str, Any], above: str = "") -> dict[str, Any]:
    """config.yaml's dotted keys. Pandas' json_normalize takes no text that is not UTF-8 where pyarrow is installed."""
    found: dict[str, Any] = {}
    for key, value in config.items():
        found |= flat(value, f"{above}{key}.") if isinstance(value, dict) else {f"{above}{key}": value}
    return found


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 text: {error}") from None
