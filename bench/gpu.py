"""The GPU's figures, in stages of at most ten minutes: python -m bench.gpu STAGE [--data PATH] [--out DIR]

speed       CNN epochs of `train` beside the baseline with 16 loader processes, by turns; the GPU's busy share
published   the published CNN for 250 epochs, a seed after the other; called again, it goes on where it was cut off
concurrent  none, norm and norm_aug as three jobs at once, beside one of them alone

Each prints its table and writes an archive of the runs' small files (no checkpoint) to --out.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from bench.__main__ import header
from bench.data import TRAINING_ROWS, open_source, prepare
from bench.rows import ratios, take_turns, versus
from bench.table import HEADS, Bar, Line, in_columns, markdown, verdicts
from bench.worker import ROOT, Answer, Channel, Worker, measure
from fer_lightning.data import fer2013
from fer_lightning.data.faces import Faces
from fer_lightning.paths import override

SMALL_FILES = {
    "config.yaml", "metrics.csv", "metrics.json", "curves.png", "confusion_matrix.csv", "confusion_matrix.png",
    "predictions.csv",
}  # fmt: skip
LOADERS = 16
WARM = 2  # epochs before the profiled one: compilation, and the recording of graphs


def speed(faces: Faces, settings: argparse.Namespace) -> tuple[list[Line], Answer]:
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
        busy = measure("gpu:busy", overrides=overrides, folder=str(Path(folder) / "profiled"))
    lines = [
        Line("speed", "CNN epoch", [answer["seconds"] for answer in mine], "s", Bar(high=0.6)),
        Line("speed", "CNN epoch: baseline / ours", ratios(theirs, mine), bar=Bar(low=4), note=versus(mine, theirs)),
        Line(
            "speed",
            "CNN epoch: GPU busy",
            [busy["busy"] / busy["seconds"]],
            bar=Bar(low=0.85),
            note=f"{busy['busy']:.2f} of {busy['seconds']:.2f} s, profiled",
        ),
    ]
    return lines, {"rounds": rounds, "profile": busy}


def busy(channel: Channel, overrides: list[str], folder: str) -> None:
    """One epoch under the profiler: its seconds, those in which the GPU computed, and the kernels that took most.

    The profiler slows the processor's side, so the busy share is a lower bound.
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

        def on_validation_start(self, trainer: Any, pl_module: Any) -> None:  # the recorder has waited for the GPU
            if trainer.current_epoch == WARM:
                profiler.stop()
                seconds.append(self.seconds)

    profiler, seconds = profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]), list[float]()
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


def published(faces: Faces, settings: argparse.Namespace) -> tuple[list[Line], Answer]:
    """Whole runs of the command. One that an earlier call's time limit cut off goes on from its last.ckpt."""
    walls, metrics = [], []
    for seed in settings.seeds:
        folder = settings.runs / f"published-{seed}"
        if not completed(folder):
            go_on(settings, folder, f"seed={seed}", f"trainer.max_epochs={settings.epochs}")
        walls.append(sum(end - start for start, end in pieces_of(folder)))
        metrics.append(json.loads((folder / "metrics.json").read_text()))
    lines = [Line("published", f"{settings.epochs} epochs, whole run", walls, "s", Bar(high=180))]
    for key in ("val_acc", "test_public_acc", "test_public_acc_unseen", "test_private_acc"):
        values = [each[key] for each in metrics]
        if None not in values:
            spread = f"mean {mean(values):.4f}" + (f" ± {stdev(values):.4f}" if len(values) > 1 else "")
            lines.append(Line("published", f"  {key}", values, "", note=spread))
    return lines, {"walls": walls, "metrics": metrics}


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


def concurrent(faces: Faces, settings: argparse.Namespace) -> tuple[list[Line], Answer]:
    augs = ("none", "norm", "norm_aug")

    def seconds(names: Sequence[str], kind: str) -> float:
        epochs = f"trainer.max_epochs={settings.epochs}"
        started = time.perf_counter()
        jobs = [
            start(settings, f"aug={aug}", epochs, override("hydra.run.dir", settings.runs / f"{kind}-{aug}"))
            for aug in names
        ]
        statuses = [job.wait() for job in jobs]
        if any(statuses):
            sys.exit(f"{kind}: a job failed; what it said is above")
        return time.perf_counter() - started

    alone = seconds(["norm_aug"], "alone")
    together = seconds(augs, "together")
    note = f"{together:.0f} : {alone:.0f} s, {settings.epochs} epochs"
    line = Line("concurrent", "three jobs at once / one alone", [together / alone], bar=Bar(high=2), note=note)
    return [line], {"alone": alone, "together": together}


STAGES: dict[str, Callable[[Faces, argparse.Namespace], tuple[list[Line], Answer]]] = {
    "speed": speed,
    "published": published,
    "concurrent": concurrent,
}
EPOCHS = {"speed": 0, "published": 250, "concurrent": 40}


def completed(folder: Path) -> bool:
    path = folder / "metrics.json"
    return path.is_file() and json.loads(path.read_text())["completed"]


def start(settings: argparse.Namespace, *overrides: str) -> subprocess.Popen[bytes]:
    """The command, in a process of its own, on the stage's data and device."""
    data = ["data=synthetic"] if settings.data is None else ["data=fer2013", override("data.root", settings.data)]
    given = [*data, f"trainer={settings.device}", *settings.overrides, *overrides]
    return subprocess.Popen(
        [sys.executable, "-m", "fer_lightning", *given],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
    )


def command(settings: argparse.Namespace, *overrides: str) -> None:
    if status := start(settings, *overrides).wait():
        sys.exit(status)


def archive(settings: argparse.Namespace, name: str, record: Answer) -> Path:
    """The stage's record and the runs' small files as one file, OUT/NAME.tar.gz; an earlier call's is replaced."""
    settings.out.mkdir(parents=True, exist_ok=True)
    (settings.runs / f"{name}.json").write_text(json.dumps(record, indent=1) + "\n")
    target = settings.out / f"{name}.tar.gz"
    with tarfile.open(target, "w:gz") as packed:
        packed.add(settings.runs / f"{name}.json", f"{name}.json")
        for path in sorted(settings.runs.glob("*/*")):
            if path.name in SMALL_FILES:
                packed.add(path, str(path.relative_to(settings.runs)))
    return target


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
    parser.add_argument("--epochs", type=int, help=f"default: {EPOCHS['published']}, {EPOCHS['concurrent']} at once")
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
    lines, figures = STAGES[settings.stage](faces, settings)
    print(f"\n{in_columns(HEADS)}")
    print("\n".join(in_columns(line.cells()) for line in lines))
    print("\n" + "\n".join(verdicts(lines)) + f"\n\n{markdown(lines)}\n")
    record = {"header": head, "lines": [line.record() for line in lines], "figures": figures}
    print(f"written: {archive(settings, settings.stage, record)}")


if __name__ == "__main__":
    main()
