"""Writing files so that a reader never sees a part of one."""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fer_lightning.errors import UserError, told


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Put a file in place, or replace it, in one step: a reader sees the old one or the new one, never a part.

    The file to write inside the `with` is given; it takes the place of `path` at its end, unless that fails: `Failure`
    where that is for the disk. A process that is killed leaves its part, see `remove_parts`.
    """
    part = path.with_name(f".{path.name[:50]}.{os.getpid()}.part")  # a name may have 255 bytes
    with naming(path):
        try:
            yield part
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)


def check_out(out: Path, endings: Sequence[str], marker: str, kind: str) -> None:
    """UserError unless --out can be written: an earlier file of its kind, known by the marker in it, is replaced.

    Nothing else ever is. endings: of the names that are right.
    """
    if out.suffix not in endings:
        raise UserError(f"--out {out}: the name must end in {' or '.join(endings)}")
    if not out.parent.is_dir():
        raise UserError(f"--out {out}: there is no folder {out.parent}")
    if out.exists() and not out.is_file():
        raise UserError(f"--out {out}: it is a folder, or no ordinary file; name another one")
    if out.exists() and marker.encode() not in out.read_bytes():
        raise UserError(f"--out {out}: it exists and is no {kind}, so it is not overwritten; name another file")


def make_folder(folder: Path) -> None:
    """Make a folder for results, with those above it. UserError where that cannot be, or where it takes no files."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"{folder}: it cannot be made or written into: {error.strerror}; name another one") from None


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """A `Failure` that names the file, where it cannot be written."""
    try:
        yield
    except OSError as error:
        raise told(error, path) from None  # type: ignore[misc]


def remove_parts(folder: Path) -> None:
    """Remove what killed processes left of files that they were writing, in a folder in which nobody else writes."""
    for part in folder.glob(".*.part"):
        part.unlink(missing_ok=True)


def write_file(path: Path, content: bytes) -> None:
    """Write a whole file, see `replacing`."""
    with replacing(path) as part:
        part.write_bytes(content)


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_file(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())


def keep(path: Path) -> None:
    """Make room for a new file of that name: the present one becomes `<name>-1<suffix>`, the next one -2."""
    if path.exists():
        numbers = [each.stem.rpartition("-")[2] for each in path.parent.glob(f"{path.stem}-*{path.suffix}")]
        highest = max((int(number) for number in numbers if number.isdecimal()), default=0)
        path.rename(path.with_stem(f"{path.stem}-{highest + 1}"))
