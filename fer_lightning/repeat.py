"""A finished run once more, and its figures beside the first ones: python -m fer_lightning.repeat RUN [--out DIR]"""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_lightning.errors import UserError, command_parser, run_command

if TYPE_CHECKING:
    from fer_lightning.results.run_folder import Run

DESCRIPTION = """\
Do a finished run again, by its own command, with what `auto` came to in it, on the same data, into a
folder of its own. Then tell of each figure whether it is equal to the first one, to the last digit, and
what is not the same around them: commit, versions, processor, threads, settings. The same is written as
repeat.json into that folder (`equal`: true or false). Interrupted or killed, the same command goes on.
Exit status: 0 repeated, whether equal or not; 1 failed; 2 a mistake; 130 interrupted."""

# Of config.yaml, what `auto` came to
DECIDED = ("data.batch_size", "trainer.max_epochs", "trainer.precision", "trainer.threads", "trainer.compile")
FIGURES = ("best_epoch", "val_acc", "val_loss", "test_public_acc", "test_private_acc")
ELSEWHERE = ("data.root", "ckpt_path", "resume")  # settings that may differ between a run and its repetition
WIDTH = 80  # columns


def main() -> None:
    """The command: exit status 0 repeated, 1 failed, 2 a mistake in the input, 130 interrupted."""
    parser = command_parser("repeat", DESCRIPTION)
    parser.add_argument("folder", metavar="RUN", type=Path, help="the folder of a finished run, alone or of a sweep")
    parser.add_argument("--out", metavar="DIR", type=Path, help="for the repetition (default: RUN-repeat, beside it)")
    run_command(lambda: repeat(**vars(parser.parse_args())))


def repeat(folder: Path, out: Path | None = None) -> None:
    """Repeat the run in `folder` into `out`, print the comparison and write it to `out`/repeat.json.

    UserError for what cannot be repeated; SystemExit with the status of a repetition that did not end well.
    """
    from fer_lightning.results.files import write_json
    from fer_lightning.results.paths import expanded
    from fer_lightning.results.run_folder import read_run, why_unfinished

    folder = expanded(folder)
    if (folder / "multirun.yaml").is_file():
        raise UserError(f"{folder}: it holds a sweep; name one of the jobs below it")
    run = read_run(folder)
    if why := why_unfinished(run):
        raise UserError(f"{folder}: its run is not finished: {why}; only a finished one can be repeated")
    place = run.folder.resolve()
    out = beside(place) if out is None else expanded(out).resolve()
    if out == place or place in out.parents:
        raise UserError(f"--out {out}: it is in the run's own folder, in which nothing is changed; name another one")
    if status := start(command(run, out), typed_in(place)):
        if status in (130, -signal.SIGINT):
            print("the command that repeats it goes on as well, and compares")
            raise KeyboardInterrupt
        sys.exit(max(status, 1))
    found = compare(run, read_run(out))
    write_json(out / "repeat.json", {"run": str(place), **found})
    print(f"\n{to_text(found)}\n\n{out / 'repeat.json'}")


def beside(run: Path) -> Path:
    """Where a repetition goes: not into a sweep's folder, whose comparison would count it."""
    if (run.parent / "multirun.yaml").is_file():
        return run.parent.with_name(f"{run.parent.name}-{run.name}-repeat")
    return run.with_name(f"{run.name}-repeat")


def command(run: "Run", out: Path) -> list[str]:
    """The run's own command, with values for what was `auto`, the place where its data is now, and `out`."""
    from fer_lightning.results.paths import override
    from fer_lightning.results.run_folder import flat, overrides_of, own_recipes, record_of

    own = overrides_of(run.folder)
    if own is None:
        raise UserError(
            f"{run.folder}: it holds no record of its command (.hydra/overrides.yaml), so it can't be repeated"
        )
    settings = flat(run.config)
    decided = [f"{key}={settings[key]}" for key in DECIDED]
    if run.metrics["synthetic"]:
        data = ["data.name=synthetic", "data.root=null"]
    else:
        data = ["data.name=fer2013", override("data.root", data_of(run))]
    return [*own_recipes(record_of(run.folder)), *own, *decided, *data, override("hydra.run.dir", out), "resume=true"]


def data_of(run: "Run") -> str:
    """Where the run's data is now, see `place_of`. UserError unless it is the same data."""
    from fer_lightning.data import fer2013
    from fer_lightning.data.faces import fingerprint
    from fer_lightning.data.source import place_of

    path = place_of(run.metrics["source"])
    if path is None:
        raise UserError(
            f"{run.folder}: its data, {run.metrics['source']}, is not there; say where it is now with the environment "
            "variable FER2013_ROOT"
        )
    now, then = fingerprint(fer2013.load(path)), run.metrics["data_fingerprint"]
    if now != then:
        raise UserError(
            f"{run.folder}: it was trained on data with the fingerprint {then}, but that of {path} is {now}; right: "
            "the same data in that place"
        )
    return path


