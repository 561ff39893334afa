"""The command `evaluate`: its figures against scikit-learn, scipy and torchmetrics, what is honest, what it refuses."""

import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import run_command
from scipy import stats
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_calibration_error

from fer_lightning.data.augment import Normalize
from fer_lightning.data.faces import CLASSES, PRIVATE, PUBLIC, TRAINING, USAGES, Faces, digest, fingerprint
from fer_lightning.data.splits import make_splits
from fer_lightning.evaluate import evaluation, prediction, scoring, text
from fer_lightning.evaluate.__main__ import main
from fer_lightning.evaluate.members import Member
from fer_lightning.evaluate.votes import APART, CHOICES, HEADER
from fer_lightning.models import DNN
from fer_lightning.results import weights
from fer_lightning.results.checkpoint import TTA_COPIES, Classifier, load, read_checkpoint, tta_copies
from fer_lightning.results.files import write_json
from fer_lightning.results.run_folder import read_predictions
from fer_lightning.results.weights import write_weights

STATE = "FERDataModule"


@pytest.fixture(scope="session")
def faces(few_faces: Faces) -> Faces:
    return few_faces


@pytest.fixture
def run(trained: Callable[..., Path]) -> Path:
    """A finished run on synthetic faces, for this test alone."""
    settings = ("model=dnn", "model.widths=[64,32]", "aug=norm", "data=synthetic", "data.batch_size=32")
    return trained("run", *settings, "trainer=cpu", "trainer.max_epochs=2", "logger=none")


@pytest.fixture
def evaluate() -> Callable[..., tuple[int, str, str]]:
    """`evaluate("run", "--tta")` runs the command in the current folder: its exit status, output and error output."""

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        ended = run_command(main, *arguments)
        return ended.status, ended.out, ended.err

    return call


def altered(run: Path, path: Path, noise: float = 0.3, **state: object) -> Path:
    """Another checkpoint than the run's: its last layer disturbed, its data's state changed."""
    checkpoint = read_checkpoint(run / "checkpoints" / "best.ckpt")
    weight = checkpoint["state_dict"]["fc3.weight"]
    weight += noise * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    checkpoint[STATE] |= state
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
    return path


def npz(path: Path, faces: Faces, labels: np.ndarray | None = None) -> Path:
    """The faces as a file of FER2013."""
    usage = np.array(USAGES)[faces.usage]
    np.savez(path, pixels=faces.pixels, emotion=faces.labels if labels is None else labels, usage=usage)
    return path


def member(network: DNN | None = None, **state: object) -> Member:
    classifier = Classifier(network or DNN(widths=(2, 2)), Normalize(), state)
    return Member("a", Path("a.ckpt"), None, classifier, "32-true", "cpu", ())


def report(folder: Path) -> dict:
    return json.loads((folder / "evaluation.json").read_text())


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def written(*splits: str) -> set[str]:
    """The files of an evaluation of these splits."""
    pictures = {"val": "confusion_matrix", "public": "confusion_matrix-public", "private": "confusion_matrix-private"}
    drawn = {f"{pictures[split]}{suffix}" for split in splits for suffix in (".png", ".csv")}
    return {"evaluation.json", "predictions.csv"} | drawn


# Figures


def test_a_run_scores_what_its_own_files_say(run, evaluate):
    status, out, err = evaluate("run")
    assert (status, err) == (0, "")
    metrics, found = json.loads((run / "metrics.json").read_text()), report(run / "evaluation" / "all")
    for split, key in {"val": "val", "public": "test_public", "private": "test_private"}.items():
        mine = found["splits"][split]
        assert mine["n"] == metrics[f"{key}_n"]
        assert mine["acc"] == metrics[f"{key}_acc"]
        assert mine["acc_95"] == metrics[f"{key}_acc_95"]
    for split in ("public", "private"):
        assert found["splits"][split]["acc_unseen"] == metrics[f"test_{split}_acc_unseen"]
        assert found["splits"][split]["unseen_n"] == metrics[f"test_{split}_unseen_n"]
    assert (found["splits"]["val"]["acc_unseen"], found["splits"]["val"]["unseen_n"]) == (None, 0)
    assert (run / "evaluation" / "all" / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()
    assert found["checkpoints"][0]["precision"] == metrics["precision"]
    assert f"{metrics['val_acc']:.4f}" in out


def test_one_split_alone_is_the_same_as_among_all(run, evaluate):
    assert evaluate("run")[0] == 0
    among = report(run / "evaluation" / "all")["splits"]
    everything = pd.read_csv(run / "evaluation" / "all" / "predictions.csv")
    for split in ("val", "public", "private"):
        assert evaluate("run", "--split", split)[0] == 0
        assert report(run / "evaluation" / split)["splits"] == {split: among[split]}
        own = pd.read_csv(run / "evaluation" / split / "predictions.csv")
        pd.testing.assert_frame_equal(own, everything[everything["split"] == split].reset_index(drop=True))


def test_figures_agree_with_scikit_learn_and_torchmetrics(run, evaluate, faces):
    evaluate("run", "--split", "public")
    found = report(run / "evaluation" / "public")["splits"]["public"]
    where = faces.where(PUBLIC)
    target = faces.labels[where].astype(np.int64)
    probabilities = load(run).probabilities(
        faces.pixels[where], json.loads((run / "metrics.json").read_text())["precision"]
    )
    predicted = probabilities.argmax(1)
    right = int((predicted == target).sum())
    assert found["acc"] == pytest.approx(sk.accuracy_score(target, predicted))
    assert found["acc_95"] == pytest.approx(tuple(stats.binomtest(right, len(where)).proportion_ci(method="wilson")))
    assert found["balanced_acc"] == pytest.approx(sk.balanced_accuracy_score(target, predicted))
    expected = sk.log_loss(target, probabilities / probabilities.sum(1, keepdims=True), labels=range(7))
    assert found["log_loss"] == pytest.approx(expected, rel=1e-6)
    expected = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(target), 7, n_bins=15, norm="l1")
    assert found["ece"] == pytest.approx(float(expected), abs=1e-6)
    assert found["confusion"] == sk.confusion_matrix(target, predicted, labels=range(7)).tolist()
    by_class = sk.precision_recall_fscore_support(target, predicted, labels=range(7), zero_division=np.nan)
    for column, key in zip(by_class, ("precision", "recall", "f1", "support"), strict=True):
        mine = [found["classes"][name][key] for name in CLASSES]
        np.testing.assert_allclose([np.nan if value is None else value for value in mine], column)


