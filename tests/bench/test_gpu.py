"""The stages of bench/gpu.sh, tried on the CPU with tiny networks: what they write, and that they go on."""

import json
import os
import sys
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch.profiler
from torch.autograd import DeviceType

from bench import gpu
from fer_lightning import train
from fer_lightning.settings.build import check

TINY = ["model=dnn", "model.widths=[8,8]", "data.batch_size=64", "trainer.precision=32-true"]


@pytest.fixture
def stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """`stage("speed", …)` is `python -m bench.gpu speed …` on the CPU; the record it archived."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")

    def call(name: str, *options: str) -> dict:
        folders = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "out")]
        monkeypatch.setattr("sys.argv", ["gpu", name, *TINY, "--device", "cpu", *folders, *options])
        gpu.main()
        return archived(tmp_path, name)[f"{name}.json"]

    return call


def archived(tmp_path: Path, name: str) -> dict:
    """What the stage's archive holds: name → content, JSON read."""
    with tarfile.open(tmp_path / "out" / f"{name}.tar.gz") as packed:
        files = {member: packed.extractfile(member) for member in packed.getnames()}
        read = {member: file.read() for member, file in files.items() if file is not None}
    assert not [member for member in read if member.endswith(".ckpt")]
    return {member: json.loads(content) if member.endswith(".json") else content for member, content in read.items()}


class Job:
    """A training that has ended, in place of `gpu.start`'s."""

    def __init__(self, status: int = 0) -> None:
        self.status = status

    def wait(self) -> int:
        return self.status


def folder_of(overrides: tuple[str, ...]) -> Path:
    return Path(next(setting for setting in overrides if setting.startswith("hydra.run.dir=")).partition("=")[2])


def test_what_spans_cover_together():
    assert gpu.union([(0, 2), (1, 3), (5, 6), (5.5, 5.75)]) == 4
    assert gpu.union([]) == 0


def test_published_goes_on_where_it_was_cut_off(stage, tmp_path):
    first = stage("published", "--epochs", "1", "--seeds", "0")
    assert first["figures"]["metrics"][0]["completed"]
    metrics = tmp_path / "runs" / "published" / "published-0" / "metrics.json"
    metrics.unlink()  # as if the call had been killed, 1,000 seconds after its start and 100 after its last checkpoint
    record, last = metrics.with_name("wall.json"), metrics.parent / "checkpoints" / "last.ckpt"
    ((start, _),) = json.loads(record.read_text())
    record.write_text(json.dumps([[start, None]]))
    os.utime(last, (start + 900, start + 900))
    again = stage("published", "--epochs", "2", "--seeds", "0")
    assert again["figures"]["metrics"][0]["epochs"] == 2
    assert 900 < again["figures"]["walls"][0] < 1000
    before = metrics.read_bytes()
    stage("published", "--epochs", "2", "--seeds", "0")
    assert metrics.read_bytes() == before


def test_speed_is_told_beside_the_baseline(stage):
    record = stage("speed", "--images", "64", "--pairs", "2", "--loaders", "0")
    what = [line["what"] for line in record["lines"]]
    assert what == ["CNN epoch", "CNN epoch: baseline / ours", "CNN epoch: GPU busy"]
    assert all(value > 0 for value in record["lines"][1]["values"])
    assert record["figures"]["profile"]["seconds"] > 0
    assert record["figures"]["profile"]["busy"] == 0  # there is no GPU


def test_finished_timings_outlive_a_profiler_that_fails(stage, monkeypatch, capsys):
    def fail(*_: object, **__: object) -> dict:
        raise RuntimeError("no CUPTI here")

    contestant = SimpleNamespace(read=dict, ask=dict, close=lambda: None)
    monkeypatch.setattr(gpu, "Worker", lambda *_, **__: contestant)
    monkeypatch.setattr(gpu, "take_turns", lambda *_: [{"ours": {"seconds": 1.0}, "baseline": {"seconds": 5.0}}])
    monkeypatch.setattr(gpu, "measure", fail)
    record = stage("speed", "--images", "64")
    assert [line["values"] for line in record["lines"]] == [[1], [5]]
    assert record["figures"]["profile"] == {"error": "no CUPTI here"}
    assert "GPU busy: not measured, as the profiled training failed: no CUPTI here" in capsys.readouterr().err


