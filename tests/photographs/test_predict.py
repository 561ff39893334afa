"""The command `predict`: what it prints and writes for pictures and csv files, and what it refuses."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import Ended, run_command
from PIL import Image
from scipy import ndimage

from fer_lightning.data.faces import CLASSES, Faces
from fer_lightning.photographs import LIMITS, annotate
from fer_lightning.photographs.faces import boxed, find_faces, whole
from fer_lightning.photographs.pictures import read_picture
from fer_lightning.predict import main
from fer_lightning.results.calibration import Calibration, at_temperature, of
from fer_lightning.results.checkpoint import load
from fer_lightning.results.weights import packaged

COLUMNS = ["picture", "face", "left", "top", "width", "height", "roll", "predicted", "probability", "unsure", *CLASSES]


def predict(*arguments: object) -> Ended:
    return run_command(main, *arguments)


def refusal(*arguments: object) -> str:
    ended = predict(*arguments)
    assert (ended.status, ended.out) == (2, "")
    return ended.err.removeprefix("fer_lightning: ")


def answered(*arguments: object, status: int = 0) -> pd.DataFrame:
    ended = predict(*arguments, "--out", "answers.csv")
    assert ended.status == status, ended.err
    return pd.read_csv("answers.csv")


def expected(crops: np.ndarray) -> np.ndarray:
    """The packaged network's answer, float (7,), for the crops of a face, uint8 (V, 48, 48)."""
    return at_temperature(load(packaged()).probabilities(crops), of(packaged()).temperature).mean(0)


def test_pictures_with_faces_without_and_broken_ones(pictures):
    (pictures / "broken.jpg").write_text("no picture")
    ended = predict(pictures, "--out", "answers.csv")
    assert ended.status == 1
    assert f"skipped: {pictures}/broken.jpg: no picture" in ended.err
    table = pd.read_csv("answers.csv")
    assert list(table) == COLUMNS
    assert [Path(path).name for path in table["picture"]] == [
        *("astronaut.png", "chelsea.png", "coffee.png", "hopper.jpg", "rocket.png")
    ]
    assert table["face"].tolist() == [1, 0, 0, 1, 0]
    assert table["unsure"].dtype == bool
    faces = table[table["face"] > 0]
    assert not faces.isna().to_numpy().any()
    without = table[table["face"] == 0].drop(columns=["picture", "face", "unsure"])
    assert without.isna().to_numpy().all()
    for row in faces.to_dict("records"):
        (face,) = find_faces(read_picture(Path(row["picture"])))
        chances = [row[name] for name in CLASSES]
        np.testing.assert_allclose(chances, expected(face.variants()), atol=2e-6)
        assert (row["predicted"], row["probability"]) == (CLASSES[np.argmax(chances)], max(chances))
        np.testing.assert_allclose([row[name] for name in ("left", "top", "width", "height")], face.box, atol=0.06)
        assert row["roll"] == pytest.approx(face.roll, abs=0.06)
        assert row["unsure"] == (max(chances) < of(packaged()).threshold)
    lines = ended.out.splitlines()
    assert sum(line.endswith("no face") for line in lines) == 3
    assert len({line.index("no face") for line in lines if line.endswith("no face")}) == 1
    assert "6 pictures: 2 faces, 3 without a face, 1 that could not be read" in lines
    assert f"the CNN that comes with the package; {of(packaged())}" in lines
    assert LIMITS in ended.out

    predict(pictures / "coffee.png", pictures / "hopper.jpg", "--out", "answers.json")
    content = json.loads(Path("answers.json").read_text())
    assert content["limits"] == LIMITS
    assert content["network"]["network"] == "CNN"
    assert content["calibration"]["threshold"] == 0.5
    same = pd.DataFrame(content["faces"])
    assert list(same) == COLUMNS
    pd.testing.assert_frame_equal(same, table[2:4].reset_index(drop=True), check_dtype=False)