def test_unseen_images_are_those_that_are_not_training_rows_pixel_for_pixel(run, evaluate, faces, tmp_path):
    pixels = faces.pixels.copy()
    public, training = faces.where(PUBLIC), faces.where(TRAINING)
    pixels[public[:60]] = pixels[training[:60]]
    planted = replace(faces, pixels=pixels, digests=digest(pixels))
    evaluate("run", "--split", "public", "--data", npz(tmp_path / "planted.npz", planted))
    found = report(run / "evaluation" / "public")["splits"]["public"]
    rows = read_predictions(run / "evaluation" / "public" / "predictions.csv")
    stored = {faces.pixels[i].tobytes() for i in training}
    unseen = np.array([pixels[i].tobytes() not in stored for i in public])
    assert 0 < unseen.sum() <= 90
    assert found["unseen_n"] == unseen.sum()
    assert found["acc_unseen"] == pytest.approx((rows["target"] == rows["predicted"])[unseen].mean())
    assert rows["index"].tolist() == public.tolist()


def test_nothing_but_copies_of_training_images_leaves_the_unseen_accuracy_undefined(run, evaluate, faces, tmp_path):
    training = faces.where(TRAINING)[:30]
    usage = np.full(30, PRIVATE, np.uint8)
    copies = replace(faces, pixels=faces.pixels[training], labels=faces.labels[training], usage=usage)
    status, out, _ = evaluate("run", "--data", npz(tmp_path / "copies.npz", copies))
    assert status == 0
    found = report(run / "evaluation" / "all")
    assert list(found["splits"]) == ["private"]
    assert (found["splits"]["private"]["n"], found["splits"]["private"]["acc_unseen"]) == (30, None)
    assert "public is not scored" in " ".join(out.split())


def test_a_class_without_images_has_no_recall_and_no_part_in_the_mean(run, evaluate, faces, tmp_path):
    some = faces.where(PUBLIC)[np.isin(faces.labels[faces.where(PUBLIC)], (3, 6))]
    two = replace(faces, pixels=faces.pixels[some], labels=faces.labels[some], usage=faces.usage[some])
    assert evaluate("run", "--data", npz(tmp_path / "two.npz", two))[0] == 0
    found = report(run / "evaluation" / "all")["splits"]["public"]
    assert found["classes"]["angry"]["recall"] is None
    recalls = [found["classes"][name]["recall"] for name in ("happy", "neutral")]
    assert found["balanced_acc"] == pytest.approx(np.mean(recalls))


# Test-time augmentation and ensembles


def test_tta_copies_are_mirrored_and_shifted_by_two_pixels():
    image = np.random.default_rng(0).random((3, 48, 48)).astype(np.float32)
    copies = [copy.squeeze(1).numpy() for copy in tta_copies(torch.from_numpy(image).unsqueeze(1))]
    assert len(copies) == TTA_COPIES == 10
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2)), mode="edge")
    expected = [padded[:, 2 + y : 50 + y, 2 + x : 50 + x] for y, x in ((0, 0), (0, 2), (0, -2), (2, 0), (-2, 0))]
    expected += [copy[:, :, ::-1] for copy in expected]
    assert {copy.tobytes() for copy in copies} == {copy.tobytes() for copy in expected}


@pytest.fixture(scope="module")
def network() -> DNN:
    torch.manual_seed(0)
    return DNN(widths=(16, 8)).eval()


def predict(network: DNN, normalize: Normalize, pixels: np.ndarray, precision: str, tta: bool = False) -> np.ndarray:
    return Classifier(network, normalize, {}).probabilities(pixels, precision, tta)


def test_tta_is_the_mean_over_the_copies(network, faces):
    pixels = faces.pixels[:40]
    copies = tta_copies(torch.from_numpy(pixels).unsqueeze(1).float() / 255)
    with torch.inference_mode():
        expected = np.mean([network((copy - 0.5) / 0.2).softmax(1).numpy() for copy in copies], axis=0)
    mean = predict(network, Normalize(0.5, 0.2), pixels, "32-true", tta=True)
    np.testing.assert_allclose(mean, expected, atol=1e-6)
    assert np.abs(mean - predict(network, Normalize(0.5, 0.2), pixels, "32-true")).max() > 1e-4


def test_scores_are_computed_in_the_precision_of_the_training(network, faces):
    pixels = faces.pixels[:20]
    exact, half, brain = (predict(network, Normalize(), pixels, name) for name in ("32-true", "16-mixed", "bf16-mixed"))
    assert 0 < np.abs(half - exact).max() < np.abs(brain - exact).max() < 0.01


def test_tta_has_a_folder_of_its_own_and_says_what_it_did(run, evaluate, faces):
    status, out, _ = evaluate("run", "--split", "public", "--tta")
    assert status == 0
    folder = run / "evaluation" / "public-tta"
    assert "10 copies" in report(folder)["tta"]
    assert "test-time augmentation: mean over 10 copies" in out
    assert not (run / "evaluation" / "public").exists()
    precision = json.loads((run / "metrics.json").read_text())["precision"]
    expected = load(run).probabilities(faces.pixels[faces.where(PUBLIC)], precision, tta=True)
    written = read_predictions(folder / "predictions.csv")[list(CLASSES)].to_numpy()
    np.testing.assert_allclose(written, expected, rtol=1e-5)


