"""bench/gpu.py: its stages go on from call to call, end with the time, and leave what they know behind."""

import inspect
import json
import os
import signal
import sys
import tarfile
from contextlib import nullcontext
from pathlib import Path
from types import GenericAlias, SimpleNamespace

import pytest
from commands import all_faults
from test_main import figures

from bench import contestants, gpu
from fer_lightning.results.run_folder import EPOCH_COLUMNS
from fer_lightning.settings.build import check

HEAD = ",".join(EPOCH_COLUMNS) + "\n"


@pytest.fixture
def call(tmp_path, monkeypatch):
    """`call("probe", …)` is bench/gpu.sh in small, in tmp_path/work and tmp_path/out; its exit status."""
    # One that is ignored, as in a job in the background or under nohup, would stay ignored.
    handlers = {
        number: signal.signal(number, signal.SIG_DFL) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    }

    def call(*options: str) -> int:
        folders = ["--work", str(tmp_path / "work"), "--out", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", ["gpu", *options, "--tiny", *folders])
        return gpu.main()

    yield call
    for number, handler in handlers.items():
        signal.signal(number, handler)


@pytest.fixture
def trained(monkeypatch):
    """Runs that are finished as soon as they are begun, in place of real ones; name → its command."""
    commands: dict[str, list[str]] = {}
    reached = {"published": 0.6, "best-norm_aug": 0.7, "best-strong": 0.65, "compiled": 0.1}

    def together(self: gpu.Call, given: dict[str, list[str]], seconds: float = 0) -> None:
        for name, command in given.items():
            commands[name] = command
            (self.work / name / "checkpoints").mkdir(parents=True)
            if "fer_lightning.evaluate" in command:
                splits = {"splits": {"public": {"acc": 0.74}}}
                (self.work / name / "evaluation.json").write_text(json.dumps(splits))
                continue
            epochs, acc = self.length(name), reached.get(name[:-2], 0.1) + int(name[-1]) / 100
            for file in ("mistakes.png", "curves.png", "checkpoints/best.ckpt"):
                (self.work / name / file).touch()
            rows = "".join(
                f"{epoch},{1 / epoch},0.5,1.5,{acc},0.001,0.25,{1 / epoch}\n" for epoch in range(1, epochs + 1)
            )
            (self.work / name / "metrics.csv").write_text(HEAD + rows)
            metrics = {"completed": True, "compiled": name == gpu.COMPILED, "epochs": epochs}
            metrics |= {"val_acc": acc, "test_public_acc": acc, "test_public_acc_unseen": acc, "test_private_acc": None}
            (self.work / name / "metrics.json").write_text(json.dumps(metrics))
            self.figures[name] = {"pace": 0.3 if name == gpu.COMPILED else 0.5, "rest": 20, "busy": 0.9}
        self.save()

    monkeypatch.setattr(gpu.Call, "together", together)
    monkeypatch.setattr(gpu, "read_checkpoint", lambda path: path)
    monkeypatch.setattr(gpu, "write_weights", lambda _, target: target.touch())
    return commands


@pytest.mark.slow
@pytest.mark.parametrize("setting", gpu.SETTINGS)
def test_the_settings_exist(setting, composed):
    check(composed(*gpu.SETTINGS[setting], "data=synthetic", "trainer=cpu", f"trainer.max_epochs={gpu.PROBED}"))


@pytest.mark.slow
def test_all_stages_and_what_they_leave(call, trained, tmp_path, monkeypatch, capsys):
    def worker(task: str, environment: None, **options: object) -> nullcontext:
        inspect.signature(getattr(contestants, task.partition(":")[2])).bind(None, **options)
        return nullcontext(SimpleNamespace(read=dict, ask=lambda: {"seconds": 2.0}))

    monkeypatch.setattr(gpu, "Worker", worker)
    assert call() == 0
    assert [name for name in trained if name.startswith("best")] == [
        *("best-norm_aug-0", "best-strong-0", "best-norm_aug-1", "best-norm_aug-2")  # two more of the better
    ]
    assert "trainer.compile=true" in trained["published-0"]  # as the probe found it
    assert "--ensemble" in trained[gpu.TOGETHER]
    out = tmp_path / "out"
    assert {path.name for path in (out / "weights").iterdir()} == {
        f"{name}.safetensors" for name in ("best-norm_aug-0", "best-norm_aug-1", "best-norm_aug-2", "best-strong-0")
    }
    with tarfile.open(out / "small.tar.gz") as packed:
        files = set(packed.getnames())
    assert {"summary.md", "published-0/metrics.csv", "published-0/curves.png", "ablation-norm-2/metrics.json"} <= files
    assert not [file for file in files if "mistakes" in file or file.endswith(".ckpt")]
    summary = (tmp_path / "work" / "summary.md").read_text()
    for line in (
        "| 300 epochs alone, whole run | 110.0 s | 110.0–110.0 | 1 | ≤ 150 s | yes | reckoned; start and end 20 s |",
        "| three at once / one alone | 1.667× | 1.667–1.667 | 1 | ≤ 2× | yes |",
        "| published, PublicTest | 0.610 | 0.610–0.610 | 1 | ≥ 0.7 | NO | 0.6100 ± 0.0100: 0.6000 0.6100 0.6200 |",
        "| best-norm_aug --tta, public | 0.740 | 0.740–0.740 | 1 | ≥ 0.73 | yes |",
        "| baseline / ours | 8.00× | 8.00–8.00 | 1 | ≥ 6× | yes |",
    ):
        assert line.rstrip(" |") in summary
    assert "probe    met" in capsys.readouterr().out

    trained.clear()
    assert call() == 0
    assert not trained


@pytest.mark.parametrize(
    ("compiled", "pace", "loss", "wanted"),
    [(True, 0.3, 1.0, True), (True, 0.6, 1.0, False), (True, 0.3, 1.1, False), (False, 0.3, 1.0, False)],
)
def test_the_faster_one_is_gone_on_with_where_losses_agree(call, trained, monkeypatch, compiled, pace, loss, wanted):
    """Also where the probe's time was over before its last epoch."""
    together = gpu.Call.together

    def other(self: gpu.Call, given: dict[str, list[str]], seconds: float = 0) -> None:
        together(self, given, seconds)
        if gpu.COMPILED in given:
            folder = self.work / gpu.COMPILED
            (folder / "metrics.json").write_text(json.dumps({"completed": False, "compiled": compiled, "epochs": 5}))
            (folder / "metrics.csv").write_text(f"{HEAD}1,{loss},0.5,1.5,0.5,0.001,{pace},{loss}\n")
            (self.work / gpu.EAGER / "metrics.csv").write_text(f"{HEAD}1,1.0,0.5,1.5,0.5,0.001,0.5,1.0\n")
            self.figures[gpu.COMPILED] = {"pace": pace, "rest": 30}

    monkeypatch.setattr(gpu.Call, "together", other)
    assert call("probe", "ablation") == 0
    assert f"trainer.compile={str(wanted).lower()}" in trained["ablation-none-0"]


@pytest.mark.slow
def test_a_cycle_is_begun_only_where_it_can_end(call, trained, capsys):
    assert call("probe", "published", "best", "--epochs", "2000") == 75  # 600 s alone
    assert "published-0" in trained  # of a constant learning rate each epoch is a result
    assert not [name for name in trained if name.startswith("best")]
    assert "best-norm_aug-0, best-strong-0: not begun; 1100 s are needed" in capsys.readouterr().out
    assert call("best", "--epochs", "2000") == 75  # begun: no later call will have more time
    assert "best-strong-0" in trained
    assert "best-norm_aug-1" not in trained


@pytest.mark.slow
@all_faults
def test_a_run_that_the_time_cuts_off_goes_on_in_the_next_call(call, cli, few_faces_file, tmp_path, monkeypatch):
    class Here:
        """A process that is none: what it would run runs here, without importing torch again."""

        __class_getitem__ = classmethod(GenericAlias)

        def __init__(self, command: list[str], **_: object) -> None:
            self.returncode = cli(*command[3:]).status

        def poll(self) -> int:
            return self.returncode

    monkeypatch.setattr(gpu, "SEEDS", (0,))
    small = ("data=fer2013", f"data.root={few_faces_file}")
    run = tmp_path / "work" / "published-0"
    rows = run / "metrics.csv"
    with monkeypatch.context() as patch:
        patch.setattr(gpu.Call, "left", lambda _: 0 if rows.is_file() and rows.read_text().count("\n") > 3 else 600)
        assert call("published", "--epochs", "100", *small) == 75
    before = figures(run)
    epochs = len(before)
    assert 3 <= epochs < 100
    assert not json.loads((run / "metrics.json").read_text())["completed"]
    assert f"published, validation after {epochs} epochs" in (tmp_path / "work" / "summary.md").read_text()
    assert (tmp_path / "out" / "weights" / "published-0.safetensors").is_file()

    (run / "metrics.json").unlink()  # as if it had been killed
    monkeypatch.setattr(gpu, "subprocess", SimpleNamespace(Popen=Here))
    assert call("published", "--epochs", str(epochs + 2), *small) == 0
    assert json.loads((run / "metrics.json").read_text())["epochs"] == epochs + 2
    assert figures(run)[:epochs] == before  # the times of epochs that a killed run trains again are others


def doing(monkeypatch: pytest.MonkeyPatch, code: str) -> None:
    """Runs do this instead of training."""
    monkeypatch.setattr(gpu.Call, "training", lambda *_: [sys.executable, "-c", f"import os, signal, sys; {code}"])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_runs_and_results_are_written(call, tmp_path, monkeypatch, number):
    doing(monkeypatch, f"os.kill(os.getppid(), {int(number)}); signal.pause()")
    assert call("published", "best") == 130
    assert (tmp_path / "out" / "small.tar.gz").is_file()


def test_a_run_that_does_not_end_is_killed(call, monkeypatch):
    monkeypatch.setattr(gpu, "GRACE", 10)
    doing(monkeypatch, "signal.signal(15, signal.SIG_IGN); os.kill(os.getppid(), 15); signal.pause()")
    assert call("published") == 130


def test_a_run_that_fails_is_named_with_the_end_of_what_it_said(call, monkeypatch, capsys):
    doing(monkeypatch, "sys.exit('no such choice')")
    assert call("published", "ablation") == 1
    printed = capsys.readouterr()
    assert "published-0 failed, status 1; the end of its log:\nno such choice" in printed.out
    assert "ablation-none-0" in printed.err  # the next stage was begun all the same


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["best", "publish"], "no such stage: publish; there are probe, published, best"),
        (["--minutes", "1"], "--minutes 1: in less than 1.7 nothing is trained"),
        (["--data", "nowhere"], "data.root=nowhere"),
    ],
)
def test_mistakes_in_the_arguments(call, capsys, options, message):
    with pytest.raises(SystemExit) as ended:
        call(*options)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_what_is_seen_of_a_run():
    rows = [(100.0, 0), (140.0, 1), (141.0, 2), (142.0, 4), (144.0, 8)]
    watch = gpu.Watch(Path(), began=100, ended=150, seen=rows)
    found = watch.figures([(140.5, 0.1), (142.0, 0.8), (143.0, 1.0), (149.0, 0.0)])
    assert found == {"pace": 0.5, "rest": 46, "busy": pytest.approx(0.9)}
    assert gpu.Watch(Path(), seen=rows[:3]).figures([]) == {}


def test_a_baseline_that_fails_costs_nothing_else(call, monkeypatch, tmp_path, capsys):
    def worker(*_: object, **__: object) -> None:
        raise RuntimeError("no memory to share")

    monkeypatch.setattr(gpu, "Worker", worker)
    assert call("baseline") == 1
    assert "no memory to share" in capsys.readouterr().out
    assert (tmp_path / "out" / "small.tar.gz").is_file()


def test_runs_lead_process_groups_and_end_with_the_call(call, tmp_path, monkeypatch):
    """Not sessions, in which they would outlive it."""
    doing(monkeypatch, "print(os.getpgid(0) == os.getpid(), os.getsid(0))")
    call("published")
    said = (tmp_path / "work" / "published-0.log").read_text()
    assert said == f"True {os.getsid(0)}\n"
