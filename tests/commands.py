"""Running a command in the tests' own process, on small networks; what it leaves; which tests `make faults` keeps."""

import csv
import importlib
import io
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

QUICK = ("data=synthetic", "trainer=cpu", "trainer.max_epochs=2", "data.batch_size=64")
SMALL = {
    "dnn": ("model=dnn", "model.widths=[64,32]"),
    "cnn": ("model=cnn", "model.channels=[4,4,8,8,8]", "model.hidden=16"),
}

ALL = os.environ.get("FAULTS") == "all"  # make faults; otherwise a part of each, which costs seconds
all_faults = pytest.mark.skipif(not ALL, reason="left to `make faults`")


@dataclass
class Ended:
    """How a command ended."""

    status: int
    out: str
    err: str


def run_command(main: Callable[[], None], *arguments: object) -> Ended:
    """Run a command's `main` in this process, in the current folder."""
    out, err, status = io.StringIO(), io.StringIO(), 0
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        patch.setattr("sys.argv", ["command", *map(str, arguments)])
        try:
            main()
        except SystemExit as end:
            status = int(end.code or 0)
    return Ended(status, out.getvalue(), err.getvalue())


def run_here(command: Sequence[str]) -> Ended:
    """`python -m MODULE …` in this process, which spares an import of torch. It must end with 0."""
    python, option, module, *arguments = command
    assert (python, option) == (sys.executable, "-m")
    ended = run_command(importlib.import_module(f"{module}.__main__").main, *arguments)
    assert ended.status == 0, ended.err
    return ended


def rows(path: Path) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def figures(folder: Path) -> list[list[str]]:
    """metrics.csv without the times."""
    return [[cell for name, cell in row.items() if name != "seconds"] for row in rows(folder / "metrics.csv")]


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
