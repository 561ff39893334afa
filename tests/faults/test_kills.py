"""Killed at any moment, a run goes on by the same command and ends as if it had never been: `resume=true`."""

import random
import shutil
import signal
from pathlib import Path

import pytest
from harness import ALL, Command, command, equal, finish, half_written, killed_before, of_all, readable, record, run

pytestmark = pytest.mark.slow
KILLED = -signal.SIGKILL


def test_killed_at_random_moments(few_faces_file, whole):
    moments, (undisturbed, seconds) = random.Random(0), whole
    kills = ended = 0
    while kills < (50 if ALL else 3):
        started = Command(*command(few_faces_file))
        started.kill(after=moments.uniform(0.1, 1) * seconds)
        status, said = started.end()
        if status == KILLED:
            kills += 1
            readable(Path("run"))
        else:
            assert status == 0, said
            assert equal(Path("run"), undisturbed)
            shutil.rmtree("run")
            ended += 1
    finish(few_faces_file, undisturbed)
    print(f"{kills} kills, {ended + 1} runs")


def test_killed_before_each_change_of_a_file(few_faces_file, whole):
    """So also between last.ckpt and best.ckpt, and between a file and its place."""
    assert run(*command(few_faces_file), fault=(record, Path("run"), Path("changes")))[0] == 0
    changes = Path("changes").read_text().splitlines()
    assert len([change for change in changes if change.startswith("os.rename") and "last.ckpt" in change]) > 2
    for number in of_all(range(len(changes)), 2):
        shutil.rmtree("run", ignore_errors=True)
        status, said = run(*command(few_faces_file), fault=(killed_before, Path("run"), number))
        assert status == KILLED, (number, changes[number], said)
        finish(few_faces_file, whole[0])


@pytest.mark.parametrize("name", of_all(["best.ckpt", "last.ckpt"], 1))
def test_killed_within_a_checkpoint(few_faces_file, whole, name):
    status, said = run(*command(few_faces_file), fault=(half_written, name))
    assert status == KILLED, said
    assert len(list(Path("run").glob(f"checkpoints/.{name}.*.part"))) == 1
    finish(few_faces_file, whole[0])


def test_killed_before_each_change_of_the_cache(few_faces_file, tmp_path, monkeypatch):
    def audit(fault=()) -> int:
        environ = {"FER_LIGHTNING_CACHE": str(tmp_path / "cache")}
        return run(few_faces_file, module="fer_lightning.audit", fault=fault, **environ)[0]

    assert audit((record, Path("cache"), Path("changes"))) == 0
    expected = Path("audit/audit.json").read_bytes()
    changes = Path("changes").read_text().splitlines()
    for number in of_all(range(len(changes)), 1):
        shutil.rmtree("cache")
        assert audit((killed_before, Path("cache"), number)) == KILLED
        Path("audit/audit.json").unlink(missing_ok=True)
        for _ in range(2):
            assert audit() == 0
            assert Path("audit/audit.json").read_bytes() == expected
        assert len(list(Path("cache").glob("*/[!p]*"))) == 1
