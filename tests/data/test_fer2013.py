"""Every form of FER2013 gives the same faces, and every fault in it one message that says where and what."""

import csv
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audit.test_search import faces_of
from data.forms import (
    as_course,
    as_fer2013,
    as_folders,
    as_icml,
    as_kaggle,
    as_npz,
    fer2013_rows,
    lines,
    random_faces,
    write_csv,
)
from PIL import Image

from fer_lightning.data import cache, fer2013
from fer_lightning.data.faces import CLASSES, NO_LABEL, PRIVATE, PUBLIC, TRAINING, UNLABELLED, USAGES, Faces
from fer_lightning.errors import UserError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_LIGHTNING_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    return folder


WHOLE_FORMS = [as_fer2013, as_icml, as_npz, as_folders]


def in_source_order(faces: Faces) -> Faces:
    """Image folders read in the order of their paths, put back into that of the rows their names bear."""
    if faces.names is None:
        return faces
    order = np.argsort([int(Path(name).stem.split("_")[1]) for name in faces.names])
    fields = ("pixels", "labels", "usage", "rows", "digests", "names")
    return replace(faces, **{name: getattr(faces, name)[order] for name in fields})


def assert_same(read: Faces, expected: Faces) -> None:
    for name in ("pixels", "labels", "usage", "digests"):
        np.testing.assert_array_equal(getattr(read, name), getattr(expected, name))


def refusal(path: Path) -> str:
    """The message of the UserError that reading `path` ends in; nothing of it may be in the cache."""
    with pytest.raises(UserError) as error:
        fer2013.load(path)
    assert not cache.folder().exists() or not list(cache.folder().iterdir())
    return str(error.value)


# All forms give the same faces


@pytest.mark.parametrize("write", WHOLE_FORMS)
def test_a_form_gives_its_pixels_labels_usages_and_digests_also_from_the_cache(write, root):
    faces = random_faces(40)
    path = write(root, faces)
    for _ in range(2):
        read = fer2013.load(path)
        assert_same(in_source_order(read), faces)
        assert (read.pixels.dtype, read.labels.dtype, read.usage.dtype) == (np.uint8, np.int8, np.uint8)
        assert (read.rows.dtype, read.digests.dtype) == (np.int64, np.int64)
        np.testing.assert_array_equal(read.rows, np.arange(len(faces)))
        assert read.source == str(path)
        assert not read.synthetic


@pytest.mark.parametrize("write", [as_kaggle, as_course])
def test_train_and_test_csv_give_training_and_unlabelled_rows(write, root):
    faces = random_faces(40)
    read = fer2013.load(write(root, faces))
    train, test = faces.where(TRAINING), faces.where(PUBLIC)
    np.testing.assert_array_equal(read.pixels, faces.pixels[np.append(train, test)])
    np.testing.assert_array_equal(read.labels, np.append(faces.labels[train], np.full(len(test), NO_LABEL)))
    np.testing.assert_array_equal(read.usage, np.repeat([TRAINING, UNLABELLED], [len(train), len(test)]))
    np.testing.assert_array_equal(read.rows, np.append(np.arange(len(train)), np.arange(len(test))))
    if write is as_course:
        assert read.names.tolist() == [""] * len(train) + [str(100 + i) for i in range(len(test))]
    else:
        assert read.names is None
    assert "train.csv" in read.form
    assert "test.csv" in read.form
    assert_same(fer2013.load(root / "train.csv"), read)  # the file stands for its form, as the folder does


def test_train_csv_without_its_test_csv_and_test_csv_alone(root):
    faces = random_faces(12)
    as_course(root, faces)
    unlabelled = fer2013.load(root / "test.csv")
    assert (set(unlabelled.usage), set(unlabelled.labels)) == ({UNLABELLED}, {NO_LABEL})
    (root / "test.csv").unlink()
    train = fer2013.load(root)
    assert (len(train), set(train.usage), train.names) == (len(faces.where(TRAINING)), {TRAINING}, None)


