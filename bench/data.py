"""The rows that are timed: real ones where they are at hand, otherwise drawn ones, in files of the sizes wanted."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.baseline import BATCH
from fer_lightning.data import fer2013
from fer_lightning.data.faces import PUBLIC, TRAINING, UNLABELLED, USAGES, Faces
from fer_lightning.data.splits import make_splits

TRAINING_ROWS, TEST_ROWS = 28_709, 3_589  # of FER2013
VAL_SPLIT, SEED = 0.1, 0  # as conf/ has them
_TEXT = [str(value) for value in range(256)]


def resize(faces: Faces, training: int, public: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Pixels uint8 (N, 48, 48), labels and usages (N,) of `training` and `public` rows.

    Rows that have to be repeated get noise in their lowest bits, lest they be duplicates.
    """
    rng = np.random.default_rng(SEED)
    where, fresh = [], []
    for usage, wanted in ((TRAINING, training), (PUBLIC, public)):
        rows = faces.where(usage)
        where.append(np.resize(rows, wanted))
        fresh.append(np.arange(wanted) < len(rows))
    positions, first = np.concatenate(where), np.concatenate(fresh)
    pixels = faces.pixels[positions]
    for start in range(0, len(pixels), 4096):
        again = start + np.flatnonzero(~first[start : start + 4096])
        pixels[again] ^= rng.integers(0, 8, (len(again), *pixels.shape[1:]), np.uint8)
    return pixels, faces.labels[positions].astype(np.int64), faces.usage[positions]


@dataclass(frozen=True)
class Prepared:
    """One set of rows as files: `npz` for fer_lightning, `rows` for the others, with the same split."""

    npz: Path
    rows: Path
    images: int
    val_split: float


def prepare(faces: Faces, training: int, public: int, folder: Path, val_split: float = VAL_SPLIT) -> Prepared:
    """Write `training` and `public` rows; the baseline's and the loop's split is the one that fer_lightning makes."""
    folder.mkdir(parents=True)
    pixels, labels, usage = resize(faces, training, public)
    prepared = Prepared(folder / "faces.npz", folder / "rows.npz", len(pixels), val_split)
    np.savez(prepared.npz, pixels=pixels, emotion=labels, usage=np.array(USAGES)[usage])
    splits = make_splits(fer2013.load(prepared.npz), val_split, SEED)
    train = splits["train"][: len(splits["train"]) - (len(splits["train"]) % BATCH == 1)]  # as Batches leaves it out
    np.savez(prepared.rows, pixels=pixels, labels=labels, train=train, val=splits["val"])
    return prepared


def load_rows(path: str) -> dict[str, np.ndarray]:
    """pixels uint8 (N, 48, 48), labels int64 (N,), train and val int64, positions in them."""
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def csv_lines(faces: Faces, training: int, public: int) -> list[str]:
    """A fer2013.csv, a line an element, the header included."""
    pixels, labels, usage = resize(faces, training, public)
    lines = ["emotion,pixels,Usage\n"]
    for row, label, code in zip(pixels.reshape(len(pixels), -1).tolist(), labels, usage, strict=True):
        lines.append(f"{label},{' '.join([_TEXT[value] for value in row])},{USAGES[code]}\n")
    return lines


def spoil(lines: Sequence[str], faults: int) -> tuple[list[str], list[int]]:
    """The lines with `faults` faulty ones of five kinds spread over them, and the faulty ones' numbers, from 1."""
    spoilt = list(lines)
    where = np.linspace(1, len(lines) - 1, faults).round().astype(int).tolist()
    for kind, index in enumerate(where):
        label, pixels, usage = spoilt[index].rstrip("\n").split(",")
        values = pixels.split(" ")
        if kind % 5 == 0:
            values[100] = "256"
        elif kind % 5 == 1:
            values[200] = "1x"
        elif kind % 5 == 2:
            del values[-1]
        elif kind % 5 == 3:
            label = "9"
        else:
            usage = USAGES[UNLABELLED]
        spoilt[index] = f"{label},{' '.join(values)},{usage}\n"
    return spoilt, [index + 1 for index in where]
