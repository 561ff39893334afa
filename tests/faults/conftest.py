"""What the tests of faults share."""

import shutil
import time

import pytest
from harness import command, run


@pytest.fixture(scope="session")
def whole(few_faces_file, tmp_path_factory):
    """An undisturbed run, and its seconds."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    for _ in range(2):  # the first one also starts the server and fills the cache
        shutil.rmtree(folder, ignore_errors=True)
        began = time.monotonic()
        status, said = run(*command(few_faces_file, folder))
        assert status == 0, said
    return folder, time.monotonic() - began
