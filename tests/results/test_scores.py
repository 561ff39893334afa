import math

import numpy as np
import pytest
import sklearn.metrics
import torch
from scipy import stats
from torchmetrics.functional.classification import multiclass_calibration_error

from fer_lightning.results import scores


@pytest.fixture(scope="module")
def predictions():
    """target (400,), probabilities (400, 7): right about half of the time, no class absent."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 7, 400)
    logits = rng.normal(size=(400, 7)) + 1.5 * np.eye(7)[target]
    return target, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


@pytest.mark.parametrize(("correct", "n"), [(0, 1), (1, 1), (0, 50), (50, 50), (7, 20), (2050, 3589)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_wilson_interval_agrees_with_scipy(correct, n, confidence):
    expected = stats.binomtest(correct, n).proportion_ci(confidence, method="wilson")
    assert scores.wilson_interval(correct, n, confidence) == pytest.approx(tuple(expected), abs=1e-12)


def test_wilson_interval_at_its_edges():
    assert scores.wilson_interval(0, 0) == (0.0, 1.0)
    assert scores.wilson_interval(0, 9)[0] == 0.0
    assert scores.wilson_interval(9, 9)[1] == 1.0
    with pytest.raises(ValueError, match="correct=3, n=2"):
        scores.wilson_interval(3, 2)


def test_confusion_and_per_class_scores_agree_with_scikit_learn(predictions):
    target, probabilities = predictions
    predicted = probabilities.argmax(1)
    matrix = scores.confusion(target, predicted)
    np.testing.assert_array_equal(matrix, sklearn.metrics.confusion_matrix(target, predicted))
    precision, recall, f1, _ = sklearn.metrics.precision_recall_fscore_support(target, predicted)
    np.testing.assert_allclose(scores.precision(matrix), precision)
    np.testing.assert_allclose(scores.recall(matrix), recall)
    np.testing.assert_allclose(scores.f1(matrix), f1)
    expected = sklearn.metrics.balanced_accuracy_score(target, predicted)
    assert scores.balanced_accuracy(matrix) == pytest.approx(expected)


def test_scores_of_absent_classes_are_nan_and_leave_the_mean_alone():
    matrix = scores.confusion([0, 0, 2], [0, 1, 2], classes=4)  # 1 has no images, 3 has neither images nor predictions
    np.testing.assert_array_equal(scores.recall(matrix), [0.5, math.nan, 1, math.nan])
    np.testing.assert_array_equal(scores.precision(matrix), [1, 0, 1, math.nan])
    np.testing.assert_allclose(scores.f1(matrix), [2 / 3, 0, 1, math.nan])
    assert scores.balanced_accuracy(matrix) == 0.75
    assert math.isnan(scores.balanced_accuracy(np.zeros((7, 7), int)))


@pytest.mark.parametrize(("target", "predicted"), [([7], [0]), ([0], [-1]), ([0, 1], [0])])
def test_confusion_refuses_what_is_no_class_and_unequal_lengths(target, predicted):
    with pytest.raises(ValueError, match="must be"):
        scores.confusion(target, predicted)


def test_confusion_of_nothing_is_zero():
    assert scores.confusion([], []).tolist() == np.zeros((7, 7), int).tolist()


def test_log_loss_agrees_with_scikit_learn(predictions):
    target, probabilities = predictions
    expected = sklearn.metrics.log_loss(target, probabilities, labels=range(7))
    assert scores.log_loss(probabilities, target) == pytest.approx(expected)


def test_log_loss_of_a_certain_error_is_finite():
    certain = np.array([[1.0, 0.0]])
    expected = sklearn.metrics.log_loss([1], certain, labels=[0, 1])
    assert scores.log_loss(certain, [1]) == pytest.approx(expected)
    assert math.isnan(scores.log_loss(np.zeros((0, 7)), np.zeros(0, int)))


def test_calibration_error_agrees_with_torchmetrics(predictions):
    target, probabilities = predictions
    probabilities = probabilities.astype(np.float32)
    # wrong with a confidence of exactly 1 beside right with less: in one bin they would cancel
    probabilities[:5] = np.eye(7)[(target[:5] + 1) % 7]
    probabilities[5:105] = 0.95 * np.eye(7)[target[5:105]] + 0.05 / 7
    expected = multiclass_calibration_error(torch.tensor(probabilities), torch.tensor(target), 7, n_bins=15, norm="l1")
    assert scores.expected_calibration_error(probabilities, target) == pytest.approx(float(expected), abs=1e-6)
    assert math.isnan(scores.expected_calibration_error(np.zeros((0, 7)), np.zeros(0, int)))


def pair_of_results(b: int, c: int) -> tuple[np.ndarray, np.ndarray]:
    """Who is right, a and b, with `b` images for a alone, `c` for b alone, and ten on which they agree."""
    only_a, only_b = np.repeat([True, False], [b, c]), np.repeat([False, True], [b, c])
    agree = np.arange(10) < 5
    return np.concatenate([only_a, agree]), np.concatenate([only_b, agree])


@pytest.mark.parametrize(("b", "c"), [(1, 0), (5, 5), (3, 12), (12, 3), (40, 70), (460, 540)])
def test_mcnemar_is_exact_for_few_discordant_images(b, c):
    result = scores.mcnemar(*pair_of_results(b, c))
    assert (result["b"], result["c"]) == (b, c)
    assert result["p"] == pytest.approx(stats.binomtest(b, b + c).pvalue, rel=1e-9)


@pytest.mark.parametrize(("b", "c"), [(501, 500), (600, 600), (700, 600), (2000, 1500)])
def test_mcnemar_is_chi_square_for_many(b, c):
    expected = stats.chi2.sf(max(abs(b - c) - 1, 0) ** 2 / (b + c), df=1)
    assert scores.mcnemar(*pair_of_results(b, c))["p"] == pytest.approx(expected, rel=1e-9)
    assert expected == pytest.approx(stats.binomtest(b, b + c).pvalue, abs=0.01)  # and close to the exact one


def test_mcnemar_without_discordant_images_finds_no_difference():
    assert scores.mcnemar([True, False], [True, False]) == {"b": 0, "c": 0, "p": 1.0}
    with pytest.raises(ValueError, match="same images"):
        scores.mcnemar([True], [True, False])


def test_overfitting_begins_at_the_lowest_smoothed_validation_loss():
    loss = np.abs(np.arange(1, 41) - 25) / 40 + 1
    assert scores.overfitting_epoch(loss) == 25
    dip = loss.copy()
    dip[9] -= 0.4  # epoch 10 is the lowest by far, but alone
    assert np.argmin(dip) == 9
    assert scores.overfitting_epoch(dip) == 25


@pytest.mark.parametrize("epochs", [1, 2, 3, 4, 5, 12, 300])
def test_a_loss_that_still_falls_does_not_overfit(epochs):
    assert scores.overfitting_epoch(np.linspace(2, 1, epochs)) is None


@pytest.mark.parametrize(
    ("loss", "epoch"),
    [
        ([], None),
        ([1, 2], 1),
        ([2, 1, 2], 2),
        ([3, 1, 2, 3], 2),
        ([5, 4, 3, 2, 1, 2, 3, 4], 5),
        ([5, 4, 3, 2, 1, 2, 3], None),  # the lowest smoothed loss stands in the last two epochs
        ([2, 1, 2, 3, math.nan, 0, 0, 0, 0], 2),  # diverged: what comes after counts no more
        ([3, 2, 1, math.inf], None),
        ([math.nan, 1, 2], None),
    ],
)
def test_overfitting_epoch_of_short_and_broken_curves(loss, epoch):
    assert scores.overfitting_epoch(loss) == epoch


def test_epochs_to_loss_counts_from_one_and_includes_the_level():
    loss = [2.0, math.nan, 1.4, 1.5, 1.2]
    assert scores.epochs_to_loss(loss, 2.0) == 1
    assert scores.epochs_to_loss(loss, 1.4) == 3
    assert scores.epochs_to_loss(loss, 1.3) == 5
    assert scores.epochs_to_loss(loss, 1.0) is None
    assert scores.epochs_to_loss([], 1.0) is None


def test_confused_pairs_ranks_by_rate_and_not_by_count():
    matrix = np.zeros((7, 7), int)
    matrix[3, 3], matrix[3, 6], matrix[6, 6], matrix[6, 3] = 900, 100, 450, 50  # 150 images, 10 % of either
    matrix[1, 1], matrix[1, 0], matrix[0, 0] = 6, 4, 500  # 4 images, 40 % and 0 %
    worst, second, *others = scores.confused_pairs(matrix)
    assert worst == (0, 1, 4, pytest.approx(0.2))
    assert second == (3, 6, 150, pytest.approx(0.1))
    assert len(others) == 19
    assert {(pair.images, pair.rate) for pair in others} == {(0, 0.0)}
