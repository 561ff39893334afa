"""Put a run's network into the package: python -m bench.package RUN NAME [--weights FILE] [--data PATH] [--votes CSV]

Writes fer_lightning/weights/NAME.safetensors (half precision), its calibration, NAME.json, and its model card,
README.md, whose scores are those of the file written, by `python -m fer_lightning.evaluate`. One network comes with the
package, that of `weights.PACKAGED`; another one that is there already must be removed first.
"""

import argparse
import contextlib
import io
import json
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from fer_lightning.errors import UserError, run_command
from fer_lightning.evaluate.evaluation import evaluate
from fer_lightning.results import calibration, weights
from fer_lightning.results.calibration import Calibration
from fer_lightning.results.checkpoint import read_checkpoint
from fer_lightning.results.paths import best_checkpoint
from fer_lightning.results.run_folder import Run, overrides_of, read_predictions, read_run, versions_of
from fer_lightning.results.scores import expected_calibration_error
from fer_lightning.training.pretrained import PACKAGED

FOLDER = weights.WEIGHTS
ROUNDING = 0.005  # of an accuracy: half precision, another device
KEYS = ("precision", "recall", "f1")
NAMES = {"val": "validation (held out of Training)", "public": "PublicTest", "private": "PrivateTest"}

CARD = """\
# {name}: the network that comes with fer_lightning

`python -m fer_lightning.evaluate` scores it where no run is named (on FER2013, which must be there), and
`python -m fer_lightning.predict` answers for photographs with it. From Python, for a ready face and at temperature 1:

```python
import numpy as np
from PIL import Image

from fer_lightning.data.faces import CLASSES
from fer_lightning.results.checkpoint import load
from fer_lightning.results.weights import packaged

face = Image.open("face.png").convert("L").resize((48, 48))  # cropped as FER2013's are
chances = load(packaged()).probabilities(np.asarray(face)[None])[0]  # uint8 (N, 48, 48) to float32 (N, 7)
print(dict(zip(CLASSES, chances.tolist())))
```

| | |
|---|---|
| network | {network}, {params:,} parameters; gray faces of 48×48 pixels to the probabilities of {classes} |
| file | `{name}.safetensors`, {megabytes:.1f} MB, float16; its metadata holds all that makes the network again |
| trained on | {train_n:,} images of FER2013's Training split (Kaggle, 2013), no other data |
| recipe | {recipe} |
{lines_of_others}| cost | {epochs} epochs, {minutes:.0f} minutes on {device}, {precision} |
| checkpoint | epoch {best_epoch}, the highest validation accuracy; {versions} |

## Scores

Of this file, in float32, without test-time augmentation. "Unseen" leaves out the test images that
also stand, pixel for pixel, in Training. Intervals: Wilson, 95 %.

{scores}

{classes_table}

{votes}## Calibration

At a temperature of {temperature:.3f}, fitted on the validation images, the calibration error is
{errors}. A face whose largest probability then is
below {threshold} is "unsure": an answer would be more likely wrong than right. `{name}.json` holds the figures of
validation. Answered, and right of the answers, by the threshold:

{thresholds}

## Meant for

Repeating and comparing experiments on FER2013; lectures and exercises; as a teacher of other networks
(`'distill.teachers=[PATH/{name}.safetensors]' data.split_seed={split_seed}`); as the beginning of a training
(`init_from=packaged`), on your own images or with that `data.split_seed`.

## Limits

- It guesses the label that FER2013's taggers would have given to a picture of a face, one of seven. That is not what a
  person feels. People agree with these labels in about two of three images (65 ± 5 %, Goodfellow et al. 2013).
- It has seen what a web search for emotion words found in 2013: unknown people, uneven in age, origin and light, with
  many posed expressions. How it does on any group of people has not been measured, and it must not be used to judge
  anyone: not in hiring, teaching, policing or medicine.
- Faces must be cropped as FER2013's are, upright and filling the picture. It has no notion of "no face" or "none of
  these": every picture gets one of the seven.
- Its probabilities are calibrated as the calibration errors above say, on FER2013 alone.
"""


