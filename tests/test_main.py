"""The command at its edges: what a run leaves, what a mistake says, what a sweep compares."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import QUICK, SMALL, figures, rows
from omegaconf import DictConfig
from sklearn.metrics import accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support, recall_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from fer_lightning import __version__, train
from fer_lightning.__main__ import CONF
from fer_lightning.data.faces import CLASSES
from fer_lightning.errors import UserError
from fer_lightning.report import study
from fer_lightning.results import figures as plots
from fer_lightning.results import outputs
from fer_lightning.results.checkpoint import load
from fer_lightning.results.outputs import write_confusions
from fer_lightning.settings import hydra_app
from fer_lightning.settings.build import Experiment, build, resolve
from fer_lightning.training.provenance import commit

AUG = {"dnn": "strong_mix", "cnn": "medium"}  # with mixing; with small pictures
FILES = {
    "config.yaml", "model.txt", "metrics.csv", "metrics.json", "predictions.csv", "curves.png", "confusion_matrix.png",
    "confusion_matrix.csv", "confusion_matrix-public.png", "confusion_matrix-public.csv",
    "confusion_matrix-private.png", "confusion_matrix-private.csv", "mistakes.png", "checkpoints/best.ckpt",
    ".hydra/config.yaml",
}  # fmt: skip


@pytest.mark.parametrize("model", SMALL)
def test_both_networks_leave_a_whole_run(trained, model):
    run = trained("run", *SMALL[model], *QUICK, f"aug={AUG[model]}")
    assert {name for name in FILES if not (run / name).exists()} == set()
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["model"], metrics["data"], metrics["synthetic"]) == (model, "synthetic", True)
    assert (metrics["aug"], metrics["completed"], metrics["epochs"]) == (AUG[model], True, 2)
    epochs = rows(run / "metrics.csv")
    assert ",".join(epochs[0]) == "epoch,train_loss,train_acc,val_loss,val_acc,lr,seconds,train_cross_entropy"
    assert [row["epoch"] for row in epochs] == ["1", "2"]
    assert not [path.name for path in run.glob("*.csv") if b"\r" in path.read_bytes()]


@pytest.fixture(scope="module")
def run(cli, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a small DNN, whose pictures were drawn, with the lines it printed in `run/output`."""
    folder = tmp_path_factory.mktemp("command") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outputs, "figures", plots)
        ended = cli(*SMALL["dnn"], *QUICK, "trainer.max_epochs=4", f"hydra.run.dir={folder}")
    assert ended.status == 0, ended.err
    assert "SYNTHETIC FACES" in ended.out
    (folder / "output").write_text(ended.out)
    return folder


def test_scores_are_those_of_the_predictions_and_of_the_best_epoch(run):
    metrics = json.loads((run / "metrics.json").read_text())
    table = pd.read_csv(run / "predictions.csv")
    assert list(table) == ["split", "index", "target", "predicted", *CLASSES]
    for split, key in (("val", "val"), ("public", "test_public"), ("private", "test_private")):
        part = table[table["split"] == split]
        assert metrics[f"{key}_acc"] == pytest.approx(accuracy_score(part["target"], part["predicted"]), abs=1e-12)
        assert metrics[f"{key}_n"] == len(part)
        low, high = metrics[f"{key}_acc_95"]
        assert low < metrics[f"{key}_acc"] < high
    probabilities = table[list(CLASSES)].to_numpy()
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-4)
    assert (np.array(CLASSES)[probabilities.argmax(1)] == table["predicted"]).mean() > 0.999  # but for ties in print
    epochs = pd.read_csv(run / "metrics.csv")
    best = epochs.loc[epochs["val_acc"].idxmax()]
    assert metrics["best_epoch"] == best["epoch"]
    assert metrics["val_acc"] == pytest.approx(best["val_acc"], abs=1e-6)
    assert metrics["val_loss"] == pytest.approx(best["val_loss"], abs=1e-6)
    val = table[table["split"] == "val"]
    probabilities = val[sorted(CLASSES)].to_numpy()
    probabilities /= probabilities.sum(1, keepdims=True)  # printed to six digits, they sum to one but for rounding
    loss = log_loss(val["target"], probabilities, labels=sorted(CLASSES))
    assert metrics["val_loss"] == pytest.approx(loss, abs=1e-4)
    assert metrics["seconds_per_epoch"] == pytest.approx(epochs["seconds"][1:].median(), abs=1e-3)
    assert metrics["images_per_second"] == pytest.approx(metrics["train_n"] / metrics["seconds_per_epoch"], rel=0.02)


