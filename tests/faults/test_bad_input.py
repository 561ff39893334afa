"""Whatever is given as data or checkpoint ends in the right reading or in one message, soon and in little memory."""

import gzip
import io
import json
import math
import os
import pickle
import tarfile
import time
import zipfile
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from audit.test_search import faces_of
from commands import run_command
from faults import bombs
from faults.hostile import (
    ALL,
    ARRAYS,
    COLOR,
    DRAWN,
    GRAY,
    LABELS,
    MEMBERS,
    ORIENTED,
    READ,
    REFUSED,
    SHEETS,
    USAGE_WORDS,
    Planted,
    Rows,
    archive,
    encoded,
    examples,
    flips,
    lying_npy,
    mutations,
    npy,
    outcome,
    palette,
    plainly_read,
    png,
    raw_npy,
    rows_below,
    rows_of,
    turned,
    with_checksums,
    write_picture,
)  # fmt: skip
from harness import SERVER
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from fer_lightning.audit.__main__ import main as audit
from fer_lightning.data import cache
from fer_lightning.data.datamodule import DATA_STATE, FERDataModule
from fer_lightning.data.synthetic import draw
from fer_lightning.evaluate.__main__ import main as evaluate
from fer_lightning.evaluate.votes import HEADER, read_votes
from fer_lightning.models import CNN
from fer_lightning.results.checkpoint import Classifier, load
from fer_lightning.results.weights import write_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def _quick_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """An empty cache, which does not wait for a clock's next tick before it reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("FER_LIGHTNING_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setattr(cache, "time", SimpleNamespace(sleep=lambda _: None, time=time.time))
        yield


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("place")


def read_bytes(place: Path, name: str, content: bytes) -> object:
    path = place / name
    path.write_bytes(content)
    return outcome(path)


# csv


@pytest.mark.parametrize("variant", READ)
def test_a_csv_that_says_the_same_in_another_way_is_read(variant, place):
    for form, (content, rows) in SHEETS.items():
        found = read_bytes(place, "any.csv", READ[variant](content))
        assert found is not None, form
        assert rows_of(found) == rows, form


@pytest.mark.parametrize("variant", REFUSED)
def test_a_csv_that_says_anything_else_is_refused(variant, place):
    for form, (content, _) in SHEETS.items():
        if (spoiled := REFUSED[variant](content)) != content:
            assert read_bytes(place, "any.csv", spoiled) is None, form


def test_a_label_a_usage_or_an_id_that_is_none_is_refused(place):
    for form, position, words in (
        *((form, 0, LABELS) for form in ("fer2013", "icml", "kaggle", "course")),
        ("fer2013", 2, USAGE_WORDS), ("icml", 1, USAGE_WORDS),
        ("course's test", 0, ("", "\0", "a\0", "\u202e1", "x" * 201, "\udcff")),
    ):  # fmt: skip

        def put(line: bytes, position: int = position) -> bytes:
            fields = line.split(b",")
            fields[position] = word.encode(errors="surrogateescape")  # noqa: B023 (called before the next word)
            return b",".join(fields)

        for word in words:
            assert read_bytes(place, "any.csv", rows_below(put)(SHEETS[form][0])) is None, (form, word)


@examples(120)
@given(st.sampled_from(list(SHEETS)).flatmap(lambda form: mutations(SHEETS[form][0])))
def test_what_is_read_of_a_changed_csv_is_what_python_reads(place, content):
    found = read_bytes(place, "fer2013.csv", content)
    assert found is None or rows_of(found) == plainly_read(content)


# Archives


def tar_gz(content: bytes) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        member = tarfile.TarInfo("fer2013/fer2013.csv")
        member.size = len(content)
        tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def parquet(faces: Rows) -> bytes:
    file = pyarrow.BufferOutputStream()
    columns = {"pixels": [pixels for _, pixels, _ in faces], "emotion": [label for label, *_ in faces]}
    pyarrow.parquet.write_table(pyarrow.table(columns), file)
    return file.getvalue().to_pybytes()


SHEET, WRITTEN = SHEETS["fer2013"]
PACKED = {
    "zip": archive({"fer2013.csv": SHEET}, zipfile.ZIP_DEFLATED), "tar.gz": tar_gz(SHEET), "gz": gzip.compress(SHEET),
    "zip of zip": archive({"inner.zip": archive({"a.csv": SHEET})}), "parquet": parquet(WRITTEN),
}  # fmt: skip


@examples(80)
@given(st.sampled_from(list(PACKED)).flatmap(lambda form: st.tuples(st.just(form), flips(PACKED[form]))))
def test_a_changed_archive_is_refused_or_read_as_it_was(place, packed):
    form, content = packed
    found = read_bytes(place, "any", content)
    assert found is None or form == "parquet" or rows_of(found) == WRITTEN  # others have checksums


# npz


@pytest.mark.parametrize("name", list(ARRAYS))
def test_an_npz_with_another_array_is_refused(name, place):
    array = ARRAYS[name]
    others = [
        *(array.astype(kind) for kind in ("O", "V8", "?") if (name, kind) != ("usage", "V8")),
        *(np.zeros(3, kind) for kind in ("f4", "f8", "c8", "M8[s]", "m8[s]", "e")),
        *(np.zeros(shape, np.uint8) for shape in ((), (0,), (2,), (3, 1), (3, 47, 48), (1, 3, 48, 48), (48, 48))),
        np.array([Planted()] * 3),
        np.full(3, np.nan),
        np.zeros(3, [("a", "i4")]),
        np.array(["x" * 1000] * 3),
        np.array([b"\xff"] * 3),
        np.array([""] * 3),
        np.full(array.shape if name == "pixels" else 3, 256),
        np.full(array.shape if name == "pixels" else 3, -1),
        np.full(array.shape if name == "pixels" else 3, 2**63, np.uint64),
    ]
    for other in others:
        assert read_bytes(place, "a.npz", archive(MEMBERS | {f"{name}.npy": npy(other)})) is None, other
    assert not Path("RAN").exists()


DESCRS = ("'<i8'", "'|O'", "[('a','<i4')]", "'<U99999999'", "('|u1',(48,48))", "'x'", "None", "[]", "'<U0'", "'|S0'")
SHAPES = (
    *("(10**10,48,48)", "(9999999999,48,48)", "(-3,)", "(99999999999999999999999,)", "(True,48,48)", "()", "3", "None"),
    *("(200000000,)", "(3.0,)", "(4611686018427387904,4)", "(3,)", "(3,48,48)", "[3]"),
)
HEADERS = (
    *(b"", b"(" * 3000, b"-" * 5000 + b"1", b"{[]:1}", b"\n\n  1\n 2", b"[", b"\0", b"'\\N{x}'", b"{" + b" " * 60_000),
    b"{'descr':'|u1','fortran_order':False,'shape':(3L,48,48)}",
    b"{'descr':'|u1','fortran_order':False,'shape':(3,48,48),'more':1}",
)


@pytest.mark.parametrize("descr", DESCRS)
def test_an_npz_whose_header_lies_is_refused(descr, place):
    for shape in SHAPES:
        for name in ARRAYS if ALL else ["usage", "emotion"][len(shape) % 2 :][:1]:
            if (name, descr, shape) != ("emotion", "'<i8'", "(3,)"):
                made = archive(MEMBERS | {f"{name}.npy": lying_npy(descr, shape, bytes(24))})
                assert read_bytes(place, "a.npz", made) is None, (name, shape)


def test_an_npz_of_texts_that_hold_nothing_takes_no_time_for_each(place):
    made = archive(MEMBERS | {"usage.npy": lying_npy("'<U0'", "(1000000000,)", b"")})
    began = time.monotonic()
    assert read_bytes(place, "a.npz", made) is None
    assert time.monotonic() - began < 5


def test_an_npz_whose_members_are_no_arrays_is_refused(place):
    for content in (
        b"", b"\x93NUMPY", b"no array", pickle.dumps(Planted()), npy(DRAWN)[:-1], npy(DRAWN) + b"x", npy(DRAWN)[:100],
        *(raw_npy(header) for header in HEADERS),
        *(lying_npy("'|u1'", "(3,48,48)", DRAWN.tobytes(), version) for version in (b"\0\0", b"\4\0", b"\xff\xff")),
    ):  # fmt: skip
        assert read_bytes(place, "a.npz", archive(MEMBERS | {"pixels.npy": content})) is None, content[:40]
    for members in ({}, {"pixels.npy": npy(DRAWN)}, {f"a/{name}": MEMBERS[name] for name in MEMBERS}):
        assert read_bytes(place, "a.npz", archive(members)) is None
    assert not Path("RAN").exists()


def test_an_npz_packed_in_any_way_is_read(place):
    for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        np.testing.assert_array_equal(read_bytes(place, "a.npz", archive(MEMBERS, compression)).pixels, DRAWN)
    for array in (DRAWN.astype(">u2"), DRAWN.astype(np.int64), np.asfortranarray(DRAWN), DRAWN.reshape(3, -1)):
        made = archive(MEMBERS | {"pixels.npy": npy(array), "more.npy": b"whatever"})
        np.testing.assert_array_equal(read_bytes(place, "a.npz", made).pixels, DRAWN)


@examples(100)
@given(st.one_of(
    *(flips(archive(MEMBERS, compression)) for compression in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)),
    *(flips(archive(MEMBERS, compression)) for compression in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)),
    st.sampled_from(list(ARRAYS)).flatmap(
        lambda name: flips(MEMBERS[f"{name}.npy"][:128]).map(
            lambda head: archive(MEMBERS | {f"{name}.npy": head + MEMBERS[f"{name}.npy"][128:]})
        )
    ),
))  # fmt: skip
def test_a_changed_npz_is_refused_or_read_as_numpy_reads_it(place, content):
    found = read_bytes(place, "fer2013.npz", content)
    if found is not None:
        (place / "again.npz").write_bytes(content)
        with np.load(place / "again.npz") as arrays:
            assert found.pixels.tolist() == arrays["pixels"].reshape(-1, 48, 48).tolist()
            assert found.labels.tolist() == arrays["emotion"].tolist()


# Pictures


def read_picture(root: Path, content: bytes) -> np.ndarray | None:
    """The pixels of a picture in a class folder, uint8 (48, 48); None where it is refused."""
    found = outcome(write_picture(root / "pictures", content))
    return None if found is None else found.pixels[0]


@pytest.mark.parametrize("orientation", ORIENTED)
def test_a_picture_stands_as_a_viewer_shows_it(orientation, place):
    shown = ORIENTED[orientation](GRAY)
    np.testing.assert_array_equal(read_picture(place, encoded(GRAY, exif=turned(orientation))), shown)
    tall = np.full((96, 48), 220, np.uint8)
    tall[:48] = 30  # the upper half
    side = 255 - ORIENTED[orientation](tall)
    read = read_picture(place, encoded(tall, "JPEG", exif=turned(orientation), quality=95)).astype(int)
    fine = np.asarray(Image.fromarray(255 - side).resize((48, 48), Image.Resampling.BICUBIC)).astype(int)
    assert np.abs(read - fine).max() <= 3


@pytest.mark.parametrize(("content", "expected"), [
    *((encoded(Image.fromarray(GRAY).convert(mode)), GRAY) for mode in ("RGB", "RGBA", "LA", "P")),
    (encoded(Image.fromarray(GRAY), bits=8, optimize=True), GRAY),
    (encoded(GRAY.astype(np.uint16)), GRAY),  # 16 bits that hold 0 to 255
    (encoded(GRAY.astype(np.uint16) * 257), GRAY),
    (encoded(Image.fromarray(GRAY > 99)), (GRAY > 99) * np.uint8(255)),
    (encoded(Image.merge("RGBA", [Image.fromarray(GRAY)] * 3 + [Image.new("L", (48, 48), 9)])), GRAY),
    (encoded(Image.fromarray(GRAY), save_all=True, append_images=[Image.new("L", (48, 48))]), GRAY),  # animated
    *((encoded(GRAY, form), GRAY) for form in ("GIF", "TIFF", "BMP", "PPM")),
    (encoded(GRAY, "WEBP", lossless=True), GRAY),
    (encoded(Image.fromarray(GRAY), "GIF", save_all=True, append_images=[Image.new("L", (48, 48))]), GRAY),
    (encoded(GRAY, exif=turned(9)), GRAY),
    (encoded(GRAY, exif=turned(0)), GRAY),
    (encoded(GRAY, icc_profile=b"none"), GRAY),
    (encoded(GRAY) + b"more", GRAY),
    (encoded(np.full((1, 1), 5, np.uint8)), np.full((48, 48), 5)),
    (encoded(np.full((1, 5000), 5, np.uint8)), np.full((48, 48), 5)),
    (encoded(Image.new("CMYK", (60, 40)), "JPEG"), np.full((48, 48), 255)),
    (encoded(Image.new("RGB", (99, 99), (200, 200, 200)), "JPEG", progressive=True), np.full((48, 48), 200)),
    (encoded(Image.new("RGB", (99, 99), (7, 7, 7)), "MPO", save_all=True), np.full((48, 48), 7)),
    (encoded(np.full((64, 64), 90, np.uint8), "HEIF"), np.full((48, 48), 90)),
    (palette(bytes(range(16))), None), (palette(b"\0"), None),
])  # fmt: skip
def test_unusual_pictures_are_read(content, expected, place):
    read = read_picture(place, content)
    assert read is not None
    assert expected is None or np.array_equal(read, expected)


@pytest.mark.parametrize("content", [
    *(b"", b"\x89PNG", b"\xff\xd8", b"\xff\xd8\xff\xe0", b"GIF89a", b"\0" * 3000, b"<svg/>", b"emotion,pixels,Usage\n"),
    *(encoded(GRAY, form) for form in ("ICO", "TGA", "EPS")),
    encoded(GRAY.astype(np.float32) / 255, "TIFF"), encoded(GRAY.astype(np.int32) << 16, "TIFF"),
    *(encoded(COLOR)[:-cut] for cut in (13, 100, 5000)), *(encoded(COLOR, "JPEG")[:-cut] for cut in (300, 900)),
    *(encoded(COLOR, "HEIF")[:-cut] for cut in (1, 900)), b"\0\0\0\x18ftypheic", b"\0\0\0\x18ftypmp42" + b"\0" * 99,
    *(png(side, side) for side in (0, 48, 5000, 13_000, 50_000, 2**31 - 1)),
    *(png(width, height) for width, height in ((1, 2**30), (2**30, 1), (0, 48), (100_000, 20_000))),
    *(png(48, 48, depth, color) for depth, color in ((3, 0), (8, 1), (16, 3), (64, 2))),
    png(50_000, 50_000, 8, 0, bytes(100_000)), png(50_000, 50_000, 1, 0), encoded(GRAY)[8:], encoded(GRAY)[::-1],
    encoded(np.full((48, 48), -1, np.int32), "TIFF"),
    encoded(Image.new("L", (500, 500)), "JPEG").replace(b"\x01\xf4\x01\xf4", b"\xff\xff\xff\xff", 1),
])  # fmt: skip
def test_what_is_no_picture_or_not_whole_is_refused(content, place):
    assert read_picture(place, content) is None


PICTURES = [
    *(encoded(COLOR, form, exif=turned(6)) for form in ("PNG", "JPEG", "MPO")),
    *(encoded(Image.fromarray(COLOR).convert(mode)) for mode in ("L", "LA", "RGBA", "1")),
    *(encoded(Image.fromarray(COLOR).convert(mode), "JPEG") for mode in ("L", "CMYK")),
    encoded(COLOR, "JPEG", progressive=True), encoded(GRAY.astype(np.uint16) * 9), palette(bytes(range(16))),
    encoded(COLOR, "HEIF"),
]  # fmt: skip


@examples(150)
@given(st.sampled_from(PICTURES).flatmap(lambda whole: st.tuples(st.just(whole), flips(whole))), st.booleans())
def test_a_changed_picture_is_refused_or_read_and_a_png_only_as_it_was(place, contents, checksums):
    whole, content = contents
    is_png = content[:4] == b"\x89PNG"
    read = read_picture(place, with_checksums(content) if is_png and checksums else content)
    assert read is None or read.shape == (48, 48)
    if read is not None and is_png and not checksums:
        np.testing.assert_array_equal(read, read_picture(place, whole))


# Folders


def loop(path: Path) -> None:
    path.symlink_to(path)


ODD_FOLDERS: dict[
    str, tuple[Callable[[Path], object], bool]
] = {  # beside train/happy/a.png: what, and whether it is read
    "nothing more": (lambda root: None, True),
    "an empty class": (lambda root: (root / "train/sad").mkdir(), True),
    "an empty split": (lambda root: (root / "test").mkdir(), True),
    "other case": (lambda root: write_picture(root, encoded(GRAY), "TEST/Happy/b.PNG"), True),
    "one class twice": (lambda root: write_picture(root, encoded(GRAY), "train/Happiness/b.png"), True),
    "no suffix": (lambda root: write_picture(root, encoded(GRAY), "train/sad/b"), True),
    "another suffix": (lambda root: write_picture(root, encoded(GRAY, "JPEG"), "train/sad/b.gif"), True),
    "a name that is no text": (lambda root: write_picture(root, encoded(GRAY), "train/sad/\udcff\n.png"), True),
    "a long name": (lambda root: write_picture(root, encoded(GRAY), "train/sad/" + "n" * 250), True),
    "a hidden file": (lambda root: write_picture(root, b"", "train/happy/.DS_Store"), True),
    "a link to a picture": (lambda root: (root / "train/happy/b.png").symlink_to("a.png"), True),
    "a link to a class": (lambda root: (root / "train/sad").symlink_to("happy"), True),
    "a dangling link elsewhere": (lambda root: (root / "notes").symlink_to("gone"), True),
    "a link in a circle elsewhere": (lambda root: loop(root / "notes.csv"), True),
    "a link to itself above": (lambda root: (root / "up").symlink_to("."), True),
    "a pipe elsewhere": (lambda root: os.mkfifo(root / "pipe.csv"), True),
    "a foreign csv": (lambda root: write_picture(root, b"a,b\n", "more.csv"), True),
    "a class misspelt": (lambda root: write_picture(root, encoded(GRAY), "train/hapy/a.png"), False),
    "a class of one letter": (lambda root: (root / "train/h").mkdir(), False),
    "a class with a space": (lambda root: (root / "train/happy ").mkdir(), True),
    "a text beside the classes": (lambda root: write_picture(root, b"text", "train/README.md"), True),
    "a text in a class": (lambda root: write_picture(root, b"text", "train/happy/notes.txt"), True),
    "a folder of a synchronizer": (lambda root: (root / "train/happy/@eaDir").mkdir(), True),
    "an eighth class": (lambda root: write_picture(root, encoded(GRAY), "test/contempt/a.png"), False),
    "a file beside the classes": (lambda root: write_picture(root, encoded(GRAY), "train/a.png"), False),
    "a folder in a class": (lambda root: (root / "train/happy/more").mkdir(), False),
    "an empty file": (lambda root: write_picture(root, b"", "train/happy/b.png"), False),
    "a text": (lambda root: write_picture(root, b"text", "train/happy/b.png"), False),
    "a dangling link": (lambda root: (root / "train/happy/b.png").symlink_to("gone"), False),
    "a link in a circle": (lambda root: loop(root / "train/happy/b.png"), False),
    "a link to the top": (lambda root: (root / "train/happy/b").symlink_to(root), False),
    "a pipe": (lambda root: os.mkfifo(root / "train/happy/b.png"), False),
    "a pipe for a class": (lambda root: os.mkfifo(root / "train/sad"), False),
    "a damaged fer2013.csv": (lambda root: write_picture(root, b"", "fer2013.csv"), False),
}


@pytest.mark.parametrize("case", ODD_FOLDERS)
def test_a_folder_with_odd_things_in_it_is_read_or_refused_and_no_link_is_followed_for_ever(case, tmp_path):
    make, is_read = ODD_FOLDERS[case]
    make(write_picture(tmp_path, encoded(GRAY)))
    found = outcome(tmp_path)
    assert (found is not None) == is_read
    assert found is None or all(np.abs(image.astype(int) - GRAY).max() < 60 for image in found.pixels)


def test_a_place_that_holds_nothing_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    loop(tmp_path / "circle")
    (tmp_path / "dangling").symlink_to("gone")
    (tmp_path / "empty/train/happy").mkdir(parents=True)
    (tmp_path / "bare/train").mkdir(parents=True)
    (tmp_path / "hidden/.train/happy").mkdir(parents=True)
    places = [
        "pipe",
        "circle",
        "dangling",
        "empty",
        "bare",
        "hidden",
        "gone",
        "empty/train/happy",
        "n" * 300,
        "a\0b",
        "",
    ]
    for name in [*places, "~nobody/x", "n/" * 3000, "/dev/null", "/dev/zero", "/proc/self/mem"]:
        assert outcome(tmp_path / name) is None, name


# Checkpoints


@pytest.fixture(scope="module")
def content() -> dict:
    network = CNN(channels=(2, 2, 2, 2, 2), hidden=4)
    return {
        "state_dict": network.state_dict(),
        "hyper_parameters": dict(network.hparams),
        "network": "fer_lightning.models.cnn.CNN",
        DATA_STATE: FERDataModule(draw(train=60, test=20)).state_dict(),
    }


@pytest.fixture(scope="module")
def files(content: dict, place: Path) -> dict[str, bytes]:
    """A whole checkpoint in either form."""
    torch.save(content, place / "whole.ckpt")
    write_weights(content, place / "whole.safetensors")
    return {form: (place / f"whole.{form}").read_bytes() for form in ("ckpt", "safetensors")}


def everything(classifier: Classifier) -> dict[str, object]:
    tensors = classifier.model.state_dict() | {"digests": classifier.data["training_digests"]}
    rest = {key: value for key, value in classifier.data.items() if key != "training_digests"}
    return {"rest": rest | dict(classifier.model.hparams)} | {name: t.tolist() for name, t in tensors.items()}


def load_bytes(place: Path, form: str, content: bytes) -> dict[str, object] | None:
    (place / f"w.{form}").write_bytes(content)
    found = outcome(place / f"w.{form}", load)
    return None if found is None else everything(found)


@pytest.mark.parametrize("form", ["ckpt", "safetensors"])
def test_a_checkpoint_cut_off_anywhere_is_refused(form, files, place):
    whole = files[form]
    assert load_bytes(place, form, whole) is not None
    for size in [*range(40), *range(40, len(whole), len(whole) // 40), *range(len(whole) - 30, len(whole))]:
        assert load_bytes(place, form, whole[:size]) is None, size
    other = {"ckpt": "safetensors", "safetensors": "ckpt"}[form]
    assert load_bytes(place, other, whole) is None


@examples(120)
@given(st.data(), st.sampled_from(["ckpt", "safetensors"]))
def test_a_changed_checkpoint_is_refused_or_read_as_it_was(files, place, data, form):
    read = load_bytes(place, form, data.draw(flips(files[form], 1)))
    assert read is None or read == load_bytes(place, form, files[form])


def test_a_part_marked_as_a_folder_is_refused(files, place):
    """Torch takes what was in the memory for its content."""
    at = files["ckpt"].index(b"PK\1\2")
    marked = bytearray(files["ckpt"])
    marked[at + 38] = 16
    assert load_bytes(place, "ckpt", bytes(marked)) is None


def change(content: dict, part: str, **values: object) -> dict:
    return deepcopy(content) | {part: content[part] | values}


def test_contents_that_make_no_network_of_ours_are_refused(content, place):
    tensors = content["state_dict"]
    laughs: list = [1]
    for _ in range(60):
        laughs = [laughs] * 3
    cases = {
        **{
            f"hidden {i}": change(content, "hyper_parameters", hidden=value)
            for i, value in enumerate((0, -1, 5, 10**6, 10**12, 10**400, 1.5, "4", None, [4], laughs, True))
        },
        **{
            f"channels {i}": change(content, "hyper_parameters", channels=value)
            for i, value in enumerate(
                ([], [2] * 4, [2] * 6, [10**5] * 5, [0] * 5, 2, "22222", laughs, [laughs] * 5, [[2]] * 5)
            )
        },
        "an argument more": change(content, "hyper_parameters", more=1),
        **{
            f"tensors {name}": content | {"state_dict": {key: of(tensor) for key, tensor in tensors.items()}}
            for name, of in {
                "int64": torch.Tensor.long,
                "complex": lambda t: t.to(torch.complex64),
                "bool": torch.Tensor.bool,
                "without place": lambda t: t.to("meta"),
                "NaN": lambda t: t * math.nan if t.is_floating_point() else t,
                "infinite": lambda t: t + math.inf if t.is_floating_point() else t,
                "sparse": lambda t: t.to_sparse() if t.ndim else t,
                "flat": torch.flatten,
                "endless": lambda t: t.flatten()[:1].expand(10**9),
                "text": str,
            }.items()
        },
        "no tensors": content | {"state_dict": {}},
        "a tensor more": change(content, "state_dict", more=torch.zeros(1)),
        "a number for a name": content | {"state_dict": {1: torch.zeros(1)}},
        "another class order": change(content, DATA_STATE, classes=content[DATA_STATE]["classes"][::-1]),
        "six classes": change(content, DATA_STATE, classes=content[DATA_STATE]["classes"][:6]),
        **{f"mean {mean}": change(content, DATA_STATE, mean=mean) for mean in (-1.0, 127.5, math.inf, math.nan)},
        **{f"std {std}": change(content, DATA_STATE, std=std) for std in (0.0, -1.0, 58.0, math.inf)},
        **{
            f"digests {name}": change(content, DATA_STATE, training_digests=digests)
            for name, digests in {
                "float": torch.zeros(3),
                "int32": torch.zeros(3).int(),
                "2d": torch.zeros(3, 3).long(),
                "sparse": torch.zeros(3).long().to_sparse(),
                "without place": torch.zeros(3, device="meta").long(),
            }.items()
        },
        **{
            f"network {name!r:.40}": content | {"network": name}
            for name in (
                *("fer_lightning.models.dnn.DNN", "fer_lightning.models.resnet.ResNet18", "os.system"),
                *("fer_lightning.models.\0.X", "fer_lightning.models.\ud800.X", f"fer_lightning.models.{'a' * 9999}.X"),
                *("fer_lightning.models...X", ".", "CNN", "fer_lightning.models.cnn\n.CNN", "__main__.CNN"),
            )
        },
        "code": content | {"more": Planted()},
        "code in the data": content | {DATA_STATE: Planted()},
        "of another project": {"state_dict": tensors, "epoch": 3, "pytorch-lightning_version": "2.6.6"},
        "a state_dict": dict(tensors),
        "a tensor": torch.zeros(3),
        "a whole network": torch.nn.Linear(2, 2),
    }  # fmt: skip
    for name, case in cases.items():
        torch.save(case, place / "c.ckpt")
        assert outcome(place / "c.ckpt", load) is None, name
    for name, raw in {
        "a pickle": pickle.dumps(Planted()),
        "a text": b"emotion,pixels,Usage\n",
        "an empty zip": archive({}),
        "a foreign zip": archive({"a/data.pkl": pickle.dumps({"a": 1}), "a/version": b"3\n"}),
        "code in a zip": archive(
            {"a/data.pkl": pickle.dumps(Planted()), "a/version": b"3\n", "a/byteorder": b"little"}
        ),
    }.items():
        (place / "c.ckpt").write_bytes(raw)
        assert outcome(place / "c.ckpt", load) is None, name
    torch.save(content, place / "old.ckpt", _use_new_zipfile_serialization=False)  # without checksums
    assert outcome(place / "old.ckpt", load) is None
    assert not Path("RAN").exists()


def header(entries: object, size: int | None = None, body: bytes = bytes(64)) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return (len(text) if size is None else size).to_bytes(8, "little") + text + body


def test_a_safetensors_file_that_lies_is_refused(place):
    one = {"dtype": "F32", "shape": [16], "data_offsets": [0, 64]}
    cases = [
        *(header({"a": one}, size) for size in (0, 1, 10**8, 2**31, 2**62, 2**64 - 1)),
        *(header({"a": one | {"shape": to}}) for to in ([10**9], [2**62, 4], [-1], [], [0], [0, 2**62], ["16"], 16)),
        *(header({"a": one | {"data_offsets": at}}) for at in ([0, 10**9], [64, 0], [-64, 0], [1, 65], [0, 2**64])),
        *(header({"a": one | {"dtype": dtype}}) for dtype in ("F16", "F64", "F4", "F8_E4M3", "BOOL", "XX", None, 32)),
        header({"a": one, "b": one}), header({"a": one | {"shape": [8], "data_offsets": [0, 32]}}), header({}),
        *(header(text) for text in (b"", b"[", b"[" * 10**6, b"null", b'{"a":1,"a":2}', b"\xff", b"{}" + b" " * 10**6)),
        *(header({"__metadata__": about}) for about in ({}, [], {"fer_lightning": {}}, {"fer_lightning": 1}, "x")),
        *(
            header({"__metadata__": {"fer_lightning": about}, "a": one})
            for about in ("", "[", "[" * 10**5, "null", "[]", '{"a": 1e999}', "NaN", f'{{"a": {"1" * 5000}}}', "{}")
        ),
    ]  # fmt: skip
    for case in cases:
        (place / "lies.safetensors").write_bytes(case)
        assert outcome(place / "lies.safetensors", load) is None, case[:200]


def test_a_path_that_is_no_checkpoint_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.ckpt")
    loop(tmp_path / "circle.ckpt")
    (tmp_path / "dangling.ckpt").symlink_to("gone")
    (tmp_path / "folder.ckpt").mkdir()
    (tmp_path / "run/checkpoints/best.ckpt").mkdir(parents=True)
    (tmp_path / "up").symlink_to(".")
    for name in (
        "pipe.ckpt",
        "circle.ckpt",
        "dangling.ckpt",
        "folder.ckpt",
        "run",
        "up",
        "gone",
        "n" * 300,
        "n/" * 3000,
    ):
        assert outcome(tmp_path / name, load) is None, name


# FER+ votes


@examples(60)
@given(flips((",".join(HEADER) + "\nTraining,a.png,0,10,0,0,0,0,0,0,0,0\n").encode()))
def test_changed_votes_are_refused_or_read(place, content):
    faces = faces_of(DRAWN[:1], 3)
    (place / "votes.csv").write_bytes(content)
    read = outcome(place / "votes.csv", lambda path: read_votes(path, faces))
    assert read is None or read.shape == (1, 10)


# What would take a machine down, in a process of its own


def test_bombs_pipes_and_what_may_not_be_read_cost_neither_memory_nor_time():
    output, theirs = SERVER.Pipe(duplex=False)
    process = SERVER.Process(target=bombs.main, args=(theirs,))
    process.start()
    theirs.close()
    cases = output.recv()
    process.join()
    assert len(cases) >= 20
    for name, right, ended, seconds, gigabytes in cases:
        assert ended == right, name
        assert seconds < 10, name
        assert gigabytes < 2, name


# At the commands' edges


def assert_refused(ended: object, path: Path) -> None:
    said = ended.err.splitlines()
    assert ended.status == 2, ended
    assert said[0].startswith("fer_lightning: ")
    assert all(line.startswith("  ") for line in said[1:])
    assert str(path) in ended.err
    assert "Traceback" not in ended.err


def test_commands_end_with_one_message_and_status_2(cli, content, tmp_path):
    bad_csv, bad_npz, bad_folder = tmp_path / "a.csv", tmp_path / "a.npz", tmp_path / "folder"
    bad_csv.write_bytes(REFUSED["value '256'"](SHEETS["fer2013"][0]))
    bad_npz.write_bytes(archive(MEMBERS | {"pixels.npy": b"no array"}))
    write_picture(bad_folder, png(50_000, 50_000))
    for path in (bad_csv, bad_npz, bad_folder):
        assert_refused(cli("model=dnn", "logger=none", f"data.root={path}", "hydra.run.dir=run"), path)
        assert_refused(run_command(audit, path), path)
    torch.save(content | {"more": Planted()}, tmp_path / "code.ckpt")
    torch.save(change(content, "hyper_parameters", hidden=10**9), tmp_path / "wide.ckpt")
    for name in ("code.ckpt", "wide.ckpt", "gone.ckpt", "n" * 300):
        assert_refused(run_command(evaluate, tmp_path / name), tmp_path / name)
    assert not Path("RAN").exists()
