"""What a network's probabilities mean: a temperature that fits them to validation data, and when it is unsure."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd

from fer_lightning.data.faces import CLASSES
from fer_lightning.errors import UserError
from fer_lightning.results.files import write_file
from fer_lightning.results.paths import best_checkpoint, run_of
from fer_lightning.results.run_folder import class_indices, read_predictions
from fer_lightning.results.scores import expected_calibration_error, log_loss
from fer_lightning.results.weights import SUFFIX

UNSURE = 0.5  # more likely wrong than right, whatever the network, once its probabilities are calibrated
THRESHOLDS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
SMALLEST = float(np.finfo(np.float32).tiny)  # of a probability: a 0 is one that float32 cannot tell from it
RANGE = (0.05, 20.0)  # of temperatures: where every answer is right, the likeliest would be 0


@dataclass(frozen=True)
class Calibration:
    """temperature: class probabilities p become softmax(log p / temperature), see `at_temperature`.

    threshold: a face whose largest probability then is below it is "unsure".
    coverage, accuracy: the share of the n validation images that is answered at this threshold, and how many of these
    answers are right; `thresholds`: [threshold, coverage, accuracy] of others. ece: the expected calibration error
    before and after. All of them None where no validation data is known, and then the temperature is 1. Where no image
    is answered, the accuracy is None.
    """

    temperature: float = 1.0
    threshold: float = UNSURE
    coverage: float | None = None
    accuracy: float | None = None
    n: int | None = None
    ece: Sequence[float] | None = None
    thresholds: Sequence[Sequence[float | None]] | None = None

    def at(self, threshold: float) -> "Calibration":
        """The same with another threshold; what it covers is None where that is not known."""
        known = {
            each[0]: each[1:] for each in [*(self.thresholds or ()), [self.threshold, self.coverage, self.accuracy]]
        }
        coverage, accuracy = known.get(threshold, (None, None))
        return replace(self, threshold=threshold, coverage=coverage, accuracy=accuracy)

    def __str__(self) -> str:
        if self.n is None:
            return f"its probabilities are not calibrated (no validation data is known); unsure below {self.threshold}"
        fitted = f"temperature {self.temperature:.3f}; unsure below {self.threshold}"
        if self.coverage is None:
            return f"{fitted} (what that is on validation images is not known)"
        images = f"{self.n:,} validation images cropped as in training"
        right = "" if self.accuracy is None else f", of which {self.accuracy:.1%} are right"
        return f"{fitted}: it answers {self.coverage:.1%} of {images}{right}"


def at_temperature(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Class probabilities, float64 (N, 7), of those at temperature 1, float (N, 7)."""
    from scipy.special import softmax

    return softmax(np.log(np.maximum(probabilities, SMALLEST, dtype=np.float64)) / temperature, axis=1)


def fit(probabilities: np.ndarray, target: np.ndarray) -> Calibration:
    """The temperature that makes the labels likeliest, from float (N, 7) and int (N,), N > 0, of validation images.

    Guo et al. (2017), https://arxiv.org/abs/1706.04599
    """
    from scipy.optimize import minimize_scalar

    found = minimize_scalar(
        lambda log: log_loss(at_temperature(probabilities, np.exp(log)), target), bounds=np.log(RANGE), method="bounded"
    )
    temperature = float(np.exp(found.x))
    calibrated = at_temperature(probabilities, temperature)
    return Calibration(
        temperature,
        UNSURE,
        *answered(calibrated, target, UNSURE),
        n=len(target),
        ece=[expected_calibration_error(each, target) for each in (probabilities, calibrated)],
        thresholds=[[threshold, *answered(calibrated, target, threshold)] for threshold in THRESHOLDS],
    )


def answered(probabilities: np.ndarray, target: np.ndarray, threshold: float) -> tuple[float, float | None]:
    """The share of the images that is not unsure, and how many of these are right (None where there are none)."""
    sure = probabilities.max(axis=1) >= threshold
    right = probabilities.argmax(axis=1) == target
    return float(sure.mean()), float(right[sure].mean()) if sure.any() else None


def of(path: Path) -> Calibration:
    """The calibration of a run's folder, or of a checkpoint or safetensors file.

    That of a run, and of its best.ckpt, is fitted on its predictions.csv; that of a safetensors file stands beside it,
    in the json of its name. Where there is neither, nothing is known. UserError where a file is broken.
    """
    checkpoint = best_checkpoint(path)
    in_run = (checkpoint.absolute().parent.name, checkpoint.name) == ("checkpoints", "best.ckpt")
    if in_run and (predictions := run_of(checkpoint) / "predictions.csv").is_file():
        probabilities, target = of_split(read_predictions(predictions), "val")
        return fit(probabilities, target) if len(target) else Calibration()
    beside = checkpoint.with_suffix(".json")
    return read(beside) if checkpoint.suffix == SUFFIX and beside.is_file() else Calibration()


def of_split(predictions: pd.DataFrame, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Class probabilities, float64 (N, 7), and targets, int64 (N,), of the images of one split."""
    table = predictions[predictions["split"] == split]
    return table[[*CLASSES]].to_numpy(), class_indices(table["target"])


def read(path: Path) -> Calibration:
    """What `write` wrote. UserError where it is something else."""
    try:
        return Calibration(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UserError(f"{path}: not a calibration of fer_lightning: {error}") from None


def write(calibration: Calibration, path: Path) -> None:
    lines = [f'  "{name}": {json.dumps(value)}' for name, value in asdict(calibration).items()]
    write_file(path, ("{\n" + ",\n".join(lines) + "\n}\n").encode())