def test_test_scores_beside_those_without_training_images(run, few_faces):
    metrics, faces = json.loads((run / "metrics.json").read_text()), few_faces
    training = set(faces.digests[faces.usage == 0].tolist())
    table = pd.read_csv(run / "predictions.csv")
    part = table[table["split"] == "public"]
    unseen = [digest not in training for digest in faces.digests[part["index"]].tolist()]
    assert metrics["test_public_unseen_n"] == sum(unseen) < len(part)
    hits = (part["target"] == part["predicted"])[unseen]
    assert metrics["test_public_acc_unseen"] == pytest.approx(hits.mean())


@pytest.mark.parametrize(("split", "suffix"), [("val", ""), ("public", "-public"), ("private", "-private")])
def test_confusion_matrix_is_scikit_learns(run, split, suffix):
    table = pd.read_csv(run / "predictions.csv")
    part = table[table["split"] == split]
    written = pd.read_csv(run / f"confusion_matrix{suffix}.csv", index_col="target")
    expected = confusion_matrix(part["target"], part["predicted"], labels=list(CLASSES))
    np.testing.assert_array_equal(written[list(CLASSES)].to_numpy(), expected)
    recall = recall_score(part["target"], part["predicted"], labels=list(CLASSES), average=None, zero_division=np.nan)
    np.testing.assert_allclose(written["recall"], recall, atol=1e-6)


def test_confusion_matrices_of_splits_that_are_no_longer_scored_go(run, tmp_path):
    table = pd.read_csv(run / "predictions.csv")
    for scored, left in ((table, 6), (table[table["split"] == "val"], 2)):  # of a run gone on with
        write_confusions(scored, tmp_path, title="DNN", synthetic=True)
        assert len(list(tmp_path.glob("confusion_matrix*"))) == left


def test_classes_have_precision_recall_and_f1_in_the_run_itself(run):
    metrics = json.loads((run / "metrics.json").read_text())
    table = pd.read_csv(run / "predictions.csv")
    assert list(metrics["classes"]) == ["val", "public", "private"]
    for split, found in metrics["classes"].items():
        part = table[table["split"] == split]
        expected = precision_recall_fscore_support(
            part["target"], part["predicted"], labels=list(CLASSES), zero_division=np.nan
        )
        for key, column in zip(("precision", "recall", "f1", "support"), expected, strict=True):
            mine = [np.nan if found[name][key] is None else found[name][key] for name in CLASSES]
            np.testing.assert_allclose(mine, column, err_msg=f"{split} {key}")
    own = metrics["classes"]["val"]["happy"]
    line = "".join(f"{own[key]:>10.3f}" for key in ("precision", "recall", "f1")) + f"{own['support']:>10}"
    assert f"  {'happy':<11}{line}\n" in (run / "output").read_text()


def test_metrics_json_names_the_code(run):
    metrics = json.loads((run / "metrics.json").read_text())
    assert metrics["versions"]["torch"] == torch.__version__
    assert metrics["versions"]["commit"] == commit(CONF.parent)


def test_the_checkpoint_is_a_network_without_its_source(run, few_faces):
    checkpoint = torch.load(run / "checkpoints" / "best.ckpt", weights_only=True)
    assert checkpoint["FERDataModule"]["classes"] == list(CLASSES)
    assert checkpoint["hyper_parameters"]["widths"] == [64, 32]
    metrics = json.loads((run / "metrics.json").read_text())
    classifier = load(run)
    assert [classifier.normalize.mean, classifier.normalize.std] == metrics["normalization"]
    table = pd.read_csv(run / "predictions.csv")
    val = table[table["split"] == "val"]
    mine = classifier.probabilities(few_faces.pixels[val["index"]], metrics["precision"])
    np.testing.assert_allclose(mine, val[list(CLASSES)], atol=2e-3)


