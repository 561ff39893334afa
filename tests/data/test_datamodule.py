"""Batches: every image once, by rank, in an order of the epoch; normalized always, augmented in training only."""

from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from sklearn.utils.class_weight import compute_class_weight

from fer_lightning.data import synthetic
from fer_lightning.data.augment import Mix
from fer_lightning.data.datamodule import Batches, FERDataModule, balanced_weights, pixel_statistics
from fer_lightning.data.faces import TRAINING, Faces
from fer_lightning.errors import UserError

PIXELS = torch.arange(100, dtype=torch.uint8).view(-1, 1, 1).expand(-1, 48, 48)
LABELS = torch.arange(100)


@pytest.fixture(scope="module")
def faces() -> Faces:
    return synthetic.draw(train=100, test=20)


def seen(*loaders: Batches) -> list[int]:
    return [int(label) for loader in loaders for _, labels in loader for label in labels]


def test_a_shuffled_pass_gives_every_image_once_with_its_label_and_what_teachers_said_of_it():
    soft_targets = torch.arange(100.0).view(-1, 1).expand(-1, 7)
    loader = Batches((PIXELS, LABELS, soft_targets), torch.arange(100), 16, order=lambda: 5)
    batches = list(loader)
    assert len(batches) == len(loader) == 7
    for pixels, labels, said in batches:
        assert pixels.dtype == torch.uint8
        assert (pixels[:, 0, 0] == labels).all()
        assert (said[:, 0] == labels).all()
    labels = torch.cat([labels for _, labels, _ in batches]).tolist()
    assert sorted(labels) == list(range(100)) != labels


def test_the_order_is_the_seeds_and_without_one_that_of_the_positions():
    first, again, other = (Batches((PIXELS, LABELS), torch.arange(100), 16, order=lambda s=s: s) for s in (1, 1, 2))
    assert seen(first) == seen(again) != seen(other)
    assert seen(Batches((PIXELS, LABELS), torch.tensor([3, 1, 2]), 2)) == [3, 1, 2]


def test_a_single_last_image_is_left_out_of_training_only():
    positions = torch.arange(33)
    assert len(seen(Batches((PIXELS, LABELS), positions, 16, order=lambda: 0))) == 32
    assert len(seen(Batches((PIXELS, LABELS), positions, 16))) == 33


@pytest.mark.parametrize(("count", "left_out"), [(100, 0), (99, 0), (98, 0), (61, 1)])
def test_ranks_share_an_epoch(count, left_out):
    """Each image on one rank, in the step in which one process with a batch of all of theirs has it."""
    positions = torch.arange(count)
    ranks = [Batches((PIXELS, LABELS), positions, 10, order=lambda: 7, rank=rank, world=3) for rank in range(3)]
    steps = [sorted(torch.cat([labels for _, labels in step]).tolist()) for step in zip(*ranks, strict=True)]
    one = Batches((PIXELS, LABELS), positions, 30, order=lambda: 7)
    assert steps == [sorted(labels.tolist()) for _, labels in one]
    assert sum(map(len, steps)) == count - left_out
    evaluated = [Batches((PIXELS, LABELS), positions, 10, rank=rank, world=3) for rank in range(3)]
    assert sorted(seen(*evaluated)) == list(range(count))
    assert all(len(list(rank)) == len(rank) for rank in evaluated)
    assert len({len(rank) for rank in evaluated}) == 1  # ranks take each step together


class At:
    """A trainer in one of ten epochs."""

    training, max_epochs = True, 10

    def __init__(self, epoch: int) -> None:
        self.current_epoch = epoch


def test_mixing_and_small_pictures_end_where_they_should(faces):
    data = FERDataModule(faces, mix=Mix(7, mixup=1.0), mix_until=0.8, low_res=32, low_res_until=0.3)
    batch = (torch.from_numpy(faces.pixels[:50]), torch.from_numpy(faces.labels[:50].astype(np.int64)))
    for epoch in range(10):
        data.trainer = At(epoch)
        pictures, targets = data.on_after_batch_transfer(batch, 0)
        assert pictures.shape[2] == (32 if epoch < 3 else 48)
        assert targets.dtype == torch.float32
        assert (targets.max(1).values < 1).any() == (epoch < 8)
    data.trainer.training = False
    pictures, targets = data.on_after_batch_transfer(batch, 0)
    assert pictures.shape == (50, 1, 48, 48)
    assert torch.equal(targets, batch[1])