def test_unsure_answers_still_say_the_best_guess(pictures, few_faces, trained):
    trained("run", "model=dnn", "model.widths=[64,32]", "data=synthetic", "trainer=cpu", "trainer.max_epochs=2")
    ended = predict(pictures / "hopper.jpg", "--run", "run", "--unsure", 0.9, "--out", "answers.csv")
    (row,) = pd.read_csv("answers.csv").to_dict("records")
    fitted = of(Path("run"))
    known = {each[0]: each for each in fitted.thresholds}
    assert row["unsure"] == (row["probability"] < 0.9)
    assert f"unsure ({row['predicted']} {row['probability']:.2f})" in ended.out
    assert "SYNTHETIC FACES" in ended.out
    assert f"unsure below 0.9: it answers {known[0.9][1]:.1%}" in ended.out
    assert "unsure below 0.85 (what that is on validation images is not known)" in str(fitted.at(0.85))
    assert str(Calibration().at(0.9)).startswith("its probabilities are not calibrated")


def test_ready_faces_and_boxes(pictures, astronaut):
    path = pictures / "astronaut.png"
    (row,) = answered(path, "--no-detect").to_dict("records")
    np.testing.assert_allclose([row[name] for name in CLASSES], expected(whole(astronaut).variants()), atol=2e-6)
    Image.new("L", (48, 48)).save("small.png")
    assert "--no-detect" in predict("small.png").out

    two = answered(path, "--boxes", "178,63,90,113", "0,0,99.5,40")
    Path("boxes.csv").write_text(f"top,left,width,height,picture\n63,178,90,113,{path}\n0,0,99.5,40,{path}\n")
    named = answered(pictures / "coffee.png", path, "--boxes", "boxes.csv")
    assert named["face"].tolist() == [0, 1, 2]
    pd.testing.assert_frame_equal(named[1:].reset_index(drop=True), two)
    assert two["face"].tolist() == [1, 2]
    assert two["left"].tolist() == [178, 0]
    for row, box in zip(two.to_dict("records"), ((178, 63, 90, 113), (0, 0, 99.5, 40)), strict=True):
        chances = expected(boxed(astronaut, box).variants())
        np.testing.assert_allclose([row[name] for name in CLASSES], chances, atol=2e-6)

    ended = predict(path, "--boxes", "600,0,10,10")
    assert (ended.status, "the box 600,0,10,10 is outside of its 512×512 pixels" in ended.err) == (1, True)
    assert "of which of the 5 pictures" in refusal(pictures, "--boxes", "1,2,3,4")
    assert "'1,2,3': no box; right: LEFT,TOP,WIDTH,HEIGHT" in refusal(path, "--boxes", "1,2,3")
    assert "one of the two" in refusal(path, "--boxes", "1,2,3,4", "--no-detect")
    head, note = "picture,left,top,width,height,note", '"of two\nlines"'
    rows = f"{path},1,2,3,4,{note}\n{path},1,2,0,4\n\nother\0.png,1,2,3,4\n{path},1,,3,4\n"
    Path("boxes.csv").write_text(f"{head}\n{rows}")
    said = refusal(path, "--boxes", "boxes.csv")
    assert "3 of 4 rows" in said
    assert "line 4, column width: '0'; right: LEFT,TOP,WIDTH,HEIGHT in pixels, the last two above 0" in said
    assert "line 6, column picture: 'other\ufffd.png' is none of the pictures named" in said
    assert "line 7, column top: ''" in said
    Path("boxes.csv").write_text("picture,left\n")
    assert "line 1: no column top, width, height" in refusal(path, "--boxes", "boxes.csv")


@pytest.fixture
def test_csv(few_faces: Faces) -> Path:
    """The course's test.csv of the first 300 faces."""
    rows = [f"{1000 + i},{' '.join(map(str, face.ravel()))}" for i, face in enumerate(few_faces.pixels[:300])]
    Path("test.csv").write_text("\n".join(["id,feature", *rows, ""]))
    return Path("test.csv")


