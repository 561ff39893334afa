"""Statistics of predictions and of runs: scores, intervals, tests, the onset of overfitting.

Intervals and tests are scipy's, the calibration error is torchmetrics'; both are imported where they are used, since a
report and a sweep's comparison start without torch. The confusion matrix is a count, and precision, recall and F1 are
quotients of its sums: numpy's, in float64 (torchmetrics divides in float32, knows no undefined score and brings torch).

Classes are indices into `CLASSES`. A score that the data leave undefined is NaN, never a made-up 0 or 1.
"""

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import fmean, stdev
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fer_lightning.data.faces import CLASSES

ONSET_EPOCHS = 10  # the fewest of which an onset of overfitting is named
SIGNIFICANCE_LEVEL = 0.05  # a p below it is called more than chance


def more_than_chance(p: float | None) -> bool:
    """The one notion of it everywhere; None is not known."""
    return p is not None and p < SIGNIFICANCE_LEVEL


def wilson_interval(correct: int, n: int) -> tuple[float, float]:
    """The 95 % Wilson (1927) score interval of a proportion, without continuity correction; (0, 1) for n = 0."""
    from scipy.stats import binomtest

    if n == 0:
        return 0.0, 1.0
    low, high = binomtest(correct, n).proportion_ci(method="wilson")
    return float(low), float(high)


def accuracy(hits: np.ndarray) -> dict[str, Any]:
    """The accuracy of bool (N,) as metrics and evaluations hold it: n, acc, acc_95 (Wilson's); null for n = 0."""
    n, right = len(hits), int(hits.sum())
    return {
        "n": n,
        "acc": right / n if n else None,
        "acc_95": list(wilson_interval(right, n)) if n else None,
    }


def confusion_matrix(target: ArrayLike, predicted: ArrayLike) -> np.ndarray:
    """int64 (7, 7) counts, rows = target, columns = predicted, from two int (N,) of class indices."""
    counts = np.zeros((len(CLASSES), len(CLASSES)), np.int64)
    np.add.at(counts, (np.asarray(target, np.int64), np.asarray(predicted, np.int64)), 1)
    return counts


def recall(matrix: np.ndarray) -> np.ndarray:
    """float64 (C,) from counts (C, C): the share of a class's images found; NaN for a class with no images."""
    return _ratio(np.diag(matrix), matrix.sum(axis=1))


def by_class(matrix: np.ndarray) -> dict[str, dict[str, float | int | None]]:
    """Of each class, by its name, precision, recall and f1, None where undefined, and support, its images."""
    right, images, named = np.diag(matrix), matrix.sum(axis=1), matrix.sum(axis=0)
    shares = {"precision": _ratio(right, named), "recall": recall(matrix), "f1": _ratio(2 * right, images + named)}
    return {
        name: {
            **{key: None if math.isnan(column[i]) else float(column[i]) for key, column in shares.items()},
            "support": int(images[i]),
        }
        for i, name in enumerate(CLASSES)
    }


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


def expected_calibration_error(probabilities: ArrayLike, target: ArrayLike) -> float:
    """The gap between confidence and accuracy in 15 bins of equal width, weighted by their images; NaN for N = 0.

    From float (N, C) and int (N,). torchmetrics' `multiclass_calibration_error(norm="l1")`, in float32.
    """
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    probabilities = np.asarray(probabilities)
    if not len(probabilities):
        return math.nan
    # torchmetrics takes what lies outside [0, 1] for logits, and a mean of several networks' may round to above 1
    confidences = torch.as_tensor(probabilities.clip(0, 1))
    return float(multiclass_calibration_error(confidences, torch.as_tensor(target), confidences.shape[1], n_bins=15))


