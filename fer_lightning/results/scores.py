"""Plain statistics of predictions and curves, on numpy alone: scores, intervals, tests, the onset of overfitting.

Classes are indices into `CLASSES`. A score that the data leave undefined is NaN, never a made-up 0 or 1.
"""

import math
from statistics import NormalDist
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fer_lightning.data.faces import CLASSES

EXACT_LIMIT = 1000  # discordant pairs up to which McNemar's test is exact; the binomial sum takes 5 ms there


def wilson_interval(correct: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The Wilson score interval of a proportion, without continuity correction; (0, 1) for n = 0.

    Wilson (1927), as `scipy.stats.binomtest(correct, n).proportion_ci(method="wilson")`.
    """
    if not 0 <= correct <= n:
        raise ValueError(f"correct must be between 0 and n, got correct={correct}, n={n}")
    if n == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = correct / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    # the bounds are exact where all or none are correct; rounding would leave them 1e-17 off
    return (0.0 if correct == 0 else centre - half, 1.0 if correct == n else centre + half)


def accuracy(hits: np.ndarray) -> dict[str, Any]:
    """The accuracy of bool (N,) as metrics and evaluations hold it: n, acc, acc_95 (Wilson's); null for n = 0."""
    n, right = len(hits), int(hits.sum())
    return {
        "n": n,
        "acc": right / n if n else None,
        "acc_95": list(wilson_interval(right, n)) if n else None,
    }


def confusion(target: ArrayLike, predicted: ArrayLike, classes: int = len(CLASSES)) -> np.ndarray:
    """int64 (classes, classes) counts, rows = target, columns = predicted, from two int (N,) of class indices."""
    target, predicted = np.asarray(target, np.int64), np.asarray(predicted, np.int64)
    if target.shape != predicted.shape or target.ndim != 1:
        raise ValueError(f"target and predicted must be (N,) of one length, got {target.shape} and {predicted.shape}")
    both = np.concatenate([target, predicted])
    if both.size and not (both.min() >= 0 and both.max() < classes):
        raise ValueError(f"classes must be 0 … {classes - 1}, got {both.min()} … {both.max()}")
    return np.bincount(target * classes + predicted, minlength=classes * classes).reshape(classes, classes)


def recall(matrix: np.ndarray) -> np.ndarray:
    """float64 (C,) from counts (C, C): the share of a class's images found; NaN for a class with no images."""
    return _ratio(np.diag(matrix), matrix.sum(axis=1))


def precision(matrix: np.ndarray) -> np.ndarray:
    """float64 (C,) from counts (C, C): the share of a class's predictions that are right; NaN where there are none."""
    return _ratio(np.diag(matrix), matrix.sum(axis=0))


def f1(matrix: np.ndarray) -> np.ndarray:
    """float64 (C,) from counts (C, C): 2 TP / (2 TP + FP + FN); NaN for a class with neither images nor predictions."""
    return _ratio(2 * np.diag(matrix), matrix.sum(axis=0) + matrix.sum(axis=1))


def balanced_accuracy(matrix: np.ndarray) -> float:
    """The mean recall of the classes that have images; NaN where none has."""
    found = recall(matrix)
    present = ~np.isnan(found)
    return float(found[present].mean()) if present.any() else math.nan


def _ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    return np.divide(part, whole, out=np.full(len(whole), math.nan), where=whole > 0)


def log_loss(probabilities: ArrayLike, target: ArrayLike) -> float:
    """Mean −ln p(target) in nats, from float (N, C) and int (N,); NaN for N = 0.

    Probabilities are clipped at the float64 epsilon, as scikit-learn does, so that a 0 costs 36 nats and not infinity.
    """
    probabilities, target = np.asarray(probabilities, np.float64), np.asarray(target)
    if not len(target):
        return math.nan
    chosen = probabilities[np.arange(len(target)), target]
    return float(-np.log(np.clip(chosen, np.finfo(np.float64).eps, 1)).mean())


def expected_calibration_error(probabilities: ArrayLike, target: ArrayLike, bins: int = 15) -> float:
    """The gap between confidence and accuracy in bins of equal width, weighted by their images; NaN for N = 0.

    From float (N, C) and int (N,). As torchmetrics' `MulticlassCalibrationError(norm="l1")`, which keeps a confidence
    of exactly 1 in a bin of its own.
    """
    probabilities, target = np.asarray(probabilities, np.float64), np.asarray(target)
    if not len(target):
        return math.nan
    confidence = probabilities.max(axis=1)
    correct = probabilities.argmax(axis=1) == target
    # the sum over bins of images × |accuracy − confidence|: the images cancel
    surplus = np.bincount(np.digitize(confidence, np.linspace(0, 1, bins + 1)), weights=correct - confidence)
    return float(np.abs(surplus).sum() / len(target))


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> dict[str, int | float]:
    """McNemar's test of two classifiers on the same images, from two bool (N,): is each image right?

    Returns b (only a is right), c (only b is right) and p, the two-sided probability of so uneven a split of b + c if
    both were equally good: exact binomial for b + c ≤ 1000, else chi-square with continuity correction (Edwards 1948).
    """
    correct_a, correct_b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    if correct_a.shape != correct_b.shape:
        raise ValueError(f"the same images are needed, got {correct_a.shape} and {correct_b.shape}")
    b, c = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    n = b + c
    if n <= EXACT_LIMIT:
        p = min(1.0, 2 * sum(math.comb(n, k) for k in range(min(b, c) + 1)) / 2**n)
    else:
        p = math.erfc(max(abs(b - c) - 1, 0) / math.sqrt(2 * n))  # the survival function of chi-square, 1 degree
    return {"b": b, "c": c, "p": p}


def overfitting_epoch(val_loss: ArrayLike) -> int | None:
    """The epoch (from 1) of the lowest smoothed validation loss, where overfitting begins; None where it still falls.

    From float (N,), one an epoch. Smoothed with a centred running mean over 5 epochs, which shrinks at both ends; runs
    of fewer than 5 are not smoothed. "Still falls" means that the lowest value stands in the last half-window (the last
    2 epochs; unsmoothed, the last one). A loss that turns NaN or infinite ends the curve before it.
    """
    loss = _finite_start(val_loss)
    half = 2 if len(loss) >= 5 else 0
    smooth = [loss[max(0, i - half) : i + half + 1].mean() for i in range(len(loss))]
    if not smooth or (lowest := int(np.argmin(smooth))) >= len(loss) - max(1, half):
        return None
    return lowest + 1


def epochs_to_loss(train_loss: ArrayLike, level: float) -> int | None:
    """The first epoch (from 1) whose training loss is at most `level`; None where none is. float (N,), NaN is above."""
    reached = np.flatnonzero(np.asarray(train_loss, np.float64) <= level)
    return int(reached[0]) + 1 if len(reached) else None


def _finite_start(values: ArrayLike) -> np.ndarray:
    values = np.asarray(values, np.float64)
    bad = np.flatnonzero(~np.isfinite(values))
    return values[: bad[0]] if len(bad) else values


class Confused(NamedTuple):
    """Two classes taken for each other: `a` < `b`, how many images in both directions, the mean of the two rates."""

    a: int
    b: int
    images: int
    rate: float


def confused_pairs(matrix: np.ndarray) -> list[Confused]:
    """All pairs of classes from counts (C, C), the worst first; the last may be pairs that were never confused.

    `rate` is the mean of the share of a's images taken for b and of b's taken for a, so that rare classes count as much
    as common ones; a class with no images contributes 0.
    """
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    pairs = [
        Confused(a, b, int(matrix[a, b] + matrix[b, a]), float(share[a, b] + share[b, a]) / 2)
        for a in range(len(matrix))
        for b in range(a + 1, len(matrix))
    ]
    return sorted(pairs, key=lambda pair: (-pair.rate, -pair.images, pair.a, pair.b))
