"""Sweeps whose jobs other processes do, and sweepers that search."""

import json
import os
import re
from pathlib import Path

import pandas as pd
import pytest
from commands import SMALL, all_faults
from joblib.externals.loky import get_reusable_executor
from test_sweep import jobs, same

pytestmark = pytest.mark.slow

OWN = """
import os, signal
from pathlib import Path
from fer_lightning.models import DNN

class Dying(DNN):
    def on_train_epoch_start(self):
        super().on_train_epoch_start()
        if self.current_epoch == 1 and Path("die").exists():
            os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def sweep(few_faces_file: Path, tmp_path: Path, monkeypatch) -> tuple[str, ...]:
    """A sweep of tiny runs whose process is killed in its second epoch while the file `die` is there."""
    monkeypatch.setenv("FER_LIGHTNING_CACHE", str(tmp_path / "cache"))
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "own_nets.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path / "own")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "own"), prepend=os.pathsep)
    return (
        *("--multirun", *SMALL["dnn"], "model._target_=own_nets.Dying", f"data.root={few_faces_file}", "seed=0,1"),
        *("trainer=cpu", "trainer.max_epochs=3", "trainer.threads=1", "data.batch_size=64", "logger=none"),
    )


@pytest.fixture(params=["joblib", pytest.param("submitit_local", marks=all_faults)])  # half a minute
def launcher(request):
    """Of two jobs at once."""
    yield (f"hydra/launcher={request.param}", *(["hydra.launcher.n_jobs=2"] if request.param == "joblib" else []))
    get_reusable_executor().shutdown(kill_workers=True)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # submitit leaves its processes
def test_a_killed_process_ends_in_one_message_and_the_sweep_goes_on_to_what_a_serial_one_gives(
    cli, tmp_path, sweep, launcher
):
    command = (*sweep, *launcher, "hydra.sweep.dir=parallel", "resume=true")
    (tmp_path / "die").touch()
    ended = cli(*command)
    assert ended.status == 1
    assert "Traceback" not in ended.err
    (message,) = re.findall("a process of the sweep was killed .*", ended.out)
    assert "go on with: python -m fer_lightning --multirun" in message
    assert "No job completed" in (tmp_path / "parallel" / "comparison.md").read_text()
    (tmp_path / "die").unlink()
    ended = cli(*command)
    assert ended.status == 0, ended.err
    assert "of 2 jobs 0 complete" in ended.out
    for name in ("0-dnn-norm_aug-seed0", "1-dnn-norm_aug-seed1"):
        assert f"\n{name}: epoch 3/3 " in ended.out
    assert not re.search("^epoch 3/3", ended.out, flags=re.MULTILINE)
    assert cli(*sweep, "hydra.sweep.dir=serial").status == 0
    same(tmp_path / "parallel", tmp_path / "serial")
    for name in jobs(tmp_path / "parallel"):
        assert json.loads((tmp_path / "parallel" / name / "metrics.json").read_text())["device"].endswith(", 1 thread")
    assert len(list((tmp_path / "cache").glob("faces.npz-*/*"))) == 1

    if "hydra/launcher=joblib" not in launcher:
        return
    ended = cli(*command, "optimizer.lr=0.001,1e30")  # wider, by what fails
    assert ended.status == 1
    assert "of 4 jobs 2 complete, 0 to go on, 2 to begin" in ended.out
    assert ended.out.count("failed: 2-dnn-norm_aug-seed0-lr1e30: the training loss became") == 1
    assert "Failed: 2-dnn-norm_aug-seed0-lr1e30, 3-dnn-norm_aug-seed1-lr1e30\n" in ended.out
    assert pd.read_csv(tmp_path / "parallel" / "comparison.csv")["runs"].tolist() == [2, 0]


@pytest.mark.filterwarnings("ignore:.*declarative_base")  # of optuna, which the plugin wants below 3
def test_a_sweeper_that_searches_hears_the_validation_accuracy(cli, tmp_path, sweep):
    search = [word for word in sweep if word != "seed=0,1"]
    ended = cli(
        *(*search, "hydra/sweeper=optuna", "hydra.sweeper.n_trials=2", "hydra.sweeper.direction=maximize"),
        *("optimizer.lr=interval(1e-4,1e-2)", "hydra.sweep.dir=sweep"),
    )
    assert ended.status == 0, ended.err
    names = jobs(tmp_path / "sweep")
    assert [name.partition("-lr")[0] for name in names] == ["0-dnn-norm_aug", "1-dnn-norm_aug"]
    best = max(json.loads((tmp_path / "sweep" / name / "metrics.json").read_text())["val_acc"] for name in names)
    assert f"best_value: {best}" in (tmp_path / "sweep" / "optimization_results.yaml").read_text()
    ended = cli(*search, "hydra/sweeper=optuna", "hydra.sweep.dir=sweep", "resume=true")
    assert (ended.status, "chooses its jobs as it goes" in ended.err) == (2, True)
    ended = cli(*search, "hydra/sweeper=optuna", "optimizer.lr=interval(-1,1)", "hydra.sweep.dir=new")
    assert (ended.status, "optimizer.lr=-1" in ended.err) == (2, True)


def test_a_single_joblib_job_at_once_is_done_in_this_process_and_hears_ctrl_c(cli, tmp_path, sweep, end_in):
    end_in(2, KeyboardInterrupt())
    ended = cli(*sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1", "hydra.sweep.dir=sweep")
    assert ended.status == 130
    assert "\nepoch 1/3 " in ended.out
    assert jobs(tmp_path / "sweep") == ["0-dnn-norm_aug-seed0"]
    assert ended.out.count("go on with: ") == 1