def test_the_profiled_epoch_begins_when_the_profiler_has_started(tmp_path, monkeypatch):
    real, late = time.perf_counter, [0.0]
    on_gpu = {"name": "kernel", "device_type": DeviceType.CUDA}

    class Slow:
        """A profiler that takes 1,000 seconds to start and to stop."""

        def __init__(self, activities: list) -> None:
            assert activities == [torch.profiler.ProfilerActivity.CPU]

        def start(self) -> None:
            late[0] += 1000

        stop = start

        def events(self) -> list:
            span = SimpleNamespace(start=0, end=2_000_000)
            return [
                SimpleNamespace(**on_gpu, time_range=span, is_user_annotation=False),
                SimpleNamespace(**on_gpu, time_range=SimpleNamespace(start=0, end=9e9), is_user_annotation=True),
            ]

    monkeypatch.setattr(train, "Recorder", train.Recorder)  # which `busy` replaces
    monkeypatch.setattr(torch.profiler, "profile", Slow)
    monkeypatch.setattr(time, "perf_counter", lambda: real() + late[0])
    answers: list[dict] = []
    channel = SimpleNamespace(answer=lambda **figures: answers.append(figures))
    gpu.busy(channel, ["data=synthetic", "trainer=cpu", *TINY], str(tmp_path / "run"), "cpu")  # type: ignore[arg-type]
    assert late[0] == 2000
    assert 0 < answers[0]["seconds"] < 1000
    assert answers[0]["busy"] == 2


def test_published_is_archived_after_every_seed(stage, tmp_path, monkeypatch):
    def train_one(settings: object, folder: Path, *overrides: str) -> None:
        if "seed=1" in overrides:
            sys.exit(1)
        folder.mkdir()
        (folder / "wall.json").write_text("[[0, 60]]")
        scores = dict.fromkeys(("val_acc", "test_public_acc", "test_public_acc_unseen", "test_private_acc"), 0.7)
        (folder / "metrics.json").write_text(json.dumps({"completed": True, **scores}))

    monkeypatch.setattr(gpu, "go_on", train_one)
    with pytest.raises(SystemExit):
        stage("published")
    files = archived(tmp_path, "published")
    assert files["published.json"]["figures"]["walls"] == [60]
    assert "published-0/metrics.json" in files


def test_concurrent_begins_anew_and_touches_only_its_own(stage, tmp_path, monkeypatch):
    def start(settings: object, *overrides: str) -> Job:
        folder = folder_of(overrides)
        folder.mkdir()  # fails where an earlier call's is still there
        (folder / "metrics.json").write_text("{}")
        return Job()

    monkeypatch.setattr(gpu, "start", start)
    kept = tmp_path / "runs" / "concurrent" / "alone-by-hand"
    kept.mkdir(parents=True)
    for _ in range(2):
        assert stage("concurrent")["figures"].keys() == {"alone", "together"}
    assert {path.name for path in kept.parent.glob("*-*")} == {
        *("alone-by-hand", "alone-norm_aug"),
        *("together-none", "together-norm", "together-norm_aug"),
    }


@pytest.mark.parametrize("recipe", gpu.PROBED)
def test_the_probed_recipes_can_be_so_short(recipe, composed):
    epochs = f"trainer.max_epochs={gpu.EPOCHS['probe']}"
    check(composed(f"experiment={recipe}", epochs, "data=synthetic", "trainer=cpu"))


def test_probe_holds_compiled_against_not_and_shows_what_failed(stage, tmp_path, monkeypatch, capsys):
    def start(settings: object, *overrides: str, log, **environment: str) -> Job:
        log.write(f"{environment['TORCH_LOGS']} of {overrides}\n")
        compiled = "trainer.compile=true" in overrides
        if "experiment=best_cnn" in overrides and compiled:
            log.write("no compiler here\n")
            return Job(1)
        folder = folder_of(overrides)
        folder.mkdir()
        (folder / "metrics.json").write_text(json.dumps({"completed": True, "compiled": compiled}))
        rows = "".join(f"{epoch},{1 / epoch},0.5,1.5,0.5,0.001,{10 / epoch}\n" for epoch in (1, 2))
        (folder / "metrics.csv").write_text(f"epoch,train_loss,train_acc,val_loss,val_acc,lr,seconds\n{rows}")
        return Job()

    monkeypatch.setattr(gpu, "start", start)
    for _ in range(2):  # anew each time
        with pytest.raises(SystemExit, match="failed: best_cnn-compile-true"):
            stage("probe")
    files = archived(tmp_path, "probe")
    assert [(line["what"], line["values"], line["note"]) for line in files["probe.json"]["lines"]] == [
        ("published_cnn, compile=false", [5], "not compiled, loss 0.5000"),
        ("published_cnn, compile=true", [5], "compiled, loss 0.5000"),
        ("best_cnn, compile=false", [5], "not compiled, loss 0.5000"),
    ]
    assert files["probe.json"]["figures"]["best_cnn-compile-true"] == {"status": 1}
    assert b"perf_hints" in files["published_cnn-compile-true.log"]
    assert files["best_cnn-compile-true.log"].endswith(b"no compiler here\n")
    printed = capsys.readouterr().out
    assert "no compiler here" in printed
    assert "best_cnn, compile=false" in printed