def test_class_weights_are_in_the_objective_and_not_in_the_losses_that_are_compared(cli, tmp_path, run):
    ended = cli(*SMALL["dnn"], *QUICK, "trainer.max_epochs=1", "data.class_weights=balanced", "hydra.run.dir=weighed")
    assert ended.status == 0, ended.err
    (weighed,), plain = rows(tmp_path / "weighed" / "metrics.csv"), rows(run / "metrics.csv")[0]
    assert weighed["train_loss"] != weighed["train_cross_entropy"]
    assert float(weighed["train_cross_entropy"]) == pytest.approx(float(plain["train_cross_entropy"]), rel=0.05)
    assert weighed["val_loss"] != plain["val_loss"]  # of other weights
    metrics = json.loads((tmp_path / "weighed" / "metrics.json").read_text())
    assert metrics["val_loss"] == pytest.approx(float(weighed["val_loss"]))


def test_tensorboard_has_epochs_on_its_axis_images_and_filled_hparams(run):
    events = EventAccumulator(str(run))
    events.Reload()
    epochs = rows(run / "metrics.csv")
    for tag, column in (("train/loss", "train_loss"), ("train/acc", "train_acc"), ("val/loss", "val_loss"),
                        ("val/acc", "val_acc"), ("lr", "lr"),
                        ("train/cross_entropy", "train_cross_entropy")):  # fmt: skip
        points = events.Scalars(tag)
        assert [point.step for point in points] == [1, 2, 3, 4]
        assert [point.value for point in points] == pytest.approx([float(row[column]) for row in epochs])
    metrics = json.loads((run / "metrics.json").read_text())
    assert events.Scalars("test/public_acc")[0].value == pytest.approx(metrics["test_public_acc"])
    (best,) = events.Scalars("val/best_acc")
    assert (best.step, best.value) == (4, pytest.approx(metrics["val_acc"]))
    assert set(events.Tags()["images"]) == {"pictures/confusion_matrix", "pictures/mistakes"}
    shown = {tag.partition("/")[0] for kind in ("scalars", "images") for tag in events.Tags()[kind]}
    assert sorted(shown)[:2] == ["accuracy", "loss"]  # what TensorBoard opens with
    for what, figure in (("accuracy", "acc"), ("loss", "loss")):
        validation, train = events.Scalars(f"{what}/validation"), events.Scalars(f"{what}/train")
        assert [point.value for point in validation] == [point.value for point in events.Scalars(f"val/{figure}")]
        column = {"accuracy": "train_acc", "loss": "train_cross_entropy"}[what]
        assert [point.value for point in train] == pytest.approx([float(row[column]) for row in epochs])
    (layout,) = events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val
    assert all(tag in layout for tag in (b"loss/train", b"loss/validation", b"accuracy/train", b"accuracy/validation"))
    content = events.summary_metadata["_hparams_/session_start_info"].plugin_data.content
    settings = HParamsPluginData.FromString(content).session_start_info.hparams
    assert (settings["model"].string_value, settings["lr"].number_value) == ("dnn", 0.001)
    assert len(settings) == 13
    content = events.summary_metadata["_hparams_/experiment"].plugin_data.content
    scores = HParamsPluginData.FromString(content).experiment.metric_infos
    assert [score.name.tag for score in scores] == ["val/best_acc", "test/public_acc", "test/private_acc"]


def test_the_end_of_a_run_is_told_where_its_folder_has_no_relative_path(monkeypatch):
    """On another drive of Windows; and of a path that a program would take for an option."""
    assert "--logdir ./-x\n" in train.summary({**SUMMARY, "trial": True}, Path("-x")) + "\n"

    def relpath(path: Path, start: object = None) -> str:
        raise ValueError("path is on mount 'D:', start on mount 'C:'")

    monkeypatch.setattr("os.path.relpath", relpath)
    assert train.summary(SUMMARY, Path("/d/run 1")).endswith("tensorboard --logdir '/d/run 1'")


