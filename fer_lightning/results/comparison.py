"""The comparison of a sweep: its runs' files in, comparison.csv, comparison.md and comparison.png out."""

import math
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fer_lightning.errors import UserError, printable
from fer_lightning.results import figures
from fer_lightning.results.conditions import ACCURACIES, LOSS_LEVELS, TESTS, Condition, conditions_of
from fer_lightning.results.files import write_file
from fer_lightning.results.paths import in_order
from fer_lightning.results.run_folder import Run, going_on, read_run, why_unfinished
from fer_lightning.results.words import interval, number, size

SEPARATOR = "; "  # of the names in the column `failed`

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
        "counts as later than all others; empty where that is the median. Loss is always the plain cross-entropy, "
        "without label smoothing and without a teacher's term, so that settings compare.",
    ),
    (
        ("gap_acc",),
        "training minus validation accuracy in the last epoch, the mean over the runs. Training figures are running "
        "means over augmented batches with dropout, so a gap below 0 is no mistake.",
    ),
    (("gap_loss",), "validation minus training loss (both the plain cross-entropy) in the last epoch, the mean."),
    (
        ("overfitting_epoch",),
        "where overfitting begins: the epoch of the lowest validation loss, smoothed over 5 epochs; the median over "
        "the runs, one whose loss still fell at the end counting as later than all others; empty where that is the "
        "median, where it rose by no more than noise, and in runs of fewer than 10 epochs.",
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
    (("trials",), "the folders of trials (debug=fast), each in a row of its own; they count in no figure."),
    (("setting",), "what else differs between the rows, as configuration keys."),
)
COLUMNS = [column for columns, _ in MEANINGS for column in columns]
TEXTS = ("model", "aug", "data", "failed", "trials", "setting")
DTYPES = {name: "int64" if name == "runs" else "float64" for name in COLUMNS if name not in TEXTS}


