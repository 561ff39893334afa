import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from fer_lightning.data.faces import CLASSES
from fer_lightning.errors import Failure, UserError
from fer_lightning.results.files import write_file
from fer_lightning.results.paths import override
from fer_lightning.results.run_folder import (
    CONTRACT_KEYS,
    EPOCH_COLUMNS,
    overrides_of,
    read_epochs,
    read_run,
    run_folders,
)

METRICS = {
    "model": "dnn", "aug": "norm", "data": "fer2013", "seed": 0, "params": 5_778_439, "epochs": 3, "best_epoch": 3,
    "val_loss": 1.5, "val_acc": 0.4, "val_acc_95": [0.38, 0.42],
    "test_public_acc": 0.41, "test_public_acc_95": [0.39, 0.43], "test_public_acc_unseen": 0.40,
    "test_private_acc": 0.42, "test_private_acc_95": [0.40, 0.44], "test_private_acc_unseen": 0.41,
    "train_seconds": 12.0, "seconds_per_epoch": 4.0, "images_per_second": 6460.0,
    "precision": "32-true", "device": "cpu",
    "completed": True, "synthetic": False, "error": None, "interrupted": False,
}  # fmt: skip
CONFIG = {
    "model": {"_target_": "fer_lightning.models.DNN", "widths": [2048, 512]},
    "aug": {"name": "norm", "degrees": 0},
    "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.001},
    "seed": 0,
    "ckpt_path": None,
}
EPOCHS = pd.DataFrame(
    [  # with label smoothing, say: the objective stays above the cross-entropy
        (1, 2.0, 0.25, 1.8, 0.28, 0.001, 4.5, 1.9),
        (2, 1.9, 0.33, 1.6, 0.36, 0.001, 4.0, 1.7),
        (3, 1.85, 0.37, 1.5, 0.4, 0.001, 4.0, 1.6),
    ],
    columns=list(EPOCH_COLUMNS),
)
HEADER = ",".join(EPOCH_COLUMNS)
PREDICTIONS = "\n".join(
    [
        f"split,index,target,predicted,{','.join(CLASSES)}",
        "val,17,fear,sad,0.1,0,0.2,0,0.6,0.1,0",
        "public,28709,happy,happy,0,0,0,1,0,0,0",
    ]
)


def write_run(folder: Path, *, metrics=(), config=CONFIG, epochs=EPOCHS, predictions=None) -> Path:
    """A run's folder as training leaves it; None leaves a file out."""
    folder.mkdir(parents=True)
    done = {} if epochs is None else {"epochs": len(epochs)}
    (folder / "metrics.json").write_text(json.dumps(METRICS | done | dict(metrics)))
    if config is not None:
        OmegaConf.save(config, folder / "config.yaml")
    if epochs is not None:
        epochs.to_csv(folder / "metrics.csv", index=False)
    if predictions is not None:
        (folder / "predictions.csv").write_text(predictions)
    return folder


def test_a_run_is_read_from_its_files(tmp_path):
    folder = write_run(tmp_path / "3-dnn-norm", predictions=PREDICTIONS)
    (folder / "config.yaml").write_text("optimizer: {lr: 1e-3}\nseed: 0\n")
    run = read_run(folder)
    assert (run.name, run.folder) == ("3-dnn-norm", folder)
    assert run.config == {"optimizer": {"lr": 0.001}, "seed": 0}
    assert run.metrics["val_acc"] == 0.4
    pd.testing.assert_frame_equal(run.epochs, EPOCHS)
    assert run.predictions["index"].tolist() == [17, 28709]
    assert run.predictions["target"].tolist() == ["fear", "happy"]
    np.testing.assert_array_equal(run.predictions["sad"], [0.6, 0.0])


def test_a_runs_command_is_that_of_its_last_start_for_the_whole(tmp_path):
    assert overrides_of(tmp_path) is None
    starts = {
        ".hydra": ["model=dnn", "trainer.max_epochs=2"],
        ".hydra/resumed-9": ["model=dnn", "trainer.max_epochs=3", "ckpt_path=run"],
        ".hydra/resumed-10": ["model=dnn", "trainer.max_epochs=4", "ckpt_path='a, b'"],
    }
    for folder, overrides in starts.items():
        (tmp_path / folder).mkdir()
        OmegaConf.save(overrides, tmp_path / folder / "overrides.yaml")
    assert overrides_of(tmp_path) == ["model=dnn", "trainer.max_epochs=4"]
    (tmp_path / ".hydra/resumed-10/overrides.yaml").write_text("a: [")
    assert overrides_of(tmp_path) is None


