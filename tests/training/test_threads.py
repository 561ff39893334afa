"""Threads: how many, and that they leave the cores to others without another figure."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from fer_lightning.training import threads

linux = pytest.mark.skipif(not threads.TASKS.is_dir(), reason="only Linux tells how long threads wait for a core")

# How often the threads of 100 steps go to sleep (in /proc, voluntary switches) with an idle team beside them
SLEEPS = """
import threading, time
import torch
from fer_lightning.training import threads
torch.set_num_threads(2)
released = threading.Event()
x = torch.arange(1 << 18).float()
sums = [(x * 1.5).sum().item()]
threading.Thread(target=threads._idle_team, args=(released,), daemon=True).start()
time.sleep(0.2)
def sleeps():
    status = [path.read_text() for path in threads.TASKS.glob("*/status")]
    return sum(int(text.split("voluntary_ctxt_switches:")[1].split()[0]) for text in status)
before = sleeps()
for _ in range(100):
    sums.append((x * 1.5).sum().item())
    until = time.perf_counter() + 0.0005  # a gap in which the other thread waits
    while time.perf_counter() < until: pass
print(sleeps() - before, len(set(sums)))
"""


@linux
@pytest.mark.slow
def test_idle_teams_make_waiting_threads_sleep_and_change_no_figure():
    """Without them they sleep hardly ever on cores of their own, but as often where others want those."""
    if len(threads.os.sched_getaffinity(0)) > 3:
        pytest.skip("one idle team of two is enough for up to three cores only")
    slept, sums = subprocess.check_output([sys.executable, "-c", SLEEPS], text=True).split()
    assert int(slept) > 100
    assert sums == "1"


@pytest.fixture
def waited(monkeypatch):
    """What the kernel says of waiting, in seconds a second, and a clock of fast checks; the teams that were made."""
    rate = {"share": 0.0}
    monkeypatch.setattr(threads, "seconds_waited", lambda: rate["share"] * time.monotonic())
    monkeypatch.setattr(threads, "CHECKED_EVERY", 0.01)
    monkeypatch.setattr(threads, "_teams", lambda: 2)
    return rate


def idle_teams(wanted: int) -> bool:
    """Whether there are as many before long."""
    for _ in range(200):
        if sum(thread.name == "idle team" for thread in threads.threading.enumerate()) == wanted:
            return True
        time.sleep(0.01)
    return False


def test_teams_stand_by_while_others_want_the_cores(waited):
    with threads.sharing_cores():
        assert idle_teams(0)
        waited["share"] = 0.5
        assert idle_teams(2)
        waited["share"] = 0.0
        assert idle_teams(0)
        waited["share"] = 0.5
        assert idle_teams(2)
    assert idle_teams(0)


@pytest.mark.parametrize(
    ("environment", "threads_set", "cores", "wanted"),
    [
        ({}, 2, 2, 1),
        ({}, 1, 2, 0),  # none waits for another
        ({"OMP_WAIT_POLICY": "active"}, 2, 2, 0),
        ({"GOMP_SPINCOUNT": "1000"}, 2, 2, 0),
        ({}, 32, 64, 2),
        ({}, 2, 64, 0),
    ],
)
@linux
def test_how_many_teams_are_more_threads_than_cores(monkeypatch, environment, threads_set, cores, wanted):
    for name in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads_set)
    monkeypatch.setattr(threads.os, "sched_getaffinity", lambda _: set(range(cores)))
    assert threads._teams() == wanted


@pytest.mark.parametrize(
    ("environment", "quota", "wanted"),
    [
        ({}, "max 100000", 8),
        ({}, "150000 100000", 2),
        ({}, "1600000 100000", 8),
        ({"OMP_NUM_THREADS": "8"}, "150000 100000", 8),
        ({"SLURM_CPUS_PER_TASK": "2"}, "max 100000", 2),
    ],
)
def test_auto_is_one_thread_a_core_of_the_container(monkeypatch, tmp_path: Path, environment, quota, wanted):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(threads, "DEFAULT", 8)
    monkeypatch.setattr(threads, "QUOTA", tmp_path / "cpu.max")
    threads.QUOTA.write_text(f"{quota}\n")
    assert threads.default_threads() == wanted
    assert threads.default_threads(processes=2) == (wanted if environment else wanted // 2)
    assert threads.default_threads(processes=16) == (wanted if environment else 1)
