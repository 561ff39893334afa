"""Where nobody reads what is printed, or its letters cannot be: the work is done, and nothing but that is said."""

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from commands import all_faults
from harness import RUN, Command, command, equal, of_all

pytestmark = pytest.mark.slow
PYTHON = f"{sys.executable} -m"
ASCII = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}  # Python itself would take UTF-8 then


def shell(line: str, **environ: str) -> tuple[int, str, str]:
    """A line of bash; its status is that of the first command of a pipe."""
    done = subprocess.run(
        ["bash", "-c", f"{line}; exit ${{PIPESTATUS[0]}}"], env=os.environ | environ, capture_output=True, check=False
    )
    return done.returncode, done.stdout.decode("ascii", "replace"), done.stderr.decode("ascii", "replace")


@pytest.mark.parametrize(
    ("more", "environ", "status", "printed", "said"),
    of_all(
        [
            ("| head -n 1", {}, 0, 1, ""),
            (">&-", {}, 0, 0, ""),
            ("> /dev/full", {}, 1, 0, "what is printed is lost from here on: No space left on device"),
            ("2>&-", {}, 0, 12, ""),
            ("2> /dev/full", {}, 0, 12, ""),
            ("<&- >&- 2>&-", {}, 0, 0, ""),
            ("", {"TERM": "dumb"}, 0, 12, ""),
            ("", ASCII, 0, 12, ""),
            ("", {"PYTHONIOENCODING": "ascii"}, 0, 12, ""),
        ],
        4,
    ),
)
def test_an_audit(few_faces_file, more, environ, status, printed, said):
    ended = shell(f"{PYTHON} fer_lightning.audit {few_faces_file} {more}", **environ)
    assert (ended[0], len(ended[1].splitlines()) >= printed) == (status, True), ended
    assert said in ended[2]
    assert len(ended[2].splitlines()) == bool(said), ended[2]
    assert {path.name for path in Path("audit").iterdir()} == {"audit.json", "audit.html"}


@pytest.mark.parametrize("more", ["2>&-", "2> /dev/full", "2>&1 | head -n 0"])
def test_a_mistake_that_cannot_be_told_keeps_its_status(more):
    assert shell(f"{PYTHON} fer_lightning.audit nowhere {more}")[0] == 2


@pytest.mark.parametrize("module", ["fer_lightning", "fer_lightning.runs"])  # Hydra's and argparse's
def test_help(module):
    assert shell(f"{PYTHON} {module} --help > /dev/full")[0] == 1


def test_a_run_that_nobody_reads(few_faces_file, whole):
    started = Command(*command(few_faces_file))
    started.output.close()
    started.process.join()
    assert started.process.exitcode == 0
    assert equal(Path("run"), whole.folder)


@all_faults
@pytest.mark.parametrize(
    ("more", "environ"),
    [
        ("2>&1 | head -n 1", {}),
        ("> /dev/full", {}),
        (">&- 2>&-", {}),
        ("| cat", ASCII),
        ("| cat", {"PYTHONIOENCODING": "ascii", "TERM": "dumb"}),
    ],
)
def test_a_run(few_faces_file, whole, more, environ):
    """It goes on to its end; the log has what could not be printed."""
    run = shlex.join([*RUN, f"data.root={few_faces_file}", "hydra.run.dir=run"])
    status, printed, said = shell(f"{PYTHON} fer_lightning {run} {more}", **environ)
    assert status == ("full" in more), said
    assert "Error" not in said
    assert equal(Path("run"), whole.folder)
    log = Path("run/fer_lightning.log").read_text(encoding="utf-8")
    assert "DNN, aug=norm_aug: best epoch" in log
    if "cat" in more:
        assert "DNN, aug=norm_aug: best epoch" in printed
        assert "\\u2013" in printed  # of a class without predictions
