"""bench/package.py: what comes with the package is a run's network and the scores of the very file."""

import shutil

import pytest

from bench.package import package
from fer_lightning.errors import UserError
from fer_lightning.evaluate.evaluation import evaluate
from fer_lightning.results import calibration
from fer_lightning.results.checkpoint import load, read_checkpoint
from fer_lightning.results.paths import best_checkpoint
from fer_lightning.results.run_folder import read_predictions, read_run
from fer_lightning.results.weights import write_weights

pytestmark = pytest.mark.slow

SETTINGS = ("model=dnn", "model.widths=[8,8]", "trainer=cpu", "trainer.max_epochs=2", "logger=none")


@pytest.fixture
def data(few_faces_file) -> str:
    return f"data.root={few_faces_file}"


@pytest.fixture
def run(trained, data):
    """A finished run on that file."""
    return trained("run", *SETTINGS, data)


def test_a_network_is_packaged_with_a_card_of_its_own_scores(run, data, tmp_path):
    (tmp_path / "weights").mkdir()
    package(run, "tiny", None, None, tmp_path / "weights")
    path = tmp_path / "weights" / "tiny.safetensors"
    assert load(path).data["split"] == load(run).data["split"]
    report = evaluate([str(path)], data=data.partition("=")[2])
    card = (tmp_path / "weights" / "README.md").read_text()
    for split, name in (("public", "PublicTest"), ("private", "PrivateTest")):
        assert f"| {name} | 150 | {report['splits'][split]['acc']:.4f} (" in card
    recipe = "model=dnn 'model.widths=[8,8]' trainer=cpu trainer.max_epochs=2 logger=none"
    assert f"`python -m fer_lightning {recipe}`" in card
    assert f"{read_run(run).metrics['params']:,} parameters" in card

    fitted = calibration.of(path)
    predictions = read_predictions(next(tmp_path.rglob("evaluation/tiny/all/predictions.csv")))
    assert fitted == calibration.fit(*calibration.of_split(predictions, "val"))
    assert f"| 0.5 | {fitted.coverage:.3f} | " in card

    before = path.read_bytes()
    with pytest.raises(UserError, match=r"tiny\.safetensors: the package holds this network"):
        package(run, "other", None, None, tmp_path / "weights")
    assert path.read_bytes() == before


def test_the_card_names_the_networks_that_the_training_began_with(run, data, cli, tmp_path):
    student = (*SETTINGS, "seed=1", "data.split_seed=0", "distill.teachers=[run]", "init_from=run")
    assert cli(*student, data, "hydra.run.dir=student").status == 0
    (tmp_path / "weights").mkdir()
    package(tmp_path / "student", "tiny", None, None, tmp_path / "weights")
    card = (tmp_path / "weights" / "README.md").read_text()
    reached = read_run(run).metrics["val_acc"]
    for name in ("TEACHER", "FIRST"):
        row = f"| {name} | DNN of validation accuracy {reached:.3f}, trained in 0 minutes: `python -m fer_lightning "
        assert row in card
    assert "data.split_seed=0 'distill.teachers=[TEACHER]' init_from=FIRST" in card


def test_weights_stand_for_a_run_without_checkpoints_where_they_are_its_own(run, data, trained, tmp_path):
    trained("other", *SETTINGS, "seed=3", "optimizer.lr=1e-6", data)
    for name in ("run", "other"):
        write_weights(read_checkpoint(best_checkpoint(tmp_path / name)), tmp_path / f"{name}.safetensors")
    shutil.rmtree(run / "checkpoints")
    (tmp_path / "weights").mkdir()
    with pytest.raises(UserError, match=r"other\.safetensors: not this run's: its validation accuracy is"):
        package(run, "tiny", None, None, tmp_path / "weights", tmp_path / "other.safetensors")
    assert not list((tmp_path / "weights").iterdir())
    package(run, "tiny", None, None, tmp_path / "weights", tmp_path / "run.safetensors")
    assert (tmp_path / "weights" / "tiny.safetensors").read_bytes() == (tmp_path / "run.safetensors").read_bytes()


def test_a_failure_leaves_nothing_that_stops_the_next_try(run, tmp_path):
    (run / ".hydra" / "overrides.yaml").unlink()
    (tmp_path / "weights").mkdir()
    with pytest.raises(UserError, match=r"overrides\.yaml"):
        package(run, "tiny", None, None, tmp_path / "weights")
    assert not list((tmp_path / "weights").iterdir())


def test_a_run_that_did_not_complete_is_not_packaged(run, tmp_path):
    metrics = run / "metrics.json"
    metrics.write_text(metrics.read_text().replace('"completed": true', '"completed": false'))
    with pytest.raises(UserError, match="did not complete"):
        package(run, "tiny", None, None, tmp_path / "weights")
