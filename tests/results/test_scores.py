import math

import numpy as np
import pytest
import sklearn.metrics
import torch
from scipy import stats
from torchmetrics.functional import classification as torchmetrics

from fer_lightning.results import scores


@pytest.fixture(scope="module")
def predictions():
    """target (400,), probabilities (400, 7): right about half of the time, no class absent."""
    rng = np.random.default_rng(0)
    target = rng.integers(0, 7, 400)
    logits = rng.normal(size=(400, 7)) + 1.5 * np.eye(7)[target]
    return target, np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


def test_the_bounds_of_wilsons_interval_are_the_shares_that_a_test_would_just_not_reject():
    for correct, n in ((1, 1), (1, 50), (7, 20), (2050, 3589)):
        for bound in scores.wilson_interval(correct, n):
            assert abs(correct / n - bound) == pytest.approx(1.9599640 * math.sqrt(bound * (1 - bound) / n), abs=1e-7)
    assert scores.wilson_interval(0, 0) == (0.0, 1.0)
    assert (scores.wilson_interval(0, 9)[0], scores.wilson_interval(9, 9)[1]) == (0.0, 1.0)


def test_confusion_and_per_class_scores_agree_with_scikit_learn_and_torchmetrics(predictions):
    target, probabilities = predictions
    for classes in (7, 5):  # in the second turn two classes have no images, and one of them is never predicted
        target, predicted = target % classes, probabilities.argmax(1)
        predicted = np.where(predicted == 6, 0, predicted) if classes == 5 else predicted
        matrix = scores.confusion_matrix(target, predicted)
        np.testing.assert_array_equal(matrix, sklearn.metrics.confusion_matrix(target, predicted, labels=range(7)))
        by_class = sklearn.metrics.precision_recall_fscore_support(
            target, predicted, labels=range(7), zero_division=np.nan
        )
        given = {"preds": torch.tensor(predicted), "target": torch.tensor(target), "num_classes": 7}
        np.testing.assert_array_equal(matrix, torchmetrics.multiclass_confusion_matrix(**given))
        for name, expected in zip(("precision", "recall", "f1"), by_class[:3], strict=True):
            found = np.array([each[name] for each in scores.by_class(matrix).values()], float)
            np.testing.assert_allclose(found, expected)
            function = getattr(torchmetrics, f"multiclass_{name}{'_score' * (name == 'f1')}")
            np.testing.assert_allclose(np.nan_to_num(found), function(**given, average=None), rtol=1e-6)
        balanced = np.nanmean(by_class[1])
        assert scores.balanced_accuracy(matrix) == pytest.approx(balanced)
        if classes == 7:
            assert balanced == pytest.approx(sklearn.metrics.balanced_accuracy_score(target, predicted))


def test_scores_of_absent_classes_are_nan_and_leave_the_mean_alone():
    # class 1 has no images, 3 has neither images nor predictions
    matrix = scores.confusion_matrix([0, 0, 2], [0, 1, 2])
    np.testing.assert_array_equal(scores.recall(matrix)[:4], [0.5, math.nan, 1, math.nan])
    by_class = [*scores.by_class(matrix).values()]
    assert [each["recall"] for each in by_class[:4]] == [0.5, None, 1, None]
    assert [each["precision"] for each in by_class[:4]] == [1, 0, 1, None]
    assert [each["f1"] for each in by_class[:4]] == [pytest.approx(2 / 3), 0, 1, None]
    assert scores.balanced_accuracy(matrix) == 0.75
    assert math.isnan(scores.balanced_accuracy(np.zeros((7, 7), int)))


def test_log_loss_agrees_with_scikit_learn_also_for_a_certain_error(predictions):
    certain = np.array([[1.0, 0.0]])  # a finite loss
    for target, probabilities in (predictions, ([1], certain)):
        expected = sklearn.metrics.log_loss(target, probabilities, labels=range(probabilities.shape[1]))
        assert scores.log_loss(probabilities, target) == pytest.approx(expected)


def test_of_nothing_there_is_no_score():
    nothing = np.zeros((0, 7)), np.zeros(0, int)
    assert scores.confusion_matrix([], []).tolist() == np.zeros((7, 7), int).tolist()
    assert math.isnan(scores.log_loss(*nothing))
    assert math.isnan(scores.expected_calibration_error(*nothing))


def test_calibration_error_is_the_gap_in_each_bin(predictions):
    target, probabilities = predictions
    # wrong with a confidence of exactly 1 beside right with less: in one bin they would cancel
    probabilities = probabilities.copy()
    probabilities[:5] = np.eye(7)[(target[:5] + 1) % 7]
    probabilities[5:105] = 0.95 * np.eye(7)[target[5:105]] + 0.05 / 7
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == target
    bins = np.digitize(confidence, np.linspace(0, 1, 16))  # 16 holds a confidence of exactly 1
    gaps = [abs((correct - confidence)[bins == number].sum()) for number in range(1, 17)]
    assert scores.expected_calibration_error(probabilities, target) == pytest.approx(sum(gaps) / 400, abs=1e-6)
    certain = np.array([[1.0, 0.0], [0.0, 1 + 2e-16]])  # a confidence that rounds to more than 1 is no logit
    assert certain.max() > 1
    assert scores.expected_calibration_error(certain, [0, 0]) == pytest.approx(0.5)


