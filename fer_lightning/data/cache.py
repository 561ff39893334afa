"""Parsed faces on disk: read from their source once, memory-mapped from then on; and what else takes long to make.

A source has a folder in `folder()`, and in it one entry, a folder named by the reader's version and by path, size and
time stamps of all files of the source: an .npy for each field of Faces, and crc32, of all these. It comes into its
place by one rename, so that no reader ever sees a part of it.
"""

import contextlib
import errno
import hashlib
import logging
import os
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout

from fer_lightning.data.faces import Faces
from fer_lightning.data.form import Source, Stats
from fer_lightning.errors import UserError

log = logging.getLogger(__name__)

READER_VERSION = 5  # raise it with every change to what a reader makes of its files: no entry of another one is used
MANY = 1000  # files, whose pictures take seconds to decode; a csv of 270 MB takes one
_PART, _STALE_SECONDS = "part-", 3600  # a part that old belongs to a process that was killed while it wrote

# The last ones that could not be written: a run asks twice, a sweep often; for what was read, and what was made of it
_unkept: dict[Path, Faces] = {}
_MOST_UNKEPT = 2


def folder() -> Path:
    """$FER_LIGHTNING_CACHE, else $XDG_CACHE_HOME/fer_lightning, else ~/.cache/fer_lightning; it need not exist."""
    if own := os.environ.get("FER_LIGHTNING_CACHE"):
        return Path(os.path.expanduser(own))
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fer_lightning"
    except RuntimeError:  # a user without a home, as in a container: nothing can be kept, and `load` says so
        return Path(os.devnull, "fer_lightning")


def load(source: Source) -> Faces:
    """The faces of a source: from the cache if none of its files has changed, else from its `read`.

    What its methods raise passes through, and nothing is cached then; UserError if the files change while they are
    read. The pixels are read-only. A damaged entry is made anew; where the folder cannot be written, the faces come
    without a cache, with one warning.
    """
    stats = source.scan()
    entry = _entry(source, stats)
    if faces := kept(entry):
        return faces
    if len(stats) > MANY:
        print(f"reading {len(stats):,} files of {source.path} …", file=sys.stderr, flush=True)
    # Until no write can leave these time stamps as they are: those in whole milliseconds may come from a file system as
    # coarse as FAT (2 s), others follow a kernel's ticks, of 16 ms at most.
    time.sleep(max((0.03 if stat.st_ctime_ns % 1_000_000 else 2 for stat in stats.values()), default=0))
    faces = source.read()
    if _key(source.scan()) != entry.name:
        raise UserError(f"{source.path}: it changed while it was read; start again once nothing writes to it")
    keep(entry, faces, f"{source.path}")
    return faces


def kept(entry: Path) -> Faces | None:
    """The faces of an entry, None where there is none that is whole."""
    return _open(entry) or _unkept.get(entry)


def keep(entry: Path, faces: Faces, name: str) -> None:
    """Make an entry; the pixels are read-only from then on. A warning where it cannot be written."""
    faces.pixels.flags.writeable = False  # as from the cache: what works on the first start works on the second
    try:
        _write(entry, faces)
    except OSError as error:
        again = "every start makes it anew. FER_LIGHTNING_CACHE names another folder."
        log.warning("%s cannot be kept in the cache (%s): %s", name, error, again)
        for old in list(_unkept)[: len(_unkept) - _MOST_UNKEPT + 1]:
            del _unkept[old]
        _unkept[entry] = faces


@contextlib.contextmanager
def alone(entry: Path, waiting: str) -> Iterator[None]:
    """For one process at a time that makes an entry; the next ones say what they are waiting for, then find it kept.

    Where the file system knows no locks, or nothing can be written, nobody waits.
    """
    lock = FileLock(entry.with_name(f"{entry.name}.lock"), fallback_to_soft=False)
    with contextlib.suppress(OSError, NotImplementedError):
        entry.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(blocking=False)
        except Timeout:
            print(waiting, file=sys.stderr, flush=True)
            lock.acquire()
    try:
        yield
    finally:
        lock.release()


def has(source: Source) -> bool:
    """Whether the faces of a source are kept, so that `load` need not read them."""
    entry = _entry(source, source.scan())
    return (entry / "crc32").is_file() or entry in _unkept


def _entry(source: Source, stats: Stats) -> Path:
    return folder() / f"{source.path.name[:50]}-{_hash(str(source.path))}" / _key(stats)


def _hash(text: str) -> str:
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]


def _key(stats: Stats) -> str:
    files = (f"{path}\0{s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}\n" for path, s in sorted(stats.items()))
    return _hash(f"{READER_VERSION}\n{''.join(files)}")


def _crc32(paths: Iterable[Path]) -> bytes:
    crc = 0
    for path in paths:
        crc = zlib.crc32(np.memmap(path, mode="r").data, crc)
    return b"%08x" % crc


def _open(entry: Path) -> Faces | None:
    """The faces of an entry, None if there is none that is whole."""
    try:
        paths = sorted(entry.glob("*.npy"))
        if (entry / "crc32").read_bytes() != _crc32(paths):
            return None
        values = {path.stem: np.load(path, "r" if path.stem == "pixels" else None) for path in paths}
    except (OSError, ValueError):  # absent, or just being removed; an empty file
        return None
    return Faces(**{"names": None} | {name: value if value.ndim else value.item() for name, value in values.items()})


def _write(entry: Path, faces: Faces) -> None:
    """Puts an entry in its place; removes those of other states of its source and what killed processes left."""
    entry.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=_PART, dir=entry.parent) as part:
        made = Path(part, entry.name)
        made.mkdir()
        for name, value in vars(faces).items():
            if value is not None:
                np.save(made / name, value, allow_pickle=False)
        (made / "crc32").write_bytes(_crc32(sorted(made.iterdir())))
        shutil.rmtree(entry, ignore_errors=True)  # a damaged one
        try:
            made.rename(entry)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY):  # another process has just put the same there
                raise
    with contextlib.suppress(FileNotFoundError):  # another process is tidying up as well
        for other in entry.parent.iterdir():
            in_work = other.name.startswith(_PART) and time.time() - other.stat().st_mtime < _STALE_SECONDS
            if other != entry and not in_work:
                shutil.rmtree(other, ignore_errors=True)
