"""What a command has begun, a run or a sweep: held for it alone, and how it ends."""

import logging
import os
import shlex
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from fer_lightning.errors import UserError
from fer_lightning.results.lock import FolderLock
from fer_lightning.results.paths import last_checkpoint, override
from fer_lightning.settings.follower import Follower

log = logging.getLogger(__name__)

# What launchers raise where a process of theirs ended without an answer: of loky (joblib) and of submitit
DEATHS = ("TerminatedWorkerError", "BrokenProcessPool", "UncompletedJobError", "FailedJobError")
JOBLIB = ".JoblibLauncher"


stopped = False  # in a process that does jobs of a parallel sweep: no other is begun


def is_parallel(hydra: Any) -> bool:
    """Whether another launcher than Hydra's own does a sweep's jobs, so in other processes. hydra: its own settings."""
    return not str(hydra.launcher.get("_target_")).endswith(".BasicLauncher")


class Begun:
    """A run or a sweep from its beginning in a folder, which it holds, to `close`."""

    def __init__(self, config: DictConfig, folder: Path, sweep: bool = False) -> None:
        self.folder, self.sweep = folder, sweep
        self.from_elsewhere = config.get("ckpt_path") is not None
        self.launcher = str(config.hydra.launcher.get("_target_"))
        self.interrupted = False
        self.open = ExitStack()
        self.open.enter_context(FolderLock(folder))

    def follow(self, jobs: int | None, done: int) -> None:
        """Tell what the jobs of a sweep in other processes do.

        joblib's are of this process's group: they hear Ctrl-C as well, end their jobs and begin no other. So a first
        one is only noted here, and the sweep ends as usual.
        """
        if self.launcher.endswith(JOBLIB):
            usual = signal.signal(signal.SIGINT, self.press)
            self.open.callback(signal.signal, signal.SIGINT, usual)
        self.open.enter_context(Follower(self.folder, jobs, done))

    def press(self, *_: object) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def close(self) -> None:
        self.open.close()

    def end(self) -> int:
        """Compare a sweep's runs; the exit status."""
        self.close()
        try:
            all_completed = compare(self.folder)
        except UserError as error:  # no job has begun
            log.error("%s", error)
            all_completed = False
        if self.interrupted:
            log.info(f"interrupted; {self.how_to_go_on()}")
            return 130
        return 0 if all_completed else 1

    def interrupt(self) -> None:
        """Say how to go on with what Ctrl-C has ended."""
        self.interrupted = True
        if self.sweep:
            self.end()
        else:
            log.info(f"interrupted; {self.how_to_go_on()}")

    def die(self, error: BaseException) -> None:
        """Say what a sweep has where a process of it was killed, and how to go on."""
        self.end()
        log.error(f"a process of the sweep was killed ({type(error).__name__}); {self.how_to_go_on()}")

    def how_to_go_on(self) -> str:
        if self.from_elsewhere and not last_checkpoint(self.folder).is_file():
            return f"nothing was taken over yet: start it again, in another folder than {self.folder}"
        key = "hydra.sweep.dir" if self.sweep else "hydra.run.dir"
        given = [word for word in sys.argv[1:] if not word.startswith(("ckpt_path=", "resume=", f"{key}="))]
        place = override(key, os.path.relpath(self.folder))
        return f"go on with: python -m fer_lightning {shlex.join([*given, place, 'resume=true'])}"


def compare(folder: Path) -> bool:
    """Write and print the comparison of a sweep's runs; whether all of them completed."""
    from fer_lightning.results import comparison  # pandas and matplotlib, so not before they are wanted

    table = comparison.compare(folder)
    print(
        f"\n{comparison.markdown(table)}\n"
        f"comparison: {folder}/comparison.md, .csv and .png; the figures of each run in its folder there\n"
        f"curves: tensorboard --logdir {folder}"
    )
    return not table["failed"].any()


now: Begun | None = None  # of this process


def begin(config: DictConfig, folder: Path, **kind: Any) -> Begun:
    """Hold a folder for what this process begins in it. UserError where another process does."""
    global now
    close()
    now = Begun(config, folder, **kind)
    return now


def close() -> None:
    global now
    if now is not None:
        now.close()
    now = None
