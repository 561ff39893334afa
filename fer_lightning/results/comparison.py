"""The comparison of a sweep: its runs' files in, comparison.csv, comparison.md and comparison.png out."""

import json
import math
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fer_lightning.errors import UserError
from fer_lightning.results import figures, scores
from fer_lightning.results.files import write_file
from fer_lightning.results.run_folder import Run, in_order, read_run, why_unfinished

LOSS_LEVELS = (1.8, 1.6, 1.4, 1.2, 1.0)
SEPARATOR = "; "  # of the names in the column `failed`
TESTS = {"test_public_acc": "PublicTest", "test_private_acc": "PrivateTest"}
ACCURACIES = ("val_acc", *TESTS)

MEANINGS: tuple[tuple[tuple[str, ...], str], ...] = (  # the columns of comparison.csv, in order
    (("model",), "the network."),
    (("aug",), "normalization and augmentation."),
    (("runs",), "how many completed runs the row stands for; they differ in their seed alone."),
    (("val_acc",), "validation accuracy of the best epoch, the mean over the runs."),
    (("val_acc_std",), "its sample standard deviation over the runs; empty for one run."),
    (
        ("test_public_acc", "test_private_acc"),
        "accuracy of that epoch on PublicTest and PrivateTest, the mean over the runs; empty where it is no test set.",
    ),
    (
        tuple(f"epochs_to_loss_{level}" for level in LOSS_LEVELS),
        "the first epoch whose training loss was at most that, the median over the runs; a run that never came so far "
        "counts as later than all others; empty where that is the median.",
    ),
    (
        ("gap_acc",),
        "training minus validation accuracy in the last epoch, the mean over the runs. Training figures are running "
        "means over augmented batches with dropout, so a gap below 0 is no mistake.",
    ),
    (("gap_loss",), "validation minus training loss in the last epoch, the mean over the runs."),
    (
        ("overfitting_epoch",),
        "where overfitting begins: the epoch of the lowest validation loss, smoothed over 5 epochs; the median over "
        "the runs, one whose loss still fell at the end counting as later than all others; empty where that is the "
        "median.",
    ),
    (("seconds_per_epoch",), "the training part of an epoch, without validation, the mean over the runs."),
    (("test_public_acc_std", "test_private_acc_std"), "the sample standard deviations of the test accuracies."),
    (
        tuple(f"{score}_{end}" for score in ACCURACIES for end in ("lo", "hi")),
        "the bounds of the accuracies' 95 % intervals, which come from the number of images; the means over the runs.",
    ),
    (
        ("test_public_acc_unseen", "test_private_acc_unseen"),
        "accuracy on the test images that do not also stand, exactly, in Training; the mean over the runs.",
    ),
    (("data",), "fer2013, or synthetic for drawn faces."),
    (("failed",), "the folders of the row's jobs that did not complete; they count in no figure."),
    (("setting",), "what else differs between the rows, as configuration keys."),
)
COLUMNS = [column for columns, _ in MEANINGS for column in columns]
TEXTS = ("model", "aug", "data", "failed", "setting")
DTYPES = {name: "int64" if name == "runs" else "float64" for name in COLUMNS if name not in TEXTS}


@dataclass
class Setting:
    """Runs of a sweep that differ in their seed alone; `label` is what, besides model and aug, sets them apart."""

    runs: list[Run]
    label: str

    @property
    def name(self) -> str:
        return _name(self.runs[0].metrics["model"], self.runs[0].metrics["aug"], self.label)


def compare(folder: str | Path) -> pd.DataFrame:
    """Compare the runs of a sweep's folder and write comparison.csv, .md and .png into it, replacing older ones.

    Returns the table of comparison.csv: the columns COLUMNS, a row per setting, the highest validation accuracy first,
    NaN where a figure is unknown. A job whose files are missing or broken has a row of its own, with `failed` alone.
    UserError where no job stands one level below the folder.
    """
    folder = Path(folder)
    runs, errors = _read_jobs(folder)
    settings = settings_of(runs)
    rows = [row_of(setting) for setting in settings]
    unread = [name for name in errors if name not in {run.name for run in runs}]
    rows += [dict.fromkeys(TEXTS, "") | {"runs": 0, "failed": name} for name in unread]
    table = pd.DataFrame(rows, columns=COLUMNS).astype(DTYPES)
    order = table["val_acc"].sort_values(ascending=False, kind="stable", na_position="last").index
    table = table.loc[order].reset_index(drop=True)

    title = "/".join(folder.resolve().parts[-2:])
    drawn = [(settings[i].name, run.epochs) for i in order if i < len(settings) for run in settings[i].runs]
    picture = figures.comparison(
        [(name, epochs) for name, epochs in drawn if len(epochs)],
        synthetic=any(run.metrics["synthetic"] for run in runs),
        title=f"Sweep {title}",
    )
    csv = table.to_csv(index=False, float_format="%.6g", lineterminator="\n")
    write_file(folder / "comparison.csv", csv.encode())
    write_file(folder / "comparison.md", _page(table, title, errors).encode())
    figures.save(picture, folder / "comparison.png")
    return table


