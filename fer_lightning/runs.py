"""The runs of a folder, sorted and filtered, and how to go on: python -m fer_lightning.runs [PATH] [--sort val_acc]"""

import argparse
import json
import re
import shlex
import shutil
import sys
import textwrap
from datetime import datetime
from pathlib import Path
from typing import Any

from fer_lightning.errors import UserError, command_parser, printable, run_command
from fer_lightning.results import lock
from fer_lightning.results.paths import command_to_go_on, expanded, here, last_checkpoint, read_jobs

DESCRIPTION = """\
List the runs in PATH and anywhere below it, a sweep's jobs too: accuracy on validation data and on
PublicTest, the best of how many epochs, done/planned, settings, state, folder. Of a run that is not
finished: why, and the command that goes on with it. Nothing in the folders is changed.
Exit status: 0 listed; 2 a mistake, such as a PATH that is not there."""

LARGEST_FIRST = ("val_acc", "test_public_acc", "date", "epochs", "best_epoch")
SORT = (*LARGEST_FIRST, "seconds", "model", "aug", "seed", "state", "folder")
HEADS = {"val_acc": "val_acc", "test_public_acc": "public", "best_epoch": "best"} | {
    key: key for key in ("epochs", "model", "aug", "seed", "data", "state")
}
TO_THE_RIGHT = ("val_acc", "test_public_acc", "best_epoch", "epochs", "seed", "seconds")
TOLD = 5  # unfinished runs, up to which a list of all says why they are

Row = dict[str, Any]


def main() -> None:
    """The command: exit status 0 listed, 2 a mistake in the input."""
    parser = command_parser("runs", DESCRIPTION)
    parser.add_argument("path", metavar="PATH", type=Path, nargs="?", default=Path("outputs"), help="default: outputs")
    parser.add_argument(
        "--sort",
        metavar="KEY",
        choices=SORT,
        help=f"one of {', '.join(SORT)}: best, newest, most first, the others rising; default: date, when metrics.json "
        "was last written",
    )
    parser.add_argument("--reverse", action="store_true", help="the other way round")
    parser.add_argument("--model", metavar="NAME", help="only these: cnn, dnn, …")
    parser.add_argument("--aug", metavar="NAME", help="only these: none, norm, norm_aug, …")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--finished", action="store_true", help="only these")
    which.add_argument("--unfinished", action="store_true", help="only these, each with why and how to go on")
    parser.add_argument("--json", action="store_true", help="for programs: all that is known of each, as JSON")
    run_command(lambda: show(parser.parse_args()))


def show(arguments: argparse.Namespace) -> None:
    """Print the list. UserError where PATH is no folder."""
    from fer_lightning.results.run_folder import begun_folders

    path = expanded(arguments.path)
    rows = [look(folder) for folder in begun_folders(path)]
    wanted = {key: value for key in ("model", "aug") if (value := getattr(arguments, key)) is not None}
    chosen = [row for row in rows if all(row[key] == value for key, value in wanted.items())]
    if arguments.finished or arguments.unfinished:
        chosen = [row for row in chosen if is_finished(row) == arguments.finished]
    chosen = in_turn(chosen, arguments.sort or "date", arguments.reverse)
    if arguments.json:
        print(json.dumps(chosen, indent=2))
    elif not rows:
        print(f"no run below {path}; `python -m fer_lightning` begins one in outputs/, --help tells how to choose it")
    elif not chosen:
        asked = [f"{key}={value}" for key, value in wanted.items()]
        asked += [word for word in ("finished", "unfinished") if getattr(arguments, word)]
        there = [f"; {key}: {', '.join(sorted({row[key] for row in rows if row[key]}))}" for key in wanted]
        print(f"of {len(rows)} runs below {path}, none is {' and '.join(asked)}{''.join(there)}")
    else:
        width = shutil.get_terminal_size((100, 24)).columns if sys.stdout.isatty() else None
        print(table(chosen, arguments.sort, width))
        print(f"\n{closing(chosen, arguments.unfinished, arguments.finished, width)}")


def is_finished(row: Row) -> bool:
    return row["state"] in ("finished", "trial")


def look(folder: Path) -> Row:
    """What is known of one run, as primitives; None where it is not. Never an error: a broken one says why it is."""
    from fer_lightning.results import run_folder

    scores, curves = folder / "metrics.json", folder / "metrics.csv"
    row: Row = dict.fromkeys(
        ("folder", "state", "why", "go_on", "model", "aug", "seed", "data", "epochs", "max_epochs", "best_epoch")
    ) | dict.fromkeys(("val_acc", "test_public_acc", "seconds"))
    written = (scores if scores.is_file() else folder).stat().st_mtime
    row |= {"folder": str(folder), "date": datetime.fromtimestamp(written).isoformat(" ", "seconds")}
    try:
        metrics = run_folder.read_metrics(scores) if scores.is_file() else dict.fromkeys(run_folder.METRIC_KEYS)
        row |= {key: metrics[key] for key in row if key in metrics}
        row |= {"data": "synthetic" if metrics["synthetic"] else metrics["data"], "seconds": metrics["train_seconds"]}
        if metrics["completed"]:
            return row | {"state": "trial" if metrics["trial"] else "finished"}
        epochs = run_folder.read_epochs(curves) if curves.is_file() else run_folder.epochs_table([])
    except UserError as error:
        return row | {"state": "broken", "why": " ".join(str(error).removeprefix(f"{folder}/").split())}
    validated = epochs.dropna(subset=["val_acc"]).to_dict("records")
    row["epochs"] = len(epochs)
    if row["best_epoch"] is None and validated:
        best = run_folder.best_row(validated)  # type: ignore[arg-type]
        row |= {"best_epoch": best["epoch"], "val_acc": best["val_acc"], "seconds": float(epochs["seconds"].sum())}
    why = run_folder.why_unfinished(run_folder.Run(folder, folder.name, {}, metrics, epochs))
    assert why is not None
    known = re.match("interrupted|running|killed", why)
    row |= {"state": known[0] if known else "failed", "why": why}
    if row["state"] == "running":
        return row
    if row["epochs"] and not last_checkpoint(folder).is_file():
        row["why"] += "; it can't go on: checkpoints/last.ckpt is not there"
    else:
        row["go_on"] = way_on(folder)
    return row


