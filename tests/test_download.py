"""FER2013 from Kaggle, with a module in kagglehub's place: Kaggle itself can't be reached here."""

import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from commands import run_command
from PIL import Image

from fer_lightning import download
from fer_lightning.data import fer2013
from fer_lightning.data.faces import CLASSES, USAGES, Faces, fingerprint


@pytest.fixture
def known(few_faces, monkeypatch) -> Faces:
    """The built-in faces, as if they were FER2013."""
    counts = {
        usage: np.bincount(few_faces.labels[few_faces.usage == code], minlength=7)
        for code, usage in enumerate(USAGES[:3])
    }
    monkeypatch.setattr(download, "COUNTS", counts)
    monkeypatch.setattr(download, "FINGERPRINT", fingerprint(few_faces, np.flatnonzero(few_faces.usage != 2)))
    return few_faces


def write_csv(faces: Faces, folder: Path) -> None:
    rows = ["emotion,pixels,Usage"]
    rows += [
        f"{label},{' '.join(map(str, pixels.ravel().tolist()))},{USAGES[usage]}"
        for label, pixels, usage in zip(faces.labels, faces.pixels, faces.usage, strict=True)
    ]
    (folder / "fer2013.csv").write_text("\n".join(rows) + "\n")


def write_images(faces: Faces, folder: Path) -> None:
    for index, (label, usage) in enumerate(zip(faces.labels, faces.usage, strict=True)):
        place = folder / ("test" if usage else "train") / CLASSES[label]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(faces.pixels[index]).save(place / f"{USAGES[usage]}_{index}.jpg", quality=80)


def kaggle(monkeypatch: pytest.MonkeyPatch, get: Callable[..., object]) -> None:
    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(dataset_download=get, competition_download=get))


def gives(write: Callable[[Faces, Path], None], faces: Faces, asked: list) -> Callable[..., str]:
    def get(name: str, path: str | None, *, output_dir: str) -> str:
        asked.append((name, path))
        write(faces, Path(output_dir))
        (Path(output_dir) / ".complete").mkdir()
        return output_dir if path is None else f"{output_dir}/{path}"

    return get


@pytest.mark.parametrize(
    ("source", "write", "wanted", "pixels"),
    [
        ("csv", write_csv, ("deadskull7/fer2013", "fer2013.csv"), "the pixels are those"),
        ("images", write_images, ("msambare/fer2013", None), "the pixels are not exactly those"),
    ],
)
def test_what_comes_is_compared_and_stands_where_a_run_looks(known, monkeypatch, source, write, wanted, pixels):
    asked: list = []
    kaggle(monkeypatch, gives(write, known, asked))
    ended = run_command(download.main, "--from", source)
    assert (ended.status, ended.err, asked) == (0, "", [wanted])
    assert pixels in ended.out
    assert ended.out.endswith("next: python -m fer_lightning model=dnn\n")
    assert len(fer2013.load(fer2013.find())) == len(known)
    assert [path.name for path in Path("data").iterdir()] == ["fer2013"]
    assert not (Path("data") / "fer2013" / ".complete").exists()

    monkeypatch.setenv("FER2013_ROOT", "elsewhere")
    ended = run_command(download.main)  # once more
    assert (ended.status, len(asked)) == (0, 1)
    assert "data holds FER2013 already; nothing was downloaded" in ended.out
    assert ended.out.endswith("next: python -m fer_lightning model=dnn data.root=data\n")


def test_on_kaggle_it_stands_there_already_and_is_copied(known, monkeypatch, tmp_path):
    (tmp_path / "input").mkdir()
    write_csv(known, tmp_path / "input")
    kaggle(monkeypatch, lambda *_, **__: str(tmp_path / "input" / "fer2013.csv"))
    assert run_command(download.main, "--to", "faces").status == 0
    assert (tmp_path / "input" / "fer2013.csv").is_file()
    assert len(fer2013.load("faces")) == len(known)


def test_what_is_not_fer2013_does_not_stay_and_what_is_there_does(few_faces, monkeypatch):
    asked: list = []
    kaggle(monkeypatch, gives(write_csv, few_faces, asked))
    ended = run_command(download.main)
    assert ended.status == 1
    assert "is not FER2013, and was removed: Training: 400 images, FER2013 has 28,709; PublicTest" in ended.err
    assert not list(Path("data").iterdir())
    write_csv(few_faces, Path("data"))
    before = (Path("data") / "fer2013.csv").stat()
    ended = run_command(download.main)
    assert (ended.status, len(asked)) == (2, 1)
    assert "data: it holds other images already" in ended.err
    assert (Path("data") / "fer2013.csv").stat() == before
    Path("other/fer2013").mkdir(parents=True)
    (Path("other") / "fer2013" / "notes.txt").touch()
    assert run_command(download.main, "--to", "other").status == 2


class UnauthenticatedError(Exception):
    pass


class Refused(OSError):  # as requests' errors are
    def __init__(self, status: int | None = None) -> None:
        super().__init__(f"{status} Client Error.\n\nand more")
        self.response = status and SimpleNamespace(status_code=status)


@pytest.mark.parametrize(
    ("source", "error", "status", "said"),
    [
        (
            "csv",
            Refused(),
            1,
            "did not come (Refused: None Client Error. and more). It wants a network, and a token of",
        ),
        ("csv", Refused(404), 1, "access_token. Otherwise: --from images or --from competition; or by hand"),
        ("csv", Refused(401), 2, "a token of https://www.kaggle.com/settings/api in the environment"),
        ("csv", ValueError("Invalid Kaggle credentials file at x"), 2, "(ValueError: Invalid Kaggle credentials file"),
        ("competition", UnauthenticatedError(), 2, "recognition-challenge/rules. Otherwise: --from csv"),
        ("csv", OSError(28, "No space left on device"), 1, "No space left on device; free some space"),
        ("csv", RuntimeError("half an archive"), 1, "(RuntimeError: half an archive)"),
    ],
)
def test_what_goes_wrong_is_one_message_and_leaves_nothing(monkeypatch, source, error, status, said):
    def get(*_: object, output_dir: str, **__: object) -> str:
        (Path(output_dir) / "part").write_text("half")
        raise error

    kaggle(monkeypatch, get)
    ended = run_command(download.main, "--from", source)
    assert ended.status == status
    assert said in ended.err
    assert ended.err.count("\n") == 1
    assert not Path("data").exists()


def test_without_kagglehub_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    ended = run_command(download.main)
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "kagglehub is not installed: pip install -e '.[data]'" in ended.err


def test_the_counts_and_pixels_are_those_of_the_real_rows(real_faces):
    assert download.differences(real_faces) == "PrivateTest: 0 images, FER2013 has 3,589"
    assert "the pixels are those" in download.described(real_faces)
    assert [sum(counts) for counts in download.COUNTS.values()] == [28_709, 3_589, 3_589]
