"""The trainings of the CNN that need a GPU, in stages: bench/reproduce.sh --out DIR [--stages NAME …] [-- overrides]

Each call works on the first of the stages that is not finished: it starts its runs, or goes on with them, several at
once, ends them cleanly when the time is over, and writes to DIR/<stage>/ the weights of those that finished (fp16, to
be scored by `python -m fer_lightning.evaluate FILE`), metrics.json and summary.md: at most eight files of 16 MiB,
64 MiB together. When all runs of a stage are finished it is scored, where too little time is left in the next call.

What a stage needs of another one's runs (the ensemble's first three networks, the teachers) is taken from their folders
in --work, else from their weights: NAME.safetensors there or in DIR/<stage>/. Where neither is there, students are not
trained; a score is left out, which summary.md says, and the stage does not count as finished.

Which stages are finished stands in --work alone: on another machine, name the rest with --stages.

Exit status 0: all stages are finished; 75: call again; 1: a run or an evaluation failed, or a run to score with is
missing; 2: a mistake in the arguments, or a teacher is missing; 130: interrupted, and its runs with it.

First on a new kind of GPU machine: `STAGES=probe bench/gpu.sh --data PATH --out DIR`, three epochs of the two recipes,
compiled and not: whether compilation works there, what it gains and whether the losses are the same.

Overrides apply to every run. FER2013 is found as a run finds it (data.root, $FER2013_ROOT, ./data) and must be there,
but to try it all out in some minutes a stage on a CPU:
`-- data=synthetic trainer=cpu trainer.max_epochs=2 'model.channels=[4,4,4,4,4]' model.hidden=8 logger=none`.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from fer_lightning.results.paths import override, quoted

# A lent machine kills a call after ten minutes. Of those, half a minute goes before this script starts and half a one
# after its end on writing results; the last one is to spare.
MINUTES = 8
GRACE = 45  # seconds, of the above, in which interrupted runs score and draw what they have
SCORING = 90  # seconds: no evaluation is begun with less left
ENDING = (signal.SIGTERM, signal.SIGHUP)  # taken as Ctrl-C; a closed terminal tells this process alone
LATER = "too little time was left; the next call goes on with it"
SPLIT = "data.split_seed=0"  # an ensemble, and a student of it, hold out the same images


@dataclass(frozen=True)
class Run:
    """A training: the name of its folder, its settings and the names of the runs that it learns from."""

    name: str
    settings: tuple[str, ...]
    teachers: tuple[str, ...] = ()


def runs(name: str, seeds: range, *settings: str, teachers: Iterable[str] = ()) -> list[Run]:
    return [Run(f"{name}-seed{seed}", (*settings, f"seed={seed}"), tuple(teachers)) for seed in seeds]


def stages() -> dict[str, list[Run]]:
    """In the order of their worth. norm_aug of the ablation is published_cnn."""
    eight = runs("best_cnn", range(8), "experiment=best_cnn", SPLIT)
    return {
        "published_cnn": runs("published_cnn", range(3), "experiment=published_cnn"),
        "best_cnn": eight[:3],
        "ensemble": eight[3:],
        "ablation": [
            run
            for aug in ("none", "norm")
            for run in runs(f"cnn_{aug}", range(3), "experiment=published_cnn", f"aug={aug}")
        ],
        "distilled": runs(
            "distilled_cnn", range(3), "experiment=best_cnn", SPLIT, teachers=[run.name for run in eight]
        ),
    }


def evaluations(stage: str) -> dict[str, list[str]]:
    """What is scored beyond a run's own metrics.json when all of a stage are finished.

    Name → arguments of `evaluate`, with the names of runs for their places.
    """
    eight = [f"best_cnn-seed{seed}" for seed in range(8)]
    if stage in ("best_cnn", "distilled"):
        names = [f"{stage.removesuffix('_cnn')}_cnn-seed{seed}" for seed in range(3)]
        return {f"{name}-tta": [name, "--tta"] for name in names}
    if stage == "ensemble":
        together = [eight[0], "--ensemble", *eight[1:]]
        return {"ensemble-of-8": together, "ensemble-of-8-tta": [*together, "--tta"]}
    if stage == "ablation":
        return {
            f"norm_aug-against-{aug}-seed{seed}": [f"published_cnn-seed{seed}", "--compare", f"cnn_{aug}-seed{seed}"]
            for aug in ("none", "norm")
            for seed in range(3)
        }
    return {}


def metrics_of(folder: Path) -> dict:
    path = folder / "metrics.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def place(name: str, work: Path, out: Path) -> Path | None:
    """Where a finished run is: its folder, else its weights, by hand in `work` or by an earlier call in `out`."""
    if metrics_of(work / name).get("completed"):
        return work / name
    weights = [work / f"{name}.safetensors", *out.glob(f"*/{name}.safetensors")]
    return next((path for path in weights if path.is_file()), None)


def absent(names: Iterable[str], work: Path, out: Path) -> str:
    """The runs of which nothing is there, and what would be right; empty where all are there."""
    gone = [name for name in dict.fromkeys(names) if place(name, work, out) is None]
    if not gone:
        return ""
    return f"missing: {', '.join(gone)} (as finished runs in {work}, or as NAME.safetensors there or in {out}/STAGE/)"


def named(arguments: list[str]) -> list[str]:
    return [argument for argument in arguments if not argument.startswith("--")]


def start(run: Run, work: Path, out: Path, overrides: list[str]) -> subprocess.Popen:
    """The run's process, from its newest state where it has one; what it prints goes to <name>.log.

    It leads a process group, to be ended with what it started; not a session, in which it would outlive this call.
    """
    folder = work / run.name
    settings = [*run.settings, *overrides]
    if run.teachers:
        teachers = [place(name, work, out) for name in run.teachers]
        settings.append(f"distill.teachers=[{','.join(quoted(path) for path in teachers if path)}]")
    if not any(setting.startswith("data=") for setting in settings):
        settings.append("data=fer2013")  # never the built-in faces unasked
    command = [sys.executable, "-m", "fer_lightning", *settings, override("hydra.run.dir", folder)]
    if (folder / "checkpoints" / "last.ckpt").is_file():
        command.append(override("ckpt_path", folder))
    elif folder.exists():
        shutil.rmtree(folder)  # killed before its first epoch: there is nothing to go on from
    with open(work / f"{run.name}.log", "a") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, process_group=0)


def train(todo: list[Run], work: Path, out: Path, overrides: list[str], jobs: int, end: float) -> list[str]:
    """Train, `jobs` at once, until all are done or the time is over; the names of runs that failed."""
    waiting, failed = list(todo), []
    running: dict[str, subprocess.Popen] = {}

    def look(expected: tuple[int, ...]) -> None:
        for name, process in list(running.items()):
            if process.poll() is not None:
                del running[name]
                print(f"{name}: ended with status {process.returncode}", flush=True)
                if process.returncode not in expected:
                    failed.append(name)

    try:
        while (waiting or running) and time.monotonic() < end:
            while waiting and len(running) < jobs:
                run = waiting.pop(0)
                with undisturbed():
                    running[run.name] = start(run, work, out, overrides)
                print(f"{run.name}: started", flush=True)
            time.sleep(0.2)
            look((0,))
    finally:  # the time is over, or Ctrl-C
        interrupt(running.values())
        look((0, 130, -signal.SIGTERM, -signal.SIGKILL))
    return failed


@contextmanager
def undisturbed() -> Iterator[None]:
    """Ctrl-C and SIGTERM wait for its end: in the middle of a start they would leave a process that nobody knows of."""
    came = []
    numbers = [n for n in (signal.SIGINT, *ENDING) if signal.getsignal(n) is signal.default_int_handler]
    for number in numbers:
        signal.signal(number, lambda *_: came.append(1))
    try:
        yield
    finally:
        for number in numbers:
            signal.signal(number, signal.default_int_handler)
    if came:
        raise KeyboardInterrupt


def interrupt(processes: Collection[subprocess.Popen]) -> None:
    """End them as Ctrl-C would; at once after GRACE seconds for all of them together, or where Ctrl-C comes again."""
    by = time.monotonic() + GRACE
    try:
        for process in processes:
            process.terminate()  # as Ctrl-C, which a process in the background may not hear
        with suppress(subprocess.TimeoutExpired):
            for process in processes:
                process.wait(max(0, by - time.monotonic()))
    finally:
        for process in processes:
            if process.poll() is None:  # last.ckpt is there all the same
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def evaluate(
    stage: str, work: Path, out: Path, overrides: list[str], end: float
) -> tuple[dict[str, dict], dict[str, str]]:
    """evaluation.json of each of `evaluations`, made where it is not there yet; of those not made, why."""
    scored, unscored = {}, {}
    for name, arguments in evaluations(stage).items():
        report = work / "evaluations" / name / "evaluation.json"
        reason = "" if report.is_file() else score(name, arguments, work, out, overrides, end)
        if reason:
            unscored[name] = reason
        else:
            scored[name] = json.loads(report.read_text())
    return scored, unscored


def score(name: str, arguments: list[str], work: Path, out: Path, overrides: list[str], end: float) -> str:
    """Make one of `evaluations`; why it could not be made, else empty."""
    if reason := absent(named(arguments), work, out):
        return reason
    left = end - time.monotonic()
    if left < SCORING:
        return LATER
    places = [argument if argument.startswith("--") else str(place(argument, work, out)) for argument in arguments]
    # weights, unlike runs, do not know where the data are
    roots = [setting.removeprefix("data.root=").strip("'") for setting in overrides if setting.startswith("data.root=")]
    data = ["--data", roots[-1]] if roots else []
    folder = work / "evaluations" / name
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "evaluate.log"
    command = [sys.executable, "-m", "fer_lightning.evaluate", *places, *data, "--out", str(folder)]
    with open(log, "w") as file:
        try:
            status = subprocess.run(command, stdout=file, stderr=subprocess.STDOUT, timeout=left).returncode
        except subprocess.TimeoutExpired:
            return LATER
    if status:
        print_end(name, log)
    return f"its evaluation failed, see {log}" if status else ""


def print_end(name: str, log: Path) -> None:
    print(f"\n{name} failed; the end of {log}:", *log.read_text().splitlines()[-15:], sep="\n", file=sys.stderr)


def write_results(
    stage: str, done: list[Run], work: Path, scored: dict[str, dict], unscored: dict[str, str], out: Path
) -> None:
    from fer_lightning.results import comparison as sweep
    from fer_lightning.results.checkpoint import read_checkpoint
    from fer_lightning.results.paths import best_checkpoint
    from fer_lightning.results.weights import SUFFIX, write_weights

    out.mkdir(parents=True, exist_ok=True)
    if stage != "ablation":
        for run in done:
            write_weights(read_checkpoint(best_checkpoint(work / run.name)), out / f"{run.name}{SUFFIX}")
    content = {"runs": {run.name: metrics_of(work / run.name) for run in done}, "evaluations": scored}
    (out / "metrics.json").write_text(json.dumps(content, indent=1) + "\n")
    lines = [f"# Stage {stage}: {len(done)} runs finished", "", "All runs so far:", ""]
    lines += [sweep.markdown(sweep.compare(work), width=None), ""]
    for name, report in scored.items():
        for split, score in report["splits"].items():
            low, high = score["acc_95"]
            lines.append(f"- {name}, {split}: {score['acc']:.4f} ({low:.4f} to {high:.4f}, {score['n']:,} images)")
        for split, test in (report["comparison"] or {"splits": {}})["splits"].items():
            lines.append(f"- {name}, {split}: {test['points']:+.2f} points, McNemar p = {test['p']:.2g}")
    lines += [f"- {name}: not scored: {reason}" for name, reason in unscored.items()]
    (out / "summary.md").write_text("\n".join(lines) + "\n")


def main() -> int:
    begun = time.monotonic()
    every = stages()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where results go")
    parser.add_argument("--work", type=Path, default=Path("outputs/reproduce"), metavar="DIR", help="where runs go")
    parser.add_argument(
        "--stages",
        nargs="+",
        choices=every,
        default=list(every),
        metavar="NAME",
        help=f"only these, in the order of all: {', '.join(every)}",
    )
    parser.add_argument(
        "--minutes", type=float, default=MINUTES, help=f"of training and scoring in this call (default: {MINUTES})"
    )
    parser.add_argument("--jobs", type=int, default=3, help="runs at once (default: 3)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of every run, after --")
    options = parser.parse_args()
    if options.jobs < 1:
        parser.error(f"--jobs {options.jobs}: it must be at least 1")
    if not 60 * options.minutes >= GRACE + SCORING:  # nan included
        parser.error(f"--minutes {options.minutes:g}: in less than {(GRACE + SCORING) / 60:g} nothing is scored")
    end = begun + 60 * options.minutes
    work, out = options.work.absolute(), options.out.absolute()
    finished = work / "finished"
    finished.mkdir(parents=True, exist_ok=True)

    chosen = [stage for stage in every if stage in options.stages]
    remaining = [stage for stage in chosen if not (finished / stage).exists()]
    if not remaining:
        print(f"all stages are finished: {', '.join(chosen)}")
        return 0
    stage, *others = remaining
    print(f"stage {stage}, then {', '.join(others) or 'nothing'}", flush=True)
    if reason := absent([name for run in every[stage] for name in run.teachers], work, out):
        print(f"{stage} is not trained, as it learns from runs that are {reason}", file=sys.stderr)
        return 2
    own = {run.name for run in every[stage]}
    scored_with = [name for arguments in evaluations(stage).values() for name in named(arguments) if name not in own]
    if reason := absent(scored_with, work, out):
        print(f"{stage} will not be scored in full, for want of runs that are {reason}", file=sys.stderr)

    todo = [run for run in every[stage] if not metrics_of(work / run.name).get("completed")]
    failed = train(todo, work, out, options.overrides, options.jobs, end - GRACE)
    for name in failed:
        print_end(name, work / f"{name}.log")
    done = [run for run in every[stage] if metrics_of(work / run.name).get("completed")]
    if done:  # before anything else can go wrong
        write_results(stage, done, work, {}, {}, out / stage)
    unscored: dict[str, str] = {}
    if len(done) == len(every[stage]):
        scored, unscored = evaluate(stage, work, out, options.overrides, end)
        if scored or unscored:
            write_results(stage, done, work, scored, unscored, out / stage)
        if not unscored:
            (finished / stage).touch()
    if done:
        print((out / stage / "summary.md").read_text(), flush=True)
    if failed:
        return 1
    if unscored and LATER not in unscored.values():
        without = f"; to go on without it: --stages {' '.join(others)}" if others else ""
        print(f"{stage} is trained but not scored in full, so not finished{without}", file=sys.stderr)
        return 1
    if not others and (finished / stage).exists():
        return 0
    print("call again with the same arguments: it goes on", flush=True)
    return 75


if __name__ == "__main__":
    for number in ENDING:  # the runs are to be ended too
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
