"""The cache gives what reading would give, whatever happened to the source, to the entry or at the same time."""

import logging
import mmap
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest

from fer_lightning.data import cache, fer2013
from fer_lightning.data.faces import Faces, digest
from fer_lightning.errors import UserError


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FER_LIGHTNING_CACHE", str(tmp_path / "cache"))


class Source:
    """Files whose bytes are the gray levels of faces; counts how often they are read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reads = 0
        folder.mkdir()
        (folder / "a").write_bytes(bytes([1, 2, 3]))
        (folder / "b").write_bytes(bytes([4]))

    def scan(self) -> cache.Stats:
        return {entry.path: entry.stat() for entry in os.scandir(self.folder)}

    def newest(self) -> int:
        """The youngest of all time stamps (ns)."""
        return max(max(stat.st_mtime_ns, stat.st_ctime_ns) for stat in self.scan().values())

    def read(self) -> Faces:
        self.reads += 1
        levels = np.frombuffer(b"".join(path.read_bytes() for path in sorted(self.folder.iterdir())), np.uint8)
        pixels = np.tile(levels[:, None, None], (1, 48, 48))
        rows = np.arange(len(levels))
        names = np.array([f"é\n{level}" for level in levels])
        return Faces(
            pixels, (rows % 7).astype(np.int8), (rows % 3).astype(np.uint8), rows, digest(pixels), names, "here", "form"
        )

    def load(self) -> list[int]:
        """The gray levels of the faces that the cache gives."""
        faces = cache.load(self.folder, self.scan, self.read)
        assert (faces.pixels == faces.pixels[:, :1, :1]).all()
        np.testing.assert_array_equal(faces.digests, digest(faces.pixels))
        return faces.pixels[:, 0, 0].tolist()


@pytest.fixture
def source(tmp_path: Path) -> Source:
    return Source(tmp_path / "source")


@pytest.fixture
def clock(source: Source, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Sets the clock to a number of seconds after the last change of the source."""

    def set_clock(seconds: float) -> None:
        now = source.newest() + int(seconds * 1e9)
        monkeypatch.setattr(cache.time, "time_ns", lambda: now)

    return set_clock


def entries() -> list[Path]:
    return list(cache.folder().iterdir())


def test_what_was_read_once_is_given_again_and_not_read(source):
    first = cache.load(source.folder, source.scan, source.read)
    second = cache.load(source.folder, source.scan, source.read)
    assert source.reads == 1
    for name in ("pixels", "labels", "usage", "rows", "digests", "names"):
        np.testing.assert_array_equal(getattr(second, name), getattr(first, name))
        assert getattr(second, name).dtype == getattr(first, name).dtype
    assert (second.source, second.form, second.synthetic) == ("here", "form", False)
    assert len(entries()) == 1


def test_pixels_are_mapped_and_read_only_from_the_first_start_on(source):
    first = cache.load(source.folder, source.scan, source.read)
    second = cache.load(source.folder, source.scan, source.read)
    assert not first.pixels.flags.writeable
    assert not second.pixels.flags.writeable
    base = second.pixels
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, memoryview | mmap.mmap)


def test_no_names_stay_no_names(source):
    def read() -> Faces:
        faces = source.read()
        return Faces(faces.pixels, faces.labels, faces.usage, faces.rows, faces.digests, None, "here", "form")

    assert cache.load(source.folder, source.scan, read).names is None
    assert cache.load(source.folder, source.scan, read).names is None
    assert source.reads == 1


def edit_in_place(folder: Path) -> None:
    (folder / "a").write_bytes(bytes([1, 9, 3]))


def edit_and_restore_mtime(folder: Path) -> None:
    before = os.stat(folder / "a")
    (folder / "a").write_bytes(bytes([1, 9, 3]))
    os.utime(folder / "a", ns=(before.st_atime_ns, before.st_mtime_ns))


def rename_over(folder: Path) -> None:
    (folder.parent / "new").write_bytes(bytes([1, 9, 3]))
    os.replace(folder.parent / "new", folder / "a")


def append(folder: Path) -> None:
    with open(folder / "b", "ab") as file:
        file.write(bytes([5]))


def add(folder: Path) -> None:
    (folder / "c").write_bytes(bytes([5]))


def remove(folder: Path) -> None:
    (folder / "b").unlink()


def rename(folder: Path) -> None:
    (folder / "b").rename(folder / "0")


