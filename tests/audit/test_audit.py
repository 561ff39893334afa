import base64
import io
import json
import re
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from audit.test_search import naive_groups, pictures
from commands import Ended, run_command
from PIL import Image

from fer_lightning.audit import __main__ as audit
from fer_lightning.audit.findings import conclusions, sentences
from fer_lightning.data.faces import CLASSES, SIZE, USAGES


@pytest.fixture
def run(tmp_path: Path, monkeypatch) -> Callable[..., Ended]:
    """`run(PATH, "--out", DIR)` is the command in this process, in an empty current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda *arguments: run_command(audit.main, *arguments)


def faulty() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels, labels and usage of 60 images with faults of every kind among them."""
    rng = np.random.default_rng(1)
    pixels, labels, usage = pictures(60), rng.integers(0, 7, 60), rng.choice(3, 60, p=[0.6, 0.2, 0.2])
    pixels[40:46], pixels[46] = pixels[:6], pixels[0]
    pixels[47] = pixels[7, :, ::-1]
    pixels[48:52] = pixels[8:12] * 0.7
    pixels[52] = pixels[12, :, ::-1] * 0.7
    pixels[53:55] = 0
    pixels[55] = 200
    return pixels, labels, usage


def write_npz(path: Path, pixels, labels, usage) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, pixels=pixels, emotion=labels, usage=np.array(USAGES)[usage])
    return path


def correlations(pixels: np.ndarray, others: np.ndarray) -> np.ndarray:
    """float (N, N) of the images of two lists, 0 where one is constant."""
    with np.errstate(invalid="ignore"):
        both = np.corrcoef(pixels.reshape(len(pixels), -1), others.reshape(len(others), -1))
    return np.nan_to_num(both[: len(pixels), len(pixels) :])


def rows_of(kind: dict) -> list[list[int]]:
    return sorted([image["row"] for image in group["images"]] for group in kind["found"])


def test_the_json_agrees_with_a_naive_audit(run, tmp_path):
    pixels, labels, usage = faulty()
    ended = run(write_npz(tmp_path / "fer2013.npz", pixels, labels, usage))
    assert (ended.status, ended.err) == (0, "")
    content = json.loads(Path("audit/audit.json").read_text())

    flipped = pixels[:, :, ::-1]
    same = np.array([[np.array_equal(a, b) for b in pixels] for a in pixels])
    opposite = np.array([[np.array_equal(a, b) for b in flipped] for a in pixels]) & (np.ptp(pixels, (1, 2)) > 0)
    plain, mirrored = correlations(pixels, pixels), correlations(pixels, flipped)
    identical, mirror = naive_groups(same), naive_groups(opposite)
    near = [group for group in naive_groups(np.maximum(plain, mirrored) > 0.95) if group not in identical + mirror]
    assert rows_of(content["identical"]) == identical
    assert rows_of(content["mirrored"]) == mirror == [[7, 47]]
    assert rows_of(content["near"]) == near
    assert [len(content[kind]["found"]) for kind in ("identical", "mirrored", "near")] == [7, 1, 5]

    for kind in ("identical", "mirrored", "near"):
        found = content[kind]
        groups = [[image["row"] for image in group["images"]] for group in found["found"]]
        assert found["groups"] == len(groups)
        assert found["images"] == sum(map(len, groups))
        assert found["across_splits"] == sum(len(set(usage[group])) > 1 for group in groups)
        assert found["conflicting"] == sum(len(set(labels[group])) > 1 for group in groups)
        for group in found["found"]:
            for image in group["images"]:
                row = image["row"]
                assert image == {"split": USAGES[usage[row]], "row": row, "label": CLASSES[labels[row]]}
            assert group["labels"] == [
                name for name in CLASSES if name in {image["label"] for image in group["images"]}
            ]
    for leak in content["identical"]["leaks"]:
        ours, theirs = (pixels[usage == USAGES.index(leak[key])] for key in ("split", "within"))
        assert leak["images"] == sum(any(np.array_equal(a, b) for b in theirs) for a in ours)
    assert content["identical"]["leaks"]

    for group in content["near"]["found"]:
        assert len(group["links"]) == len(group["images"]) - 1
        for first, second, similarity, flip in group["links"]:
            a, b = (group["images"][index]["row"] for index in (first, second))
            assert similarity == pytest.approx((mirrored if flip else plain)[a, b], abs=1e-3)
    assert [image["row"] for image in content["constant"]] == [53, 54, 55]
    assert (content["flat"], content["unlabelled"], content["images"]) == ([], 0, 60)
    for index, (split, entry) in enumerate(content["splits"].items()):
        assert split == USAGES[index]
        assert entry["images"] == (usage == index).sum()
        assert list(entry["classes"].values()) == [(labels[usage == index] == k).sum() for k in range(7)]
        assert entry["verdict"] == "differ"
    assert content["splits"]["PrivateTest"]["known"]["disgust"] == 55


