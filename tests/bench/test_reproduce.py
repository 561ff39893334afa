"""bench/reproduce.py: stages that are cut off go on, end, and leave weights and a summary behind."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bench import reproduce
from fer_lightning.results.checkpoint import load
from fer_lightning.results.run_folder import read_run
from fer_lightning.settings.build import check

TINY = ("data=synthetic", "trainer=cpu", "model=dnn", "model.widths=[8,8]", "trainer.max_epochs=2", "logger=none")


def stages() -> dict[str, list[reproduce.Run]]:
    """The stages' form, one tiny run in each."""
    return {
        "best_cnn": reproduce.runs("best_cnn", range(1), *TINY, reproduce.SPLIT),
        "distilled": reproduce.runs("distilled_cnn", range(1), *TINY, reproduce.SPLIT, teachers=["best_cnn-seed0"]),
    }


@pytest.fixture
def call(tmp_path, monkeypatch):
    """`call("--jobs", "2", …)` is bench/reproduce.py in tmp_path/work and tmp_path/out; its exit status."""

    def call(*options: str) -> int:
        folders = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", ["reproduce", *folders, *options])
        return reproduce.main()

    return call


@pytest.fixture
def untrained(tmp_path, monkeypatch):
    """The real stages, whose runs are finished as soon as they are started; which were, and which results written."""
    did: list[str] = []

    def start(run, work, out, overrides):
        did.append(run.name)
        (work / run.name).mkdir(exist_ok=True)
        (work / run.name / "metrics.json").write_text('{"completed": true}')
        return subprocess.Popen(["true"])

    def write_results(stage, done, work, scored, unscored, out):
        did.append(f"results of {stage}: {len(done)} runs, {len(scored)} scores, {len(unscored)} not")
        out.mkdir(parents=True, exist_ok=True)
        (out / "summary.md").write_text("")

    monkeypatch.setattr(reproduce, "start", start)
    monkeypatch.setattr(reproduce, "write_results", write_results)
    return did


@pytest.mark.parametrize("stage", reproduce.stages())
def test_the_stages_settings_exist_and_what_they_name_is_theirs(stage, composed):
    every = reproduce.stages()
    runs = {run.name for group in every.values() for run in group}
    for run in every[stage]:
        assert set(run.teachers) <= runs
        check(composed(*run.settings, "data=synthetic", "trainer=cpu"))
    for arguments in reproduce.evaluations(stage).values():
        assert set(reproduce.named(arguments)) <= runs
    assert len(every[stage]) + 2 <= 8 or stage == "ablation"  # files that come back: weights, metrics.json, summary.md


@pytest.mark.slow
def test_a_run_that_is_cut_off_goes_on_as_if_it_had_not_been(tmp_path):
    settings = (*TINY, "model.widths=[64,64]", "trainer.max_epochs=20", "trainer.precision=32-true")
    parts, whole = reproduce.runs("parts", range(1), *settings), reproduce.runs("whole", range(1), *settings)
    rows = tmp_path / "parts-seed0" / "metrics.csv"

    class Soon(float):
        """A time that comes when the run has two epochs behind it."""

        def __gt__(self, now):  # `now < end`, the other way round
            return not (rows.is_file() and rows.read_text().count("\n") > 2)

    assert reproduce.train(parts, tmp_path, tmp_path, [], 1, Soon()) == []
    assert not reproduce.metrics_of(tmp_path / "parts-seed0")["completed"]
    assert reproduce.train(parts, tmp_path, tmp_path, [], 1, time.monotonic() + 600) == []
    assert reproduce.train(whole, tmp_path, tmp_path, [], 1, time.monotonic() + 600) == []
    cut, uncut = (read_run(tmp_path / f"{name}-seed0") for name in ("parts", "whole"))
    assert cut.metrics["completed"]
    columns = ["epoch", "train_loss", "val_loss", "val_acc"]
    assert cut.epochs[columns].equals(uncut.epochs[columns])


@pytest.mark.slow
def test_stages_go_on_call_by_call_until_all_are_finished(tmp_path, monkeypatch, capsys, call):
    work, out = tmp_path / "work", tmp_path / "out"
    monkeypatch.setattr(reproduce, "stages", stages)
    monkeypatch.setattr(
        reproduce,
        "evaluations",
        lambda stage: (
            {
                "distilled-tta": ["distilled_cnn-seed0", "--tta"],
                "teacher": ["best_cnn-seed0", "--compare", "distilled_cnn-seed0"],
            }
            if stage == "distilled"
            else {}
        ),
    )
    assert call("--jobs", "2") == 75
    assert read_run(work / "best_cnn-seed0").metrics["completed"]
    assert "stage best_cnn, then distilled" in capsys.readouterr().out
    shutil.rmtree(work)  # as on a fresh machine: what is left are the weights in `out`
    assert call("--stages", "distilled") == 0
    assert call("--stages", "distilled") == 0
    assert "all stages are finished: distilled" in capsys.readouterr().out

    for stage in ("best_cnn", "distilled"):
        assert (out / stage / "summary.md").read_text().startswith(f"# Stage {stage}: 1 runs finished")
    teachers = read_run(work / "distilled_cnn-seed0").config["distill"]["teachers"]
    assert teachers == [str(out / "best_cnn" / "best_cnn-seed0.safetensors")]
    written = json.loads((out / "distilled" / "metrics.json").read_text())
    assert written["runs"]["distilled_cnn-seed0"]["epochs"] == 2
    assert written["evaluations"]["distilled-tta"]["tta"]
    assert written["evaluations"]["teacher"]["comparison"]["splits"]
    weights = load(out / "distilled" / "distilled_cnn-seed0.safetensors")
    assert weights.data["split_seed"] == 0


