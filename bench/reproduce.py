"""The trainings of the CNN that need a GPU, in stages: bench/reproduce.sh --out DIR [--minutes 9.5] [-- overrides]

Each call works on the first stage that is not finished: it starts its runs, or goes on with them, several at once, ends
them cleanly when the time is over, and writes to DIR/<stage>/ the weights of those that finished (fp16, to be scored by
`python -m fer_lightning.evaluate FILE`), metrics.json and summary.md: at most eight files of 16 MiB, 64 MiB together.
Exit status 0: all stages are finished; 75: call again; 1: a run failed; 2: a mistake in the arguments.

Overrides apply to every run. FER2013 is found as a run finds it (data.root, $FER2013_ROOT, ./data) and must be there,
but to try it all out in a minute or two on a CPU:
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
from dataclasses import dataclass
from pathlib import Path

from fer_lightning.paths import override

GRACE = 45  # seconds for an interrupted run to score and draw what it has
SPLIT = "data.split_seed=0"  # an ensemble, and a student of it, hold out the same images


@dataclass(frozen=True)
class Run:
    """A training: the name of its folder and its settings."""

    name: str
    settings: tuple[str, ...]


def runs(name: str, seeds: range, *settings: str) -> list[Run]:
    return [Run(f"{name}-seed{seed}", (*settings, f"seed={seed}")) for seed in seeds]


def stages(work: Path) -> dict[str, list[Run]]:
    """In the order of their worth. norm_aug of the ablation is published_cnn."""
    eight = runs("best_cnn", range(8), "experiment=best_cnn", SPLIT)
    teachers = ",".join(str(work / run.name) for run in eight)
    return {
        "published_cnn": runs("published_cnn", range(3), "experiment=published_cnn"),
        "best_cnn": eight[:3],
        "ensemble": eight[3:],
        "ablation": [
            run
            for aug in ("none", "norm")
            for run in runs(f"cnn_{aug}", range(3), "experiment=published_cnn", f"aug={aug}")
        ],
        "distilled": runs("distilled_cnn", range(3), "experiment=best_cnn", SPLIT, f"distill.teachers=[{teachers}]"),
    }


def evaluations(stage: str, work: Path) -> dict[str, list[str]]:
    """What is scored beyond a run's own metrics.json when a stage is finished: name → arguments of `evaluate`."""
    eight = [str(work / f"best_cnn-seed{seed}") for seed in range(8)]
    if stage in ("best_cnn", "distilled"):
        names = [f"{stage.removesuffix('_cnn')}_cnn-seed{seed}" for seed in range(3)]
        return {f"{name}-tta": [str(work / name), "--tta"] for name in names}
    if stage == "ensemble":
        together = [eight[0], "--ensemble", *eight[1:]]
        return {"ensemble-of-8": together, "ensemble-of-8-tta": [*together, "--tta"]}
    if stage == "ablation":
        return {
            f"norm_aug-against-{aug}-seed{seed}": [
                str(work / f"published_cnn-seed{seed}"),
                *("--compare", str(work / f"cnn_{aug}-seed{seed}")),
            ]
            for aug in ("none", "norm")
            for seed in range(3)
        }
    return {}


def metrics_of(folder: Path) -> dict:
    path = folder / "metrics.json"
    return json.loads(path.read_text()) if path.is_file() else {}


def start(run: Run, work: Path, overrides: list[str]) -> subprocess.Popen:
    """The run's process, from its newest state where it has one; what it prints goes to <name>.log."""
    folder = work / run.name
    settings = [*run.settings, *overrides]
    if not any(setting.startswith("data=") for setting in settings):
        settings.append("data=fer2013")  # never the built-in faces unasked
    command = [sys.executable, "-m", "fer_lightning", *settings, override("hydra.run.dir", folder)]
    if (folder / "checkpoints" / "last.ckpt").is_file():
        command.append(override("ckpt_path", folder))
    elif folder.exists():
        shutil.rmtree(folder)  # killed before its first epoch: there is nothing to go on from
    with open(work / f"{run.name}.log", "a") as log:
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)