def mcnemar(correct_a: ArrayLike, correct_b: ArrayLike) -> dict[str, int | float]:
    """McNemar's exact test of two classifiers on the same images, from two bool (N,): is each image right?

    Returns b (only a is right), c (only b is right) and p, the two-sided probability of so uneven a split of b + c if
    both were equally good.
    """
    from scipy.stats import binomtest

    correct_a, correct_b = np.asarray(correct_a, bool), np.asarray(correct_b, bool)
    b, c = int((correct_a & ~correct_b).sum()), int((correct_b & ~correct_a).sum())
    return {"b": b, "c": c, "p": float(binomtest(b, b + c).pvalue) if b + c else 1.0}


def paired_t_test(a: Sequence[float], b: Sequence[float]) -> float | None:
    """The two-sided p of a paired t test; at least 2 pairs. None where all differences are the same."""
    from scipy.stats import ttest_rel

    differences = np.subtract(a, b)
    if np.ptp(differences) <= 1e-12 * np.abs(differences).max():  # the same but for rounding
        return None
    return float(ttest_rel(a, b).pvalue)


def welch_t_test(a: Sequence[float], b: Sequence[float]) -> float | None:
    """The two-sided p of Welch's t test; at least 2 values each. None where neither has any spread."""
    from scipy.stats import ttest_ind_from_stats

    means, deviations = (fmean(a), fmean(b)), (stdev(a), stdev(b))
    if not any(deviations):
        return None
    # from means and deviations, since scipy warns of each sample without spread, here where only one has none
    test = ttest_ind_from_stats(means[0], deviations[0], len(a), means[1], deviations[1], len(b), equal_var=False)
    return float(test.pvalue)


def holm(ps: Sequence[float]) -> list[float]:
    """p values adjusted for being several, in the order given (Holm 1979): each is as if it stood alone.

    The smallest is multiplied by their number, the next by one less, …; none gets below one before it, or above 1.
    """
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, ps[i] * (len(ps) - rank)))
        adjusted[i] = largest
    return adjusted


def overfitting_epoch(val_loss: ArrayLike) -> int | None:
    """The epoch (from 1) of the lowest smoothed validation loss, where overfitting begins; None where it still falls.

    From float (N,), one an epoch; None for fewer than 10 epochs, which say too little. Smoothed with a centred running
    mean over 5 epochs, which shrinks at both ends. "Still falls" means that the lowest value stands in the last 2
    epochs, or that the end lies above it by no more than noise: twice the scatter of the losses around the smoothed
    ones. A loss that turns NaN or infinite ends the curve before it.
    """
    loss = np.asarray(val_loss, np.float64)
    loss = loss[np.logical_and.accumulate(np.isfinite(loss))]
    if len(loss) < ONSET_EPOCHS:
        return None
    smooth = np.array([loss[max(0, i - 2) : i + 3].mean() for i in range(len(loss))])
    lowest = int(np.argmin(smooth))
    if lowest >= len(loss) - 2 or loss[-5:].mean() - smooth[lowest] <= 2 * (loss - smooth)[5:].std():
        return None
    return lowest + 1


def epochs_to_loss(loss: ArrayLike, level: float) -> int | None:
    """The first epoch (from 1) whose loss is at most `level`; None where none is. float (N,), NaN is above."""
    reached = np.flatnonzero(np.asarray(loss, np.float64) <= level)
    return int(reached[0]) + 1 if len(reached) else None


def surest_errors(
    targets: np.ndarray, predicted: np.ndarray, probabilities: np.ndarray, digests: np.ndarray
) -> np.ndarray:
    """int (E,): the positions of the errors, the most confident first; of identical photographs (equal digests) one.

    From int (N,) each but for the probabilities, float (N, C).
    """
    wrong = np.flatnonzero(targets != predicted)
    wrong = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")]
    _, first = np.unique(digests[wrong], return_index=True)
    return wrong[np.sort(first)]


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
        for a, b in combinations(range(len(matrix)), 2)
    ]
    return sorted(pairs, key=lambda pair: (-pair.rate, -pair.images, pair.a, pair.b))
