"""Data that vanish under a run, weights that are lost, no home, folders that take nothing, a clock that is set back."""

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from commands import ALL, all_faults
from harness import (
    RUN,
    Command,
    clock_set_back,
    command,
    equal,
    finish,
    of_all,
    removed_in_epoch,
    run,
    truncated_in_epoch,
    weights_lost_in_epoch,
    without_a_home,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def data(few_faces_file, tmp_path):
    """A copy of the data with a cache of its own."""
    return Path(shutil.copy(few_faces_file, tmp_path / "own.npz")), {"FER_LIGHTNING_CACHE": str(tmp_path / "cache")}


@pytest.fixture
def read_only(tmp_path):
    """A folder in a file system that is read-only, with what is in it."""
    folder = tmp_path / "read-only"
    folder.mkdir()

    def mount() -> Path:
        for options in (["--bind", folder], ["-o", "remount,bind,ro"]):
            if subprocess.run(["mount", *options, folder], check=False, capture_output=True).returncode:
                pytest.skip("no file system may be mounted here (root may)")
        return folder

    yield mount
    subprocess.run(["umount", "-l", folder], check=False, capture_output=True)


def test_data_and_its_cache_vanish_under_a_run(data, whole):
    path, environ = data
    status, said = run(*command(path), fault=(removed_in_epoch, 2, path, Path("cache")), **environ)
    assert status == 0, said
    assert equal(Path("run"), whole.folder)
    status, said = run("run", module="fer_lightning.evaluate", **environ)
    assert (status, len(said.splitlines()), str(path) in said) == (2, 1, True), said


@all_faults
def test_data_vanishes_under_a_run_that_ends_and_other_data_is_there_later(data, whole, few_faces_file):
    path, environ = data
    status, said = run(*command(path), "trainer.max_epochs=2", fault=(removed_in_epoch, 2, path), **environ)
    assert status == 0, said
    before = (Path("run") / "metrics.csv").read_bytes()
    status, said = run(*command(path), **environ)
    assert (status, "Traceback" in said) == (2, False), said
    path.write_bytes(b"no archive")
    status, said = run(*command(path), **environ)
    assert (status, "Traceback" in said) == (2, False), said
    assert (Path("run") / "metrics.csv").read_bytes() == before
    shutil.copy(few_faces_file, path)
    finish(path, whole.folder)


@all_faults
def test_a_cache_that_is_cut_off_under_a_run(data, whole):
    """Nobody's bug but that of who did it: at worst the system kills the run, which then goes on."""
    path, environ = data
    status, said = run(*command(path), fault=(truncated_in_epoch, 2, Path("cache")), **environ)
    assert status in (0, -signal.SIGBUS), said
    status, said = run(*command(path), **environ)
    assert status == 0, said
    assert equal(Path("run"), whole.folder)


def test_a_loss_that_is_no_number(few_faces_file, whole):
    status, said = run(*command(few_faces_file), fault=(weights_lost_in_epoch, 3))
    assert (status, "Traceback" in said) == (1, False)
    assert [line for line in said.splitlines() if line.startswith("fer_lightning: ")] == [
        "fer_lightning: the training loss became nan in epoch 3: training diverged; a lower optimizer.lr is the usual "
        "remedy"
    ]
    assert len(pd.read_csv("run/metrics.csv")) == 2
    assert torch.load("run/checkpoints/last.ckpt", weights_only=True)["epoch"] == 2
    assert "diverged" in json.loads(Path("run/metrics.json").read_text())["error"]
    finish(few_faces_file, whole.folder)


def test_a_clock_that_is_set_back(data, whole):
    """An hour a second. Also the files of the cache then come from the future."""
    path, environ = data
    for _ in range(2 if ALL else 1):
        shutil.rmtree("run", ignore_errors=True)
        status, said = run(*command(path), "logger=tensorboard", fault=(clock_set_back,), **environ)
        assert status == 0, said
        assert equal(Path("run"), whole.folder)
        assert (pd.read_csv("run/metrics.csv")["seconds"] >= 0).all()
        assert json.loads(Path("run/metrics.json").read_text())["fit_seconds"] >= 0


@pytest.mark.parametrize("number", of_all([signal.SIGHUP, signal.SIGTERM, signal.SIGUSR1, signal.SIGXCPU], 1))
def test_what_ends_a_run_like_ctrl_c(few_faces_file, whole, number):
    """A lost terminal, a kill, SLURM's warning, a limit on CPU seconds."""
    started = Command(*command(few_faces_file))
    while not Path("run/metrics.csv").is_file() or Path("run/metrics.csv").read_text().count("\n") < 3:
        time.sleep(0.005)
    os.kill(started.process.pid, number)
    status, said = started.end()
    assert (status, "interrupted; go on with" in said, "Traceback" in said) == (130, True, False), said
    assert json.loads(Path("run/metrics.json").read_text())["interrupted"]
    finish(few_faces_file, whole.folder)


def test_a_current_folder_that_is_gone(cli, tmp_path, monkeypatch):
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    ended = cli("--help")
    monkeypatch.chdir(tmp_path)
    assert (ended.status, ended.err) == (
        2,
        "fer_lightning: the current folder is no longer there; change into one that is\n",
    )


@pytest.mark.parametrize("key", ["hydra.run.dir", "hydra.sweep.dir", "data.root"])
def test_a_name_that_is_too_long(cli, key):
    ended = cli(*(["--multirun", "seed=0,1"] if "sweep" in key else []), *RUN, f"{key}={300 * 'a'}")
    assert (ended.status, "File name too long" in ended.err, "Traceback" in ended.err) == (2, True, False)


@all_faults
def test_no_home(few_faces_file, whole):
    status, said = run(*command(few_faces_file), "resume=false", fault=(without_a_home,))
    assert (status, said.count("cannot be kept in the cache"), "Traceback" in said) == (0, 1, False), said
    assert equal(Path("run"), whole.folder)


@all_faults
def test_a_read_only_home_and_cache(few_faces_file, whole, read_only):
    home = str(read_only())
    environ = {"HOME": home, "FER_LIGHTNING_CACHE": f"{home}/cache", "MPLCONFIGDIR": f"{home}/matplotlib"}
    status, said = run(*command(few_faces_file), "resume=false", **environ)
    assert (status, said.count("Read-only file system"), "Traceback" in said) == (0, 1, False), said
    assert equal(Path("run"), whole.folder)


def test_a_read_only_folder_for_what_is_written(few_faces_file, whole, tmp_path, read_only):
    shutil.copytree(whole.folder, tmp_path / "read-only" / "run")
    folder = read_only()
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    cases = (
        ("fer_lightning", *command(few_faces_file, folder / "new")),
        ("fer_lightning", *command(few_faces_file, folder / "run"), "trainer.max_epochs=5"),
        ("fer_lightning.evaluate", folder / "run"),
        ("fer_lightning.evaluate", folder / "run", "--out", folder / "out"),
        ("fer_lightning.audit", few_faces_file, "--out", folder / "out"),
        ("fer_lightning.audit", few_faces_file, "--out", folder),
        ("fer_lightning.report", folder / "run", "--out", folder / "report.html"),
    )
    for module, *arguments in of_all(cases, 3):
        status, said = run(*arguments, module=module)
        messages = [line for line in said.splitlines() if line.startswith("fer_lightning: ")]
        assert (status in (1, 2), len(messages), "Traceback" in said) == (True, 1, False), (arguments, status, said)
        assert "Read-only file system" in messages[0]
        assert str(folder) in messages[0]
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before