def share(value: float | None, bounds: Sequence[float] | None) -> str:
    return "" if value is None or bounds is None else f"{value:.4f} ({bounds[0]:.4f}–{bounds[1]:.4f})"


def shown(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (header, ["---"] * len(header), *rows))


def recipe(run: Run) -> str:
    """The command that trained a run, without what only this machine knows."""
    overrides = overrides_of(run.folder)
    if overrides is None:
        raise UserError(f"{run.folder / '.hydra' / 'overrides.yaml'}: not there, or not readable as Hydra wrote it")
    others = {"distill.teachers": "[TEACHER]", "init_from": "FIRST"}
    keys = [(override.partition("=")[0], override) for override in overrides]
    shown = [f"{key}={others[key]}" if key in others else override for key, override in keys if key != "data.root"]
    return f"`{shlex.join(['python', '-m', 'fer_lightning', *shown])}`"


def lines_of_others(run: Run) -> str:
    """The card's rows of the networks that the training began with, where there were some."""
    first = run.config.get("init_from")
    others = {"TEACHER": run.config.get("distill", {}).get("teachers", []), "FIRST": [first] if first else []}
    rows = {name: "; ".join(origin(Path(path)) for path in paths) for name, paths in others.items() if paths}
    return "".join(f"| {name} | {row} |\n" for name, row in rows.items())


def origin(path: Path) -> str:
    """A trained network, which is a run, one of its checkpoints or a file of weights, and how it was trained."""
    if str(path) == PACKAGED:
        return "the network that came with the package then"
    if path.suffix == weights.SUFFIX:
        return f"`{path.name}`"
    run = read_run(path if path.is_dir() else path.resolve().parents[1])
    name, metrics = run.metrics["model"].upper(), run.metrics
    reached, minutes = f"{metrics['val_acc']:.3f}", f"{metrics['train_seconds'] / 60:.0f}"
    return f"{name} of validation accuracy {reached}, trained in {minutes} minutes: {recipe(run)}"


def card(run: Run, name: str, size: int, report: dict[str, Any], fitted: Calibration, predictions: pd.DataFrame) -> str:
    """The model card, from the run's files and evaluation.json, calibration and predictions of the file."""
    metrics, splits = run.metrics, report["splits"]
    scores = table(
        ("split", "images", "accuracy", "unseen", "balanced accuracy", "log loss", "calibration error"),
        [
            (
                NAMES[split],
                f"{found['n']:,}",
                share(found["acc"], found["acc_95"]),
                share(found["acc_unseen"], found["acc_unseen_95"]) if split != "val" else "",
                *(f"{found[key]:.4f}" for key in ("balanced_acc", "log_loss", "ece")),
            )
            for split, found in splits.items()
        ],
    )
    last = list(splits)[-1]
    per_class = splits[last]["classes"]
    classes_table = f"By class, {NAMES[last]}:\n\n" + table(
        ("class", "images", "precision", "recall", "F1"),
        [
            (each, f"{found['support']:,}", *("" if found[key] is None else f"{found[key]:.3f}" for key in KEYS))
            for each, found in per_class.items()
        ],
    )
    votes = ""
    if "votes" in splits[last]:
        agreeing = {n: found for n, found in splits[last]["votes"]["agreeing"].items() if found["n"]}
        votes = f"By how many of FER+'s ten taggers agree on the emotion, {NAMES[last]}:\n\n" + table(
            ("taggers", "images", "accuracy"),
            [(n, f"{found['n']:,}", share(found["acc"], found["acc_95"])) for n, found in agreeing.items()],
        )
        votes += "\n\n"
    plain = {NAMES[split].partition(" (")[0]: calibration.of_split(predictions, split) for split in splits}
    calibrated = {
        split: (calibration.at_temperature(probabilities, fitted.temperature), target)
        for split, (probabilities, target) in plain.items()
    }
    before, after = (
        {split: expected_calibration_error(*each) for split, each in known.items()} for known in (plain, calibrated)
    )
    errors = ", ".join(f"{after[split]:.4f} instead of {before[split]:.4f} on {split}" for split in plain)
    thresholds = table(
        ("threshold", *(f"{split}: {what}" for split in calibrated for what in ("answered", "right"))),
        [
            (f"{at:.1f}", *(shown(found) for each in calibrated.values() for found in calibration.answered(*each, at)))
            for at in calibration.THRESHOLDS
        ],
    )
    return CARD.format(
        name=name,
        temperature=fitted.temperature,
        threshold=fitted.threshold,
        errors=errors,
        thresholds=thresholds,
        network=report["checkpoints"][0]["network"],
        classes=", ".join(per_class),
        megabytes=size / 1e6,
        recipe=recipe(run),
        lines_of_others=lines_of_others(run),
        minutes=metrics["train_seconds"] / 60,
        split_seed=metrics["seed"] if (own := run.config["data"]["split_seed"]) is None else own,
        versions=versions_of(metrics),
        scores=scores,
        classes_table=classes_table,
        votes=votes,
        **{key: metrics[key] for key in ("params", "train_n", "epochs", "device", "precision", "best_epoch")},
    )


