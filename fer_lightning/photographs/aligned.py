"""FER2013's images cropped anew, each by the landmarks of its face: what `data.crop=aligned` trains on."""

import hashlib
import io
import logging
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np

from fer_lightning.data import cache
from fer_lightning.data.faces import Faces
from fer_lightning.errors import Failure, progress
from fer_lightning.photographs.faces import realigned
from fer_lightning.results.checkpoint import Classifier
from fer_lightning.results.files import write_file

log = logging.getLogger(__name__)

VERSION = 1  # raise it with every change to where a face is found, or cropped: no crops of another one are used

_unkept: dict[Path, np.ndarray] = {}  # the last ones that could not be written: a run asks twice, a sweep often


def aligned(faces: Faces, where: np.ndarray | None = None) -> Faces:
    """The same images, those at `where`, int (N,), or all, cropped as `predict` crops a photograph's faces.

    One without a face that is found stays as it is. Digests stay those of the images as they were, so splits and
    what is unseen are the same. Crops of all images are kept in the cache: it takes some 25 ms an image. A terminal is
    shown how far it is.
    """
    kept = cache.folder() / "aligned" / f"{VERSION}-{hashlib.sha256(faces.digests.tobytes()).hexdigest()[:16]}.npy"
    pixels = _unkept.get(kept) if kept in _unkept else _read(kept, faces.pixels.shape)
    if pixels is None:
        if where is None:
            print(f"finding the faces of {len(faces):,} images, once …", file=sys.stderr, flush=True)
        pixels, chosen = np.array(faces.pixels), slice(None) if where is None else where
        with progress() as bar:
            task = bar.add_task("finding faces", total=len(pixels[chosen]))
            pixels[chosen] = realigned(pixels[chosen], lambda images: bar.advance(task, images))
        pixels.flags.writeable = False  # as from the cache
        if where is None:
            _keep(kept, pixels)
    return replace(faces, pixels=pixels, aligned=True)


def seen_by(classifier: Classifier, faces: Faces, where: np.ndarray) -> Faces:
    """The faces as a network is trained to see them, at `where`, int (N,): `aligned`, or as they are."""
    return aligned(faces, where) if classifier.aligned else faces


def _read(path: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    try:
        pixels = np.load(path, "r")
    except (OSError, ValueError, EOFError):  # absent, or damaged
        return None
    return pixels if (pixels.shape, pixels.dtype) == (shape, np.uint8) else None


def _keep(path: Path, pixels: np.ndarray) -> None:
    content = io.BytesIO()
    np.save(content, pixels)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_file(path, content.getvalue())
    except (OSError, Failure) as error:
        log.warning("aligned faces cannot be kept in the cache (%s): every start makes them anew", error)
        _unkept.clear()
        _unkept[path] = pixels
