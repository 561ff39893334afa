"""The command `evaluate`: its figures against scikit-learn, scipy and torchmetrics, what is honest, what it refuses."""

import json
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from commands import run_command, tree
from evaluate.test_votes import write
from scipy import stats
from sklearn import metrics as sk
from torchmetrics.functional.classification import multiclass_calibration_error

from fer_lightning.data.datamodule import DATA_STATE
from fer_lightning.data.faces import CLASSES, PRIVATE, PUBLIC, TRAINING, USAGES, Faces, digest, fingerprint
from fer_lightning.data.splits import make_splits
from fer_lightning.evaluate import evaluation, scoring, text
from fer_lightning.evaluate.__main__ import main
from fer_lightning.evaluate.votes import APART
from fer_lightning.photographs import aligned
from fer_lightning.results import weights
from fer_lightning.results.checkpoint import load, read_checkpoint
from fer_lightning.results.files import write_json
from fer_lightning.results.run_folder import read_predictions
from fer_lightning.results.weights import write_weights


@pytest.fixture(scope="session")
def faces(few_faces: Faces) -> Faces:
    return few_faces


@pytest.fixture
def run(trained: Callable[..., Path]) -> Path:
    """A finished run on synthetic faces, for this test alone."""
    return trained("run", "model=dnn", "model.widths=[64,32]", "trainer=cpu", "trainer.max_epochs=2", "logger=none")


class Evaluation:
    """What the command leaves and prints where it succeeds: `Evaluation("run", "--tta")`."""

    def __init__(self, *arguments: str | Path) -> None:
        ended = run_command(main, *arguments)
        assert (ended.status, ended.err) == (0, "")
        self.out, self.words = ended.out, " ".join(ended.out.split())
        self.folder = Path(re.search(r"written: (.*)/evaluation\.json, predictions\.csv", ended.out)[1])
        self.report = json.loads((self.folder / "evaluation.json").read_text())
        self.splits = self.report["splits"]

    @cached_property
    def rows(self) -> pd.DataFrame:
        return read_predictions(self.folder / "predictions.csv")

    @property
    def right(self) -> pd.Series:
        return self.rows["target"] == self.rows["predicted"]

    @property
    def probabilities(self) -> np.ndarray:
        return self.rows[list(CLASSES)].to_numpy()


def refusal(*arguments: str | Path) -> str:
    """The one message of a mistake."""
    ended = run_command(main, *arguments)
    assert ended.status == 2
    assert ended.err.startswith("fer_lightning: ")
    assert ended.err.count("\n") == 1 + ended.err.count("\n  ")
    return ended.err.removeprefix("fer_lightning: ").removesuffix("\n")


def altered(run: Path, path: Path, noise: float = 0.3, **state: object) -> Path:
    """Another checkpoint than the run's: its last layer disturbed, its data's state changed."""
    checkpoint = read_checkpoint(run / "checkpoints" / "best.ckpt")
    weight = checkpoint["state_dict"]["fc3.weight"]
    weight += noise * torch.randn(weight.shape, generator=torch.Generator().manual_seed(0))
    checkpoint[DATA_STATE] |= state
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(checkpoint, path)
    return path


def npz(path: Path, faces: Faces, labels: np.ndarray | None = None) -> Path:
    """The faces as a file of FER2013."""
    usage = np.array(USAGES)[faces.usage]
    np.savez(path, pixels=faces.pixels, emotion=faces.labels if labels is None else labels, usage=usage)
    return path


def some(faces: Faces, where: np.ndarray, **changes: np.ndarray) -> Faces:
    parts = {name: getattr(faces, name)[where] for name in ("pixels", "labels", "usage", "rows", "digests")}
    return replace(faces, **parts | changes)


def votes_file(path: Path, faces: Faces) -> Path:
    """Ten votes for the label of most images; for others fewer, and a few of no emotion."""
    rows = []
    for i, (label, usage) in enumerate(zip(faces.labels, faces.usage, strict=True)):
        own, apart = ((10, 0), (7, 3), (5, 5), (4, 6))[i % 4]
        rows.append((USAGES[usage], {CLASSES[label]: own, APART[i % 3]: apart}))
    return write(path, rows)


def precision_of(run: Path) -> str:
    return json.loads((run / "metrics.json").read_text())["precision"]


def written(*splits: str) -> set[str]:
    """The files of an evaluation of these splits."""
    pictures = {"val": "confusion_matrix", "public": "confusion_matrix-public", "private": "confusion_matrix-private"}
    drawn = {f"{pictures[split]}{suffix}" for split in splits for suffix in (".png", ".csv")}
    return {"evaluation.json", "predictions.csv"} | drawn