def test_the_terminal_has_the_counts_and_findings_in_100_columns(run, tmp_path):
    pixels, labels, usage = faulty()
    usage[usage == 2] = 1
    ended = run(write_npz(tmp_path / "fer2013.npz", pixels, labels, usage), "--out", "found")
    assert max(map(len, ended.out.splitlines()[1:])) <= 100
    public = (usage == 1).sum()
    assert re.search(rf"^PublicTest +{public} .* differ$", ended.out, re.MULTILINE)
    assert re.search(r"^  known +3,589 +467 +56 +496 +895 +653 +415 +607$", ended.out, re.MULTILINE)
    assert re.search(r"^PrivateTest +0 .* missing$", ended.out, re.MULTILINE)
    assert re.search(r"^identical images +7 +15 ", ended.out, re.MULTILINE)
    copies = {image.tobytes() for image in pixels[usage == 0]}
    leaked = sum(image.tobytes() in copies for image in pixels[usage == 1])
    assert f"\n{leaked} PublicTest images also in Training.\n" in ended.out
    assert "\n3 images of one gray level: " in ended.out
    assert "found/audit.html" in ended.out
    assert "found/audit.json" in ended.out


def write_csv(path: Path, header: str, first_column: list[int], pixels: np.ndarray) -> None:
    rows = [f"{cell},{' '.join(map(str, image.ravel()))}" for cell, image in zip(first_column, pixels, strict=True)]
    path.write_text("\n".join([header, *rows, ""]))


def test_images_without_labels_are_known_by_their_ids(run, tmp_path):
    base = pictures(4)
    write_csv(tmp_path / "train.csv", "label,feature", [5, 6, 0, 1], base)
    write_csv(tmp_path / "test.csv", "id,feature", [70, 71], np.stack([base[2], base[0]]))
    ended = run(tmp_path / "train.csv")
    assert "\n2 Unlabelled images also in Training.\n" in ended.out
    assert "\n2 images without a label.\n" in ended.out
    content = json.loads(Path("audit/audit.json").read_text())
    assert content["unlabelled"] == 2
    assert content["identical"]["found"][0]["images"] == [
        {"split": "Training", "row": 0, "label": "surprise"},
        {"split": "Unlabelled", "row": 1, "label": None, "name": "71"},
    ]
    assert content["identical"]["conflicting"] == 0


def test_image_folders_have_file_names_and_may_hold_both_test_splits_in_one(run, tmp_path):
    image = Image.fromarray(pictures(1)[0])
    for place in ("train/happy/Training_1.png", "test/sad/PublicTest_2.png", "test/sad/x.png"):
        (tmp_path / "faces" / place).parent.mkdir(parents=True, exist_ok=True)
        image.save(tmp_path / "faces" / place)
    ended = run(tmp_path / "faces")
    assert "1 PublicTest image also in Training." in ended.out
    (group,) = json.loads(Path("audit/audit.json").read_text())["identical"]["found"]
    assert [image["name"] for image in group["images"]] == [
        "test/sad/PublicTest_2.png",
        "test/sad/x.png",
        "train/happy/Training_1.png",
    ]
    assert group["labels"] == ["happy", "sad"]
    assert "\nsad\nPublicTest_2.png</figcaption>" in Path("audit/audit.html").read_text()


