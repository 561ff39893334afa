"""What the tests of faults share."""

import time
from pathlib import Path
from typing import NamedTuple

import pytest
from harness import command, record, run


class Whole(NamedTuple):
    """An undisturbed run, its seconds, and its changes of files, see `record`."""

    folder: Path
    seconds: float
    changes: list[str]


@pytest.fixture(scope="session")
def whole(few_faces_file, tmp_path_factory) -> Whole:
    place = tmp_path_factory.mktemp("whole")
    for name in ("first", "run"):  # the first one also starts the server and fills the cache
        folder, began = place / name, time.monotonic()
        status, said = run(*command(few_faces_file, folder), fault=(record, folder, place / f"changes-of-{name}"))
        assert status == 0, said
    return Whole(folder, time.monotonic() - began, (place / "changes-of-run").read_text().splitlines())
