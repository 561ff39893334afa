"""Copies of FER2013 as people have them: archives, splits and classes under many names, columns and files beside."""

import bz2
import gzip
import io
import json
import os
import re
import tarfile
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from data.forms import as_fer2013, as_folders, as_icml, as_npz, lines, random_faces, text, write_csv
from PIL import Image

from fer_lightning.data import cache, fer2013, tree
from fer_lightning.data.faces import CLASSES, NO_LABEL, PRIVATE, PUBLIC, TRAINING, UNLABELLED, USAGES, Faces
from fer_lightning.data.names import class_of, usage_of
from fer_lightning.data.source import describe, open_faces
from fer_lightning.data.splits import make_splits
from fer_lightning.errors import UserError

FACES = random_faces(21)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_LIGHTNING_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (folder := tmp_path / "copy").mkdir()
    return folder


def rows_of(faces: Faces) -> list[tuple[int, int, int]]:
    return sorted(zip(faces.digests.tolist(), faces.labels.tolist(), faces.usage.tolist(), strict=True))


WHOLE = rows_of(FACES)


# Splits, each a file or a folder of its own


def one_each(
    root: Path, names: tuple[str, str, str], header: str = "emotion,pixels", row: str = "{label},{pixels}"
) -> None:
    for usage, name in enumerate(names):
        (root / name).parent.mkdir(exist_ok=True)
        write_csv(root / name, header, lines(FACES, FACES.where(usage), row))


def folders(
    root: Path,
    splits: tuple[str, str, str],
    class_name: Callable[[int], str] = lambda label: CLASSES[label],
    end: str = "png",
) -> None:
    options = {"lossless": True} if end == "webp" else {}
    for i, (image, label, usage) in enumerate(zip(FACES.pixels, FACES.labels, FACES.usage, strict=True)):
        folder = root / splits[usage] / class_name(label)
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{i}.{end}", **options)


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def parquets(root: Path, names: Sequence[str], order: tuple[int, ...] | None = None, columns: str = "image") -> None:
    """As Hugging Face's are, with the classes in an order of their own, or numbers of pixels in a column."""
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for usage, name in enumerate(names):
        where = FACES.where(usage)
        labels = [int(FACES.labels[i]) if order is None else order.index(int(FACES.labels[i])) for i in where]
        if columns == "image":
            images: list[object] = [{"bytes": as_png(FACES.pixels[i]), "path": None} for i in where]
        else:
            images = [
                FACES.pixels[i].reshape(-1).tolist() if columns == "feature" else text(FACES.pixels[i]) for i in where
            ]
        table = pa.table({columns: images, "label": labels})
        if order is not None:
            known = {"info": {"features": {"label": {"names": [CLASSES[i] for i in order]}}}}
            table = table.replace_schema_metadata({"huggingface": json.dumps(known)})
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        parquet.write_table(table, root / name)


