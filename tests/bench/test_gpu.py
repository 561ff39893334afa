"""bench/gpu.sh: what its stages run, how it ends, and what it leaves. A script stands in for Python."""

import os
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from commands import Ended

from fer_lightning.settings.build import check

SCRIPT = Path(__file__).parents[2] / "bench" / "gpu.sh"
PYTHON = """#!/bin/bash
echo "$*" >> calls
for run in published-0 published-1; do
    mkdir -p "outputs/gpu/$run/checkpoints"
    touch "outputs/gpu/$run/"{metrics.csv,mistakes.png,checkpoints/best.ckpt}
done
case "$*" in
"""


@pytest.fixture
def begin(tmp_path):
    """`begin("published", "*seed=1*) exit 1")`: the script, begun with these stages, in small.

    case: what Python does at a command line of some pattern, in bash; nothing by default.
    """

    def begin(stages: str, case: str = "") -> subprocess.Popen[str]:
        python = tmp_path / "python"
        python.write_text(f"{PYTHON}{case or '-*) ;;'}\nesac\n")
        python.chmod(0o755)
        environment = os.environ | {"PYTHON": str(python), "STAGES": stages}
        usual = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored, as under nohup, it would stay so in the script
        script = subprocess.Popen(
            [SCRIPT, "--tiny", "--out", "out"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        signal.signal(signal.SIGHUP, usual)
        return script

    return begin


@pytest.fixture
def run(begin):
    """`begin`, and how it ended."""

    def run(*arguments: str) -> Ended:
        script = begin(*arguments)
        out, err = script.communicate()
        return Ended(script.returncode, out, err)

    return run


def test_its_trainings_can_be_had_and_its_small_files_have_no_face(run, composed, tmp_path):
    ended = run("probe published best ablation baseline")
    assert (ended.status, ended.err) == (0, "")
    calls = [line.removeprefix("-m ").split() for line in (tmp_path / "calls").read_text().splitlines()]
    trained = [settings for module, *settings in calls if module == "fer_lightning"]
    for settings in trained:
        assert settings.pop() == "resume=true"
        check(composed(*settings[:-1]))
    assert len({settings[-1] for settings in trained}) == 2 + 3 + 3 + 2  # folders
    assert len([module for module, *_ in calls if module == "fer_lightning.evaluate"]) == 4
    assert len([module for module, *_ in calls if module == "bench"]) == 1
    with tarfile.open(tmp_path / "out" / "small.tar.gz") as packed:
        files = set(packed.getnames())
    assert {"published-0/metrics.csv", "published-1/metrics.csv", "published-0.log"} <= files
    assert not [file for file in files if "mistakes" in file or file.endswith(".ckpt")]


def test_what_fails_is_named_with_what_it_said_and_the_rest_is_done(run):
    ended = run("probe published", "*seed=1*) echo no such choice; exit 1 ;;")
    assert ended.status == 1
    assert "no such choice\n" in ended.out
    assert ended.err == "failed: published-1\n"
    assert "published-2" in ended.out


def test_what_was_cut_off_is_for_the_next_call(run, tmp_path):
    ended = run("best", "*seed=1*) exit 130 ;;")
    assert ended.status == 75
    assert ended.out.endswith("unfinished: best-1; the same call goes on\n")
    assert "fer_lightning.evaluate" not in (tmp_path / "calls").read_text()  # of three, not of two


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_runs_and_results_are_written(begin, tmp_path, number):
    script = begin("published best", "*resume=true) trap 'touch ended; exit 130' TERM; sleep 60 & wait ;;")
    while not (tmp_path / "calls").exists() or (tmp_path / "calls").read_text().count("\n") < 3:
        time.sleep(0.1)
    script.send_signal(number)
    script.communicate()
    assert script.returncode == 130
    assert (tmp_path / "ended").exists()
    assert "best" not in (tmp_path / "calls").read_text()
    assert (tmp_path / "out" / "small.tar.gz").is_file()


@pytest.mark.parametrize(
    ("words", "surroundings", "told"),
    [
        ([], {"STAGES": "best publish"}, "STAGES: no stage is called publish"),
        ([], {"MINUTES": "1"}, "MINUTES=1: it must be a whole number from 2 to 99"),
        ([], {}, "--data PATH is missing"),
        (["best"], {}, "best: no option and no key=value"),
        (["--data", "nowhere"], {}, "--data nowhere: no such file or folder"),
        (["--data"], {}, "--data: its value is missing"),
    ],
)
def test_mistakes(words, surroundings, told, tmp_path):
    ended = subprocess.run(
        [SCRIPT, "--out", "out", *words], env=os.environ | surroundings, capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (2, f"bench/gpu.sh: {told}\n")
    assert not (tmp_path / "out").exists()