def test_a_csv_gets_a_submission(test_csv, few_faces, trained):
    run = trained("run", "model=dnn", "model.widths=[64,32]", "data=synthetic", "trainer=cpu", "trainer.max_epochs=2")
    Path("submission.csv").write_text("id,label\n1000,3\n")  # perhaps somebody else's
    for _ in range(2):
        assert predict(test_csv, "--run", run, "--out", "submission.csv").status == 0
    found = pd.read_csv("submission.csv")
    assert list(found) == ["id", "label"]
    assert found["id"].tolist() == list(range(1000, 1300))
    assert found["label"].tolist() == load(run).probabilities(few_faces.pixels[:300]).argmax(1).tolist()
    assert {path.name for path in Path().glob("submission*")} == {"submission.csv", "submission-1.csv"}
    assert Path("submission-1.csv").read_text() == "id,label\n1000,3\n"

    labelled = Path("train.csv")
    labelled.write_text("emotion,pixels,Usage\n" + f"3,{' '.join(['7'] * 2304)},Training\n" * 2)
    assert predict(labelled, "--run", run, "--out", "labels.csv").status == 0
    assert pd.read_csv("labels.csv")["id"].tolist() == [0, 1]


def test_the_help_says_the_limits_and_waits_for_nothing():
    ended = run_command(main, "--help")
    assert ended.status == 0
    assert LIMITS in ended.out
    code = "import sys; sys.argv[1:] = ['--help']; from fer_lightning.predict import main; main()"
    shown = subprocess.run([sys.executable, "-X", "importtime", "-c", code], capture_output=True, text=True, check=True)
    assert "| torch" not in shown.stderr


def test_mistakes_are_told_before_any_work(test_csv, pictures):
    assert "a csv is answered by itself" in refusal(test_csv, pictures)
    assert "--out submission.csv" in refusal(test_csv)
    assert "it is for pictures" in refusal(test_csv, "--out", "x.csv", "--annotate", "marked")
    Path("other.csv").write_text("a,b\n1,2\n")
    assert "line 1: 'a,b' is no header of FER2013" in refusal("other.csv", "--out", "x.csv")
    assert "not overwritten" in refusal(test_csv, "--out", "other.csv")
    assert "not overwritten" in refusal(pictures, "--out", "other.csv")
    extended, recipe = f"{','.join(COLUMNS)},notes\n", '{"run": "python -m fer_lightning.predict me.jpg"}'
    for name, content in {"mine.csv": extended, "mine.json": recipe}.items():
        Path(name).write_text(content)
        assert "not overwritten" in refusal(pictures, "--out", name)
        assert Path(name).read_text() == content
    assert "must end in .csv or .json" in refusal(pictures, "--out", "x.txt")
    assert "a probability from 0 to 1" in refusal(pictures, "--unsure", "50")
    assert "no such picture; the nearest is" in refusal("pictres")
    assert "is empty (a variable that is not set?)" in refusal("")
    assert Path("other.csv").read_text() == "a,b\n1,2\n"


def test_copies_are_marked_and_nothing_else_is_touched(pictures, monkeypatch):
    monkeypatch.chdir(pictures)
    for name in ("astronaut", "chelsea", "rocket"):
        Path(f"{name}.png").unlink()
    Path("below").mkdir()
    shutil.copy("hopper.jpg", "below")
    Image.fromarray(read_picture(Path("coffee.png"))).save("coffee.webp")
    shutil.copy("coffee.png", "coffee.webp.png")
    before = {path: path.read_bytes() for path in Path().rglob("*.*")}
    for _ in range(2):  # the second time there are copies below what is looked at
        ended = predict(".", "--annotate", "marked")
        assert ended.status == 0, ended.err
        assert "5 pictures: 2 faces" in ended.out
    copies = sorted(str(path.relative_to("marked")) for path in Path("marked").rglob("*.*"))
    assert copies == ["below/hopper.jpg", "coffee.png", "coffee.webp-2.png", "coffee.webp.png", "hopper.jpg"]
    assert {path: path.read_bytes() for path in before} == before
    with Image.open("marked/coffee.png") as png, Image.open("marked/hopper.jpg") as jpeg:
        assert LIMITS in png.info["Description"]
        assert LIMITS.encode() in jpeg.info["comment"]
    assert "is there and is no copy of ours" in refusal(".", "--annotate", ".")
    assert "the pictures are copies that lie in it" in refusal(Path("marked").absolute(), "--annotate", "marked")
    assert "coffee.png: it cannot be made or written into: File exists" in refusal(
        "hopper.jpg", "--annotate", "coffee.png"
    )
    assert {path: path.read_bytes() for path in before} == before


