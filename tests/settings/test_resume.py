"""An interrupted run keeps what it has, and goes on as if it had never stopped."""

import errno
import json
import os
import shlex
import shutil
import signal
import tempfile
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from commands import QUICK, SMALL, figures, rows, tree
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from fer_lightning.results.run_folder import read_run, why_unfinished
from fer_lightning.settings.build import resolve
from fer_lightning.settings.resume import laid_out
from fer_lightning.training.checkpoints import DECISIVE, Checkpoints
from fer_lightning.training.distillation import Teachers
from fer_lightning.training.recorder import Recorder

pytestmark = pytest.mark.slow

RUN = (*SMALL["dnn"], *QUICK, "logger=none", "trainer.max_epochs=5")
MIXED = ("aug.mixup=0.2", "aug.cutmix=1", "aug.mix_until=0.7")
RECIPES = {
    "plateau": (*RUN, "scheduler=plateau", "scheduler.patience=0", "scheduler.factor=0.1", "logger=tensorboard"),
    "ema": (*RUN, *MIXED, "optimizer=adamw", "averaging=ema", "averaging.every=3", "scheduler=cosine",
            "scheduler.warmup_epochs=1"),
    "swa": (*RUN, *MIXED, "optimizer=sgd", "averaging=swa", "averaging.start=0.4", "scheduler=onecycle"),
    "low_res": (*RUN[len(SMALL["dnn"]) :], *SMALL["cnn"], "trainer.precision=32-true", "+trainer.limit_train_batches=3",
                "aug.low_res_until=0.7"),
}  # fmt: skip


@pytest.fixture
def interrupt(monkeypatch):
    """`interrupt(3)` presses Ctrl-C in the third epoch, once."""

    def at(epoch: int) -> None:
        usual = Recorder.on_validation_start

        def pressed(self, trainer, pl_module):
            if trainer.current_epoch + 1 == epoch:
                monkeypatch.setattr(Recorder, "on_validation_start", usual)
                os.kill(os.getpid(), signal.SIGINT)
            usual(self, trainer, pl_module)

        monkeypatch.setattr(Recorder, "on_validation_start", pressed)

    return at


