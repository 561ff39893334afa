"""Writing files so that a reader never sees a part of one."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Put a file in place, or replace it, in one step: a reader sees the old one or the new one, never a part.

    The file to write inside the `with` is given; it takes the place of `path` at its end, unless that fails.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield part
        part.replace(path)
    finally:
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
        path.rename(path.with_stem(f"{path.stem}-{1 + len(list(path.parent.glob(f'{path.stem}-*{path.suffix}')))}"))
