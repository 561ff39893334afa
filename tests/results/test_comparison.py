import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread
from results.test_run_folder import CONFIG, EPOCHS, write_run

from fer_lightning.errors import UserError
from fer_lightning.results import comparison, figures
from fer_lightning.results.figures import save

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
    table = comparison.compare(tmp_path)
    assert table["aug"].tolist() == ["norm", "none"]
    assert table["runs"].tolist() == [2, 3]
    np.testing.assert_allclose(table["val_acc"], [0.45, 0.34])
    np.testing.assert_allclose(table["val_acc_std"], [np.std([0.44, 0.46], ddof=1), np.std([0.3, 0.32, 0.4], ddof=1)])
    np.testing.assert_allclose(table["val_acc_lo"], [0.43, 0.32])
    assert table["setting"].tolist() == ["", ""]
    assert table["failed"].tolist() == ["", ""]


def test_the_csv_holds_the_table_the_page_explains_it_and_the_curves_are_summed_up(tmp_path):
    write_job(tmp_path / "0-dnn-norm", metrics=scored(0.4))
    table = comparison.compare(tmp_path)
    path = tmp_path / "comparison.csv"
    text = path.read_text()
    assert text.startswith(FIRST_COLUMNS + ",epochs_to_loss_1.8,")
    assert text.splitlines()[1].startswith("dnn,norm,1,0.4,,0.41,0.42,2,3,,,,")
    assert text.splitlines()[1].endswith("fer2013,,,")
    known = table.columns[(table.notna() & (table != "")).all()]
    pd.testing.assert_frame_equal(pd.read_csv(path)[known], table[known], check_dtype=False)
    page = (tmp_path / "comparison.md").read_text()
    assert [column for column in table.columns if f"`{column}`" not in page] == []
    assert "comparison.png" in page
    assert "did not complete\n" not in page
    assert "ynthetic faces:" not in page
    row = table.iloc[0]
    assert row["epochs_to_loss_1.6"] == 3
    assert math.isnan(row["epochs_to_loss_1.4"])
    assert (row["gap_acc"], row["gap_loss"]) == pytest.approx((0.37 - 0.40, 1.5 - 1.6))
    assert math.isnan(row["overfitting_epoch"])
    assert row["seconds_per_epoch"] == 4.0


def test_epochs_over_seeds_are_medians_with_never_as_the_latest(tmp_path):
    steady = pd.concat([EPOCHS] * 7, ignore_index=True)
    steady["epoch"] = range(1, 22)
    for seed, (lowest, level) in enumerate([(8, 1.35), (12, 1.15), (21, 1.35)]):
        epochs = steady.assign(val_loss=1 + abs(steady["epoch"] - lowest) / 9, train_cross_entropy=2.0)
        epochs.loc[5 + seed :, "train_cross_entropy"] = level
        write_job(tmp_path / f"{seed}-dnn-norm", seed=seed, epochs=epochs)
    row = comparison.compare(tmp_path).iloc[0]
    assert row["overfitting_epoch"] == 12  # of 8, 12 and still falling
    assert row["epochs_to_loss_1.4"] == 7  # of 6, 7 and 8
    assert math.isnan(row["epochs_to_loss_1.2"])  # of never, 7 and never


def test_settings_are_told_apart_by_the_keys_that_differ(tmp_path):
    sgd = {"optimizer._target_": "torch.optim.SGD", "optimizer.momentum": 0.9}
    write_job(tmp_path / "0", metrics=scored(0.5))
    write_job(tmp_path / "1", metrics=scored(0.4), changes={"optimizer.lr": 0.01})
    write_job(tmp_path / "2", metrics=scored(0.3), changes=sgd)
    write_job(tmp_path / "3", metrics=scored(0.2), changes=sgd, model="cnn", aug="none")
    write_job(tmp_path / "4", metrics=scored(0.1), changes=sgd | {"model.widths": [9]})
    assert comparison.compare(tmp_path)["setting"].tolist() == [
        "model.widths=[2048, 512] optimizer=Adam optimizer.lr=0.001",
        "model.widths=[2048, 512] optimizer=Adam optimizer.lr=0.01",
        "model.widths=[2048, 512] optimizer=SGD",  # not momentum, which only SGD has
        "optimizer=SGD",  # not the model, nor its arguments: no other CNN is there
        "model.widths=[9] optimizer=SGD",
    ]