def test_an_ensemble_averages_probabilities_each_member_with_its_own_normalization(run, evaluate, faces, tmp_path):
    altered(run, tmp_path / "b.ckpt", mean=0.3, std=0.1)
    altered(run, tmp_path / "c.ckpt", noise=1.0)
    assert evaluate("run", "--ensemble", "b.ckpt", "c.ckpt", "--split", "public")[0] == 0
    pixels = faces.pixels[faces.where(PUBLIC)]
    precision = json.loads((run / "metrics.json").read_text())["precision"]
    each = [load(run).probabilities(pixels, precision)]
    each += [load(tmp_path / name).probabilities(pixels) for name in ("b.ckpt", "c.ckpt")]
    rows = read_predictions(run / "evaluation" / "public-ensemble" / "predictions.csv")
    np.testing.assert_allclose(rows[list(CLASSES)].to_numpy(), np.mean(each, axis=0), rtol=1e-5)
    found = report(run / "evaluation" / "public-ensemble")
    assert [member["checkpoint"] for member in found["checkpoints"]] == [
        str(run / "checkpoints" / "best.ckpt"), str(tmp_path / "b.ckpt"), str(tmp_path / "c.ckpt"),
    ]  # fmt: skip


def test_what_any_member_of_an_ensemble_was_trained_on_is_seen(run, evaluate, faces, tmp_path):
    public = faces.where(PUBLIC)
    altered(run, tmp_path / "b.ckpt", training_digests=torch.from_numpy(np.unique(faces.digests[public[:50]])))
    assert evaluate("run", "--ensemble", "b.ckpt", "--split", "public")[0] == 0
    found = report(run / "evaluation" / "public-ensemble")["splits"]["public"]
    copies = np.isin(faces.digests[public], faces.digests[faces.where(TRAINING)])
    copies[:50] = True
    assert found["unseen_n"] == (~copies).sum()


# Comparison


@pytest.mark.parametrize("tta", [(), ("--tta",)])
def test_the_comparison_is_mcnemar_on_the_same_images(run, evaluate, tmp_path, tta):
    altered(run, tmp_path / "b.ckpt", noise=2.0)
    status, out, _ = evaluate("run", "--compare", "b.ckpt", "--split", "public", "--out", "pair", *tta)
    assert status == 0
    assert evaluate("b.ckpt", "--split", "public", "--out", "other", *tta)[0] == 0
    mine, other = (read_predictions(tmp_path / name / "predictions.csv") for name in ("pair", "other"))
    right, wrong = mine["target"] == mine["predicted"], other["target"] != other["predicted"]
    b, c = int((right & wrong).sum()), int((~right & ~wrong).sum())
    found = report(tmp_path / "pair")["comparison"]
    assert found["name"] == "b.ckpt"
    found = found["splits"]["public"]
    assert (found["only_this_right"], found["only_other_right"]) == (b, c)
    assert b + c > 10
    assert found["p"] == pytest.approx(stats.binomtest(b, b + c).pvalue)
    assert found["points"] == pytest.approx(100 * (right.mean() - (~wrong).mean()))
    assert found["acc"] == pytest.approx((~wrong).mean())
    assert found["more_than_chance"] == (found["p"] < 0.05)
    words = " ".join(out.split())
    assert f"Only this one is right on {b} images, only the other on {c}; McNemar, exact: p = {found['p']:.2g}" in words


@pytest.mark.parametrize(
    ("b", "c", "words"),
    [
        (10, 1, "+4.50 points on 200 images. Only this one is right on 10 images, only the other on 1; McNemar, exact: "
                "p = 0.012. The difference is more than chance (p < 0.05)."),
        (1, 4, "-1.50 points on 200 images. Only this one is right on 1 image, only the other on 4; McNemar, exact: "
               "p = 0.38. The difference is no more than chance may bring (p ≥ 0.05)."),
        (0, 0, "+0.00 points on 200 images. Both are right on the same images."),
    ],
)  # fmt: skip
def test_a_difference_is_told_in_words(faces, b, c, words):
    faces = replace(faces, labels=np.zeros_like(faces.labels))
    mine, theirs = np.zeros((200, 7)), np.zeros((200, 7))
    mine[:, 0] = theirs[:, 0] = 0.5
    theirs[:b, 1] = mine[b : b + c, 1] = 0.6
    found = scoring.difference(faces, np.arange(200), mine, theirs)
    assert words in text.difference_in_words({**found, "unseen": found}, 1 - c / 200, "other")
    assert words in text.difference_in_words({**found, "unseen": None}, 1 - c / 200, "other")


def test_a_comparison_tells_apart_what_is_owed_to_copies_of_training_images(run, evaluate, faces, tmp_path):
    """A side that is right on all copies of training images and nowhere else is not ahead on the unseen ones."""
    altered(run, tmp_path / "b.ckpt", noise=2.0)
    digests = np.unique(np.concatenate([faces.digests[faces.where(TRAINING)], faces.digests[faces.where(PUBLIC)[:60]]]))
    altered(run, tmp_path / "c.ckpt", noise=2.0, training_digests=torch.from_numpy(digests))
    status, out, _ = evaluate("run", "--compare", "c.ckpt", "--split", "public", "--out", "pair")
    assert status == 0
    assert evaluate("b.ckpt", "--split", "public", "--out", "other")[0] == 0
    mine, other = (read_predictions(tmp_path / name / "predictions.csv") for name in ("pair", "other"))
    unseen = ~np.isin(faces.digests[faces.where(PUBLIC)], digests)
    right = [(table["target"] == table["predicted"])[unseen] for table in (mine, other)]
    b, c = int((right[0] & ~right[1]).sum()), int((~right[0] & right[1]).sum())
    found = report(tmp_path / "pair")["comparison"]["splits"]["public"]["unseen"]
    assert (found["n"], found["only_this_right"], found["only_other_right"]) == (unseen.sum(), b, c)
    assert found["p"] == pytest.approx(stats.binomtest(b, b + c).pvalue)
    assert found["acc"] == pytest.approx(right[1].mean())
    words = " ".join(out.split())
    assert f"On the {unseen.sum()} images that do not also stand in Training: {found['points']:+.2f} points." in words


# What is honest