def test_checkpoints_take_the_place_of_earlier_ones_in_one_step(cli, tmp_path, monkeypatch):
    """Killed while it writes one, a run has that of before: none is copied from a temporary folder elsewhere."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(elsewhere))
    made = []
    monkeypatch.setattr(tempfile, "mkstemp", lambda *a, usual=tempfile.mkstemp, **k: made.append(a) or usual(*a, **k))
    targets, saved = [], torch.save
    monkeypatch.setattr(torch, "save", lambda content, target: targets.append(target) or saved(content, target))
    replaced, usual = [], Path.replace

    def full(self, target):
        if target.name == "last.ckpt":
            replaced.append(torch.load(self, weights_only=True)["epoch"])  # whole before it is put in place
            if len(replaced) >= 3:
                raise OSError(errno.ENOSPC, "No space left on device")
        return usual(self, target)

    with monkeypatch.context() as patch:
        patch.setattr("fer_lightning.training.recorder.SAVED_EVERY", 0)  # after each epoch
        patch.setattr(Path, "replace", full)
        ended = cli(*RUN, "hydra.run.dir=run")
    last = "run/checkpoints/last.ckpt: it cannot be written: No space left on device; free some space, then go on"
    assert (ended.status, ended.err.count("No space left"), last in ended.err) == (1, 1, True)
    assert replaced == [0, 1, 2, 2]  # tried once more when the training ends
    assert made == []
    assert {Path(target.name).parent.name for target in targets} == {"checkpoints"}  # written there, not in memory
    assert torch.load(tmp_path / "run/checkpoints/last.ckpt", weights_only=True)["epoch"] == 1
    assert {path.name for path in (tmp_path / "run/checkpoints").iterdir()} == {"last.ckpt", "best.ckpt"}
    assert cli(*RUN, "ckpt_path=run").status == 0


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_resumed_run_is_the_whole_run(cli, trained, tmp_path, interrupt, recipe):
    run = RECIPES[recipe]
    trained("whole", *run)
    interrupt(4)
    ended = cli(*run, "hydra.run.dir=parts")
    assert ended.status == 130
    assert "go on with" in ended.out
    metrics = json.loads((tmp_path / "parts" / "metrics.json").read_text())
    assert (metrics["completed"], metrics["interrupted"], metrics["epochs"]) == (False, True, 3)
    assert torch.load(tmp_path / "parts" / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == 3
    assert metrics["test_public_acc"] is None
    assert metrics["val_acc"] is not None
    assert (tmp_path / "parts" / "curves.png").exists()
    assert (tmp_path / "parts" / "mistakes.png").exists()
    with open(tmp_path / "parts" / "metrics.csv", "a") as file:
        file.write("4,1.93")  # half a line, as a full disk leaves it
    ended = cli(*run, "ckpt_path=parts/checkpoints/last.ckpt")
    assert ended.status == 0, ended.err
    assert figures(tmp_path / "parts") == figures(tmp_path / "whole")
    assert (tmp_path / "parts" / "predictions.csv").read_bytes() == (
        tmp_path / "whole" / "predictions.csv"
    ).read_bytes()
    assert json.loads((tmp_path / "parts" / "metrics.json").read_text())["completed"]
    assert not (tmp_path / "outputs").exists()
    if "logger=tensorboard" in run:
        events = EventAccumulator(str(tmp_path / "parts")).Reload()
        for tag in ("train/loss", "val/acc", "lr"):
            assert [event.step for event in events.Scalars(tag)] == [1, 2, 3, 4, 5]


def told(ended):
    """The arguments of the command that is printed to go on."""
    return shlex.split(ended.out.split("go on with: python -m fer_lightning ")[1].splitlines()[0])


def pressed(*arguments):
    """Ctrl-C, in place of what would be done."""
    raise KeyboardInterrupt


def test_ctrl_c_while_teachers_are_asked_ends_as_in_an_epoch(cli, trained, tmp_path, monkeypatch):
    trained("teacher", *RUN, "trainer.max_epochs=1")
    student = (*RUN, "distill.teachers=[teacher]", "distill.once=true")
    with monkeypatch.context() as patch:
        patch.setattr(Teachers, "soft_targets", pressed)
        ended = cli(*student, "hydra.run.dir=run")
    assert ended.status == 130
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["completed"], metrics["interrupted"]) == (False, True)
    assert cli(*told(ended)).status == 0  # though there was no checkpoint yet
    assert len(rows(tmp_path / "run" / "metrics.csv")) == 5

    # where a run goes on elsewhere, the command that is printed works
    assert cli(*student, "trainer.max_epochs=2", "hydra.run.dir=short").status == 0
    with monkeypatch.context() as patch:
        patch.setattr(Teachers, "soft_targets", pressed)
        ended = cli(*student, "ckpt_path=short", "hydra.run.dir=long")
    assert ended.status == 130
    assert cli(*told(ended)).status == 0
    assert len(rows(tmp_path / "long" / "metrics.csv")) == 5


def test_ctrl_c_in_the_first_epoch_leaves_a_run_that_goes_on(cli, tmp_path, interrupt):
    interrupt(1)
    assert cli(*RUN, "hydra.run.dir=run").status == 130
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["completed"], metrics["epochs"], metrics["val_acc"]) == (False, 0, None)
    assert cli(*RUN, "ckpt_path=run").status == 0
    assert len(rows(tmp_path / "run" / "metrics.csv")) == 5


@pytest.fixture
def ended_before_scoring(cli, monkeypatch):
    """`ended_before_scoring("model=dnn", …)` trains to the end, and Ctrl-C is pressed then; how the command ended."""

    def call(*arguments: str):
        with monkeypatch.context() as patch:
            patch.setattr("fer_lightning.train.predict_splits", pressed)
            ended = cli(*arguments)
        assert ended.status == 130
        return ended

    return call


def test_a_run_ended_while_it_is_scored_goes_on_there_or_elsewhere(cli, ended_before_scoring, trained, tmp_path):
    run = (*RUN, "scheduler=onecycle")
    trained("whole", *run)
    assert "go on with" in ended_before_scoring(*run, "hydra.run.dir=parts").out
    metrics = json.loads((tmp_path / "parts" / "metrics.json").read_text())
    assert (metrics["completed"], metrics["interrupted"], metrics["epochs"]) == (False, True, 5)
    before = tree(tmp_path / "parts")
    assert cli(*run, "ckpt_path=parts", "hydra.run.dir=other").status == 0
    assert tree(tmp_path / "parts") == before
    assert cli(*run, "ckpt_path=parts").status == 0
    for name in ("other", "parts"):
        folder = tmp_path / name
        assert figures(folder) == figures(tmp_path / "whole")
        assert (folder / "predictions.csv").read_bytes() == (tmp_path / "whole" / "predictions.csv").read_bytes()
        metrics, whole = (json.loads((each / "metrics.json").read_text()) for each in (folder, tmp_path / "whole"))
        assert metrics["completed"]
        assert {key for key in whole if whole[key] is not None} == {key for key in metrics if metrics[key] is not None}
        assert cli(*run, f"ckpt_path={name}").status == 2  # nothing is left to do now


def test_more_epochs_continue_a_finished_run_as_if_it_had_not_ended_and_keep_its_settings(cli, trained, tmp_path):
    run = (*RUN, "averaging=ema")
    trained("parts", *run, "trainer.max_epochs=2")
    config = (tmp_path / "parts" / "config.yaml").read_text()
    hydra = (tmp_path / "parts" / ".hydra" / "overrides.yaml").read_text()
    assert cli(*run, "trainer.max_epochs=4", "ckpt_path=parts").status == 0
    trained("whole", *run, "trainer.max_epochs=4")
    assert figures(tmp_path / "parts") == figures(tmp_path / "whole")
    assert (tmp_path / "parts" / "config-1.yaml").read_text() == config
    assert (tmp_path / "parts" / ".hydra" / "overrides.yaml").read_text() == hydra


def test_a_student_goes_on_with_its_teacher_and_its_balanced_sampling(cli, trained, tmp_path, interrupt):
    trained("teacher", *RUN, "trainer.max_epochs=1")
    run = (*RUN, *MIXED, "trainer.max_epochs=3")
    student = ("distill.teachers=[teacher]", "data.sampling=balanced")
    assert cli(*run, *student, "hydra.run.dir=whole").status == 0
    interrupt(2)
    assert cli(*run, *student, "hydra.run.dir=parts").status == 130
    shutil.copytree(tmp_path / "parts", tmp_path / "other")
    assert cli(*run, *student, "ckpt_path=parts").status == 0
    assert figures(tmp_path / "parts") == figures(tmp_path / "whole")
    ended = cli(*run, "distill.teachers=[whole]", "ckpt_path=other")
    assert ended.status == 2
    assert "data.sampling=balanced (now None)" in ended.err
    assert "other teachers" in ended.err


def test_last_ckpt_is_written_at_each_best_epoch_and_at_the_end(cli, tmp_path, monkeypatch):
    """And every SAVED_EVERY seconds, see the first test."""
    written, usual = [], Checkpoints.write
    monkeypatch.setattr(
        Checkpoints, "write", lambda self, best: written.append(self.state["epoch"]) or usual(self, best)
    )
    assert cli(*RUN, "trainer.max_epochs=12", "hydra.run.dir=run").status == 0
    accuracies = pd.read_csv(tmp_path / "run" / "metrics.csv")["val_acc"]
    best = [epoch for epoch in range(1, 13) if accuracies[epoch - 1] > max(accuracies[: epoch - 1], default=0)]
    assert written == sorted({0, *best, 12})
    assert len(written) < 13


def test_ctrl_c_after_an_epoch_and_before_its_state_is_taken_leaves_files_of_one_state(
    cli, trained, tmp_path, monkeypatch
):
    """Of the epoch before: it is trained once more."""
    usual = Recorder._announce

    def pressed(self, trainer, row, seconds):
        usual(self, trainer, row, seconds)
        if row["epoch"] == 2:
            raise KeyboardInterrupt

    trained("whole", *RUN, "trainer.max_epochs=3")
    with monkeypatch.context() as patch:
        patch.setattr(Recorder, "_announce", pressed)
        assert cli(*RUN, "trainer.max_epochs=3", "hydra.run.dir=run").status == 130
    run = tmp_path / "run"
    assert len(rows(run / "metrics.csv")) == json.loads((run / "metrics.json").read_text())["epochs"] == 1
    for name, epoch in (("last", 1), ("best", 0)):
        assert torch.load(run / "checkpoints" / f"{name}.ckpt", weights_only=True)["epoch"] == epoch
    assert cli(*RUN, "trainer.max_epochs=3", "ckpt_path=run").status == 0
    assert figures(run) == figures(tmp_path / "whole")


def test_best_ckpt_is_made_again_where_a_run_was_killed_between_last_ckpt_and_it(cli, trained):
    run = (*RUN, "averaging=ema", "trainer.max_epochs=2")
    folder = trained("run", *run)
    metrics, predictions = (folder / "metrics.json").read_text(), (folder / "predictions.csv").read_bytes()
    assert json.loads(metrics)["best_epoch"] == 2
    best = torch.load(folder / "checkpoints" / "best.ckpt", weights_only=True)
    zeros = {name: torch.zeros_like(tensor) for name, tensor in best["state_dict"].items()}
    torch.save(best | {"epoch": 0, "state_dict": zeros}, folder / "checkpoints" / "best.ckpt")
    (folder / "metrics.json").write_text(metrics.replace('"completed": true', '"completed": false'))
    (folder / "predictions.csv").unlink()
    assert cli(*run, "ckpt_path=run").status == 0
    assert (folder / "predictions.csv").read_bytes() == predictions


def test_a_checkpoint_goes_on_only_among_the_files_of_its_own_state(cli, trained, tmp_path):
    """Otherwise the best epoch's figures and weights could be of different epochs."""
    trained("run", *RUN, "trainer.max_epochs=2")
    checkpoints = tmp_path / "run" / "checkpoints"
    table = pd.read_csv(tmp_path / "run" / "metrics.csv")
    table.assign(val_acc=[0.99, 0.5]).to_csv(tmp_path / "run" / "metrics.csv", index=False)  # the first one is best
    best = torch.load(checkpoints / "best.ckpt", weights_only=True)
    torch.save(best | {"epoch": 0}, checkpoints / "best.ckpt")
    shutil.copy(checkpoints / "last.ckpt", checkpoints / "early.ckpt")
    (tmp_path / "alone").mkdir()
    shutil.copy(checkpoints / "last.ckpt", tmp_path / "alone" / "last.ckpt")
    assert cli(*RUN, "ckpt_path=run").status == 0
    torch.save(best | {"epoch": 4}, checkpoints / "best.ckpt")  # as if the fifth were better
    before = tree(tmp_path)
    for path, named in (("alone/last.ckpt", "copied elsewhere"), ("run/checkpoints/early.ckpt", "is of epoch 5")):
        ended = cli(*RUN, f"ckpt_path={path}", "hydra.run.dir=other")
        assert ended.status == 2
        assert named in ended.err
    assert tree(tmp_path) == before


