"""The rows of the table, one function each: who is measured, in which order, against which bar."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from bench import baseline
from bench.data import TEST_ROWS, TRAINING_ROWS, VAL_SPLIT, Prepared, csv_lines, prepare, spoil
from bench.table import Bar, Line
from bench.worker import ROOT, Answer, Worker, measure
from fer_lightning.data.faces import Faces

FAULTS = 100
Round = dict[str, Answer]


@dataclass(frozen=True)
class Sizes:
    """How much is timed. cnn, dnn: images of a training epoch and of a validation pass."""

    cnn: tuple[int, int]
    dnn: tuple[int, int]
    csv: int
    probe: int  # images with which the DNN's baseline chooses its loader processes; the CNN's does with a quarter
    augmented: int
    grown: tuple[int, int]
    steps: int  # of an epoch in `growth`
    scored: int  # PublicTest images after training


FULL = Sizes(
    cnn=(2560, 1024),
    dnn=(TRAINING_ROWS * 9 // 10, TRAINING_ROWS // 10),
    csv=TRAINING_ROWS + TEST_ROWS,
    probe=512,
    augmented=2560,
    grown=(30_000, 300_000),
    steps=200,
    scored=TEST_ROWS,
)
QUICK = Sizes((128, 64), (1280, 128), csv=3000, probe=128, augmented=640, grown=(3000, 30_000), steps=10, scored=200)


@dataclass(frozen=True)
class Bench:
    """The settings of a run of the benchmark.

    against: which contestants ours meets in `cnn` and `dnn`. gpu: there on the GPU, the baseline with a loader process
    a core.
    """

    faces: Faces
    folder: Path
    pairs: int
    sizes: Sizes
    against: tuple[str, ...] = ("handwritten", "baseline")
    networks: tuple[str, ...] = ("dnn", "cnn")  # in `after`
    gpu: bool = False

    def say(self, text: str) -> None:
        print(f"  … {text}", file=sys.stderr, flush=True)

    def prepare(self, name: str, training: int, public: int, val_split: float = VAL_SPLIT) -> Prepared:
        return prepare(self.faces, training, public, self.folder / name, val_split)


def take_turns(workers: dict[str, Worker], pairs: int) -> list[Round]:
    """What each worker answers in `pairs` rounds, in which they take turns, forwards and backwards by turns."""
    for name, worker in workers.items():
        if name != "baseline":  # it has warmed up by choosing its loader processes
            worker.ask()
    rounds = []
    for number in range(pairs):
        order = list(workers) if number % 2 == 0 else list(workers)[::-1]
        rounds.append({name: workers[name].ask() for name in order})
    return rounds


def cli(bench: Bench) -> list[Line]:
    """Answers of the command line, in a process of their own, and whether they import torch."""
    commands = {
        "--help": ["--help"],
        "--cfg job": ["--cfg", "job"],
        "shell completion": ["-sc", "query=bash"],
    }
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "COMP_LINE": "fer-lightning model=", "COMP_POINT": "20"}

    def answer(arguments: list[str], **more: str) -> tuple[float, str]:
        command = [sys.executable, "-m", "fer_lightning", *arguments]
        started = time.perf_counter()
        ended = subprocess.run(
            command, cwd=bench.folder, env={**environment, **more}, capture_output=True, text=True, check=True
        )
        return time.perf_counter() - started, ended.stderr

    lines = []
    for name, arguments in commands.items():
        imported = re.search(r"\|\s*torch$", answer(arguments, PYTHONPROFILEIMPORTTIME="1")[1], re.MULTILINE)
        seconds = [answer(arguments)[0] for _ in range(bench.pairs)]
        bar = Bar(high=1.5) if imported is None else Bar(high=0)  # no time is short enough then
        note = "torch imported" if imported else "torch not imported"
        lines.append(Line("cli", name, seconds, "s", bar, note))
    return lines


def csv(bench: Bench) -> list[Line]:
    """The first reading of a fer2013.csv by each, in turns, every time in a fresh process."""
    path = real_csv(bench)
    if path is None:
        bench.say("writing a csv")
        path = bench.folder / "fer2013.csv"
        path.write_text("".join(csv_lines(bench.faces, bench.sizes.csv * 8 // 9, bench.sizes.csv // 9)))
    size = path.stat().st_size
    faulty, bad = bench.folder / "faulty.csv", list[int]()
    with open(path) as file:
        spoilt, bad = spoil(list(file), FAULTS)
    faulty.write_text("".join(spoilt))
    del spoilt
    path.read_bytes(), faulty.read_bytes()  # both from the page cache

    mine, theirs, broken = list[Answer](), list[Answer](), list[Answer]()
    for number in range(bench.pairs):
        environment = {"FER_LIGHTNING_CACHE": str(bench.folder / f"csv-cache-{number}")}
        turns = [
            lambda: mine.append(measure("contestants:read_csv", environment, path=str(path))),  # noqa: B023
            lambda: theirs.append(measure("contestants:read_csv_baseline", path=str(path))),
            lambda: broken.append(measure("contestants:read_faulty_csv", environment, path=str(faulty))),  # noqa: B023
        ]
        for turn in turns if number % 2 == 0 else turns[::-1]:
            turn()
    images = mine[0]["images"]
    what = f"csv, {size / 1e6:.0f} MB"
    raw = {"ours": mine, "baseline": theirs}
    located = all(
        f"{len(bad)} of {images:,} rows are faulty" in answer["message"]
        and all(f"line {number}," in answer["message"] for number in bad[:10])
        for answer in broken
    )
    return [
        Line(
            "csv", f"{what}: baseline / ours", ratios(theirs, mine), bar=Bar(low=5), note=versus(mine, theirs), raw=raw
        ),
        Line(
            "csv",
            "  ours: peak memory / file",
            [answer["peak"] / size for answer in mine],
            bar=Bar(high=2.5),
            note=f"baseline {median(answer['peak'] / size for answer in theirs):.1f}×",
        ),
        Line(
            "csv",
            f"  {len(bad)} bad rows: baseline / ours",
            ratios(theirs, broken),
            bar=Bar(low=5) if located else Bar(low=float("inf")),
            note=f"{typical(broken)} s, {'' if located else 'NOT '}located",
            raw={"ours": broken},
        ),
    ]


def cache(bench: Bench) -> list[Line]:
    """Opening what was read before."""
    prepared = bench.prepare("cache", bench.sizes.csv * 8 // 9, bench.sizes.csv // 9)
    return reopening("cache", prepared, bench.pairs, Bar(high=0.3))


def reopening(row: str, prepared: Prepared, runs: int, bar: Bar | None) -> list[Line]:
    answers = [measure("contestants:open_again", path=str(prepared.npz)) for _ in range(runs)]
    seconds = [answer["seconds"] for answer in answers]
    shares = [answer["anonymous"] / answer["pixels"] for answer in answers]
    return [
        Line(row, f"second start, {prepared.images:,}: data", seconds, "s", bar, raw={"ours": answers}),
        Line(row, "  memory not of a file / pixels", shares, bar=Bar(high=2)),
    ]


def augment(bench: Bench) -> list[Line]:
    """Images a second through the training transform: PIL's in one process and in a DataLoader's, ours in batches."""
    prepared = bench.prepare("augment", max(100, bench.sizes.augmented * 10 // 9 + 20), 20)
    with Worker("contestants:augmentation", rows=str(prepared.rows), images=bench.sizes.augmented) as worker:
        worker.read()
        rounds = [worker.ask() for _ in range(bench.pairs)]
    ours = f"{median(each['batched'] for each in rounds):,.0f}"
    lines = []
    for workers in baseline.WORKERS:
        key = f"pil_{workers}"
        theirs = f"{median(each[key] for each in rounds):,.0f} images/s"
        lines.append(
            Line(
                "augment",
                "augmentation: ours / PIL" if not workers else f"  ours / PIL with {workers} loader processes",
                [each["batched"] / each[key] for each in rounds],
                bar=None if workers else Bar(low=6),
                note=f"{ours} : {theirs}",
                raw={"rounds": rounds} if not workers else {},
            )
        )
    return lines


def cnn(bench: Bench) -> list[Line]:
    return epochs(bench, "cnn", bench.sizes.cnn, Bar(low=2.5), Bar(high=1.03))


def dnn(bench: Bench) -> list[Line]:
    return epochs(bench, "dnn", bench.sizes.dnn, Bar(low=2.3), Bar(high=1.08))


def epochs(bench: Bench, network: str, images: tuple[int, int], speedup: Bar, overhead: Bar) -> list[Line]:
    """Epochs of `train`, the baseline and the hand-written loop by turns, on the same images, and validation passes."""
    prepared = bench.prepare(network, sum(images), 20, images[1] / sum(images))
    workers: dict[str, Worker] = {}
    rows = str(prepared.rows)
    workers_used = ""
    try:
        if "baseline" in bench.against:  # first, as it measures while it gets ready
            where: dict[str, Any] = {"workers": os.cpu_count(), "device": "cuda"} if bench.gpu else {}
            probe = bench.sizes.probe // (4 if network == "cnn" else 1)
            workers["baseline"] = Worker("contestants:baseline", network=network, rows=rows, probe=probe, **where)
            chosen = workers["baseline"].read()["workers"]
            if bench.gpu:
                workers["baseline"].ask()  # otherwise it has warmed up by choosing
            workers_used = f"{chosen['train']}"
            bench.say(f"{network}: the baseline is fastest with {chosen} loader processes")
        if "handwritten" in bench.against:
            workers["handwritten"] = Worker("contestants:handwritten", network=network, rows=rows)
        trainer = ["trainer=gpu"] if bench.gpu else []
        workers["ours"] = start_ours(bench, f"{network}-run", prepared, f"model={network}", *trainer)
        for name in ("handwritten", "ours"):
            if name in workers:
                workers[name].read()
        rounds = take_turns(workers, bench.pairs)
    finally:
        for worker in workers.values():
            worker.close()
    mine = [each["ours"] for each in rounds]
    label = network.upper()
    lines = []
    if "baseline" in workers:
        theirs = [each["baseline"] for each in rounds]
        what = f"{label} epoch: baseline / ours"
        note = f"{versus(mine, theirs)}, {workers_used} workers"
        lines.append(Line(network, what, ratios(theirs, mine), bar=speedup, note=note, raw={"rounds": rounds}))
    if "handwritten" in workers:
        theirs = [each["handwritten"] for each in rounds]
        what = f"{label} epoch: ours / hand-written"
        lines.append(
            Line(network, what, ratios(mine, theirs), bar=overhead, note=versus(mine, theirs), raw={"rounds": rounds})
        )
    if "baseline" in workers:
        theirs = [each["baseline"] for each in rounds]
        passes = [[answer["validation"] for answer in each] for each in (theirs, mine)]
        values = [slow / fast for slow, fast in zip(*passes, strict=True)]
        note = f"{median(passes[1]):.3f} : {median(passes[0]):.3f} s"
        lines.append(Line(network, f"{label} validation: baseline / ours", values, bar=Bar(low=2.5), note=note))
    beside = [each["whole"] - each["seconds"] - each["validation"] for each in mine]
    lines.append(Line(network, f"  {label} epoch: checkpoints, records", beside, "s", note="not in the epoch's s"))
    return lines


def start_ours(bench: Bench, name: str, prepared: Prepared, *overrides: str) -> Worker:
    return Worker(
        "contestants:ours",
        overrides=[*ours_overrides(prepared), *overrides],
        folder=str(bench.folder / name),
    )


def ours_overrides(prepared: Prepared) -> list[str]:
    data = ["data=fer2013", f"data.root='{prepared.npz}'", f"data.val_split={prepared.val_split}"]
    return [*data, "aug=norm_aug", "trainer=cpu"]


def shared(bench: Bench) -> list[Line]:
    """An epoch of ours beside one and two other processes that compute all the time, in turns with a quiet one."""
    lines = []
    for network in bench.networks:
        images, _ = bench.sizes.cnn if network == "cnn" else bench.sizes.dnn
        prepared = bench.prepare(f"shared-{network}", images * 10 // 9, 0)
        model = (f"model={network}", "+trainer.limit_val_batches=1")
        names = ("quiet", "beside")  # the quiet one's threads have no reason to wait otherwise
        with ExitStack() as stack:
            workers = {
                name: stack.enter_context(start_ours(bench, f"{name}-{network}", prepared, *model)) for name in names
            }
            for worker in workers.values():
                worker.read()
                worker.ask()
            rounds = []
            for _ in range(bench.pairs):
                answers = {0: workers["quiet"].ask()}
                for others in (1, 2):
                    with computing(others):
                        answers[others] = workers["beside"].ask()
                rounds.append(answers)
        for others, bar in ((1, None), (2, Bar(high=2.5))):
            beside, quiet = ([each[number] for each in rounds] for number in (others, 0))
            note = f"{median(a['seconds'] for a in beside):.3g} : {median(a['seconds'] for a in quiet):.3g} s"
            what = f"{network.upper()} epoch, {images:,} images: beside {others} busy / quiet"
            lines.append(Line("shared", what, ratios(beside, quiet), bar=bar, note=note))
    return lines


@contextmanager
def computing(processes: int) -> Iterator[None]:
    """Others at work on this machine, from the same terminal."""
    command = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(command) for _ in range(processes)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def after(bench: Bench) -> list[Line]:
    """From the last epoch to the last file, and the report of the run, of all validation and test images."""
    prepared = bench.prepare("after", sum(bench.sizes.dnn), bench.sizes.scored)
    lines = []
    for network in bench.networks:
        seconds, parts = [], []
        for number in range(bench.pairs):
            run = bench.folder / f"after-{network}-{number}"
            answer = measure(
                "contestants:after_training",
                overrides=[
                    *ours_overrides(prepared),
                    f"model={network}",
                    "trainer.max_epochs=2",
                    "+trainer.limit_train_batches=2",
                    "+trainer.limit_val_batches=1",
                ],
                folder=str(run),
            )
            settings = (run / "config.yaml").read_text().splitlines(keepends=True)  # a report leaves limited runs out
            (run / "config.yaml").write_text("".join(line for line in settings if "limit_" not in line))
            command = [sys.executable, "-m", "fer_lightning.report", str(run), "--out", str(run / "report.html")]
            started = time.perf_counter()
            subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
            parts.append((answer["seconds"], time.perf_counter() - started))
            seconds.append(sum(parts[-1]))
        run_part, report_part = (median(part) for part in zip(*parts, strict=True))
        what = f"after {network.upper()}: predictions … report"
        note = f"run {run_part:.1f} + report {report_part:.1f}"
        lines.append(Line("after", what, seconds, "s", Bar(high=10), note, {"parts": parts}))
    return lines


def growth(bench: Bench) -> list[Line]:
    """The same number of steps out of few and out of many images, by turns; starts with many."""
    few, many = (bench.prepare(f"growth-{total}", total - 20, 20) for total in bench.sizes.grown)
    limits = ["model=dnn", f"+trainer.limit_train_batches={bench.sizes.steps}", "+trainer.limit_val_batches=1"]
    workers = {
        "few": start_ours(bench, "growth-few", few, *limits),
        "many": start_ours(bench, "growth-many", many, *limits),
    }
    try:
        for worker in workers.values():
            worker.read()
        rounds = take_turns(workers, bench.pairs)
    finally:
        for worker in workers.values():
            worker.close()
    speed = {name: [each[name]["images"] / each[name]["seconds"] for each in rounds] for name in workers}
    values = [with_many / with_few for with_many, with_few in zip(speed["many"], speed["few"], strict=True)]
    starts = [
        measure(
            "contestants:first_batch",
            overrides=[*ours_overrides(many), "model=dnn"],
            folder=str(bench.folder / f"growth-start-{number}"),
        )["seconds"]
        for number in range(bench.pairs)
    ]
    sizes = f"{few.images:,} → {many.images:,}"
    note = f"{median(speed['few']):,.0f} → {median(speed['many']):,.0f} images/s"
    return [
        Line("growth", f"images/s, {sizes}", values, bar=Bar(0.9, 1.1), note=note, raw={"rounds": rounds}),
        *reopening("growth", many, bench.pairs, None),
        Line("growth", f"warm start, {many.images:,}: first batch", starts, "s", Bar(high=2), "train() to batch 1"),
    ]


ROWS: dict[str, Callable[[Bench], list[Line]]] = {
    "cli": cli,
    "csv": csv,
    "cache": cache,
    "augment": augment,
    "dnn": dnn,
    "cnn": cnn,
    "shared": shared,
    "after": after,
    "growth": growth,
}


def real_csv(bench: Bench) -> Path | None:
    """The csv that the faces came from, where it is one that the baseline knows and all of it is to be read."""
    path = Path(bench.faces.source)
    if len(bench.faces) > bench.sizes.csv or bench.faces.synthetic or path.suffix != ".csv":
        return None
    with open(path) as file:
        return path if {"emotion", "pixels"} <= set(file.readline().strip().split(",")) else None


def ratios(above: list[Answer], below: list[Answer]) -> list[float]:
    return [a["seconds"] / b["seconds"] for a, b in zip(above, below, strict=True)]


def typical(answers: list[Answer]) -> str:
    return f"{median(answer['seconds'] for answer in answers):.2f}"


def versus(mine: list[Answer], theirs: list[Answer]) -> str:
    return f"{typical(mine)} : {typical(theirs)} s"
