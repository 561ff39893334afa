"""What needs a GPU, in stages: STAGES="probe published" bench/gpu.sh --data PATH --out DIR [key=value …]

probe      eight epochs of the published CNN, eager and compiled: the same losses? The faster one is gone on with
published  the published CNN, three seeds at once
best       the best CNN with two warps, one seed each; two more seeds of the better on validation; their --tta scores
ablation   the published CNN without augmentation, and without normalization, a seed after the other
baseline   an epoch of the plain baseline with 16 loader processes, beside ours

A call has a time limit (--minutes). A stage is begun where the time left is likely to do; runs are ended cleanly when
the time is over, and the next call goes on with them, as long as --work holds their folders.

After each part DIR gets small.tar.gz, the runs' small files without any face, and weights/, the networks of the highest
validation accuracy in half precision: five files below 16 MiB. `python -m bench.package RUN NAME --weights FILE` puts
one of them into the package, and `python -m fer_lightning.report` reads the runs.

Exit status 0: the stages are finished; 75: call again; 1: a run failed; 2: a mistake in the input; 130: interrupted.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

import torch

from bench.__main__ import header
from bench.data import TRAINING_ROWS, prepare
from bench.table import HEADS, Bar, Line, in_columns, markdown, verdicts
from bench.worker import Worker
from fer_lightning.data.faces import Faces
from fer_lightning.data.source import open_faces
from fer_lightning.errors import UserError
from fer_lightning.results.checkpoint import read_checkpoint
from fer_lightning.results.paths import best_checkpoint, last_checkpoint, override
from fer_lightning.results.run_folder import read_epochs
from fer_lightning.results.weights import SUFFIX, write_weights

PUBLISHED = ("experiment=published_cnn",)
# One split for all seeds: together, or as teachers, they can still be scored on validation data.
BEST = ("experiment=best_cnn", "data.split_seed=0")
SETTINGS = {  # a run is named SETTING-SEED
    "eager": (*PUBLISHED, "trainer.compile=false"),
    "compiled": (*PUBLISHED, "trainer.compile=true"),
    "published": PUBLISHED,
    "best-norm_aug": (*BEST, "aug=norm_aug_mix"),
    "best-strong": BEST,
    "ablation-none": (*PUBLISHED, "aug=none"),
    "ablation-norm": (*PUBLISHED, "aug=norm"),
}
WARPS = ("best-norm_aug", "best-strong")
EAGER, COMPILED = "eager-0", "compiled-0"
TOGETHER = "tta-three-together"
SEEDS = (0, 1, 2)
EPOCHS, PROBED = 300, 8  # three epochs tell whether it works; those after them, pace and busy share
TINY = [
    *("data=synthetic", "trainer=cpu", "+trainer.limit_train_batches=4"),
    *("model.channels=[4,4,4,4,4]", "model.hidden=8"),
]

MINUTES = 8
GRACE = 40  # seconds at a call's end, in which runs that are ended score what they have, and results are written
PROBE = 110  # seconds at most
LEAST = 60  # seconds left, without which no further stage is begun
WARM = 2  # epochs before pace is taken: compilation, the recording of graphs
COMPILER_LOGS = "perf_hints,cudagraphs,recompiles,graph_breaks"  # in compiled-0.log
LOADERS = 16  # processes of the baseline
SAME = 0.05  # of two training losses: their random numbers differ
KEPT = 4  # weights, of 11.5 MB each

BUSY = "NVML, validation and checkpoints included"
SCORES = {
    "test_public_acc": "PublicTest",
    "test_public_acc_unseen": "unseen",
    "test_private_acc": "PrivateTest",
}
LEAST_ACC = {"published": 0.70, "best": 0.72}  # on PublicTest
SMALL_FILES = {
    *("config.yaml", "overrides.yaml", "model.txt", "metrics.csv", "metrics.json", "predictions.csv"),
    *("curves.png", "confusion_matrix.png", "confusion_matrix.csv", "evaluation.json", "figures.json", "summary.md"),
}


@dataclass
class Watch:
    """What is seen of a run from outside: when its rows of metrics.csv came."""

    path: Path
    began: float = field(default_factory=time.time)
    ended: float = 0
    seen: list[tuple[float, int]] = field(default_factory=list)  # when, rows

    def look(self) -> None:
        rows = self.path.read_text().count("\n") - 1 if self.path.is_file() else 0
        if not self.seen or rows > self.seen[-1][1]:
            self.seen.append((self.path.stat().st_mtime if rows else self.began, rows))

    def figures(self, samples: Sequence[tuple[float, float]]) -> dict[str, float]:
        """pace: seconds from one epoch to the next. rest: before the first and after the last. busy: of the GPU."""
        steady = [(when, rows) for when, rows in self.seen if rows >= self.seen[0][1] + WARM]
        if len(steady) < 2:
            return {}
        (first, before), (last, after) = steady[0], steady[-1]
        pace = (last - first) / (after - before)
        found = {"pace": pace, "rest": self.ended - self.began - (after - self.seen[0][1]) * pace}
        if inside := [share for when, share in samples if first < when <= last]:
            found["busy"] = mean(inside)
        return found


def busy() -> float | None:
    """The share of the last moments in which the GPU computed, as its driver tells; None where it does not."""
    try:
        return torch.cuda.utilization() / 100
    except Exception:  # no GPU, no pynvml, or an error of its own
        return None


def read_json(path: Path) -> dict[str, Any]:
    """What a JSON file says; nothing where there is none."""
    return json.loads(path.read_text()) if path.is_file() else {}


class Call:
    """One call: what it works on, until when, and what is known so far."""

    def __init__(self, options: argparse.Namespace, faces: Faces) -> None:
        self.work, self.out = options.work.absolute(), options.out.absolute()
        self.faces, self.tiny, self.epochs = faces, options.tiny, options.epochs
        data = [override("data.root", options.data)] if options.data else []
        self.common = ["logger=none", *(TINY if self.tiny else ["data=fer2013", *data, "trainer=gpu"])]
        self.overrides = options.overrides
        self.header = header(faces, "cpu" if self.tiny else "gpu")
        self.end = time.monotonic() + 60 * options.minutes - GRACE
        self.interrupted = self.trained = False
        self.failed: list[str] = []
        self.work.mkdir(parents=True, exist_ok=True)
        self.figures = read_json(self.work / "figures.json")

    def interrupt(self, *_: object) -> None:
        """A signal ends the call's time: runs are ended, results are written."""
        self.interrupted, self.end = True, time.monotonic()

    def left(self) -> float:
        return self.end - time.monotonic()

    # runs

    def metrics(self, name: str) -> dict[str, Any]:
        """metrics.json of a run that is finished; else empty."""
        found = self.so_far(name)
        return found if found.get("completed") and found["epochs"] >= self.length(name) else {}

    def so_far(self, name: str) -> dict[str, Any]:
        """metrics.json of a run, whether it is finished or was cut off; empty where there is none."""
        return read_json(self.work / name / "metrics.json")

    def column(self, key: str, name: str) -> list[float]:
        """A column of a run's metrics.csv, as far as it came."""
        path = self.work / name / "metrics.csv"
        return read_epochs(path)[key].tolist() if path.is_file() else []

    def known(self, key: str, *names: str) -> list[float]:
        """What was seen of the runs from outside, of those of which it was; see `Watch.figures`."""
        return [self.figures[name][key] for name in names if key in self.figures.get(name, {})]

    def length(self, name: str) -> int:
        return PROBED if name in (EAGER, COMPILED) else self.epochs

    def train(self, *names: str, seconds: float = float("inf")) -> bool:
        """Train the runs at once, `seconds` at most, from last.ckpt where there is one; whether all are finished."""
        todo = [name for name in names if not self.metrics(name)]
        if not todo:
            return True
        need = self.need(todo)
        if self.left() < need and (self.trained or self.left() <= 0):
            print(f"{', '.join(todo)}: not begun; {need:.0f} s are needed, {self.left():.0f} are left", flush=True)
            return False
        self.trained = True
        self.together({name: self.training(name) for name in todo}, seconds)
        return all(map(self.metrics, names))

    def need(self, names: Sequence[str]) -> float:
        """The seconds without which the runs are not begun: for BEST all that they will take, by the pace of one alone.

        Its schedule makes an unfinished run worth little; of the others every epoch is a result.
        """
        alone = self.figures.get(self.chosen(), {})
        if "pace" not in alone or not names[0].startswith(WARPS):
            return LEAST
        epochs = max(self.length(name) - len(self.column("epoch", name)) for name in names)
        # Runs at once slow each other where together they want more than the whole GPU.
        return alone["rest"] + epochs * alone["pace"] * max(1, len(names) * alone.get("busy", 1))

    def chosen(self) -> str:
        """The run of the probe whose way is gone on with."""
        return COMPILED if self.figures.get("compile") else EAGER

    def training(self, name: str) -> list[str]:
        folder, (setting, _, seed) = self.work / name, name.rpartition("-")
        last = last_checkpoint(folder) if folder.is_dir() else folder
        if folder.is_dir() and not last.is_file():
            shutil.rmtree(folder)  # ended before its first epoch: there is nothing to go on from
        return [
            *(sys.executable, "-m", "fer_lightning", *self.common),
            *([f"trainer.compile={str(self.figures['compile']).lower()}"] if "compile" in self.figures else []),
            *(*SETTINGS[setting], f"seed={seed}", f"trainer.max_epochs={self.length(name)}"),
            *(override("hydra.run.dir", folder), *([override("ckpt_path", last)] if last.is_file() else [])),
            *self.overrides,
        ]

    def evaluate(self, wanted: dict[str, list[str]]) -> bool:
        """evaluation.json of each, as `evaluate` makes it of its arguments; whether all are there."""
        todo = {name: given for name, given in wanted.items() if not self.evaluation(name)}
        if todo and self.left() < LEAST:
            return False
        for name in todo:
            shutil.rmtree(self.work / name, ignore_errors=True)  # an earlier call's, cut off
        command = [sys.executable, "-m", "fer_lightning.evaluate"]
        self.together({name: [*command, *given, "--out", str(self.work / name)] for name, given in todo.items()})
        return all(map(self.evaluation, wanted))

    def evaluation(self, name: str) -> dict[str, Any]:
        return read_json(self.work / name / "evaluation.json")

    def together(self, commands: dict[str, list[str]], seconds: float = float("inf")) -> None:
        """Run the commands at once and watch them; those that have not ended in time are ended, as by Ctrl-C."""
        jobs, watches, samples = dict[str, subprocess.Popen[bytes]](), dict[str, Watch](), list[tuple[float, float]]()
        until, logs = time.monotonic() + seconds, {"TORCH_LOGS": COMPILER_LOGS}
        try:
            for name, command in commands.items():
                print(f"{name} …", flush=True)
                watches[name] = Watch(self.work / name / "metrics.csv")
                environment = {**os.environ, **(logs if name == COMPILED else {})}
                with open(self.work / f"{name}.log", "a") as log:  # of its own group: Ctrl-C reaches this process alone
                    jobs[name] = subprocess.Popen(command, stdout=log, stderr=log, env=environment, process_group=0)
            while self.left() > 0 and time.monotonic() < until:
                for name, job in jobs.items():
                    watches[name].look()
                    if job.poll() is not None and not watches[name].ended:
                        watches[name].ended = time.time()
                if all(job.returncode is not None for job in jobs.values()):
                    break
                if (share := busy()) is not None:
                    samples.append((time.time(), share))
                time.sleep(0.1)
        finally:
            cut = end(jobs)
        for name, watch in watches.items():
            watch.ended = watch.ended or time.time()
            if figures := watch.figures(samples):
                self.figures[name] = figures
        self.save()
        for name, job in jobs.items():
            if job.returncode not in ((0, 130, -signal.SIGTERM, -signal.SIGKILL) if name in cut else (0,)):
                self.failed.append(name)
                said = (self.work / f"{name}.log").read_text().splitlines()[-15:]
                print(f"{name} failed, status {job.returncode}; the end of its log:", *said, sep="\n", flush=True)

    # what comes back

    def save(self) -> None:
        """Write the table, the archive and the weights, as far as they are known."""
        (self.work / "figures.json").write_text(json.dumps({**self.figures, "header": self.header}, indent=1) + "\n")
        (self.work / "summary.md").write_text(markdown(table(self)) + "\n")
        weights = self.out / "weights"
        weights.mkdir(parents=True, exist_ok=True)
        trained = [name for setting in ("published", *WARPS) for name in names(setting)]
        reached = {name: max(self.column("val_acc", name), default=0) for name in trained}
        best = sorted((name for name in trained if reached[name]), key=lambda name: -reached[name])[:KEPT]
        for name in trained:
            target, source = weights / f"{name}{SUFFIX}", self.work / name / "checkpoints" / "best.ckpt"
            if name not in best:
                target.unlink(missing_ok=True)
            elif not target.is_file() or target.stat().st_mtime < source.stat().st_mtime:
                try:
                    write_weights(read_checkpoint(best_checkpoint(self.work / name)), target)
                except OverflowError as error:
                    print(f"{name}: its weights are not written: {error}", flush=True)
        archive = self.out / "small.tar.gz"
        with tarfile.open(archive.with_suffix(".part"), "w:gz") as packed:
            for path in sorted(self.work.rglob("*")):
                if path.name in SMALL_FILES or path.suffix == ".log":
                    packed.add(path, str(path.relative_to(self.work)))
        archive.with_suffix(".part").replace(archive)


