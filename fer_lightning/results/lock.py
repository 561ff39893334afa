"""One process at a time works in the folder of a run or a sweep."""

import json
import logging
import os
import socket
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from fer_lightning.errors import UserError

log = logging.getLogger(__name__)

LOCK, HOLDER = ".lock", ".locked-by"


class FolderLock:
    """Holds an existing folder from its making until `release`, or until the process dies, in whatever way.

    UserError, naming the holder, where another process holds it. The operating system keeps the lock, on the file
    `.lock` of the folder; `.locked-by` tells by whom. Where the file system knows no locks, a warning says so.
    """

    def __init__(self, folder: Path) -> None:
        self.holder = folder / HOLDER
        self.lock = FileLock(folder / LOCK, fallback_to_soft=False)
        try:
            self.lock.acquire(blocking=False)
        except Timeout:
            raise UserError(
                f"{folder}: {holder(folder)} works in it; wait until it ends, or name another folder"
            ) from None
        except (OSError, NotImplementedError) as error:
            log.warning(f"{folder}: not locked ({error}); see to it that no other process works in it")
            return
        with suppress(OSError):  # of a full disk, the next file tells
            self.holder.write_text(json.dumps({"host": socket.gethostname(), "pid": os.getpid()}))

    def release(self) -> None:
        if self.lock.is_locked:
            with suppress(OSError):  # a stale one is never read
                self.holder.unlink()
            self.lock.release()

    def __enter__(self) -> "FolderLock":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()


def held(folder: Path) -> bool | None:
    """Whether a process holds a folder; False: the last one died, so it says; None: nobody can tell.

    Where the last one said that it ended, its lock is not even tried: that would keep others out for an instant.
    """
    if not (folder / HOLDER).is_file():
        return None
    lock = FileLock(folder / LOCK, fallback_to_soft=False)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return True
    except (OSError, NotImplementedError):
        return None
    lock.release()
    return False


def holder(folder: Path) -> str:
    """`process 17 on HOST` that holds a folder."""
    try:
        told = json.loads((folder / HOLDER).read_text())
        return f"process {told['pid']} on {told['host']}"
    except (OSError, ValueError, KeyError, TypeError):  # it has just begun
        return "another process"