CHANGES = {
    edit_in_place: [1, 9, 3, 4],
    edit_and_restore_mtime: [1, 9, 3, 4],
    rename_over: [1, 9, 3, 4],
    append: [1, 2, 3, 4, 5],
    add: [1, 2, 3, 4, 5],
    remove: [1, 2, 3],
    rename: [4, 1, 2, 3],
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("age", [0, 60])
def test_a_change_is_never_hidden_and_replaces_the_entry(change, age, source, clock):
    clock(age)
    assert source.load() == [1, 2, 3, 4]
    change(source.folder)
    assert source.load() == CHANGES[change]
    assert source.load() == CHANGES[change]
    assert source.reads == 2
    assert len(entries()) == 1


def stamped(stats: cache.Stats, stamp: int) -> dict[str, os.stat_result]:
    """The same, all time stamps being `stamp` (ns)."""
    return {
        path: cast(os.stat_result, SimpleNamespace(st_size=s.st_size, st_mtime_ns=stamp, st_ctime_ns=stamp, st_ino=1))
        for path, s in stats.items()
    }


@pytest.mark.parametrize(
    ("stamp", "age", "seen"),
    [
        (1_700_000_000_123_456_789, 0.02, True),
        (1_700_000_000_123_456_789, 0.5, False),  # later writes would have had other stamps
        (1_700_000_000_000_000_000, 0.02, True),
        (1_700_000_000_000_000_000, 1.9, True),
        (1_700_000_000_000_000_000, 2.1, False),
        (1_700_000_000_123_456_789, -5, True),  # the clock of a file server may be ahead
    ],
)
def test_a_change_that_leaves_the_time_stamps_is_seen_while_one_is_possible(stamp, age, seen, source, monkeypatch):
    """Stamps as coarse as their digits allow: two writes within one tick bear the same ones."""
    stats = stamped(source.scan(), stamp)
    source.scan = lambda: stats
    monkeypatch.setattr(cache.time, "time_ns", lambda: stamp + int(age * 1e9))
    assert source.load() == [1, 2, 3, 4]
    edit_in_place(source.folder)
    assert source.load() == ([1, 9, 3, 4] if seen else [1, 2, 3, 4])


def test_a_change_between_looking_and_reading_is_seen_next_time(source, clock):
    """It leaves the time stamps, too: the entry must not pass for that of the later content."""
    clock(0)
    stats = source.scan()
    read = source.read

    def read_then_changed() -> Faces:
        faces = read()
        edit_in_place(source.folder)
        return faces

    source.scan, source.read = lambda: stats, read_then_changed
    assert source.load() == [1, 2, 3, 4]
    assert source.load() == [1, 9, 3, 4]


def test_content_is_compared_until_time_stamps_suffice(source, clock):
    clock(0)
    source.load()
    made = entries()[0].stat().st_ino
    source.load()
    assert entries()[0].stat().st_ino == made  # the files are still recent: nothing to note down
    clock(60)
    source.load()  # compares contents for the last time
    stats = source.scan()
    for path in source.folder.iterdir():
        path.unlink()
    source.scan = lambda: stats
    assert source.load() == [1, 2, 3, 4]
    assert source.reads == 1
    assert len(entries()) == 1


def test_a_change_while_reading_is_an_error_and_not_cached(source):
    read = source.read

    def changed_while_read() -> Faces:
        append(source.folder)
        return read()

    source.read = changed_while_read
    with pytest.raises(UserError, match=f"{source.folder}: it changed while it was read"):
        source.load()
    assert not cache.folder().exists()
    source.read = read
    assert source.load() == [1, 2, 3, 4, 5]


def test_a_failed_reading_caches_nothing_and_hides_the_old_entry(source):
    source.load()
    append(source.folder)
    read = source.read

    def fail() -> Faces:
        raise UserError("faulty")

    source.read = fail
    for _ in range(2):
        with pytest.raises(UserError, match="faulty"):
            source.load()
    source.read = read
    assert source.load() == [1, 2, 3, 4, 5]


def test_entries_of_another_reader_are_replaced(source, monkeypatch):
    source.load()
    monkeypatch.setattr(cache, "READER_VERSION", cache.READER_VERSION + 1)
    source.load()
    assert source.reads == 2
    assert len(entries()) == 1


def test_a_damaged_entry_is_made_anew(source):
    source.load()
    (entry,) = entries()
    whole = entry.read_bytes()
    damaged = [b"", b"\0\0", b"\0" * 100, whole[:-1], whole + b"\0", whole[: len(whole) // 2], b"{}\n" * 1000]
    for position in (0, 5, 200, 900, len(whole) // 2, len(whole) - 1):
        damaged.append(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])
    for reads, content in enumerate(damaged, 2):
        entry.write_bytes(content)
        assert source.load() == [1, 2, 3, 4]
        assert source.load() == [1, 2, 3, 4]
        assert source.reads == reads


def test_an_unwritable_folder_costs_one_warning(source, tmp_path, caplog):
    (tmp_path / "cache").write_text("a file where the folder should be")
    with caplog.at_level(logging.INFO):
        assert source.load() == [1, 2, 3, 4]
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(source.folder) in record.getMessage()
    assert "FER_LIGHTNING_CACHE" in record.getMessage()
    assert source.load() == [1, 2, 3, 4]


def test_a_full_disk_leaves_nothing_behind(source, monkeypatch, caplog):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(cache.np, "save", full)
    assert source.load() == [1, 2, 3, 4]
    assert "No space left on device" in caplog.text
    assert not entries()


def test_an_interruption_leaves_nothing_behind(source, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cache.os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        source.load()
    assert not entries()


def test_what_a_killed_process_left_is_removed(source):
    source.load()
    (entry,) = entries()
    old, young, other = (entry.with_name(name) for name in (f"{entry.name}.x.tmp", f"{entry.name}.y.tmp", "other.tmp"))
    for path in (old, young, other):
        path.touch()
    for path in (old, other):
        os.utime(path, (0, 0))
    append(source.folder)
    source.load()
    assert set(entries()) == {entry, young, other}


def test_mapped_pixels_outlive_their_entry(source):
    source.load()
    faces = cache.load(source.folder, source.scan, source.read)
    (source.folder / "a").write_bytes(bytes([7, 7, 7]))
    assert source.load() == [7, 7, 7, 4]
    entries()[0].unlink()
    assert faces.pixels[:, 0, 0].tolist() == [1, 2, 3, 4]


def test_sources_of_the_same_name_have_their_own_entries(source, tmp_path):
    (tmp_path / "other").mkdir()
    other = Source(tmp_path / "other" / "source")
    append(other.folder)
    assert (source.load(), other.load()) == ([1, 2, 3, 4], [1, 2, 3, 4, 5])
    assert (source.load(), other.load()) == ([1, 2, 3, 4], [1, 2, 3, 4, 5])
    assert (source.reads, other.reads) == (1, 1)


def test_a_long_source_name_is_cached(tmp_path):
    source = Source(tmp_path / ("x" * 250))
    source.load()
    source.load()
    assert source.reads == 1


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
    line = "3," + " ".join(["7"] * 2304) + ",Training\n"
    path = tmp_path / "fer2013.csv"
    path.write_text("emotion,pixels,Usage\n" + line * 300)
    code = (
        f"from fer_lightning.data import fer2013; print([fer2013.load({str(path)!r}).pixels.sum() for _ in range(9)])"
    )
    here = Path(__file__).parents[2]
    processes = [
        subprocess.Popen([sys.executable, "-c", code], cwd=here, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        for _ in range(3)
    ]
    expected = f"{[np.uint64(7 * 2304 * 300)] * 9}\n"
    assert [process.communicate()[0].decode() for process in processes] == [expected] * 3
    assert len(entries()) == 1


def test_every_file_that_a_choice_depends_on_is_watched(tmp_path):
    """A folder of several forms: the one not chosen grows, and is chosen."""
    line = "3," + " ".join(["7"] * 2304) + "\n"
    (tmp_path / "few.csv").write_text("emotion,pixels\n" + line)
    (tmp_path / "many.csv").write_text("emotion,pixels\n" + line * 2)
    assert fer2013.load(tmp_path).source == str(tmp_path / "many.csv")
    with open(tmp_path / "few.csv", "a") as file:
        file.write(line * 2)
    assert fer2013.load(tmp_path).source == str(tmp_path / "few.csv")


def test_a_test_csv_that_appears_or_vanishes_is_noticed(tmp_path):
    pixels = " ".join(["7"] * 2304)
    (tmp_path / "train.csv").write_text(f"label,feature\n3,{pixels}\n")
    assert len(fer2013.load(tmp_path)) == 1
    (tmp_path / "test.csv").write_text(f"id,feature\n0,{pixels}\n")
    assert len(fer2013.load(tmp_path)) == 2
    (tmp_path / "test.csv").unlink()
    assert len(fer2013.load(tmp_path)) == 1