class Page:
    """The body of ./audit/audit.html, which is to be well-formed: its text and its pictures."""

    def __init__(self) -> None:
        self.root = ElementTree.fromstring(Path("audit/audit.html").read_text())
        self.text = "".join(self.root.find("body").itertext())
        kinds, data = zip(*(image.get("src").split(",") for image in self.root.iter("img")), strict=True)
        assert set(kinds) == {"data:image/png;base64"}
        self.pictures = [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in data]


def test_the_page_is_well_formed_and_shows_the_faces_and_a_name_is_text_on_it(run, tmp_path):
    pixels, labels, usage = faulty()
    path = write_npz(tmp_path / "<script>alert(1)<" / "script>.npz", pixels, labels, usage)
    assert run(path).status == 0
    content = json.loads(Path("audit/audit.json").read_text())
    page = Page()
    assert next(page.root.iter("script"), None) is None
    assert str(path) in page.text
    places = [link.get("href") for link in page.root.iter("a")]
    assert places == [f"#{heading.get('id')}" for heading in page.root.iter("h2")]
    assert len(places) == len(set(places)) > 5
    shown = {picture.tobytes() for picture in page.pictures}
    kinds = [content[kind]["found"] for kind in ("identical", "mirrored", "near")]
    concerned = {image["row"] for groups in kinds for group in groups for image in group["images"]} | {53, 54, 55}
    assert shown == {pixels[row].tobytes() for row in concerned}
    for row in concerned:
        assert f"{USAGES[usage[row]]}\nrow {row}\n{CLASSES[labels[row]]}" in page.text
    for sentence in sentences(content):
        assert sentence in page.text


def test_the_page_opens_with_a_verdict_in_three_lines(run, tmp_path):
    pixels, labels, usage = pictures(20), np.arange(20) % 7, np.repeat([0, 1], 10)
    pixels[10:13], labels[10:14] = pixels[:3], labels[:4]
    pixels[13] = pixels[3] * 0.7
    labels[10] = 6  # not angry
    run(write_npz(tmp_path / "fer2013.npz", pixels, labels, usage))
    page = Page()
    assert [line.text for line in page.root.iter("dd")] == [
        "20 images; not FER2013 as it is known: other counts of the classes in Training and PublicTest.",
        "4 PublicTest images (40.0%) are also in Training, 3 pixel for pixel. Known by heart, they turn a score of 65% "
        "into up to 79%.",
        "Of 2 identical images with several labels any network gets at least 1 wrong. "
        "Groups of near duplicates and mirror images with several labels: 0.",
    ]
    assert page.text.index("3 pixel for pixel") < page.text.index("identical images") < page.text.index("\nrow 0\n")
    content = json.loads(Path("audit/audit.json").read_text())
    content |= {kind: {"found": [], "leaks": [], "conflicting": 0} for kind in ("identical", "mirrored", "near")}
    for verdicts, told in {
        ("match", "match", "match"): "complete",
        ("match", "missing", "missing"): "without PublicTest and PrivateTest",
        ("match", "missing", "both test splits"): "both test splits in PrivateTest",
    }.items():
        for entry, found in zip(content["splits"].values(), verdicts, strict=True):
            entry["verdict"] = found
        assert conclusions(content)["Data"] == f"20 images; FER2013 by the counts of the classes, {told}."
    assert conclusions(content)["Leaks"] == "No test image is also in Training."
    assert conclusions(content)["Labels"].startswith("No identical images have several labels.")