def way_on(folder: Path) -> str | None:
    """The command that goes on with a run, or with the sweep it is a job of.

    None where it is not recorded, or the sweep is going on.
    """
    from fer_lightning.results.run_folder import cd_to, own_recipes, record_of

    sweep = (folder.parent / "multirun.yaml").is_file()
    place = folder.parent if sweep else folder
    record = record_of(place, sweep)
    if lock.held(place):
        return None
    try:
        typed = [str(word) for key in ("task", "hydra") for word in record["overrides"][key]]
        words = [*own_recipes(record), *typed]
    except (AttributeError, KeyError, TypeError):  # not as Hydra writes it
        return None
    there = cd_to(record)
    return there + command_to_go_on(words, place.absolute() if there else here(place), sweep)


def in_turn(rows: list[Row], key: str, reverse: bool) -> list[Row]:
    """Sorted by a key of SORT; what is not known comes last either way, equal ones stay in the order of folders."""
    if key == "folder":
        return rows[::-1] if reverse else rows
    known = [row for row in rows if row[key] is not None]
    known = sorted(known, key=lambda row: row[key], reverse=(key in LARGEST_FIRST) != reverse)
    return [*known, *(row for row in rows if row[key] is None)]


def table(rows: list[Row], sort: str | None, width: int | None) -> str:
    """A line a run, with what it is sorted by; the folder last, in a line of its own where `width` is too small."""
    heads = dict(HEADS)
    if sort is not None and sort != "folder":
        heads.setdefault(sort, sort)
    lines = [heads, *({key: cell(row, key) for key in heads} for row in rows)]
    folders = ["folder", *(shlex.quote(row["folder"]) for row in rows)]
    widths = {key: max(len(line[key]) for line in lines) for key in heads}
    texts = [
        "  ".join(f"{line[key]:{'>' if key in TO_THE_RIGHT else '<'}{widths[key]}}" for key in heads) for line in lines
    ]
    between = "  " if width is None or len(texts[0]) + 2 + max(map(len, folders)) <= width else "\n    "
    return "\n".join(f"{text}{between}{folder}" for text, folder in zip(texts, folders, strict=True))


def cell(row: Row, key: Any) -> str:
    value = row[key]
    if key == "epochs" and value is not None and row["max_epochs"] is not None:
        return f"{value}/{row['max_epochs']}"
    if value is None:
        return "–"
    if key in ("val_acc", "test_public_acc"):
        return f"{value:.4f}"
    return f"{value:.0f}" if key == "seconds" else printable(str(value))


def closing(rows: list[Row], why: bool, finished: bool, width: int | None) -> str:
    """How many there are; of the unfinished ones why, and the commands that go on."""
    left = [row for row in rows if not is_finished(row)]
    said = f"{len(rows)} run{'s'[: len(rows) != 1]}: {len(rows) - len(left)} finished, {len(left)} not"
    waiting = {} if finished else not_begun(rows)
    if not left and not waiting:
        return said
    if len(left) > TOLD and not why:
        return f"{said}; why, and how to go on: --unfinished"
    reasons = [f"{shlex.quote(row['folder'])}: {printable(row['why'])}" for row in left]
    reasons += [text for text, _ in waiting.values()]
    lines = [
        said,
        *(text if width is None else textwrap.fill(text, width, subsequent_indent="    ") for text in reasons),
    ]
    commands = dict.fromkeys([*(row["go_on"] for row in left), *(command for _, command in waiting.values())])
    if found := [command for command in commands if command]:
        lines += ["go on with:", *found]
    return "\n".join(lines)


def not_begun(rows: list[Row]) -> dict[Path, tuple[str, str | None]]:
    """Of the sweeps whose jobs are listed, those that have jobs without a folder: how many, and what goes on."""
    found = {}
    for sweep in dict.fromkeys(Path(row["folder"]).parent for row in rows):
        try:
            jobs = [str(job["folder"]) for job in read_jobs(sweep).get("jobs", [])]
        except (OSError, ValueError, KeyError, TypeError, AttributeError):  # a broken one says nothing
            continue
        if missing := [job for job in jobs if not (sweep / job).is_dir()]:
            text = f"{shlex.quote(str(sweep))}: {len(missing)} of its {len(jobs)} jobs have not begun"
            found[sweep] = (text, way_on(sweep / missing[0]))
    return found


if __name__ == "__main__":
    main()