def test_the_form_is_recognized_by_content(root):
    faces = random_faces(6)
    (root / "example_submission.csv").write_text("id,label\n0,1\n")  # such files are passed over
    (root / "README.md").write_text("FER2013")
    (root / ".fer2013.csv.swp").write_bytes(b"\0")
    for write, name in ((as_fer2013, "rows.txt"), (as_npz, "arrays.bin")):
        path = write(root, faces).rename(root / name)
        assert_same(fer2013.load(path), faces)
        assert_same(fer2013.load(root), faces)
        path.unlink()


def test_the_fullest_labelled_form_is_taken_and_named_and_of_equal_ones_that_with_usages(root):
    faces = random_faces(30)
    as_kaggle(root, faces)
    as_icml(root, faces)
    for _ in range(2):  # from the cache, too
        read = fer2013.load(root)
        assert_same(read, faces)
        assert read.source == str(root / "icml_face_data.csv")
        assert read.form == "icml_face_data.csv with emotion,Usage,pixels"
        assert read.left_out == ("train.csv with emotion,pixels + test.csv with pixels (10 labelled images, not 30)")
    write_csv(root / "all.csv", "emotion,pixels", lines(faces, np.arange(30), "{label},{pixels}"))
    read = fer2013.load(root)
    assert read.source == str(root / "icml_face_data.csv")
    assert read.left_out.startswith("all.csv with emotion,pixels (30 labelled images); train.csv")
    as_npz(root, random_faces(31))
    assert fer2013.load(root).source == str(root / "fer2013.npz")


# csv: what is refused


def changed(row: str, column: int, to: str) -> str:
    fields = row.split(",")
    fields[column] = to
    return ",".join(fields)


def with_value(row: str, value: str) -> str:
    label, pixels, usage = row.split(",")
    return ",".join([label, " ".join([*pixels.split()[:99], value, *pixels.split()[100:]]), usage])


BAD_ROWS: dict[str, tuple[Callable[[str], str], str]] = {
    "no pixels": (lambda row: changed(row, 1, ""), "column pixels: 0 values; right: 2,304 (48×48)"),
    "tabs": (lambda row: row.replace(" ", "\t"), "column pixels: values not separated by spaces; right: spaces"),
    "label 7": (lambda row: changed(row, 0, "7"), "column emotion: '7'; right: 0 (angry), 1 (disgust), "),
    "no label": (lambda row: changed(row, 0, ""), "column emotion: ''; right: 0 (angry)"),
    "other usage": (lambda row: changed(row, 2, "Rest"), "column Usage: 'Rest'; right: Training, PublicTest, Private"),
    "two fields": (lambda row: row.rsplit(",", 1)[0], "column Usage: missing; right: the columns emotion,pixels,Usage"),
    "four fields": (lambda row: row + ",1", "4 fields; right: the 3 columns emotion,pixels,Usage"),
    "half a quoted field": (lambda row: row.replace(",", ',"', 1), "column pixels: value 1 is '\"255'; right: a whole"),
} | {
    f"pixel {value}": (
        lambda row, value=value: with_value(row, value),
        f"column pixels: value 100 is {value!r}; right: a whole number from 0 to 255",
    )
    for value in ("256", "1000", "-1", "1.5", "x")
}


@pytest.mark.parametrize("fault", BAD_ROWS)
def test_a_faulty_row_is_named_by_line_and_column(fault, root):
    spoil, expected = BAD_ROWS[fault]
    rows = fer2013_rows(random_faces(4))
    rows[1] = spoil(rows[1])
    for end in ("\n", "\r\n"):
        path = write_csv(root / "fer2013.csv", "emotion,pixels,Usage", rows, end)
        said = refusal(path)
        assert said.startswith(f"{path}: 1 of 4 rows is faulty:\n  line 3, {expected}")
        assert said.count("line ") == 1