def as_png(image: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    return file.getvalue()


PARQUETS = ("train.parquet", "val.parquet", "test.parquet")
ALPHABET = (0, 1, 2, 3, 6, 4, 5)  # angry disgust fear happy neutral sad surprise
COPIES: dict[str, Callable[[Path], object]] = {
    "three csv": lambda root: one_each(root, ("train.csv", "val.csv", "test.csv")),
    "names with points": lambda root: one_each(root, ("fer2013.train.csv", "fer2013.val.csv", "fer2013.test.csv")),
    "three csv with Usage": lambda root: one_each(
        root, ("train.csv", "val.csv", "test.csv"), ",emotion,pixels,Usage", "{number},{label},{pixels},{usage}"
    ),
    "three csv, val cut from train": lambda root: one_each(
        root, ("train.csv", "val.csv", "test.csv"), "emotion,pixels,Usage", "{label},{pixels},Training"
    ),
    "a csv in a folder below": lambda root: one_each(root, ("train.csv", "val/val.csv", "private/test.csv")),
    "a whole csv in a folder of any name": lambda root: as_fer2013(made(root / "test"), FACES),
    "three csv in folders": lambda root: one_each(root, ("train/d.csv", "valid/d.csv", "test/d.csv")),
    "sets": lambda root: folders(root, ("Train_Set", "validation-set", "Test Images")),
    "two folders down": lambda root: folders(root / "archive/images", ("train", "validation", "test")),
    "a folder around each": lambda root: folders(root, ("train/train", "val/val", "test/test")),
    "numbers": lambda root: folders(root, ("train", "val", "test"), str),
    "numbers and names": lambda root: folders(
        root, ("train", "val", "test"), lambda label: f"{ALPHABET.index(label)}_{CLASSES[label]}"
    ),
    "webp": lambda root: folders(root, ("train", "val", "test"), end="webp"),
    "parquet": lambda root: parquets(
        root, [f"data/{name}.parquet" for name in ("train-00000-of-00001", "val-0-of-1-0a1b", "test-0-of-1")], ALPHABET
    ),
    "parquet in folders": lambda root: parquets(root, [f"all/{s}/0000.parquet" for s in ("train", "val", "test")]),
    "parquet of texts": lambda root: parquets(root, PARQUETS, None, "pixels"),
    "parquet of numbers": lambda root: parquets(root, PARQUETS, None, "feature"),
}  # fmt: skip


@pytest.mark.parametrize("copy", COPIES)
def test_each_split_is_read_as_what_its_name_says(copy, root):
    COPIES[copy](root)
    for _ in range(2):  # from the cache, too
        read = fer2013.load(root)
        assert rows_of(read) == WHOLE
        assert read.left_out in ("", "column '' of train.csv, column '' of val.csv, column '' of test.csv")
    assert "21 images (7 Training, 7 PublicTest, 7 PrivateTest)" in describe(read)


def zipped(root: Path, to: Path, below: str = "") -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(to, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(root.rglob("*")):
            if path.is_file():
                archive.write(path, below + path.relative_to(root).as_posix())
    return to


def tarred(root: Path, to: Path, mode: str) -> Path:
    to.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(to, mode) as archive:  # type: ignore[call-overload]
        archive.add(root, ".")  # names begin with ./, as tar's own do
    return to


def linked(root: Path) -> Path:
    """The training pictures are links to others, hard and soft, the test folder is one."""
    (pool := root / "pool").mkdir()
    for number, path in enumerate(sorted((root / "train").rglob("*.png"))):
        if number % 2:
            os.link(path, pool / path.name)
        else:
            path.rename(pool / path.name)
            path.symlink_to(Path("../../pool", path.name))
    (root / "test").rename(pool / "test")
    (root / "test").symlink_to("pool/test")
    return root


def appended(root: Path, to: Path) -> Path:
    with tarfile.open(to, "w") as archive:
        archive.add(root / "train", "train")
        archive.add(root, ".")
    return to


def from_windows(path: Path) -> Path:
    """As .NET wrote it, and zip where a file was added again."""
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr(name := archive.namelist()[0], archive.read(name))
    path.write_bytes(path.read_bytes().replace(b"test/", b"test\\"))
    return path


def each_zipped(root: Path, to: Path) -> None:
    for folder in ("train", "val", "test"):
        zipped(root / folder, to / f"{folder}.zip")


def packed(path: Path, to: Path, pack: Callable[[bytes], bytes]) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    to.write_bytes(pack(path.read_bytes()))


def split_zips(root: Path, to: Path) -> None:
    one_each(root, ("train.csv", "val.csv", "test.csv"))
    for name in ("train", "val", "test"):
        to.mkdir(exist_ok=True)
        with zipfile.ZipFile(to / f"{name}.csv.zip", "w") as archive:  # as Kaggle's program downloads single files
            archive.write(root / f"{name}.csv", f"{name}.csv")


ARCHIVES: dict[str, Callable[[Path, Path], object]] = {
    "a csv in a zip": lambda made, to: zipped(as_fer2013(made, FACES).parent, to / "archive.zip"),
    "folders down in a zip": lambda made, to: zipped(as_folders(made, FACES), to / "archive.zip", "images/images/"),
    "an npz in a zip": lambda made, to: zipped(as_npz(made, FACES).parent, to / "archive.zip"),
    "a csv in a tar.gz": lambda made, to: tarred(as_fer2013(made, FACES).parent, to / "fer2013.tar.gz", "w:gz"),
    "folders in a tar": lambda made, to: tarred(as_folders(made, FACES), to / "faces.tar", "w"),
    "a csv in a tar.xz": lambda made, to: tarred(as_icml(made, FACES).parent, to / "down/fer2013.tar.xz", "w:xz"),
    "gz": lambda made, to: packed(as_fer2013(made, FACES), to / "fer2013.csv.gz", gzip.compress),
    "bz2": lambda made, to: packed(as_fer2013(made, FACES), to / "data/fer2013.csv.bz2", bz2.compress),
    "a tar.gz in a zip": lambda made, to: zipped(
        tarred(as_fer2013(made, FACES).parent, made.parent / "inner/fer2013.tar.gz", "w:gz").parent,
        to / "challenge.zip",
    ),
    "links in a tar": lambda made, to: tarred(linked(as_folders(made, FACES)), to / "faces.tgz", "w:gz"),
    "appended to a tar": lambda made, to: appended(as_folders(made, FACES), to / "faces.tar"),
    "twice in a zip, and from Windows": lambda made, to: from_windows(
        zipped(as_folders(made, FACES), to / "faces.zip")
    ),
    "a zip for each split": lambda made, to: (folders(made, ("train", "val", "test")), each_zipped(made, to)),
    "a zip for each split in a zip": lambda made, to: (
        folders(made, ("train", "val", "test")),
        each_zipped(made, made.parent / "inner"),
        zipped(made.parent / "inner", to / "all.zip"),
    ),
    "a zip for each split, of a csv": lambda made, to: (
        one_each(made, ("train/data.csv", "val/data.csv", "test/data.csv")),
        each_zipped(made, to),
    ),
    "a zip for each csv": lambda made, to: split_zips(made, to),
    "parquet in a zip": lambda made, to: (
        parquets(made, PARQUETS),
        zipped(made, to / "a.zip"),
    ),
}


@pytest.mark.parametrize("archive", ARCHIVES)
def test_archives_are_read_where_they_are(archive, root, tmp_path):
    (made := tmp_path / "made").mkdir()
    ARCHIVES[archive](made, root)
    before = sorted(root.rglob("*"))
    for _ in range(2):
        read = fer2013.load(root)
        assert rows_of(read) == WHOLE
        assert not read.left_out
    assert all(path.name in read.form for path in before if path.is_file())
    assert fer2013.load(read.source).source == read.source  # as a report opens it again
    assert sorted(root.rglob("*")) == before
    files = [path for path in before if path.is_file()]
    if len(files) == 1:
        assert rows_of(fer2013.load(files[0])) == WHOLE


def test_an_archive_is_opened_once_and_then_its_faces_come_from_the_cache(root, monkeypatch):
    tarred(as_fer2013(root, FACES).parent, path := root.parent / "fer2013.tar.gz", "w:gz")
    fer2013.load(path)
    monkeypatch.setattr(tree, "open_archive", lambda _: pytest.fail("opened again"))
    assert rows_of(fer2013.load(path)) == WHOLE


def test_an_archive_that_cannot_be_read_is_named_and_not_passed_over(root, monkeypatch):
    monkeypatch.chdir(root)
    (made := root / "made").mkdir()
    data = root / "data"
    path = zipped(as_fer2013(made, FACES).parent, data / "archive.zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])  # a download that was cut off
    for look in (lambda: fer2013.load(path), lambda: fer2013.load(data), lambda: open_faces("auto", None)):
        with pytest.raises(UserError, match=r"archive\.zip: a damaged zip"):
            look()
    path.write_bytes(b"Rar!\x1a\x07\1\0")
    with pytest.raises(UserError, match=r"archive\.zip: a rar archive.*unpack it"):
        fer2013.load(data)
    locked = bytearray(whole)
    for start in (whole.index(b"PK\1\2") + 8, 6):
        locked[start] |= 1  # the mark of a password
    path.write_bytes(locked)
    with pytest.raises(UserError, match=r"archive\.zip.*(encrypted|password)"):
        fer2013.load(data)
    (data / "train.zip").write_bytes(whole)
    path.rename(data / "test.zip")
    with pytest.raises(UserError, match=r"test\.zip.*(encrypted|password)"):
        fer2013.load(data)
    (data / "test.zip").rename(path)
    assert rows_of(read := fer2013.load(data)) == WHOLE
    assert read.left_out == "archive.zip (an archive that can't be opened)"
    (data / "train.zip").unlink()
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("notes.txt", "nothing")
    with pytest.raises(UserError, match=r"holds no FER2013(.|\n)*archive\.zip: an archive of other files"):
        fer2013.load(data)
    assert open_faces("auto", None).synthetic  # ./data may hold anything


def test_a_checkpoint_is_no_archive(root):
    (made := root.parent / "made").mkdir()
    zipped(as_fer2013(made, FACES).parent, root / "archive.zip")
    zipped(made, root / "best.ckpt")
    read = fer2013.load(root)
    assert read.form == "archive.zip, not unpacked: fer2013.csv with emotion,pixels,Usage"
    assert not read.left_out


def test_an_archive_beside_what_is_read_is_named(root):
    as_fer2013(root, FACES)
    zipped(root, root / "archive.zip")
    read = fer2013.load(root)
    assert rows_of(read) == WHOLE
    assert read.left_out == "archive.zip (an archive)"
    assert describe(read).endswith("\n  left out: archive.zip (an archive)")


@pytest.mark.parametrize(
    "name", ["/train/happy/a.png", "../../a.png", "train/happy/../../../a.png", "C:\\train\\a.png"]
)
def test_a_member_that_points_out_of_its_archive_is_not_followed(name, root):
    zipped(as_folders(root / "in", FACES), path := root / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, as_png(FACES.pixels[0]))
    assert rows_of(fer2013.load(path)) == WHOLE


def test_what_an_archive_holds_beside_what_is_read_is_named(root):
    as_icml(root, FACES)
    one_each(root, ("train.csv", "val.csv", "test.csv"))
    (root / "example_submission.csv").write_text("id,emotion\n0,1\n")
    tarred(root, root / "inner.tar.gz", "w:gz")
    read = fer2013.load(zipped(root, root.parent / "challenge.zip"))
    assert rows_of(read) == WHOLE
    assert "icml_face_data.csv" in read.form
    assert read.left_out == (
        "train.csv + val.csv + test.csv with emotion,pixels "
        "(21 labelled images); inner.tar.gz (an archive); example_submission.csv (of no known form)"
    )


def test_what_unpacks_to_more_than_memory_holds_is_refused(root, monkeypatch):
    monkeypatch.setattr(tree, "LARGEST", 1000)
    tarred(as_fer2013(root, FACES).parent, root.parent / "a.tar.gz", "w:gz")
    packed(root / "fer2013.csv", root.parent / "b.csv.gz", gzip.compress)
    for name in ("a.tar.gz", "b.csv.gz"):
        with pytest.raises(UserError, match="more than"):
            fer2013.load(root.parent / name)


# Names


@pytest.mark.parametrize(("usage", "names"), [
    (TRAINING, "train Training TRAIN 01_train train_set fer2013-train training-images"),
    (PUBLIC, "val valid Validation validating validate public PublicTest public_test dev eval test_public"),
    (PRIVATE, "test Testing test-set private PrivateTest private_test test_private test_images"),
    (None, "trainer tested extra rest evaluation train2 old_train t 0 \0 ττρ"),
])  # fmt: skip
def test_names_of_splits(usage, names):
    assert {name: usage_of(name) for name in names.split(" ")} == dict.fromkeys(names.split(" "), usage)


@pytest.mark.parametrize(("label", "names"), [
    ("angry", "angry Anger ANGRY 0 00 class_0 0_angry angry_faces"),
    ("disgust", "disgust Disgusted 1.disgust"),
    ("fear", "fear fearful scared"),
    ("happy", "happy Happiness joy 3 4-happy"),
    ("sad", "sad sadness"),
    ("surprise", "surprise Surprised suprise"),
    ("neutral", "neutral neutrality 6 4_neutral"),
    (None, "contempt hapy h 7 12 happysad unhappy"),
])  # fmt: skip
def test_names_of_classes(label, names):
    found = {name: None if (c := class_of(name)) is None else CLASSES[c] for name in names.split(" ")}
    assert found == dict.fromkeys(names.split(" "), label)


# What stands beside


def test_files_of_systems_are_passed_over_and_others_that_are_no_pictures_named(root):
    as_folders(root, FACES)
    for name in (
        *("train/happy/3.png:Zone.Identifier", "train/happy/3.pngZone.Identifier", "train/happy/._3.png"),
        *(
            "train/Thumbs.db",
            "test/sad/desktop.ini",
            "Icon\r",
            "train/@eaDir/x",
            "train/happy/.ipynb_checkpoints/a.png",
            "train/@Recycle/sad/1.png",
            "train/happy/3.png~",
            "~$labels.csv",
        ),
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"[ZoneTransfer]")
    assert not fer2013.load(root).left_out
    picture = next((root / "train/happy").glob("Training_*.png"))
    picture.rename(picture.with_name("Training_a\\b.png"))  # on Windows a folder
    assert "train/happy/Training_a\\b.png" in fer2013.load(root).names.tolist()
    for name in ("train/labels.csv", "train/happy/README.md", "test/sad/a.xml", "test/sad/b.xml"):
        (root / name).write_bytes(b"text")
    read = fer2013.load(root)
    assert rows_of(read) == WHOLE
    assert read.left_out == "train/labels.csv, test/sad/a.xml, test/sad/b.xml and 1 more (no pictures)"


def test_a_folder_of_classes_that_is_of_no_split_is_named(root):
    folders(root, ("train", "val", "test"))
    folders(root / "extra", ("a", "b", "c"))
    folders(root, ("bonus", "bonus", "bonus"))
    (root / "sad").mkdir()
    read = fer2013.load(root)
    assert rows_of(read) == WHOLE
    assert read.left_out == "bonus/ (its name is no split's); sad/ (its name is no split's)"
    (root / "sad").rmdir()
    assert fer2013.load(root).left_out == "bonus/ (its name is no split's)"  # what the cache holds is as before


def test_of_many_files_beside_few_are_named_and_only_those_opened_that_may_be_faces(root, monkeypatch):
    as_fer2013(root, FACES)
    for number in range(60):
        (root / f"{number:02}.csv").write_text("x,y\n")
        (root / f"{number}.txt").write_text("text")
    reading = tree.reading
    monkeypatch.setattr(tree, "reading", lambda node: pytest.fail("opened") if ".txt" in str(node) else reading(node))
    read = fer2013.load(root)
    assert rows_of(read) == WHOLE
    assert read.left_out.endswith("08.csv (of no known form); 09.csv (of no known form); 50 more")


def test_what_folders_mean_is_not_guessed(root, monkeypatch):
    folders(root / "data", ("train", "val", "test"), lambda label: f"mood{label}")
    monkeypatch.chdir(root)
    said = "data/test holds no class folders, but mood0/, mood1/, .*mood6/; right: angry"
    with pytest.raises(UserError, match=said):
        fer2013.load("data")
    assert re.search(said, open_faces("auto", None).left_out)
    (root / "data/test").rename(root / "data/old")
    folders(root / "data", ("train", "val", "val"))
    (root / "data/test").symlink_to("nowhere")
    with pytest.raises(UserError, match=r"a link to none: '.*/data/test'"):
        fer2013.load("data")


def test_classes_that_are_counted_from_1_are_refused(root):
    folders(root, ("train", "train", "test"), lambda label: str(label + 1))
    for path in root.glob("*/7"):
        path.rename(root.parent / f"{path.parent.name}7")
    with pytest.raises(UserError, match="class folders 1 to 6 without 0"):
        fer2013.load(root)


def test_what_was_moved_out_of_the_training_folder_is_not_trained_on(root):
    folders(root, ("train", "val", "test"))
    for path in root.rglob("*.png"):
        path.rename(path.with_name(f"Training_{path.name}"))
    assert rows_of(fer2013.load(root)) == WHOLE


def test_of_two_copies_the_other_is_named_with_its_place(root):
    folders(root / "a", ("train", "val", "test"))
    folders(root / "b", ("train", "val", "test"))
    assert fer2013.load(root).left_out == f"image folders test/, train/, val/ in {root / 'b'} (21 labelled images)"


def test_the_folder_around_is_a_split_also_from_within(root, monkeypatch):
    folders(root, ("train", "val", "test"))
    monkeypatch.chdir(root / "test/happy")
    assert set(fer2013.load("..").usage) == {PRIVATE}


def test_a_folder_that_may_not_be_read_is_in_nobodys_way(root, monkeypatch):
    as_fer2013(root / "fer2013" if (root / "fer2013").mkdir() is None else root, FACES)
    (closed := root / "closed").mkdir()
    scan = os.scandir

    def scandir(path: Path) -> object:
        if path == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert rows_of(fer2013.load(root)) == WHOLE


def test_a_flat_test_folder_is_unlabelled(root):
    folders(root, ("train", "val", "test"))
    (root / "test").rename(root / "old")
    (root / "test").mkdir()
    for number, path in enumerate(sorted((root / "old").rglob("*.png"))):
        path.rename(root / f"test/{number}.png")
    (root / "test/readme.txt").write_text("text")
    read = fer2013.load(root)
    flat = read.usage == UNLABELLED
    assert flat.sum() == 7
    assert set(read.labels[flat]) == {NO_LABEL}
    assert sorted(read.digests[flat].tolist()) == sorted(FACES.digests[FACES.where(PRIVATE)].tolist())
    assert read.names[flat].tolist() == sorted(f"test/{number}.png" for number in range(7))
    assert "test/readme.txt" in read.left_out


def test_class_folders_alone_are_training_or_what_their_folder_is_called(root):
    folders(root, ("train", "val", "test"))
    for name, usage in (("train", TRAINING), ("val", PUBLIC), ("test", PRIVATE)):
        read = fer2013.load(root / name)
        assert set(read.usage) == {usage}
    with pytest.raises(UserError, match=r"of 0 Training images.*is the folder above it meant\?"):
        make_splits(read, 0.1, 0)
    (root / "train").rename(root.parent / "mine")
    assert set(fer2013.load(root.parent / "mine").usage) == {TRAINING}


# csv


@pytest.mark.parametrize(("header", "row"), [
    (",emotion,pixels,Usage", "{number},{label},{pixels},{usage}"),
    ("Unnamed: 0,emotion,emotion_name,pixels,Usage", '{number},{label},"sad, or not",{pixels},{usage}'),
    ("emotion,label,pixels,type", "{label},face {number},{pixels},{usage}"),
    ("label;feature;usage;source", "{label}.0;{pixels};{usage};é"),
])  # fmt: skip
def test_further_columns_are_passed_over_and_named(header, row, root):
    path = root / "any.csv"
    path.write_bytes("\n".join([header, *lines(FACES, np.arange(len(FACES)), row), ""]).encode("latin-1"))
    read = fer2013.load(root)
    assert rows_of(read) == WHOLE
    assert read.left_out.startswith("column ")
    assert read.left_out.endswith(" of any.csv")


def test_a_column_of_names_must_agree_with_the_labels_and_one_that_may_tell_splits_is_not_passed_over(root):
    path = root / "any.csv"
    for row, right in (("{label},{class_name},{pixels}", True), ("{number},{class_name},{pixels}", False)):
        rows = [
            row.format(label=label, number=ALPHABET.index(label), class_name=CLASSES[label].upper(), pixels=text(image))
            for image, label in zip(FACES.pixels, FACES.labels.tolist(), strict=True)
        ]
        write_csv(path, "label,name of the class,pixels", rows)
        if right:
            assert fer2013.load(path).labels.tolist() == FACES.labels.tolist()
    with pytest.raises(UserError, match=r"9 of 21 rows(.|\n)*line 6, column name of the class: 'SAD', but label is 5"):
        fer2013.load(path)
    write_csv(path, "emotion,is_train,pixels", lines(FACES, np.arange(len(FACES)), "{label},True,{pixels}"))
    with pytest.raises(UserError, match="column 'is_train' is not known; a column Usage tells the splits"):
        fer2013.load(path)


@pytest.mark.parametrize(("header", "rows", "problem"), [
    ("name,label,pixels", ("sad,4", "happy,"), "line 3, column label: ''; right: 0 (angry)"),
    ("label,name,pixels", ("4,sad", "happy,sad"), "line 3, column name: 'sad', but label is happy; right: 0 (angry)"),
])  # fmt: skip
def test_a_label_that_is_no_number_beside_a_column_of_names_is_one_message(header, rows, problem, root):
    path = write_csv(root / "any.csv", header, [f"{row},{text(FACES.pixels[0])}" for row in rows])
    with pytest.raises(UserError, match=f"1 of 2 rows is faulty:\n  {re.escape(problem)}"):
        fer2013.load(path)


def test_labels_by_name_and_usages_in_other_words(root):
    words = {
        "Training": ("training", "train", "TRAIN"),
        "PublicTest": ("val", "Validation"),
        "PrivateTest": ("test", "Test"),
    }
    rows = lines(FACES, np.arange(len(FACES)), "{label},{pixels},{usage}")
    for number, row in enumerate(rows):
        label, pixels, usage = row.split(",")
        name = CLASSES[int(label)].capitalize() if number % 2 else f"{label}.0"
        rows[number] = f"{name},{pixels},{words[usage][number % len(words[usage])]}"
    assert rows_of(fer2013.load(write_csv(root / "any.csv", "emotion,pixels,Usage", rows))) == WHOLE
    npz = as_npz(root, FACES)
    arrays = dict(np.load(npz))
    np.savez(npz, **arrays | {"usage": np.array([words[USAGES[code]][0] for code in FACES.usage])})
    assert rows_of(fer2013.load(npz)) == WHOLE


def test_two_files_of_one_split_are_not_mixed_and_a_csv_of_no_split_is_not_joined(root):
    one_each(root, ("train.csv", "val.csv", "test.csv"))
    write_csv(root / "all.csv", "emotion,pixels", lines(FACES, np.arange(20), "{label},{pixels}"))
    read = fer2013.load(root)
    assert rows_of(read) == WHOLE
    assert read.left_out == "all.csv with emotion,pixels (20 labelled images, not 21)"
    write_csv(root / "training.csv", "emotion,pixels", lines(FACES, np.arange(21), "{label},{pixels}"))
    read = fer2013.load(root)
    assert (len(read), read.source) == (21, str(root / "training.csv"))
    assert all(name in read.left_out for name in ("all.csv", "train.csv", "val.csv", "test.csv"))


# Parquet


def test_a_parquet_with_a_column_of_splits_and_one_without_labels(root):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    images = [text(image) for image in FACES.pixels]
    splits = [("train", "valid", "test")[usage] for usage in FACES.usage]
    parquet.write_table(pa.table({"pixels": images, "label": FACES.labels, "part": splits}), root / "train.parquet")
    assert rows_of(fer2013.load(root)) == WHOLE
    parquet.write_table(pa.table({"pixels": images[:3]}), root / "test.parquet")
    read = fer2013.load(root)
    assert read.labels[read.usage == UNLABELLED].tolist() == [NO_LABEL] * 3
    assert len(read) == 24


def test_a_faulty_parquet_is_refused_with_its_row(root, monkeypatch):
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    path = root / "train.parquet"
    good = text(FACES.pixels[0])
    for columns, problem in (
        ({"pixels": [good, good[:-4]], "emotion": [0, 1]}, "row 1, column pixels: no picture; right"),
        ({"pixels": [good, good], "emotion": [0, 7]}, "row 1, column emotion: '7'; right: 0 (angry)"),
        ({"pixels": [good, good], "emotion": [0, None]}, "row 1, column emotion: 'None'"),
        ({"pixels": [good], "emotion": [0], "Usage": ["rest"]}, "row 0, column Usage: 'rest'; right: Training"),
        ({"pixels": [good, good], "emotion": [0, float("inf")]}, "row 1, column emotion: 'inf'"),
        ({"image": [b"none"], "label": [0]}, "row 0, column image: cannot identify image"),
        ({"pixels": [good], "emotion": [True]}, "row 0, column emotion: 'True'"),
        (
            {"pixels": [good], "label": [5], "name": ["sad"]},
            "row 0, column name: 'sad', but label is 5; right: 0 (angry)",
        ),
        ({"pixels": [good], "mood": [0]}, "the columns pixels, mood; right: image or pixels, label or emotion"),
        ({"pixels": [], "emotion": []}, "no rows"),
    ):
        parquet.write_table(pa.table(columns), path)
        with pytest.raises(UserError, match=r"train\.parquet") as error:
            fer2013.load(path)
        assert problem in str(error.value)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(UserError, match="a damaged parquet"):
        fer2013.load(root)
    path.rename(root / "test.parquet")  # is not left out
    parquet.write_table(pa.table({"pixels": [good], "emotion": [0]}), path)
    with pytest.raises(UserError, match=r"test\.parquet: a damaged parquet"):
        fer2013.load(root)
    (root / "test.parquet").unlink()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"pip install 'fer_lightning\[parquet\]'"):
        fer2013.load(path)
    assert not cache.folder().exists() or not list(cache.folder().iterdir())