def test_validating_on_public_leaves_no_public_test_score(trained, few_faces):
    run = trained("run", *SMALL["dnn"], *QUICK, "data.val_split=public")
    metrics, faces = json.loads((run / "metrics.json").read_text()), few_faces
    assert metrics["test_public_acc"] is None
    assert metrics["test_private_acc"] is not None
    assert {path.name for path in run.glob("confusion_matrix*.png")} == {
        "confusion_matrix.png", "confusion_matrix-private.png",
    }  # fmt: skip
    assert (metrics["train_n"], metrics["val_n"]) == ((faces.usage == 0).sum(), (faces.usage == 1).sum())


@pytest.mark.slow
def test_an_unlabelled_test_set_gets_a_submission(cli, tmp_path, few_faces):
    faces = few_faces
    text = [" ".join(map(str, face.ravel())) for face in faces.pixels]
    (tmp_path / "course").mkdir()
    train = [f"{label},{pixels}" for label, pixels in zip(faces.labels[:400], text[:400], strict=True)]
    (tmp_path / "course" / "train.csv").write_text("\n".join(["label,feature", *train]) + "\n")
    test = [f"{1000 + i},{pixels}" for i, pixels in enumerate(text[400:450])]
    (tmp_path / "course" / "test.csv").write_text("\n".join(["id,feature", *test]) + "\n")
    ended = cli(*SMALL["dnn"], *QUICK, "data=auto", "data.root=course", "trainer.max_epochs=1", "hydra.run.dir=run")
    assert ended.status == 0, ended.err
    assert (
        "classes of the unlabelled images: run/submission.csv" in (tmp_path / "run" / "fer_lightning.log").read_text()
    )
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["data"] == "fer2013"
    assert (metrics["test_public_acc"], metrics["test_private_acc"]) == (None, None)
    submission = rows(tmp_path / "run" / "submission.csv")
    assert [row["id"] for row in submission] == [str(1000 + i) for i in range(50)]
    expected = load(tmp_path / "run").probabilities(faces.pixels[400:450], metrics["precision"]).argmax(1)
    assert [int(row["label"]) for row in submission] == expected.tolist()


