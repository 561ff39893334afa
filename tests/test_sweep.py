import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from test_runs import CONFIG, EPOCHS, METRICS, write_run

from fer_lightning import sweep
from fer_lightning.errors import UserError

FIRST_COLUMNS = "model,aug,runs,val_acc,val_acc_std,test_public_acc,test_private_acc"


def write_job(folder: Path, *, model="dnn", aug="norm", seed=0, metrics=(), changes=(), epochs=EPOCHS) -> Path:
    """A sweep's job; `changes` are `group.key` → value, or `key` → value, of its configuration."""
    config = {key: dict(value) if isinstance(value, dict) else value for key, value in CONFIG.items()}
    config["model"]["_target_"] = f"fer_lightning.models.{model.upper()}"
    config["aug"]["name"], config["seed"] = aug, seed
    for key, value in dict(changes).items():
        group, _, name = key.partition(".")
        if name:
            config[group][name] = value
        else:
            config[group] = value
    given = {"model": model, "aug": aug, "seed": seed} | dict(metrics)
    return write_run(folder, metrics=given, config=config, epochs=epochs)


def scored(val_acc: float, **others) -> dict:
    return {"val_acc": val_acc, "val_acc_95": [val_acc - 0.02, val_acc + 0.02], **others}


FAILED = {"completed": False, "val_acc": None, "val_acc_95": None, "error": "RuntimeError: the loss\nbecame `nan`"}


def test_a_row_per_setting_in_the_order_of_validation_accuracy(tmp_path):
    for number, (aug, seed, val_acc) in enumerate(
        [("none", 0, 0.30), ("none", 1, 0.32), ("none", 2, 0.40), ("norm", 0, 0.44), ("norm", 1, 0.46)]
    ):
        write_job(tmp_path / f"{number}-dnn-{aug}", aug=aug, seed=seed, metrics=scored(val_acc))
    table = sweep.compare(tmp_path)
    assert table["aug"].tolist() == ["norm", "none"]
    assert table["runs"].tolist() == [2, 3]
    np.testing.assert_allclose(table["val_acc"], [0.45, 0.34])
    np.testing.assert_allclose(table["val_acc_std"], [np.std([0.44, 0.46], ddof=1), np.std([0.3, 0.32, 0.4], ddof=1)])
    np.testing.assert_allclose(table["val_acc_lo"], [0.43, 0.32])
    assert table["setting"].tolist() == ["", ""]
    assert table["failed"].tolist() == ["", ""]


def test_the_csv_holds_the_table(tmp_path):
    write_job(tmp_path / "0-dnn-norm", metrics=scored(0.4))
    table = sweep.compare(tmp_path)
    text = (tmp_path / "comparison.csv").read_text()
    assert text.startswith(FIRST_COLUMNS + ",epochs_to_loss_1.8,")
    assert text.splitlines()[1].startswith("dnn,norm,1,0.4,,0.41,0.42,2,3,,,,")
    assert text.splitlines()[1].endswith("fer2013,,")
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "comparison.csv").dropna(axis=1), table.replace("", np.nan).dropna(axis=1))


def test_the_curves_are_summed_up(tmp_path):
    write_job(tmp_path / "0-dnn-norm")
    row = sweep.compare(tmp_path).iloc[0]
    assert row["epochs_to_loss_1.6"] == 3
    assert math.isnan(row["epochs_to_loss_1.4"])
    assert row["gap_acc"] == pytest.approx(0.37 - 0.40)
    assert row["gap_loss"] == pytest.approx(1.5 - 1.6)
    assert math.isnan(row["overfitting_epoch"])
    assert row["seconds_per_epoch"] == 4.0


def test_epochs_over_seeds_are_medians_with_never_as_the_latest(tmp_path):
    steady = pd.concat([EPOCHS] * 7, ignore_index=True)
    steady["epoch"] = range(1, 22)
    for seed, (lowest, level) in enumerate([(8, 1.35), (12, 1.15), (21, 1.35)]):
        epochs = steady.assign(val_loss=1 + abs(steady["epoch"] - lowest) / 9, train_loss=2.0)
        epochs.loc[5 + seed :, "train_loss"] = level
        write_job(tmp_path / f"{seed}-dnn-norm", seed=seed, epochs=epochs)
    row = sweep.compare(tmp_path).iloc[0]
    assert row["overfitting_epoch"] == 12  # of 8, 12 and still falling
    assert row["epochs_to_loss_1.4"] == 7  # of 6, 7 and 8
    assert math.isnan(row["epochs_to_loss_1.2"])  # of never, 7 and never


def test_settings_are_told_apart_by_the_keys_that_differ(tmp_path):
    sgd = {"optimizer._target_": "torch.optim.SGD", "optimizer.momentum": 0.9}
    for number, (job, label) in enumerate(
        {
            "cnn": ({"model": "cnn", "changes": {"model.channels": [64, 64]}}, "optimizer=Adam"),
            "plain": ({}, "model.widths=[2048, 512] optimizer=Adam optimizer.lr=0.001"),
            "lr": ({"changes": {"optimizer.lr": 0.01}}, "model.widths=[2048, 512] optimizer=Adam optimizer.lr=0.01"),
            "sgd": ({"changes": sgd}, "model.widths=[2048, 512] optimizer=SGD"),
            "wide": ({"changes": {"model.widths": [9]}}, "model.widths=[9] optimizer=Adam optimizer.lr=0.001"),
        }.values()
    ):
        write_job(tmp_path / f"{number}", metrics=scored(0.5 - number / 10, best_epoch=label), **job)
