"""A sweep goes on where it stopped, its jobs known by their settings; one process works in a folder."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from commands import QUICK, SMALL, figures, tree
from omegaconf import DictConfig

import fer_lightning.train
from fer_lightning.errors import UserError
from fer_lightning.results.lock import FolderLock

pytestmark = pytest.mark.slow

RUN = (*SMALL["dnn"], *QUICK, "logger=none", "trainer.max_epochs=3")
SWEEP = ("--multirun", *RUN)
SCORES = ["model", "aug", "runs", "val_acc", "val_acc_std", "test_public_acc", "test_private_acc", "gap_loss"]


def jobs(sweep: Path) -> list[str]:
    return sorted(path.name for path in sweep.glob("[0-9]*"))


def same(mine: Path, whole: Path) -> None:
    """Two sweeps have the same jobs with the same figures, to the last digit."""
    assert jobs(mine) == jobs(whole)
    for name in jobs(mine):
        assert figures(mine / name) == figures(whole / name)
        assert (mine / name / "predictions.csv").read_bytes() == (whole / name / "predictions.csv").read_bytes()
        assert json.loads((mine / name / "metrics.json").read_text())["completed"]
    tables = [pd.read_csv(sweep / "comparison.csv", dtype=str)[SCORES] for sweep in (mine, whole)]
    pd.testing.assert_frame_equal(*tables)


@pytest.fixture(scope="module")
def whole(cli, tmp_path_factory) -> Path:
    """An undisturbed sweep of three seeds."""
    folder = tmp_path_factory.mktemp("sweep") / "whole"
    ended = cli(*SWEEP, "seed=0,1,2", f"hydra.sweep.dir={folder}")
    assert ended.status == 0, ended.err
    return folder


def test_a_run_begun_in_a_job_s_folder_meanwhile_is_not_overwritten(cli, tmp_path, monkeypatch):
    train = fer_lightning.train.train

    def train_and_begin_another(cfg: DictConfig, folder: Path) -> object:
        (other := folder.with_name("1-dnn-norm_aug-seed1")).mkdir()
        (other / "metrics.csv").write_text("another's")
        return train(cfg, folder)

    monkeypatch.setattr(fer_lightning.train, "train", train_and_begin_another)
    ended = cli(*SWEEP, "trainer.max_epochs=1", "seed=0,1", "hydra.sweep.dir=sweep")
    assert ended.status == 1
    assert "1-dnn-norm_aug-seed1: another run was done in it meanwhile" in ended.out
    assert (tmp_path / "sweep/1-dnn-norm_aug-seed1/metrics.csv").read_text() == "another's"


def test_a_sweep_ended_in_any_way_goes_on_by_its_command_and_is_the_whole_one(
    cli, tmp_path, monkeypatch, end_in, whole
):
    command = (*SWEEP, "seed=range(0,3)", "hydra.sweep.dir=sweep", "resume=true")
    end_in(2, KeyboardInterrupt())  # in the first job
    ended = cli(*command)
    assert ended.status == 130
    assert jobs(tmp_path / "sweep") == ["0-dnn-norm_aug-seed0"]
    assert "\nInterrupted: 0-dnn-norm_aug-seed0\n" in ended.out
    told = shlex.split(ended.out.split("go on with: python -m fer_lightning ")[1].splitlines()[0])
    assert sorted(told) == sorted(command)

    end_in(4, RuntimeError("of the second job"))  # the third one goes on
    ended = cli(*told)
    assert ended.status == 1
    assert "of 3 jobs 0 complete, 1 to go on, 2 to begin" in ended.out
    assert "Failed: 1-dnn-norm_aug-seed1" in ended.out
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    kept = (tmp_path / "sweep/2-dnn-norm_aug-seed2/metrics.json").stat().st_mtime_ns
    record = tree(tmp_path / "sweep/2-dnn-norm_aug-seed2/.hydra")

    last = tmp_path / "sweep/0-dnn-norm_aug-seed0"
    shutil.rmtree(last)
    last.mkdir()  # killed before it wrote a file
    ended = cli(*command)
    assert ended.status == 0, ended.err
    assert "of 3 jobs 1 complete, 1 to go on, 1 to begin" in ended.out
    assert f"complete already, skipped: {Path('sweep/2-dnn-norm_aug-seed2')}" in ended.out
    assert (tmp_path / "sweep/2-dnn-norm_aug-seed2/metrics.json").stat().st_mtime_ns == kept
    assert tree(tmp_path / "sweep/2-dnn-norm_aug-seed2/.hydra") == record
    same(tmp_path / "sweep", whole)

    ended = cli(*command)  # once more
    assert ended.status == 0
    assert "of 3 jobs 3 complete" in ended.out
    same(tmp_path / "sweep", whole)


def test_a_sweep_may_be_widened_and_known_jobs_keep_their_folders(cli, tmp_path, whole):
    """Whatever their numbers and names are now: here what was fixed is swept, and interpolated."""
    shutil.copytree(whole, tmp_path / "sweep")
    before = {name: tree(tmp_path / "sweep" / name) for name in jobs(whole)}
    wider = (*SWEEP, "aug=norm_aug,none", "seed=2", "data.split_seed=${seed}", "optimizer.lr=0.001,0.01")
    ended = cli(*wider, "trainer.max_epochs=3", "hydra.sweep.dir=sweep", "resume=true")
    assert ended.status == 0, ended.err
    assert "of 4 jobs 1 complete, 0 to go on, 3 to begin" in ended.out
    assert jobs(tmp_path / "sweep") == [
        *(*jobs(whole), "3-dnn-norm_aug-lr0.01", "4-dnn-none-lr0.001", "5-dnn-none-lr0.01"),
    ]
    after = {name: tree(tmp_path / "sweep" / name) for name in jobs(whole)}
    for name in before:  # a line in Hydra's log tells that it was skipped
        changed = {path for path in {*before[name], *after[name]} if after[name].get(path) != before[name].get(path)}
        assert changed <= {"fer_lightning.log"}
    table = pd.read_csv(tmp_path / "sweep" / "comparison.csv")
    assert table["runs"].sum() == 6
    assert (tmp_path / "sweep" / "multirun-1.yaml").read_text() == (whole / "multirun.yaml").read_text()


def test_a_longer_and_wider_sweep_keeps_its_jobs_and_what_is_swept_sets_them_apart(cli, tmp_path, whole):
    """Threads decide no figure but the last digits; swept, each number is a job of its own."""
    shutil.copytree(whole / "1-dnn-norm_aug-seed1", tmp_path / "sweep" / "0-dnn-norm_aug")  # begun without seeds
    shutil.copy(whole / "jobs.json", tmp_path / "sweep")
    ended = cli(*SWEEP, "seed=1,5", "trainer.max_epochs=4", "hydra.sweep.dir=sweep", "resume=true")
    assert ended.status == 0, ended.err
    assert "of 2 jobs 0 complete, 1 to go on, 1 to begin" in ended.out
    assert jobs(tmp_path / "sweep") == ["0-dnn-norm_aug", "1-dnn-norm_aug-seed5"]
    own = json.loads((tmp_path / "sweep/0-dnn-norm_aug/metrics.json").read_text())["device"]
    other = 2 if own.endswith(" 1 thread") else 1
    ended = cli(
        *SWEEP, "seed=1", "trainer.max_epochs=4", f"trainer.threads={other},9", "hydra.sweep.dir=sweep", "resume=true"
    )
    assert ended.status == 0, ended.err
    assert "of 2 jobs 0 complete, 0 to go on, 2 to begin" in ended.out
    table = pd.read_csv(tmp_path / "sweep" / "comparison.csv")
    assert sorted(table["runs"]) == [1, 1, 2]  # seed 1 by itself with either number, with seed 5 by the usual one


def test_the_exit_status_is_of_the_jobs_of_this_command(cli, tmp_path, whole):
    """Whatever else stands in the folder, and though an earlier, shorter run of a job is complete."""
    shutil.copytree(whole, tmp_path / "sweep")
    command = (*SWEEP, "hydra.sweep.dir=sweep", "resume=true")
    with FolderLock(tmp_path / "sweep" / "0-dnn-norm_aug-seed0"):
        ended = cli(*command, "seed=0", "trainer.max_epochs=4")
    assert (ended.status, "works in it" in ended.out) == (1, True)
    path = tmp_path / "sweep" / "2-dnn-norm_aug-seed2" / "metrics.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"completed": False, "error": "diverged"}))
    ended = cli(*command, "seed=0,1")
    assert (ended.status, "\nFailed: 2-dnn-norm_aug-seed2\n" in ended.out) == (0, True)


def test_what_a_folder_holds_is_not_taken_for_something_else(cli, tmp_path, monkeypatch, whole):
    shutil.copytree(whole, tmp_path / "sweep")
    job = tmp_path / "sweep" / "0-dnn-norm_aug-seed0"
    shutil.copytree(job, tmp_path / "run")
    metrics = json.loads((job / "metrics.json").read_text())
    shutil.copytree(job, tmp_path / "old")
    (tmp_path / "old" / "metrics.json").write_text(json.dumps(metrics | {"decisive_settings": None}))
    (tmp_path / "old" / "checkpoints" / "last.ckpt").unlink()
    shutil.copytree(job, tmp_path / "other_data")
    (tmp_path / "other_data" / "metrics.json").write_text(json.dumps(metrics | {"data_fingerprint": "0" * 16}))
    shutil.copytree(job, tmp_path / "lost")
    (tmp_path / "lost" / "metrics.json").write_text(json.dumps(metrics | {"completed": False}))
    (tmp_path / "lost" / "checkpoints" / "last.ckpt").unlink()
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "curves.png").write_text("mine")
    (tmp_path / "mine" / "comparison.md").write_text("mine")
    before = tree(tmp_path)
    for arguments, *words in (
        ((*RUN, "hydra.run.dir=run"), "already holds a run", "resume=true"),
        ((*RUN, "hydra.run.dir=mine"), "mine: it holds curves.png, which is not ours"),
        ((*RUN, "hydra.run.dir=mine", "resume=true"), "mine: it holds curves.png, which is not ours"),
        ((*SWEEP, "seed=0,1", "hydra.sweep.dir=mine", "resume=true"), "mine: it holds comparison.md"),
        ((*SWEEP, "hydra/launcher=submitit_slurm", "seed=0,1"), "there is no srun here"),
        ((*RUN, "resume=true"), "hydra.run.dir=PATH", "name it"),
        ((*SWEEP, "seed=0,1", "resume=true"), "hydra.sweep.dir=PATH", "name it"),
        ((*RUN, "resume=true", "ckpt_path=run", "hydra.run.dir=run"), "resume=true with ckpt_path"),
        ((*RUN, "resume=true", "optimizer.lr=1", "hydra.run.dir=run"), "run with optimizer.lr=0.001 (now 1)"),
        ((*RUN, "resume=true", "trainer.max_epochs=1", "hydra.run.dir=run"), "3 epochs behind it", "ends at 1"),
        ((*RUN, "resume=true", "hydra.run.dir=sweep"), "sweep: it holds a sweep"),
        ((*RUN, "resume=true", "hydra.run.dir=old"), "no record of its settings", "fer_lightning 0"),
        ((*RUN, "resume=true", "hydra.run.dir=other_data"), "other test images"),
        ((*RUN, "resume=true", "hydra.run.dir=lost"), "metrics.csv: it has epochs, but checkpoints/last.ckpt"),
        ((*SWEEP, "seed=0,1", "resume=true", "hydra.sweep.dir=run"), "run: it holds a run, not a sweep"),
        ((*SWEEP, "seed=0,1", "hydra.sweep.dir=sweep"), "sweep: it already holds a sweep", "resume=true"),
        ((*SWEEP, "seed=0,1", "resume=true", "optimizer.lr=1", "hydra.sweep.dir=sweep"), "sweep/0-dnn-norm_aug-seed0: ",
         "optimizer.lr=0.001 (now 1)"),
        ((*SWEEP, "seed=0,1", "hydra.sweep.dir=new", "hydra.sweep.subdir=job"), "2 jobs would write into job"),
        ((*SWEEP, "seed=0,1", "hydra.sweep.dir=new", "hydra.sweep.subdir=a/${seed}"), "side by side"),
        ((*SWEEP, "seed=0,1", "hydra.sweep.dir=run/metrics.csv"), "it is a file"),
        ((*SWEEP, "aug=glob(x*)", "hydra.sweep.dir=new"), "aug=glob(x*): it has no values"),
    ):  # fmt: skip
        ended = cli(*arguments)
        assert ended.status == 2, arguments
        assert [word for word in words if word not in ended.err] == []
    assert tree(tmp_path) == before
    assert not (tmp_path / "new").exists()


def test_a_folder_is_held_by_one_process_until_it_dies(cli, tmp_path, whole):
    shutil.copytree(whole, tmp_path / "sweep")
    job = "sweep/0-dnn-norm_aug-seed0"
    code = f"""
from pathlib import Path
from fer_lightning.results.lock import FolderLock
held = [FolderLock(Path(name)) for name in ("sweep", "{job}")]
print("held", flush=True)
input()
"""
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    before = tree(tmp_path)
    for arguments in (
        (*SWEEP, "seed=0,1,2", "hydra.sweep.dir=sweep", "resume=true"),
        (*RUN, f"hydra.run.dir={job}", "resume=true"),
        (*RUN, f"ckpt_path={job}", "trainer.max_epochs=4"),
    ):
        ended = cli(*arguments)
        assert ended.status == 2
        assert f"process {holder.pid} on {os.uname().nodename} works in it" in ended.err
    assert tree(tmp_path) == before
    holder.kill()
    holder.communicate()
    assert cli(*RUN, f"ckpt_path={job}", "trainer.max_epochs=4").status == 0
    with FolderLock(tmp_path / "sweep"), pytest.raises(UserError, match=f"process {os.getpid()} on"):
        FolderLock(tmp_path / "sweep")
    assert not list((tmp_path / "sweep").rglob(".locked-by"))