def test_predictions_are_read_when_wanted_and_may_be_absent_as_keys_beyond_the_contract(tmp_path):
    folder = write_run(tmp_path / "run")
    few = {key: METRICS[key] for key in CONTRACT_KEYS} | {"data": "synthetic"}
    (folder / "metrics.json").write_text(json.dumps(few))
    assert read_run(folder).predictions is None
    (folder / "predictions.csv").write_text("nonsense")
    run = read_run(folder)
    assert (run.metrics["test_public_acc_95"], run.metrics["synthetic"]) == (None, True)
    with pytest.raises(UserError, match=r"predictions\.csv, line 1"):
        _ = run.predictions


@pytest.mark.parametrize("config", [CONFIG, None])
def test_a_failed_run_may_have_few_files(tmp_path, config):
    failed = {"completed": False, "error": "ValueError: no"}
    run = read_run(write_run(tmp_path / "run", metrics=failed, config=config, epochs=None))
    assert (run.metrics["error"], run.config) == ("ValueError: no", config or {})
    assert run.epochs.empty
    assert list(run.epochs.columns) == list(EPOCH_COLUMNS)


def test_an_empty_cell_is_nan(tmp_path):
    folder = write_run(tmp_path / "run")
    rows = [f"{epoch},1.9,0.2,,nan,0.001,4," for epoch in (1, 2, 3)]
    (folder / "metrics.csv").write_text("\n".join([HEADER, *rows, ""]))
    assert read_run(folder).epochs[["val_loss", "val_acc", "train_cross_entropy"]].isna().all(axis=None)


def test_what_comes_after_the_first_epochs_is_not_read_where_they_are_wanted(tmp_path):
    path = write_run(tmp_path / "run", epochs=EPOCHS.head(2)) / "metrics.csv"
    path.write_text(path.read_text() + "3,1.\n")
    pd.testing.assert_frame_equal(read_epochs(path, first=2), EPOCHS.head(2))
    with pytest.raises(UserError, match="line 4: 2 values, expected 8"):
        read_epochs(path)


@pytest.mark.parametrize("half", ["3", "3,1.85,0.37,1.5,0.4,0.001,4.0,1.", "\0\0\0"])
def test_half_an_epoch_at_the_end_is_none(tmp_path, half):
    unfinished = {"completed": False, "epochs": 3}
    path = write_run(tmp_path / "run", metrics=unfinished, epochs=EPOCHS.head(2)) / "metrics.csv"
    path.write_text(path.read_text() + half)  # a full disk, a power failure: without the line's end
    pd.testing.assert_frame_equal(read_epochs(path), EPOCHS.head(2))
    pd.testing.assert_frame_equal(read_run(path.parent).epochs, EPOCHS.head(2))
    (path.parent / "metrics.json").write_text(json.dumps(METRICS))
    with pytest.raises(UserError, match=r"metrics\.csv: 2 epochs in whole lines, although .* completed with 3"):
        read_run(path.parent)


ROW = "1,1.9,0.2,1.8,0.3,0.001,4,1.8"


@pytest.mark.parametrize(("name", "content", "message"), [
    ("metrics.json", None, "cannot be read: No such file"),
    ("metrics.json", b"{", "not JSON"),
    ("metrics.json", b"[]", "expected one JSON object, found a list"),
    ("metrics.json", b'{"val_acc": 1}', "lacks model, aug, data"),
    ("metrics.json", b"\xff", "not UTF-8"),
    ("config.yaml", None, "cannot be read: No such file"),
    ("config.yaml", b"a: [", "not YAML: .*line [12]"),
    ("config.yaml", b"- 1", "expected configuration keys"),
    ("config.yaml", b"", "expected configuration keys"),
    ("metrics.csv", None, "cannot be read: No such file"),
    ("metrics.csv", b"", "line 1: expected the columns epoch,train_loss,.*, found nothing"),
    ("metrics.csv", b"epoch,loss\n", "line 1: expected .* found 'epoch,loss'"),
    ("metrics.csv", f"{HEADER}\n".encode(), "0 epochs in whole lines"),
    ("metrics.csv", f"{HEADER}\n{ROW}\n2,1.8\n".encode(), "line 3: 2 values, expected 8"),
    ("metrics.csv", f"{HEADER}\n{ROW}\n2,1.8,x,1,1,1,1,1\n".encode(), "line 3, column train_acc: 'x', expected"),
    ("metrics.csv", f"{HEADER}\n{ROW}\n{ROW}\n".encode(), "line 3, column epoch: '1', expected the epochs"),
])  # fmt: skip
def test_a_missing_or_broken_file_is_named(tmp_path, name, content, message):
    folder = write_run(tmp_path / "run")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=f"(?s)run/{name}.*{message}"):
        read_run(folder)