# Figures

FIGURES = ("n", "acc", "acc_95")


def test_a_run_scores_what_its_own_files_say_and_each_split_alone_as_among_all(run):
    metrics, whole = json.loads((run / "metrics.json").read_text()), Evaluation("run")
    assert whole.folder == run / "evaluation" / "all"
    for split, key in {"val": "val", "public": "test_public", "private": "test_private"}.items():
        mine = whole.splits[split]
        assert [mine[name] for name in ("n", "acc", "acc_95")] == [
            metrics[f"{key}_{x}"] for x in ("n", "acc", "acc_95")
        ]
        if split == "val":
            assert (mine["acc_unseen"], mine["unseen_n"]) == (None, 0)
        else:
            for name in ("acc_unseen", "acc_unseen_95"):
                assert mine[name] == metrics[f"{key}_{name}"]
            assert mine["unseen_n"] == metrics[f"{key}_unseen_n"]
        alone = Evaluation("run", "--split", split)
        assert alone.splits == {split: mine}
        pd.testing.assert_frame_equal(alone.rows, whole.rows[whole.rows["split"] == split].reset_index(drop=True))
    assert (whole.folder / "predictions.csv").read_bytes() == (run / "predictions.csv").read_bytes()
    assert whole.report["checkpoints"][0]["precision"] == metrics["precision"]
    assert f"{metrics['val_acc']:.4f}" in whole.out


def test_figures_agree_with_scikit_learn_and_torchmetrics(run, faces):
    found = Evaluation("run", "--split", "public").splits["public"]
    where = faces.where(PUBLIC)
    target = faces.labels[where].astype(np.int64)
    probabilities = load(run).probabilities(faces.pixels[where], precision_of(run))
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


def test_unseen_images_are_those_that_are_not_training_rows_pixel_for_pixel(run, faces, tmp_path):
    pixels = faces.pixels.copy()
    public, training = faces.where(PUBLIC), faces.where(TRAINING)
    pixels[public[:60]] = pixels[training[:60]]
    planted = npz(tmp_path / "planted.npz", replace(faces, pixels=pixels, digests=digest(pixels)))
    mine = Evaluation("run", "--split", "public", "--data", planted)
    stored = {faces.pixels[i].tobytes() for i in training}
    unseen = np.array([pixels[i].tobytes() not in stored for i in public])
    assert 0 < unseen.sum() <= 90
    assert mine.splits["public"]["unseen_n"] == unseen.sum()
    assert mine.splits["public"]["acc_unseen"] == pytest.approx(mine.right[unseen].mean())
    assert mine.rows["index"].tolist() == public.tolist()


def test_what_the_data_leave_undefined_is_null(run, faces, tmp_path):
    """The accuracy on unseen images where all are copies of training images, the recall of a class without images."""
    training = faces.where(TRAINING)[:30]
    copies = some(faces, training, usage=np.full(30, PRIVATE, np.uint8))
    mine = Evaluation("run", "--data", npz(tmp_path / "copies.npz", copies))
    assert list(mine.splits) == ["private"]
    assert (mine.splits["private"]["n"], mine.splits["private"]["acc_unseen"]) == (30, None)
    assert "public is not scored" in mine.words
    public = faces.where(PUBLIC)
    two = some(faces, public[np.isin(faces.labels[public], (3, 6))])
    found = Evaluation("run", "--data", npz(tmp_path / "two.npz", two)).splits["public"]
    assert found["classes"]["angry"]["recall"] is None
    recalls = [found["classes"][name]["recall"] for name in ("happy", "neutral")]
    assert found["balanced_acc"] == pytest.approx(np.mean(recalls))


# Test-time augmentation and ensembles


def test_tta_is_the_mean_over_copies_mirrored_and_shifted_by_two_pixels(run, faces):
    mine, pixels = Evaluation("run", "--tta", "--split", "public"), faces.pixels[faces.where(PUBLIC)]
    padded = np.pad(pixels, ((0, 0), (2, 2), (2, 2)), mode="edge")
    copies = [padded[:, 2 + y : 50 + y, 2 + x : 50 + x] for y, x in ((0, 0), (0, 2), (0, -2), (2, 0), (-2, 0))]
    copies += [copy[:, :, ::-1] for copy in copies]
    each = [load(run).probabilities(np.ascontiguousarray(copy), precision_of(run)) for copy in copies]
    np.testing.assert_allclose(mine.probabilities, np.mean(each, axis=0), rtol=1e-5)
    assert np.abs(mine.probabilities - each[0]).max() > 1e-4
    assert "10 copies" in mine.report["tta"]
    assert "test-time augmentation: mean over 10 copies" in mine.out


