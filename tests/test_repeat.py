"""A run again, and what is told of the two."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from fer_lightning import repeat
from fer_lightning.data.faces import USAGES
from fer_lightning.errors import UserError

DNN = ("model=dnn", "model.widths=[64,32]", "trainer=cpu", "logger=none")


@pytest.fixture
def run(trained, few_faces_file, cli, monkeypatch) -> Path:
    """A finished run that said no more of its settings than it had to; repetitions happen in this process."""
    monkeypatch.setattr(repeat, "start", lambda arguments, folder: cli(*arguments).status)
    return trained(
        "run", *DNN, "trainer.max_epochs=2", "data=auto", f"data.root={few_faces_file}", "data.val_split=0.3"
    )


def test_a_repetition_is_equal_to_the_last_digit_and_left_beside_the_run(run, capsys, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "2")  # of another machine; the run's own number is in its config.yaml
    repeat.repeat(Path("run"))
    found = json.loads(Path("run-repeat/repeat.json").read_text())
    assert found["equal"]
    assert all(first == again is not None for first, again in found["figures"].values())
    said = capsys.readouterr().out
    assert max(map(len, said[said.index("figure ") :].splitlines()[:-1])) <= 80
    assert "Equal, to the last digit." in said
    assert "NOT" not in said
    unchanged = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    repeat.repeat(Path("run"))  # it is there already, as after a kill that came late
    assert json.loads(Path("run-repeat/repeat.json").read_text()) == found
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == unchanged


def test_what_differs_is_told(run, capsys):
    overrides = run / ".hydra" / "overrides.yaml"
    overrides.write_text(overrides.read_text() + "- optimizer.lr=0.002\n")
    repeat.repeat(run, Path("again"))
    found = json.loads(Path("again/repeat.json").read_text())
    assert not found["equal"]
    assert found["around"]["optimizer.lr"] == [0.001, 0.002]
    assert found["first_epoch_that_differs"]["epoch"] == 1
    said = capsys.readouterr().out
    assert "not the same: optimizer.lr: 0.001 → 0.002" in said
    assert "NOT EQUAL from epoch 1 on: train_loss" in said
    assert "NOT EQUAL: " in said
    assert "classes, probabilities by up to" in said
    assert "NOT equal." in said


def test_that_of_a_sweeps_job_is_not_counted_by_the_sweep(tmp_path):
    (tmp_path / "sweep" / "0-dnn").mkdir(parents=True)
    (tmp_path / "sweep" / "multirun.yaml").touch()
    assert repeat.beside(tmp_path / "sweep" / "0-dnn") == tmp_path / "sweep-0-dnn-repeat"


def unfinished(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(metrics | {"completed": False, "interrupted": True}))


def moved(run: Path) -> None:
    metrics = json.loads((run / "metrics.json").read_text())
    (run / "metrics.json").write_text(json.dumps(metrics | {"source": "/gone/faces.npz"}))


def other_data(run: Path) -> None:
    moved(run)
    Path("data").mkdir()
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (60, 48, 48), np.uint8), np.arange(60) % 7
    np.savez("data/faces.npz", pixels=pixels, emotion=labels, usage=np.array(USAGES)[np.arange(60) % 3])


@pytest.mark.parametrize(
    ("change", "out", "message"),
    [
        (shutil.rmtree, None, "run: no such folder"),
        (unfinished, None, "run: its run is not finished: interrupted"),
        (lambda run: (run / ".hydra" / "overrides.yaml").unlink(), None, "no record of its command"),
        (moved, None, "its data, /gone/faces.npz, is not there"),
        (other_data, None, "fingerprint [0-9a-f]+, but that of .*/data is"),
        (lambda run: None, "run/again", "the run's own folder"),
    ],
)
def test_what_can_not_be_repeated_is_one_message(run, monkeypatch, change, out, message):
    monkeypatch.setattr(repeat, "start", lambda *_: pytest.fail("started"))
    change(run)
    with pytest.raises(UserError, match=message):
        repeat.repeat(Path("run"), out and Path(out))
    assert not Path("run-repeat").exists()


def test_it_is_the_command_in_the_current_folder_of_the_first_and_its_end_is_told(run, tmp_path, monkeypatch):
    recorded = yaml.safe_load((run / ".hydra" / "hydra.yaml").read_text())["hydra"]["runtime"]["cwd"]
    assert repeat.typed_in(run) == Path(recorded)
    monkeypatch.undo()
    assert repeat.start(["--version"], tmp_path) == 0
    for status, end in ((2, SystemExit), (130, KeyboardInterrupt)):
        monkeypatch.setattr(repeat, "start", lambda *_, status=status: status)
        with pytest.raises(end):
            repeat.repeat(run)
