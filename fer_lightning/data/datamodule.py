"""`FERDataModule`: faces as one uint8 tensor, handed out in whole batches, augmented and normalized on the device."""

import itertools
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from fer_lightning.data.augment import Augment, Mix, Normalize
from fer_lightning.data.faces import CLASSES, SIZE, TRAINING, Faces, fingerprint
from fer_lightning.data.splits import make_splits
from fer_lightning.errors import UserError

# Nothing is kept for a backward pass, so larger batches than in training cost no memory. On two CPU cores the CNN was
# as fast with 256 as with any other size from 32 to 512 (docs/performance.md).
EVAL_BATCH = 256


class Batches:
    """An iterable of the rows (B, …) of tensors in memory, a tuple a batch; no worker, no copy an image.

    tensors: of one length and device: pixels uint8 (N, 48, 48), perhaps labels int64 (N,) and more beside them.
    positions: int64 (M,) into the tensors. order: None keeps them in order; otherwise a function that gives the seed of
    this pass's permutation. rank, world: this process's share, up to an image as large as the others' and in as many
    batches, since each is a step that ranks take together: the images of a step are those that one process would have
    in a batch of world · batch_size.
    A shuffled pass leaves out a last batch of a single image on any rank, which batch normalization cannot take.
    classes: int64 (M,) of the positions, for shuffled passes in which each class comes equally often, see
    `balanced_draw`; None: each position comes once.
    """

    def __init__(
        self,
        tensors: Sequence[Tensor],
        positions: Tensor,
        batch_size: int,
        order: Callable[[], int] | None = None,
        rank: int = 0,
        world: int = 1,
        classes: Tensor | None = None,
    ) -> None:
        self.tensors, self.positions, self.classes = tuple(tensors), positions, classes
        self.batch_size, self.order, self.rank, self.world = batch_size, order, rank, world

    def __len__(self) -> int:
        if self.order is None:
            return math.ceil(math.ceil(len(self.positions) / self.world) / self.batch_size)
        full, rest = divmod(len(self.positions) // self.world, self.batch_size)
        return full + (rest > 1)

    def __iter__(self) -> Iterator[tuple[Tensor, ...]]:
        device = self.tensors[0].device
        positions = self.positions.to(device)
        if self.order is not None:
            generator = torch.Generator(device).manual_seed(self.order())
            if self.classes is None:
                drawn = torch.randperm(len(positions), generator=generator, device=device)
            else:
                drawn = balanced_draw(self.classes.to(device), generator)
            positions = positions[drawn]
        share = positions[self.rank :: self.world]
        chunks = share.split(self.batch_size)
        if len(chunks) < len(self):
            chunks = share.tensor_split(len(self))
        for chunk in chunks[: len(self)]:
            yield tuple(tensor[chunk] for tensor in self.tensors)


class FERDataModule(pl.LightningDataModule):
    """Hands out normalized (and, in training, augmented) batches of one `Faces`.

    batch_size: images a training step on each device. val_split: see `make_splits`. augment: applied to training
    batches, faces float in 0–1; None for no augmentation. normalize: subtract the mean and divide by the standard
    deviation of the training split's pixels; otherwise pixels stay in 0–1. seed: of the order of batches, and of the
    split where split_seed, for networks of several seeds that hold out the same images, is None.
    mix: applied to training batches after all else in the first epochs, the share mix_until of them; None for not at
    all. low_res, low_res_until: the side in pixels of training faces in the first epochs, that share of them.
    balanced: an epoch draws its images with replacement, each class equally often, instead of each image once.

    The pixels stay uint8, as one tensor on the training device, until a batch is taken: a quarter of the memory.
    """

    def __init__(
        self,
        faces: Faces,
        batch_size: int = 128,
        val_split: float | str = 0.1,
        augment: Augment | None = None,
        normalize: bool = True,
        seed: int = 0,
        split_seed: int | None = None,
        mix: Mix | None = None,
        mix_until: float = 1.0,
        low_res: int = 32,
        low_res_until: float = 0.0,
        balanced: bool = False,
    ) -> None:
        super().__init__()
        if batch_size < 2:
            raise ValueError(f"batch_size is {batch_size}; it must be at least 2, for batch normalization")
        self.faces = faces
        self.batch_size, self.val_split, self.seed = batch_size, val_split, seed
        self.augment, self.mix, self.balanced = augment, mix, balanced
        self.mix_until, self.low_res, self.low_res_until = mix_until, low_res, low_res_until
        self.split_seed = seed if split_seed is None else split_seed
        self.splits = make_splits(faces, val_split, self.split_seed)
        self.normalize = Normalize(*pixel_statistics(faces.pixels, self.splits["train"])) if normalize else Normalize()
        self.learned_before: list[
            Tensor
        ] = []  # int64 (M,) each: digests of images that other networks bring knowledge of
        self.soft_targets: Tensor | None = None
        self._tensors: tuple[Tensor, Tensor] | None = None

    def predict_soft_targets(self, teacher_probabilities: Callable[[np.ndarray], np.ndarray]) -> None:
        """Hand out with every training batch `teacher_probabilities` of its images as they are, predicted once, here.

        teacher_probabilities: from uint8 (N, 48, 48) to class probabilities float32 (N, 7).
        """
        positions = self.splits["train"]
        self.soft_targets = torch.zeros(len(self.faces.labels), len(CLASSES))
        self.soft_targets[positions] = torch.from_numpy(teacher_probabilities(self.faces.pixels[positions]))

    def batches(self, split: str, shuffle: bool = False) -> Batches:
        """The batches of one split (a key of `splits`), as the trainer's device and rank see them."""
        trainer = self.trainer
        assert trainer is not None
        device = trainer.strategy.root_device
        if self._tensors is None or self._tensors[0].device != device:
            self._tensors = (
                shared_tensor(self.faces.pixels).to(device),
                torch.from_numpy(self.faces.labels.astype(np.int64)).to(device),
            )
        soft_targets = [self.soft_targets.to(device)] if shuffle and self.soft_targets is not None else []
        positions = torch.from_numpy(self.splits[split])
        return Batches(
            (*self._tensors, *soft_targets),
            positions,
            self.batch_size if shuffle else EVAL_BATCH,
            (lambda: epoch_seed(self.seed, trainer.current_epoch)) if shuffle else None,
            trainer.global_rank,
            trainer.world_size,
            self._tensors[1][positions.to(device)] if shuffle and self.balanced else None,
        )

    def train_dataloader(self) -> Batches:
        return self.batches("train", shuffle=True)

    def val_dataloader(self) -> Batches:
        return self.batches("val")

    def test_dataloader(self) -> dict[str, Batches]:
        """The test splits that there are, by name."""
        return {split: self.batches(split) for split in ("public", "private") if len(self.splits[split])}

    def predict_dataloader(self) -> dict[str, Batches]:
        """All splits that there are but the training's, by name."""
        return {split: self.batches(split) for split in self.splits if split != "train" and len(self.splits[split])}

    def on_after_batch_transfer(self, batch: tuple[Tensor, ...], dataloader_idx: int) -> tuple[Tensor, ...]:
        if self.trainer is not None and self.trainer.training:
            return self._training_batch(*batch)
        pixels, targets = batch
        return self.normalize(unit(pixels)), targets  # as `Classifier` does

    @torch.no_grad()  # at every call alike: compiled code is made anew where it changes
    def _training_batch(self, pixels: Tensor, targets: Tensor, *soft_targets: Tensor) -> tuple[Tensor, ...]:
        trainer = self.trainer
        assert trainer is not None
        assert trainer.max_epochs is not None
        side = self.side(trainer.current_epoch, trainer.max_epochs)
        faces = self.train_faces(pixels, *(() if side == SIZE else (side,)))
        if self.mix is None:
            return faces, targets, *soft_targets
        if trainer.current_epoch < self.mix_until * trainer.max_epochs:
            return self.mix(faces, targets, *soft_targets)
        return faces, self.mix.soft(targets), *soft_targets  # in one form all the time: nothing is compiled anew

    def side(self, epoch: int, epochs: int) -> int:
        """Of training faces in an epoch (0-based) of so many, in pixels."""
        return self.low_res if epoch < self.low_res_until * epochs else SIZE

    def train_faces(self, pixels: Tensor, size: int = SIZE) -> Tensor:
        """float (B, 1, size, size) of a training batch's pixels uint8 (B, 48, 48); `build` may compile it."""
        faces = unit(pixels)
        if size != SIZE:
            faces = F.interpolate(faces, size=(size, size), mode="bilinear", antialias=True)
        return self.normalize(faces if self.augment is None else self.augment(faces))

    def batches_to_measure(self, images: int) -> Iterator[Tensor]:
        """The epoch's first batches, of at least that many images if it has them, as the network trains on them."""
        for batch in itertools.islice(self.train_dataloader(), math.ceil(images / self.batch_size)):
            yield self._training_batch(*batch)[0]

    def state_dict(self) -> dict[str, Any]:
        """What a checkpoint must know of its data, as primitives and one tensor: to score it and to go on from it.

        training_digests: of all images that it may have learned something of.
        """
        own = self.faces.digests[self.faces.where(TRAINING)]
        return {
            "classes": list(CLASSES),
            "mean": self.normalize.mean,
            "std": self.normalize.std,
            "val_split": self.val_split,
            "split_seed": self.split_seed,  # what the split can be made again with
            "seed": self.seed,
            "synthetic": self.faces.synthetic,
            "aligned": self.faces.aligned,
            "split": {name: fingerprint(self.faces, self.splits[name]) for name in ("train", "val")},
            "training_digests": torch.from_numpy(np.unique(np.concatenate([own, *self.learned_before]))),
        }


DATA_STATE = FERDataModule.__qualname__  # the key under which Lightning keeps its state in a checkpoint


def shared_tensor(array: np.ndarray) -> Tensor:
    """A tensor on the array's own memory, to be read only. No copy: of 300,000 images it took 0.9 s at every start."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*not writable.*", category=UserWarning)
        return torch.from_numpy(array)


def unit(pixels: Tensor) -> Tensor:
    """float (B, 1, 48, 48) in 0–1 from uint8 (B, 48, 48)."""
    return pixels.unsqueeze(1).float() / 255


def balanced_draw(classes: Tensor, generator: torch.Generator) -> Tensor:
    """int64 (N,): as many positions into int64 (N,) of classes as there are, with replacement, shuffled.

    Each class that there is comes equally often, or once more than another.
    """
    _, kinds, counts = classes.unique(return_inverse=True, return_counts=True)
    by_kind = kinds.argsort(stable=True)  # the positions of the first class, then those of the second …
    n, device = len(classes), classes.device
    kind = torch.randperm(n, generator=generator, device=device) % len(counts)
    within = torch.rand(n, generator=generator, device=device, dtype=torch.float64) * counts[kind]
    return by_kind[(counts.cumsum(0) - counts)[kind] + within.long()]


def balanced_weights(labels: np.ndarray) -> Tensor:
    """float32 (7,) from int (N,): N / (K · N_c), where K classes have images, as scikit-learn's "balanced"; else 0."""
    counts = np.bincount(labels, minlength=len(CLASSES))
    present = counts > 0
    weights = np.zeros(len(CLASSES), np.float32)
    weights[present] = len(labels) / (present.sum() * counts[present])
    return torch.from_numpy(weights)


def epoch_seed(seed: int, epoch: int, rank: int = 0) -> int:
    """A seed of its own for every epoch (0-based) and rank, so that a resumed run repeats what the whole run does."""
    return int(np.random.SeedSequence([seed, epoch, rank]).generate_state(1)[0])


def pixel_statistics(pixels: np.ndarray, positions: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of x / 255 over uint8 (N, 48, 48) at `positions`, exact to rounding."""
    total = squares = 0.0  # float64 holds these sums of whole numbers exactly
    for chunk in np.array_split(positions, len(positions) // 128 + 1):  # of few images, so that they fit the cache
        x = pixels[chunk].astype(np.float64).ravel()
        total += float(x.sum())
        squares += float(x @ x)
    count = len(positions) * pixels[0].size
    mean = total / count
    std = math.sqrt(squares / count - mean * mean)
    if std == 0:
        raise UserError(f"all {len(positions)} training images are one constant gray of {mean:.0f}; nothing to learn")
    return mean / 255, std / 255