def test_aligned_is_the_mean_of_the_image_and_its_face_and_is_held_against_the_image_alone(run, faces, monkeypatch):
    monkeypatch.setattr(aligned, "realigned", lambda pixels, after: after(len(pixels)) or pixels[:, :, ::-1])
    mine = Evaluation("run", "--tta=aligned", "--split", "public")
    public = faces.where(PUBLIC)
    mirrored = np.ascontiguousarray(faces.pixels[public][:, :, ::-1])
    plain, other = (load(run).probabilities(pixels, precision_of(run)) for pixels in (faces.pixels[public], mirrored))
    np.testing.assert_allclose(mine.probabilities, (plain + other) / 2, rtol=1e-5)
    found = mine.splits["public"]["without_tta"]
    right, alone = (each.argmax(1) == faces.labels[public] for each in (mine.probabilities, plain))
    assert found["acc"] == pytest.approx(alone.mean())
    assert found["only_this_right"] == (right & ~alone).sum()
    assert found["only_other_right"] == (~right & alone).sum()
    assert "without test-time augmentation" in mine.out


def test_scores_are_computed_in_the_precision_of_the_training(run, faces):
    classifier, precisions = load(run), ("32-true", "16-mixed", "bf16-mixed")
    exact, half, brain = (classifier.probabilities(faces.pixels[:20], name) for name in precisions)
    assert 0 < np.abs(half - exact).max() < np.abs(brain - exact).max() < 0.01


def test_an_ensemble_averages_probabilities_each_member_with_its_own_normalization(run, faces, tmp_path):
    public = faces.where(PUBLIC)
    altered(run, tmp_path / "b.ckpt", mean=0.3, std=0.1)
    digests = torch.from_numpy(np.unique(faces.digests[public[:50]]))
    altered(run, tmp_path / "c.ckpt", noise=1.0, training_digests=digests)
    mine = Evaluation("run", "--ensemble", "b.ckpt", "c.ckpt", "--split", "public")
    each = [load(run).probabilities(faces.pixels[public], precision_of(run))]
    each += [load(tmp_path / name).probabilities(faces.pixels[public]) for name in ("b.ckpt", "c.ckpt")]
    np.testing.assert_allclose(mine.probabilities, np.mean(each, axis=0), rtol=1e-5)
    paths = [run / "checkpoints" / "best.ckpt", tmp_path / "b.ckpt", tmp_path / "c.ckpt"]
    assert [member["checkpoint"] for member in mine.report["checkpoints"]] == list(map(str, paths))
    copies = np.isin(faces.digests[public], faces.digests[faces.where(TRAINING)])
    copies[:50] = True  # what any member was trained on is seen
    assert mine.splits["public"]["unseen_n"] == (~copies).sum()


# Comparison


@pytest.mark.parametrize("tta", [(), ("--tta",)])
def test_the_comparison_is_mcnemar_on_the_same_images_and_on_those_that_neither_was_trained_on(
    run, faces, tmp_path, tta
):
    """A side that is right on all copies of training images and nowhere else is not ahead on the unseen ones."""
    digests = np.unique(faces.digests[np.append(faces.where(TRAINING), faces.where(PUBLIC)[:60])])
    altered(run, tmp_path / "b.ckpt", noise=2.0, training_digests=torch.from_numpy(digests))
    mine = Evaluation("run", "--compare", "b.ckpt", "--split", "public", "--out", "pair", *tta)
    other = Evaluation("b.ckpt", "--split", "public", "--out", "other", *tta)
    assert mine.report["comparison"]["name"] == "b.ckpt"
    whole = mine.report["comparison"]["splits"]["public"]
    unseen = ~np.isin(faces.digests[faces.where(PUBLIC)], digests)
    for found, where in ((whole, slice(None)), (whole["unseen"], unseen)):
        right, theirs = mine.right[where], other.right[where]
        b, c = int((right & ~theirs).sum()), int((~right & theirs).sum())
        assert (found["n"], found["only_this_right"], found["only_other_right"]) == (len(right), b, c)
        assert b + c > 10
        assert found["p"] == pytest.approx(stats.binomtest(b, b + c).pvalue)
        assert found["points"] == pytest.approx(100 * (right.mean() - theirs.mean()))
        assert found["acc"] == pytest.approx(theirs.mean())
        assert found["more_than_chance"] == (found["p"] < 0.05)
        told = f"only the other on {c}; McNemar, exact: p = {found['p']:.2g}"
        assert f"Only this one is right on {b} images, {told}" in mine.words
    told = f"On the {unseen.sum()} images that do not also stand in Training: {whole['unseen']['points']:+.2f} points."
    assert told in mine.words


