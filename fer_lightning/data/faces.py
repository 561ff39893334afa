"""`Faces`: labelled 48×48 gray images in memory, whatever file they came from."""

import hashlib
from dataclasses import dataclass

import numpy as np

SIZE = 48
CLASSES = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")  # the indices of fer2013.csv
USAGES = ("Training", "PublicTest", "PrivateTest", "Unlabelled")
TRAINING, PUBLIC, PRIVATE, UNLABELLED = range(len(USAGES))
NO_LABEL = -1


@dataclass(frozen=True)
class Faces:
    """N images and what their source says of them.

    pixels: uint8 (N, 48, 48), perhaps memory-mapped and read-only.
    labels: int8 (N,), an index into CLASSES, or NO_LABEL where `usage` is UNLABELLED.
    usage: uint8 (N,), an index into USAGES.
    rows: int64 (N,), the 0-based data row in the file that the image came from (for image folders: its position in
        the sorted list of all images).
    digests: int64 (N,), equal exactly where the source's pixels are equal (64-bit hash, see `digest`).
    names: str (N,) or None, what the source itself calls an image: the path inside an image folder, the `id` of an
        unlabelled row; "" where it has no name.
    source: the file or folder read, for messages. form: which of the known forms it had, for messages. left_out: what
        stands there and was not read, and why; "" where that is nothing.
    synthetic: whether the faces are drawn, not photographed. aligned: whether `pixels` are cropped anew, see
        photographs/aligned.py.
    """

    pixels: np.ndarray
    labels: np.ndarray
    usage: np.ndarray
    rows: np.ndarray
    digests: np.ndarray
    names: np.ndarray | None
    source: str
    form: str
    synthetic: bool = False
    left_out: str = ""
    aligned: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def where(self, usage: int) -> np.ndarray:
        """int64 (M,): the positions of the images of one usage, in order."""
        return np.flatnonzero(self.usage == usage)


def digest(pixels: np.ndarray) -> np.ndarray:
    """int64 (N,) of uint8 (N, 48, 48): equal for identical images; any two of 300,000 others collide with p < 3e-9."""
    rows = np.ascontiguousarray(pixels).reshape(len(pixels), -1)
    joined = b"".join(hashlib.blake2b(row.data, digest_size=8).digest() for row in rows)
    return np.frombuffer(joined, dtype="<i8").astype(np.int64)


def fingerprint(faces: Faces, where: np.ndarray | None = None) -> str:
    """16 hexadecimal digits of the images at `where`, int (M,), or of all: their pixels, usages and labels.

    Whatever their order and the form of the file.
    """
    chosen = slice(None) if where is None else where
    usage, label, pixels = faces.usage[chosen], faces.labels[chosen], faces.digests[chosen]
    table = np.empty(len(label), [("usage", "u1"), ("label", "i1"), ("digest", "<i8")])
    table["usage"], table["label"], table["digest"] = usage, label, pixels
    order = np.lexsort((pixels, label, usage))  # ten times as fast as sorting the records
    return hashlib.sha256(table[order].tobytes()).hexdigest()[:16]
