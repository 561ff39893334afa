"""FER2013 as npz: arrays `pixels`, `emotion` and `usage`."""

import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_lightning.data.cache import Stats
from fer_lightning.data.faces import CLASSES, SIZE, UNLABELLED, USAGES, Faces, digest
from fer_lightning.data.faults import LABELS, faulty, shown
from fer_lightning.errors import UserError

ARRAYS = ("pixels", "emotion", "usage")
_DAMAGED = (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError)


@dataclass(frozen=True)
class Npz:
    """An npz of pixels (N, 48, 48) or (N, 2304), emotion (N,) as 0-6, usage (N,) as in fer2013.csv."""

    path: Path
    has_usage = True

    @property
    def form(self) -> str:
        return f"{self.path.name} with {','.join(ARRAYS)}"

    def scan(self) -> Stats:
        return {str(self.path): os.stat(self.path)}

    def labelled(self) -> int:
        """The number of images."""
        return len(self._array("emotion"))

    def read(self) -> Faces:
        """All images. UserError with all faulty ones, by their index in the arrays."""
        pixels, emotion, usage = (self._array(name) for name in ARRAYS)
        shapes = f"pixels {pixels.shape}, emotion {emotion.shape}, usage {usage.shape}"
        count = len(pixels) if pixels.ndim else 0
        if pixels.shape[1:] not in ((SIZE, SIZE), (SIZE * SIZE,)) or not emotion.shape == usage.shape == (count,):
            raise UserError(f"{self.path}: {shapes}; right: pixels (N, 48, 48) or (N, 2304), emotion (N,), usage (N,)")
        if not count:
            raise UserError(f"{self.path}: {shapes}: no images; right: one or more")
        for name, array in (("pixels", pixels), ("emotion", emotion)):
            if array.dtype.kind not in "iu":
                raise UserError(f"{self.path}: {name} is {array.dtype}; right: integers")
        if usage.dtype.kind not in "US":
            raise UserError(f"{self.path}: usage is {usage.dtype}; right: strings")

        pixels = pixels.reshape(count, SIZE, SIZE)
        usage = np.char.strip(usage if usage.dtype.kind == "U" else np.char.decode(usage, "utf-8", "replace"))
        codes = np.full(count, UNLABELLED, np.uint8)
        for code, name in enumerate(USAGES[:UNLABELLED]):
            codes[usage == name] = code
        bad_pixels = (pixels.min(axis=(1, 2)) < 0) | (pixels.max(axis=(1, 2)) > 255)
        bad_emotion = (emotion < 0) | (emotion >= len(CLASSES))
        faults = []
        for i in np.flatnonzero(bad_pixels | bad_emotion | (codes == UNLABELLED)):
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
            raise faulty(self.path, faults, count, "images")

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
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                return arrays[name]
        except _DAMAGED as error:
            right = "integers and strings as numpy.savez writes them"
            raise UserError(f"{self.path}: its array {name} cannot be read ({error}); right: {right}") from error


def recognize(path: Path) -> Npz:
    """The npz at `path`, a zip file. UserError if it lacks an array."""
    try:
        with zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
    except _DAMAGED as error:
        raise UserError(f"{path}: a damaged npz ({error}); right: a whole one") from error
    if missing := [name for name in ARRAYS if f"{name}.npy" not in members]:
        raise UserError(
            f"{path}: a zip file without the array{'s'[: len(missing) > 1]} {', '.join(missing)}; right: an npz of "
            f"{', '.join(ARRAYS)} (an archive of other files is to be unpacked first)"
        )
    return Npz(path)