SUMMARY = {"model": "dnn", "aug": "norm", "synthetic": False, "best_epoch": 1, "epochs": 1}
MISTAKES = {
    "an unknown key": (["optimizer.lrr=0.1"], "optimizer.lr"),
    "an unknown choice": (["model=cn"], "nearest: cnn"),
    "an unknown group": (["modle=cnn"], "model"),
    "an unknown argument": (["+model.hiden=3"], "nearest: hidden"),
    "a wrong list for an argument": (
        ["+optimizer.betas=[0.5]"],
        "optimizer.betas=[0.5]: it must be a list, each a number",
    ),
    "an argument that is no setting": (["+scheduler.epochs=3"], "it takes none"),
    "no epoch": (["trainer.max_epochs=0"], "trainer.max_epochs"),
    "an unknown interpolation": (["data.batch_size=${nope}"], "nope"),
    "a drop rate of one": (["model.dropout=[1.0,0.5]", "model=dnn"], "dropout"),
    "an impossible flip": (["aug.flip=3"], "aug.flip"),
    "a precision of GPUs": (["trainer=cpu", "trainer.precision=16-mixed"], "needs a CUDA GPU"),
    "clipping that Lightning refuses": (
        ["trainer=cpu", "trainer.precision=bf16-mixed", "+trainer.gradient_clip_val=1"],
        "optimizer.fused=false",
    ),
    "what a run decides": (["+trainer.default_root_dir=here"], "trainer.default_root_dir"),
    "no validation at all": (["+trainer.limit_val_batches=0"], "trainer.limit_val_batches"),
    "a missing GPU": (["trainer=gpu"], "take trainer=cpu"),
    "data that is not there": (["data=fer2013", "data.root=nowhere"], "nowhere"),
    "no data at all": (["data=fer2013"], "FER2013_ROOT"),
    "a checkpoint that is not there": (["ckpt_path=nowhere.ckpt"], "nowhere.ckpt"),
    "a broken override": (["model=="], "model"),
    "small pictures for a network that takes none": (["model=dnn", "aug.low_res_until=0.5"], "aug.low_res_until"),
    "no group": (["logger=null"], "logger=null: there is no such choice; logger is one of csv, mlflow, none, "),
    "a key of another choice": (["scheduler.warmup_epochs=3"], "but of scheduler=cosine\n"),
    "nothing for a folder": (["hydra.run.dir=", "hydra.sweep.dir="], ".dir: it is empty"),
    "no number in a list": (["aug.scale=[0.5,nan]"], "aug.scale.1=nan: it must be a finite number"),
    "no number for an argument": (["+optimizer.eps=nan"], "optimizer.eps=nan: it must be a finite number"),
    "less than a batch": (["+trainer.limit_val_batches=0.1"], "it leaves none of"),
    "what torch does not join": (["+optimizer.foreach=true"], "optimizer: "),
    "a module for a class": (["optimizer._target_=torch.optim"], "optimizer._target_=torch.optim"),
    "a group taken away": (["~optimizer"], "optimizer: it is missing; choose or set it: optimizer=…"),
    "no teacher": (["distill.teachers=[nowhere]"], "nowhere"),
    "a setting that no one reads": (["+data.num_workers=4"], "data.num_workers: there is no such key; known: name"),
    "a misspelt setting": (["+seeed=1"], "seeed: there is no such key; nearest: seed"),
    "an average's setting without one": (["+averaging.decay=0.9"], "averaging.decay"),
    "a path of Hydra's": (["ckpt_path=${hydra:runtime.cwd}/x"], "/x: no such checkpoint"),
    "a path of Hydra's elsewhere": (["data.root=${hydra.runtime.cwd}"], "are written ${hydra:runtime.cwd} here"),
    "several values": (["seed=0,1"], "are for --multirun seed=0,1; a list is 'seed=[0,1]'\n"),
    "several choices": (["aug=glob(n*)"], "are for --multirun 'aug=glob(n*)'\n"),
    "a plus too many": (["+hydra/launcher=joblib"], "write hydra/launcher=… without the +\n"),
    "a variable without a plus": (["hydra.job.env_set.A=b"], "is added: +hydra.job.env_set.A=…\n"),
    "a typo in Hydra's own": (["hydra.run.dri=run"], "nearest: hydra.run.dir"),
    "another folder of configurations": (["--config-path", "own"], "Primary config module"),
    "options that exclude each other": (["--multirun", "--cfg", "job"], "Only one of --run, --multirun, --cfg"),
    "too long a path to data": (["data=auto", "data.root=" + 300 * "a"], "File name too long"),
    "no folder for a job": (["--multirun", "seed=0", "hydra.sweep.subdir=."], "each in a folder of its own"),
    "too long a name for a job": (["--multirun", "seed=0", "hydra.sweep.subdir=" + 300 * "a"], "longer than a file's"),
    "two ways to balance": (["data.class_weights=balanced", "data.sampling=balanced"], "take one of them"),
    "a key without its group": (["lr=0.01"], "lr: there is no such key; nearest: optimizer.lr\n"),
    "a usual word": (["epochs=3"], "nearest: trainer.max_epochs\n"),
    "a key of another network": (["dropout=0.3"], "nearest: model.dropout (of model=dnn)\n"),
    "a typo in the trainer": (["trainer.max_epoch=3"], "no such key; nearest: trainer.max_epochs\n"),
    "a further argument": (["trainer.deterministic=true"], "is added: +trainer.deterministic=…\n"),
    "an option": (["--epochs", "3"], "--epochs: there is no such option; settings are written key=value"),
    "a folder for a choice of data": (["data=./x/y.csv"], "a file or folder is data.root=./x/y.csv\n"),
    "a key that its group forbids": (["data.rot=x"], "data.rot: there is no such key; nearest: data.root\n"),
    "too long a warm-up": (["scheduler=cosine", "scheduler.warmup_epochs=9", "trainer.max_epochs=3"], "warmup_epochs"),
    "an unknown choice among others": (["--multirun", "aug=norm,nrm"], "nearest: norm"),
    "no choice among others": (["--multirun", "model=dnn,null"], "model=null: there is no such choice"),
    "a launcher that there is not": (["--multirun", "hydra/launcher=loky", "seed=0,1"], "launcher=loky: there is no"),
    "a key of another launcher": (["--multirun", "hydra.launcher.n_jobs=2", "seed=0,1"], "hydra/launcher=joblib"),
    "an unknown key with values": (["--multirun", "optimizer.lrr=0.1,0.2"], "nearest: optimizer.lr"),
    "batch normalization on the CPU": (["trainer=cpu", "+trainer.sync_batchnorm=true"], "on GPUs only"),
    "a key of one network alone": (["--multirun", "model=cnn,dnn", "model.hidden=4"], "chosen, but of model=cnn"),
    "a wrong value beside a glob": (
        ["--multirun", "aug=glob(no*,exclude=*_aug)", "seed=0,x"],
        "seed='x': it should be a",
    ),
}