def markdown(table: pd.DataFrame, width: int | None = 100) -> str:
    """The table of `compare` as Markdown tables of at most `width` columns of text (None: as wide as need be).

    Long names of settings go on in the next row where the width needs it.
    """
    rows: list[tuple[str, dict]] = [
        (_name(row["model"], row["aug"], row["setting"]), row) for row in table.to_dict("records") if row["runs"]
    ]
    parts = []
    if (table["data"] == "synthetic").any():
        parts.append("Synthetic faces: these are no scores on FER2013.")
    parts.append(
        "Validation, the best first (±: standard deviation over seeds; 95 %: interval for that many images;\n"
        "overfit: epoch from which the validation loss rises, empty where it still fell at the end):"
    )
    training = [
        (
            name,
            str(row["runs"]),
            _with_std(row, "val_acc"),
            _interval(row, "val_acc"),
            _number(row["gap_acc"], "+z.3f"),
            _number(row["gap_loss"], "+z.3f"),
            _number(row["overfitting_epoch"], "g"),
            _number(row["seconds_per_epoch"], ".3g"),
        )
        for name, row in rows
    ]
    heads = ("setting", "runs", "val_acc", "95 %", "gap_acc", "gap_loss", "overfit", "s/epoch")
    parts.append(_pipes(heads, training, width))
    tests = [
        (name, split, _with_std(row, score), _interval(row, score), _number(row[f"{score}_unseen"], ".3f"))
        for name, row in rows
        for score, split in TESTS.items()
        if not math.isnan(row[score])
    ]
    if tests:
        parts.append("Test, all images and those that do not also stand in Training:")
        parts.append(_pipes(("setting", "test", "accuracy", "95 %", "unseen"), tests, width))
    levels = [(name, *(_number(row[f"epochs_to_loss_{level}"], "g") for level in LOSS_LEVELS)) for name, row in rows]
    parts.append("Epochs until the training loss fell to:")
    parts.append(_pipes(("setting", *map(str, LOSS_LEVELS)), levels, width))
    if failed := [name for names in table["failed"] if names for name in names.split(SEPARATOR)]:
        listed = ", ".join(sorted(failed, key=lambda name: in_order(Path(name))))
        parts.append(textwrap.fill(f"Failed: {listed}", width or 10**6, break_on_hyphens=False))
    return "\n\n".join(parts)


def _read_jobs(folder: Path) -> tuple[list[Run], dict[str, str]]:
    """The runs whose configuration is known, and for each job that did not complete, by its folder's name, why."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; a sweep's folder is wanted")
    marks = ("metrics.json", "config.yaml", ".hydra")
    jobs = [path for path in sorted(folder.iterdir(), key=in_order) if any((path / mark).exists() for mark in marks)]
    if not jobs:
        raise UserError(f"{folder}: no runs one level below it; a sweep's folder is wanted")
    runs, errors = [], {}
    for job in jobs:
        if not (job / "metrics.json").exists():
            errors[job.name] = "left no metrics.json: killed, or still running"
            continue
        try:
            run = read_run(job)
        except UserError as error:
            errors[job.name] = str(error)
            continue
        if run.config:
            runs.append(run)
        if reason := why_unfinished(run):
            errors[job.name] = reason
    return runs, errors


def settings_of(runs: list[Run]) -> list[Setting]:
    """Group the runs whose configurations differ in their seed alone, and label what sets the groups apart."""
    groups: dict[str, list[Run]] = {}
    for run in runs:
        groups.setdefault(json.dumps(keys_of(run), sort_keys=True), []).append(run)
    keys = [json.loads(group) for group in groups]
    return [Setting(members, _label(own, keys)) for own, members in zip(keys, groups.values(), strict=True)]


def keys_of(run: Run) -> dict[str, Any]:
    """The configuration that makes a setting: `group.key` → value, and `group` → the name of what was chosen in it."""
    keys: dict[str, Any] = {}
    for group, value in run.config.items():
        if group == "seed":
            continue
        if group == "ckpt_path" and run.name in Path(str(value)).parts:
            keys[group] = None  # resumed from its own state: the same run as if it had never been interrupted
        elif isinstance(value, dict):
            keys[group] = value.get("name") or str(value.get("_target_", "")).rpartition(".")[2]
            keys.update({f"{group}.{key}": item for key, item in value.items()})
        else:
            keys[group] = value
    return keys | {"model": run.metrics["model"], "aug": run.metrics["aug"]}


def _label(own: dict[str, Any], all_keys: list[dict[str, Any]]) -> str:
    """`optimizer.lr=0.01 …`: the keys in which a setting differs from others, model and aug aside.

    The arguments of another optimizer (network, …) are not named beside its name: `optimizer=SGD` says it.
    """
    shown = []
    for key, value in own.items():
        group = key.partition(".")[0]
        peers = [other for other in all_keys if key == group or other.get(group) == own.get(group)]
        if key not in ("model", "aug") and any(other.get(key) != value for other in peers):
            shown.append(f"{key}={value if isinstance(value, str) else json.dumps(value)}")
    return " ".join(shown)


def row_of(setting: Setting) -> dict[str, Any]:
    """A setting's row of comparison.csv, from its completed runs."""
    first = setting.runs[0].metrics
    runs = [run for run in setting.runs if run.metrics["completed"]]
    row: dict[str, Any] = {key: first[key] or "" for key in ("model", "aug", "data")}
    row |= {"runs": len(runs), "setting": setting.label}
    row["failed"] = SEPARATOR.join(run.name for run in setting.runs if not run.metrics["completed"])
    if not runs:
        return row
    for score in ACCURACIES:
        values = [run.metrics[score] for run in runs]
        intervals = [run.metrics[f"{score}_95"] or (None, None) for run in runs]
        row[score] = _mean(values)
        row[f"{score}_std"] = np.std(np.array(values, np.float64), ddof=1) if len(runs) > 1 else math.nan
        row[f"{score}_lo"], row[f"{score}_hi"] = (_mean(bounds) for bounds in zip(*intervals, strict=True))
    for score in TESTS:
        row[f"{score}_unseen"] = _mean(run.metrics[f"{score}_unseen"] for run in runs)
    for level in LOSS_LEVELS:
        row[f"epochs_to_loss_{level}"] = _median(scores.epochs_to_loss(run.epochs["train_loss"], level) for run in runs)
    last = [run.epochs.iloc[-1] for run in runs]
    row["gap_acc"] = _mean(epoch["train_acc"] - epoch["val_acc"] for epoch in last)
    row["gap_loss"] = _mean(epoch["val_loss"] - epoch["train_loss"] for epoch in last)
    row["overfitting_epoch"] = _median(scores.overfitting_epoch(run.epochs["val_loss"]) for run in runs)
    row["seconds_per_epoch"] = _mean(run.metrics["seconds_per_epoch"] for run in runs)
    return row


