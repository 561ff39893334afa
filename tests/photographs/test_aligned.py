"""`data.crop=aligned`: trained, scored and used on faces that are cropped anew; the images stay the same ones."""

import json
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import QUICK, SMALL, run_command
from PIL import Image

from fer_lightning.data.datamodule import DATA_STATE
from fer_lightning.data.faces import CLASSES
from fer_lightning.data.source import describe
from fer_lightning.evaluate.__main__ import main as evaluate
from fer_lightning.explain import main as explain
from fer_lightning.export import faces_to_try
from fer_lightning.photographs import aligned
from fer_lightning.photographs.faces import boxed, find_faces, realigned, whole
from fer_lightning.predict import main as predict
from fer_lightning.results.checkpoint import load, read_checkpoint
from fer_lightning.results.members import open_member
from fer_lightning.results.run_folder import read_predictions
from fer_lightning.results.weights import packaged, write_weights

RUN = (*SMALL["dnn"], *QUICK, "aug=norm", "logger=none")


@pytest.fixture
def made(monkeypatch, tmp_path) -> list[int]:
    """How many images each search for faces was of. It crops none anew but mirrors all, and its cache is empty."""
    counts = []

    def mirrored(pixels: np.ndarray, after_batch) -> np.ndarray:
        counts.append(len(pixels))
        return pixels[:, :, ::-1].copy()

    monkeypatch.setattr(aligned, "realigned", mirrored)
    monkeypatch.setenv("FER_LIGHTNING_CACHE", str(tmp_path / "cache"))
    return counts


@pytest.fixture
def mirrored_run(cli, made) -> Path:
    assert cli(*RUN, "data.crop=aligned", "hydra.run.dir=mirrored").status == 0
    return Path("mirrored")


def probabilities(folder: Path, split: str) -> np.ndarray:
    rows = read_predictions(folder / "predictions.csv")
    return rows.loc[rows["split"] == split, list(CLASSES)].to_numpy()


def test_crops_of_all_images_are_made_once_and_the_images_stay_the_same_ones(few_faces, made, tmp_path):
    some = aligned.aligned(few_faces, np.array([3, 5]))
    np.testing.assert_array_equal(some.pixels[[3, 5]], few_faces.pixels[[3, 5], :, ::-1])
    np.testing.assert_array_equal(some.pixels[4], few_faces.pixels[4])
    for _ in range(2):
        found = aligned.aligned(few_faces)
        np.testing.assert_array_equal(found.pixels, few_faces.pixels[:, :, ::-1])
        np.testing.assert_array_equal(found.digests, few_faces.digests)
        assert (found.aligned, found.pixels.flags.writeable) == (True, False)
        assert ", each cropped anew by its face" in describe(replace(found, synthetic=False))
    aligned.aligned(few_faces, np.array([3, 5]))  # of what is kept already
    assert made == [2, len(few_faces)]
    (file,) = (tmp_path / "cache").rglob("pixels.npy")
    content = file.read_bytes()
    file.unlink()  # what is mapped stays
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert (aligned.aligned(few_faces).pixels == few_faces.pixels[:, :, ::-1]).all()
    assert made == [2, len(few_faces), len(few_faces)]


def test_of_several_at_once_one_makes_them_and_the_others_wait(few_faces, made, monkeypatch, capsys):
    mirrored = aligned.realigned
    monkeypatch.setattr(aligned, "realigned", lambda *given: time.sleep(0.5) or mirrored(*given))
    with ThreadPoolExecutor() as pool:
        for found in pool.map(aligned.aligned, [few_faces] * 3):
            np.testing.assert_array_equal(found.pixels, few_faces.pixels[:, :, ::-1])
    assert made == [len(few_faces)]
    assert capsys.readouterr().err.count("another process finds the faces") == 2