def test_all_faults_of_a_row_are_named_and_a_value_moved_to_the_next_row_is_two(root):
    rows = fer2013_rows(random_faces(4))
    rows[0] = changed(changed(with_value(rows[0], "300"), 0, "9"), 2, "Trian")
    rows[1], rows[2] = with_value(rows[1], ""), with_value(rows[2], "1 2")
    said = refusal(write_csv(root / "fer2013.csv", "emotion,pixels,Usage", rows))
    assert "line 2, column emotion: '9'" in said
    assert "; column pixels: value 100 is '300'" in said
    assert "; column Usage: 'Trian'" in said
    assert "line 3, column pixels: 2,303 values; right: 2,304 (48×48)" in said
    assert "line 4, column pixels: 2,305 values; right: 2,304 (48×48)" in said


@pytest.mark.parametrize("end", ["\r\n", "\n\n"])
def test_of_many_faulty_rows_all_are_counted_and_the_first_ten_listed(end, root):
    """Over several blocks of reading; the lines as an editor counts them, blank ones included."""
    rows = fer2013_rows(random_faces(150))
    bad = [3, 4, 50, 51, 52, 70, 80, 99, 100, 101, *range(110, 150, 2)]
    for i in bad:
        rows[i] = changed(rows[i], 0, "8")
    path = write_csv(root / "fer2013.csv", "emotion,pixels,Usage", rows, end)
    head, *listed = refusal(path).split("\n")
    assert head == f"{path}: {len(bad)} of 150 rows are faulty, the first 10:"
    found = path.read_bytes().split(b"\n")
    numbers = [int(re.match(r"  line (\d+), column emotion: '8'", line)[1]) for line in listed]
    assert numbers == [1 + (i + 1) * end.count("\n") for i in bad[:10]]
    assert all(found[number - 1].startswith(b"8,") for number in numbers)


def test_a_file_that_is_cut_off_is_recognized(root):
    path = as_fer2013(root, random_faces(4))
    whole = path.read_bytes()
    for cut in (3, 15, 1000, 9000):
        path.write_bytes(whole[:-cut])
        said = refusal(path)
        assert "line 5, column" in said or "line 4, column" in said
        assert said.endswith("(the last line, which does not end: is the file cut off?)")


def test_a_huge_line_is_quoted_in_part_only(root):
    path = write_csv(root / "fer2013.csv", "emotion,pixels,Usage", ["x" * 1_000_000 + ",y,z"])
    assert len(refusal(path)) < 1000


def test_faults_in_test_csv_name_test_csv(root):
    as_course(root, random_faces(12))
    path = root / "test.csv"
    path.write_text(path.read_text().replace("101,", ",", 1))
    assert refusal(root).startswith(f"{path}: 1 of 4 rows is faulty:\n  line 3, column id: empty; right: the id")


@pytest.mark.parametrize(("header", "difference"), [
    ("emotion,Usage", "column pixels is missing"),
    ("emotion,pixels,Usagf", "column 'Usagf' is not known; is it Usage?"),
    ("emotions of a face,pixels", "column emotion is missing, and 'emotions of a face' is not known"),
    ("emotion,emotion,pixels", "a column stands there twice"), ("", "is missing"),
])  # fmt: skip
def test_an_unknown_header_is_refused_with_the_known_ones(header, difference, root):
    path = write_csv(root / "fer2013.csv", header, ["0,1,2"])
    for given in (path, root):
        said = refusal(given)
        assert f"{path}, line 1: {header!r} is no header of FER2013: " in said
        assert difference in said
        assert "emotion,pixels,Usage | emotion,pixels | pixels | label,feature | id,feature" in said


def test_an_unknown_test_csv_beside_train_csv_is_refused(root):
    as_kaggle(root, random_faces(6))
    (root / "test.csv").write_text("pixls\n1 2 3\n")
    assert f"{root / 'test.csv'}, line 1: 'pixls' is no header" in refusal(root)