def end(jobs: dict[str, subprocess.Popen[bytes]]) -> set[str]:
    """End those that run, at once where they take longer than GRACE; their names."""
    running = {name: job for name, job in jobs.items() if job.poll() is None}
    for job in running.values():
        job.terminate()  # as Ctrl-C, which a process in the background may not hear
    by = time.monotonic() + GRACE - 10  # the rest is for results
    for job in running.values():
        try:
            job.wait(max(0, by - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
    return set(running)


# The stages: whether each is finished


def probe(call: Call) -> bool:
    if "compile" in call.figures:
        return True
    began = time.monotonic()
    call.train(EAGER, seconds=PROBE)
    call.train(COMPILED, seconds=PROBE + began - time.monotonic())
    if not call.metrics(EAGER) or call.left() <= 0:
        return False
    wholes = [whole(call.figures[name]) for name in (EAGER, COMPILED) if call.known("pace", name)]
    compiled = call.so_far(COMPILED).get("compiled", False)  # also where compilation took most of its time
    call.figures["compile"] = bool(compiled and len(wholes) == 2 and wholes[1] < wholes[0] and gap(call)[0] <= SAME)
    eager = "eager" if len(wholes) == 2 else f"eager: no compiled epochs in {PROBE} s"
    print(f"gone on with {'compiled' if call.figures['compile'] else eager}", flush=True)
    return True


def published(call: Call) -> bool:
    return call.train(*names("published"))


def best(call: Call) -> bool:
    if not call.train(*(f"{warp}-0" for warp in WARPS)):
        return False
    runs = names(max(WARPS, key=lambda warp: call.metrics(f"{warp}-0")["val_acc"]))
    if not call.train(*runs):
        return False
    folders = [str(call.work / name) for name in runs]
    each = {f"tta-{name}": [folder, "--tta"] for name, folder in zip(runs, folders, strict=True)}
    return call.evaluate({**each, TOGETHER: [folders[0], "--ensemble", *folders[1:], "--tta"]})


def ablation(call: Call) -> bool:
    return all(call.train(*pair) for pair in zip(names("ablation-none"), names("ablation-norm"), strict=True))


def baseline(call: Call) -> bool:
    if "baseline" in call.figures:
        return True
    if call.left() < LEAST:
        return False
    images, loaders, device = (64, 0, "cpu") if call.tiny else (TRAINING_ROWS, LOADERS, "cuda")
    with tempfile.TemporaryDirectory(prefix="fer-bench-") as folder:
        rows = str(prepare(call.faces, images, 20, Path(folder) / "rows").rows)
        options = {"network": "cnn", "rows": rows, "probe": 0, "workers": loaders, "device": device}
        try:
            with Worker("contestants:baseline", None, **options) as worker:
                worker.read()
                call.figures["baseline"] = [worker.ask()["seconds"] for _ in range(3)][1:]
        except RuntimeError as error:
            call.failed.append("baseline")
            print(error, flush=True)
            return False
    return True


STAGES = {"probe": probe, "published": published, "best": best, "ablation": ablation, "baseline": baseline}


def names(setting: str) -> list[str]:
    return [f"{setting}-{seed}" for seed in SEEDS]


def whole(alone: dict[str, float]) -> float:
    """Seconds of EPOCHS epochs, from start to figures, by a shorter run's pace."""
    return alone["rest"] + EPOCHS * alone["pace"]


def gap(call: Call) -> list[float]:
    """Between the last training losses that eager and compiled both have, if they have any."""
    both = list(zip(call.column("train_loss", EAGER), call.column("train_loss", COMPILED), strict=False))
    return [abs(eager - compiled) for eager, compiled in both[-1:]]


def table(call: Call) -> list[Line]:
    """What is known so far, beside its bars."""
    lines, chosen = list[Line](), call.chosen()

    def add(stage: str, what: str, values: list[float], unit: str = "", bar: Bar | None = None, note: str = "") -> None:
        if values:
            lines.append(Line(stage, what, values, unit, bar, note))

    def scores(stage: str, what: str, values: list[float | None], least: float | None = None) -> None:
        found = [value for value in values if value is not None]
        if found:
            spread = f" ± {stdev(found):.4f}" if len(found) > 1 else ""
            note = f"{mean(found):.4f}{spread}: {' '.join(f'{value:.4f}' for value in found)}"
            lines.append(Line(stage, what, [mean(found)], "", None if least is None else Bar(low=least), note))

    for name in (EAGER, COMPILED):
        bar, note = (Bar(high=0.4), "the pace of all others") if name == chosen else (None, "")
        add("probe", f"epoch, {name[:-2]}, alone", call.column("seconds", name)[WARM:], "s", bar, note)
    add("probe", "losses, compiled and eager: apart by", gap(call), "", Bar(high=SAME))
    add("probe", "GPU busy, alone", call.known("busy", chosen), "", Bar(low=0.85), BUSY)
    if paces := call.known("pace", chosen):
        note = f"reckoned; start and end {call.figures[chosen]['rest']:.0f} s"
        add("probe", f"{EPOCHS} epochs alone, whole run", [whole(call.figures[chosen])], "s", Bar(high=150), note)

    three = names("published")
    add(
        "published",
        "epoch, three at once",
        [median(column) for name in three if (column := call.column("seconds", name))],
        "s",
    )
    add("published", "GPU busy, three at once", call.known("busy", *three), "", None, BUSY)
    if paces and (slower := call.known("pace", *three)):
        note = "an epoch, its validation and checkpoint included"
        add("published", "three at once / one alone", [mean(slower) / paces[0]], "×", Bar(high=2), note)

    for setting in SETTINGS:
        stage = setting.partition("-")[0]
        if stage in STAGES:
            curves = {name: curve for name in names(setting) if (curve := call.column("val_acc", name))}
            short = [len(curve) for curve in curves.values() if len(curve) < call.epochs]
            said = f" after {', '.join(map(str, short))} epochs" if short else ""
            scores(stage, f"{setting}, validation{said}", [max(curve) for curve in curves.values()])
            runs = [call.metrics(name) for name in names(setting)]
            for key, split in SCORES.items():
                least = LEAST_ACC.get(stage) if split == "PublicTest" else None
                scores(stage, f"{setting}, {split}", [run.get(key) for run in runs], least)
            found = [call.evaluation(f"tta-{name}").get("splits", {}) for name in names(setting)]
            for split in found[0]:
                values = [splits[split]["acc"] for splits in found if splits]
                scores(stage, f"{setting} --tta, {split}", values, 0.73 if split == "public" else None)
    for split, score in call.evaluation(TOGETHER).get("splits", {}).items():
        scores("best", f"three together, --tta, {split}", [score["acc"]])

    theirs, ours = call.figures.get("baseline", []), call.column("seconds", chosen)[WARM:]
    add("baseline", "epoch of the baseline", theirs, "s")
    if theirs and ours:
        add("baseline", "baseline / ours", [median(theirs) / median(ours)], "×", Bar(low=6))
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="bench/gpu.sh", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("given", nargs="*", metavar="STAGE|key=value", help="default: all stages; settings of all runs")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where results go")
    parser.add_argument(
        "--work", type=Path, default=Path("outputs/gpu"), metavar="DIR", help="runs (default: %(default)s)"
    )
    parser.add_argument("--data", metavar="PATH", help="FER2013 (default: $FER2013_ROOT, ./data)")
    parser.add_argument("--minutes", type=float, default=MINUTES, help="the call's time limit (default: %(default)s)")
    parser.add_argument("--epochs", type=int, help=f"of a run (default: {EPOCHS})")
    parser.add_argument("--tiny", action="store_true", help="two epochs of tiny networks, on CPU and built-in faces")
    options = parser.parse_intermixed_args()
    options.overrides = [given for given in options.given if "=" in given]
    stages = [given for given in options.given if "=" not in given] or list(STAGES)
    if unknown := [stage for stage in stages if stage not in STAGES]:
        parser.error(f"no such stage: {', '.join(unknown)}; there are {', '.join(STAGES)}")
    if not 60 * options.minutes >= GRACE + LEAST:  # nan included
        parser.error(f"--minutes {options.minutes:g}: in less than {(GRACE + LEAST) / 60:.1f} nothing is trained")
    if not options.tiny and not torch.cuda.is_available():
        parser.error("there is no CUDA GPU here; --tiny tries the stages on the CPU")
    try:
        faces = open_faces("synthetic" if options.tiny else "fer2013", options.data)
    except UserError as error:
        parser.error(str(error))
    options.epochs = options.epochs or (2 if options.tiny else EPOCHS)
    call = Call(options, faces)
    print("\n".join(f"{key:<9} {value}" for key, value in call.header.items()), flush=True)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, call.interrupt)
    unfinished = []
    for stage in (stage for stage in STAGES if stage in stages):
        if not STAGES[stage](call):
            unfinished.append(stage)
        call.save()
        if lines := [line for line in table(call) if line.row == stage]:
            print(f"\n{in_columns(HEADS)}", *(in_columns(line.cells()) for line in lines), "", sep="\n")
            print(*verdicts(lines), f"written: {call.out}", "", sep="\n", flush=True)
    if call.failed:
        print(f"failed: {', '.join(call.failed)}", file=sys.stderr)
        return 1
    if unfinished:
        print(f"unfinished: {', '.join(unfinished)}; the same call goes on", flush=True)
    return 130 if call.interrupted else 75 if unfinished else 0


if __name__ == "__main__":
    sys.exit(main())