def typed_in(run: Path) -> Path:
    """The current folder of the run's command, from which relative paths and own modules are found, if it is here."""
    from fer_lightning.results.run_folder import record_of, runtime_of

    folder = Path(str(runtime_of(record_of(run)).get("cwd")))
    return folder if folder.is_dir() else Path.cwd()


def start(arguments: list[str], folder: Path) -> int:
    """Run `python -m fer_lightning` in a current folder, and wait; its status. Ctrl-C ends it as it would alone."""
    process = subprocess.Popen([sys.executable, "-m", "fer_lightning", *arguments], cwd=folder)
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return process.wait()
    finally:
        signal.signal(signal.SIGINT, usual)


def compare(first: "Run", again: "Run") -> dict[str, Any]:
    """`equal`; `figures`: [first, again] of each; `around`: the same of what stands around them."""
    from fer_lightning.results.run_folder import flat

    figures: dict[str, list[Any]] = {
        key: [first.metrics[key], again.metrics[key]]
        for key in FIGURES
        if (first.metrics[key], again.metrics[key]) != (None, None)
    }
    epochs = [run.epochs.drop(columns="seconds") for run in (first, again)]
    figures["epochs"] = [len(table) for table in epochs]
    shared = min(figures["epochs"])
    changed = epochs[0][:shared].compare(epochs[1][:shared])  # what differs; NaN where it does not
    differing = None
    if not changed.empty:
        row = int(changed.index[0])
        column = changed.loc[row].dropna().index[0][0]
        differing = {"epoch": row + 1, "column": column, "values": [float(table[column][row]) for table in epochs]}
    predictions = compare_predictions(first, again)
    settings = [
        {key: value for key, value in flat(run.config).items() if key not in ELSEWHERE} for run in (first, again)
    ]
    versions = [run.metrics.get("versions") or {} for run in (first, again)]
    around = {
        **{name: [each.get(name) for each in versions] for name in {**versions[0], **versions[1]}},
        **{key: [run.metrics[key] for run in (first, again)] for key in ("device", "precision", "data_fingerprint")},
        **{
            key: [each.get(key) for each in settings]
            for key in {**settings[0], **settings[1]}
            if settings[0].get(key) != settings[1].get(key)
        },
    }
    equal = differing is None and not predictions and all(a == b for a, b in figures.values())
    return {
        "equal": equal,
        "figures": figures,
        "first_epoch_that_differs": differing,
        "predictions_that_differ": predictions,
        "around": around,
    }


def compare_predictions(first: "Run", again: "Run") -> str | None:
    """In words, in what predictions.csv of both differ; None: in nothing."""
    from fer_lightning.data.faces import CLASSES

    one, two = first.predictions, again.predictions
    if one is None or two is None:
        return None if one is two else "one of the runs has no predictions.csv"
    if one.equals(two):
        return None
    images = ["split", "index", "target"]
    if not one[images].equals(two[images]):
        return "they are of other images"
    classes = int((one["predicted"] != two["predicted"]).sum())
    largest = float((one[[*CLASSES]] - two[[*CLASSES]]).abs().max().max())
    return f"{classes:,} of {len(one):,} classes, probabilities by up to {largest:.2g}"


def to_text(found: dict[str, Any]) -> str:
    """The comparison in WIDTH columns."""
    lines = [f"{'figure':<18}{'first':<22}{'again':<22}"]
    lines += [
        f"{name:<18}{_shown(a):<22}{_shown(b):<22}{'equal' if a == b else 'NOT EQUAL'}"
        for name, (a, b) in found["figures"].items()
    ]
    differing, predictions = found["first_epoch_that_differs"], found["predictions_that_differ"]
    epochs = "equal"
    if differing:
        a, b = differing["values"]
        epochs = f"NOT EQUAL from epoch {differing['epoch']} on: {differing['column']} {_shown(a)}, {_shown(b)}"
    lines += [f"{'each epoch':<18}{epochs}"]
    lines += [f"{'predictions':<18}{'equal' if predictions is None else f'NOT EQUAL: {predictions}'}"]
    changed = {name: pair for name, pair in found["around"].items() if pair[0] != pair[1]}
    same = [name for name in found["around"] if name not in changed]
    lines += ["", textwrap.fill(f"the same around them: {', '.join(same)}", WIDTH)]
    for name, (a, b) in changed.items():
        lines += textwrap.wrap(f"not the same: {name}: {_shown(a)} → {_shown(b)}", WIDTH, subsequent_indent="  ")
    lines += ["", "Equal, to the last digit." if found["equal"] else "NOT equal."]
    return "\n".join(line.rstrip() for line in lines)


def _shown(value: Any) -> str:
    return "–" if value is None else str(value)


if __name__ == "__main__":
    main()
