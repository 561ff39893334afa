"""The list of runs: what stands in it, in which order, and the command that goes on."""

import json
import os
import shlex
import shutil
from pathlib import Path

import pytest
from commands import Ended, run_command

from fer_lightning import runs
from fer_lightning.results.lock import HOLDER, FolderLock

DNN = ("model=dnn", "model.widths=[64,32]", "trainer=cpu", "logger=none", "data=synthetic")
OLD = 1_700_000_000  # when files were written that nobody writes any more


def listed(*arguments: object) -> Ended:
    ended = run_command(runs.main, *arguments)
    assert ended.status == 0, ended.err
    return ended


def rows(*arguments: object) -> dict[str, dict]:
    """By the end of their folders' names, in the order of the list."""
    return {Path(row["folder"]).name: row for row in json.loads(listed(*arguments, "--json").out)}


@pytest.fixture
def study(trained, tmp_path) -> Path:
    """A finished run of two epochs, and what others may have come to, in the folder `study` of the current one."""
    finished = trained("study", *DNN, "trainer.max_epochs=2").rename(tmp_path / "finished")
    study = tmp_path / "study" / "2026-11-27"
    states = {
        "1-finished": {},
        "2-interrupted": {"completed": False, "interrupted": True},
        "3-failed": {"completed": False, "error": "Failure: the loss\nbecame \x1b[31mnan"},
        "4-killed": {"completed": False, "val_acc": None, "best_epoch": None},
        "5-running": {"completed": False, "val_acc": None, "best_epoch": None},
        "10-trial": {"trial": True, "aug": "none", "seed": 1, "data": "fer2013", "synthetic": False, "val_acc": 0.99},
    }
    for name, change in states.items():
        path = Path(shutil.copytree(finished, study / name)) / "metrics.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))
        os.utime(path, (OLD + len(name), OLD + len(name)))
    (study / "4-killed" / HOLDER).write_text('{"host": "here", "pid": 1}')
    (study / "6-broken").mkdir()
    (study / "6-broken" / "metrics.json").write_text("{")
    (study / "7-begun").mkdir()
    (study / "7-begun" / "fer_lightning.log").write_text("loading")
    return study.parent


def test_every_run_is_listed_with_what_became_of_it(study):
    with FolderLock(study / "2026-11-27" / "5-running"):
        found = rows("study", "--sort", "folder")
    states = ["finished", "interrupted", "failed", "killed", "running", "broken", "running", "trial"]
    assert [row["state"] for row in found.values()] == states
    assert list(found)[-1] == "10-trial"  # as a number
    metrics = json.loads((study / "2026-11-27" / "1-finished" / "metrics.json").read_text())
    same = ("model", "aug", "seed", "epochs", "max_epochs", "best_epoch", "val_acc", "test_public_acc")
    assert {key: found["1-finished"][key] for key in same} == {key: metrics[key] for key in same}
    assert (found["1-finished"]["data"], found["10-trial"]["data"]) == ("synthetic", "fer2013")
    assert found["1-finished"]["seconds"] == metrics["train_seconds"]
    for name in ("4-killed", "5-running"):  # the best so far
        assert found[name]["val_acc"] == pytest.approx(metrics["val_acc"], abs=1e-6)
        assert (found[name]["best_epoch"], found[name]["epochs"]) == (metrics["best_epoch"], 2)
    assert found["4-killed"]["why"] == "killed, 2 epochs so far"
    assert "metrics.json: not JSON" in found["6-broken"]["why"]
    again = shlex.split(found["3-failed"]["go_on"])
    assert again[-2:] == ["hydra.run.dir=study/2026-11-27/3-failed", "resume=true"]
    assert {"model=dnn", "trainer.max_epochs=2"} < set(again)
    assert [name for name, row in found.items() if row["go_on"]] == ["2-interrupted", "3-failed", "4-killed"]