def test_stages_are_chosen_by_name_and_come_in_the_order_of_all(call, untrained, capsys):
    with pytest.raises(SystemExit) as ended:
        call("--stages", "best_cnn", "ensembel")
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert "ensembel" in message
    assert all(stage in message for stage in reproduce.stages())
    assert call("--stages", "ablation", "published_cnn") == 75
    assert untrained[:3] == [f"published_cnn-seed{seed}" for seed in range(3)]
    assert call("--stages", "published_cnn") == 0
    assert capsys.readouterr().out.endswith("all stages are finished: published_cnn\n")


def test_too_few_minutes_for_any_score_are_refused(call, capsys):
    with pytest.raises(SystemExit) as ended:
        call("--minutes", "2")
    assert ended.value.code == 2
    assert "in less than 2.25 nothing is scored" in capsys.readouterr().err


def test_a_student_without_all_its_teachers_is_not_begun(call, untrained, tmp_path, capsys):
    (tmp_path / "work").mkdir()
    for seed in range(7):
        (tmp_path / "work" / f"best_cnn-seed{seed}.safetensors").touch()
    unfinished = tmp_path / "work" / "best_cnn-seed7"
    unfinished.mkdir()
    (unfinished / "metrics.json").write_text('{"completed": false}')
    assert call("--stages", "distilled") == 2
    message = capsys.readouterr().err
    assert "missing: best_cnn-seed7 (" in message
    assert not untrained
    (tmp_path / "out" / "ensemble").mkdir(parents=True)
    (tmp_path / "out" / "ensemble" / "best_cnn-seed7.safetensors").touch()
    assert reproduce.absent([f"best_cnn-seed{seed}" for seed in range(8)], tmp_path / "work", tmp_path / "out") == ""


