"""Stratified, seeded, and identical images on one side."""

import numpy as np
import pytest
from audit.test_search import faces_of

from fer_lightning.data.faces import PRIVATE, PUBLIC, TRAINING, Faces
from fer_lightning.data.splits import hold_out, make_splits
from fer_lightning.errors import UserError


def random_faces(usage: list[int]) -> Faces:
    pixels = np.random.default_rng(0).integers(0, 256, (len(usage), 48, 48), dtype=np.uint8)
    return faces_of(pixels, np.arange(len(usage)) % 7, usage)


def test_every_class_gives_its_share():
    labels = np.repeat(np.arange(7), [4000, 440, 4100, 7200, 4800, 3200, 5000])
    held_out = hold_out(labels, np.arange(len(labels)), 0.1, seed=0)
    assert np.bincount(labels[held_out]).tolist() == [400, 44, 410, 720, 480, 320, 500]


def test_identical_images_stay_together_whatever_their_labels():
    rng = np.random.default_rng(1)
    digests = rng.integers(0, 300, 1000)  # groups of about three, with labels at random
    held_out = hold_out(rng.integers(0, 7, 1000), digests, 0.2, seed=3)
    assert not set(digests[held_out]) & set(digests[~held_out])
    assert 0.15 < held_out.mean() < 0.25


def test_a_class_whose_images_all_stand_under_another_class_first_is_split_with_that_one():
    labels, digests = np.array([0] * 20 + [1]), np.array([*range(20), 3])
    held_out = hold_out(labels, digests, 0.2, seed=0)
    assert held_out[20] == held_out[3]
    assert 2 <= held_out.sum() <= 5


def test_the_seed_decides():
    labels, digests = np.arange(700) % 7, np.arange(700)
    splits = [hold_out(labels, digests, 0.1, seed) for seed in (0, 0, 1)]
    assert (splits[0] == splits[1]).all()
    assert (splits[0] != splits[2]).any()


def test_splits_cover_every_image_once(few_faces):
    splits = make_splits(few_faces, 0.1, seed=0)
    assert sorted(np.concatenate(list(splits.values()))) == list(range(len(few_faces)))
    for name, usage in (("train", TRAINING), ("val", TRAINING), ("public", PUBLIC), ("private", PRIVATE)):
        assert (few_faces.usage[splits[name]] == usage).all()


def test_public_as_validation_trains_on_all_of_training_and_leaves_no_public_test():
    splits = make_splits(random_faces([0] * 50 + [1] * 20 + [2] * 10), "public", seed=0)
    counts = {name: len(where) for name, where in splits.items()}
    assert counts == {"train": 50, "val": 20, "public": 0, "private": 10, "unlabelled": 0}


@pytest.mark.parametrize(("usage", "val_split"), [([0] * 50, "public"), ([0] * 5, 0.1), ([1] * 50, 0.1)])
def test_a_split_without_images_is_refused(usage, val_split):
    with pytest.raises(UserError, match=r"data\.val_split"):
        make_splits(random_faces(usage), val_split, seed=0)


@pytest.mark.slow
def test_real_duplicates_do_not_cross_the_split(real_faces):
    splits = make_splits(real_faces, 0.1, seed=0)
    assert len(splits["train"]) + len(splits["val"]) == 28_709
    assert not np.isin(real_faces.digests[splits["val"]], real_faces.digests[splits["train"]]).any()
    shares = np.bincount(real_faces.labels[splits["val"]]) / np.bincount(real_faces.labels[real_faces.where(TRAINING)])
    assert np.abs(shares - 0.1).max() < 0.003