def test_a_machine_of_another_precision_is_told_the_runs_own(cli, monkeypatch):
    monkeypatch.setattr("fer_lightning.settings.build.best_precision", lambda accelerator: "32-true")
    assert cli(*RUN, "trainer.max_epochs=1", "hydra.run.dir=run").status == 0
    monkeypatch.setattr("fer_lightning.settings.build.best_precision", lambda accelerator: "bf16-mixed")
    ended = cli(*RUN, "ckpt_path=run")
    assert ended.status == 2
    assert "trainer.precision=32-true (now bf16-mixed)" in ended.err
    command = shlex.split(ended.err.partition("python -m fer_lightning ")[2])
    assert command[-2] == "trainer.precision=32-true"
    assert cli(*command, "trainer.max_epochs=2").status == 0


def test_another_number_of_processes_and_other_images_are_refused(cli, trained, tmp_path, monkeypatch, few_faces):
    trained("run", *RUN, "trainer.max_epochs=1")
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    torch.save(checkpoint | {DECISIVE: checkpoint[DECISIVE] | {"number of processes": 2}}, last)
    assert "number of processes=2 (now 1)" in cli(*RUN, "ckpt_path=run").err
    torch.save(checkpoint, last)
    labels = few_faces.labels.copy()
    labels[0] = (labels[0] + 1) % 7
    with monkeypatch.context() as patch:
        patch.setattr("fer_lightning.data.source.built_in_faces", lambda: replace(few_faces, labels=labels))
        assert "other training or validation images, or labels" in cli(*RUN, "ckpt_path=run").err
    assert cli(*RUN, "ckpt_path=run").status == 0