@pytest.mark.parametrize(("b", "c", "words"), [
    (10, 1, "+4.50 points on 200 images. Only this one is right on 10 images, only the other on 1; McNemar, exact: "
            "p = 0.012. The difference is more than chance (p < 0.05)."),
    (1, 4, "-1.50 points on 200 images. Only this one is right on 1 image, only the other on 4; McNemar, exact: "
           "p = 0.38. The difference is no more than chance may bring (p ≥ 0.05)."),
    (0, 0, "+0.00 points on 200 images. Both are right on the same images."),
])  # fmt: skip
def test_a_difference_is_told_in_words(faces, b, c, words):
    faces = replace(faces, labels=np.zeros_like(faces.labels))
    mine, theirs = np.zeros((200, 7)), np.zeros((200, 7))
    mine[:, 0] = theirs[:, 0] = 0.5
    theirs[:b, 1] = mine[b : b + c, 1] = 0.6
    found = scoring.difference(faces, np.arange(200), mine, theirs)
    assert words in text.difference_in_words({**found, "unseen": found}, 1 - c / 200, "other")
    assert words in text.difference_in_words({**found, "unseen": None}, 1 - c / 200, "other")


# What is honest


def test_validation_is_offered_on_a_copy_of_the_same_data_in_any_order(run, faces, tmp_path):
    first = Evaluation("run", "--split", "val")
    copy = Evaluation("run", "--split", "val", "--data", npz(tmp_path / "copy.npz", faces), "--out", "copy")
    assert copy.splits == first.splits
    assert "run was trained on synthetic faces and is scored on real faces" in copy.words
    shuffled = some(faces, np.random.default_rng(0).permutation(len(faces)))
    Evaluation("run", "--split", "val", "--data", npz(tmp_path / "b.npz", shuffled))


def test_validation_is_refused_on_other_training_images(run, faces, tmp_path):
    pixels = faces.pixels.copy()
    pixels[faces.where(TRAINING)[0], 0, 0] ^= 1
    copy = npz(tmp_path / "other.npz", replace(faces, pixels=pixels))
    own = "data.val_split=0.1 with seed=0"
    said = f"run held out {own}, which of {copy} gives other images than run was validated on ({own}); it may have been"
    assert refusal("run", "--split", "val", "--data", copy).startswith(f"--split val: {said} trained on them")
    rest = Evaluation("run", "--data", copy)
    assert list(rest.splits) == ["public", "private"]
    assert f"val is not scored: {said}" in rest.words


def test_validation_is_refused_where_labels_make_another_split(run, faces, tmp_path):
    """Also where one label of a held-out image differs: much of the split, and all pixels, stay as they were."""
    npz(tmp_path / "relabelled.npz", faces, (faces.labels + np.arange(len(faces)) % 2) % 7)
    held_out, labels = make_splits(faces, 0.1, 0)["val"], faces.labels.copy()
    labels[held_out[0]] = (labels[held_out[0]] + 1) % 7
    npz(tmp_path / "one.npz", faces, labels)
    altered(run, tmp_path / "none.ckpt", mean=0.0, std=1.0)  # as with aug=none
    for network in ("run", "none.ckpt"):
        for data in ("relabelled.npz", "one.npz"):
            said = refusal(network, "--split", "val", "--data", data)
            assert f"{data} gives other images than {network} was validated on" in said


def test_no_validation_split_is_fair_to_members_with_different_ones(run, faces, tmp_path):
    other = {"train": "", "val": fingerprint(faces, make_splits(faces, 0.1, 7)["val"])}
    altered(run, tmp_path / "b.ckpt", split_seed=7, seed=7, split=other)
    altered(run, tmp_path / "c.ckpt", split_seed=7, seed=1, split=other)  # a split of a seed of its own is named by it
    public = {"train": "", "val": fingerprint(faces, faces.where(PUBLIC))}
    altered(run, tmp_path / "public.ckpt", val_split="public", split=public)
    own, seven, split_seven = (f"data.val_split=0.1 with {key}" for key in ("seed=0", "seed=7", "data.split_seed=7"))
    for first, other, held_out, validated in (
        ("run", "b.ckpt", own, seven),
        ("c.ckpt", "run", split_seven, own),
        ("run", "public.ckpt", own, "data.val_split=public"),
    ):
        told = f"{first} held out {held_out}, which of {faces.source} gives other images than {other} was validated on "
        said = refusal(first, "--ensemble", other, "--split", "val")
        assert said == f"--split val: {told}({validated}); it may have been trained on them"
    assert Evaluation("c.ckpt", "--ensemble", "b.ckpt", "--split", "val").splits["val"]["n"] > 0
    assert "val is not scored: run held out" in Evaluation("run", "--ensemble", "b.ckpt").words
    said = refusal("run", "--compare", "b.ckpt", "--split", "val")
    assert "--compare b.ckpt --split val: no split is fair to both" in said
    pair = Evaluation("run", "--compare", "b.ckpt", "--out", "compared")
    assert list(pair.splits) == ["val", "public", "private"]
    assert list(pair.report["comparison"]["splits"]) == ["public", "private"]
    assert "val is not compared: run held out" in pair.words


