"""FER2013's images cropped anew, each by the landmarks of its face: what `data.crop=aligned` trains on."""

import hashlib
import os
import sys
from dataclasses import replace

import numpy as np

from fer_lightning.data import cache
from fer_lightning.data.faces import Faces
from fer_lightning.errors import progress
from fer_lightning.photographs.faces import realigned
from fer_lightning.results.checkpoint import Classifier

VERSION = 1  # raise it with every change to where a face is found, or cropped: no crops of another one are used


def aligned(faces: Faces, where: np.ndarray | None = None) -> Faces:
    """The same images, those at `where`, int (N,), or all, cropped as `predict` crops a photograph's faces, in
    their own light.

    One without a face that is found stays as it is. Digests stay those of the images as they were, so splits and
    what is unseen are the same. Crops of all images are kept in the cache: it takes some 25 ms an image. A terminal is
    shown how far it is.
    """
    source = hashlib.sha256(os.fsencode(faces.source)).hexdigest()[:16]
    images = hashlib.sha256(f"{VERSION}\n".encode() + faces.digests.tobytes()).hexdigest()[:16]
    entry = cache.folder() / f"aligned-{source}" / images
    if kept := cache.kept(entry):
        return replace(faces, pixels=kept.pixels, aligned=True)
    if where is not None and len(where) < len(faces):
        pixels = np.array(faces.pixels)
        pixels[where] = _cropped(pixels[where])
        return replace(faces, pixels=pixels, aligned=True)
    with cache.alone(entry, "another process finds the faces of these images; waiting for it …"):
        if kept := cache.kept(entry):
            return replace(faces, pixels=kept.pixels, aligned=True)
        made = replace(faces, pixels=_cropped(faces.pixels), aligned=True)
        cache.keep(entry, made, f"what was cropped of {faces.source}")
    return made


def _cropped(pixels: np.ndarray) -> np.ndarray:
    """`realigned`, on a terminal with a bar."""
    if len(pixels) > cache.MANY:
        print(f"finding the faces of {len(pixels):,} images …", file=sys.stderr, flush=True)
    with progress() as bar:
        task = bar.add_task("finding faces", total=len(pixels))
        return realigned(pixels, lambda images: bar.advance(task, images))


def seen_by(classifier: Classifier, faces: Faces, where: np.ndarray) -> Faces:
    """The faces as a network is trained to see them, at `where`, int (N,): `aligned`, or as they are."""
    return aligned(faces, where) if classifier.aligned else faces
