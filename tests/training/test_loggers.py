"""Loggers beside TensorBoard, offline: each gets the curves by the same names; a package that is missing is named."""

import csv
import sys
from pathlib import Path

import pytest
from commands import QUICK, SMALL, rows
from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from fer_lightning.training.loggers import Board

RUN = (*SMALL["dnn"], *QUICK)
CURVES = {
    "train/loss": "train_loss", "train/acc": "train_acc", "train/cross_entropy": "train_cross_entropy",
    "val/loss": "val_loss", "val/acc": "val_acc", "lr": "lr",
}  # fmt: skip


def recorded(run: Path) -> dict[str, list[float]]:
    """The curves as metrics.csv has them."""
    table = rows(run / "metrics.csv")
    return {name: pytest.approx([float(row[column]) for row in table], rel=1e-6) for name, column in CURVES.items()}


@pytest.mark.slow
def test_the_csv_logger_has_the_curves_once_also_of_a_run_that_went_on(cli, tmp_path):
    assert cli(*RUN, "logger=csv", "hydra.run.dir=run").status == 0
    assert cli(*RUN, "logger=csv", "trainer.max_epochs=3", "ckpt_path=run").status == 0
    run = tmp_path / "run"
    with open(run / "csv" / "metrics.csv", newline="") as file:
        lines = [line for line in csv.DictReader(file) if line["val/acc"]]
    assert [line["step"] for line in lines] == ["1", "2", "3"]
    assert {name: [float(line[name]) for line in lines] for name in CURVES} == recorded(run)
    events = EventAccumulator(str(run)).Reload()  # as `tensorboard --load_fast=false`, which purges nothing
    drawn = {name: [float(make_ndarray(event.tensor_proto)) for event in events.Tensors(name)] for name in CURVES}
    assert drawn == recorded(run)
    assert [event.step for event in events.Tensors("test/public_acc")] == [3]


def test_each_epoch_stands_once_in_a_tensorboard_that_is_running_and_nothing_of_others_is_lost(trained):
    run = trained("run", *RUN)
    own = run / "events.out.tfevents.1.host"
    own.write_bytes(b"")
    board = EventAccumulator(str(run)).Reload()
    for _ in range(2):
        again = Board(run)
        for epoch in (1, 2, 3):
            again.log_metrics({"val/acc": 0.5}, epoch)
        again.finalize("success")
        board.Reload()
        assert [event.step for event in board.Tensors("val/acc")] == [1, 2, 3]
        assert "pictures/mistakes" not in board.Tags()["tensors"] or not board.Tensors("pictures/mistakes")
        again.experiment.close()
    assert own.exists()
    assert sum(path.stat().st_size > 0 for path in run.glob("*tfevents*")) == 1


def test_events_stand_in_a_folder_of_any_name(tmp_path, monkeypatch):
    monkeypatch.setenv("RUN", "elsewhere")
    Board(tmp_path / "~" / "$RUN").experiment.close()
    assert len(list((tmp_path / "~" / "$RUN").glob("*tfevents*"))) == 1


def test_several_loggers_are_a_list(composed):
    chosen = composed("logger=[csv,wandb]").logger
    assert (chosen.tensorboard, chosen.csv, chosen.wandb) == (True, True, True)


@pytest.mark.parametrize(("name", "folder"), [("wandb", False), ("mlflow", True)])
def test_a_missing_package_is_one_message_before_any_work(cli, tmp_path, monkeypatch, name, folder):
    """A folder of the package's name, as its program leaves it in the current one, is no package."""
    if folder:
        (tmp_path / name).mkdir()
        monkeypatch.setattr(sys, "path", [str(tmp_path)])
        monkeypatch.delitem(sys.modules, name, raising=False)
    else:
        monkeypatch.setitem(sys.modules, name, None)
    ended = cli(*RUN, f"logger={name}")
    assert ended.status == 2
    assert f"logger={name}: it needs a package: pip install 'fer_lightning[{name}]'" in ended.err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.filterwarnings("ignore")  # its own
def test_weights_and_biases_has_the_curves_of_each_job_of_a_sweep(cli, tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb", reason="the extra wandb is not installed")
    logged: dict[str, list[dict[str, float]]] = {}
    usual = wandb.Run.log

    def log(self, data, *arguments, **more):
        logged.setdefault(self.name, []).append(data)
        usual(self, data, *arguments, **more)

    monkeypatch.setattr(wandb.Run, "log", log)
    monkeypatch.setenv("WANDB_MODE", "offline")
    ended = cli("--multirun", *RUN, "logger=wandb", "seed=0,1", "hydra.sweep.dir=sweep")
    assert ended.status == 0, ended.err
    jobs = sorted(path for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert [job.name for job in jobs] == list(logged)
    for job in jobs:
        epochs = [line for line in logged[job.name] if "val/acc" in line]
        assert {name: [line[name] for line in epochs] for name in CURVES} == recorded(job)
        assert len(list(job.glob("wandb/offline-run-*/*.wandb"))) == 1


@pytest.mark.filterwarnings("ignore")  # its own
def test_mlflow_has_the_curves_the_settings_and_the_scores(cli, tmp_path, monkeypatch):
    pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    from mlflow.tracking import MlflowClient

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ended = cli(*RUN, "logger=mlflow", "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    client = MlflowClient(f"sqlite:///{tmp_path}/run/mlflow.db")
    experiment = client.get_experiment_by_name("fer_lightning")
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.run_name, run.info.status) == ("run", "FINISHED")
    assert run.data.params["optimizer.lr"] == "0.001"
    assert "test/public_acc" in run.data.metrics
    history = {name: [point.value for point in client.get_metric_history(run.info.run_id, name)] for name in CURVES}
    assert history == recorded(tmp_path / "run")
