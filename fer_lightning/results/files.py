"""Writing files so that a reader never sees a part of one."""

import json
import os
from pathlib import Path
from typing import Any


def write_file(path: Path, content: bytes | memoryview) -> None:
    """Put a file in place, or replace it, in one step: a reader sees the old one or the new one, never a part."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        part.write_bytes(content)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, content: dict[str, Any]) -> None:
    write_file(path, (json.dumps(content, indent=2, allow_nan=False) + "\n").encode())