@pytest.mark.parametrize(("content", "problem"), [
    (b"", "is empty"),
    (b"emotion,pixels,Usage", ", line 1: only a header (emotion,pixels,Usage)"),
    (b"\x1f\x8b\x08\0", "a damaged or locked archive (Compressed file ended"),
    (b"PK\x03\x04", "a damaged zip or npz"),
    (b"Rar!\x1a\x07", "a rar archive, which is not read here; right: unpack it"),
    (bytes(range(128, 256)) * 100, "is no header of FER2013"),
])  # fmt: skip
def test_a_file_without_faces_is_refused(content, problem, root):
    path = root / "fer2013.csv"
    path.write_bytes(content)
    for given in (path, root):
        text = refusal(given)
        assert str(path) in text
        assert problem in text


# npz


def arrays(count: int = 8) -> dict[str, np.ndarray]:
    faces = random_faces(count)
    usage = np.array([USAGES[code] for code in faces.usage])
    return {"pixels": faces.pixels, "emotion": faces.labels.astype(np.int64), "usage": usage}


def test_npz_variants_are_read_the_same(root):
    for name, change in (
        ("pixels", lambda x: x.reshape(-1, 2304)),
        ("pixels", lambda x: x.astype(np.int64)),
        ("pixels", np.asfortranarray),
        ("usage", lambda x: x.astype("S")),
        ("usage", lambda x: np.char.add(" ", x)),
    ):
        np.savez_compressed(root / "fer2013.npz", **arrays() | {name: change(arrays()[name])})
        assert_same(fer2013.load(root), random_faces(8))


def put(array: np.ndarray, index: tuple[int, ...], value: object) -> np.ndarray:
    array = array.astype(np.int64) if array.dtype.kind in "iu" else array.copy()
    array[index] = value
    return array


@pytest.mark.parametrize(("name", "change", "problem"), [
    ("pixels", lambda x: put(x, (5, 1, 1), 256), "1 of 8 images is faulty:\n  pixels[5]: value 256; right: whole"),
    ("pixels", lambda x: put(x, (5, 1, 1), -1), "1 of 8 images is faulty:\n  pixels[5]: value -1; right: whole"),
    ("pixels", lambda x: x / 255, "pixels is float64; right: integers"),
    ("pixels", lambda x: x[:, :47], "pixels (8, 47, 48), emotion (8,), usage (8,); right: pixels (N, 48, 48) or"),
    ("pixels", lambda x: x[0, 0, 0], "pixels (), emotion (8,)"),
    ("emotion", lambda x: x[:7], "emotion (7,)"),
    ("emotion", lambda x: put(x, (2,), 7), "emotion[2]: 7; right: 0 (angry), 1 (disgust)"),
    ("emotion", lambda x: put(x, (2,), -1), "emotion[2]: -1; right: 0 (angry)"),
    ("usage", lambda x: put(x, (3,), "Rest"), "usage[3]: 'Rest'; right: Training, PublicTest, PrivateTest"),
    ("usage", lambda x: np.arange(8), "usage is int64; right: strings"),
    ("usage", lambda x: np.full(8, 0xFFFFFFFF, np.uint32).view("U1"), "its array usage cannot be read ("),
    ("usage", lambda x: x.astype(object), "its array usage cannot be read (Object arrays"),
])  # fmt: skip
def test_faulty_arrays_are_refused(name, change, problem, root):
    np.savez(root / "fer2013.npz", **arrays() | {name: change(arrays()[name])})
    assert problem in refusal(root)


def test_an_npz_that_is_damaged_or_lacks_an_array_or_images_is_refused(root):
    path = as_npz(root, random_faces(8))
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    assert "its array pixels cannot be read (Bad CRC-32" in refusal(root)
    path.write_bytes(content[:9000])
    assert f"{path}: a damaged zip or npz" in refusal(root)
    np.savez(path, pixels=arrays()["pixels"])
    lacks = "an npz without the arrays emotion, usage; right: pixels, emotion, usage"
    assert f"{path}: {lacks}" in refusal(root)
    np.savez(path, **{name: array[:0] for name, array in arrays().items()})
    assert "no images" in refusal(root)


# Image folders


def picture(root: Path, name: str, image: Image.Image | np.ndarray) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)
    return path