def train(todo: list[Run], work: Path, overrides: list[str], jobs: int, end: float) -> list[str]:
    """Train, `jobs` at once, until all are done or the time is over; the names of runs that failed."""
    waiting, failed = list(todo), []
    running: dict[str, subprocess.Popen] = {}
    while (waiting and time.monotonic() < end) or running:
        while waiting and len(running) < jobs and time.monotonic() < end:
            run = waiting.pop(0)
            running[run.name] = start(run, work, overrides)
            print(f"{run.name}: started", flush=True)
        if time.monotonic() >= end:
            for process in running.values():
                if process.poll() is None:
                    process.terminate()  # as Ctrl-C, which a process in the background may not hear
            for process in running.values():
                try:
                    process.wait(GRACE)
                except subprocess.TimeoutExpired:  # last.ckpt is there all the same
                    os.killpg(process.pid, signal.SIGKILL)
                    process.wait()
        for name, process in list(running.items()):
            if process.poll() is not None:
                del running[name]
                print(f"{name}: ended with status {process.returncode}", flush=True)
                if process.returncode not in (0, 130, -signal.SIGTERM, -signal.SIGKILL):
                    failed.append(name)
        time.sleep(0.2)
    return failed


def evaluate(stage: str, work: Path) -> dict[str, dict]:
    """evaluation.json of each of `evaluations`, made where it is not there yet."""
    found = {}
    for name, arguments in evaluations(stage, work).items():
        folder = work / "evaluations" / name
        if not (folder / "evaluation.json").is_file():
            command = [sys.executable, "-m", "fer_lightning.evaluate", *arguments, "--out", str(folder)]
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
        found[name] = json.loads((folder / "evaluation.json").read_text())
    return found


def write_results(stage: str, done: list[Run], work: Path, evaluated: dict[str, dict], out: Path) -> None:
    from fer_lightning import sweep
    from fer_lightning.inference import read_checkpoint
    from fer_lightning.paths import best_checkpoint
    from fer_lightning.weights import SUFFIX, write_weights

    out.mkdir(parents=True, exist_ok=True)
    if stage != "ablation":
        for run in done:
            write_weights(read_checkpoint(best_checkpoint(work / run.name)), out / f"{run.name}{SUFFIX}")
    content = {"runs": {run.name: metrics_of(work / run.name) for run in done}, "evaluations": evaluated}
    (out / "metrics.json").write_text(json.dumps(content, indent=1) + "\n")
    lines = [f"# Stage {stage}: {len(done)} runs finished", "", "All runs so far:", ""]
    lines += [sweep.markdown(sweep.compare(work), width=None), ""]
    for name, report in evaluated.items():
        for split, score in report["splits"].items():
            low, high = score["acc_95"]
            lines.append(f"- {name}, {split}: {score['acc']:.4f} ({low:.4f} to {high:.4f}, {score['n']:,} images)")
        for split, test in (report["comparison"] or {"splits": {}})["splits"].items():
            lines.append(f"- {name}, {split}: {test['points']:+.2f} points, McNemar p = {test['p']:.2g}")
    (out / "summary.md").write_text("\n".join(lines) + "\n")


def main() -> int:
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="where results go")
    parser.add_argument("--work", type=Path, default=Path("outputs/reproduce"), metavar="DIR", help="where runs go")
    parser.add_argument("--minutes", type=float, default=9.5, help="of this call (default: 9.5)")
    parser.add_argument("--jobs", type=int, default=3, help="runs at once (default: 3)")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="settings of every run, after --")
    options = parser.parse_args()
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    finished = work / "finished"
    finished.mkdir(exist_ok=True)

    every = stages(work)
    remaining = [stage for stage in every if not (finished / stage).exists()]
    if not remaining:
        print(f"all stages are finished: {', '.join(every)}")
        return 0
    stage = remaining[0]
    print(f"stage {stage}, then {', '.join(remaining[1:]) or 'nothing'}", flush=True)
    todo = [run for run in every[stage] if not metrics_of(work / run.name).get("completed")]
    failed = train(todo, work, options.overrides, options.jobs, begun + 60 * options.minutes - GRACE)
    for name in failed:
        print(f"\n{name} failed; the end of {work / f'{name}.log'}:", file=sys.stderr)
        print("\n".join((work / f"{name}.log").read_text().splitlines()[-15:]), file=sys.stderr)
    done = [run for run in every[stage] if metrics_of(work / run.name).get("completed")]
    complete = len(done) == len(every[stage])
    evaluated = evaluate(stage, work) if complete else {}
    if done:
        write_results(stage, done, work, evaluated, options.out / stage)
        print((options.out / stage / "summary.md").read_text())
    if failed:
        return 1
    if complete:
        (finished / stage).touch()
    if complete and len(remaining) == 1:
        return 0
    print("call again with the same arguments: it goes on", flush=True)
    return 75


if __name__ == "__main__":
    sys.exit(main())
