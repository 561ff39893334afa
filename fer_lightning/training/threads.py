"""How many CPU threads compute, and how they wait for each other where other programs work beside them."""

import logging
import math
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

log = logging.getLogger(__name__)

DEFAULT = torch.get_num_threads()  # OMP_NUM_THREADS, else one a core
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds of CPU time in so many of the clock
TASKS = Path("/proc/self/task")

CHECKED_EVERY = 1.0  # seconds
CROWDED, FREE = 0.1, 0.02  # seconds that this process's threads wait for a core, in a second
CALM = 10  # checks in a row that found the cores free
MOST_TEAMS = 8


def default_threads(processes: int = 1) -> int:
    """The threads of `trainer.threads=auto`: OMP_NUM_THREADS, else one a core, no more than a container's share.

    processes: those of the run on this machine, which share the cores. joblib's launcher sets OMP_NUM_THREADS for each
    of its own; SLURM tells what a task may have.
    """
    if "OMP_NUM_THREADS" in os.environ:
        return DEFAULT
    if share := os.environ.get("SLURM_CPUS_PER_TASK"):
        return max(1, min(DEFAULT, int(share)))
    cores = DEFAULT
    if QUOTA.is_file():
        share, period = QUOTA.read_text().split()
        if share != "max":
            cores = min(DEFAULT, math.ceil(int(share) / int(period)))
    return max(1, cores // processes)


def seconds_waited() -> float:
    """How long the threads of this process were ready to compute without a core to do it on; 0 where Linux is not."""
    waited = 0
    for task in TASKS.glob("*/schedstat"):
        try:
            waited += int(task.read_text().split()[1])
        except OSError:  # it has ended
            continue
    return waited / 1e9


@contextmanager
def sharing_cores() -> Iterator[None]:
    """Inside, threads that wait for others leave their cores as soon as other programs want them.

    A waiting thread of GNU's OpenMP spins for some 17 ms before it sleeps. With cores of its own that is fastest: to
    wake a sleeping one takes 0.1 ms on a virtual machine (DNN on two cores: 46 against 38 ms a step). But the scheduler
    takes spinning for work, and where another process wants the core, the thread has used up its turn when work comes:
    steps take 3 to 10 times as long. With more threads than cores, libgomp spins for some microseconds only (its
    manual, GOMP_SPINCOUNT). So while cores are wanted by others, further teams of threads exist, which do nothing. The
    threads that compute stay as many as before, and so do all figures.

    Nothing is done where OMP_WAIT_POLICY or GOMP_SPINCOUNT says how to wait, and on other systems than Linux.
    """
    teams = _teams()
    if not teams:
        yield
        return
    ended = threading.Event()
    watch = threading.Thread(target=_watch, args=(teams, ended), name="sharing_cores", daemon=True)
    watch.start()
    try:
        yield
    finally:
        ended.set()
        watch.join()


def _teams() -> int:
    """How many idle teams make more threads than there are cores; 0 where that is no remedy."""
    threads = torch.get_num_threads()
    if threads == 1 or not TASKS.is_dir() or {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & set(os.environ):
        return 0
    if "libgomp" not in Path("/proc/self/maps").read_text():
        return 0
    cores = len(os.sched_getaffinity(0))
    teams = math.ceil(max(cores + 1 - threads, 1) / (threads - 1))
    return teams if teams <= MOST_TEAMS else 0  # so few threads on so many cores find free ones


def _watch(teams: int, ended: threading.Event) -> None:
    released: threading.Event | None = None  # ends the idle teams that there are
    calm = 0
    before, then = seconds_waited(), time.monotonic()
    while not ended.wait(CHECKED_EVERY):
        waited, now = seconds_waited(), time.monotonic()
        share = (waited - before) / (now - then)
        before, then = waited, now
        calm = calm + 1 if share < FREE else 0
        if released is None and share > CROWDED:
            released = threading.Event()
            for _ in range(teams):
                threading.Thread(target=_idle_team, args=(released,), name="idle team", daemon=True).start()
        elif released is not None and calm >= CALM:
            released.set()
            released = None
    if released is not None:
        released.set()


def _idle_team(released: threading.Event) -> None:
    """Have OpenMP make a team of threads for this thread, which lasts as long as it does."""
    torch.zeros(1 << 20).sum()
    released.wait()