def test_what_a_setting_has_more_than_another_tells_them_apart_but_not_where_it_went_on(tmp_path):
    plain = {"averaging": {"name": "none"}, "distill": {"teachers": [], "weight": 0.5}}
    ema = {"averaging": {"_target_": "fer_lightning.training.averaging.EMA", "decay": 0.99}}
    distilled = {"distill": {"teachers": ["a", "b"], "weight": 0.5}}
    own = {"ckpt_path": "outputs/2026/1-dnn-norm/checkpoints/last.ckpt"}
    write_job(tmp_path / "0-dnn-norm", seed=0, changes=plain)
    write_job(tmp_path / "1-dnn-norm", seed=1, changes=plain | own)
    write_job(tmp_path / "2-dnn-norm", changes=plain | ema, metrics=scored(0.1))
    write_job(tmp_path / "3-dnn-norm", changes=plain | distilled, metrics=scored(0.05))
    table = comparison.compare(tmp_path)
    assert table["runs"].tolist() == [2, 1, 1]
    assert table["setting"].tolist() == [
        "averaging=none distill.teachers=[]",
        "averaging=EMA distill.teachers=[]",
        'averaging=none distill.teachers=["a", "b"]',
    ]


def test_the_weights_that_a_training_began_with_are_named_and_threads_are_no_setting(tmp_path):
    for seed in (0, 1):
        changes = {"init_from": "other", "trainer": {"threads": seed + 1}}
        write_job(tmp_path / f"{seed}-own", seed=seed, changes=changes, metrics=scored(0.3))
    assert comparison.compare(tmp_path)["setting"].tolist() == ["init_from=other"]  # also where all do
    write_job(tmp_path / "0", metrics=scored(0.1))
    assert comparison.compare(tmp_path)["setting"].tolist() == ["init_from=other", "init_from=null"]


def test_threads_are_a_setting_where_they_set_runs_of_one_seed_apart(tmp_path):
    """Two runs of a seed are no two seeds: their spread would say nothing."""
    for number, (seed, threads) in enumerate(((0, 1), (1, 2), (1, 1))):
        write_job(tmp_path / f"{number}", seed=seed, changes={"trainer": {"threads": threads}}, metrics=scored(0.3))
        table = comparison.compare(tmp_path)
        assert table["runs"].tolist() == [[1], [2], [2, 1]][number]
    assert table["setting"].tolist() == ["trainer.threads=1", "trainer.threads=2"]


def test_jobs_that_did_not_complete_are_named_and_not_counted(tmp_path):
    write_job(tmp_path / "0-dnn-norm", metrics=scored(0.4))
    write_job(tmp_path / "1-dnn-norm", seed=1, metrics=FAILED, epochs=None)
    write_job(tmp_path / "2-dnn-norm", seed=2, metrics=scored(0.9, completed=False, interrupted=True))
    write_job(tmp_path / "3-dnn-none", aug="none", metrics=FAILED, epochs=None)
    write_run(tmp_path / "4-early", metrics=FAILED, config=None, epochs=None)
    (write_job(tmp_path / "5-broken") / "metrics.csv").write_text("nonsense")
    (tmp_path / "10-killed" / ".hydra").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    table = comparison.compare(tmp_path)
    named = list(zip(table["runs"], table["val_acc"].fillna(-1), table["aug"], table["failed"], strict=True))
    assert named == [
        (1, 0.4, "norm", "1-dnn-norm; 2-dnn-norm"),
        (0, -1, "none", "3-dnn-none"),
        (0, -1, "", "4-early"),
        (0, -1, "", "5-broken"),
        (0, -1, "", "10-killed"),
    ]
    failed = "Interrupted: 2-dnn-norm\n\nFailed: 1-dnn-norm, 3-dnn-none, 4-early, 5-broken, 10-killed"
    assert failed in comparison.markdown(table)
    page = (tmp_path / "comparison.md").read_text()
    assert failed in page
    assert "- 1-dnn-norm: `RuntimeError: the loss became 'nan' (after 0 epochs)`" in page
    assert "- 2-dnn-norm: `interrupted (after 3 epochs)`" in page
    assert "5-broken/metrics.csv, line 1: expected the columns" in page
    assert "- 10-killed: `running, 0 epochs so far`" in page


def test_a_sweep_in_which_all_jobs_failed_is_compared_too(tmp_path):
    write_job(tmp_path / "0-dnn-norm", metrics=FAILED, epochs=None)
    assert comparison.compare(tmp_path)["failed"].tolist() == ["0-dnn-norm"]
    assert imread(tmp_path / "comparison.png").size