def test_copies_of_pictures_on_two_drives_lie_below_their_folders_names(tmp_path, monkeypatch):
    for name in ("a/me.png", "b/me.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    monkeypatch.setattr(Path, "is_relative_to", lambda *_: False)  # as of D:/a to C:/b, where there are drives
    made = annotate.copies([tmp_path / "a" / "me.png", tmp_path / "b" / "me.png"], tmp_path / "marked")
    assert [path.parent.name for path in made.values()] == ["a", "b"]
    assert all(tmp_path / "marked" in path.parents for path in made.values())


def test_copies_of_pictures_elsewhere_lie_in_the_folder_too(pictures, monkeypatch):
    Path("here/x").mkdir(parents=True)
    Path("x").mkdir()
    for place in ("x", "here"):
        shutil.copy(pictures / "coffee.png", place)
    monkeypatch.chdir("here")
    assert predict("../x/coffee.png", "coffee.png", "--annotate", "marked").status == 0
    copies = [str(path.relative_to("marked")) for path in sorted(Path("marked").rglob("*.png"))]
    assert copies == ["here/coffee.png", "x/coffee.png"]
    assert not any(Path("x").iterdir())


def test_names_move_no_cursor(pictures):
    for name in (b"red\x1b[31m.png", b"two\nlines.png", b"bad\xff.png"):
        shutil.copy(pictures / "coffee.png", os.fsencode(pictures) + b"/" + name)
    (pictures / "broken\x1b.png").write_text("no picture")
    ended = predict(pictures, "--out", "answers.csv")
    assert {"red?[31m.png", "two?lines.png", "bad?.png"} <= {
        Path(line.split("  ")[0]).name for line in ended.out.splitlines()
    }
    assert "broken?.png: no picture" in ended.err
    names = pd.read_csv("answers.csv")["picture"]
    assert f"{pictures}/two\nlines.png" in set(names)  # the table has them as they are


@pytest.mark.parametrize(("side", "count"), [(40, 24), (200, 1)])
def test_bars_stand_beside_the_picture_whole_and_apart_and_most_of_it_is_seen(side, count):
    picture, chances = np.full((300, 400, 3), 128, np.uint8), np.eye(7)[[3] * count]
    places = [(x, y) for x in range(10, 350, 62) for y in range(40, 250, 62)][:count]
    page = annotate.annotated(picture, [boxed(picture, (x, y, side, side)) for x, y in places], chances, 0.5)
    scale = max(1.0, annotate.LEAST_FACE / side)
    width, height = round(400 * scale), round(300 * scale)
    pixels = np.asarray(page)
    assert pixels.shape[0] == height
    assert (pixels[:, :width] == 128).all(-1).mean() > 0.7
    bright = (pixels[:, width:] == annotate.SURE).all(-1)
    areas = np.sort(np.bincount(ndimage.label(bright)[0].ravel())[1:])  # a title and a bar a face, and letters
    assert areas[-2 * count] > 4 * areas[-2 * count - 1]
    assert page.width > width
    assert annotate.annotated(picture, [], np.empty((0, 7)), 0.5).size == (400, 300)