def test_faces_of_the_worst_groups_come_first_and_harmless_ones_are_folded(run, tmp_path):
    pixels, labels, usage = faulty()
    labels[[1, 41]], usage[[1, 41]] = 3, 0  # a harmless pair
    run(write_npz(tmp_path / "fer2013.npz", pixels, labels, usage))
    sections = [("".join(part.find("summary").itertext()), part.get("open")) for part in Page().root.iter("details")]
    ranks = [0 if "across" in title else 1 if "several labels" in title else 2 for title, _ in sections]
    assert ranks == sorted(ranks)
    assert set(ranks) == {0, 1, 2}
    assert [is_open is None for _, is_open in sections] == [rank == 2 for rank in ranks]


def test_long_lists_are_cut_on_the_page_and_whole_in_the_json(run, tmp_path):
    base = pictures(35)
    pixels = np.concatenate([base, base, np.repeat(base[:1], 18, 0), np.zeros((15, SIZE, SIZE), np.uint8)])
    run(write_npz(tmp_path / "fer2013.npz", pixels, np.zeros(len(pixels), int), np.zeros(len(pixels), int)))
    page = Page()
    assert "36 groups; 30 of them shown" in page.text
    assert "20 images: angry; 12 of them shown" in page.text
    assert "15 images; 12 of them shown" in page.text
    assert len(page.pictures) == 12 + 12 + 28 * 2 + 12
    assert [row for row in (0, 35, 70, 73, 74, 81, 82, 87) if f"row {row}\n" in page.text] == [0, 35, 70, 73, 82, 87]
    found = json.loads(Path("audit/audit.json").read_text())["identical"]["found"]
    assert [len(group["images"]) for group in found] == [20, 15] + [2] * 34


def test_an_audit_replaces_an_earlier_one_and_touches_nothing_else(run, tmp_path):
    path = write_npz(tmp_path / "fer2013.npz", *faulty())
    run(path, "--out", "a/b")
    before = Path("a/b/audit.json").read_text()
    Path("a/b/notes.txt").write_text("mine")
    Path("a/b/audit.json").write_text("old")
    assert run(path, "--out", "a/b").status == 0
    assert Path("a/b/audit.json").read_text() == before
    assert sorted(file.name for file in Path("a/b").iterdir()) == ["audit.html", "audit.json", "notes.txt"]
    assert Path("a/b/notes.txt").read_text() == "mine"
    assert not Path("audit").exists()


def test_a_tilde_is_the_users_home(run, tmp_path, monkeypatch):
    """The shell leaves it in `--out=~/found`."""
    monkeypatch.setenv("HOME", str(tmp_path))
    assert run(write_npz(tmp_path / "fer2013.npz", *faulty()), "--out=~/found").status == 0
    assert (tmp_path / "found" / "audit.json").is_file()
    assert list(Path().iterdir()) == []


def test_a_path_without_fer2013_and_a_file_in_the_place_of_the_folder_are_mistakes(run, tmp_path):
    absent, other = tmp_path / "none.csv", tmp_path / "other.csv"
    other.write_text("no,header\n1,2\n")
    whole = write_npz(tmp_path / "fer2013.npz", *faulty())
    for arguments, named in (
        ((absent,), absent),
        ((other,), other),
        ((whole, "--out", whole), f"{whole}: it cannot be made"),
    ):
        ended = run(*arguments)
        assert (ended.status, ended.out) == (2, "")
        assert str(named) in ended.err
        assert "Traceback" not in ended.err
    assert list(Path().iterdir()) == []


def test_a_long_audit_says_how_long_before_it_starts(run, tmp_path, monkeypatch):
    path = write_npz(tmp_path / "fer2013.npz", pictures(60), np.arange(60) % 7, np.zeros(60, int))
    ended = run(path)
    assert "minutes" not in ended.out  # and where there is no fault but the copy's size, it says so
    assert "\nNo image of one split is also in another.\nNo image of one gray level.\n" in ended.out
    assert "<figure>" not in Path("audit/audit.html").read_text()
    monkeypatch.setattr("fer_lightning.audit.search.SECONDS_PER_PAIR", 1.0)
    assert run(path).out.startswith("Comparing 60 images with each other: about 30 minutes\n")
