"""Several processes of one run (`trainer=ddp`, torchrun, SLURM): which one this is; how they begin and end together."""

import functools
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from fer_lightning.errors import Failure, UserError, print_error

RANKS = (
    "RANK",
    "LOCAL_RANK",
    "NODE_RANK",
    "SLURM_PROCID",
    "JSM_NAMESPACE_RANK",
)  # what launchers tell; RANK goes first

STARTER = "FER_LIGHTNING_STARTED_BY"  # the id of the process that started this one

LOOKED_EVERY = 0.5  # seconds
# Seconds. What follows from the end of another process comes before it is seen that this one has ended.
SEEN_WITHIN = 2
# What fails in all processes alike the first one tells, and ends the others before they do.
TOLD_AFTER = 5
# An error says within these that another process has ended. At the start, and with NCCL, there is none for minutes.
PATIENCE = 20


class ProcessLost(Failure):
    """Another process of the run has ended before its work was done."""


def is_first_process() -> bool:
    """Whether this is the process that checks, writes and prints."""
    return os.environ["RANK"] == "0" if "RANK" in os.environ else not _of_others()


def _of_others() -> list[str]:
    """What the environment says of this process that it does not say of the first one."""
    return [f"{name}={os.environ[name]}" for name in RANKS if os.environ.get(name, "0") != "0"]


def in_slurm() -> bool:
    """Whether Lightning would take this process for a task of srun's; also a batch script that calls no srun."""
    return "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def begins_alone(processes: int) -> bool:
    """Whether SLURM's variables would mislead Lightning, as srun has not started this process of a run of so many."""
    return in_slurm() and (STARTER in os.environ or started(processes) == 1)


def started(processes: int = 1) -> int:
    """How many processes torchrun or srun have started with this command, for a run of so many."""
    given = os.environ
    if STARTER in given:
        return processes
    if "TORCHELASTIC_RUN_ID" in given:
        return int(given["WORLD_SIZE"])
    if not in_slurm() or "SLURM_PROCID" not in given:
        return 1
    tasks = int(given["SLURM_NTASKS"])
    # A container may not be told the step. Where there is srun, a batch script has not called it.
    in_step = "SLURM_STEP_ID" in given or (tasks == processes and shutil.which("srun") is None)
    return tasks if in_step else 1


def check_ranks() -> None:
    """Raise UserError where the environment's numbers of processes are none: Lightning would not even be imported."""
    for name in RANKS:
        if not os.environ.get(name, "0").isdecimal():
            raise UserError(
                f"{name}={os.environ[name]} in the environment: the number of a process is wanted; unset it"
            )


def check_started(processes: int) -> None:
    """Raise UserError unless as many processes are started as a run has. Left-over variables mislead Lightning."""
    right = f"a run of {processes} (trainer.devices, trainer.num_nodes)"
    if (tasks := started(processes)) not in (1, processes):
        raise UserError(
            f"torchrun or srun has started {tasks} processes of {right}; start one, or make these two equal"
        )
    if processes == 1 and not is_first_process():
        raise UserError(f"{', '.join(_of_others())} in the environment: not the first process of {right}; unset it")
    if tasks > 1 and in_slurm():  # Lightning wants it, and `srun --ntasks=2` leaves it out
        os.environ.setdefault("SLURM_NTASKS_PER_NODE", str(tasks // int(os.environ.get("SLURM_NNODES", "1"))))
    if tasks == 1 < processes and "LOCAL_RANK" in os.environ and "MASTER_PORT" not in os.environ:
        raise UserError(
            "LOCAL_RANK in the environment: Lightning would wait for processes of another program; unset it"
        )


@contextmanager
def other_processes(command: Sequence[str], count: int, environment: dict[str, str]) -> Iterator[None]:
    """Inside, the processes 1 to `count` − 1 of this machine run `command`; they end with what is inside.

    This is done by Lightning's launcher as well (2.6.6), but when one of its processes ends, it kills the first one
    without a word; when the first one is killed, the others may stay; and Ctrl-C may end the others first, so that the
    first one fails in the middle of a step.

    environment: further variables, also of this process while it is inside; LOCAL_RANK is added to them.
    ProcessLost where an error comes out of the inside because another process has ended. Where nothing comes out, this
    process ends with status 1.
    """
    before = dict(os.environ)
    os.environ |= {**environment, "LOCAL_RANK": "0"}
    own = {STARTER: str(os.getpid())}
    others = [subprocess.Popen(command, env={**os.environ, **own, "LOCAL_RANK": str(n)}) for n in range(1, count)]
    done = threading.Event()
    threading.Thread(target=_watch, args=(others, done), name="other processes", daemon=True).start()
    try:
        yield
    except Exception as error:
        deadline = time.monotonic() + SEEN_WITHIN
        while (lost := _lost(others)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        if lost is None:
            raise
        raise ProcessLost(lost) from error
    finally:
        done.set()
        _end(others)
        os.environ.clear()
        os.environ |= before


def _watch(others: list[subprocess.Popen], done: threading.Event) -> None:
    while not done.wait(LOOKED_EVERY):
        if (lost := _lost(others)) is not None:
            if not done.wait(PATIENCE):
                print_error(ProcessLost(lost))
                _end(others)
                os._exit(1)
            return


def _lost(others: list[subprocess.Popen]) -> str | None:
    """Which process has ended, and how, but for those whose work is done."""
    for rank, process in enumerate(others, start=1):
        if status := process.poll():
            how = f"was ended by {signal.Signals(-status).name}" if status < 0 else f"ended with status {status}"
            return f"process {rank} of the run (id {process.pid}) {how}, so the run ends; resume=true goes on"
    return None


def _end(others: list[subprocess.Popen]) -> None:
    for process in others:
        process.kill()  # anything else does not reach one that waits for another
        process.wait()


@contextmanager
def ending_with_the_first() -> Iterator[None]:
    """Inside, a process that `other_processes` started ends with status 1 when the first one is gone.

    It doesn't hear Ctrl-C: the first one ends it, once the two are through with the step that they are in.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow, args=(int(os.environ[STARTER]),), name="first process", daemon=True).start()
    try:
        yield
    except Exception:
        time.sleep(TOLD_AFTER)
        raise


def _follow(first: int) -> None:
    while os.getppid() == first:
        time.sleep(LOOKED_EVERY)
    if os.environ.get("LOCAL_RANK") == "1":  # one of them tells
        print_error(ProcessLost(f"the first process of the run (id {first}) is gone, so the run ends"))
    os._exit(1)


@functools.cache  # once a process
def end_with_parent() -> None:
    """From now on this process, which does jobs of a sweep, ends when the one that began the sweep is gone."""
    threading.Thread(target=_follow, args=(os.getppid(),), name="parent", daemon=True).start()
