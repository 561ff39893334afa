"""The built-in faces: what `draw` promises, and that the expressions can be told apart, but not too easily."""

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier

from fer_lightning.data import synthetic
from fer_lightning.data.faces import CLASSES, PRIVATE, PUBLIC, TRAINING, Faces, digest

TRAIN, TEST = 600, 150


@pytest.fixture(scope="module")
def faces() -> Faces:
    return synthetic.draw(TRAIN, TEST)


@pytest.fixture(scope="module")
def plain() -> Faces:
    """Nothing varies but the expression: frontal faces of one person in one light."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "POSE", dict.fromkeys(synthetic.POSE, 0.0))
        middle = {name: (sum(limits) / 2,) * 2 for name, limits in synthetic.TRAITS.items()}
        patch.setattr(synthetic, "TRAITS", middle)
        for share in ("GLASSES", "HAND", "BAR", "LABEL_NOISE"):
            patch.setattr(synthetic, share, 0.0)
        return synthetic.draw(400, 60)


def reference_accuracy(faces: Faces) -> float:
    """Accuracy of a linear classifier on 24×24 pixels, trained on Training and scored on the rest."""
    pixels = faces.pixels.reshape(-1, 24, 2, 24, 2).mean((2, 4)).reshape(len(faces), -1) / 255
    train, test = faces.where(TRAINING), np.flatnonzero(faces.usage != TRAINING)
    return RidgeClassifier(alpha=10).fit(pixels[train], faces.labels[train]).score(pixels[test], faces.labels[test])


def test_all_fields_are_filled(faces):
    total = TRAIN + 2 * TEST
    assert faces.pixels.shape == (total, 48, 48)
    assert faces.pixels.dtype == np.uint8
    assert (faces.labels.dtype, faces.usage.dtype) == (np.int8, np.uint8)
    assert faces.usage.tolist() == [TRAINING] * TRAIN + [PUBLIC] * TEST + [PRIVATE] * TEST
    assert np.array_equal(faces.rows, np.arange(total))
    assert np.array_equal(faces.digests, digest(faces.pixels))
    assert faces.names is None
    assert faces.synthetic
    assert "synthetic" in faces.source


def test_classes_stand_in_their_shares_and_each_in_the_smallest_draw(faces):
    smallest = synthetic.draw(20, 20)
    for usage in (TRAINING, PUBLIC, PRIVATE):
        labels = faces.labels[faces.where(usage)]
        counts = np.bincount(labels, minlength=len(CLASSES))
        assert np.abs(counts - np.array(synthetic.SHARES) * len(labels)).max() <= 1
        assert (np.diff(labels) < 0).any()  # in no order
        assert set(smallest.labels[smallest.where(usage)]) == set(range(len(CLASSES)))


def test_the_seed_draws_the_faces_and_training_does_not_depend_on_the_number_of_test_faces():
    first, again, longer, other = (synthetic.draw(70, *rest) for rest in ((20, 0), (20, 0), (97, 0), (20, 1)))
    for name in ("pixels", "labels"):
        assert np.array_equal(getattr(first, name), getattr(again, name))
        assert np.array_equal(getattr(first, name)[:70], getattr(longer, name)[:70])
    assert not np.isin(other.digests, first.digests).any()
    assert "1" in other.form


@pytest.mark.parametrize("usage", [PUBLIC, PRIVATE])
def test_some_test_faces_stand_in_training_too(faces, usage):
    label_of = dict(zip(faces.digests[:TRAIN], faces.labels[:TRAIN], strict=True))
    assert len(label_of) == TRAIN  # none twice within Training
    copies = [at for at in faces.where(usage) if faces.digests[at] in label_of]
    assert len(copies) == round(synthetic.DUPLICATES * TEST)
    assert all(faces.labels[at] == label_of[faces.digests[at]] for at in copies)


def test_some_labels_are_wrong(faces, monkeypatch):
    monkeypatch.setattr(synthetic, "LABEL_NOISE", 0.0)
    right = synthetic.draw(TRAIN, 20)
    assert np.array_equal(right.pixels[:TRAIN], faces.pixels[:TRAIN])
    wrong = (right.labels[:TRAIN] != faces.labels[:TRAIN]).mean()
    assert 0.02 <= wrong <= 0.03  # a few labels pass to a face of the same class


def test_every_face_can_be_seen(faces):
    middle = faces.pixels[:, 8:40, 8:40].reshape(len(faces), -1)
    assert middle.std(1).min() > 5
    assert 80 < faces.pixels.mean() < 160


def test_expressions_are_told_apart_where_nothing_else_varies_and_hardly_where_all_else_does(faces, plain):
    assert reference_accuracy(plain) > 0.95
    assert 0.25 < reference_accuracy(faces) < 0.5  # guessing happy: 0.22