def test_what_was_trained_is_written_before_it_is_scored(call, untrained, monkeypatch):
    monkeypatch.setattr(reproduce, "evaluate", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        call("--stages", "best_cnn")
    assert untrained[-1] == "results of best_cnn: 3 runs, 0 scores, 0 not"


def test_without_a_run_to_score_with_a_stage_is_trained_but_not_finished(call, untrained, tmp_path, capsys):
    assert call("--stages", "ensemble", "distilled") == 1
    assert untrained[-1] == "results of ensemble: 5 runs, 0 scores, 2 not"
    message = capsys.readouterr().err
    assert "missing: best_cnn-seed0, best_cnn-seed1, best_cnn-seed2 (" in message
    assert "go on without it: --stages distilled" in message
    assert not (tmp_path / "work" / "finished" / "ensemble").exists()


def test_scores_that_there_is_no_time_for_are_left_to_the_next_call(call, untrained, tmp_path, monkeypatch):
    waits: list[float] = []

    def run(command, stdout, stderr, timeout):
        waits.append(timeout)
        if len(waits) == 2:
            raise subprocess.TimeoutExpired(command, timeout)
        Path(command[command.index("--out") + 1], "evaluation.json").write_text("{}")
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", run)
    options = ["--stages", "best_cnn", "--minutes", "3"]
    assert call(*options) == 75
    assert len(waits) == 3  # the second outlasted the end
    assert all(0 < wait <= 180 for wait in waits)
    assert untrained[-1] == "results of best_cnn: 3 runs, 2 scores, 1 not"
    monkeypatch.setattr(reproduce, "SCORING", 10_000)
    monkeypatch.setattr(reproduce, "GRACE", -10_000)
    assert call(*options) == 75
    assert len(waits) == 3  # too little time was left
    monkeypatch.undo()
    monkeypatch.setattr(subprocess, "run", run)
    assert reproduce.evaluate("best_cnn", tmp_path / "work", tmp_path / "out", [], time.monotonic() + 600)[1] == {}
    assert len(waits) == 4


def test_an_evaluation_that_fails_is_named_with_the_end_of_what_it_said(tmp_path, monkeypatch, capsys):
    def run(command, stdout, stderr, timeout):
        assert command[3:-2] == [str(tmp_path / "a.safetensors"), "--tta", "--data", "/my faces"]
        stdout.write("nothing can be scored")
        return subprocess.CompletedProcess(command, 2)

    monkeypatch.setattr(subprocess, "run", run)
    (tmp_path / "a.safetensors").touch()
    settings = ["data.root=elsewhere", "data.root='/my faces'"]
    reason = reproduce.score("a-tta", ["a", "--tta"], tmp_path, tmp_path, settings, time.monotonic() + 600)
    assert reason.startswith("its evaluation failed, see ")
    assert "nothing can be scored" in capsys.readouterr().err


def stubborn(*_: object) -> subprocess.Popen:
    """A run that hears no SIGTERM, in place of `start`."""
    deaf = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print(flush=True); signal.pause()"
    process = subprocess.Popen([sys.executable, "-c", deaf], stdout=subprocess.PIPE, process_group=0)
    assert process.stdout is not None
    with process.stdout:
        process.stdout.readline()
    return process


def test_runs_end_with_the_time_and_with_ctrl_c(tmp_path, monkeypatch, capsys):
    started: list[subprocess.Popen] = []

    def start(*_: object) -> subprocess.Popen:
        started.append(stubborn())
        return started[-1]

    class Interrupted(float):
        """A time at which Ctrl-C comes, when two runs are on their way."""

        def __gt__(self, now):
            if len(started) == 2:
                raise KeyboardInterrupt
            return True

    class Over(float):
        """A time that comes when a third run is on its way."""

        def __gt__(self, now):
            return len(started) < 3

    monkeypatch.setattr(reproduce, "start", start)
    monkeypatch.setattr(reproduce, "GRACE", 0)
    two = reproduce.runs("a", range(2))
    with pytest.raises(KeyboardInterrupt):
        reproduce.train(two, tmp_path, tmp_path, [], 2, Interrupted())
    assert [process.returncode for process in started] == [-signal.SIGKILL] * 2
    assert capsys.readouterr().out.count("ended with status -9") == 2
    assert reproduce.train(two, tmp_path, tmp_path, [], 1, Over()) == []  # ended by us: no failure
    assert started[2].returncode == -signal.SIGKILL
    assert len(started) == 3


def test_ctrl_c_in_the_middle_of_a_start_comes_when_the_run_is_known(tmp_path, monkeypatch):
    started: list[subprocess.Popen] = []

    def start(*_: object) -> subprocess.Popen:
        os.kill(os.getpid(), signal.SIGINT)
        started.append(stubborn())
        return started[-1]

    monkeypatch.setattr(reproduce, "start", start)
    monkeypatch.setattr(reproduce, "GRACE", 0)
    with pytest.raises(KeyboardInterrupt):
        reproduce.train(reproduce.runs("a", range(2)), tmp_path, tmp_path, [], 2, time.monotonic() + 600)
    assert [process.returncode for process in started] == [-signal.SIGKILL]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_run_leads_a_process_group_but_no_session(tmp_path):
    process = reproduce.start(reproduce.Run("a", ("model=nope",)), tmp_path, tmp_path, [])
    assert os.getpgid(process.pid) == process.pid
    assert os.getsid(process.pid) == os.getsid(0)  # what a lent machine kills with the call
    process.kill()
    process.wait()


def test_sigterm_ends_the_runs_too(tmp_path):
    reading, writing = os.pipe()
    command = [sys.executable, reproduce.__file__, "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with subprocess.Popen(command, stdin=writing, stdout=subprocess.PIPE, env=environment) as process:
        os.close(writing)  # now only it and its runs, which inherit it, hold that end
        assert process.stdout is not None
        while b"started" not in process.stdout.readline():
            assert process.poll() is None
        process.terminate()
        process.communicate()
    assert process.returncode == 130
    assert select.select([reading], [], [], 60)[0], "a run lives on"
    os.close(reading)


def test_a_run_that_fails_is_named_with_the_end_of_what_it_said(monkeypatch, capsys, call):
    monkeypatch.setattr(reproduce, "stages", lambda: {"best_cnn": reproduce.runs("a", range(1), "model=nope")})
    assert call() == 1
    assert "model=nope: there is no such choice" in capsys.readouterr().err


def test_without_fer2013_nothing_is_trained_in_its_place(tmp_path, monkeypatch, capsys, call):
    settings = [setting for setting in TINY if not setting.startswith("data=")]
    monkeypatch.setattr(reproduce, "stages", lambda: {"best_cnn": reproduce.runs("a", range(1), *settings)})
    monkeypatch.chdir(tmp_path)
    assert call() == 1
    assert "no FER2013 found" in capsys.readouterr().err


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="processes are looked up in /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_runs_end_with_the_call(tmp_path, number):
    """A terminal that is closed tells the call alone: its runs lead process groups of their own."""
    command = [sys.executable, reproduce.__file__, "--out", str(tmp_path / "out"), "--work", str(tmp_path / "work")]
    settings = ["--", "data=synthetic", "trainer=cpu", "logger=none"]
    with subprocess.Popen([*command, *settings], stdout=subprocess.PIPE, text=True) as called:
        assert called.stdout is not None
        while "seed2: started" not in called.stdout.readline():
            assert called.poll() is None
        called.send_signal(number)
        assert called.wait(60) == 130
    assert [pid for pid in os.listdir("/proc") if pid.isdigit() and str(tmp_path).encode() in said(pid)] == []


def said(pid: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:  # it has just ended
        return b""