IN_A_SWEEP = (  # of each who finds it, beside those above: Hydra, OmegaConf, the signatures, the data, the folders
    *("a broken override", "an unknown interpolation", "a group taken away", "what torch does not join"),
    *("no data at all", "nothing for a folder"),
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "sweep"),
    [*((name, ()) for name in MISTAKES), *((name, ("--multirun", "seed=0,1")) for name in IN_A_SWEEP)],
)
def test_a_mistake_is_one_message_before_any_work(cli, tmp_path, name, sweep):
    if name == "a missing GPU" and torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    arguments, named = MISTAKES[name]
    given = (*sweep, "data=synthetic", *arguments)
    ended = cli(*given)
    assert ended.status == 2
    assert named in ended.err
    assert "Traceback" not in ended.err
    assert not (tmp_path / "outputs").exists()


@pytest.mark.slow
def test_a_sweep_compares_its_runs_and_names_the_failed_one(cli, tmp_path, monkeypatch, run):
    """A learning rate of 1e30 passes every check and diverges at once; the jobs after it still run.

    The same seed gives the same figures, whatever ran before, and another seed others.
    """
    heard = []  # by one of Hydra's sweepers that search
    listen = lambda self, config, job_return, **kwargs: heard.append(job_return.return_value)  # noqa: E731
    monkeypatch.setattr(hydra_app.RunHooks, "on_job_end", listen)
    ended = cli("--multirun", *SMALL["dnn"], *QUICK, "optimizer.lr=1e30,0.001", "seed=0,1", "hydra.sweep.dir=sweep")
    assert ended.status == 1
    names = sorted(path.name for path in (tmp_path / "sweep").iterdir() if path.is_dir())
    assert names == [
        "0-dnn-norm_aug-lr1e30-seed0", "1-dnn-norm_aug-lr1e30-seed1",
        "2-dnn-norm_aug-lr0.001-seed0", "3-dnn-norm_aug-lr0.001-seed1",
    ]  # fmt: skip
    failed = json.loads((tmp_path / "sweep" / names[0] / "metrics.json").read_text())
    assert not failed["completed"]
    assert "diverged" in failed["error"]
    assert "Traceback" not in (tmp_path / "sweep" / names[0] / "fer_lightning.log").read_text()
    table = pd.read_csv(tmp_path / "sweep" / "comparison.csv")
    head = ["model", "aug", "runs", "val_acc", "val_acc_std", "test_public_acc", "test_private_acc"]
    assert list(table)[:7] == head
    done = table[table["runs"] == 2].iloc[0]
    reached = [json.loads((tmp_path / "sweep" / name / "metrics.json").read_text())["val_acc"] for name in names[2:]]
    assert heard == [None, None, *reached]
    assert done["val_acc"] == pytest.approx(np.mean(reached), abs=1e-6)
    assert done["val_acc_std"] == pytest.approx(np.std(reached, ddof=1), abs=1e-6)
    assert names[0] in (tmp_path / "sweep" / "comparison.md").read_text()
    assert (tmp_path / "sweep" / "comparison.png").exists()
    assert "comparison" in ended.out
    same, other = (figures(tmp_path / "sweep" / name) for name in names[2:])
    assert same == figures(run)[:2] != other