def test_ctrl_c_before_anything_changed_leaves_a_finished_runs_scores(cli, trained, tmp_path, monkeypatch):
    trained("run", *RUN, "trainer.max_epochs=1")
    before = (tmp_path / "run" / "metrics.json").read_bytes()
    monkeypatch.setattr("fer_lightning.train.build", pressed)
    assert cli(*RUN, "ckpt_path=run").status == 130
    assert (tmp_path / "run" / "metrics.json").read_bytes() == before


def test_what_ends_at_a_share_of_the_epochs_keeps_their_number(cli, ended_before_scoring):
    """So the run keeps no last.ckpt once it is complete."""
    run = (*RUN, "averaging=swa", "averaging.start=0.5")
    ended_before_scoring(*run, "trainer.max_epochs=2", "hydra.run.dir=run")
    ended = cli(*run, "trainer.max_epochs=4", "ckpt_path=run")
    assert ended.status == 2
    assert "averaging.start was laid out for 2 epochs" in ended.err
    assert cli(*run, "trainer.max_epochs=2", "ckpt_path=run").status == 0
    assert not Path("run/checkpoints/last.ckpt").exists()
    ended = cli(*run, "trainer.max_epochs=4", "ckpt_path=run")
    assert (ended.status, "its run is complete and was laid out for that many epochs" in ended.err) == (2, True)


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ([], None),
        (["aug.mixup=0.2", "aug.mix_until=0.5"], "aug.mix_until"),
        (["model=cnn", "aug.low_res_until=0.5"], "aug.low_res_until"),
        (["scheduler=cosine"], "its schedule"),
        (["scheduler._target_=own_schedules.towards_the_end"], "its schedule"),
        (["scheduler._target_=own_schedules.whatever_the_length"], None),
    ],
)
def test_what_depends_on_the_planned_length(composed, tmp_path, monkeypatch, overrides, named):
    """A schedule, of one's own too, is asked for its learning rates."""
    (tmp_path / "own_schedules.py").write_text(
        "from torch.optim.lr_scheduler import LambdaLR\n"
        "def towards_the_end(optimizer, epochs, steps_per_epoch):\n"
        "    return {'scheduler': LambdaLR(optimizer, lambda epoch: 1 - epoch / epochs), 'interval': 'epoch'}\n"
        "def whatever_the_length(optimizer, epochs, steps_per_epoch):\n"
        "    return {'scheduler': LambdaLR(optimizer, lambda epoch: 0.9**epoch), 'interval': 'epoch'}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    settings = resolve(composed("model=dnn", *overrides))
    assert laid_out(settings, 1, 2) == named


def test_a_run_goes_on_in_its_folder_however_it_is_named_and_may_lie_in_the_home_folder(cli, tmp_path, monkeypatch):
    """So may a teacher and a sweep."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cli(*RUN, "trainer.max_epochs=1", "hydra.run.dir='~/run'").status == 0
    assert (tmp_path / "run" / "metrics.csv").is_file()
    assert cli(*RUN, "trainer.max_epochs=2", "ckpt_path='~/run'").status == 0
    student = ("trainer.max_epochs=1", "distill.teachers=['~/run']")
    assert cli("--multirun", *RUN, *student, "hydra.sweep.dir='~/sweep'").status == 0
    assert (tmp_path / "sweep" / "comparison.csv").is_file()
    monkeypatch.chdir(tmp_path / "run" / "checkpoints")
    assert cli(*RUN, "trainer.max_epochs=3", "ckpt_path=last.ckpt").status == 0
    assert len(rows(tmp_path / "run" / "metrics.csv")) == 3
    assert {path.name for path in tmp_path.iterdir()} == {"run", "sweep"}


def test_what_cannot_go_on_is_refused_with_the_remedy(cli, ended_before_scoring, tmp_path):
    ended_before_scoring(*RUN, "trainer.max_epochs=2", "scheduler=onecycle", "hydra.run.dir=run")
    (tmp_path / "run" / "config.yaml").unlink()  # the checkpoint tells it
    before = tree(tmp_path / "run")
    shutil.copytree(tmp_path / "run", tmp_path / "other")
    more = ("scheduler=onecycle", "trainer.max_epochs=4")
    changed = {
        "model.widths=[32,32]": "model.widths=[64, 32] (now [32, 32])",
        "optimizer.weight_decay=0.1": "optimizer.weight_decay=0 (now 0.1)",
        "+optimizer.betas=[0.5,0.9]": "optimizer.betas=None (now [0.5, 0.9])",
        "seed=3": "seed=0 (now 3)",
        "aug=norm": "aug.degrees=10 (now 0)",
        "averaging=ema": "averaging=none (now EMA)",
        "data.batch_size=32": "data.batch_size=64 (now 32)",
        "+trainer.accumulate_grad_batches=2": "trainer.accumulate_grad_batches=None (now 2)",
    }
    for arguments, *remedies in (
        ((*RUN, *more, "ckpt_path=run"), "laid out for 2 epochs"),
        ((*QUICK, *SMALL["cnn"], "trainer.max_epochs=4", "ckpt_path=run"), "model=dnn"),
        ((*RUN, "ckpt_path=run/checkpoints/best.ckpt"), "last.ckpt"),
        ((*RUN, *more, "optimizer=adamw", "ckpt_path=run"), "optimizer=Adam (now AdamW)"),
        ((*RUN, "ckpt_path=other/checkpoints/last.ckpt", "hydra.run.dir=run"), "already holds a run"),
        ((*RUN, "ckpt_path=run/metrics.csv"), "not a checkpoint of fer_lightning"),
        ((*RUN, "trainer.max_epochs=4", "ckpt_path=run"), "own settings and data: python -m fer_lightning model=dnn"),
        ((*RUN, *more, *changed, "ckpt_path=run"), *changed.values()),
    ):
        ended = cli(*arguments)
        assert ended.status == 2, arguments
        assert [remedy for remedy in remedies if remedy not in ended.err] == []
        assert "Traceback" not in ended.err
    assert tree(tmp_path / "run") == before


STALLING = (*RUN, "trainer.max_epochs=40", "trainer.patience=2", "optimizer.lr=0.02")


def test_a_run_without_a_better_epoch_ends_early_and_counts_as_finished(cli, tmp_path, interrupt, ended_before_scoring):
    """Interrupted before, or killed between its last epoch and its scores, it ends as the undisturbed one."""
    ended = cli(*STALLING, "hydra.run.dir=whole")
    assert ended.status == 0, ended.err
    whole = tmp_path / "whole"
    accuracies = pd.read_csv(whole / "metrics.csv")["val_acc"]
    epochs = len(accuracies)
    assert 2 < epochs < 40
    assert accuracies.idxmax() + 1 == epochs - 2
    assert all(accuracies[: epoch + 1].max() > accuracies[: epoch - 1].max() for epoch in range(2, epochs - 1))
    assert f"no better for 2 epochs: stopped at epoch {epochs}\n" in ended.out
    assert f"best epoch {epochs - 2} of {epochs}, stopped early (40 were planned)" in ended.out
    metrics = json.loads((whole / "metrics.json").read_text())
    assert (metrics["completed"], metrics["stopped_early"], metrics["epochs"]) == (True, True, epochs)
    assert torch.load(whole / "checkpoints" / "last.ckpt", weights_only=True)["epoch"] == epochs
    assert why_unfinished(read_run(whole)) is None

    interrupt(epochs)
    assert cli(*STALLING, "hydra.run.dir=interrupted").status == 130
    assert not json.loads((tmp_path / "interrupted" / "metrics.json").read_text())["stopped_early"]

    ended_before_scoring(*STALLING, "hydra.run.dir=killed")
    for name in ("interrupted", "killed"):
        assert cli(*STALLING, f"ckpt_path={name}").status == 0
        assert figures(tmp_path / name) == figures(whole)
        assert (tmp_path / name / "predictions.csv").read_bytes() == (whole / "predictions.csv").read_bytes()
        again = json.loads((tmp_path / name / "metrics.json").read_text())
        assert (again["completed"], again["stopped_early"]) == (True, True)

    ended = cli(*STALLING, "ckpt_path=whole")
    assert ended.status == 2
    assert f"by trainer.patience=2 it ends at {epochs}; nothing is left to do (a larger trainer.patience" in ended.err
    assert "a larger trainer.patience" in cli(*STALLING, "trainer.patience=1", "ckpt_path=interrupted").err
    assert cli(*STALLING, "trainer.patience=null", f"trainer.max_epochs={epochs + 1}", "ckpt_path=whole").status == 0
    assert figures(whole)[:epochs] == figures(tmp_path / "killed")
    assert json.loads((whole / "metrics.json").read_text())["stopped_early"] is False
