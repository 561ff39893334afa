"""The cache gives what reading would give, whatever happened to the source, to the entry or at the same time."""

import os
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fer_lightning.data import cache, fer2013, form
from fer_lightning.data.faces import Faces, digest
from fer_lightning.errors import UserError

HERE = Path(__file__).parent


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_LIGHTNING_CACHE", str(tmp_path / "cache"))


class Levels(form.Source):
    """Files whose bytes are the gray levels of faces; counts how often they are read."""

    def __init__(self, folder: Path) -> None:
        self.path, self.reads = folder, 0
        folder.mkdir(exist_ok=True)
        self.write("a", 1, 2, 3)
        self.write("b", 4)

    def write(self, name: str, *levels: int) -> None:
        (self.path / name).write_bytes(bytes(levels))

    def files(self) -> list[Path]:
        return list(self.path.iterdir())

    def read(self) -> Faces:
        self.reads += 1
        levels = np.frombuffer(b"".join(path.read_bytes() for path in sorted(self.path.iterdir())), np.uint8)
        pixels = np.tile(levels[:, None, None], (1, 48, 48))
        rows, names = np.arange(len(levels)), np.array([f"é\n{level}" for level in levels])
        labels, usage = (rows % 7).astype(np.int8), (rows % 3).astype(np.uint8)
        return Faces(pixels, labels, usage, rows, digest(pixels), names, "here \udcff", "form")

    def load(self) -> list[int]:
        """The gray levels of the faces that the cache gives."""
        faces = cache.load(self)
        np.testing.assert_array_equal(faces.digests, digest(faces.pixels))
        return faces.pixels[:, 0, 0].tolist()


@pytest.fixture
def source(tmp_path: Path) -> Levels:
    return Levels(tmp_path / "source")


def entries() -> list[Path]:
    """What stands in the folders of all sources."""
    return list(cache.folder().glob("*/*"))


@pytest.mark.parametrize("changed", [{}, {"names": None}])
def test_what_was_read_once_is_given_again_and_not_read(changed, source, monkeypatch):
    read = source.read
    monkeypatch.setattr(source, "read", lambda: Faces(**vars(read()) | changed))
    first, second = (cache.load(source) for _ in range(2))
    assert source.reads == 1
    for name, value in vars(first).items():
        np.testing.assert_array_equal(getattr(second, name), value)
        assert getattr(getattr(second, name), "dtype", type(value)) == getattr(value, "dtype", type(value))
    assert isinstance(second.pixels, np.memmap)
    assert not first.pixels.flags.writeable
    assert not second.pixels.flags.writeable


def test_reading_many_files_is_told_once(source, monkeypatch, capsys):
    monkeypatch.setattr(cache, "MANY", 1)
    assert source.load() == source.load()
    assert capsys.readouterr().err == f"reading 2 files of {source.path} …\n"


