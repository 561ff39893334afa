"""What a command has begun, a run or a sweep: held for it alone, and how it ends."""

import logging
import shlex
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from fer_lightning.errors import UserError
from fer_lightning.results.lock import FolderLock
from fer_lightning.results.paths import command_to_go_on, here, last_checkpoint
from fer_lightning.settings.follower import Follower
from fer_lightning.settings.sweep import Job, has_launcher

log = logging.getLogger(__name__)

# What launchers raise where a process of theirs ended without an answer: of loky (joblib) and of submitit
DEATHS = ("TerminatedWorkerError", "BrokenProcessPool", "UncompletedJobError", "FailedJobError")

stopped = False  # in a process that does jobs of a parallel sweep: no other is begun


def does_jobs_elsewhere(hydra: Any) -> bool:
    """Whether a sweep's jobs are done in other processes than this one. hydra: Hydra's own settings."""
    if has_launcher(hydra, "JoblibLauncher"):
        from joblib import effective_n_jobs

        return bool(effective_n_jobs(hydra.launcher.n_jobs) > 1)  # a single one it does in this process
    return not has_launcher(hydra, "BasicLauncher")


class Begun:
    """A run or a sweep from its beginning in a folder, which it holds, to `close`."""

    def __init__(self, config: DictConfig, folder: Path, sweep: bool = False) -> None:
        self.folder, self.sweep = folder, sweep
        self.from_elsewhere = config.get("ckpt_path") is not None
        self.joblib = has_launcher(config.hydra, "JoblibLauncher")
        self.jobs: list[Job] = []  # of a sweep, where they are known beforehand
        self.interrupted = False
        self.lock = FolderLock(folder)
        self.shown = ExitStack()  # what tells of jobs in other processes

    def follow(self) -> None:
        """Tell what the jobs of a sweep in other processes do.

        joblib's are of this process's group: they hear Ctrl-C as well, end their jobs and begin no other. So a first
        one is only noted here, and the sweep ends as usual.
        """
        if self.joblib:
            usual = signal.signal(signal.SIGINT, self.press)
            self.shown.callback(signal.signal, signal.SIGINT, usual)
        complete = sum(job.complete for job in self.jobs)
        self.shown.enter_context(Follower(self.folder, len(self.jobs) or None, complete))

    def press(self, *_: object) -> None:
        self.interrupted = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def close(self) -> None:
        self.shown.close()
        self.lock.release()

    def end(self, error: BaseException | None = None) -> int | None:
        """Compare what a sweep has; say how to go on with what was cut off. The exit status, None: raise the error."""
        self.shown.close()
        self.interrupted |= isinstance(error, KeyboardInterrupt)
        usual = signal.getsignal(signal.SIGINT)
        if self.interrupted:  # pressed once more, it would leave nothing said
            signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            status = self.compared() if self.sweep else 1
            if self.interrupted:
                print(f"interrupted; {self.how_to_go_on()}")
                return 130
            if self.sweep and type(error).__name__ in DEATHS:
                print(f"a process of the sweep was killed ({type(error).__name__}); {self.how_to_go_on()}")
                return 1
            return status if error is None else None
        finally:
            signal.signal(signal.SIGINT, usual)

    def compared(self) -> int:
        """Write a sweep's comparison. 0 where all of this command's jobs are complete, else 1."""
        try:
            all_completed = compare(self.folder)
        except UserError as error:  # no job has begun
            log.error("%s", error)
            return 1
        if self.jobs:
            all_completed = all(job.experiment.is_done_in(self.folder / job.folder) for job in self.jobs)
        return 0 if all_completed else 1

    def how_to_go_on(self) -> str:
        if self.from_elsewhere and not last_checkpoint(self.folder).is_file():
            return f"nothing was taken over yet: start it again, in another folder than {self.folder}"
        return f"go on with: {command_to_go_on(sys.argv[1:], here(self.folder), self.sweep)}"


def compare(folder: Path) -> bool:
    """Write and print the comparison of a sweep's runs; whether all of them completed."""
    from fer_lightning.results import comparison  # pandas and matplotlib, so not before they are wanted

    table = comparison.compare(folder)
    print(
        f"\n{comparison.markdown(table)}\n"
        f"comparison: {folder}/comparison.md, .csv and .png; the figures of each run in its folder there\n"
        f"curves: tensorboard --logdir {shlex.quote(here(folder))}"
    )
    return not table["failed"].any()


now: Begun | None = None  # of this process


def begin(config: DictConfig, folder: Path, sweep: bool = False) -> Begun:
    """Hold a folder for what this process begins in it. UserError where another process does."""
    global now
    close()
    now = Begun(config, folder, sweep)
    return now


def close() -> None:
    global now
    if now is not None:
        now.close()
    now = None