def test_a_failure_of_ours_keeps_its_traceback_and_is_told_in_metrics_json(cli, tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise RuntimeError("no such thing")

    monkeypatch.setattr(train, "draw_run", fail)
    with pytest.raises(RuntimeError, match="no such thing"):  # which ends the interpreter with status 1
        cli(*SMALL["dnn"], *QUICK, "hydra.run.dir=run")
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert (metrics["completed"], metrics["error"]) == (False, "RuntimeError: no such thing")
    assert metrics["precision"] in ("bf16-mixed", "32-true")


@pytest.mark.slow
@pytest.mark.parametrize("multirun", [(), ("--multirun",)], ids=["run", "multirun"])
def test_two_that_start_in_one_second_have_a_folder_each(cli, tmp_path, monkeypatch, multirun):
    """The other one makes its folder while this one is still reading its data."""
    usual = hydra_app.check

    def meanwhile(config: DictConfig, *folder: Path) -> Experiment:
        other = config.hydra.sweep.dir if multirun else config.hydra.run.dir
        Path(other, "checkpoints").mkdir(parents=True)
        return usual(config, *folder)

    monkeypatch.setattr(hydra_app, "check", meanwhile)
    ended = cli(*multirun, *SMALL["dnn"], *QUICK, "trainer.max_epochs=1")
    assert ended.status == 0, ended.err
    others, mine = sorted((tmp_path / "outputs").glob("*/*"))
    assert others.name.endswith("-dnn-norm_aug") != bool(multirun)
    assert mine.name == f"{others.name}-2"
    assert [path.name for path in others.iterdir()] == ["checkpoints"]
    run = mine / "0-dnn-norm_aug" if multirun else mine
    assert json.loads((run / "metrics.json").read_text())["completed"]


@pytest.mark.parametrize(
    ("overrides", "name"),
    [
        (["model=dnn", "aug=norm", "seed=1"], "dnn-norm"),
        (["experiment=quick_cnn", "seed=1"], "quick_cnn"),
        (["experiment=quick_cnn", "aug=none"], "quick_cnn-none"),
    ],
)
def test_a_folder_is_named_after_what_the_run_is(composed, overrides, name):
    hydra = composed(*overrides, "hydra.job.num=7", hydra=True).hydra
    assert re.fullmatch(rf"outputs/[0-9-]{{10}}/\d\d-\d\d-\d\d-{name}", hydra.run.dir)
    assert hydra.sweep.subdir == f"7-{name}" + "-seed1" * ("seed=1" in overrides)


@pytest.mark.slow
def test_trials_are_short_and_marked_and_not_compared_and_stay_trials(cli, tmp_path, monkeypatch):
    """Of a recipe: `debug` takes the place of its length as well. Where FER2013 is not found, that is said."""
    monkeypatch.setattr(train, "TRIAL_IMAGES", 30)
    outputs.figures.reset_mock()
    recipe = (*SMALL["cnn"][1:], "experiment=published_cnn", "trainer=cpu")
    ended = cli("--multirun", *recipe, "aug=norm,none", "debug=fast", "hydra.sweep.dir=sweep")
    assert ended.status == 0, ended.err
    assert "FER2013_ROOT" in ended.out  # where it was looked for
    assert "\nTRIAL" in ended.out
    assert "Trials, left out: 0-published_cnn-norm, 1-published_cnn-none\n" in ended.out
    assert (pd.read_csv(tmp_path / "sweep" / "comparison.csv")["runs"] == 0).all()
    with pytest.raises(UserError, match=r"trials aside; nothing to report \(0-published_cnn-norm: a trial \("):
        study.read([tmp_path / "sweep"])
    run = tmp_path / "sweep" / "0-published_cnn-norm"
    metrics = json.loads((run / "metrics.json").read_text())
    assert (metrics["trial"], metrics["epochs"], metrics["completed"]) == (True, 2, True)
    assert (metrics["val_n"], metrics["test_public_n"]) == (30, 30)
    titles = [call.kwargs["title"] for call in outputs.figures.curves.call_args_list]
    assert titles == ["TRIAL of CNN, aug=norm", "TRIAL of CNN, aug=none"]
    assert metrics["images_per_second"] == pytest.approx(2 * 32 / metrics["seconds_per_epoch"], rel=0.02)
    limits = ("+trainer.limit_train_batches=2", "+trainer.limit_val_batches=2", "trainer.max_epochs=9")
    ended = cli(*recipe, "data=synthetic", "aug=norm", *limits, f"ckpt_path={run}")
    assert ended.status == 2
    assert "trial=True (now None)" in ended.err


def test_the_built_in_faces_have_settings_of_their_own(composed, few_faces):
    settings = build(resolve(composed("model=dnn", "trainer=cpu")), few_faces, "meta").settings
    assert (settings.data.batch_size, settings.trainer.max_epochs) == (32, 20)


WITHOUT_TORCH = """
import os, runpy, sys

def loaded(*names):
    return sorted(set(names) & set(sys.modules))

def ends(name, *options):
    sys.argv = ["command", *options]
    try:
        runpy.run_module("fer_lightning" + name, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        assert not end.code

OTHERS = (".evaluate", ".audit", ".report", ".repeat", ".runs", ".download")
for name in OTHERS:
    ends(name, "--help")
assert not loaded("torch", "pandas", "matplotlib"), loaded("torch", "pandas", "matplotlib")
from fer_lightning.results import comparison, conditions, figures, run_folder, scores
assert not loaded("torch", "hydra", "matplotlib.pyplot", "scipy"), loaded("hydra", "matplotlib.pyplot", "scipy")
ends("", "--help")
sys.argv = ["fer-lightning", "--cfg", "job"]
from fer_lightning.__main__ import work
work()
os.environ |= {"COMP_LINE": "fer-lightning model=", "COMP_POINT": "20"}
ends("", "-sc", "query=bash")
assert not loaded("torch", "pytorch_lightning")
for name in ("", ".train", *OTHERS):
    ends(name, "--version")
"""


def test_help_configuration_and_the_files_of_runs_come_without_torch_and_the_version_is_ours():
    """Also where what is printed has no letters but those of ASCII."""
    ended = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH],
        env=os.environ | {"PYTHONIOENCODING": "ascii"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("usage: python -m fer_lightning.") == 6
    assert "Powered by Hydra" in ended.stdout
    assert "max_epochs" in ended.stdout
    assert ended.stdout.endswith(f"fer_lightning {__version__}\n" * 8)


def test_a_process_tells_what_it_waits_for_and_ends_with_one_message():
    command = [sys.executable, "-m", "fer_lightning", "data.root=nowhere"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    waited, said, *_ = ended.stderr.splitlines()
    assert waited == "loading PyTorch …"
    assert said.endswith("The known forms:")


@pytest.mark.slow
def test_two_processes_of_ddp_share_the_work_and_the_first_tells_of_it(cli, capfd, tmp_path, few_faces_file):
    """On the CPU with gloo: figures of all ranks' images, of several batches each, and one set of files."""
    recipe = ("averaging=ema", "averaging.decay=0.5", "aug.mixup=0.2", "aug.cutmix=1", "optimizer=adamw")
    data = ("data=fer2013", f"data.root={few_faces_file}", "data.val_split=0.6", "data.batch_size=32")
    ddp = ("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=2", "logger=none", "hydra.run.dir=run")
    ended = cli(*SMALL["dnn"], *QUICK, *data, *ddp, *recipe)
    assert ended.status == 0, ended.err
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    assert metrics["completed"]
    said = "".join((ended.out, ended.err, *capfd.readouterr())).splitlines()  # of both
    said = [line for line in said if line and "[Gloo]" not in line]
    assert len(said) == len(set(said))
    assert [line for line in said if len(line) > 80 and str(few_faces_file) not in line] == []
    assert sum(line.startswith("epoch ") and "/2 " in line for line in said) == 2
    assert any("the remaining epoch ends in about" in line for line in said)
    assert not any("Warning" in line or "GPU available" in line for line in said)
    assert metrics["val_acc"] == pytest.approx(
        float(rows(tmp_path / "run" / "metrics.csv")[metrics["best_epoch"] - 1]["val_acc"]), abs=1e-6
    )
    assert len(rows(tmp_path / "run" / "metrics.csv")) == 2
    assert not (tmp_path / "run" / "config-1.yaml").exists()  # which would be a resumed run's
    # the ranks validate one and the same average, which is that of best.ckpt, but for bf16
    val = pd.read_csv(tmp_path / "run" / "predictions.csv").query("split == 'val'")
    chosen = val.apply(lambda row: row[row["target"]], axis=1).to_numpy(float)
    assert -np.log(chosen).mean() == pytest.approx(metrics["val_loss"], abs=2e-4)