def test_the_public_images_are_no_test_of_a_checkpoint_chosen_on_them(run, tmp_path, faces):
    split = {name: fingerprint(faces, faces.where(usage)) for name, usage in (("train", TRAINING), ("val", PUBLIC))}
    state = {"val_split": "public", "split": split, "mean": 0.0, "std": 1.0}
    altered(run, tmp_path / "b.ckpt", **state)
    altered(run, tmp_path / "c.ckpt", **state, split_seed=1)
    assert "b.ckpt was trained with data.val_split=public" in refusal("b.ckpt", "--split", "public")
    both = Evaluation("b.ckpt", "--ensemble", "c.ckpt", "--out", "both")  # the seed splits nothing here
    assert {name: found["n"] for name, found in both.splits.items()} == {"val": 150, "private": 150}
    rest = npz(tmp_path / "rest.npz", some(faces, np.flatnonzero(faces.usage != PUBLIC)))
    alone = Evaluation("b.ckpt", "--data", rest, "--out", "rest")
    assert list(alone.splits) == ["private"]
    assert "val is not scored" in alone.out


def test_synthetic_scores_say_so_and_a_network_differs_from_itself_in_nothing(run, tmp_path):
    mine = Evaluation("run", "--compare", "run")
    assert mine.words.count("Both are right on the same images.") == 5  # tests: unseen too
    assert mine.report["comparison"]["splits"]["val"]["p"] == 1
    assert mine.report["synthetic"] is True
    assert "SYNTHETIC FACES" in mine.out
    tables = [line for line in mine.out.splitlines() if line.startswith(("scores", "val", "public", "private"))]
    assert len(tables) == 7
    assert all("SYNTHETIC" in line for line in tables)
    altered(run, tmp_path / "real.ckpt", synthetic=False)
    told = "real.ckpt was trained on real faces and is scored on synthetic faces"
    assert told in Evaluation("real.ckpt", "--data", "synthetic").words


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


