"""FER2013 as npz: arrays `pixels`, `emotion` and `usage`."""

import io
import math
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from fer_lightning.data import tree
from fer_lightning.data.faces import CLASSES, SIZE, UNLABELLED, USAGES, Faces, digest
from fer_lightning.data.faults import LABELS, LISTED, faulty, in_a_line, shown
from fer_lightning.data.form import Form
from fer_lightning.data.names import usage_of
from fer_lightning.data.tree import Node
from fer_lightning.errors import UserError

ARRAYS = ("pixels", "emotion", "usage")
_HEADER_BYTES = 1 << 14  # numpy takes no longer ones
_LARGEST = 1 << 30  # bytes of an array: 466,000 images of uint8; FER2013 of int64 takes 0.7 GB
_VERSIONS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


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
        return math.prod(self._header("emotion")[0])

    def read(self) -> Faces:
        """All images. UserError with all faulty ones, by their index in the arrays."""
        shape, dtype = {}, {}
        for name in ARRAYS:
            shape[name], dtype[name] = self._header(name)
        shapes = ", ".join(f"{name} {shape[name]}" for name in ARRAYS)
        count = (*shape["pixels"], 0)[0]
        sides = shape["pixels"][1:]
        if sides not in ((SIZE, SIZE), (SIZE * SIZE,)) or not shape["emotion"] == shape["usage"] == (count,):
            raise UserError(f"{self.file}: {shapes}; right: pixels (N, 48, 48) or (N, 2304), emotion (N,), usage (N,)")
        if not count:
            raise UserError(f"{self.file}: {shapes}: no images; right: one or more")
        for name in ("pixels", "emotion"):
            if dtype[name].kind not in "iu":
                raise UserError(f"{self.file}: {name} is {dtype[name]}; right: integers")
        if dtype["usage"].kind not in "US" or dtype["usage"].itemsize > np.dtype("U99").itemsize:
            raise UserError(f"{self.file}: usage is {dtype['usage']}; right: strings of at most 99 characters")

        pixels, emotion, usage = (self._array(name) for name in ARRAYS)
        pixels = pixels.reshape(count, SIZE, SIZE)
        usage = np.char.strip(usage if usage.dtype.kind == "U" else np.char.decode(usage, "utf-8", "replace"))
        codes = np.full(count, UNLABELLED, np.uint8)
        for name in np.unique(usage):
            if (code := usage_of(str(name))) is not None:
                codes[usage == name] = code
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
                wrong.append(f"usage[{i}]: {shown(str(usage[i]))}; right: {', '.join(USAGES[:UNLABELLED])}")
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

    def _header(self, name: str) -> tuple[tuple[int, ...], np.dtype]:
        """Shape and dtype of an array, which say how much memory it takes; its size in the archive agrees with them."""
        with self._opened(name) as (file, size):
            header = io.BytesIO(file.read(_HEADER_BYTES))
            version = np.lib.format.read_magic(header)
            if version not in _VERSIONS:
                raise ValueError(f"version {version} of npy")
            shape, _, dtype = _VERSIONS[version](header)
            values = math.prod(shape) * dtype.itemsize
            if values > _LARGEST:
                raise ValueError(f"{values / 2**30:,.1f} GB for {shape} of {dtype}, more than {_LARGEST / 2**30:g}")
            if not dtype.hasobject and header.tell() + values != size:
                raise ValueError(f"{size:,} bytes for {shape} of {dtype}")
            return shape, dtype

    def _array(self, name: str) -> np.ndarray:
        with self._opened(name) as (file, _):
            return np.lib.format.read_array(file, allow_pickle=False)

    @contextmanager
    def _opened(self, name: str) -> Iterator[tuple[IO[bytes], int]]:
        """An array's file and its size. UserError for whatever is raised while it is read."""
        try:
            with _archive(self.file) as archive, archive.open(f"{name}.npy") as file:
                yield file, archive.getinfo(f"{name}.npy").file_size
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
