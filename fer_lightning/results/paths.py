"""Where things lie in a run's folder, and what a mistyped path may mean."""

import difflib
import json
import os
import re
import shlex
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from fer_lightning.errors import UserError

RUN_FILES = ("config.yaml", "metrics.csv", "metrics.json", "checkpoints")  # any of them makes a folder a run's
JOBS = "jobs.json"  # of a sweep: each job's folder below it

OUTPUTS = (  # what a run writes after metrics.json
    *("config.yaml", "model.txt", "metrics.csv", "predictions.csv", "submission.csv", "curves.png", "mistakes.png"),
    *("confusion_matrix*.png", "confusion_matrix*.csv"),
)


def refuse_foreign(folder: Path, names: Sequence[str] = OUTPUTS) -> None:
    """Raise UserError where a folder without a run or sweep of ours holds what one would write: these names."""
    for path in (found for name in names for found in sorted(folder.glob(name))):
        raise UserError(f"{folder}: it holds {path.name}, which is not ours and would be lost; name another folder")


def holds_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in RUN_FILES)


def read_jobs(sweep: Path) -> dict[str, Any]:
    """What jobs.json of a sweep's folder says; nothing where there is none."""
    path = sweep / JOBS
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return found


def expanded(path: str | Path) -> Path:
    """A path with the home that `~` means; without one, as it stands."""
    return Path(os.path.expanduser(path))


def best_checkpoint(path: str | Path) -> Path:
    """The checkpoint to score that `path`, a file or a run's folder, means."""
    return _checkpoint(Path(path), "best.ckpt")


def last_checkpoint(path: str | Path) -> Path:
    """The checkpoint to go on from that `path`, a file or a run's folder, means."""
    return _checkpoint(Path(path), "last.ckpt")


def _checkpoint(path: Path, name: str) -> Path:
    path = expanded(path)
    return path / "checkpoints" / name if os.path.isdir(path) else path


def run_of(checkpoint: Path) -> Path:
    """The folder of the run that a checkpoint, in its `checkpoints`, belongs to."""
    return checkpoint.resolve().parents[1]


def in_order(path: Path) -> list[list[tuple[int, int, str]]]:
    """A key to sort paths by in which runs of digits compare as numbers: `2-dnn` < `10-dnn`."""
    return [
        [(0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in re.split(r"(\d+)", part) if piece]
        for part in path.parts
    ]


def override(key: str, path: str | Path) -> str:
    """`key=path` as Hydra reads it on a command line."""
    return f"{key}={quoted(path)}"


def quoted(path: str | Path) -> str:
    """A path as a value on Hydra's command line: in quotes where its characters mean something to it."""
    text = str(path)
    if not re.fullmatch(r"[A-Za-z0-9_./+@:-]+", text) or is_no_text(text):
        from hydra.core.override_parser.types import Quote, QuotedString  # not for who only reads a run

        text = QuotedString(text, Quote.double).with_quotes()
    return text


def is_no_text(value: str) -> bool:
    """Whether Hydra reads a value as a number, a truth or null."""
    try:
        float(value)
    except ValueError:
        return value.lower() in ("true", "false", "null")
    return True


def here(path: str | Path) -> str:
    """A path from the current folder; whole where that is gone or on another drive (Windows).

    No program takes it for an option or a home (`-x`, `~x`).
    """
    try:
        found = os.path.relpath(path)
    except (ValueError, OSError):
        return str(Path(path).absolute())
    return f"./{found}" if found.startswith(("-", "~")) else found


def command_to_go_on(given: Sequence[str], folder: str | Path, sweep: bool) -> str:
    """The command that goes on with the run or sweep in `folder`, which `given`, a command's words, has begun."""
    other = ("--multirun", "-m", "ckpt_path=", "resume=", "hydra.mode=", "hydra.run.dir=", "hydra.sweep.dir=")
    words = [*["--multirun"][: int(sweep)], *(word for word in given if not word.lstrip("+").startswith(other))]
    key = "hydra.sweep.dir" if sweep else "hydra.run.dir"
    return f"python -m fer_lightning {shlex.join([*words, override(key, folder), 'resume=true'])}"


def nearest(path: Path) -> str:
    """A hint at the name most like the first part of `path` that does not exist, for the end of a message."""
    while not os.path.exists(path.parent):
        path = path.parent
    names: list[str] = []
    with suppress(OSError):  # of a file, and of a folder that may not be read
        names = os.listdir(path.parent)
    near = difflib.get_close_matches(path.name, names, n=1, cutoff=0.4)
    return f"; the nearest is {path.parent / near[0]}" if near else ""