def test_validation_is_offered_on_a_copy_of_the_same_data_in_any_order(run, evaluate, faces, tmp_path):
    evaluate("run", "--split", "val")
    status, out, _ = evaluate("run", "--split", "val", "--data", npz(tmp_path / "copy.npz", faces), "--out", "copy")
    assert status == 0
    assert report(tmp_path / "copy")["splits"] == report(run / "evaluation" / "val")["splits"]
    assert "run was trained on synthetic faces and is scored on real faces" in out
    order = np.random.default_rng(0).permutation(len(faces))
    parts = {name: getattr(faces, name)[order] for name in ("pixels", "labels", "usage", "digests")}
    status, _, err = evaluate("run", "--split", "val", "--data", npz(tmp_path / "b.npz", replace(faces, **parts)))
    assert status == 0, err


def test_validation_is_refused_on_other_training_images(run, evaluate, faces, tmp_path):
    pixels = faces.pixels.copy()
    pixels[faces.where(TRAINING)[0], 0, 0] ^= 1
    copy = npz(tmp_path / "other.npz", replace(faces, pixels=pixels))
    status, out, err = evaluate("run", "--split", "val", "--data", copy)
    assert (status, err.count("\n")) == (2, 1)
    assert f"--split val: the Training images of {copy} are not those that run was trained on" in err
    status, out, _ = evaluate("run", "--data", copy)
    assert status == 0
    assert list(report(run / "evaluation" / "all")["splits"]) == ["public", "private"]
    assert "val is not scored: the Training images" in " ".join(out.split())


def test_validation_is_refused_where_labels_make_another_split(run, evaluate, faces, tmp_path):
    """Also where one label of a held-out image differs: much of the split, and all pixels, stay as they were."""
    npz(tmp_path / "relabelled.npz", faces, (faces.labels + np.arange(len(faces)) % 2) % 7)
    held_out, labels = make_splits(faces, 0.1, 0)["val"], faces.labels.copy()
    labels[held_out[0]] = (labels[held_out[0]] + 1) % 7
    npz(tmp_path / "one.npz", faces, labels)
    altered(run, tmp_path / "none.ckpt", mean=0.0, std=1.0)  # as with aug=none
    for network in ("run", "none.ckpt"):
        for data, said in (
            ("relabelled.npz", "its labels or repeated images differ"),
            ("one.npz", f"not those that {network} was validated on"),
        ):
            status, _, err = evaluate(network, "--split", "val", "--data", data)
            assert status == 2
            assert said in err


def test_no_validation_split_is_fair_to_members_with_different_ones(run, evaluate, tmp_path):
    altered(run, tmp_path / "b.ckpt", split_seed=7, seed=7)
    status, _, err = evaluate("run", "--ensemble", "b.ckpt", "--split", "val")
    assert status == 2
    assert "run held out data.val_split=0.1 with seed=0 and b.ckpt data.val_split=0.1 with seed=7" in err
    status, out, _ = evaluate("run", "--ensemble", "b.ckpt")
    assert status == 0
    assert "val is not scored: run held out" in " ".join(out.split())
    status, _, err = evaluate("run", "--compare", "b.ckpt", "--split", "val")
    assert status == 2
    assert "--compare b.ckpt --split val: no split is fair to both" in err
    status, out, _ = evaluate("run", "--compare", "b.ckpt", "--out", "compared")
    assert status == 0
    assert list(report(tmp_path / "compared")["splits"]) == ["val", "public", "private"]
    assert list(report(tmp_path / "compared")["comparison"]["splits"]) == ["public", "private"]
    assert "val is not compared: run held out" in " ".join(out.split())


def test_a_split_of_a_seed_of_its_own_is_named_by_it(run, evaluate, tmp_path):
    altered(run, tmp_path / "b.ckpt", split_seed=7, seed=1)
    altered(run, tmp_path / "public.ckpt", val_split="public")
    begin = "fer_lightning: --split val: b.ckpt held out data.val_split=0.1 with data.split_seed=7 and "
    for other, held_out in (("run", "data.val_split=0.1 with seed=0"), ("public.ckpt", "data.val_split=public")):
        status, _, err = evaluate("b.ckpt", "--ensemble", other, "--split", "val")
        assert status == 2
        assert err.startswith(f"{begin}{other} {held_out}, so")


def test_both_seeds_of_a_network_are_told(run, evaluate, tmp_path):
    altered(run, tmp_path / "other.ckpt", split_seed=5, seed=6)
    write_weights(read_checkpoint(altered(run, tmp_path / "own.ckpt", seed=1)), tmp_path / "w.safetensors")
    arguments = ("--ensemble", "w.safetensors", "--compare", "other.ckpt", "--split", "public", "--out", "out")
    assert evaluate("run", *arguments)[0] == 0
    found = report(tmp_path / "out")
    seeds = [(each["seed"], each["split_seed"]) for each in (*found["checkpoints"], found["comparison"])]
    assert seeds == [(0, 0), (1, 0), (6, 5)]


def test_the_public_images_are_no_test_of_a_checkpoint_chosen_on_them(run, evaluate, tmp_path, faces):
    split = {name: fingerprint(faces, faces.where(usage)) for name, usage in (("train", TRAINING), ("val", PUBLIC))}
    state = {"val_split": "public", "split": split, "mean": 0.0, "std": 1.0}
    altered(run, tmp_path / "b.ckpt", **state)
    altered(run, tmp_path / "c.ckpt", **state, split_seed=1)
    status, _, err = evaluate("b.ckpt", "--split", "public")
    assert status == 2
    assert "b.ckpt was trained with data.val_split=public" in err
    status, _, _ = evaluate("b.ckpt", "--ensemble", "c.ckpt", "--out", "both")  # the seed splits nothing here
    assert status == 0
    assert list(report(tmp_path / "both")["splits"]) == ["val", "private"]
    assert report(tmp_path / "both")["splits"]["val"]["n"] == 150
    kept = np.flatnonzero(faces.usage != PUBLIC)
    rest = replace(faces, pixels=faces.pixels[kept], labels=faces.labels[kept], usage=faces.usage[kept])
    status, out, _ = evaluate("b.ckpt", "--data", npz(tmp_path / "rest.npz", rest), "--out", "rest")
    assert status == 0
    assert list(report(tmp_path / "rest")["splits"]) == ["private"]
    assert "val is not scored" in out