def test_where_nothing_can_be_kept_a_process_makes_them_once(few_faces, made, monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("FER_LIGHTNING_CACHE", str(tmp_path / "file"))
    (tmp_path / "file").touch()
    for _ in range(2):
        assert (aligned.aligned(few_faces).pixels == few_faces.pixels[:, :, ::-1]).all()
    assert made == [len(few_faces)]
    assert "every start makes it anew" in caplog.text


def test_each_network_of_a_score_sees_the_crops_it_was_trained_on(cli, trained, made, mirrored_run, few_faces):
    own = trained("own", *RUN)
    assert made == [len(few_faces)]
    public = few_faces.where(1)
    classifier = load(mirrored_run)
    assert (classifier.aligned, load(own).aligned) == (True, False)
    assert classifier.data["split"] == load(own).data["split"]
    expected = classifier.probabilities(np.ascontiguousarray(few_faces.pixels[public][:, :, ::-1]))
    np.testing.assert_allclose(probabilities(mirrored_run, "public"), expected, atol=1e-6)

    options = ("--split", "public")
    assert run_command(evaluate, mirrored_run, "--compare", own, *options, "--out", "one").status == 0
    np.testing.assert_allclose(probabilities(Path("one"), "public"), expected, atol=1e-6)
    found = json.loads(Path("one/evaluation.json").read_text())["comparison"]["splits"]["public"]
    right = probabilities(own, "public").argmax(1) == few_faces.labels[public]
    assert found["acc"] == pytest.approx(right.mean())

    assert run_command(evaluate, own, "--ensemble", mirrored_run, *options, "--out", "both").status == 0
    mean = (expected + probabilities(own, "public")) / 2
    np.testing.assert_allclose(probabilities(Path("both"), "public"), mean, atol=1e-6)

    assert run_command(evaluate, mirrored_run, "--tta=aligned", *options, "--out", "tta").status == 0
    other = classifier.probabilities(few_faces.pixels[public])
    np.testing.assert_allclose(probabilities(Path("tta"), "public"), (expected + other) / 2, atol=1e-6)


def test_what_a_run_leaves_says_so_and_it_goes_on_with_its_crops_alone(cli, trained, made, mirrored_run, few_faces):
    own = trained("own", *RUN)
    assert json.loads((mirrored_run / "metrics.json").read_text())["val_acc"] is not None
    ended = cli(*RUN, "trainer.max_epochs=3", "ckpt_path=mirrored", "hydra.run.dir=more")
    assert ended.status == 2
    assert "data.crop=aligned (now None)" in ended.err
    for crop, teacher, its in (("aligned", own, "null"), ("null", mirrored_run, "aligned")):
        ended = cli(*RUN, f"data.crop={crop}", f"distill.teachers=[{teacher}]", "hydra.run.dir=student")
        assert ended.status == 2
        assert f"distill.teachers: {teacher} was trained with data.crop={its}" in ended.err
    ended = cli(*RUN, "data.crop=aligned", f"init_from={own}", "hydra.run.dir=tuned")  # the same split, so honest
    assert ended.status == 0, ended.err
    assert run_command(explain, "--run", mirrored_run, "--split", "public", "--out", "maps").status == 0
    with np.load("maps/maps.npz") as maps:
        np.testing.assert_array_equal(maps["faces"], few_faces.pixels[maps["rows"], :, ::-1])  # a row an image
    ended = cli("--multirun", *RUN, "data.crop=null,aligned", "hydra.sweep.dir=sweep")
    assert ended.status == 0, ended.err
    assert set(pd.read_csv("sweep/comparison.csv")["setting"]) == {"data.crop=null", "data.crop=aligned"}
    assert len(made) == 1


def test_what_is_exported_and_what_a_csv_is_answered_by_sees_the_crops_too(made, mirrored_run, few_faces, tmp_path):
    trial = faces_to_try(open_member(str(mirrored_run)), None)
    rows = read_predictions(mirrored_run / "predictions.csv").query("split == 'val'")["index"]
    val = np.searchsorted(few_faces.rows, rows)
    np.testing.assert_array_equal(trial.pixels, few_faces.pixels[val, :, ::-1])
    public = few_faces.where(1)[:20]
    rows = [f"{i}," + " ".join(map(str, few_faces.pixels[at].ravel())) for i, at in enumerate(public)]
    Path("test.csv").write_text("id,feature\n" + "\n".join(rows) + "\n")
    ended = run_command(predict, "test.csv", "--run", mirrored_run, "--out", "labels.csv")
    assert ended.status == 0, ended.err
    expected = load(mirrored_run).probabilities(np.ascontiguousarray(few_faces.pixels[public, :, ::-1])).argmax(1)
    assert pd.read_csv("labels.csv")["label"].tolist() == expected.tolist()


def test_nothing_is_searched_before_all_else_is_checked_nor_for_a_run_that_is_complete(cli, made, mirrored_run):
    searches = len(made)
    shutil.rmtree("cache")
    for wrong in ("init_from=nowhere", "ckpt_path=nowhere", "model.widths=[-1]"):
        assert cli(*RUN, "data.crop=aligned", wrong, "hydra.run.dir=other").status == 2
    ended = cli(*RUN, "data.crop=aligned", f"hydra.run.dir={mirrored_run}", "resume=true")
    assert (ended.status, "complete already" in ended.out) == (0, True)
    assert len(made) == searches


def test_a_rough_place_becomes_that_of_training_and_stays_where_no_face_is_seen(astronaut):
    left, top, width, height = find_faces(astronaut)[0].box
    shifted = boxed(astronaut, (left - 20, top - 30, 1.3 * width, 1.3 * height)).pixels
    flat = np.full((48, 48), 60, np.uint8)
    flat[10:20, 5:40] = 200
    for pixels in (shifted, flat):
        (expected,) = realigned(pixels[None])
        settled = whole(np.repeat(pixels[..., None], 3, 2)).settled().pixels.astype(int)
        assert np.abs(settled - expected).mean() < (3 if pixels is shifted else 1e-9)
    assert np.abs(shifted.astype(int) - realigned(shifted[None])[0]).mean() > 10


def test_ready_faces_are_brought_into_their_place_for_such_a_network(pictures, tmp_path):
    checkpoint = read_checkpoint(packaged())
    checkpoint[DATA_STATE] = checkpoint[DATA_STATE] | {"aligned": True}
    write_weights(checkpoint, tmp_path / "aligned.safetensors")
    with Image.open(pictures / "astronaut.png") as picture:
        picture.rotate(25, center=(223, 120)).crop((160, 50, 290, 180)).save("ready.png")

    def answer(*arguments: object) -> pd.Series:
        ended = run_command(predict, "ready.png", "--out", "answers.csv", *arguments)
        assert ended.status == 0, ended.err
        return pd.read_csv("answers.csv").iloc[0]

    found, plain = answer(), answer("--no-detect")
    settled = answer("--no-detect", "--run", tmp_path / "aligned.safetensors")
    assert settled["roll"] == pytest.approx(found["roll"], abs=1)
    assert abs(found["roll"]) > 15
    assert plain["roll"] == 0
    assert settled[list(CLASSES)].tolist() == pytest.approx(found[list(CLASSES)].tolist(), abs=0.1)
