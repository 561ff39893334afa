"""Every form of FER2013 gives the same faces, and every fault in it one message that says where and what."""

import csv
import io
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fer_lightning.data import cache, fer2013, read_csv
from fer_lightning.data.faces import CLASSES, NO_LABEL, PRIVATE, PUBLIC, TRAINING, UNLABELLED, USAGES, Faces, digest
from fer_lightning.errors import UserError


@pytest.fixture(autouse=True)
def _own_cache_and_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty cache and current folder, and no FER2013 named by the environment."""
    monkeypatch.setenv("FER_LIGHTNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("FER2013_ROOT", raising=False)
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "copy"
    folder.mkdir()
    return folder


def random_faces(count: int, seed: int = 0) -> Faces:
    """Noise with labels of all classes and usages, ordered by usage as in the public file."""
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (count, 48, 48)).astype(np.uint8)
    pixels[0], pixels[1] = 0, 255  # the ends of the range, and the shortest and longest rows
    labels = (np.arange(count) % len(CLASSES)).astype(np.int8)
    usage = np.sort(np.arange(count) % 3).astype(np.uint8)
    return Faces(pixels, labels, usage, np.arange(count), digest(pixels), None, "noise", "noise")


def text(image: np.ndarray) -> str:
    return " ".join(map(str, image.reshape(-1).tolist()))


def write_csv(path: Path, header: str, rows: list[str], end: str = "\n") -> Path:
    path.write_bytes("".join(line + end for line in [header, *rows]).encode())
    return path


def fer2013_rows(faces: Faces) -> list[str]:
    columns = zip(faces.labels, faces.pixels, faces.usage, strict=True)
    return [f"{label},{text(image)},{USAGES[usage]}" for label, image, usage in columns]


def as_fer2013(root: Path, faces: Faces) -> Path:
    return write_csv(root / "fer2013.csv", "emotion,pixels,Usage", fer2013_rows(faces))


def as_icml(root: Path, faces: Faces) -> Path:
    columns = zip(faces.labels, faces.pixels, faces.usage, strict=True)
    rows = [f"{label}, {USAGES[usage]}, {text(image)}" for label, image, usage in columns]
    return write_csv(root / "icml_face_data.csv", "emotion, Usage, pixels", rows)


def as_kaggle(root: Path, faces: Faces) -> Path:
    train = faces.where(TRAINING)
    write_csv(root / "train.csv", "emotion,pixels", [f"{faces.labels[i]},{text(faces.pixels[i])}" for i in train])
    write_csv(root / "test.csv", "pixels", [text(faces.pixels[i]) for i in faces.where(PUBLIC)])
    return root


def as_course(root: Path, faces: Faces) -> Path:
    train = faces.where(TRAINING)
    write_csv(root / "train.csv", "label,feature", [f"{faces.labels[i]},{text(faces.pixels[i])}" for i in train])
    rows = [f"{number},{text(faces.pixels[i])}" for number, i in enumerate(faces.where(PUBLIC), 100)]
    write_csv(root / "test.csv", "id,feature", rows)
    return root


def as_npz(root: Path, faces: Faces) -> Path:
    usage = np.array([USAGES[code] for code in faces.usage])
    np.savez(root / "fer2013.npz", pixels=faces.pixels, emotion=faces.labels.astype(np.uint8), usage=usage)
    return root / "fer2013.npz"


def as_folders(root: Path, faces: Faces) -> Path:
    for i, (image, label, usage) in enumerate(zip(faces.pixels, faces.labels, faces.usage, strict=True)):
        folder = root / ("train" if usage == TRAINING else "test") / CLASSES[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / f"{USAGES[usage]}_{i:05d}.png")
    return root


WHOLE_FORMS = [as_fer2013, as_icml, as_npz, as_folders]


def in_source_order(faces: Faces) -> Faces:
    """Image folders read in the order of their paths, put back into that of the rows their names bear."""
    if faces.names is None:
        return faces
    order = np.argsort([int(Path(name).stem.split("_")[1]) for name in faces.names])
    return Faces(
        faces.pixels[order],
        faces.labels[order],
        faces.usage[order],
        faces.rows[order],
        faces.digests[order],
        faces.names[order],
        faces.source,
        faces.form,
    )


def assert_same(read: Faces, expected: Faces) -> None:
    np.testing.assert_array_equal(read.pixels, expected.pixels)
    np.testing.assert_array_equal(read.labels, expected.labels)
    np.testing.assert_array_equal(read.usage, expected.usage)
    np.testing.assert_array_equal(read.digests, expected.digests)


def refusal(path: Path) -> str:
    """The message of the UserError that reading `path` ends in; nothing of it may be in the cache."""
    with pytest.raises(UserError) as error:
        fer2013.load(path)
    assert not cache.folder().exists() or not list(cache.folder().iterdir())
    return str(error.value)


# All forms give the same faces


@pytest.mark.parametrize("write", WHOLE_FORMS)
@pytest.mark.parametrize("start", ["cold", "warm"])
def test_a_form_gives_its_pixels_labels_usages_and_digests(write, start, root):
    faces = random_faces(40)
    path = write(root, faces)
    if start == "warm":
        fer2013.load(path)
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


def test_train_csv_alone_and_test_csv_alone(root):
    faces = random_faces(12)
    as_course(root, faces)
    unlabelled = fer2013.load(root / "test.csv")
    assert set(unlabelled.usage) == {UNLABELLED}
    assert set(unlabelled.labels) == {NO_LABEL}
    (root / "test.csv").unlink()
    train = fer2013.load(root)
    assert set(train.usage) == {TRAINING}
    assert train.names is None


def test_a_labelled_test_csv_is_no_part_of_train_csv(root):
    faces = random_faces(12)
    as_kaggle(root, faces)
    write_csv(root / "test.csv", "emotion,pixels", [f"0,{text(faces.pixels[0])}"])
    read = fer2013.load(root)
    assert len(read) == len(faces.where(TRAINING))
    assert "chosen over test.csv" in read.form


def test_the_form_is_recognized_by_content(root):
    faces = random_faces(6)
    for write, name in ((as_fer2013, "rows.txt"), (as_npz, "arrays.bin")):
        path = write(root, faces).rename(root / name)
        assert_same(fer2013.load(path), faces)
        assert_same(fer2013.load(root), faces)
        path.unlink()


@pytest.mark.parametrize("write", [as_fer2013, as_npz, as_folders])
def test_a_folder_of_its_own_one_level_down_is_found(write, root):
    (root / "fer2013").mkdir()
    faces = random_faces(6)
    write(root / "fer2013", faces)
    assert_same(in_source_order(fer2013.load(root)), faces)


def test_the_fullest_labelled_form_is_taken_and_named(root):
    faces = random_faces(30)
    as_kaggle(root, faces)
    as_icml(root, faces)
    read = fer2013.load(root)
    assert_same(read, faces)
    assert read.source == str(root / "icml_face_data.csv")
    assert read.form == (
        "icml_face_data.csv with emotion,Usage,pixels; 30 labelled images, chosen over "
        "train.csv with emotion,pixels + test.csv with pixels (10)"
    )
    assert fer2013.load(root).form == read.form  # from the cache, too
    as_npz(root, random_faces(31))
    assert fer2013.load(root).source == str(root / "fer2013.npz")


def test_among_equally_full_forms_one_with_usages_is_taken(root):
    faces = random_faces(9)
    write_csv(root / "all.csv", "emotion,pixels", [row.rsplit(",", 1)[0] for row in fer2013_rows(faces)])
    as_folders(root, faces)
    assert fer2013.load(root).source == str(root)


def test_other_files_in_the_folder_are_passed_over(root):
    faces = random_faces(6)
    as_fer2013(root, faces)
    (root / "example_submission.csv").write_text("id,label\n0,1\n")
    (root / "README.md").write_text("FER2013")
    (root / ".fer2013.csv.swp").write_bytes(b"\0")
    assert fer2013.load(root).form == "fer2013.csv with emotion,pixels,Usage"


# csv: what is accepted


def plain(lines: list[str]) -> bytes:
    return "".join(line + "\n" for line in lines).encode()


VARIANTS: dict[str, Callable[[list[str]], bytes]] = {
    "byte order mark": lambda lines: b"\xef\xbb\xbf" + plain(lines),
    "CRLF": lambda lines: plain(lines).replace(b"\n", b"\r\n"),
    "CR CR LF, as text mode makes it on Windows": lambda lines: plain(lines).replace(b"\n", b"\r\r\n"),
    "no line end at the end": lambda lines: plain(lines)[:-1],
    "blank lines at the end": lambda lines: plain(lines) + b"\n\r\n  \n",
    "blank lines between": lambda lines: plain(lines).replace(b"\n", b"\n\n"),
    "quoted pixels": lambda lines: re.sub(rb",([ \d]+),", rb',"\1",', plain(lines)),
    "all fields quoted": lambda lines: re.sub(rb"[^,\n]+", rb'"\g<0>"', plain(lines)),
    "two spaces": lambda lines: plain(lines).replace(b" ", b"  "),
    "spaces around fields": lambda lines: plain(lines).replace(b",", b" , "),
    "leading zeros": lambda lines: re.sub(rb"\b\d(?= )", rb"00\g<0>", plain(lines)),
    "header in capitals": lambda lines: plain([lines[0].upper(), *lines[1:]]),
    "columns in another order": lambda lines: plain([",".join(reversed(line.split(","))) for line in lines]),
}


@pytest.mark.parametrize("variant", VARIANTS)
def test_csv_variants_are_read_the_same(variant, root):
    faces = random_faces(9)
    path = root / "fer2013.csv"
    path.write_bytes(VARIANTS[variant](["emotion,pixels,Usage", *fer2013_rows(faces)]))
    assert_same(fer2013.load(path), faces)


def test_the_last_column_may_end_the_file(root):
    faces = random_faces(5)
    path = as_icml(root, faces)
    path.write_bytes(path.read_bytes().removesuffix(b"\n"))
    assert_same(fer2013.load(path), faces)


@pytest.mark.slow
def test_reading_agrees_with_pythons_csv_and_int_on_mutated_files(root):
    """What is accepted, and what it gives, against a plain reading; ninety small changes anywhere."""

    def reference(content: bytes) -> list[tuple[int, list[int], str]] | None:
        rows = []
        for record in csv.reader(io.StringIO(content.decode("latin-1"))):
            record = [field.strip() for field in record]
            if len(record) != 3 or record[0] not in list("0123456") or record[2] not in USAGES[:UNLABELLED]:
                return None
            values = [value for value in record[1].split(" ") if value]
            if len(values) != 2304 or not all(re.fullmatch("[0-9]{1,3}", v) and int(v) < 256 for v in values):
                return None
            rows.append((int(record[0]), [int(value) for value in values], record[2]))
        return rows

    rng = np.random.default_rng(1)
    body = plain(fer2013_rows(random_faces(3)))
    accepted = 0
    for trial in range(90):
        content = bytearray(body)
        at = int(rng.integers(len(content) - 20))
        if trial % 3 == 0:
            content[at] = int(rng.choice(list(b"0123456789")))
        elif trial % 3 == 1:
            content.insert(at, int(rng.choice(list(b"0123456789 .-+e\tx\xb2"))))
        else:
            del content[at]
        path = root / "fer2013.csv"
        path.write_bytes(b"emotion,pixels,Usage\n" + content)
        expected = reference(bytes(content))
        if expected is None:
            assert ", line " in refusal(path).replace("\n  ", ", ")
            continue
        accepted += 1
        read = read_csv.CsvFiles((path,), (read_csv.header(path),)).read()
        assert read.labels.tolist() == [label for label, _, _ in expected]
        assert read.pixels.reshape(-1, 2304).tolist() == [pixels for _, pixels, _ in expected]
        assert [USAGES[code] for code in read.usage] == [usage for _, _, usage in expected]
    assert 20 < accepted < 70


# csv: what is refused


def changed(row: str, column: int, to: str) -> str:
    fields = row.split(",")
    fields[column] = to
    return ",".join(fields)


def with_value(row: str, value: str) -> str:
    label, pixels, usage = row.split(",")
    return ",".join([label, " ".join([*pixels.split()[:99], value, *pixels.split()[100:]]), usage])


BAD_ROWS: dict[str, tuple[Callable[[str], str], str]] = {
    "2,303 pixels": (
        lambda row: row.replace(" 255,", ",").replace(" 0,", ","),
        "column pixels: 2,303 values; right: 2,304 (48×48)",
    ),
    "2,305 pixels": (lambda row: row.replace(",", ",0 ", 1), "column pixels: 2,305 values; right: 2,304 (48×48)"),
    "no pixels": (lambda row: changed(row, 1, ""), "column pixels: 0 values; right: 2,304 (48×48)"),
    "tabs": (lambda row: row.replace(" ", "\t"), "column pixels: values not separated by spaces; right: spaces"),
    "label 7": (lambda row: changed(row, 0, "7"), "column emotion: '7'; right: 0 (angry), 1 (disgust), "),
    "label happy": (lambda row: changed(row, 0, "happy"), "column emotion: 'happy'; right: 0 (angry)"),
    "label 3.0": (lambda row: changed(row, 0, "3.0"), "column emotion: '3.0'; right: 0 (angry)"),
    "no label": (lambda row: changed(row, 0, ""), "column emotion: ''; right: 0 (angry)"),
    "unknown usage": (
        lambda row: changed(row, 2, "Test"),
        "column Usage: 'Test'; right: Training, PublicTest, PrivateTest",
    ),
    "no usage": (lambda row: changed(row, 2, ""), "column Usage: ''; right: Training"),
    "usage field missing": (
        lambda row: row.rsplit(",", 1)[0],
        "column Usage: missing; right: the columns emotion,pixels,Usage",
    ),
    "one field too many": (lambda row: row + ",1", "4 fields; right: the 3 columns emotion,pixels,Usage"),
    "half a quoted field": (lambda row: row.replace(",", ',"', 1), "column pixels: value 1 is '\"255'; right: a whole"),
} | {
    f"pixel {value}": (
        lambda row, value=value: with_value(row, value),
        f"column pixels: value 100 is {value!r}; right: a whole number from 0 to 255",
    )
    for value in ("256", "999", "1000", "65536", "-1", "1.5", "x", "1e2", "²", "0x10", "nan")
}


@pytest.mark.parametrize("fault", BAD_ROWS)
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_a_faulty_row_is_named_by_line_and_column(fault, end, root):
    spoil, expected = BAD_ROWS[fault]
    rows = fer2013_rows(random_faces(4))
    rows[1] = spoil(rows[1])
    path = write_csv(root / "fer2013.csv", "emotion,pixels,Usage", rows, end)
    text = refusal(path)
    assert text.startswith(f"{path}: 1 of 4 rows is faulty:\n  line 3, {expected}")
    assert text.count("line ") == 1


def test_a_value_moved_to_the_next_row_is_two_faults(root):
    rows = fer2013_rows(random_faces(4))
    rows[1], rows[2] = with_value(rows[1], ""), with_value(rows[2], "1 2")
    text = refusal(write_csv(root / "fer2013.csv", "emotion,pixels,Usage", rows))
    assert "line 3, column pixels: 2,303 values" in text
    assert "line 4, column pixels: 2,305 values" in text


def test_all_faults_of_a_row_are_named(root):
    rows = fer2013_rows(random_faces(2))
    rows[0] = changed(changed(with_value(rows[0], "300"), 0, "9"), 2, "Train")
    text = refusal(write_csv(root / "fer2013.csv", "emotion,pixels,Usage", rows))
    assert "line 2, column emotion: '9'" in text
    assert "; column pixels: value 100 is '300'" in text
    assert "; column Usage: 'Train'" in text


@pytest.mark.parametrize("end", ["\n", "\r\n", "\n\n"])
def test_of_many_faulty_rows_all_are_counted_and_the_first_ten_listed(end, root):
    """Over several blocks of reading; the lines as an editor counts them, blank ones included."""
    rows = fer2013_rows(random_faces(300))
    bad = [3, 4, 50, 51, 52, 100, 150, 199, 200, 201, *range(210, 300, 2)]
    for i in bad:
        rows[i] = changed(rows[i], 0, "8")
    path = write_csv(root / "fer2013.csv", "emotion,pixels,Usage", rows, end)
    head, *listed = refusal(path).split("\n")
    assert head == f"{path}: {len(bad)} of 300 rows are faulty, the first 10:"
    lines = path.read_bytes().split(b"\n")
    numbers = [int(re.match(r"  line (\d+), column emotion: '8'", line)[1]) for line in listed]
    assert numbers == [1 + (i + 1) * end.count("\n") for i in bad[:10]]
    assert all(lines[number - 1].startswith(b"8,") for number in numbers)


@pytest.mark.parametrize("cut", [3, 15, 1000, 9000])
def test_a_file_that_is_cut_off_is_recognized(cut, root):
    faces = random_faces(4)
    path = as_fer2013(root, faces)
    path.write_bytes(path.read_bytes()[:-cut])
    text = refusal(path)
    assert "line 5, column" in text or "line 4, column" in text
    assert text.endswith("(the last line, which does not end: is the file cut off?)")


def test_a_huge_line_is_quoted_in_part_only(root):
    path = write_csv(root / "fer2013.csv", "emotion,pixels,Usage", ["x" * 1_000_000 + ",y,z"])
    assert len(refusal(path)) < 1000


def test_faults_in_test_csv_name_test_csv(root):
    as_course(root, random_faces(12))
    path = root / "test.csv"
    path.write_text(path.read_text().replace("101,", ",", 1))
    assert refusal(root).startswith(f"{path}: 1 of 4 rows is faulty:\n  line 3, column id: empty; right: the id")


@pytest.mark.parametrize(
    ("header", "difference"),
    [
        ("emotion,Usage", "column pixels is missing"),
        ("pixels,Usage", "column emotion is missing"),
        ("label", "column feature is missing"),
        ("emotion,pixels,Usage,fold", "column 'fold' is not one of its columns"),
        ("emotion,emotion,pixels", "a column stands there twice"),
        ("a;b;c", "is missing"),
        ("", "is missing"),
    ],
)
def test_an_unknown_header_is_refused_with_the_known_ones(header, difference, root):
    path = write_csv(root / "fer2013.csv", header, ["0,1,2"])
    for given in (path, root):
        text = refusal(given)
        assert f"{path}, line 1: {header!r} is no header of FER2013: " in text
        assert difference in text
        assert "emotion,pixels,Usage | emotion,pixels | pixels | label,feature | id,feature" in text


def test_an_unknown_test_csv_beside_train_csv_is_refused(root):
    as_kaggle(root, random_faces(6))
    (root / "test.csv").write_text("pixel\n1 2 3\n")
    assert f"{root / 'test.csv'}, line 1: 'pixel' is no header" in refusal(root)


@pytest.mark.parametrize(("content", "problem"), [
    (b"", "is empty"),
    (b"emotion,pixels,Usage", ", line 1: only a header (emotion,pixels,Usage)"),
    (b"emotion,pixels,Usage\r\n\r\n", ", line 1: only a header (emotion,pixels,Usage)"),
    (b"\x1f\x8b\x08\0", "is compressed; right: unpack it first"),
    (b"PK\x03\x04", "a damaged npz"),
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


@pytest.mark.parametrize("change", [
    {"pixels": lambda x: x.reshape(-1, 2304)},
    {"pixels": lambda x: x.astype(np.int64)},
    {"pixels": np.asfortranarray},
    {"usage": lambda x: x.astype("S")},
    {"usage": lambda x: np.char.add(" ", x)},
])  # fmt: skip
def test_npz_variants_are_read_the_same(change, root):
    changed = {name: change.get(name, np.asarray)(array) for name, array in arrays().items()}
    np.savez_compressed(root / "fer2013.npz", **changed)
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
    ("emotion", lambda x: x.astype(float), "emotion is float64; right: integers"),
    ("usage", lambda x: put(x, (3,), "Test"), "usage[3]: 'Test'; right: Training, PublicTest, PrivateTest"),
    ("usage", lambda x: np.arange(8), "usage is int64; right: strings"),
    ("usage", lambda x: x.astype(object), "its array usage cannot be read (Object arrays cannot be loaded"),
])  # fmt: skip
def test_faulty_arrays_are_refused(name, change, problem, root):
    changed = arrays()
    changed[name] = change(changed[name])
    np.savez(root / "fer2013.npz", **changed)
    assert problem in refusal(root)


def test_an_npz_without_an_array_or_image_is_refused(root):
    path = root / "fer2013.npz"
    np.savez(path, pixels=arrays()["pixels"])
    assert f"{path}: a zip file without the arrays emotion, usage; right: an npz of pixels, emotion, usage" in refusal(
        root
    )
    np.savez(path, **{name: array[:0] for name, array in arrays().items()})
    assert "no images" in refusal(root)


def test_a_damaged_npz_is_refused(root):
    path = as_npz(root, random_faces(8))
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    assert "its array pixels cannot be read (Bad CRC-32" in refusal(root)
    path.write_bytes(content[:9000])
    assert f"{path}: a damaged npz" in refusal(root)


# Image folders


def picture(root: Path, name: str, image: Image.Image | np.ndarray) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(path)
    return path


GRAY = random_faces(3).pixels[2]


@pytest.mark.parametrize("image", [
    Image.fromarray(GRAY).convert("RGB"),
    Image.fromarray(GRAY).convert("RGBA"),
    Image.fromarray(GRAY).convert("LA"),
    Image.fromarray(GRAY).convert("P"),
    Image.fromarray(GRAY.astype(np.uint16) * 256 + 99),
])  # fmt: skip
def test_gray_in_any_png_mode_keeps_its_values(image, root):
    picture(root, "train/sad/a.png", image)
    np.testing.assert_array_equal(fer2013.load(root).pixels[0], GRAY)


def test_color_is_turned_to_luma(root):
    color = np.random.default_rng(0).integers(0, 256, (48, 48, 3)).astype(np.uint8)
    picture(root, "train/sad/a.png", color)
    luma = color @ np.array([0.299, 0.587, 0.114])
    assert np.abs(fer2013.load(root).pixels[0] - luma).max() < 0.51


def test_other_sizes_are_resampled_with_antialiasing(root):
    checker = (np.indices((480, 480)).sum(0) % 2 * 255).astype(np.uint8)  # which sampling would turn to stripes
    picture(root, "train/sad/checker.png", checker)
    ramp = np.tile(np.linspace(0, 255, 96), (144, 1))
    picture(root, "train/sad/ramp.png", ramp.astype(np.uint8))
    picture(root, "train/sad/small.png", np.full((10, 30), 77, np.uint8))
    read = fer2013.load(root)
    assert read.names.tolist() == ["train/sad/checker.png", "train/sad/ramp.png", "train/sad/small.png"]
    assert np.abs(read.pixels[0].astype(int) - 127).max() <= 1
    assert np.abs(read.pixels[1] - ramp.reshape(48, 3, 48, 2).mean((1, 3))).max() < 3
    assert (read.pixels[2] == 77).all()


def test_jpg_is_read(root):
    smooth = np.tile(np.linspace(0, 255, 48), (48, 1)).astype(np.uint8)
    picture(root, "train/sad/a.JPG", Image.fromarray(smooth))
    assert np.abs(fer2013.load(root).pixels[0].astype(int) - smooth).max() <= 4


def test_names_then_folders_give_usages_and_folders_give_classes(root):
    for name in (
        "train/Anger/b.png",
        "train/HAPPINESS/Training_1.png",
        "train/sad/PublicTest_2.png",
        "validation/Surprised/c.png",
        "test/fearful/PrivateTest_3.png",
        "test/disgusted/PublicTest_4.png",
        "test/neutral/d.png",
    ):
        picture(root, name, GRAY)
    read = fer2013.load(root)
    found = {
        name: (CLASSES[label], code)
        for name, label, code in zip(read.names.tolist(), read.labels, read.usage, strict=True)
    }
    assert found == {
        "test/disgusted/PublicTest_4.png": ("disgust", PUBLIC),
        "test/fearful/PrivateTest_3.png": ("fear", PRIVATE),
        "test/neutral/d.png": ("neutral", PRIVATE),
        "train/Anger/b.png": ("angry", TRAINING),
        "train/HAPPINESS/Training_1.png": ("happy", TRAINING),
        "train/sad/PublicTest_2.png": ("sad", PUBLIC),
        "validation/Surprised/c.png": ("surprise", PUBLIC),
    }
    assert read.names.tolist() == sorted(found)


def test_hidden_and_system_files_are_passed_over(root):
    picture(root, "train/sad/a.png", GRAY)
    for name in (
        "train/sad/.DS_Store",
        "train/sad/Thumbs.db",
        "train/.DS_Store",
        "train/__MACOSX/sad/._a.png",
        ".git/x",
    ):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"no picture")
    assert fer2013.load(root).names.tolist() == ["train/sad/a.png"]


def test_all_files_that_are_no_pictures_are_named(root):
    whole = picture(root, "train/sad/a.png", np.random.default_rng(0).integers(0, 256, (99, 99)).astype(np.uint8))
    (root / "train/sad/cut.png").write_bytes(whole.read_bytes()[:5000])
    (root / "train/sad/notes.txt").write_text("happy")
    (root / "train/sad/empty.jpg").touch()
    picture(root, "train/sad/moving.gif", GRAY)
    head, *listed = refusal(root).split("\n")
    assert head == f"{root}: 4 of 5 pictures are faulty:"
    names = ["cut.png", "empty.jpg", "moving.gif", "notes.txt"]
    assert [line.split(":")[0] for line in listed] == [f"  train/sad/{name}" for name in names]
    assert "no picture (not a jpg or png); right: a whole jpg or png" in listed[3]
    assert "truncated" in listed[0]


def test_whatever_does_not_belong_into_image_folders_is_refused(root):
    picture(root, "train/sad/a.png", GRAY)
    picture(root, "train/contempt/a.png", GRAY)
    picture(root, "test/b.png", GRAY)
    (root / "train/sad/more").mkdir()
    text = refusal(root)
    assert text.startswith(f"{root}: 3 of 6 files and folders are faulty:\n")
    assert "train/sad/more: no file; right: a jpg or png" in text
    assert "test/b.png: a file beside the class folders" in text
    assert "train/contempt: no known class; right: angry, anger, disgust, disgusted, fear, fearful, happy" in text


def test_class_folders_without_a_picture_are_refused(root):
    (root / "train/sad").mkdir(parents=True)
    assert "no picture in its image folders train/" in refusal(root)


# Where FER2013 is


def test_find_takes_the_given_then_the_environments_then_data_here(root, tmp_path, monkeypatch):
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
    assert fer2013.find(root) == root
    assert fer2013.find(str(here / "fer2013.npz")) == here / "fer2013.npz"


def test_find_expands_the_home_folder(root, monkeypatch):
    as_fer2013(root, random_faces(3))
    monkeypatch.setenv("HOME", str(root.parent))
    assert fer2013.find("~/copy") == root
    assert len(fer2013.load("~/copy")) == 3


def test_find_refuses_a_named_place_that_holds_nothing(root, tmp_path, monkeypatch):
    data = Path("data")
    data.mkdir()
    as_fer2013(data, random_faces(3))  # which must not be taken instead
    (root / "other.csv").write_text("a,b\n")
    for place, problem in (
        (root, "holds no FER2013. The known forms:"),
        (root / "other.csv", ", line 1: 'a,b' is no header"),
        (tmp_path / "nowhere", "does not exist"),
    ):
        with pytest.raises(UserError, match=re.escape(f"{place}")) as given:
            fer2013.find(place)
        assert problem in str(given.value)
        monkeypatch.setenv("FER2013_ROOT", str(place))
        with pytest.raises(UserError, match="environment variable FER2013_ROOT: ") as named:
            fer2013.find()
        assert str(given.value) in str(named.value)
        monkeypatch.delenv("FER2013_ROOT")


def test_a_damaged_fer2013_csv_in_data_is_not_passed_over(tmp_path):
    data = Path("data")
    data.mkdir()
    (data / "fer2013.csv").touch()
    as_npz(data, random_faces(3))
    with pytest.raises(UserError, match=r"fer2013\.csv is empty"):
        fer2013.find()


def test_an_empty_folder_is_refused_and_files_looked_at_are_named(root):
    assert f"{root} holds no FER2013" in refusal(root)
    (root / "mine.csv").write_text("emotion,Usage\n0,Training\n")
    assert "Looked at:\n" in refusal(root)
    assert f"{root / 'mine.csv'}, line 1: 'emotion,Usage' is no header" in refusal(root)


def test_real_rows_are_the_same_in_every_form(shared_rows, tmp_path):
    with open(shared_rows / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    index = np.r_[0:150, 28700 : len(rows) : 20]  # both usages
    sheets = {
        number: np.asarray(Image.open(shared_rows / f"faces-{number:02}.webp").convert("L"))
        for number in set((index // 2688).tolist())
    }  # of 56 rows of 48 faces
    pixels = np.stack(
        [sheets[i // 2688][(k := i % 2688) // 48 * 48 :][:48, k % 48 * 48 :][:, :48] for i in index.tolist()]
    )
    labels = np.array([int(rows[i]["emotion"]) for i in index], np.int8)
    usage = np.array([USAGES.index(rows[i]["Usage"]) for i in index], np.uint8)
    faces = Faces(pixels, labels, usage, np.arange(len(index)), digest(pixels), None, "", "")
    for write in WHOLE_FORMS:
        (folder := tmp_path / write.__name__).mkdir()
        assert_same(in_source_order(fer2013.load(write(folder, faces))), faces)
    (tmp_path / "course").mkdir()
    course = fer2013.load(as_course(tmp_path / "course", faces))
    np.testing.assert_array_equal(course.pixels, pixels)
    np.testing.assert_array_equal(course.labels[usage == TRAINING], labels[usage == TRAINING])