GRAY = random_faces(3).pixels[2]


def test_any_picture_is_made_gray_and_48_by_48(root):
    gray, rng = Image.fromarray(GRAY), np.random.default_rng(0)
    for mode in ("RGB", "RGBA", "LA", "P"):  # what is gray keeps its values
        picture(root, f"train/sad/0{mode}.png", gray.convert(mode))
    picture(root, "train/sad/1.png", Image.fromarray(GRAY.astype(np.uint16) * 256 + 99))
    color = rng.integers(0, 256, (48, 48, 3)).astype(np.uint8)
    picture(root, "train/sad/2.png", color)
    checker = (np.indices((480, 480)).sum(0) % 2 * 255).astype(np.uint8)  # which sampling would turn to stripes
    picture(root, "train/sad/3.png", checker)
    ramp = np.tile(np.linspace(0, 255, 96), (144, 1))
    picture(root, "train/sad/4.png", ramp.astype(np.uint8))
    picture(root, "train/sad/5.png", np.full((10, 30), 77, np.uint8))
    smooth = np.tile(np.linspace(0, 255, 48), (48, 1)).astype(np.uint8)
    picture(root, "train/sad/6.JPG", smooth)
    *grays, colored, checked, ramped, small, jpg = fer2013.load(root).pixels
    assert len(grays) == 5
    assert all(np.array_equal(image, GRAY) for image in grays)
    assert np.abs(colored - color @ np.array([0.299, 0.587, 0.114])).max() < 0.51  # luma
    assert np.abs(checked.astype(int) - 127).max() <= 1
    assert np.abs(ramped - ramp.reshape(48, 3, 48, 2).mean((1, 3))).max() < 3
    assert (small == 77).all()
    assert np.abs(jpg.astype(int) - smooth).max() <= 4


def test_names_then_folders_give_usages_and_folders_give_classes(root):
    expected = {
        "test/disgusted/PublicTest_4.png": ("disgust", PUBLIC),
        "test/fearful/PrivateTest_3.png": ("fear", PRIVATE),
        "test/neutral/d.png": ("neutral", PRIVATE),
        "train/Anger/b.png": ("angry", TRAINING),
        "train/HAPPINESS/Training_1.png": ("happy", TRAINING),
        "train/sad/PublicTest_2.png": ("sad", PUBLIC),
        "validation/Surprised/c.png": ("surprise", PUBLIC),
    }
    for name in expected:
        picture(root, name, GRAY)
    for name in ("train/sad/.DS_Store", "train/sad/Thumbs.db", "train/__MACOSX/sad/._a.png", ".git/x"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"no picture")  # hidden and system files are passed over
    read = fer2013.load(root)
    found = zip(read.names.tolist(), read.labels, read.usage, strict=True)
    assert {name: (CLASSES[label], code) for name, label, code in found} == expected
    assert read.names.tolist() == sorted(expected)


def test_all_files_that_are_no_pictures_are_named(root):
    whole = picture(root, "train/sad/a.png", np.random.default_rng(0).integers(0, 256, (99, 99)).astype(np.uint8))
    (root / "train/sad/cut.png").write_bytes(whole.read_bytes()[:5000])
    (root / "train/sad/notes.txt").write_text("happy")
    (root / "train/sad/empty.jpg").touch()
    (root / "train/sad/phone.heic").write_bytes(b"heic")
    head, *listed = refusal(root).split("\n")
    assert head == f"{root}: 3 of 4 pictures are faulty:"
    names = ["cut.png", "empty.jpg", "phone.heic"]
    assert [line.split(":")[0] for line in listed] == [f"  train/sad/{name}" for name in names]
    assert "no picture (not a picture of a known form); right: a whole jpg, png" in listed[2]
    assert "Truncated" in listed[0]


