"""FER2013 as npz: arrays `pixels`, `emotion` and `usage`."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_lightning.data import tree
from fer_lightning.data.faces import CLASSES, SIZE, UNLABELLED, Faces, digest
from fer_lightning.data.faults import LABELS, LISTED, SPLITS, faulty, in_a_line, shown
from fer_lightning.data.form import Form
from fer_lightning.data.names import usage_of
from fer_lightning.data.tree import Node
from fer_lightning.errors import UserError

ARRAYS = {"pixels": "integers", "emotion": "integers", "usage": "strings"}
_KINDS = {"integers": "iu", "strings": "US"}  # as numpy names them
_LARGEST = 1 << 30  # bytes of an array: 466,000 images of uint8; FER2013 of int64 takes 0.7 GB


@dataclass(frozen=True)
class Npz(Form):
    """An npz of pixels (N, 48, 48) or (N, 2304), emotion (N,) as 0-6, usage (N,) as in fer2013.csv."""

    path: Path
    file: Node

    @property
    def form(self) -> str:
        return f"{self.file.name} with {','.join(ARRAYS)}"

    def files(self) -> list[Node]:
        return [self.file]

    def labelled(self) -> int:
        """The number of images."""
        return self._array("emotion").size

    def read(self) -> Faces:
        """All images. UserError with all faulty ones, by their index in the arrays."""
        pixels, emotion, usage = arrays = [self._array(name) for name in ARRAYS]
        shapes = ", ".join(f"{name} {array.shape}" for name, array in zip(ARRAYS, arrays, strict=True))
        count = (*pixels.shape, 0)[0]
        if pixels.shape[1:] not in ((SIZE, SIZE), (SIZE * SIZE,)) or not emotion.shape == usage.shape == (count,):
            raise UserError(f"{self.file}: {shapes}; right: pixels (N, 48, 48) or (N, 2304), emotion (N,), usage (N,)")
        if not count:
            raise UserError(f"{self.file}: {shapes}: no images; right: one or more")
        for (name, right), array in zip(ARRAYS.items(), arrays, strict=True):
            if array.dtype.kind not in _KINDS[right]:
                raise UserError(f"{self.file}: {name} is {array.dtype}; right: {right}")

        pixels = pixels.reshape(count, SIZE, SIZE)
        words, word_of = np.unique(usage, return_inverse=True)
        texts = [word.decode("utf-8", "replace") if isinstance(word, bytes) else word for word in words.tolist()]
        found = (usage_of(text) for text in texts)
        codes = np.array([UNLABELLED if code is None else code for code in found], np.uint8)[word_of]
        bad_pixels = (pixels.min(axis=(1, 2)) < 0) | (pixels.max(axis=(1, 2)) > 255)
        bad_emotion = (emotion < 0) | (emotion >= len(CLASSES))
        faults = []
        bad = np.flatnonzero(bad_pixels | bad_emotion | (codes == UNLABELLED))
        for i in bad[:LISTED]:
            wrong = []
            if bad_pixels[i]:
                value = pixels[i][(pixels[i] < 0) | (pixels[i] > 255)][0]
                wrong.append(f"pixels[{i}]: value {value}; right: whole numbers from 0 to 255")
            if bad_emotion[i]:
                wrong.append(f"emotion[{i}]: {emotion[i]}; right: {LABELS}")
            if codes[i] == UNLABELLED:
                wrong.append(f"usage[{i}]: {shown(texts[word_of[i]])}; right: {SPLITS}")
            faults.append("; ".join(wrong))
        if faults:
            raise faulty(self.file, faults, count, "images", len(bad))

        pixels = np.ascontiguousarray(pixels.astype(np.uint8, copy=False))
        return Faces(
            pixels=pixels,
            labels=emotion.astype(np.int8),
            usage=codes,
            rows=np.arange(count),
            digests=digest(pixels),
            names=None,
            source=str(self.path),
            form=self.form,
        )

    def _array(self, name: str) -> np.ndarray:
        """UserError for whatever is raised while it is read. What a header declares takes memory only as it is read."""
        try:
            with _archive(self.file) as archive, archive.open(f"{name}.npy") as file:
                if (size := archive.getinfo(f"{name}.npy").file_size) > _LARGEST:
                    raise ValueError(f"{size / 2**30:,.1f} GB, more than {_LARGEST / 2**30:g}")
                array = np.lib.format.read_array(file, allow_pickle=False)
                if file.read(1):
                    raise ValueError(f"{size:,} bytes for {array.shape} of {array.dtype}")
                if not array.dtype.itemsize:  # any number of these takes no bytes in the file
                    raise ValueError(f"{array.dtype} holds nothing")
                if array.dtype.kind == "U":
                    array.tolist()  # an error where they are no characters
                return array
        except Exception as error:  # on damaged files, zipfile, its decompressors and numpy raise some fifteen types
            right = "integers and strings as numpy.savez writes them"
            raise UserError(
                f"{self.file}: its array {name} cannot be read ({in_a_line(error)}); right: {right}"
            ) from error


@contextmanager
def _archive(file: Node) -> Iterator[zipfile.ZipFile]:
    with tree.reading(file, tree.LARGEST) as opened, zipfile.ZipFile(opened) as archive:
        yield archive


def recognize(file: Node) -> Npz | None:
    """The npz that a zip file is, None where it is an archive of other files. UserError if it lacks an array."""
    try:
        with _archive(file) as archive:
            members = set(archive.namelist())
    except Exception as error:  # as above
        raise UserError(f"{file}: a damaged zip or npz ({in_a_line(error)}); right: a whole one") from error
    missing = [name for name in ARRAYS if f"{name}.npy" not in members]
    if not members or any(not name.endswith(".npy") for name in members):
        return None
    if missing:
        raise UserError(
            f"{file}: an npz without the array{'s'[: len(missing) > 1]} {', '.join(missing)}; "
            f"right: {', '.join(ARRAYS)}"
        )
    return Npz(tree.file_of(file), file)