def test_a_comparison_with_itself_finds_no_difference_and_synthetic_scores_say_so(run, evaluate):
    status, out, _ = evaluate("run", "--compare", "run")
    assert status == 0
    found = report(run / "evaluation" / "all")
    assert " ".join(out.split()).count("Both are right on the same images.") == 5  # tests: unseen too
    assert found["comparison"]["splits"]["val"]["p"] == 1
    assert "SYNTHETIC FACES" in out
    tables = [line for line in out.splitlines() if line.startswith(("scores", "val", "public", "private"))]
    assert len(tables) == 7
    assert all("SYNTHETIC" in line for line in tables)
    assert found["synthetic"] is True


def test_a_network_of_real_faces_on_synthetic_ones_says_so(run, evaluate, tmp_path):
    altered(run, tmp_path / "real.ckpt", synthetic=False)
    status, out, _ = evaluate("real.ckpt", "--data", "synthetic")
    assert status == 0
    assert "real.ckpt was trained on real faces and is scored on synthetic faces" in out


# Which data


@pytest.fixture
def real_run(run: Path, faces: Faces, tmp_path: Path) -> Path:
    """A run as if trained on `real.npz`."""
    folder = Path(shutil.copytree(run, tmp_path / "real"))
    altered(run, folder / "checkpoints" / "best.ckpt", synthetic=False)
    source = npz(tmp_path / "real.npz", faces)
    metrics = json.loads((folder / "metrics.json").read_text())
    write_json(folder / "metrics.json", metrics | {"data": "fer2013", "synthetic": False, "source": str(source)})
    return folder


def test_the_data_of_the_run_is_taken_from_any_current_folder(real_run, evaluate, tmp_path, monkeypatch):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    status, out, _ = evaluate(real_run)
    assert status == 0
    assert report(real_run / "evaluation" / "all")["source"] == str(tmp_path / "real.npz")
    assert "SYNTHETIC" not in out


def test_data_that_moved_is_found_where_fer2013_usually_is_or_asked_for(real_run, evaluate, tmp_path, monkeypatch):
    moved = tmp_path / "real.npz"
    moved = moved.rename(tmp_path / "moved.npz")
    status, _, err = evaluate("real")
    assert status == 2
    assert f"real: it was trained on FER2013 ({tmp_path / 'real.npz'}, which is not there now); name" in err
    monkeypatch.setenv("FER2013_ROOT", str(moved))
    assert evaluate("real", "--split", "val")[0] == 0
    assert report(real_run / "evaluation" / "val")["source"] == str(moved)


def test_a_run_that_still_trains_has_its_settings_from_config_yaml(real_run, evaluate, tmp_path):
    (real_run / "metrics.json").unlink()
    config = (real_run / "config.yaml").read_text()
    assert "root: null" in config
    (real_run / "config.yaml").write_text(config.replace("root: null", f"root: {tmp_path / 'real.npz'}"))
    assert evaluate("real")[0] == 0
    found = report(real_run / "evaluation" / "all")
    assert found["source"] == str(tmp_path / "real.npz")
    assert f"precision: {found['checkpoints'][0]['precision']}" in config


def test_bad_data_is_the_readers_message(run, evaluate, tmp_path):
    (tmp_path / "bad.csv").write_text("emotion,pixels,Usage\n9,1 2 3,Training\n")
    status, _, err = evaluate("run", "--data", "bad.csv")
    assert status == 2
    assert "line 2" in err
    status, _, err = evaluate("run", "--data", "none.csv")
    assert status == 2
    assert "none.csv does not exist" in err


# Files


def test_the_files_of_the_run_stay_as_they_are(run, evaluate):
    before = tree(run)
    for arguments in ((), ("--split", "val"), ("--tta",), ("--ensemble", "run/checkpoints/best.ckpt")):
        assert evaluate("run", *arguments)[0] == 0
    after = tree(run)
    assert {name: after[name] for name in before} == before
    all_three = ("val", "public", "private")
    folders = {"all": all_three, "val": ("val",), "all-tta": all_three, "all-ensemble": all_three}
    files = {f"evaluation/{folder}/{name}" for folder, splits in folders.items() for name in written(*splits)}
    assert set(after) - set(before) == files
    for split in ("", "-public", "-private"):
        assert after[f"evaluation/all/confusion_matrix{split}.csv"] == after[f"confusion_matrix{split}.csv"]
    alone, twice = (report(run / "evaluation" / name)["splits"] for name in ("all", "all-ensemble"))
    assert alone == twice  # an ensemble of one checkpoint twice is that checkpoint
    assert after["evaluation/all/predictions.csv"] == after["evaluation/all-ensemble/predictions.csv"]


def test_a_repeated_evaluation_replaces_its_own_files_alone(run, evaluate, faces, tmp_path):
    evaluate("run")
    folder = run / "evaluation" / "all"
    first = tree(folder)
    (folder / "notes.txt").write_text("mine")
    (folder / "predictions.csv").write_text("old")
    same = npz(tmp_path / "copy.npz", faces)  # the same data, the same checkpoint, by other names
    assert evaluate(run / "checkpoints" / "best.ckpt", "--data", same)[0] == 0
    again = tree(folder)
    assert again.pop("notes.txt") == b"mine"
    assert again["predictions.csv"] == first["predictions.csv"]
    assert set(again) == written("val", "public", "private")
    assert [path.name for path in folder.parent.iterdir()] == ["all"]


