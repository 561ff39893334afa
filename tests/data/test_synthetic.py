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


@pytest.fixture
def plain(monkeypatch):
    """Nothing varies but the expression: frontal faces of one person in one light."""
    monkeypatch.setattr(synthetic, "POSE", dict.fromkeys(synthetic.POSE, 0.0))
    middle = {name: (sum(limits) / 2,) * 2 for name, limits in synthetic.TRAITS.items()}
    monkeypatch.setattr(synthetic, "TRAITS", middle)
    for share in ("GLASSES", "HAND", "BAR", "LABEL_NOISE"):
        monkeypatch.setattr(synthetic, share, 0.0)


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


@pytest.mark.parametrize("usage", [TRAINING, PUBLIC, PRIVATE])
def test_classes_stand_in_their_shares(faces, usage):
    labels = faces.labels[faces.where(usage)]
    counts = np.bincount(labels, minlength=len(CLASSES))
    assert np.abs(counts - np.array(synthetic.SHARES) * len(labels)).max() <= 1
    assert (np.diff(labels) < 0).any()  # in no order


def test_smallest_draw_has_every_class_in_every_usage():
    faces = synthetic.draw(synthetic.SMALLEST, synthetic.SMALLEST)
    for usage in (TRAINING, PUBLIC, PRIVATE):
        assert set(faces.labels[faces.where(usage)]) == set(range(len(CLASSES)))


def test_a_seed_draws_the_same_faces_again(faces):
    again = synthetic.draw(TRAIN, TEST, seed=0)
    assert np.array_equal(again.pixels, faces.pixels)
    assert np.array_equal(again.labels, faces.labels)


def test_another_seed_draws_other_faces(faces):
    other = synthetic.draw(TRAIN, TEST, seed=1)
    assert not np.isin(other.digests, faces.digests).any()
    assert "1" in other.form


def test_training_does_not_depend_on_the_number_of_test_faces(faces):
    other = synthetic.draw(TRAIN, TEST + 77)
    assert np.array_equal(other.pixels[:TRAIN], faces.pixels[:TRAIN])
    assert np.array_equal(other.labels[:TRAIN], faces.labels[:TRAIN])


@pytest.mark.parametrize("usage", [PUBLIC, PRIVATE])
def test_some_test_faces_stand_in_training_too(faces, usage):
    label_of = dict(zip(faces.digests[:TRAIN], faces.labels[:TRAIN], strict=True))
    assert len(label_of) == TRAIN  # none twice within Training
    copies = [at for at in faces.where(usage) if faces.digests[at] in label_of]
    assert len(copies) == round(synthetic.DUPLICATES * TEST)
    assert all(faces.labels[at] == label_of[faces.digests[at]] for at in copies)


def test_some_labels_are_wrong(faces, monkeypatch):
    monkeypatch.setattr(synthetic, "LABEL_NOISE", 0.0)
    right = synthetic.draw(TRAIN, TEST)
    assert np.array_equal(right.pixels[:TRAIN], faces.pixels[:TRAIN])
    wrong = (right.labels[:TRAIN] != faces.labels[:TRAIN]).mean()
    assert 0.02 <= wrong <= 0.03  # a few labels pass to a face of the same class


def test_every_face_can_be_seen(faces):
    middle = faces.pixels[:, 8:40, 8:40].reshape(len(faces), -1)
    assert middle.std(1).min() > 5
    assert 80 < faces.pixels.mean() < 160


@pytest.mark.usefixtures("plain")
def test_expressions_are_told_apart_where_nothing_else_varies():
    assert reference_accuracy(synthetic.draw(TRAIN, TEST)) > 0.95


def test_all_else_makes_it_hard_for_a_linear_classifier(faces):
    assert 0.25 < reference_accuracy(faces) < 0.5  # guessing happy: 0.22


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"train": 19}, "train=19"), ({"test": 0}, "test=0"), ({"train": -1}, "train=-1"), ({"seed": -1}, "seed=-1")],
)
def test_impossible_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        synthetic.draw(**arguments)


@pytest.mark.usefixtures("plain")
def test_corners_of_the_mouth_follow_the_expression():
    faces = synthetic.draw(200, 20)

    def middle_below_corners(name: str) -> float:
        mean_face = faces.pixels[faces.labels == CLASSES.index(name)].mean(0)
        mouth = mean_face[30:46].argmin(0)  # the darkest row below the nose, column by column
        return mouth[[23, 24]].mean() - mouth[[19, 28]].mean()

    assert middle_below_corners("happy") >= 1
    assert middle_below_corners("sad") <= -1
    assert middle_below_corners("neutral") == 0