def test_a_line_a_run_goes_into_a_pipe_and_the_unfinished_are_told_when_asked_for(study):
    said = listed("study", "--sort", "folder").out
    table, _, closing = said.partition("\n\n")
    assert [line.split()[-1] for line in table.splitlines()[1:3]] == [
        "study/2026-11-27/1-finished",
        "study/2026-11-27/2-interrupted",
    ]
    assert closing == "8 runs: 2 finished, 6 not; why, and how to go on: --unfinished\n"
    said = listed("study", "--unfinished").out
    assert "3-failed: Failure: the loss became ?[31mnan (after 2 epochs)\n" in said
    assert "\ngo on with:\n" in said
    (study / "2026-11-27" / "3-failed" / "checkpoints" / "last.ckpt").unlink()
    said = listed("study/2026-11-27/3-failed").out
    assert "it can't go on: checkpoints/last.ckpt is not there" in said
    assert "go on with" not in said


def test_a_terminal_holds_it(study):
    chosen = list(rows("study").values())
    for columns in (80, 120):
        lines = f"{runs.table(chosen, None, columns)}\n{runs.closing(chosen, False, False, columns)}".splitlines()
        assert max(map(len, lines)) <= columns
        (line,) = [line for line in lines if line.endswith("  study/2026-11-27/1-finished")]
        assert line.startswith("    ") == (columns == 80)  # a line of its own
        reasons = runs.closing(chosen, True, False, columns).partition("\ngo on with:\n")[0]
        assert max(map(len, reasons.splitlines())) <= columns


def test_the_order_is_the_sensible_one_and_can_be_turned(study):
    assert next(iter(rows("study", "--sort", "val_acc"))) == "10-trial"
    assert list(rows("study", "--sort", "val_acc"))[-2:] == ["6-broken", "7-begun"]  # nothing known: last either way
    assert list(rows("study", "--sort", "val_acc", "--reverse"))[-3:] == ["10-trial", "6-broken", "7-begun"]
    assert list(rows("study", "--sort", "seed"))[:6][-1] == "10-trial"
    dated = list(rows("study"))  # the newest first
    assert dated == list(rows("study", "--sort", "date"))
    assert [name for name in dated if name[0] in "124"] == ["2-interrupted", "1-finished", "4-killed", "10-trial"]
    assert "2023-11-14" in listed("study", "--sort", "date").out


def test_some_are_chosen(study):
    assert list(rows("study", "--aug", "none")) == ["10-trial"]
    assert set(rows("study", "--finished")) == {"1-finished", "10-trial"}
    assert len(rows("study", "--model", "dnn", "--unfinished")) == 4
    said = listed("study", "--model", "cnn", "--finished").out
    assert said == "of 8 runs below study, none is model=cnn and finished; model: dnn\n"


def test_nothing_there_is_said(tmp_path):
    ended = run_command(runs.main)
    assert (ended.status, "outputs: no such folder" in ended.err) == (2, True)
    Path("outputs").mkdir()
    assert "no run below outputs; `python -m fer_lightning` begins one" in listed().out
    assert rows() == {}
    ended = run_command(runs.main, "output")
    assert (ended.status, ended.err.count("\n")) == (2, 1)
    assert "the nearest is outputs" in ended.err


def test_the_command_that_goes_on_is_the_one_that_the_interruption_told(cli, end_in, monkeypatch, tmp_path):
    sweep = ("--multirun", *DNN, "trainer.max_epochs=2", "seed=0,1", "hydra.sweep.dir=my runs")
    end_in(1, KeyboardInterrupt())
    ended = cli(*sweep)
    assert ended.status == 130
    told = ended.out.split("go on with: ")[1].splitlines()[0]
    said = listed("my runs").out
    assert "'my runs': 1 of its 2 jobs have not begun\n" in said
    (command,) = said.split("go on with:\n")[1].splitlines()
    assert sorted(shlex.split(command)) == sorted(shlex.split(told))
    (row,) = rows("my runs").values()
    assert row["state"] == "interrupted"
    monkeypatch.chdir("my runs")  # relative paths of the command are those of where it was typed in
    there = listed(".").out.splitlines()[-1]
    assert there.startswith(f"cd {tmp_path} && python -m fer_lightning --multirun ")
    assert f'hydra.sweep.dir="{tmp_path}/my runs"' in shlex.split(there)
