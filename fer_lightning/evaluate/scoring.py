"""From probabilities to the scores and tests of evaluation.json."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fer_lightning.data.faces import CLASSES, Faces
from fer_lightning.data.splits import Splits
from fer_lightning.evaluate.votes import APART, CHOICES, TAGGERS, majority
from fer_lightning.results import scores
from fer_lightning.results.members import Member


def score(
    faces: Faces, where: np.ndarray, probabilities: np.ndarray, members: Sequence[Member], votes: np.ndarray | None
) -> dict[str, Any]:
    """The scores of a split: of the images at `where`, int (N,), from class probabilities float (N, 7).

    n, acc and acc_95 (the bounds of its 95 % Wilson interval); the same as unseen_n, acc_unseen and acc_unseen_95 of
    the images that do not also stand, exactly, among any member's Training rows; balanced_acc, log_loss (nats), ece
    (15 bins), per class precision, recall, f1 and support; confusion, rows = true class. Undefined figures are None.

    votes, int8 (N, 10) of all faces, see `read_votes`, or None, adds `votes`, see `scores_by_votes`.
    """
    target = faces.labels[where].astype(np.int64)
    predicted = probabilities.argmax(axis=1)
    hits = predicted == target
    unseen = scores.accuracy(hits[~in_training(faces, where, members)])
    matrix = scores.confusion_matrix(target, predicted)
    split: dict[str, Any] = {
        **scores.accuracy(hits),
        "unseen_n": unseen["n"],
        "acc_unseen": unseen["acc"],
        "acc_unseen_95": unseen["acc_95"],
        "balanced_acc": scores.balanced_accuracy(matrix),
        "log_loss": scores.log_loss(probabilities, target),
        "ece": scores.expected_calibration_error(probabilities, target),
        "classes": scores.by_class(matrix),
        "confusion": matrix.tolist(),
    }
    if votes is not None:
        split["votes"] = scores_by_votes(hits, votes[where])
    return split


def scores_by_votes(hits: np.ndarray, votes: np.ndarray) -> dict[str, dict[str, Any]]:
    """n, acc and acc_95 by FER+'s votes, from bool (N,), whether each image is right, and int8 (N, 10).

    agreeing: of the images whose majority emotion so many taggers of ten named. apart: of those where contempt, unknown
    or NF (not a face) has most votes. The label that counts as right is FER2013's in any case.
    """
    choice, count = majority(votes)
    emotion = choice < len(CLASSES)
    return {
        "agreeing": {str(n): scores.accuracy(hits[emotion & (count == n)]) for n in range(TAGGERS, 0, -1)},
        "apart": {name: scores.accuracy(hits[choice == CHOICES.index(name)]) for name in APART},
    }


def in_training(faces: Faces, where: np.ndarray, members: Sequence[Member]) -> np.ndarray:
    """bool (N,): does each image at `where` stand, exactly, among the Training rows of a member?"""
    digests = np.concatenate([member.data["training_digests"].numpy() for member in members])
    return np.isin(faces.digests[where], digests)


def comparison(
    faces: Faces,
    splits: Splits,
    mine: dict[str, np.ndarray],
    theirs: dict[str, np.ndarray],
    members: Sequence[Member],
) -> dict[str, dict[str, Any]]:
    """The `difference` of each split, from both sides' class probabilities float (N, 7) for its images.

    Its `unseen` is the same of the images that stand in no Training row of `members`, those of both sides; None where
    there are none. A network that knows its training images by heart is ahead on their copies.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, where in splits.items():
        unseen = ~in_training(faces, where, members)
        found[name] = difference(faces, where, mine[name], theirs[name])
        found[name]["unseen"] = (
            difference(faces, where[unseen], mine[name][unseen], theirs[name][unseen]) if unseen.any() else None
        )
    return found


def difference(faces: Faces, where: np.ndarray, mine: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """McNemar's test of both sides' class probabilities float (N, 7) for the images at `where`, int (N,).

    acc is the accuracy of the other side, points that of this side minus it, in percentage points.
    """
    target = faces.labels[where]
    right, other_right = mine.argmax(axis=1) == target, theirs.argmax(axis=1) == target
    test = scores.mcnemar(right, other_right)
    return {
        "n": len(where),
        "acc": float(other_right.mean()),
        "points": 100 * float(right.mean() - other_right.mean()),
        "only_this_right": test["b"],
        "only_other_right": test["c"],
        "p": test["p"],
        "test": "McNemar, exact",
        "more_than_chance": scores.more_than_chance(test["p"]),
    }