def edit_and_restore_mtime(source: Levels) -> None:
    before = os.stat(source.path / "a")
    source.write("a", 1, 9, 3)
    os.utime(source.path / "a", ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize(("change", "levels"), [
    (edit_and_restore_mtime, [1, 9, 3, 4]),
    (lambda source: source.write("c", 5), [1, 2, 3, 4, 5]),
    (lambda source: (source.path / "b").unlink(), [1, 2, 3]),
    (lambda source: (source.path / "b").rename(source.path / "0"), [4, 1, 2, 3]),
])  # fmt: skip
def test_a_change_is_never_hidden_and_replaces_the_entry(change, levels, source):
    source.load()
    before = cache.load(source)
    change(source)
    assert source.load() == source.load() == levels
    assert source.reads == 2
    assert len(entries()) == 1
    assert before.pixels[:, 0, 0].tolist() == [1, 2, 3, 4]  # which a run may still be using


@pytest.mark.parametrize(("stamp", "seconds"), [(1_700_000_000_123_456_789, 0.03), (1_700_000_000_120_000_000, 2)])
def test_reading_begins_when_no_write_can_leave_the_time_stamps(stamp, seconds, source, monkeypatch):
    """Two writes within one tick bear the same stamps; until it ends, the source is changed, and the change read."""
    stats = {path: SimpleNamespace(st_size=1, st_mtime_ns=1, st_ctime_ns=stamp, st_ino=1) for path in source.scan()}
    slept = []
    sleep = lambda seconds: (slept.append(seconds), source.write("a", 1, 9, 3))  # noqa: E731
    monkeypatch.setattr(cache, "time", SimpleNamespace(sleep=sleep, time=time.time))
    monkeypatch.setattr(source, "scan", lambda: stats)
    assert source.load() == source.load() == [1, 9, 3, 4]
    assert slept == [seconds]


def test_a_change_while_reading_is_an_error_and_leaves_no_entry_that_is_used(source, monkeypatch):
    source.load()
    source.write("b", 4, 9)
    read = source.read

    def changing() -> Faces:
        source.write("b", 4, source.reads)
        return read()

    with monkeypatch.context() as patch:
        patch.setattr(source, "read", changing)
        for _ in range(2):
            with pytest.raises(UserError, match=f"{source.path}: it changed while it was read"):
                cache.load(source)
    assert source.load() == [1, 2, 3, 4, 2]


def test_entries_of_another_reader_are_replaced(source, monkeypatch):
    source.load()
    monkeypatch.setattr(cache, "READER_VERSION", cache.READER_VERSION + 1)
    source.load()
    assert (source.reads, len(entries())) == (2, 1)


@pytest.mark.parametrize("name", ["crc32", "pixels.npy", "names.npy"])
def test_a_damaged_entry_is_made_anew(name, source):
    source.load()
    path = entries()[0] / name
    whole = path.read_bytes()
    flipped = whole[:-1] + bytes([whole[-1] ^ 1])
    for reads, content in enumerate([b"", bytes(len(whole)), whole[:-1], whole + b"\0", flipped, None], 2):
        path.unlink()
        if content is not None:
            path.write_bytes(content)
        assert source.load() == source.load() == [1, 2, 3, 4]
        assert source.reads == reads


def test_a_folder_that_cannot_be_written_is_none(source, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where the folder should be")
    for _ in range(2):
        assert source.load() == [1, 2, 3, 4]
    assert len(caplog.messages) == source.reads == 1
    source.write("b", 5)
    assert source.load() == [1, 2, 3, 5]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_ends_the_writing_leaves_nothing_behind_and_costs_at_most_a_warning(error, source, monkeypatch, caplog):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cache.np, "save", fail)
    with nullcontext() if isinstance(error, OSError) else pytest.raises(KeyboardInterrupt):
        assert source.load() == [1, 2, 3, 4]
        (message,) = caplog.messages
        assert f"{source.path} cannot be kept in the cache" in message
        assert "FER_LIGHTNING_CACHE" in message
    assert not entries()


def test_what_a_killed_process_left_is_taken_for_nothing_and_removed_in_time(source):
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from test_cache import Path, Levels;"
        "Path.rename = lambda *_: os.kill(os.getpid(), 9); Levels(Path(sys.argv[2])).load()"
    )
    command = [sys.executable, "-c", code, HERE, source.path]
    assert subprocess.run(command, cwd=HERE.parents[1], check=False).returncode == -9
    (left,) = entries()
    assert len(list(left.glob("*/*"))) == 12  # whole but for its place: the fields of Faces and the checksum
    assert source.load() == [1, 2, 3, 4]
    assert (source.reads, len(entries())) == (1, 2)  # the other process might still be writing
    os.utime(left, (0, 0))
    source.write("b", 5)
    source.load()
    assert len(entries()) == 1
    assert not left.exists()


def test_sources_of_the_same_long_name_have_their_own_entries(tmp_path):
    (tmp_path / "other").mkdir()
    one, other = Levels(tmp_path / ("x" * 250)), Levels(tmp_path / "other" / ("x" * 250))
    other.write("b", 5)
    for _ in range(2):
        assert (one.load(), other.load()) == ([1, 2, 3, 4], [1, 2, 3, 5])
    assert (one.reads, other.reads) == (1, 1)


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("FER_LIGHTNING_CACHE", "~/own")
    assert cache.folder() == tmp_path / "own"
    monkeypatch.delenv("FER_LIGHTNING_CACHE")
    assert cache.folder() == tmp_path / "xdg" / "fer_lightning"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder() == tmp_path / ".cache" / "fer_lightning"


@pytest.mark.slow
def test_processes_at_once_all_read_the_same(tmp_path):
    """Each of them finds no entry, or a damaged one, or one that another is just replacing."""
    path = tmp_path / "fer2013.csv"
    path.write_text("emotion,pixels,Usage\n" + ("3," + " ".join(["7"] * 2304) + ",Training\n") * 300)
    code = f"""if True:
        from fer_lightning.data import cache, fer2013
        for turn in range(15):
            print(fer2013.load({str(path)!r}).pixels.sum())
            if turn % 3 == 0:
                for checksum in cache.folder().glob("*/*/crc32"):
                    checksum.unlink(missing_ok=True)
    """
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    processes = [subprocess.Popen([sys.executable, "-c", code], cwd=HERE.parents[1], **pipes) for _ in range(3)]
    assert [process.communicate()[0].decode() for process in processes] == [f"{7 * 2304 * 300}\n" * 15] * 3
    assert len(entries()) == 1


def test_all_files_that_are_read_or_chosen_from_are_watched(tmp_path):
    def write(name: str, header: str, first: int, rows: int) -> None:
        (tmp_path / name).write_text("\n".join([header, *[f"{first},{' '.join(['7'] * 2304)}"] * rows, ""]))

    write("train.csv", "label,feature", 3, rows=1)
    assert len(fer2013.load(tmp_path)) == 1
    write("test.csv", "id,feature", 0, rows=1)  # which belongs to it
    assert len(fer2013.load(tmp_path)) == 2
    write("more.csv", "emotion,pixels", 3, rows=2)  # which is chosen, then no more
    assert fer2013.load(tmp_path).source == str(tmp_path / "more.csv")
    write("train.csv", "label,feature", 3, rows=3)
    assert fer2013.load(tmp_path).source == str(tmp_path / "train.csv")
    (tmp_path / "test.csv").unlink()
    assert len(fer2013.load(tmp_path)) == 3
