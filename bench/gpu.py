"""The GPU's figures, in stages of at most ten minutes: python -m bench.gpu STAGE [--data PATH] [--out DIR]

probe       first on a new kind of machine: three epochs of published_cnn and of best_cnn, compiled and not: whether it
            compiles, what that gains, whether the losses agree, and in NAME.log what the compiler had to say
speed       CNN epochs of `train` beside the baseline with 16 loader processes, by turns; the GPU's busy share
published   the published CNN for 250 epochs, a seed after the other; called again, it goes on where it was cut off
concurrent  none, norm and norm_aug as three jobs at once, beside one of them alone; always anew

Each prints its table and writes an archive of the runs' small files (no checkpoint) to --out, and again whenever a part
of it is done, so that a call that is cut off leaves what it had.
"""

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import IO, Any

from bench.__main__ import header
from bench.data import TRAINING_ROWS, open_source, prepare
from bench.rows import ratios, take_turns, versus
from bench.table import HEADS, Bar, Line, in_columns, markdown, verdicts
from bench.worker import ROOT, Answer, Channel, Worker, measure
from fer_lightning.data import fer2013
from fer_lightning.data.faces import Faces
from fer_lightning.results.paths import override
from fer_lightning.results.run_folder import read_epochs

SMALL_FILES = {
    "config.yaml", "metrics.csv", "metrics.json", "curves.png", "confusion_matrix.csv", "confusion_matrix.png",
    "predictions.csv",
}  # fmt: skip
LOADERS = 16
WARM = 2  # epochs before the profiled one: compilation, and the recording of graphs
PROBED = ("published_cnn", "best_cnn")  # recipes
COMPILER_LOGS = "perf_hints,cudagraphs,recompiles,graph_breaks"  # of TORCH_LOGS

Parts = Iterator[tuple[list[Line], Answer]]  # all lines and figures so far, after each part of a stage


def probe(faces: Faces, settings: argparse.Namespace) -> Parts:
    """The last epoch's seconds and loss: by then everything is compiled and graphs are replayed.

    One that fails is no reason not to see the others; the stage fails at its end.
    """
    lines, figures, failed = list[Line](), Answer(), []
    for recipe in PROBED:
        for wanted in ("false", "true"):
            name = f"{recipe}-compile-{wanted}"
            folder, log = settings.runs / name, settings.runs / f"{name}.log"
            shutil.rmtree(folder, ignore_errors=True)
            run = [f"experiment={recipe}", f"trainer.compile={wanted}", f"trainer.max_epochs={settings.epochs}"]
            print(f"{name} …", flush=True)
            with open(log, "w") as file:
                job = start(settings, *run, override("hydra.run.dir", folder), log=file, TORCH_LOGS=COMPILER_LOGS)
                status = job.wait()
            figures[name] = {"status": status}
            if status:
                failed.append(name)
                print(f"{name} failed; the end of {log}:", *log.read_text().splitlines()[-15:], sep="\n", flush=True)
            else:
                metrics, epochs = json.loads((folder / "metrics.json").read_text()), read_epochs(folder / "metrics.csv")
                seconds, loss = epochs["seconds"].tolist(), epochs["train_loss"].tolist()
                figures[name] |= {"compiled": metrics["compiled"], "seconds": seconds, "train_loss": loss}
                note = f"{'' if metrics['compiled'] else 'not '}compiled, loss {loss[-1]:.4f}"
                lines.append(Line("probe", f"{recipe}, compile={wanted}", seconds[-1:], "s", note=note))
            yield lines, figures
    if failed:
        sys.exit(f"failed: {', '.join(failed)}; what they said is in the archive")


