"""The cache gives what reading would give, whatever happened to the source, to the entry or at the same time."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from fer_lightning.data import cache, fer2013
from fer_lightning.data.faces import Faces, digest
from fer_lightning.errors import UserError


@pytest.fixture(autouse=True)
def slept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """An empty cache, and the seconds that it waited for before it read."""
    seconds: list[float] = []
    monkeypatch.setenv("FER_LIGHTNING_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cache, "time", SimpleNamespace(sleep=seconds.append, time=time.time))
    return seconds


class Source:
    """Files whose bytes are the gray levels of faces; counts how often they are read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reads = 0
        folder.mkdir(exist_ok=True)
        (folder / "a").write_bytes(bytes([1, 2, 3]))
        (folder / "b").write_bytes(bytes([4]))

    def scan(self) -> cache.Stats:
        return {entry.path: entry.stat() for entry in os.scandir(self.folder)}

    def read(self) -> Faces:
        self.reads += 1
        levels = np.frombuffer(b"".join(path.read_bytes() for path in sorted(self.folder.iterdir())), np.uint8)
        pixels = np.tile(levels[:, None, None], (1, 48, 48))
        rows = np.arange(len(levels))
        labels, usage = (rows % 7).astype(np.int8), (rows % 3).astype(np.uint8)
        names = np.array([f"é\n{level}" for level in levels])
        return Faces(pixels, labels, usage, rows, digest(pixels), names, "here \udcff", "form")

    def load(self) -> list[int]:
        """The gray levels of the faces that the cache gives."""
        faces = cache.load(self.folder, self.scan, self.read)
        np.testing.assert_array_equal(faces.digests, digest(faces.pixels))
        return faces.pixels[:, 0, 0].tolist()


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "source")


def entries() -> list[Path]:
    """What stands in the folders of all sources."""
    return list(cache.folder().glob("*/*"))


def test_what_was_read_once_is_given_again_and_not_read(source):
    first, second = (cache.load(source.folder, source.scan, source.read) for _ in range(2))
    assert source.reads == 1
    assert vars(second).keys() == vars(first).keys()
    for name, value in vars(first).items():
        np.testing.assert_array_equal(getattr(second, name), value)
        assert getattr(getattr(second, name), "dtype", None) == getattr(value, "dtype", None)
    assert type(second.source) is str
    assert isinstance(second.pixels, np.memmap)
    assert not first.pixels.flags.writeable
    assert not second.pixels.flags.writeable


def test_no_names_stay_no_names(source):
    def read() -> Faces:
        return Faces(**vars(source.read()) | {"names": None})

    assert [cache.load(source.folder, source.scan, read).names for _ in range(2)] == [None, None]
    assert source.reads == 1


def edit_in_place(folder: Path) -> None:
    (folder / "a").write_bytes(bytes([1, 9, 3]))


def edit_and_restore_mtime(folder: Path) -> None:
    before = os.stat(folder / "a")
    edit_in_place(folder)
    os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))


def rename_over(folder: Path) -> None:
    (folder.parent / "new").write_bytes(bytes([1, 9, 3]))
    os.replace(folder.parent / "new", folder / "a")


def append(folder: Path) -> None:
    with open(folder / "b", "ab") as file:
        file.write(bytes([5]))