def test_the_picture_holds_every_run_with_epochs_by_setting(tmp_path, monkeypatch):
    monkeypatch.setattr(figures, "save", save)
    write_job(tmp_path / "0", aug="none", metrics=scored(0.3, data="synthetic", synthetic=True))
    write_job(tmp_path / "1", seed=0, metrics=scored(0.4))
    write_job(tmp_path / "2", seed=1, metrics=scored(0.4, completed=False, interrupted=True))
    write_job(tmp_path / "3", seed=2, metrics=FAILED, epochs=None)
    given = {}
    drawn = figures.comparison
    monkeypatch.setattr(figures, "comparison", lambda runs, **k: given.update(runs=runs, **k) or drawn(runs, **k))
    table = comparison.compare(tmp_path)
    assert set(table["data"]) == {"synthetic", "fer2013"}
    for text in (comparison.markdown(table), (tmp_path / "comparison.md").read_text()):
        assert "Synthetic faces: these are no scores on FER2013." in text
    assert [" ".join(name).strip() for name, _ in given["runs"]] == ["dnn norm", "dnn norm (unfinished)", "dnn none"]
    for _, epochs in given["runs"]:
        pd.testing.assert_frame_equal(epochs, EPOCHS)
    assert given["synthetic"] is True
    assert imread(tmp_path / "comparison.png").shape[0] > 300


def test_test_scores_come_with_interval_and_unseen_images_and_stay_empty_where_they_are_null(tmp_path):
    null = dict.fromkeys(("test_public_acc", "test_public_acc_95", "test_public_acc_unseen"))
    for seed, (low, high) in enumerate([(0.40, 0.44), (0.42, 0.46)]):
        write_job(tmp_path / f"{seed}", seed=seed, metrics={"test_private_acc_95": [low, high], **null})
    table = comparison.compare(tmp_path)
    text = comparison.markdown(table)
    assert "| dnn norm | PrivateTest | 0.420 ± 0.000 | 0.410–0.450 |  0.410 |" in text
    assert table.filter(like="public").isna().all(axis=None)
    assert "PublicTest" not in text


def test_printed_tables_fit_100_columns_and_lose_nothing(tmp_path):
    long = {
        f"aug.{key}": value for key, value in zip("abcdefgh", np.linspace(0.1, 0.8, 8).round(3).tolist(), strict=True)
    }
    for seed in range(2):
        write_job(tmp_path / f"{seed}-dnn-norm_aug", aug="norm_aug", seed=seed, changes=long)
    write_job(tmp_path / "2-dnn-norm_aug", aug="norm_aug", metrics=scored(0.1))
    for number in range(3, 20):
        write_job(tmp_path / f"{number}-dnn-a|b", aug="a|b", seed=number, metrics=FAILED, epochs=None)
    write_job(tmp_path / "20-dnn-a|b", aug="a|b", metrics=scored(0.2))
    table = comparison.compare(tmp_path)
    text = comparison.markdown(table)
    assert max(map(len, text.splitlines())) <= 100
    assert all(f"{key}={value}" in text for key, value in long.items())
    assert "0.400 ± 0.000" in text
    wide = comparison.markdown(table, width=None)
    assert "| dnn norm_aug aug.a=0.1 aug.b=0.2 aug.c=0.3 aug.d=0.4 " in wide
    for block in wide.split("\n\n"):  # every table has as many cells in each of its rows
        if block.startswith("|"):
            assert len({line.replace("\\|", "").count("|") for line in block.splitlines()}) == 1


def test_comparing_again_replaces_the_files(tmp_path):
    write_job(tmp_path / "0-dnn-norm")
    comparison.compare(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}
    write_job(tmp_path / "1-dnn-none", aug="none")
    comparison.compare(tmp_path)
    after = {path.name: path.read_bytes() for path in tmp_path.glob("*.*")}
    assert set(before) == set(after) == {"comparison.csv", "comparison.md", "comparison.png"}
    assert not {value for name, value in before.items() if name[-3:] != "png"} & set(after.values())


@pytest.mark.parametrize(("folder", "message"), [("absent", "no such folder"), ("empty", "no runs one level below")])
def test_a_folder_that_is_no_sweep_is_refused(tmp_path, folder, message):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=message):
        comparison.compare(tmp_path / folder)
    assert list((tmp_path / "empty").iterdir()) == []