def pair_of_results(b: int, c: int) -> tuple[np.ndarray, np.ndarray]:
    """Who is right, a and b, with `b` images for a alone, `c` for b alone, and ten on which they agree."""
    only_a, only_b = np.repeat([True, False], [b, c]), np.repeat([False, True], [b, c])
    agree = np.arange(10) < 5
    return np.concatenate([only_a, agree]), np.concatenate([only_b, agree])


def test_mcnemar_is_exact():
    for b, c in ((0, 0), (1, 0), (3, 12), (12, 3), (460, 540), (700, 600)):
        exact = min(1, 2 * stats.binom.cdf(min(b, c), b + c, 0.5))
        assert scores.mcnemar(*pair_of_results(b, c)) == {"b": b, "c": c, "p": pytest.approx(exact, rel=1e-9)}


@pytest.mark.parametrize("seed", range(3))
def test_tests_over_seeds_agree_with_scipy(seed):
    rng = np.random.default_rng(seed)
    a = rng.normal(0.4, 0.01, rng.integers(2, 8)).tolist()
    b = rng.normal(0.41, 0.03, len(a) + seed % 3).tolist()
    assert scores.welch_t_test(a, b) == pytest.approx(stats.ttest_ind(a, b, equal_var=False).pvalue, rel=1e-9)
    assert scores.paired_t_test(a, b[: len(a)]) == pytest.approx(stats.ttest_rel(a, b[: len(a)]).pvalue, rel=1e-9)


def test_values_without_spread_leave_no_chance():
    assert scores.paired_t_test([0.5, 0.625], [0.25, 0.375]) is None
    assert scores.welch_t_test([0.5, 0.5], [0.25, 0.25]) is None
    assert scores.paired_t_test([0.4, 0.5], [0.4, 0.5]) is scores.welch_t_test([0.4, 0.4], [0.4, 0.4]) is None
    assert scores.paired_t_test([0.4, 0.5], [0.3, 0.4]) is None  # the same difference, but for rounding
    assert 0 < scores.welch_t_test([0.4, 0.4], [0.3, 0.5]) <= 1


def test_several_comparisons_are_corrected():
    assert scores.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert scores.holm([0.9, 0.8]) == [1.0, 1.0]
    assert scores.holm([]) == []


def test_overfitting_begins_at_the_lowest_smoothed_validation_loss():
    loss = np.abs(np.arange(1, 41) - 25) / 40 + 1
    assert scores.overfitting_epoch(loss) == 25
    loss[9] -= 0.4  # epoch 10 is the lowest by far, but alone
    assert np.argmin(loss) == 9
    assert scores.overfitting_epoch(loss) == 25
    for epochs in (1, 2, 3, 4, 5, 12, 300):  # a loss that still falls
        assert scores.overfitting_epoch(np.linspace(2, 1, epochs)) is None
    noise = np.random.default_rng(0).normal(0, 0.01, 300)
    flat = np.concatenate([np.geomspace(2, 1.5, 150), np.full(150, 1.5)]) + noise
    assert scores.overfitting_epoch(flat) is None  # nor does one that only noise lifts
    assert 190 <= (scores.overfitting_epoch(np.abs(np.arange(300) - 200) / 500 + 1 + noise) or 0) <= 212


@pytest.mark.parametrize(
    ("loss", "epoch"),
    [
        ([], None),
        ([5, 4, 3, 2, 1, 2, 3, 4, 5], None),  # nine epochs
        ([5, 4, 3, 2, 1, 2, 3, 4, 5, 6], 5),
        ([9, 8, 7, 6, 5, 4, 3, 2, 1, 2, 3], None),  # the lowest smoothed loss stands in the last two epochs
        ([5, 4, 3, 2, 1, 2, 3, 4, 5, 6, math.nan, *[0] * 9], 5),  # diverged: what comes after counts no more
        ([math.nan, *range(20)], None),
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


def test_surest_errors_come_first_and_of_identical_photographs_one():
    targets, predicted = np.array([0, 0, 1, 2, 3, 0]), np.array([1, 0, 0, 0, 1, 1])
    probabilities = np.zeros((6, 7))
    probabilities[np.arange(6), predicted] = [0.5, 1, 0.7, 0.7, 0.6, 0.9]
    digests = np.array([7, 1, 2, 3, 7, 5])  # 0 and 4 are one photograph
    assert scores.surest_errors(targets, predicted, probabilities, digests).tolist() == [5, 2, 3, 4]
    assert scores.surest_errors(targets, targets, probabilities, digests).tolist() == []


def test_confused_pairs_ranks_by_rate_and_not_by_count():
    matrix = np.zeros((7, 7), int)
    matrix[3, 3], matrix[3, 6], matrix[6, 6], matrix[6, 3] = 900, 100, 450, 50  # 150 images, 10 % of either
    matrix[1, 1], matrix[1, 0], matrix[0, 0] = 6, 4, 500  # 4 images, 40 % and 0 %
    worst, second, *others = scores.confused_pairs(matrix)
    assert worst == (0, 1, 4, pytest.approx(0.2))
    assert second == (3, 6, 150, pytest.approx(0.1))
    assert len(others) == 19
    assert {(pair.images, pair.rate) for pair in others} == {(0, 0.0)}
