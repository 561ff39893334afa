"""Parsed faces on disk: read from their source once, memory-mapped from then on.

One file per source, in $FER_LIGHTNING_CACHE, else $XDG_CACHE_HOME/fer_lightning, else ~/.cache/fer_lightning:

    a line of JSON    what the entry was made from
    .npy records      labels, usage, rows, digests and, where the source has them, names
    pixels            N × 2,304 bytes
    CRC-32            4 bytes, of everything before

It is one file, not one per array, so that a single rename replaces all of it: no reader ever sees the labels of one
state of the source with the pixels of another, whatever other processes write meanwhile.
"""

import contextlib
import hashlib
import json
import logging
import mmap
import os
import tempfile
import time
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import numpy as np

from fer_lightning.data.faces import SIZE, Faces
from fer_lightning.errors import UserError

log = logging.getLogger(__name__)

READER_VERSION = 1  # raise it with every change to what a reader makes of its files: no entry of another one is used
Stats = Mapping[str, os.stat_result]  # every file of a source, by absolute path

# A file written twice within the granularity of its time stamps bears the same ones both times. One whose stamps were
# younger than that when it was read is therefore compared by content as well (git calls such files racily clean).
# Stamps in whole milliseconds may come from a file system as coarse as FAT (2 s); others follow the kernel's ticks, of
# 10 ms at most.
_COARSE_NS, _FINE_NS = 2_000_000_000, 100_000_000
_STALE_SECONDS = 3600  # a temporary file this old belongs to a process that was killed


def folder() -> Path:
    """Where entries are kept; it need not exist."""
    if own := os.environ.get("FER_LIGHTNING_CACHE"):
        return Path(own).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fer_lightning"


def load(source: Path, scan: Callable[[], Stats], read: Callable[[], Faces]) -> Faces:
    """The faces of `source`, an absolute path: from the cache if none of its files has changed, else from `read`.

    scan: the source's files as they are now. read: parses them. What these two raise passes through, and nothing is
    cached then; UserError if the files change while they are read. The pixels are read-only. A damaged entry is made
    anew; where the folder cannot be written, the faces come without a cache, with one warning.
    """
    entry = folder() / f"{source.name[:50]}-{hashlib.sha256(os.fsencode(source)).hexdigest()[:16]}.faces"
    now = time.time_ns()
    stats = scan()
    if opened := _open(entry, stats):
        faces, read_at = opened
        if not _recent(stats, read_at) or _recent(stats, now):
            return faces
        state = _state(stats, now)  # no file is recent any more: from now on time stamps suffice
    else:
        state = _state(stats, now)  # before reading, so that a later change never passes for what was read
        faces = read()
        if _fingerprint(scan()) != state["files"]:
            raise UserError(f"{source}: it changed while it was read; start again once nothing writes to it")
        faces.pixels.flags.writeable = False  # as from the cache: what works on the first start works on the second
    try:
        _write(entry, faces, state)
    except OSError as error:
        log.warning(
            "%s cannot be kept in the cache (%s): every start reads it anew. FER_LIGHTNING_CACHE names another folder.",
            source,
            error,
        )
    return faces


def _state(stats: Stats, now: int) -> dict[str, str | int]:
    """What tells these files from the same files at another time, `now` being a time (ns) before their `stats`."""
    content = _content(_recent(stats, now))
    return {"reader": READER_VERSION, "files": _fingerprint(stats), "read_at": now, "recent": content}


def _fingerprint(stats: Stats) -> str:
    lines = (f"{path}\0{s.st_size} {s.st_mtime_ns} {s.st_ctime_ns} {s.st_ino}\n" for path, s in sorted(stats.items()))
    return hashlib.sha256(os.fsencode("".join(lines))).hexdigest()


def _recent(stats: Stats, at: int) -> list[str]:
    """The files with a time stamp that proved nothing at the time `at` (ns), being too young."""

    def young(stamp: int) -> bool:
        return stamp > at - (_FINE_NS if stamp % 1_000_000 else _COARSE_NS)

    return sorted(path for path, stat in stats.items() if young(stat.st_mtime_ns) or young(stat.st_ctime_ns))


def _content(paths: Iterable[str]) -> str:
    digests = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            digests.update(hashlib.file_digest(file, "sha256").digest())
    return digests.hexdigest()


def _open(entry: Path, stats: Stats) -> tuple[Faces, int] | None:
    """The faces of an entry and when (ns) they were read; None if there is none that is whole and of these files."""
    try:
        with open(entry, "rb") as file:
            data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
            if zlib.crc32(memoryview(data)[:-4]) != int.from_bytes(data[-4:], "little"):
                return None
            made = json.loads(file.readline())
            if made["reader"] != READER_VERSION or made["files"] != _fingerprint(stats):
                return None
            if made["recent"] != _content(_recent(stats, made["read_at"])):
                return None
            labels, usage, rows, digests = (np.load(file) for _ in range(4))
            names = np.load(file) if made["named"] else None
            pixels = np.frombuffer(data, np.uint8, len(labels) * SIZE * SIZE, file.tell()).reshape(-1, SIZE, SIZE)
    except (OSError, ValueError):  # absent, not readable; empty, not an entry
        return None
    return Faces(pixels, labels, usage, rows, digests, names, made["source"], made["form"]), made["read_at"]


def _write(entry: Path, faces: Faces, state: Mapping[str, str | int]) -> None:
    entry.parent.mkdir(parents=True, exist_ok=True)
    _remove_left_overs(entry)
    made = {**state, "source": faces.source, "form": faces.form, "named": faces.names is not None}
    handle, temporary = tempfile.mkstemp(prefix=f"{entry.name}.", suffix=".tmp", dir=entry.parent)
    try:
        with open(handle, "w+b") as file:
            file.write(json.dumps(made).encode() + b"\n")
            for array in (faces.labels, faces.usage, faces.rows, faces.digests, faces.names):
                if array is not None:
                    np.save(file, array, allow_pickle=False)
            file.write(np.ascontiguousarray(faces.pixels).data)
            file.flush()
            with mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                crc = zlib.crc32(data)
            file.write(crc.to_bytes(4, "little"))
        os.replace(temporary, entry)
    finally:
        Path(temporary).unlink(missing_ok=True)  # there still is one only if something failed


def _remove_left_overs(entry: Path) -> None:
    """Removes what processes that were killed while they wrote this entry left in its folder."""
    for other in entry.parent.iterdir():
        if other.name.startswith(f"{entry.name}.") and other.suffix == ".tmp":
            with contextlib.suppress(FileNotFoundError):  # its process is alive and has just renamed it
                if time.time() - other.stat().st_mtime > _STALE_SECONDS:
                    other.unlink()
