"""What probabilities mean: the temperature, and the threshold of "unsure"."""

import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from scipy.special import softmax

from fer_lightning.errors import UserError
from fer_lightning.results import calibration
from fer_lightning.results.calibration import Calibration, at_temperature, fit
from fer_lightning.results.run_folder import read_predictions
from fer_lightning.results.weights import packaged

SURE_TWICE = 2.0  # logits this many times too large


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Logits of a network that is too sure, and targets drawn with the probabilities that would be right."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1.5, (5_000, 7))
    return SURE_TWICE * logits, (softmax(logits, axis=1).cumsum(axis=1) < rng.random((5_000, 1))).sum(axis=1)


def test_the_temperature_that_made_the_labels_is_found(drawn):
    logits, target = drawn
    found = fit(softmax(logits, axis=1), target)
    assert found.temperature == pytest.approx(SURE_TWICE, rel=0.05)
    before, after = found.ece
    assert before > 0.1
    assert after < 0.02
    right = softmax(logits / found.temperature, axis=1)
    assert np.abs(at_temperature(softmax(logits, axis=1), found.temperature) - right).max() < 1e-6
    sure = right.max(axis=1) >= 0.5
    assert (found.n, found.coverage) == (len(target), sure.mean())
    assert found.accuracy == (right.argmax(axis=1) == target)[sure].mean()
    assert [0.5, found.coverage, found.accuracy] in found.thresholds


def test_what_is_never_sure_or_always_right_has_a_calibration_too():
    never = fit(np.full((10, 7), 1 / 7), np.arange(10) % 7)
    assert (never.coverage, never.accuracy) == (0, None)
    always = fit(np.eye(7), np.arange(7))
    assert (always.coverage, always.accuracy) == (1, 1)
    assert np.isfinite(always.temperature)


def test_that_of_a_run_is_of_its_validation_images_and_its_best_checkpoint_s_alone(trained):
    run = trained("run", "model=dnn", "model.widths=[64,32]", "trainer=cpu", "trainer.max_epochs=2", "logger=none")
    table = read_predictions(run / "predictions.csv")
    found = calibration.of(run)
    assert found.n == (table["split"] == "val").sum() < len(table)
    assert found == calibration.of(run / "checkpoints" / "best.ckpt")
    assert found == fit(*calibration.of_split(table, "val"))
    assert calibration.of(run / "checkpoints" / "last.ckpt") == Calibration()
    Path("copies").mkdir()
    Path("predictions.csv").write_text("somebody's\n")
    for place in ("other.ckpt", "copies/best.ckpt"):
        assert calibration.of(shutil.copy(run / "checkpoints" / "best.ckpt", place)) == Calibration()
    assert str(Calibration()).startswith("its probabilities are not calibrated")


def test_that_of_the_package_s_network_stands_beside_it_and_in_its_card(tmp_path):
    found, card = calibration.of(packaged()), (packaged().parent / "README.md").read_text()
    assert f"At a temperature of {found.temperature:.3f}" in card
    assert f"| 0.5 | {found.coverage:.3f} | {found.accuracy:.3f} |" in card
    assert re.search(rf"^\| validation \(held out of Training\) \| {found.n:,} \|", card, re.M)
    calibration.write(found, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == packaged().with_suffix(".json").read_bytes()
    assert calibration.read(tmp_path / "again.json") == found


@pytest.mark.parametrize("content", [b"", b"[]", b'{"warmth": 1}', b"\xff"])
def test_a_file_that_holds_no_calibration_is_named(tmp_path, content):
    (tmp_path / "w.safetensors").touch()
    (tmp_path / "w.json").write_bytes(content)
    with pytest.raises(UserError, match=r"w\.json: not a calibration"):
        calibration.of(tmp_path / "w.safetensors")