def test_whatever_does_not_belong_into_image_folders_is_refused(root):
    picture(root, "train/sad/a.png", GRAY)
    picture(root, "train/contempt/a.png", GRAY)
    picture(root, "train/b.png", GRAY)
    (root / "train/sad/more").mkdir()
    text = refusal(root)
    assert text.startswith(f"{root}: 3 of 6 files and folders are faulty:\n")
    assert "train/sad/more: no file; right: a picture" in text
    assert "train/b.png: a file beside the class folders" in text
    assert "train/contempt: no known class; right: angry, disgust, fear, happy" in text


def test_class_folders_without_a_picture_are_refused(root):
    (root / "train/sad").mkdir(parents=True)
    assert "no picture in its image folders train/" in refusal(root)


# Where FER2013 is


def test_find_takes_the_environments_place_then_data_here(root, monkeypatch):
    assert fer2013.find() is None
    here = Path("data").absolute()
    here.mkdir()
    (here / "train.csv").write_text("PassengerId,Survived\n1,0\n")
    assert fer2013.find() is None
    as_npz(here, random_faces(3))
    assert fer2013.find() == here
    path = as_fer2013(root, random_faces(3))
    monkeypatch.setenv("FER2013_ROOT", str(path))
    assert fer2013.find() == path
    monkeypatch.setenv("HOME", str(root.parent))
    assert len(fer2013.load("~/copy")) == 3


def test_find_refuses_a_named_place_that_holds_nothing(root, tmp_path, monkeypatch):
    data = Path("data")
    data.mkdir()
    as_npz(data, random_faces(3))  # which must not be taken instead
    (root / "other.csv").write_text("a,b\n")
    for place, problem in (
        (root, "holds no FER2013. The known forms:"),
        (root / "other.csv", ", line 1: 'a,b' is no header"),
        (tmp_path / "nowhere", "does not exist"),
    ):
        with pytest.raises(UserError, match=re.escape(f"{place}")) as given:
            fer2013.load(place)
        assert problem in str(given.value)
        monkeypatch.setenv("FER2013_ROOT", str(place))
        with pytest.raises(UserError, match="environment variable FER2013_ROOT: ") as named:
            fer2013.find()
        assert str(given.value) in str(named.value)
        monkeypatch.delenv("FER2013_ROOT")
    (data / "fer2013.csv").touch()  # a damaged one in data/ is not passed over either
    with pytest.raises(UserError, match=r"fer2013\.csv is empty"):
        fer2013.find()


def test_an_empty_folder_is_refused_and_files_looked_at_are_named(root):
    assert f"{root} holds no FER2013" in refusal(root)
    (root / "mine.csv").write_text("emotion,Usage\n0,Training\n")
    assert "Looked at:\n" in refusal(root)
    assert f"{root / 'mine.csv'}, line 1: 'emotion,Usage' is no header" in refusal(root)


@pytest.mark.slow
def test_real_rows_are_the_same_in_every_form(shared_rows, tmp_path):
    with open(shared_rows / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    index = np.r_[0:60, 28680:28740]  # both usages
    sheets = {  # of 56 rows of 48 faces
        number: np.asarray(Image.open(shared_rows / f"faces-{number:02}.webp").convert("L"))
        for number in set((index // 2688).tolist())
    }
    places = [(sheets[i // 2688], i % 2688 // 48 * 48, i % 48 * 48) for i in index.tolist()]
    pixels = np.stack([sheet[y : y + 48, x : x + 48] for sheet, y, x in places])
    labels = np.array([int(rows[i]["emotion"]) for i in index], np.int8)
    usage = np.array([USAGES.index(rows[i]["Usage"]) for i in index], np.uint8)
    faces = faces_of(pixels, labels, usage)
    for write in WHOLE_FORMS:
        (folder := tmp_path / write.__name__).mkdir()
        assert_same(in_source_order(fer2013.load(write(folder, faces))), faces)
    (tmp_path / "course").mkdir()
    course = fer2013.load(as_course(tmp_path / "course", faces))
    np.testing.assert_array_equal(course.pixels, pixels)
    np.testing.assert_array_equal(course.labels[usage == TRAINING], labels[usage == TRAINING])
