"""Processes of one run: which of them checks, writes and prints; that they end together; that they train as one."""

import os
import shutil
import subprocess
import sys
import threading
import time
from contextlib import nullcontext
from pathlib import Path

import pandas as pd
import pytest

from fer_lightning.errors import UserError
from fer_lightning.training import processes
from fer_lightning.training.processes import RANKS, begins_alone, check_started, is_first_process


@pytest.mark.parametrize(
    ("environment", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "0"}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"SLURM_PROCID": "0"}, True),
        ({"SLURM_PROCID": "1"}, False),
        ({"RANK": "2", "LOCAL_RANK": "0"}, False),  # the first process of another machine
        ({"NODE_RANK": "1", "LOCAL_RANK": "0"}, False),
        ({"RANK": "0", "SLURM_PROCID": "1"}, True),
    ],
)
def test_one_process_of_all_is_the_first(monkeypatch, environment, first):
    for name in RANKS:
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert is_first_process() == first


BATCH = {"SLURM_JOB_NAME": "train", "SLURM_NTASKS": "2", "SLURM_PROCID": "0"}
TASK = {**BATCH, "SLURM_STEP_ID": "0"}


@pytest.mark.parametrize(
    ("environment", "processes", "wrong", "alone"),
    [
        ({}, 1, None, False),
        (BATCH, 1, None, True),  # a batch script without srun
        ({**BATCH, "srun": "is here"}, 2, None, True),
        (BATCH, 2, None, False),  # in a container without srun, which was not told of the step
        ({**TASK, "SLURM_JOB_NAME": "bash"}, 1, None, False),
        ({"SLURM_NTASKS": "2"}, 2, None, True),
        (TASK, 2, None, False),
        ({**TASK, processes.STARTER: "1", "LOCAL_RANK": "1"}, 2, None, True),
        (TASK, 1, "has started 2 processes of a run of 1", False),
        ({"TORCHELASTIC_RUN_ID": "x", "WORLD_SIZE": "4", "RANK": "0"}, 2, "has started 4 processes", False),
        ({"RANK": "0", "WORLD_SIZE": "2"}, 1, None, False),  # left over
        ({"LOCAL_RANK": "1"}, 1, "LOCAL_RANK=1 in the environment: not the first process", False),
        ({"LOCAL_RANK": "0"}, 2, "Lightning would wait", False),
    ],
)
def test_variables_that_launchers_leave_are_told_from_those_they_set(monkeypatch, environment, processes, wrong, alone):
    for name in [name for name in os.environ if name.startswith("SLURM_") or name in RANKS]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(shutil, "which", lambda name: environment.get(name))
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with nullcontext() if wrong is None else pytest.raises(UserError, match=wrong):
        check_started(processes)
    assert begins_alone(processes) == alone


@pytest.mark.parametrize(("name", "value"), [("LOCAL_RANK", "1"), ("RANK", ""), ("RANK", "x")])
def test_a_rank_by_mistake_is_one_message(cli, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    ended = cli("model=dnn", "data=synthetic", "logger=none")
    assert (ended.status, f"{name}={value} in the environment" in ended.err) == (2, True)
    assert not Path("outputs").exists()


TWO = """
import os, signal, sys, time
from fer_lightning.training import processes

processes.PATIENCE = 0.5
OTHER = '''
import os, signal, sys, time
from fer_lightning.training.processes import ending_with_the_first
with ending_with_the_first():
    open("began", "w").write(str(os.getpid()))
    {other}
'''
with processes.other_processes([sys.executable, "-c", OTHER], 2, {{}}):
    while not os.path.exists("began") or not open("began").read():
        time.sleep(0.01)
    {first}
print("through", "LOCAL_RANK" in os.environ)
"""


@pytest.mark.parametrize(
    ("first", "other", "status", "told"),
    [
        ("", "time.sleep(60)", 0, "through False"),
        ("time.sleep(60)", "sys.exit(3)", 1, "ended with status 3"),  # one that waits for it in vain
        ("time.sleep(0.2); raise ValueError", "os.kill(os.getpid(), 9)", 1, "was ended by SIGKILL"),
        ("os.kill(os.getpid(), 9)", "time.sleep(60)", -9, "the first process of the run"),
        ("os.killpg(0, 2); time.sleep(60)", "time.sleep(60)", -2, "KeyboardInterrupt"),  # Ctrl-C
    ],
)
def test_they_end_together_with_one_message(first, other, status, told):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True, "start_new_session": True}
    ended = subprocess.Popen([sys.executable, "-c", TWO.format(first=first, other=other)], **pipes)
    said = ended.communicate(timeout=30)[0]  # of both: this waits for the end of the other one too
    assert (ended.returncode, said.count(told)) == (status, 1), said


PLAIN = """
from torch import nn
from fer_lightning.models import EmotionClassifier

class Plain(EmotionClassifier):  # without batch normalization, which is of each process's images
    def __init__(self, label_smoothing=0.0, optimizer=None, scheduler=None):
        super().__init__(label_smoothing, optimizer, scheduler)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(2304, 16), nn.ReLU(), nn.Linear(16, 7))

    def forward(self, x):
        return self.layers(x)
"""


@pytest.mark.slow
def test_two_train_as_one_of_twice_the_batch_size_and_go_on_when_one_was_killed(
    cli, tmp_path, monkeypatch, few_faces_file
):
    Path("plain.py").write_text(PLAIN)
    monkeypatch.syspath_prepend(tmp_path)
    network = ("model=dnn", "~model.widths", "~model.dropout", "model._target_=plain.Plain", "logger=none", "aug=norm")
    data = ("data=fer2013", f"data.root={few_faces_file}", "data.val_split=0.2", "trainer.precision=32-true")
    both = (*network, *data, "trainer.accelerator=cpu", "trainer.max_epochs=5")
    assert cli(*both, "data.batch_size=64", "hydra.run.dir=one").status == 0
    started = []

    def killed_after_two_epochs() -> None:
        while not Path("two/metrics.csv").is_file() or Path("two/metrics.csv").read_text().count("\n") < 3:
            time.sleep(0.005)
        started[0].kill()

    popen = subprocess.Popen
    monkeypatch.setattr(processes.subprocess, "Popen", lambda *a, **k: started.append(popen(*a, **k)) or started[-1])
    two = (*both, "trainer=ddp", "trainer.devices=2", "data.batch_size=32", "hydra.run.dir=two")
    threading.Thread(target=killed_after_two_epochs).start()
    ended = cli(*two)
    assert ended.status == 1
    assert ended.err.count("SIGKILL") == 1
    assert "resume=true goes on" in ended.err
    assert "Traceback" not in ended.err
    assert "SIGKILL" in (tmp_path / "two" / "metrics.json").read_text()
    assert cli(*two, "resume=true").status == 0
    one, two = (pd.read_csv(f"{name}/metrics.csv").drop(columns="seconds") for name in ("one", "two"))
    pd.testing.assert_frame_equal(one, two, rtol=1e-5)
    assert {path.name for path in Path("one").iterdir()} ^ {path.name for path in Path("two").iterdir()} == {
        "config-1.yaml"
    }
    assert Path("two/predictions.csv").read_text().count("\n") == Path("one/predictions.csv").read_text().count("\n")