def test_another_evaluation_has_a_folder_of_its_own(run, evaluate, faces, tmp_path):
    altered(run, tmp_path / "b.ckpt")
    altered(run, tmp_path / "c.ckpt", noise=1.0)
    labels = faces.labels.copy()
    labels[faces.where(PUBLIC)[0]] = (labels[faces.where(PUBLIC)[0]] + 1) % 7
    npz(tmp_path / "other.npz", faces, labels)
    votes_file(tmp_path / "votes.csv", faces)
    home = run / "evaluation"
    folders = {
        "public": ((), None),
        "public-2": (("--data", "other.npz"), "data"),
        "public-3": (("--compare", "b.ckpt"), "comparison"),
        "public-4": (("--compare", "c.ckpt"), "comparison"),
        "public-5": (("--votes", "votes.csv"), "votes"),
        "public-ensemble": (("--ensemble", "b.ckpt"), None),
        "public-ensemble-2": (("--ensemble", "c.ckpt"), "checkpoints"),
        "public-tta-ensemble": (("--ensemble", "b.ckpt", "--tta"), None),
    }
    for name, (arguments, difference) in folders.items():
        before = tree(home) if home.exists() else {}
        status, out, err = evaluate("run", "--split", "public", *arguments)
        assert (status, err) == (0, "")
        after = tree(home)
        assert {path: after[path] for path in before} == before
        assert set(after) - set(before) == {f"{name}/{file}" for file in written("public")}
        usual = home / name.rstrip("-2345")
        told = f"{usual}: it holds another evaluation (other {difference}), which is not overwritten; this evaluation "
        assert (told in out) == (difference is not None)
    files = set(tree(home))
    for name in ("public", "public-3", "public-ensemble-2"):
        arguments, _ = folders[name]
        kept = (home / name / "predictions.csv").read_bytes()
        (home / name / "predictions.csv").write_text("old")
        assert evaluate("run", "--split", "public", *arguments)[0] == 0
        assert (home / name / "predictions.csv").read_bytes() == kept
    assert set(tree(home)) == files
    altered(run, run / "checkpoints" / "best.ckpt")  # as where the training has gone on
    assert "(other checkpoints)" in evaluate("run", "--split", "public")[1]
    assert set(tree(home)) == files | {f"public-6/{file}" for file in written("public")}


def test_out_is_never_a_folder_of_a_run_or_with_other_predictions(run, evaluate, tmp_path):
    before = tree(run)
    status, _, err = evaluate("run", "--out", "run")
    assert status == 2
    assert "--out run: it holds a run" in err
    assert evaluate("run", "--out", "run/new/..")[0] == 2
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "predictions.csv").write_text("mine")
    status, _, err = evaluate("run", "--out", "mine")
    assert status == 2
    assert "its predictions.csv is of no evaluation" in err
    assert tree(run) == before


def test_out_is_never_a_folder_with_another_evaluation(run, evaluate, tmp_path):
    for _ in range(2):
        assert evaluate("run", "--split", "val", "--out", "mine")[0] == 0
    before = tree(tmp_path / "mine")
    status, _, err = evaluate("run", "--split", "public", "--tta", "--out", "mine")
    assert (status, err.count("\n")) == (2, 1)
    reason = "it holds another evaluation (other split, tta), which is not overwritten; name another folder"
    assert f"--out mine: {reason}" in err
    assert tree(tmp_path / "mine") == before
    for content in ("[]", "{}", "mine", '{"checkpoints": 1}', '{"checkpoints": [], "comparison": "a", "votes": null}'):
        (tmp_path / "mine" / "evaluation.json").write_text(content)
        status, _, err = evaluate("run", "--split", "val", "--out", "mine")
        assert status == 2
        assert "its evaluation.json is none of this command's and not overwritten" in err
        assert (tmp_path / "mine" / "evaluation.json").read_text() == content


def test_an_evaluation_that_ended_meanwhile_is_not_replaced(run, evaluate, faces, tmp_path, monkeypatch):
    labels = (faces.labels + 1) % 7
    npz(tmp_path / "other.npz", faces, labels)

    def slow(*arguments):
        monkeypatch.setattr(evaluation, "predict", prediction.predict)
        evaluation.evaluate(["run"], split="public", data="other.npz")
        return prediction.predict(*arguments)

    monkeypatch.setattr(evaluation, "predict", slow)
    assert evaluate("run", "--split", "public")[0] == 0
    sources = [report(run / "evaluation" / name)["source"] for name in ("public", "public-2")]
    assert [Path(source).name for source in sources] == ["other.npz", faces.source]


def test_a_tilde_is_the_users_home(run, evaluate, faces, tmp_path, monkeypatch):
    """The shell leaves it in `--out=~/out`, and so does a script."""
    altered(run, tmp_path / "b.ckpt")
    npz(tmp_path / "copy.npz", faces)
    votes_file(tmp_path / "votes.csv", faces)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    files = ("--data=~/copy.npz", "--votes=~/votes.csv", "--compare=~/b.ckpt", "--ensemble=~/b.ckpt")
    assert evaluate("~/run", *files, "--out=~/out")[::2] == (0, "")
    assert report(tmp_path / "out")["source"] == str(tmp_path / "copy.npz")
    assert evaluate("~/b.ckpt", "--split", "val")[0] == 0
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("out", ["file", "x" * 300, "/proc/x"])
def test_a_place_that_cannot_be_written_is_named_before_anything_is_scored(run, evaluate, out, monkeypatch):
    monkeypatch.setattr("fer_lightning.evaluate.evaluation.predict", None)
    Path("file").touch()
    status, _, err = evaluate("run", "--out", out)
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(f"fer_lightning: {out}: it cannot be made or written into (")


def test_other_checkpoints_have_folders_of_their_own(run, evaluate, tmp_path):
    assert evaluate("run/checkpoints/last.ckpt", "--split", "val")[0] == 0
    assert report(run / "evaluation" / "last" / "val")["checkpoints"][0]["checkpoint"].endswith("last.ckpt")
    altered(run, tmp_path / "weights" / "b.ckpt")
    assert evaluate("weights/b.ckpt", "--split", "val")[0] == 0
    found = report(tmp_path / "weights" / "evaluation" / "b" / "val")
    assert found["checkpoints"][0]["precision"] == "32-true"