def test_the_data_of_the_run_is_taken_from_any_current_folder_or_asked_for(real_run, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    mine = Evaluation(real_run)
    assert mine.report["source"] == str(tmp_path / "real.npz")
    assert "SYNTHETIC" not in mine.out
    moved = (tmp_path / "real.npz").rename(tmp_path / "moved.npz")
    config = (real_run / "config.yaml").read_text()
    assert "root: null" in config
    (real_run / "config.yaml").write_text(config.replace("root: null", f"root: {moved}"))  # as a link is mended
    assert Evaluation(real_run, "--split", "val").report["source"] == str(moved)
    (real_run / "metrics.json").rename(tmp_path / "metrics.json")  # a run copied without it
    assert Evaluation(real_run, "--split", "val").report["source"] == str(moved)
    (tmp_path / "metrics.json").rename(real_run / "metrics.json")
    (real_run / "config.yaml").write_text(config)
    told = f"real: it was trained on FER2013 ({tmp_path / 'real.npz'}, which is not there now); name"
    assert told in refusal(real_run)
    monkeypatch.setenv("FER2013_ROOT", str(moved))  # where FER2013 usually is
    assert Evaluation(real_run, "--split", "val").report["source"] == str(moved)


def test_a_run_that_still_trains_is_scored_too(real_run, tmp_path):
    metrics = json.loads((real_run / "metrics.json").read_text())
    write_json(real_run / "metrics.json", metrics | {"completed": False, "val_acc": None})
    found = Evaluation("real").report
    assert found["source"] == str(tmp_path / "real.npz")
    assert found["checkpoints"][0]["precision"] == metrics["precision"]


def test_bad_data_and_data_with_nothing_to_score_are_refused(run, faces, tmp_path):
    (tmp_path / "bad.csv").write_text("emotion,pixels,Usage\n9,1 2 3,Training\n")
    assert "line 2" in refusal("run", "--data", "bad.csv")
    assert "none.csv does not exist" in refusal("run", "--data", "none.csv")
    data = npz(tmp_path / "part.npz", some(faces, faces.where(TRAINING)[:300]))
    said = refusal("run", "--data", data)
    assert "nothing can be scored" in said
    assert "has no PrivateTest images" in said
    said = refusal("run", "--data", data, "--split", "private")
    assert said == f"--split private: {data} has no PrivateTest images"


# Files


def test_the_files_of_the_run_stay_as_they_are_and_each_kind_of_evaluation_has_a_folder(run):
    before = tree(run)
    alone, _, _, twice = (
        Evaluation("run", *arguments)
        for arguments in ((), ("--split", "val"), ("--tta",), ("--ensemble", "run/checkpoints/best.ckpt"))
    )
    after = tree(run)
    assert {name: after[name] for name in before} == before
    all_three = ("val", "public", "private")
    folders = {"all": all_three, "val": ("val",), "all-tta": all_three, "all-ensemble": all_three}
    files = {f"evaluation/{folder}/{name}" for folder, splits in folders.items() for name in written(*splits)}
    assert set(after) - set(before) == files
    for split in ("", "-public", "-private"):
        assert after[f"evaluation/all/confusion_matrix{split}.csv"] == after[f"confusion_matrix{split}.csv"]
    assert alone.splits == twice.splits  # an ensemble of one checkpoint twice is that checkpoint
    assert after["evaluation/all/predictions.csv"] == after["evaluation/all-ensemble/predictions.csv"]


@pytest.mark.slow
def test_another_evaluation_has_a_folder_of_its_own(run, faces, tmp_path):
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
        mine, after = Evaluation("run", "--split", "public", *arguments), tree(home)
        assert {path: after[path] for path in before} == before
        assert set(after) - set(before) == {f"{name}/{file}" for file in written("public")}
        usual = Path("run/evaluation", name.rstrip("-2345"))
        told = f"{usual}: it holds another evaluation (other {difference}), which is not overwritten; this evaluation "
        assert (told in mine.out) == (difference is not None)
    (home / "public" / "notes.txt").write_text("mine")
    files = tree(home)
    best, copy = run / "checkpoints" / "best.ckpt", npz(tmp_path / "copy.npz", faces)  # the same, by other names
    for name, arguments in (
        ("public", (best, "--data", copy)),
        ("public-3", ("run", "--compare", "b.ckpt")),
        ("public-ensemble-2", ("run", "--ensemble", "c.ckpt")),
    ):
        (home / name / "predictions.csv").write_text("old")
        assert Evaluation(*arguments, "--split", "public").folder == home / name
        assert (home / name / "predictions.csv").read_bytes() == files[f"{name}/predictions.csv"]
    assert set(tree(home)) == set(files)
    altered(run, run / "checkpoints" / "best.ckpt")  # as where the training has gone on
    assert "(other checkpoints)" in Evaluation("run", "--split", "public").out
    assert set(tree(home)) == set(files) | {f"public-6/{file}" for file in written("public")}


def test_out_is_never_a_folder_of_a_run_nor_with_other_predictions_or_another_evaluation(run, tmp_path):
    before = tree(run)
    assert "--out run: it holds a run" in refusal("run", "--out", "run")
    assert "it holds a run" in refusal("run", "--out", "run/new/..")
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "predictions.csv").write_text("mine")
    assert "its predictions.csv is of no evaluation" in refusal("run", "--out", "mine")
    for content in ("[]", "{}", "mine", '{"checkpoints": 1}', '{"checkpoints": [], "comparison": "a", "votes": null}'):
        (folder / "evaluation.json").write_text(content)
        said = refusal("run", "--split", "val", "--out", "mine")
        assert "its evaluation.json is none of this command's and not overwritten" in said
        assert tree(folder) == {"predictions.csv": b"mine", "evaluation.json": content.encode()}
    (folder / "evaluation.json").unlink()
    (folder / "predictions.csv").unlink()
    for _ in range(2):
        Evaluation("run", "--split", "val", "--out", "mine")
    evaluated = tree(folder)
    reason = "it holds another evaluation (other split, tta), which is not overwritten; name another folder"
    assert refusal("run", "--split", "public", "--tta", "--out", "mine") == f"--out mine: {reason}"
    assert tree(folder) == evaluated
    assert tree(run) == before


