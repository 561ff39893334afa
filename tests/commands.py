"""Running a command in the tests' own process; which tests are left to `make faults`."""

import io
import os
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass

import pytest

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
