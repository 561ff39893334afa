"""A disk that is full, read-only or failing: one message, status 1 or 2, and what was there stays; then it goes on."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from commands import ALL, all_faults
from harness import (
    command,
    files_up_to,
    finish,
    full_from,
    of_all,
    read_only_from,
    readable,
    record,
    run,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def tmpfs(tmp_path):
    """`tmpfs("512k")` is a small file system of its own; again: it grows."""
    folder = tmp_path / "small"

    def mount(size: str) -> Path:
        again = ["-o", f"remount,size={size}"] if folder.is_dir() else ["-t", "tmpfs", "-o", f"size={size}", "tmpfs"]
        folder.mkdir(exist_ok=True)
        if subprocess.run(["mount", *again, folder], check=False, capture_output=True).returncode:
            pytest.skip("no file system may be mounted here (root may)")
        return folder

    yield mount
    subprocess.run(["umount", "-l", folder], check=False, capture_output=True)


def told_once(status: int, said: str, what: str) -> None:
    assert status in (1, 2), said
    assert "Traceback" not in said
    assert "Logging error" not in said
    (message,) = [line for line in said.splitlines() if line.startswith("fer_lightning: ")]
    assert what in message
    others = [line for line in said.splitlines() if what in line and line != message]
    assert all("not locked" in line for line in others), said  # a warning: a lock needs a file too


@pytest.mark.parametrize(
    ("fault", "reason", "logger"),
    [(full_from, errno.EFBIG, "logger=tensorboard"), (read_only_from, errno.EROFS, "logger=none")],
)
def test_a_disk_that_fails_at_any_change_of_a_file(few_faces_file, whole, fault, reason, logger):
    """A full disk says so by a real limit, a read-only one by injection."""
    changes = whole.changes  # and those of TensorBoard, where all are tried
    if ALL:
        assert run(*command(few_faces_file), logger, fault=(record, Path("run"), Path("changes")))[0] == 0
        changes = Path("changes").read_text().splitlines()
    survived = 0
    for number in of_all(range(len(changes)), 1):
        shutil.rmtree("run", ignore_errors=True)
        status, said = run(*command(few_faces_file), logger, fault=(fault, Path("run"), number))
        if status == 0:
            survived += 1  # the last changes are removals, for which a full disk has room
        else:
            told_once(status, said, os.strerror(reason))
        finish(few_faces_file, whole.folder)
    assert survived < 5
    print(f"{len(changes)} changes, {survived} survived")


@all_faults
@pytest.mark.parametrize("limit", [300, 4_000, 700_000])
def test_a_limit_on_the_size_of_files(few_faces_file, whole, limit):
    status, said = run(*command(few_faces_file), fault=(files_up_to, limit))
    told_once(status, said, "File too large")
    assert status == 1
    finish(few_faces_file, whole.folder)


@pytest.mark.parametrize("size", of_all(["4k", "16k", "64k", "1m", "2m", "3m", "4m"], 1))
def test_a_small_disk(few_faces_file, whole, tmpfs, size):
    folder = tmpfs(size) / "run"
    status, said = run(*command(few_faces_file, folder))
    told_once(status, said, "No space left on device")
    assert status == 1 or size == "4k"
    tmpfs("100m")
    finish(few_faces_file, whole.folder, folder)


def test_a_small_disk_for_the_cache(few_faces_file, tmpfs):
    status, said = run(few_faces_file, module="fer_lightning.audit", FER_LIGHTNING_CACHE=str(tmpfs("64k")))
    assert status == 0
    assert said.count("cannot be kept in the cache") == 1
    assert "Traceback" not in said
    assert list(tmpfs("64k").rglob("*.npy")) == []


@all_faults
@pytest.mark.parametrize("module", ["audit", "evaluate", "report"])
def test_other_commands_on_a_full_disk(few_faces_file, whole, module):
    """What an earlier one wrote stays."""
    shutil.copytree(whole.folder, "run")
    Path("out").mkdir()
    arguments = {
        "audit": [few_faces_file, "--out", "out"],
        "evaluate": ["run", "--out", "out"],
        "report": ["run", "--out", "out/report.html"],
    }[module]
    call = {"module": f"fer_lightning.{module}"}
    assert run(*arguments, **call, fault=(record, Path("out"), Path("changes")))[0] == 0
    changes = Path("changes").read_text().splitlines()
    before = {path.name for path in Path("out").iterdir()}
    for number in range(len(changes)):
        status, said = run(*arguments, **call, fault=(full_from, Path("out"), number))
        if status:
            told_once(status, said, "File too large")
        else:
            assert changes[number].startswith("os.")  # all is written
        assert {path.name for path in Path("out").iterdir()} == before
        readable(Path("run"))
    assert run(*arguments, **call)[0] == 0