def test_an_evaluation_that_ended_meanwhile_is_not_replaced(run, faces, tmp_path, monkeypatch):
    npz(tmp_path / "other.npz", faces, (faces.labels + 1) % 7)
    usual = evaluation.predict

    def slow(*arguments):
        monkeypatch.setattr(evaluation, "predict", usual)
        evaluation.evaluate(["run"], split="public", data="other.npz")
        return usual(*arguments)

    monkeypatch.setattr(evaluation, "predict", slow)
    run_command(main, "run", "--split", "public")
    paths = [run / "evaluation" / name / "evaluation.json" for name in ("public", "public-2")]
    sources = [json.loads(path.read_text())["source"] for path in paths]
    assert [Path(source).name for source in sources] == ["other.npz", faces.source]


def test_a_tilde_is_the_users_home_and_the_tables_fit_100_columns(run, faces, tmp_path, monkeypatch):
    """The shell leaves it in `--out=~/out`, and so does a script."""
    altered(run, tmp_path / "b.ckpt")
    npz(tmp_path / "copy.npz", faces)
    votes_file(tmp_path / "votes.csv", faces)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setenv("HOME", str(tmp_path))
    files = ("--data=~/copy.npz", "--votes=~/votes.csv", "--compare=~/b.ckpt", "--ensemble=~/b.ckpt")
    mine = Evaluation("~/run", *files, "--tta", "--out=~/out")
    assert (mine.folder, mine.report["source"]) == (tmp_path / "out", str(tmp_path / "copy.npz"))
    assert not list((tmp_path / "elsewhere").iterdir())
    tables = mine.out[mine.out.index("\nscores") :].splitlines()
    assert [line for line in tables if len(line) > 100 and str(tmp_path) not in line] == []


def test_a_place_that_cannot_be_written_is_named_before_anything_is_scored(run, monkeypatch):
    monkeypatch.setattr(evaluation, "predict", None)
    Path("file").touch()
    for out in ("file", "/proc/x"):
        assert refusal("run", "--out", out).startswith(f"{out}: it cannot be made or written into: ")
    assert "File name too long" in refusal("run", "--out", "x" * 300)


def test_other_checkpoints_have_folders_of_their_own_and_both_their_seeds_are_told(run, tmp_path):
    last = Evaluation("run/checkpoints/last.ckpt", "--split", "val")
    assert last.folder == run / "evaluation" / "last" / "val"
    assert last.report["checkpoints"][0]["checkpoint"].endswith("last.ckpt")
    altered(run, tmp_path / "weights" / "b.ckpt", split_seed=5, seed=6)
    mine = Evaluation("weights/b.ckpt", "--split", "public")
    assert mine.folder == tmp_path / "weights" / "evaluation" / "b" / "public"
    assert mine.report["checkpoints"][0]["precision"] == "32-true"
    write_weights(read_checkpoint(altered(run, tmp_path / "own.ckpt", seed=1)), tmp_path / "w.safetensors")
    arguments = ("--ensemble", "w.safetensors", "--compare", "weights/b.ckpt", "--split", "public")
    found = Evaluation("run", *arguments).report
    seeds = [(each["seed"], each["split_seed"]) for each in (*found["checkpoints"], found["comparison"])]
    assert seeds == [(0, 0), (1, 0), (6, 5)]


@pytest.fixture
def packaged(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A network that comes with the package: the run's, in half precision, in a folder that is not written to."""
    path = tmp_path / "package" / "some_cnn.safetensors"
    path.parent.mkdir()
    write_weights(read_checkpoint(run / "checkpoints" / "best.ckpt"), path)
    monkeypatch.setattr(weights, "packaged", lambda: path)
    return path


def test_the_package_s_network_is_scored_where_no_run_is_named(packaged, run):
    mine = Evaluation("--ensemble", "run", "--compare", "run")
    assert str(packaged) in mine.out
    assert mine.folder == Path("evaluation/some_cnn/all-ensemble")
    checkpoints = [Path(each["checkpoint"]).name for each in mine.report["checkpoints"]]
    assert checkpoints == ["some_cnn.safetensors", "best.ckpt"]
    for split in mine.report["comparison"]["splits"].values():  # the same network but for rounding
        assert abs(split["points"]) < 1.5
    assert list(packaged.parent.iterdir()) == [packaged]


# Votes


def test_accuracy_by_the_taggers_who_agree(run, faces, tmp_path):
    path = votes_file(tmp_path / "votes.csv", faces)
    mine = Evaluation("run", "--split", "public", "--votes", path)
    found, kind = mine.splits["public"]["votes"], mine.rows["index"] % 4
    assert list(found["agreeing"]) == [str(n) for n in range(10, 0, -1)]
    for n, remainder in ((10, 0), (7, 1), (5, 2)):
        assert found["agreeing"][str(n)]["n"] == (kind == remainder).sum() > 30
        assert found["agreeing"][str(n)]["acc"] == pytest.approx(mine.right[kind == remainder].mean())
    assert found["agreeing"]["9"] == {"n": 0, "acc": None, "acc_95": None}
    for i, name in enumerate(APART):
        chosen = (kind == 3) & (mine.rows["index"] % 3 == i)
        assert found["apart"][name]["n"] == chosen.sum() > 5
        assert found["apart"][name]["acc"] == pytest.approx(mine.right[chosen].mean())
    assert "10 of 10" in mine.out
    assert "9 of 10" not in mine.out
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-1]))
    assert "699 rows of votes for the 700 images of synthetic faces" in refusal("run", "--votes", path)