def _mean(values: Iterable[float | None]) -> float:
    """NaN where one is unknown: a mean over some of the runs would pass for one over all."""
    return float(np.mean(np.array(list(values), np.float64)))


def _median(epochs: Iterable[int | None]) -> float:
    """None is later than any epoch; NaN where that is the median."""
    median = float(np.median([math.inf if epoch is None else epoch for epoch in epochs]))
    return median if math.isfinite(median) else math.nan


def _page(table: pd.DataFrame, title: str, errors: dict[str, str]) -> str:
    parts = [f"# Sweep {title}", markdown(table, width=None), "![The curves of all runs](comparison.png)"]
    if errors:
        listed = "\n".join(
            f"- {name}: `{' '.join(error.replace('`', chr(39)).split())}`" for name, error in errors.items()
        )
        parts.append(f"## Jobs that did not complete\n\n{listed}")
    meanings = "\n".join(f"- {', '.join(f'`{name}`' for name in columns)}: {text}" for columns, text in MEANINGS)
    parts.append(f"## The columns of comparison.csv\n\n{meanings}")
    return "\n\n".join(parts) + "\n"


def _name(model: str | None, aug: str | None, label: str) -> str:
    return " ".join(part for part in (model, aug, label) if part)


def _number(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def _with_std(row: dict, score: str) -> str:
    std = row[f"{score}_std"]
    return _number(row[score], ".3f") + ("" if math.isnan(std) else f" ± {std:.3f}")


def _interval(row: dict, score: str) -> str:
    low = row[f"{score}_lo"]
    return "" if math.isnan(low) else f"{low:.3f}–{row[f'{score}_hi']:.3f}"


def _pipes(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]], width: int | None) -> str:
    """A Markdown table aligned as text; where `width` needs it, its first column goes on in rows of its own."""
    rows = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    widths = [max(3, *map(len, column)) for column in zip(heads, *rows, strict=True)]
    if width is not None:
        widths[0] = max(len(heads[0]), min(widths[0], width - 3 * len(widths) - 1 - sum(widths[1:])))
    lines = [heads, tuple("-" * widths[0] if i == 0 else "-" * (size - 1) + ":" for i, size in enumerate(widths))]
    for first, *others in rows:
        pieces = textwrap.wrap(first, widths[0], break_on_hyphens=False) or [""]
        lines.append((pieces[0], *others))
        lines += [(piece, *[""] * len(others)) for piece in pieces[1:]]
    return "\n".join(
        "| " + " | ".join(f"{cell:{'<>'[i > 0]}{widths[i]}}" for i, cell in enumerate(line)) + " |" for line in lines
    )
