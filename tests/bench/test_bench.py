"""The benchmark's machinery, at sizes at which no time means anything."""

import queue
import threading
from contextlib import nullcontext
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from commands import run_here
from PIL import Image

from bench import __main__ as command
from bench import baseline, contestants, data, handwritten, rows, worker
from bench.table import Bar, Line, in_columns, markdown, verdicts
from fer_lightning import train
from fer_lightning.data import fer2013, synthetic
from fer_lightning.data.datamodule import FERDataModule

pytestmark = pytest.mark.slow

TINY = rows.Sizes(cnn=(20, 10), dnn=(20, 10), csv=150, probe=16, augmented=40, grown=(100, 150), steps=2, scored=20)


@pytest.fixture(scope="module")
def faces():
    return synthetic.draw(120, 20)


@pytest.fixture(scope="module")
def prepared(faces, tmp_path_factory) -> data.Prepared:
    return data.prepare(faces, 120, 20, tmp_path_factory.mktemp("bench") / "rows")


class Ended(Exception):
    """No more lines come."""


class Threaded:
    """`worker.Worker` in a thread of this process, which spares the import of torch for every contestant."""

    def __init__(self, task: str, environment: dict[str, str] | None = None, **options: Any) -> None:
        self.lines: queue.Queue[bool] = queue.Queue()
        self.answers: queue.Queue[Any] = queue.Queue()
        self.thread = threading.Thread(target=self.work, args=(task.partition(":")[2], options))
        self.thread.start()
        self.first = [self.answers.get()]  # before another contestant patches what this one has

    def work(self, task: str, options: dict[str, Any]) -> None:
        try:
            getattr(contestants, task)(self, **options)
        except Ended:
            pass
        except BaseException as error:
            self.answers.put(error)

    # the contestant's end
    def wait(self) -> None:
        if not self.lines.get():
            raise Ended

    def answer(self, **figures: Any) -> None:
        self.answers.put(figures)

    serve = worker.Channel.serve

    # the bench's end
    def read(self) -> worker.Answer:
        answer = self.first.pop() if self.first else self.answers.get()
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def ask(self) -> worker.Answer:
        self.lines.put(True)
        return self.read()

    def close(self) -> None:
        self.lines.put(False)
        self.thread.join()

    def __enter__(self) -> "Threaded":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


@pytest.fixture(autouse=True)
def _one_thread():
    """Two threads wait long for each other where anything else runs."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def bench(faces, tmp_path, monkeypatch) -> rows.Bench:
    """All rows in this process, of tiny sizes."""

    def measure(task: str, environment: dict[str, str] | None = None, **options: Any) -> worker.Answer:
        with Threaded(task, **options) as contestant:
            return contestant.read()

    monkeypatch.setattr(train, "Recorder", train.Recorder)  # the contestants patch it
    monkeypatch.setattr(rows, "Worker", Threaded)
    monkeypatch.setattr(rows, "measure", measure)
    monkeypatch.setattr(rows, "computing", lambda _: nullcontext())
    monkeypatch.setattr(rows, "subprocess", SimpleNamespace(run=lambda command, **_: run_here(command)))
    monkeypatch.setattr(rows, "FAULTS", 20)
    monkeypatch.setattr(baseline, "WORKERS", (0,))
    return rows.Bench(faces, tmp_path, 1, TINY, networks=("dnn",))


# The code of cnn is dnn's; what cli times, test_main runs
@pytest.mark.parametrize("row", sorted(rows.ROWS.keys() - {"cnn", "cli"}))
def test_every_row_is_measured(bench, row):
    lines = rows.ROWS[row](bench)
    assert lines
    for line in lines:
        assert line.row == row
        assert len(line.values) == 1
        assert np.isfinite(line.values).all()
        assert len(in_columns(line.cells())) <= 100, in_columns(line.cells())
    assert any(line.bar for line in lines)
    if row == "csv":
        assert lines[-1].note.endswith(" s, located")


@pytest.mark.parametrize(("network", "count"), [("cnn", 5_758_791), ("dnn", 5_778_439)])
def test_the_networks_are_the_published_ones(network, count):
    model = baseline.NETWORKS[network]()
    assert sum(p.numel() for p in model.parameters()) == count
    assert model.eval()(torch.zeros(2, 1, 48, 48)).shape == (2, 7)


def test_all_see_the_same_images_normalized_alike(prepared):
    arrays = data.load_rows(str(prepared.rows))
    ours = FERDataModule(fer2013.load(prepared.npz), val_split=data.VAL_SPLIT, seed=data.SEED)
    for split in ("train", "val"):
        np.testing.assert_array_equal(arrays[split], ours.splits[split])
    theirs = baseline.Training("dnn", arrays, probe=16)
    loop = handwritten.Training("dnn", arrays, {}, bf16=False)
    wanted = (ours.normalize.mean, ours.normalize.std)
    assert theirs.normalization == loop.normalization == pytest.approx(wanted, rel=1e-9)

    first = int(arrays["train"][0])
    image = baseline.val_transform(*theirs.normalization)(Image.fromarray(arrays["pixels"][first]))
    torch.testing.assert_close(loop.batch(torch.tensor([0]))[0][0], image)
    batch = torch.from_numpy(arrays["pixels"][[first]]), torch.from_numpy(arrays["labels"][[first]])
    torch.testing.assert_close(ours.on_after_batch_transfer(batch, 0)[0][0], image)


def test_repeated_rows_are_no_duplicates(faces):
    pixels, labels, usage = data.resize(faces, 500, 30)
    assert len(np.unique(pixels[:500].reshape(500, -1), axis=0)) == 500
    assert (usage == np.repeat([0, 1], [500, 30])).all()
    np.testing.assert_array_equal(labels[:120], labels[120:240])
    np.testing.assert_array_equal(pixels[:120], faces.pixels[:120])


def test_a_worker_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"read_csv ended with 1:[\s\S]*nowhere\.csv"):
        worker.measure("contestants:read_csv", path="nowhere.csv")


def test_bars_and_verdicts():
    fast = Line("row", "fast", [2.0, 3.0, 10.0], bar=Bar(low=2.5))
    slow = replace(fast, what="slow", bar=Bar(high=2.9), unit="s")
    assert (fast.met, slow.met, replace(fast, bar=None).met) == (True, False, None)
    assert Bar(0.9, 1.1).met(1.0)
    assert not Bar(0.9, 1.1).met(1.2)
    assert verdicts([fast]) == ["row      met"]
    assert verdicts([fast, slow]) == ["row      MISSED: slow 3.00 s (≤ 2.9 s)"]
    assert "| fast | 3.00× | 2.00–10.0 | 3 | ≥ 2.5× | yes |  |" in markdown([fast])


def test_the_command(monkeypatch, capsys, tmp_path):
    line = Line("cli", "shell completion", [1.0], "s", Bar(high=1.5))
    monkeypatch.setitem(command.ROWS, "cli", lambda bench: [line] * bench.pairs)
    monkeypatch.setattr("sys.argv", ["bench", "cli", "--pairs", "2", "--json", str(tmp_path / "figures.json")])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FER_LIGHTNING_CACHE", str(tmp_path))  # it sets another
    command.main()
    printed = capsys.readouterr().out
    assert "drawn faces" in printed
    assert printed.count("shell completion") == 2
    assert max(map(len, printed.splitlines())) <= 100
    assert (tmp_path / "figures.json").is_file()