# Mistakes


def test_a_run_without_its_checkpoints(run):
    told = "run: checkpoints/best.ckpt is not there: no epoch has ended, or it was not copied with the run"
    (run / "checkpoints" / "best.ckpt").unlink()
    assert refusal("run") == f"{told}; its newest state is {Path('run/checkpoints/last.ckpt')}"
    (run / "checkpoints" / "last.ckpt").unlink()
    assert refusal("run") == told


def test_what_is_misspelt_or_no_run_is_told_what_is_near(run, tmp_path):
    assert (
        refusal("rum")
        == "rum: no such run or checkpoint; the nearest is run; `python -m fer_lightning.runs` lists runs"
    )
    assert refusal("run/checkpoints/bets.ckpt").endswith(
        "the nearest is run/checkpoints/best.ckpt; `python -m fer_lightning.runs` lists runs"
    )
    (tmp_path / "outputs").mkdir()
    run.rename(tmp_path / "outputs" / "0-dnn")
    none = "no run's folder (it holds no checkpoints/best.ckpt)"
    assert refusal("outputs") == f"outputs: {none}; runs near it: outputs/0-dnn"
    assert "runs near it: outputs/0-dnn" in refusal("outputs/0-dnn/checkpoints")
    (tmp_path / "empty").mkdir()
    assert refusal("empty").endswith(none)
    assert "no such run or checkpoint" in refusal("x" * 300)  # longer than a name can be
    assert "no such run or checkpoint" in refusal("x" * 300 + "/y")


def test_a_network_of_ones_own_must_be_named(run, tmp_path, monkeypatch):
    """A checkpoint names a class, and that alone imports nothing: not even an `x.py` of the current folder."""
    (tmp_path / "my_nets.py").write_text("from fer_lightning.models import DNN\n\nclass Big(DNN):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)  # as `python -m` does
    checkpoint = read_checkpoint(run / "checkpoints" / "best.ckpt") | {"network": "my_nets.Big"}
    torch.save(checkpoint, tmp_path / "big.ckpt")
    said = refusal("big.ckpt", "--split", "val")
    assert "big.ckpt: its network 'my_nets.Big' is not known here" in said
    assert "evaluate --network 'my_nets.Big'" in said
    assert "my_nets" not in sys.modules
    mine = Evaluation("big.ckpt", "--split", "val", "--network", "my_nets.Big")
    assert mine.report["checkpoints"][0]["network"] == "Big"
    for name, reason in (
        ("no_nets.Big", "it cannot be imported (No module named 'no_nets')"),
        ("fer_lightning.models.Big", "it cannot be imported (module 'fer_lightning.models' has no attribute 'Big')"),
        ("Big", "it cannot be imported"),
        ("fer_lightning.errors.UserError", "it is no EmotionClassifier"),
    ):
        assert f"--network {name}: {reason}" in refusal("run", "--network", name)


def test_an_empty_argument_is_no_default_and_an_unknown_split_lists_the_known(run, packaged, tmp_path):
    """As in `evaluate "$RUN"` where the variable is not set: nothing is scored in its place, or written anywhere."""
    before = tree(tmp_path)
    for option in ("", "--ensemble", "--compare", "--data", "--votes", "--network", "--out"):
        ended = run_command(main, *(["run", option] if option else []), "")
        assert (ended.status, ended.out) == (2, "")
        assert f"argument {option or 'RUN|CKPT'}: it is empty" in ended.err
    assert tree(tmp_path) == before
    ended = run_command(main, "run", "--split", "test")
    assert ended.status == 2
    assert re.search("val.*private", ended.err)
