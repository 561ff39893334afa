"""Killed at any moment, a run goes on by the same command and ends as if it had never been: `resume=true`."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import pytest
from commands import ALL, all_faults, figures
from harness import (
    RUN,
    Command,
    command,
    equal,
    finish,
    half_written,
    killed_before,
    of_all,
    readable,
    record,
    run,
)

from fer_lightning.errors import UserError
from fer_lightning.results.lock import FolderLock

pytestmark = pytest.mark.slow
KILLED = -signal.SIGKILL


def killed_at_random(again: Sequence[str], folder: Path, seconds: float, seed: int, equal: Callable[[], bool]) -> None:
    """A command that takes so many seconds is repeated, and killed on the way 2 or 50 times; each end is equal."""
    moments, kills, ended, killed = random.Random(seed), 0, 0, False
    most = 50 if ALL else 2
    while kills < most or killed:
        started = Command(*again)
        if kills < most:
            started.kill(after=moments.uniform(0.2, 1) * seconds)
        status, said = started.end()
        killed = status == KILLED
        if killed:
            kills += 1
            for run in (folder, *folder.glob("[0-9]*")):
                readable(run)
            continue
        assert status == 0, said
        assert equal()
        assert list(folder.rglob("*.part")) == []
        shutil.rmtree(folder)
        ended += 1
    print(f"{kills} kills; it ended {ended} times")


def test_a_run_killed_at_random_moments(few_faces_file, whole):
    run = Path("run")
    killed_at_random(command(few_faces_file, run), run, whole.seconds, 0, lambda: equal(run, whole.folder))


def test_killed_before_each_change_of_a_file(few_faces_file, whole):
    """So also between last.ckpt and best.ckpt, and between a file and its place."""
    assert len([change for change in whole.changes if change.startswith("os.rename") and "last.ckpt" in change]) > 2
    for number in of_all(range(len(whole.changes)), 1):
        shutil.rmtree("run", ignore_errors=True)
        status, said = run(*command(few_faces_file), fault=(killed_before, Path("run"), number))
        assert status == KILLED, (number, whole.changes[number], said)
        finish(few_faces_file, whole.folder)


@pytest.mark.parametrize("name", of_all(["best.ckpt", "last.ckpt"], 1))
def test_killed_within_a_checkpoint(few_faces_file, whole, name):
    status, said = run(*command(few_faces_file), fault=(half_written, name))
    assert status == KILLED, said
    assert len(list(Path("run").glob(f"checkpoints/.{name}.*.part"))) == 1
    finish(few_faces_file, whole.folder)


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


SEEDS = (0, 1, 2)


def sweep(data: Path, folder: Path = Path("sweep")) -> tuple[str, ...]:
    """What is repeated after any death of a sweep."""
    seeds = f"seed={','.join(map(str, SEEDS))}"
    return ("--multirun", *RUN, seeds, f"data.root={data}", f"hydra.sweep.dir={folder}", "resume=true")


def same_sweep(mine: Path, whole: Path) -> bool:
    """comparison.csv but for its times, and every job."""
    tables = [pd.read_csv(folder / "comparison.csv", dtype=str) for folder in (mine, whole)]
    one, two = (table.drop(columns="seconds_per_epoch") for table in tables)
    return one.equals(two) and all(
        equal(mine / f"{n}-dnn-norm_aug-seed{n}", whole / f"{n}-dnn-norm_aug-seed{n}") for n in SEEDS
    )


@all_faults
def test_a_sweep_killed_at_random_moments(few_faces_file, tmp_path):
    whole, began = tmp_path / "whole_sweep", time.monotonic()
    status, said = run(*sweep(few_faces_file, whole))
    assert status == 0, said
    seconds = time.monotonic() - began
    mine = Path("sweep")
    killed_at_random(sweep(few_faces_file, mine), mine, seconds, 1, lambda: same_sweep(mine, whole))


@all_faults
def test_ctrl_c_in_a_parallel_sweep(few_faces_file, tmp_path):
    """Pressed once, it ends both jobs in their epochs, begins no other, compares, and says how to go on."""
    serial = (*sweep(few_faces_file), "trainer.threads=1")
    parallel = (*serial, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "trainer.max_epochs=1000")
    process = subprocess.Popen(
        [sys.executable, "-m", "fer_lightning", *parallel], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    wait_until(lambda: len(list(Path("sweep").glob("*/checkpoints/best.ckpt"))) == 2)
    os.killpg(process.pid, signal.SIGINT)
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "Traceback" not in said
    assert "Interrupted: 0-dnn-norm_aug-seed0, 1-dnn-norm_aug-seed1, 2-dnn-norm_aug-seed2" in said
    assert "go on with: python -m fer_lightning --multirun" in said
    epochs = [len(figures(Path("sweep", f"{n}-dnn-norm_aug-seed{n}"))) for n in (0, 1)]
    status, said = run(*serial, f"trainer.max_epochs={max(epochs) + 2}")
    assert status == 0, said
    assert "of 3 jobs 0 complete, 2 to go on, 1 to begin" in said


@all_faults
def test_a_parallel_sweep_whose_own_process_is_killed(few_faces_file):
    """Its workers end as well, so the same command finishes it."""
    command = (*sweep(few_faces_file), "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "trainer.threads=1")
    started = subprocess.Popen([sys.executable, "-m", "fer_lightning", *command, "trainer.max_epochs=40"])
    wait_until(lambda: len(list(Path("sweep").glob("*/checkpoints/best.ckpt"))) == 2)
    started.kill()
    started.wait()
    wait_until(lambda: all(not held(job) for job in Path("sweep").glob("[0-9]*")))
    epochs = [len(figures(job)) for job in Path("sweep").glob("[0-9]*")]
    ended = subprocess.run([sys.executable, "-m", "fer_lightning", *command, f"trainer.max_epochs={max(epochs) + 1}"])
    assert ended.returncode == 0


def held(folder: Path) -> bool:
    try:
        FolderLock(folder).release()
    except UserError:
        return True
    return False


def wait_until(true: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)