@pytest.fixture
def packaged(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network that comes with the package: the run's, in half precision, in a folder that is not written to."""
    path = tmp_path / "package" / "some_cnn.safetensors"
    path.parent.mkdir()
    write_weights(read_checkpoint(run / "checkpoints" / "best.ckpt"), path)
    monkeypatch.setattr(weights, "packaged", lambda: path)
    return path


def test_the_package_s_network_is_scored_where_no_run_is_named(packaged, run, evaluate, tmp_path):
    status, out, err = evaluate("--ensemble", "run", "--compare", "run")
    assert (status, err) == (0, "")
    assert str(packaged) in out
    found = report(tmp_path / "evaluation" / "some_cnn" / "all-ensemble")
    assert [Path(each["checkpoint"]).name for each in found["checkpoints"]] == ["some_cnn.safetensors", "best.ckpt"]
    for split in found["comparison"]["splits"].values():  # the same network but for rounding
        assert abs(split["points"]) < 1.5
    assert list(packaged.parent.iterdir()) == [packaged]


def test_without_a_network_in_the_package_a_run_must_be_named(evaluate, monkeypatch):
    monkeypatch.setattr(weights, "packaged", lambda: None)
    status, _, err = evaluate("--split", "val")
    assert status == 2
    assert "name a run's folder or a checkpoint" in err


def test_the_tables_fit_100_columns(run, evaluate, tmp_path, faces):
    altered(run, tmp_path / "b.ckpt")
    arguments = (
        "--ensemble",
        "b.ckpt",
        "--compare",
        "b.ckpt",
        "--tta",
        "--votes",
        votes_file(tmp_path / "v.csv", faces),
    )
    status, out, _ = evaluate("run", *arguments)
    assert status == 0
    tables = out[out.index("\nscores") :].splitlines()
    wide = [line for line in tables if len(line) > 100 and str(tmp_path) not in line]
    assert wide == []


def test_images_are_taken_out_of_the_data_batch_by_batch(faces, network):
    """A terminal is shown how far they are."""
    where, done = np.arange(700)[::2], []
    found = prediction.probabilities([member(network)] * 2, faces, where, False, torch.device("cpu"), done.append)
    assert done == [256, 94, 256, 94]
    np.testing.assert_array_equal(found, predict(network, Normalize(), faces.pixels[where], "32-true"))


# Votes


def votes_file(path: Path, faces: Faces) -> Path:
    """Ten votes for the label of most images; for others fewer, and a few of no emotion."""
    names = dict(
        zip(CHOICES, ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", *APART), strict=True)
    )
    lines = [",".join(HEADER)]
    for i, label in enumerate(faces.labels):
        counts = dict.fromkeys(HEADER[2:], 0)
        own, apart = names[CLASSES[label]], APART[i % 3]
        counts[own], counts[apart] = ((10, 0), (7, 3), (5, 5), (4, 6))[i % 4]
        lines.append(",".join([USAGES[faces.usage[i]], f"fer{i}.png", *map(str, counts.values())]))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_accuracy_by_the_taggers_who_agree(run, evaluate, faces, tmp_path):
    status, out, _ = evaluate("run", "--split", "public", "--votes", votes_file(tmp_path / "votes.csv", faces))
    assert status == 0
    found = report(run / "evaluation" / "public")["splits"]["public"]["votes"]
    rows = read_predictions(run / "evaluation" / "public" / "predictions.csv")
    hits, kind = rows["target"] == rows["predicted"], rows["index"] % 4
    assert list(found["agreeing"]) == [str(n) for n in range(10, 0, -1)]
    for n, remainder in ((10, 0), (7, 1), (5, 2)):
        assert found["agreeing"][str(n)]["n"] == (kind == remainder).sum() > 30
        assert found["agreeing"][str(n)]["acc"] == pytest.approx(hits[kind == remainder].mean())
    assert found["agreeing"]["9"] == {"n": 0, "acc": None, "acc_95": None}
    for i, name in enumerate(APART):
        chosen = (kind == 3) & (rows["index"] % 3 == i)
        assert found["apart"][name]["n"] == chosen.sum() > 5
        assert found["apart"][name]["acc"] == pytest.approx(hits[chosen].mean())
    assert "10 of 10" in out
    assert "9 of 10" not in out


def test_votes_on_other_rows_are_refused(run, evaluate, faces, tmp_path):
    path = votes_file(tmp_path / "votes.csv", faces)
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    status, _, err = evaluate("run", "--votes", path)
    assert status == 2
    assert "699 rows of votes for the 700 images of synthetic faces" in err


# Mistakes


def test_a_misspelt_run_is_told_the_nearest(run, evaluate):
    status, _, err = evaluate("rum")
    assert (status, err.count("\n")) == (2, 1)
    assert err.endswith("rum: no such run or checkpoint; the nearest is run\n")
    assert evaluate("run/checkpoints/bets.ckpt")[2].endswith("the nearest is run/checkpoints/best.ckpt\n")


LOST = "run: checkpoints/best.ckpt is not there: removed, or not copied with the run"
NONE_YET = "run: checkpoints/best.ckpt is not there: none of the run's epochs has ended"


def test_a_trained_run_without_its_checkpoints(run, evaluate):
    (run / "checkpoints" / "best.ckpt").unlink()
    last = f"; its newest state is {Path('run/checkpoints/last.ckpt')}"
    assert evaluate("run") == (2, "", f"fer_lightning: {LOST}{last}\n")
    (run / "checkpoints" / "last.ckpt").unlink()
    assert evaluate("run") == (2, "", f"fer_lightning: {LOST}\n")
    (run / "checkpoints").rmdir()
    assert evaluate("run") == (2, "", f"fer_lightning: {LOST}\n")
    (run / "metrics.csv").unlink()  # metrics.json says that it completed
    assert evaluate("run") == (2, "", f"fer_lightning: {LOST}\n")


def test_nothing_is_said_of_a_run_of_which_only_an_empty_folder_is_left(evaluate, tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    assert evaluate("run") == (2, "", f"fer_lightning: {LOST}\n")


@pytest.mark.parametrize("files", ["heads alone", "no metrics.csv", "no metrics.json either", "no config.yaml either"])
def test_a_run_that_has_no_epoch_yet(run, evaluate, files):
    """Between its start and the end of its first epoch, or failed there, or before there was a config.yaml."""
    (run / "checkpoints" / "best.ckpt").unlink()
    metrics = json.loads((run / "metrics.json").read_text())
    write_json(run / "metrics.json", metrics | {"completed": False})
    if files == "heads alone":
        (run / "metrics.csv").write_text((run / "metrics.csv").read_text().splitlines()[0] + "\n")
    else:
        (run / "metrics.csv").unlink()
    if files.endswith("either"):
        (run / files.split()[1]).unlink()
    status, _, err = evaluate("run")
    assert (status, err.count("\n")) == (2, 1)
    assert f"{NONE_YET}; its newest state is run/checkpoints/last.ckpt" in err


def test_a_folder_that_is_no_run_is_told_the_runs_near_it(run, evaluate, tmp_path):
    (run.parent / "outputs").mkdir()
    run.rename(tmp_path / "outputs" / "0-dnn")
    status, _, err = evaluate("outputs")
    assert status == 2
    assert "outputs: no run's folder (it holds no checkpoints/best.ckpt); runs near it: outputs/0-dnn" in err
    assert "runs near it: outputs/0-dnn" in evaluate("outputs/0-dnn/checkpoints")[2]
    (tmp_path / "empty").mkdir()
    assert evaluate("empty")[2].endswith("no run's folder (it holds no checkpoints/best.ckpt)\n")


@pytest.mark.parametrize("content", ["text", "empty", "npz", "other", "other lightning", "broken network"])
def test_a_file_that_is_no_checkpoint_of_ours(run, evaluate, tmp_path, content, faces):
    path = tmp_path / "some.ckpt"
    if content in ("text", "empty"):
        path.write_text("" if content == "empty" else "emotion,pixels,Usage\n")
    elif content == "npz":
        npz(tmp_path / "x.npz", faces).rename(path)
    elif content == "broken network":
        checkpoint = read_checkpoint(run / "checkpoints" / "best.ckpt")
        checkpoint["hyper_parameters"]["widths"] = [64, 33]
        torch.save(checkpoint, path)
    else:
        torch.save({"state_dict": {}} if content == "other lightning" else [1, 2], path)
    status, _, err = evaluate("some.ckpt")
    assert status == 2
    assert "some.ckpt" in err
    assert err.count("\n") == 1


def test_a_network_of_ones_own_must_be_named(run, evaluate, tmp_path, monkeypatch):
    """A checkpoint names a class, and that alone imports nothing: not even an `x.py` of the current folder."""
    (tmp_path / "my_nets.py").write_text("from fer_lightning.models import DNN\n\nclass Big(DNN):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)  # as `python -m` does
    checkpoint = read_checkpoint(run / "checkpoints" / "best.ckpt") | {"network": "my_nets.Big"}
    torch.save(checkpoint, tmp_path / "big.ckpt")
    status, _, err = evaluate("big.ckpt", "--split", "val")
    assert (status, err.count("\n")) == (2, 1)
    assert "big.ckpt: its network 'my_nets.Big' is not known here" in err
    assert "evaluate --network 'my_nets.Big'" in err
    assert "my_nets" not in sys.modules
    assert evaluate("big.ckpt", "--split", "val", "--network", "my_nets.Big")[0] == 0
    assert report(tmp_path / "evaluation" / "big" / "val")["checkpoints"][0]["network"] == "Big"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("no_nets.Big", "it cannot be imported (No module named 'no_nets')"),
        ("fer_lightning.models.Big", "it cannot be imported (module 'fer_lightning.models' has no attribute 'Big')"),
        ("Big", "it cannot be imported"),
        ("fer_lightning.errors.UserError", "it is no EmotionClassifier"),
    ],
)
def test_a_name_that_is_no_networks(run, evaluate, name, reason):
    status, out, err = evaluate("run", "--network", name)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert f"--network {name}: {reason}" in err


def test_data_with_nothing_to_score(run, evaluate, faces, tmp_path):
    training = faces.where(TRAINING)[:300]
    part = replace(faces, pixels=faces.pixels[training], labels=faces.labels[training], usage=faces.usage[training])
    data = npz(tmp_path / "part.npz", part)
    status, _, err = evaluate("run", "--data", data)
    assert status == 2
    assert "nothing can be scored" in err
    assert "has no PrivateTest images" in err
    status, _, err = evaluate("run", "--data", data, "--split", "private")
    assert status == 2
    assert f"--split private: {data} has no PrivateTest images" in err


@pytest.mark.parametrize("option", ["", "--ensemble", "--compare", "--data", "--votes", "--network", "--out"])
def test_an_empty_argument_is_no_default(run, packaged, evaluate, option, tmp_path):
    """As in `evaluate "$RUN"` where the variable is not set: nothing is scored in its place, or written anywhere."""
    before = tree(tmp_path)
    status, out, err = evaluate(*(["run", option] if option else []), "")
    assert (status, out) == (2, "")
    assert f"argument {option or 'RUN|CKPT'}: it is empty" in err
    assert tree(tmp_path) == before


def test_an_unknown_split_lists_the_known_ones(run, evaluate):
    status, _, err = evaluate("run", "--split", "test")
    assert status == 2
    assert "val" in err
    assert "private" in err


def test_tta_takes_an_image_and_its_mirror_image_for_the_same(network, faces):
    pixels = faces.pixels[:40]
    mirrored = np.ascontiguousarray(pixels[:, :, ::-1])
    plain = [predict(network, Normalize(), each, "32-true") for each in (pixels, mirrored)]
    tta = [predict(network, Normalize(), each, "32-true", tta=True) for each in (pixels, mirrored)]
    assert np.abs(plain[0] - plain[1]).max() > 1e-4
    np.testing.assert_allclose(tta[0], tta[1], atol=1e-6)


def test_tta_changes_nothing_where_neither_mirroring_nor_shifting_does(network):
    gray = np.repeat(np.arange(0, 250, 25, dtype=np.uint8), 48 * 48).reshape(-1, 48, 48)
    plain, tta = (predict(network, Normalize(), gray, "32-true", tta=tta) for tta in (False, True))
    np.testing.assert_allclose(tta, plain, atol=1e-6)