def speed(faces: Faces, settings: argparse.Namespace) -> Parts:
    with tempfile.TemporaryDirectory(prefix="fer-bench-") as folder:
        images = settings.images or TRAINING_ROWS * 9 // 10
        prepared = prepare(faces, -(-images * 10 // 9), 20, Path(folder) / "rows")
        overrides = [
            "data=fer2013",
            override("data.root", prepared.npz),
            f"trainer={settings.device}",
            *settings.overrides,
        ]
        device = {"gpu": "cuda"}.get(settings.device, settings.device)
        run = str(Path(folder) / "run")
        workers = {
            "ours": Worker("contestants:ours", overrides=overrides, folder=run),
            "baseline": Worker(
                "contestants:baseline",
                network="cnn",
                rows=str(prepared.rows),
                probe=0,
                workers=settings.loaders,
                device=device,
            ),
        }
        try:
            for worker in workers.values():
                worker.read()
            for worker in workers.values():  # compilation; the starts of 16 processes
                worker.ask()
            rounds = take_turns(workers, settings.pairs)
        finally:
            for worker in workers.values():
                worker.close()
        mine, theirs = [each["ours"] for each in rounds], [each["baseline"] for each in rounds]
        lines = [
            Line("speed", "CNN epoch", [answer["seconds"] for answer in mine], "s", Bar(high=0.6)),
            Line(
                "speed", "CNN epoch: baseline / ours", ratios(theirs, mine), bar=Bar(low=4), note=versus(mine, theirs)
            ),
        ]
        yield lines, {"rounds": rounds}
        try:
            profile = measure("gpu:busy", overrides=overrides, folder=str(Path(folder) / "profiled"), device=device)
        except RuntimeError as error:  # the timings hold without it
            print(f"GPU busy: not measured, as the profiled training failed: {error}", file=sys.stderr, flush=True)
            profile = {"error": str(error)}
        else:
            note = f"{profile['busy']:.2f} of {profile['seconds']:.2f} s, profiled"
            share = profile["busy"] / profile["seconds"]
            lines.append(Line("speed", "CNN epoch: GPU busy", [share], bar=Bar(low=0.85), note=note))
        yield lines, {"rounds": rounds, "profile": profile}


def busy(channel: Channel, overrides: list[str], folder: str, device: str) -> None:
    """One epoch under the profiler: its seconds, those in which the GPU computed, and the kernels that took most.

    On a GPU only its own work is recorded: to record the processor's too would slow down the launches. Some slowing is
    left, so the busy share is a lower bound.
    """
    from torch.autograd import DeviceType
    from torch.profiler import ProfilerActivity, profile

    from bench.contestants import compose
    from fer_lightning import train

    class Profiled(train.Recorder):
        def on_train_epoch_start(self, trainer: Any, pl_module: Any) -> None:
            super().on_train_epoch_start(trainer, pl_module)
            if trainer.current_epoch == WARM:
                profiler.start()
                self.started = time.perf_counter()  # again: the profiler's own start, of seconds, is no part of it

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            super().on_train_batch_end(trainer, pl_module, outputs, batch, batch_idx)
            if trainer.current_epoch == WARM and batch_idx + 1 == trainer.num_training_batches:
                profiler.stop()  # here, where the recorder has waited for the GPU and read the clock
                seconds.append(self.seconds)

    activity = ProfilerActivity.CUDA if device == "cuda" else ProfilerActivity.CPU
    profiler, seconds = profile(activities=[activity]), list[float]()
    train.Recorder = Profiled  # type: ignore[misc]
    train.train(compose(*overrides, f"trainer.max_epochs={WARM + 1}"), Path(folder))
    spans, kernels = list[tuple[float, float]](), Counter[str]()
    for event in profiler.events() or []:
        if event.device_type == DeviceType.CUDA and not event.is_user_annotation:
            spans.append((event.time_range.start, event.time_range.end))
            kernels[event.name[:80]] += event.time_range.end - event.time_range.start
    channel.answer(
        seconds=seconds[0],
        busy=union(spans) / 1e6,  # the profiler tells microseconds
        launches=len(spans),
        kernels=[(name, total / 1e6) for name, total in kernels.most_common(25)],
        compiled=json.loads((Path(folder) / "metrics.json").read_text())["compiled"],
    )


def union(spans: Sequence[tuple[float, float]]) -> float:
    """The length of what the spans (start, end) cover together."""
    covered, reached = 0.0, -math.inf
    for start, end in sorted(spans):
        covered += max(0.0, end - max(start, reached))
        reached = max(reached, end)
    return covered


def published(faces: Faces, settings: argparse.Namespace) -> Parts:
    """Whole runs of the command. One that an earlier call's time limit cut off goes on from its last.ckpt."""
    walls, metrics = [], []
    for seed in settings.seeds:
        folder = settings.runs / f"published-{seed}"
        if not completed(folder):
            go_on(settings, folder, f"seed={seed}", f"trainer.max_epochs={settings.epochs}")
        walls.append(sum(end - start for start, end in pieces_of(folder)))
        metrics.append(json.loads((folder / "metrics.json").read_text()))
        yield published_lines(settings.epochs, walls, metrics), {"walls": walls, "metrics": metrics}


def published_lines(epochs: int, walls: list[float], metrics: list[Answer]) -> list[Line]:
    lines = [Line("published", f"{epochs} epochs, whole run", walls, "s", Bar(high=180))]
    for key in ("val_acc", "test_public_acc", "test_public_acc_unseen", "test_private_acc"):
        values = [each[key] for each in metrics]
        if None not in values:
            spread = f"mean {mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")
            lines.append(Line("published", f"  {key}", values, "", note=spread))
    return lines


def go_on(settings: argparse.Namespace, folder: Path, *overrides: str) -> None:
    """Train in `folder`, from its last.ckpt where it has one; when this began and ended joins wall.json."""
    last, record = folder / "checkpoints" / "last.ckpt", folder / "wall.json"
    pieces = pieces_of(folder) if last.is_file() else []
    if not last.is_file():
        shutil.rmtree(folder, ignore_errors=True)  # killed before its first epoch
        folder.mkdir()
    started = time.time()
    record.write_text(json.dumps([*pieces, [started, None]]))
    command(settings, *overrides, override("ckpt_path", last) if last.is_file() else override("hydra.run.dir", folder))
    record.write_text(json.dumps([*pieces, [started, time.time()]]))


def pieces_of(folder: Path) -> list[tuple[float, float]]:
    """Begin and end of each part of a run, in seconds. One that was killed ended with the state that was kept of it."""
    record = folder / "wall.json"
    pieces = json.loads(record.read_text()) if record.is_file() else []
    kept = folder / "checkpoints" / "last.ckpt"
    return [(start, kept.stat().st_mtime if end is None else end) for start, end in pieces]


def concurrent(faces: Faces, settings: argparse.Namespace) -> Parts:
    augs = ("none", "norm", "norm_aug")

    def seconds(names: Sequence[str], kind: str) -> float:
        epochs = f"trainer.max_epochs={settings.epochs}"
        folders = {aug: settings.runs / f"{kind}-{aug}" for aug in names}
        for folder in folders.values():  # an earlier call's: only jobs that begin together say anything
            shutil.rmtree(folder, ignore_errors=True)
        started = time.perf_counter()
        jobs = [start(settings, f"aug={aug}", epochs, override("hydra.run.dir", folders[aug])) for aug in names]
        statuses = [job.wait() for job in jobs]
        if any(statuses):
            sys.exit(f"{kind}: a job failed; what it said is above")
        return time.perf_counter() - started

    alone = seconds(["norm_aug"], "alone")
    together = seconds(augs, "together")
    note = f"{together:.0f} : {alone:.0f} s, {settings.epochs} epochs"
    line = Line("concurrent", "three jobs at once / one alone", [together / alone], bar=Bar(high=2), note=note)
    yield [line], {"alone": alone, "together": together}


STAGES: dict[str, Callable[[Faces, argparse.Namespace], Parts]] = {
    "probe": probe,
    "speed": speed,
    "published": published,
    "concurrent": concurrent,
}
EPOCHS = {"probe": 3, "speed": 0, "published": 250, "concurrent": 40}


def completed(folder: Path) -> bool:
    path = folder / "metrics.json"
    return path.is_file() and json.loads(path.read_text())["completed"]


def start(
    settings: argparse.Namespace, *overrides: str, log: IO[str] | None = None, **environment: str
) -> subprocess.Popen[bytes]:
    """The command, in a process of its own, on the stage's data and device. log: instead of this process's output."""
    data = ["data=synthetic"] if settings.data is None else ["data=fer2013", override("data.root", settings.data)]
    given = [*data, f"trainer={settings.device}", *settings.overrides, *overrides]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(
        [sys.executable, "-m", "fer_lightning", *given],
        env={**os.environ, "PYTHONPATH": path, **environment},
        stdout=log,
        stderr=None if log is None else subprocess.STDOUT,
    )


def command(settings: argparse.Namespace, *overrides: str) -> None:
    if status := start(settings, *overrides).wait():
        sys.exit(status)


def archive(settings: argparse.Namespace, name: str, record: Answer) -> Path:
    """The stage's record and the runs' small files as one file, OUT/NAME.tar.gz; an earlier call's is replaced."""
    settings.out.mkdir(parents=True, exist_ok=True)
    (settings.runs / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    target = settings.out / f"{name}.tar.gz"
    part = target.with_suffix(".part")  # cut off in it, an earlier call's archive stays
    with tarfile.open(part, "w:gz") as packed:
        packed.add(settings.runs / f"{name}.json", f"{name}.json")
        for path in sorted([*settings.runs.glob("*.log"), *settings.runs.glob("*/*")]):
            if path.name in SMALL_FILES or path.suffix == ".log":
                packed.add(path, str(path.relative_to(settings.runs)))
    return part.replace(target)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.gpu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("overrides", nargs="*", help="further settings of every run, such as model=dnn")
    parser.add_argument(
        "--data", metavar="PATH", help="FER2013 (default: $FER2013_ROOT, ./data, else the built-in faces)"
    )
    parser.add_argument("--device", choices=("gpu", "cpu"), default="gpu")
    parser.add_argument("--runs", type=Path, default=Path("outputs/gpu"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--out", type=Path, default=Path("outputs/gpu"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument(
        "--epochs", type=int, help=f"default: {', '.join(f'{n} in {stage}' for stage, n in EPOCHS.items() if n)}"
    )
    parser.add_argument("--pairs", type=int, default=5, help="default: %(default)s")
    parser.add_argument("--images", type=int, help="of a timed epoch (default: as many as FER2013 trains on)")
    parser.add_argument("--loaders", type=int, default=LOADERS, help="the baseline's processes (default: %(default)s)")
    settings = parser.parse_args()
    settings.runs = settings.runs.absolute() / settings.stage
    settings.out = settings.out.absolute()
    found = fer2013.find(settings.data)
    settings.data = None if found is None else str(found)
    settings.epochs = settings.epochs or EPOCHS[settings.stage]
    settings.runs.mkdir(parents=True, exist_ok=True)

    faces = open_source(settings.data)
    head = header(faces, settings.device)
    print("\n".join(f"{key:<9} {value}" for key, value in head.items()), flush=True)
    lines, written = list[Line](), None
    try:
        for lines, figures in STAGES[settings.stage](faces, settings):
            record = {"header": head, "lines": [line.record() for line in lines], "figures": figures}
            written = archive(settings, settings.stage, record)
    finally:  # also of a stage that fails in a later part
        if lines:
            print(f"\n{in_columns(HEADS)}")
            print("\n".join(in_columns(line.cells()) for line in lines))
            print("\n" + "\n".join(verdicts(lines)) + f"\n\n{markdown(lines)}\n")
        if written:
            print(f"written: {written}", flush=True)


if __name__ == "__main__":
    main()
