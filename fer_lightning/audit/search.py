"""What is wrong with a set of faces: class counts, duplicates within and across splits, labels in conflict, constants.

Duplicates come in three kinds, each coarser than the one before: identical pixels; mirrored, the exact mirror image;
near, the same photograph once more: re-compressed, brighter or darker, of other contrast, moved by a pixel or two,
under another watermark, mirrored or not.

Near duplicates are found in two steps. All pairs of images are compared by their descriptors, the 8×8 means of 6×6
pixels less their mean, at unit length; those with an inner product above CANDIDATE are candidates. A candidate is a
near duplicate if its pixels correlate by at least SAME at the best of the shifts up to SHIFT. A group is whatever such
pairs connect. What this finds and misses is measured in the comments on these constants, on the 32,298 Training and
PublicTest rows; time grows with the square of the images and memory with their number.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from fer_lightning.data.faces import CLASSES, NO_LABEL, PRIVATE, PUBLIC, SIZE, TRAINING, USAGES, Faces, digest

KNOWN = {  # images per class of the full FER2013
    TRAINING: (3995, 436, 4097, 7215, 4830, 3171, 4965),
    PUBLIC: (467, 56, 496, 895, 653, 415, 607),
    PRIVATE: (491, 55, 528, 879, 594, 416, 626),
}
KINDS = ("identical", "mirrored", "near")

# Of the pairs that correlate by SAME, as far as any of six descriptors tried proposed them, 97 % are among the 65,000
# candidates (of 473 million pairs); at 0.92, 94 % among 20,000; 12×12 means of 4×4 pixels, 96 % among as many.
CANDIDATE = 0.90
# To the eye, the 100 weakest of the 1,436 links found all show one photograph twice, and so did 200 random pairs from
# 0.95 to 0.96; 1 of 64 from 0.93 to 0.95 did not, and 8 of 64 from 0.90 to 0.93. Frames of one session can pass.
SAME = 0.95
# Found of the altered copies of 1,500 rows: JPEG of quality 50 99.9 %, of 20 98 %; 30 levels brighter 99.9 %; contrast
# × 0.6 all, × 1.5 98 %; half the resolution 93 %; moved by 1 pixel 99.9 %, by 2 along one axis 85 %, along both 45 %.
# Other crops are not found: of copies enlarged by 5 % 21 %, by 10 % 1 %, of those turned by 2° 32 %.
SHIFT = 2  # pixels, along each axis
# Gray levels, standard deviation. Below it, rounding to whole levels alone brings two copies' correlation under 0.98.
FLAT = 2.0

CELL = 6  # pixels, the side of what a descriptor averages over
ROWS, COLUMNS = 1024, 8192  # descriptors compared at once: 32 MB of inner products
CHECKED = 128  # candidates checked at once: arrays of 1 MB, which stay in the CPU's cache
SECONDS_PER_PAIR = 1.5e-8  # of one core; 36,000 images took it 15 s with everything, 97,000 took 70 s


class Link(NamedTuple):
    """Two images, by position, found to be near duplicates, and the correlation of their pixels."""

    first: int
    second: int
    similarity: float
    mirrored: bool


@dataclass(frozen=True)
class Audit:
    """The findings on `faces`; images are positions in it.

    identical, mirrored, near: int64 (N,), the group of every image by each kind of likeness, as the position of the
        group's first image. Groups of a kind are made of whole groups of the kind before.
    links: the pairs that joined the near groups: a group of k images that differ, also when mirrored, has k - 1.
    constant: int64 (M,), the images of one gray level.
    flat: int64 (M,), others whose gray levels deviate by less than FLAT; they are not searched for near duplicates.
    """

    faces: Faces
    identical: np.ndarray
    mirrored: np.ndarray
    near: np.ndarray
    links: list[Link]
    constant: np.ndarray
    flat: np.ndarray

    def groups(self, kind: str) -> list[np.ndarray]:
        """The groups, int64 (K,) of ascending positions each, that this kind of likeness makes of those before it.

        The worst first: those across splits, then those of most labels, then the largest.
        """
        coarse, fine = self._likeness(kind)
        order = np.argsort(coarse, kind="stable")
        order = order[np.bincount(coarse)[coarse[order]] > 1]
        parts = np.split(order, np.flatnonzero(np.diff(coarse[order])) + 1)
        groups = [part for part in parts if len(set(fine[part].tolist())) > 1]
        return sorted(
            groups, key=lambda group: (not self.spans(group), -len(self.labels(group)), -len(group), group[0])
        )

    def leaks(self, kind: str) -> list[dict[str, Any]]:
        """`split`, `images`: how many have a duplicate of this kind, and none before, in an earlier split `within`."""
        coarse, fine = self._likeness(kind)
        found = []
        for usage, split in enumerate(USAGES):
            for within in range(usage):
                ours, theirs = self.faces.where(usage), self.faces.where(within)
                new = np.isin(coarse[ours], coarse[theirs]) & ~np.isin(fine[ours], fine[theirs])
                if new.any():
                    found.append({"split": split, "within": USAGES[within], "images": int(new.sum())})
        return found

    def spans(self, group: np.ndarray) -> bool:
        """Whether a group has images of several splits."""
        return len(set(self.faces.usage[group].tolist())) > 1

    def labels(self, group: np.ndarray) -> list[int]:
        """The labels of a group's images, ascending, each once."""
        return sorted(set(self.faces.labels[group].tolist()) - {NO_LABEL})

    def conflicting(self, group: np.ndarray) -> bool:
        """Whether a group's images have several labels."""
        return len(self.labels(group)) > 1

    @cached_property
    def links_of(self) -> dict[int, list[Link]]:
        """What joined each group of near duplicates, by its first image."""
        found: dict[int, list[Link]] = {}
        for link in self.links:
            found.setdefault(int(self.near[link.first]), []).append(link)
        return found

    def _likeness(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """The groups of a kind, and of the kind before it."""
        kinds = [np.arange(len(self.faces)), self.identical, self.mirrored, self.near]
        place = 1 + KINDS.index(kind)
        return kinds[place], kinds[place - 1]


def examine(faces: Faces) -> Audit:
    """All findings. It takes about `seconds`, and for 97,000 images 0.5 GB of memory, half of it their pixels."""
    mirror = np.concatenate([digest(part[:, :, ::-1]) for part in _parts(faces.pixels)])
    identical = _first_of(faces.digests)
    mirrored = _first_of(np.minimum(faces.digests, mirror))
    deviation = np.concatenate([part.std(axis=(1, 2), dtype=np.float32) for part in _parts(faces.pixels)])
    distinct = np.unique(mirrored)
    near, links = _near_groups(faces.pixels, distinct[deviation[distinct] >= FLAT])
    constant = np.ptp(faces.pixels, axis=(1, 2)) == 0
    return Audit(
        faces=faces,
        identical=identical,
        mirrored=mirrored,
        near=near[mirrored],
        links=links,
        constant=np.flatnonzero(constant),
        flat=np.flatnonzero(~constant & (deviation < FLAT)),
    )


def seconds(images: int) -> float:
    """About how long `examine` takes for so many images, on one core: 10 s for 36,000, 11 minutes for 300,000."""
    return SECONDS_PER_PAIR * images * images / 2


def class_counts(faces: Faces, usage: int) -> tuple[int, ...]:
    """The images of each class in a split with labels."""
    return tuple(np.bincount(faces.labels[faces.where(usage)], minlength=len(CLASSES)).tolist())


def verdict(counts: tuple[int, ...], usage: int) -> str:
    """How the class counts of a split compare with the known ones."""
    if counts == KNOWN[usage]:
        return "match"
    if not any(counts):
        return "missing"
    if counts == tuple(map(sum, zip(KNOWN[PUBLIC], KNOWN[PRIVATE], strict=True))):
        return "both test splits"  # as image folders without Kaggle's file names have it
    return "differ"


def _parts(pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Pieces small enough to compute with in floating point."""
    for start in range(0, len(pixels), ROWS):
        yield pixels[start : start + ROWS]


def _first_of(keys: np.ndarray) -> np.ndarray:
    """int64 (N,): where each key stands first."""
    _, first, group = np.unique(keys, return_index=True, return_inverse=True)
    return first[group]


def _near_groups(pixels: np.ndarray, distinct: np.ndarray) -> tuple[np.ndarray, list[Link]]:
    """The first image of every image's group, int64 (N,), and what joins the groups; `distinct` images are compared.

    A candidate whose two images are in one group already is not checked: memory stays bounded, and so does the time
    where thousands of images are near duplicates of each other.
    """
    from scipy.cluster.hierarchy import DisjointSet

    groups, links = DisjointSet(range(len(pixels))), []
    for first, second, mirrored in _candidates(descriptors(pixels)[distinct]):
        pairs = zip(distinct[first].tolist(), distinct[second].tolist(), strict=True)
        apart = [(one, other) for one, other in pairs if not groups.connected(one, other)]
        ones, others = np.array(apart, np.int64).reshape(-1, 2).T
        values = similarity(pixels[ones], pixels[others][:, :, ::-1] if mirrored else pixels[others])
        for (one, other), value in zip(apart, values.tolist(), strict=True):
            if value >= SAME and groups.merge(one, other):
                links.append(Link(one, other, value, mirrored))
    first_image = np.arange(len(pixels))
    for group in groups.subsets():
        first_image[[*group]] = min(group)
    return first_image, links


def descriptors(pixels: np.ndarray) -> np.ndarray:
    """float32 (N, 8, 8) of uint8 (N, 48, 48): means of 6×6 pixels, less their mean, at unit length (0 if constant)."""
    cells = SIZE // CELL
    means = [part.reshape(-1, cells, CELL, cells, CELL).mean((2, 4), dtype=np.float32) for part in _parts(pixels)]
    found = np.concatenate(means)
    found -= found.mean((1, 2), keepdims=True)
    return found / np.maximum(np.linalg.norm(found, axis=(1, 2), keepdims=True), 1e-6)


def _candidates(plain: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray, bool]]:
    """Pairs of descriptors with an inner product above CANDIDATE, CHECKED at a time: firsts, seconds, whether mirrored.

    firsts < seconds, int64 (K,). In a mirrored pair the descriptor of the second is to be mirrored; which of the two it
    is makes no difference to their product.
    """
    mirrored = plain[:, :, ::-1].reshape(len(plain), -1)
    plain = plain.reshape(len(plain), -1)
    for top in range(0, len(plain), ROWS):
        for left in range(top, len(plain), COLUMNS):
            for others in (plain, mirrored):
                products = plain[top : top + ROWS] @ others[left : left + COLUMNS].T
                first, second = np.divmod(np.flatnonzero(products > CANDIDATE), products.shape[1])
                ahead = first + top < second + left
                first, second = first[ahead] + top, second[ahead] + left
                for start in range(0, len(first), CHECKED):
                    yield first[start : start + CHECKED], second[start : start + CHECKED], others is mirrored


def similarity(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """float32 (N,) from two uint8 (N, 48, 48), pair by pair: the normalized correlation at the best shift, -1 to 1.

    What is correlated is the part in which the two overlap, one of them moved by up to SHIFT pixels along each axis.
    One that varies there by less than FLAT is taken to vary by FLAT, so that what is as good as constant comes near 0.
    """
    # with means near 0, so that the differences below lose no digits
    a, b = (images - images.mean((1, 2), keepdims=True, dtype=np.float32) for images in (first, second))
    best = np.full(len(a), -1, np.float32)
    for y, x in product(range(-SHIFT, SHIFT + 1), repeat=2):
        left, right = _moved(a, y, x), _moved(b, -y, -x)
        pixels = left.shape[1] * left.shape[2]
        left_mean, right_mean = np.einsum("nyx->n", left) / pixels, np.einsum("nyx->n", right) / pixels
        left_variance = np.einsum("nyx,nyx->n", left, left) / pixels - left_mean**2
        right_variance = np.einsum("nyx,nyx->n", right, right) / pixels - right_mean**2
        covariance = np.einsum("nyx,nyx->n", left, right) / pixels - left_mean * right_mean
        scale = np.sqrt(np.maximum(left_variance, FLAT**2) * np.maximum(right_variance, FLAT**2))
        np.maximum(best, covariance / scale, out=best)
    return best


def _moved(images: np.ndarray, y: int, x: int) -> np.ndarray:
    """The part of images (N, 48, 48) that stays inside when they are moved by y and x pixels."""
    return images[:, max(-y, 0) : SIZE - max(y, 0), max(-x, 0) : SIZE - max(x, 0)]
