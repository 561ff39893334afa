"""Maps of pictures and of splits, as files, and where the report shows them."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import skimage.data
from commands import Ended, run_command, tree
from PIL import Image

from fer_lightning import explain
from fer_lightning.data.faces import CLASSES
from fer_lightning.photographs import LIMITS
from fer_lightning.report import __main__ as report
from fer_lightning.results import explanation

RUN = ("trainer=cpu", "logger=none", "data=synthetic", "aug=norm", "trainer.max_epochs=1", "seed=1")
NETWORKS = {
    "cnn": ("model=cnn", "model.channels=[4,4,8,8,8]", "model.hidden=16"),
    "dnn": ("model=dnn", "model.widths=[64,32]"),
}


def explained(*arguments: object) -> Ended:
    return run_command(explain.main, *arguments)


@pytest.fixture
def astronaut() -> Path:
    Image.fromarray(skimage.data.astronaut()).save("astronaut.png", compress_level=1)
    return Path("astronaut.png")


@pytest.mark.slow
def test_a_split_leaves_mean_maps_and_the_surest_errors_which_the_report_shows(trained):
    run = trained("run", *NETWORKS["cnn"], *RUN)
    before = tree(run)
    ended = explained("--split", "val", "--run", run)
    assert ended.status == 0, ended.err
    after = tree(run)
    assert {path: after[path] for path in before} == before
    folder = run / "explanation" / "val"
    assert sorted(Path(path).name for path in after.keys() - before.keys()) == sorted(explanation.FILES)
    found = explanation.read(folder)
    assert found is not None
    assert found.kinds == ["Grad-CAM", "SmoothGrad"]

    table = pd.read_csv(run / "predictions.csv").query("split == 'val'")
    right = table[table["target"] == table["predicted"]]["target"]
    assert found.counts.tolist() == [(right == name).sum() for name in CLASSES]
    assert found.means.min() >= 0
    np.testing.assert_allclose(found.means[-1].sum((1, 2)), found.counts > 0, atol=1e-4)
    wrong = table[table["target"] != table["predicted"]]
    surest = wrong[[*CLASSES]].max(axis=1).sort_values(ascending=False)
    np.testing.assert_allclose(found.confidence, surest[: explain.ERRORS], rtol=1e-5)
    rows = table.set_index("index").loc[found.rows]
    assert [CLASSES[i] for i in found.targets] == rows["target"].tolist()
    assert [CLASSES[i] for i in found.predicted] == rows["predicted"].tolist()

    facts = json.loads((folder / "explanation.json").read_text())
    assert facts["images"] == len(table)
    assert facts["limits"] == LIMITS
    happy = facts["shares"]["SmoothGrad"]["happy"]
    assert sum(happy.values()) == pytest.approx(1 if found.counts[CLASSES.index("happy")] else 0, abs=1e-4)
    assert f"happy     {found.counts[3]:>7,}" in ended.out

    assert explained("--split", "val", "--run", run).status == 0
    assert tree(run) == after  # the same again

    assert run_command(report.main, run, "--out", "with.html").status == 0
    page = Path("with.html").read_text()
    assert 'href="#explanations"' in page
    assert page.count("data:image/png") >= (7 + len(found.rows)) * len(found.kinds)
    assert f"row {found.rows[0]}" in page.replace("\n", " ")
    (folder / "maps.npz").write_bytes(b"half of")
    ended = run_command(report.main, run, "--out", "with.html")
    assert ended.status == 2
    assert f"{folder.resolve()}: no explanation that can be read" in ended.err


def test_a_picture_gets_a_sheet_of_its_name_and_nothing_of_others_is_overwritten(trained, astronaut):
    run = trained("run", *NETWORKS["cnn"], *RUN)
    Path("other").mkdir()
    Image.fromarray(skimage.data.astronaut()[:, ::-1]).save("other/astronaut.jpg")
    Path("broken.jpg").write_text("no picture")
    Image.new("RGB", (80, 60), "gray").save("wall.png")
    Path("out").mkdir()
    Path("out/astronaut.png").write_bytes(b"mine")
    names = ("astronaut.png", "other", "wall.png", "broken.jpg")
    for _ in range(2):  # the second time, its own sheets are replaced
        ended = explained(*names, "--run", run, "--out", "out")
        assert ended.status == 1
        assert ended.err.count("skipped: broken.jpg: no picture") == 1
        assert "1 of 4 pictures could not be read" in ended.err
        assert "wall.png: no face found" in ended.out
        assert LIMITS in ended.out
        assert "→ out/astronaut-2.png" in ended.out
        assert "→ out/astronaut-3.png" in ended.out
        assert sorted(path.name for path in Path("out").iterdir()) == [f"astronaut{n}.png" for n in ("-2", "-3", "")]
        assert Path("out/astronaut.png").read_bytes() == b"mine"
    with Image.open("out/astronaut-2.png") as sheet:
        assert sheet.info["Description"] == LIMITS
        assert min(sheet.size) > 500
        assert sheet.convert("RGB").getcolors(2) is None  # something is drawn
    assert explained("out/astronaut-2.png", "wall.png", "--run", run).status == 0  # no sheet of a sheet
    assert not any(Path("explanation").iterdir())
    assert "sheets of this command alone" in explained("out/astronaut-2.png", "--run", run).err


def test_a_sheet_of_a_picture_with_any_name(trained, astronaut):
    names = {b"bad\xff.png", b"two\nlines $x^$.png"}
    for name in names:
        shutil.copy(astronaut, os.fsdecode(name))
    run = trained("run", *NETWORKS["dnn"], *RUN)
    ended = explained(*map(os.fsdecode, names), "--run", run, "--no-detect", "--out", "out")
    assert ended.status == 0, ended.err
    assert set(os.listdir(b"out")) == names


def test_ready_faces_boxes_and_another_class(trained, astronaut, tmp_path, monkeypatch):
    run = trained("run", *NETWORKS["dnn"], *RUN)
    drawn: list[list[explanation.Answer]] = []
    usual = explanation.picture_sheet
    monkeypatch.setattr(
        explanation,
        "picture_sheet",
        lambda picture, answers, **more: (drawn.append(answers), usual(picture, answers, **more))[1],
    )
    assert explained(astronaut, "--run", run, "--boxes", "170,70,110,110", "0,0,50,40", "--class", "fear").status == 0
    monkeypatch.setenv("HOME", str(tmp_path))
    assert explained(astronaut, "--run", run, "--no-detect", "--out=~/maps").status == 0
    assert (tmp_path / "maps" / "astronaut.png").is_file()
    assert not Path("~").exists()
    boxes, whole = drawn
    assert [answer.corners[0].tolist() for answer in boxes] == [[170, 70], [0, -5]]
    assert {answer.target for answer in boxes} == {CLASSES.index("fear")}
    assert whole[0].corners[2].tolist() == [512, 512]
    assert whole[0].target == whole[0].probabilities.argmax()
    assert [*whole[0].maps] == ["SmoothGrad"]


def test_mistakes_are_one_message_and_help_says_what_a_map_is_not(trained, astronaut):
    run = trained("run", *NETWORKS["dnn"], *RUN)
    Path("taken").mkdir()
    Path("taken/maps.npz").write_bytes(b"mine")
    for arguments, message in {
        (): "name pictures, or a split",
        (astronaut, "--split", "val"): "name pictures, or a split",
        ("--split", "val", "--class", "happy"): "are for pictures",
        (astronaut, "--data", "synthetic"): "--data is for --split",
        (astronaut, "--boxes", "1,2,3,4", "--no-detect"): "--boxes",
        ("gone.png", "--run", run): "gone.png: no such picture",
        ("--split", "val", "--run", run, "--out", "taken"): "taken: it holds maps.npz, which is not ours",
        ("--split", "private", "--run", run, "--data", "gone"): "gone",
    }.items():
        ended = explained(*arguments)
        assert ended.status == 2, arguments
        assert message in ended.err
    assert Path("taken/maps.npz").read_bytes() == b"mine"
    said = explained("--help").out
    assert LIMITS in said
    assert "A map is no proof" in said