def package(
    run_folder: Path, name: str, data: str | None, votes: Path | None, folder: Path, source: Path | None = None
) -> None:
    """Write weights and card into `folder`. UserError where the run will not do or another network is there.

    source: the run's weights or checkpoint, where its folder came without checkpoints/.
    """
    run = read_run(run_folder)
    if not run.metrics["completed"]:
        raise UserError(f"{run_folder}: the run did not complete")
    if run.metrics["synthetic"]:
        raise UserError(f"{run_folder}: the run was trained on the built-in faces")
    others = [path.with_suffix(weights.SUFFIX) for path in folder.glob("*.json")]  # the face finder has no calibration
    if others:
        raise UserError(f"{others[0]}: the package holds this network; remove it and its json first")
    target = folder / f"{name}{weights.SUFFIX}"
    weights.write_weights(read_checkpoint(source or best_checkpoint(run_folder)), target)
    try:
        with tempfile.TemporaryDirectory() as scratch, contextlib.redirect_stdout(io.StringIO()):
            evaluate([str(target)], data=data or run.metrics["source"], votes=votes, out=Path(scratch) / "evaluation")
            report = json.loads((Path(scratch) / "evaluation" / "evaluation.json").read_text())
            predictions = read_predictions(Path(scratch) / "evaluation" / "predictions.csv")
        found, told = report["splits"]["val"]["acc"], run.metrics["val_acc"]
        if abs(found - told) > ROUNDING:
            raise UserError(f"{source}: not this run's: its validation accuracy is {found:.4f}, the run's {told:.4f}")
        fitted = calibration.fit(*calibration.of_split(predictions, "val"))
        (folder / "README.md").write_text(card(run, name, target.stat().st_size, report, fitted, predictions))
        calibration.write(fitted, target.with_suffix(".json"))
    except BaseException:
        target.unlink()
        raise
    print(f"written: {target}, {name}.json and README.md beside it")


def main() -> None:
    """The command: exit status 0 done, 1 failed, 2 a mistake in the input."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.package", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="a finished run's folder")
    parser.add_argument("name", metavar="NAME", help="of the network, say that of its recipe")
    parser.add_argument(
        "--weights", metavar="FILE", type=Path, help="the run's network, where its folder came without checkpoints/"
    )
    parser.add_argument("--data", metavar="PATH", help="FER2013 (default: what the run was trained on)")
    parser.add_argument("--votes", metavar="CSV", type=Path, help="FER+ votes: accuracy by how many taggers agree")
    options = parser.parse_args()
    run_command(lambda: package(options.run, options.name, options.data, options.votes, FOLDER, options.weights))


if __name__ == "__main__":
    main()