@pytest.mark.parametrize(("old", "new", "message"), [
    ("predicted", "guess", "line 1: expected the columns split,index,target,predicted,"),
    ("public", "test", "line 3, column split: 'test', expected one of val, public, private"),
    ("17,fear", "17,scared", "line 2, column target: 'scared'"),
    ("17", "-1", "line 2, column index: '-1'"),
    ("0.6", "1.6", "line 2, column sad: '1.6', expected a probability"),
    ("0.6", "high", "line 2, column sad: 'high'"),
    ("0.6", "", "line 2, column sad: '', expected a probability"),
    (",1,0,0,0", "", "line 3: 7 values, expected 11"),
    (",1,0,0,0", ",1,0,0,0,0,0", "line 3: 13 values, expected 11"),
    ("17", "9" * 20, "line 2, column index: '9+', expected a row number"),
])  # fmt: skip
def test_broken_predictions_are_named(tmp_path, old, new, message):
    run = read_run(write_run(tmp_path / "run", predictions=PREDICTIONS.replace(old, new, 1)))
    with pytest.raises(UserError, match=f"(?s)predictions.csv.*{message}"):
        _ = run.predictions


@pytest.mark.parametrize(("key", "value", "right"), [
    ("val_acc", "high", "a number or null"),
    ("val_loss", float("nan"), "a number or null"), ("seed", True, "a number or null"),
    ("test_public_acc_95", [0.4], "two numbers or null"),
    ("model", 3, "a text or null"), ("completed", "yes", "true or false"),
])  # fmt: skip
def test_a_value_of_another_kind_is_named(tmp_path, key, value, right):
    write_run(tmp_path / "run", metrics={key: value})
    with pytest.raises(UserError, match=rf"metrics\.json: {key} is .*; right: {right}"):
        read_run(tmp_path / "run")


def test_runs_are_found_in_the_order_of_their_numbers(tmp_path):
    sweep = tmp_path / "2026-11-23" / "20-14-05"
    folders = [sweep / name for name in ("10-dnn-norm", "2-dnn-norm", "1-dnn-none", "1-dnn-none/evaluation/all")]
    for folder in (*folders, tmp_path / "2026-11-23" / "9-00-00", tmp_path / ".trash" / "run"):
        write_run(folder)
    jobs = ["1-dnn-none", "2-dnn-norm", "10-dnn-norm"]
    for folder, names in ((sweep, jobs), (tmp_path, ["9-00-00", *jobs]), (sweep / "2-dnn-norm", ["2-dnn-norm"])):
        assert [run.name for run in run_folders(folder)] == names
    (tmp_path / "empty").mkdir()
    for name, message in (("empty", "no run in it"), ("absent", "no such folder")):
        with pytest.raises(UserError, match=message):
            run_folders(tmp_path / name)
        with pytest.raises(UserError):
            read_run(tmp_path / name)


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path):
    write_file(tmp_path / "file", b"old")
    write_file(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    (tmp_path / "folder").mkdir()
    with pytest.raises(Failure, match="folder: it cannot be written: Is a directory"):
        write_file(tmp_path / "folder", b"new")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize("name", ["run-1", "it's (1), läufe", "a,b=c#d", "back\\slash'", "end\\", "one two"])
def test_a_path_on_the_command_line_is_read_as_it_is(name):
    (given,) = OverridesParser.create().parse_overrides([override("ckpt_path", Path("/outputs", name))])
    assert given.value() == f"/outputs/{name}"
    assert not given.is_sweep_override()