CHANGES = {  # and the gray levels after it
    edit_in_place: [1, 9, 3, 4],
    edit_and_restore_mtime: [1, 9, 3, 4],
    rename_over: [1, 9, 3, 4],
    append: [1, 2, 3, 4, 5],
    lambda folder: (folder / "c").write_bytes(bytes([5])): [1, 2, 3, 4, 5],
    lambda folder: (folder / "b").unlink(): [1, 2, 3],
    lambda folder: (folder / "b").rename(folder / "0"): [4, 1, 2, 3],
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_never_hidden_and_replaces_the_entry(change, source, slept, monkeypatch):
    monkeypatch.setattr(cache.time, "sleep", time.sleep)
    faces = cache.load(source.folder, source.scan, source.read)
    assert source.load() == [1, 2, 3, 4]
    change(source.folder)
    assert source.load() == CHANGES[change]
    assert source.load() == CHANGES[change]
    assert source.reads == 2
    assert len(entries()) == 1
    assert faces.pixels[:, 0, 0].tolist() == [1, 2, 3, 4]  # which a run may still be using


@pytest.mark.parametrize(("stamp", "seconds"), [(1_700_000_000_123_456_789, 0.03), (1_700_000_000_120_000_000, 2)])
def test_reading_begins_when_no_write_can_leave_the_time_stamps(stamp, seconds, source, slept, monkeypatch):
    """Two writes within one tick bear the same stamps; until it ends, the source is changed, and the change read."""

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        edit_in_place(source.folder)

    monkeypatch.setattr(cache.time, "sleep", sleep)
    stats = {
        path: SimpleNamespace(st_size=s.st_size, st_mtime_ns=stamp, st_ctime_ns=stamp, st_ino=1)
        for path, s in source.scan().items()
    }
    source.scan = lambda: stats
    assert source.load() == [1, 9, 3, 4]
    assert source.load() == [1, 9, 3, 4]
    assert slept == [seconds]


def test_a_change_while_reading_is_an_error_and_not_cached(source, monkeypatch):
    read = source.read

    def changed_while_read() -> Faces:
        append(source.folder)
        return read()

    monkeypatch.setattr(source, "read", changed_while_read)
    with pytest.raises(UserError, match=f"{source.folder}: it changed while it was read"):
        source.load()
    assert not entries()


def test_a_failed_reading_caches_nothing_and_hides_the_old_entry(source, monkeypatch):
    source.load()
    append(source.folder)

    def fail() -> Faces:
        raise UserError("faulty")

    with monkeypatch.context() as patch:
        patch.setattr(source, "read", fail)
        for _ in range(2):
            with pytest.raises(UserError, match="faulty"):
                source.load()
    assert source.load() == [1, 2, 3, 4, 5]


def test_entries_of_another_reader_are_replaced(source, monkeypatch):
    source.load()
    monkeypatch.setattr(cache, "READER_VERSION", cache.READER_VERSION + 1)
    source.load()
    assert source.reads == 2
    assert len(entries()) == 1


def test_a_damaged_entry_is_made_anew(source):
    source.load()
    names = sorted(path.name for path in entries()[0].iterdir())
    assert len(names) == 10  # the fields of Faces and the checksum
    for name in names:
        path = entries()[0] / name
        whole = path.read_bytes()
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
        for content in (b"", b"\0" * len(whole), whole[:-1], whole + b"\0", whole[:middle], flipped, None):
            path.unlink()
            if content is not None:
                path.write_bytes(content)
            before = source.reads
            assert source.load() == [1, 2, 3, 4]
            assert source.load() == [1, 2, 3, 4]
            assert source.reads == before + 1


def test_a_folder_that_cannot_be_written_costs_one_warning(source, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert source.load() == [1, 2, 3, 4]
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert str(source.folder) in record.getMessage()
    assert "FER_LIGHTNING_CACHE" in record.getMessage()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_what_ends_the_writing_leaves_nothing_behind(error, source, monkeypatch, caplog):
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(cache.np, "save", fail)
    if isinstance(error, OSError):
        assert source.load() == [1, 2, 3, 4]
        assert "No space left on device" in caplog.text
    else:
        with pytest.raises(KeyboardInterrupt):
            source.load()
    assert not entries()


def test_what_a_killed_process_left_is_taken_for_nothing_and_removed_in_time(source):
    code = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); from test_cache import Path, Source;"
        "Path.rename = lambda *_: os.kill(os.getpid(), 9); Source(Path(sys.argv[2])).load()"
    )
    command = [sys.executable, "-c", code, Path(__file__).parent, source.folder]
    assert subprocess.run(command, cwd=Path(__file__).parents[2], check=False).returncode == -9
    (left,) = entries()
    assert len(list(left.glob("*/*"))) == 10  # whole but for its place
    assert source.load() == [1, 2, 3, 4]
    assert source.reads == 1
    assert len(entries()) == 2  # the other process might still be writing
    os.utime(left, (0, 0))
    append(source.folder)
    source.load()
    assert len(entries()) == 1
    assert not left.exists()


def test_sources_of_the_same_long_name_have_their_own_entries(tmp_path):
    (tmp_path / "other").mkdir()
    one, other = Source(tmp_path / ("x" * 250)), Source(tmp_path / "other" / ("x" * 250))
    append(other.folder)
    for _ in range(2):
        assert (one.load(), other.load()) == ([1, 2, 3, 4], [1, 2, 3, 4, 5])
    assert (one.reads, other.reads) == (1, 1)


def test_the_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("FER_LIGHTNING_CACHE", "~/own")
    assert cache.folder() == tmp_path / "own"
    monkeypatch.delenv("FER_LIGHTNING_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.folder() == tmp_path / "xdg" / "fer_lightning"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache.folder() == tmp_path / ".cache" / "fer_lightning"


def test_processes_at_once_all_read_the_same(tmp_path):
    """Each of them finds no entry, or a damaged one, or one that another is just replacing."""
    line = "3," + " ".join(["7"] * 2304) + ",Training\n"
    path = tmp_path / "fer2013.csv"
    path.write_text("emotion,pixels,Usage\n" + line * 300)
    code = f"""if True:
        from fer_lightning.data import cache, fer2013
        for turn in range(30):
            print(fer2013.load({str(path)!r}).pixels.sum())
            if turn % 3 == 0:
                for checksum in cache.folder().glob("*/*/crc32"):
                    checksum.unlink(missing_ok=True)
    """
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        for _ in range(3)
    ]
    assert [process.communicate()[0].decode() for process in processes] == [f"{7 * 2304 * 300}\n" * 30] * 3
    assert len(entries()) == 1


def test_all_files_that_are_read_or_chosen_from_are_watched(tmp_path):
    row = " ".join(["7"] * 2304)

    def write(name: str, header: str, line: str, rows: int) -> None:
        (tmp_path / name).write_text("\n".join([header, *[line] * rows, ""]))

    write("train.csv", "label,feature", f"3,{row}", 1)
    assert len(fer2013.load(tmp_path)) == 1
    write("test.csv", "id,feature", f"0,{row}", 1)  # which belongs to it
    assert len(fer2013.load(tmp_path)) == 2
    write("more.csv", "emotion,pixels", f"3,{row}", 2)  # which is chosen, then no more
    assert fer2013.load(tmp_path).source == str(tmp_path / "more.csv")
    write("train.csv", "label,feature", f"3,{row}", 3)
    assert fer2013.load(tmp_path).source == str(tmp_path / "train.csv")
    (tmp_path / "test.csv").unlink()
    assert len(fer2013.load(tmp_path)) == 3