def compare(folder: str | Path) -> pd.DataFrame:
    """Compare the runs of a sweep's folder and write comparison.csv, .md and .png into it, replacing older ones.

    Returns the table of comparison.csv: the columns COLUMNS, a row per setting, the highest validation accuracy first,
    NaN where a figure is unknown. A job whose files are missing or broken has a row of its own, with `failed` alone.
    UserError where no job stands one level below the folder.
    """
    folder = Path(folder)
    runs, errors, trials = _read_jobs(folder)
    conditions = conditions_of(runs)
    rows = [_row(condition) for condition in conditions]
    unread = [name for name in errors if name not in {run.name for run in runs}]
    rows += [dict.fromkeys(TEXTS, "") | {"runs": 0, "failed": name} for name in unread]
    rows += [dict.fromkeys(TEXTS, "") | {"runs": 0, "trials": name} for name in trials]
    table = pd.DataFrame(rows, columns=COLUMNS).astype(DTYPES)
    order = table["val_acc"].sort_values(ascending=False, kind="stable", na_position="last").index
    table = table.loc[order].reset_index(drop=True)
    table.attrs["errors"] = errors

    title = printable("/".join(folder.resolve().parts[-2:]))
    drawn = [
        ((condition.network, condition.aug, f"{condition.label}{unfinished}".strip()), run.epochs)
        for condition in (conditions[i] for i in order if i < len(conditions))
        for unfinished, kind in (("", condition.runs), (" (unfinished)", condition.failed))
        for run in kind
        if len(run.epochs)
    ]
    picture = figures.comparison(
        drawn,
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
        (" ".join(filter(None, (row["model"], row["aug"], row["setting"]))), row)
        for row in table.to_dict("records")
        if row["runs"]
    ]
    parts = []
    if (table["data"] == "synthetic").any():
        parts.append("Synthetic faces: these are no scores on FER2013.")
    parts.append(
        "Validation, the best first (±: standard deviation over seeds; 95 %: interval for that many images;\n"
        "gap: training − validation accuracy, validation − training loss; overfit: epoch from which the\n"
        "validation loss rises by more than noise, empty where it does not or in fewer than 10 epochs):"
    )
    training = [
        (
            name,
            str(row["runs"]),
            _with_std(row, "val_acc"),
            _interval(row, "val_acc"),
            number(row["gap_acc"], "+z.3f"),
            number(row["gap_loss"], "+z.3f"),
            number(row["overfitting_epoch"], "g"),
            size(row["seconds_per_epoch"]),
        )
        for name, row in rows
    ]
    heads = ("setting", "runs", "val_acc", "95 %", "gap_acc", "gap_loss", "overfit", "s/epoch")
    parts = [*parts, _pipes(heads, training, width)] if training else ["No job completed."]
    tests = [
        (name, split, _with_std(row, score), _interval(row, score), number(row[f"{score}_unseen"]))
        for name, row in rows
        for score, split in TESTS.items()
        if not math.isnan(row[score])
    ]
    if tests:
        parts.append("Test, all images and those that do not also stand in Training:")
        parts.append(_pipes(("setting", "test", "accuracy", "95 %", "unseen"), tests, width))
    levels = [(name, *(number(row[f"epochs_to_loss_{level}"], "g") for level in LOSS_LEVELS)) for name, row in rows]
    if levels:
        parts.append("Epochs until the training loss (plain cross-entropy) fell to:")
        parts.append(_pipes(("setting", *map(str, LOSS_LEVELS)), levels, width))
    if trials := [name for name in table["trials"] if name]:
        listed = ", ".join(trials)
        parts.append(textwrap.fill(f"Trials, left out: {listed}", width or 10**6, break_on_hyphens=False))
    if failed := [name for names in table["failed"] if names for name in names.split(SEPARATOR)]:
        reasons = {name: table.attrs["errors"][name] for name in sorted(failed, key=lambda name: in_order(Path(name)))}
        for word, wanted in (("Interrupted", True), ("Failed", False)):
            if names := [name for name, reason in reasons.items() if reason.startswith("interrupted") == wanted]:
                listed = f"{word}: {', '.join(names)}"
                parts.append(textwrap.fill(listed, width or 10**6, break_on_hyphens=False))
    return "\n\n".join(parts)


def _read_jobs(folder: Path) -> tuple[list[Run], dict[str, str], list[str]]:
    """The runs to compare, of those whose configuration is known; for each job that did not complete, by its folder's
    name, why; the names of trials that did."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder; a sweep's folder is wanted")
    marks = ("metrics.json", "config.yaml", ".hydra")
    jobs = [path for path in sorted(folder.iterdir(), key=in_order) if any((path / mark).exists() for mark in marks)]
    if not jobs:
        raise UserError(f"{folder}: no runs one level below it; a sweep's folder is wanted")
    runs, errors, trials = [], {}, []
    for job in jobs:
        if not (job / "metrics.json").exists():
            errors[job.name] = going_on(job, 0)
            continue
        try:
            run = read_run(job)
        except UserError as error:
            errors[job.name] = str(error)
            continue
        if run.metrics["trial"] and run.metrics["completed"]:
            trials.append(run.name)
        elif run.config and not run.metrics["trial"]:
            runs.append(run)
        if reason := why_unfinished(run):
            errors[job.name] = reason
    return runs, errors, trials


def _row(condition: Condition) -> dict[str, Any]:
    runs = [*condition.runs, *condition.failed]
    return {
        "model": condition.network,
        "aug": condition.aug,
        "data": runs[0].metrics["data"] or "",
        "runs": len(condition.runs),
        "setting": condition.label,
        "failed": SEPARATOR.join(run.name for run in condition.failed),
        "trials": "",
        **condition.summary,
    }


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


def _with_std(row: dict, score: str) -> str:
    std = row[f"{score}_std"]
    return number(row[score]) + ("" if math.isnan(std) else f" ± {std:.3f}")


def _interval(row: dict, score: str) -> str:
    return interval((row[f"{score}_lo"], row[f"{score}_hi"]))


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