def test_small_pictures_are_the_whole_ones(faces):
    """A picture that changes slowly is the same at any size."""
    ramp = torch.arange(48, dtype=torch.uint8).view(1, 1, -1).expand(2, 48, 48) * 5
    data = FERDataModule(faces, normalize=False)
    small = data.train_faces(ramp, 32)
    centres = (torch.arange(32) + 0.5) * 1.5 - 0.5
    torch.testing.assert_close(small[0, 0, 7, 1:-1], 5 * centres[1:-1] / 255, atol=1e-3, rtol=0)


def test_a_seed_of_its_own_for_the_split(faces):
    first, second = (FERDataModule(faces, seed=seed, split_seed=7) for seed in (1, 2))
    assert np.array_equal(first.splits["val"], second.splits["val"])
    assert np.array_equal(first.splits["val"], FERDataModule(faces, seed=7).splits["val"])


def test_statistics_are_those_of_the_pixels_over_255():
    pixels = np.random.default_rng(0).integers(0, 256, (500, 48, 48), dtype=np.uint8)
    positions = np.arange(0, 500, 2)
    mean, std = pixel_statistics(pixels, positions)
    assert mean == pytest.approx((pixels[positions] / 255).mean(), abs=1e-12)
    assert std == pytest.approx((pixels[positions] / 255).std(), abs=1e-12)
    with pytest.raises(UserError, match="constant gray of 7"):
        pixel_statistics(np.full((5, 48, 48), 7, np.uint8), np.arange(5))


@pytest.mark.slow
def test_statistics_of_the_real_training_rows(real_faces):
    mean, std = pixel_statistics(real_faces.pixels, real_faces.where(TRAINING))
    assert (round(mean, 5), round(std, 5)) == (0.50774, 0.25499)


def test_a_split_of_the_same_images_with_other_labels_is_another(faces):
    labels = faces.labels.copy()
    labels[faces.where(TRAINING)[0]] = (labels[0] + 1) % 7
    first, other = (FERDataModule(each) for each in (faces, replace(faces, labels=labels)))
    assert first.state_dict()["split"] != other.state_dict()["split"]


RARE = torch.tensor([0] * 70 + [2] * 25 + [6] * 5)  # classes of the hundred images


def test_balanced_sampling_draws_each_class_equally_often_by_the_seed():
    first, again, other = (
        Batches((PIXELS, LABELS), torch.arange(100), 16, order=lambda s=s: s, classes=RARE) for s in (1, 1, 2)
    )
    drawn = seen(first)
    assert drawn == seen(again) != seen(other)
    assert len(drawn) == 100
    assert sorted(RARE[drawn].bincount().tolist()) == [0, 0, 0, 0, 33, 33, 34]
    assert len(set(drawn)) < 100  # with replacement
    assert drawn != sorted(drawn)
    epochs = iter(range(60))
    loader = Batches((PIXELS, LABELS), torch.arange(100), 16, order=lambda: next(epochs), classes=RARE)
    assert set(seen(*[loader] * 60)) == set(range(100))


def test_ranks_share_a_balanced_epoch():
    whole = Batches((PIXELS, LABELS), torch.arange(100), 10, order=lambda: 7, classes=RARE)
    ranks = [Batches((PIXELS, LABELS), torch.arange(100), 10, lambda: 7, rank, 3, classes=RARE) for rank in range(3)]
    assert [len(seen(rank)) for rank in ranks] == [34, 33, 33]
    assert sorted(seen(*ranks)) == sorted(seen(whole))


def test_class_weights_are_scikit_learns_balanced():
    expected = compute_class_weight("balanced", classes=np.array([0, 2, 6]), y=RARE.numpy())
    weights = balanced_weights(RARE.numpy())
    torch.testing.assert_close(weights[[0, 2, 6]], torch.from_numpy(expected).float())
    assert weights[[1, 3, 4, 5]].tolist() == [0, 0, 0, 0]
    assert weights[RARE].mean().item() == pytest.approx(1)


def test_only_training_batches_are_balanced(faces):
    data = FERDataModule(faces, balanced=True)
    data.trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    counts = torch.cat([labels for _, labels in data.train_dataloader()]).bincount(minlength=7)
    assert counts.max() - counts.min() <= 2
    assert seen(data.val_dataloader()) == data.faces.labels[data.splits["val"]].tolist()
