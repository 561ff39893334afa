"""FER2013 as image folders: train/<class>/* and test/<class>/*, jpg or png of any size.

A name that begins Training_, PublicTest_ or PrivateTest_ gives an image's usage. Without it the folder does: train/ is
Training, test/ is PrivateTest, and validation/ (or val/, valid/), which some copies have beside or instead of test/, is
PublicTest: the split that was there to choose between models.

Hidden files, Thumbs.db, desktop.ini and __MACOSX are passed over; anything else must be a picture.
"""

import os
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from fer_lightning.data.cache import Stats
from fer_lightning.data.faces import CLASSES, PRIVATE, PUBLIC, SIZE, TRAINING, UNLABELLED, USAGES, Faces, digest
from fer_lightning.data.faults import faulty, in_a_line
from fer_lightning.data.picture import open_picture
from fer_lightning.errors import UserError

SPLITS = {  # the usage of images whose names give none
    "train": TRAINING,
    "training": TRAINING,
    "val": PUBLIC,
    "valid": PUBLIC,
    "validation": PUBLIC,
    "publictest": PUBLIC,
    "test": PRIVATE,
    "privatetest": PRIVATE,
}
NAMES = {name: label for label, name in enumerate(CLASSES)} | {  # class folders; the others in public use
    "anger": 0,
    "disgusted": 1,
    "fearful": 2,
    "happiness": 3,
    "sadness": 4,
    "surprised": 5,
}
_PREFIXES = {usage: code for code, usage in enumerate(USAGES) if code != UNLABELLED}
_SYSTEM_FILES = {"thumbs.db", "desktop.ini", "__macosx"}


def visible(folder: str | Path) -> list[os.DirEntry[str]]:
    """What a folder holds but for hidden and system files, sorted by name."""
    with os.scandir(folder) as entries:
        shown = [e for e in entries if not e.name.startswith(".") and e.name.lower() not in _SYSTEM_FILES]
    return sorted(shown, key=lambda entry: entry.name)


def _splits(root: Path) -> list[os.DirEntry[str]]:
    return [entry for entry in visible(root) if entry.name.lower() in SPLITS and entry.is_dir()]


def recognize(root: Path) -> "ImageFolders | None":
    """The image folders in `root`, if it holds a split's folder with a class folder in it."""
    folders = [folder for split in _splits(root) for folder in visible(split.path)]
    known = any(folder.name.lower() in NAMES and folder.is_dir() for folder in folders)
    return ImageFolders(root) if known else None


@dataclass(frozen=True)
class ImageFolders:
    """The image folders in the folder `path`."""

    path: Path
    has_usage = True

    @property
    def form(self) -> str:
        return f"image folders {', '.join(f'{split.name}/' for split in _splits(self.path))}"

    def scan(self) -> Stats:
        """All pictures. UserError if something else stands in or beside the class folders."""
        return {entry.path: entry.stat() for entry in self._pictures()}

    def labelled(self) -> int:
        """The number of pictures."""
        return len(self._pictures())

    def _pictures(self) -> list[os.DirEntry[str]]:
        pictures, faults, total = [], [], 0
        for split in _splits(self.path):
            for folder in visible(split.path):
                place = f"{split.name}/{folder.name}"
                if not folder.is_dir():
                    faults.append(f"{place}: a file beside the class folders; right: none there")
                    total += 1
                    continue
                if folder.name.lower() not in NAMES:
                    known = ", ".join(sorted(NAMES, key=lambda name: NAMES[name]))
                    faults.append(f"{place}: no known class; right: {known}")
                entries = visible(folder.path)
                faults += [f"{place}/{e.name}: no file; right: a jpg or png" for e in entries if not e.is_file()]
                total += 1 + len(entries)
                pictures += entries
        if faults:
            raise faulty(self.path, faults, total, "files and folders")
        return pictures

    def read(self) -> Faces:
        """All pictures in the order of their paths. UserError with all that are none."""
        paths = [Path(path) for path in sorted(entry.path for entry in self._pictures())]
        if not paths:
            raise UserError(f"{self.path}: no picture in its {self.form}; right: jpg or png files in class folders")
        pixels = np.empty((len(paths), SIZE, SIZE), np.uint8)
        labels, usage, names, faults = [], [], [], []
        for index, path in enumerate(paths):
            name = path.relative_to(self.path)
            try:
                with warnings.catch_warnings(action="ignore"):  # Pillow's on EXIF of a wrong length and the like
                    pixels[index] = _picture(path)
            except Exception as error:  # on damaged files, Pillow's decoders raise some ten different types
                reason = "not a jpg or png" if isinstance(error, UnidentifiedImageError) else in_a_line(str(error))
                faults.append(f"{name.as_posix()}: no picture ({reason}); right: a whole jpg or png")
            split, folder, file = name.parts
            labels.append(NAMES[folder.lower()])
            usage.append(_PREFIXES.get(file.split("_")[0], SPLITS[split.lower()]))
            names.append(name.as_posix())
        if faults:
            raise faulty(self.path, faults, len(paths), "pictures")
        return Faces(
            pixels=pixels,
            labels=np.array(labels, np.int8),
            usage=np.array(usage, np.uint8),
            rows=np.arange(len(paths)),
            digests=digest(pixels),
            names=np.array(names),
            source=str(self.path),
            form=self.form,
        )


def _picture(path: Path) -> np.ndarray:
    """uint8 (48, 48): the pixels of a gray jpg or png of that size, others converted (ITU-R 601 luma) and resampled.

    Transparency is passed over.
    """
    image = open_picture(path)
    if image.mode != "L":
        image = image.convert("L")
    if image.size != (SIZE, SIZE):
        image = image.resize((SIZE, SIZE), Image.Resampling.BICUBIC)  # antialiased where it shrinks
    return np.asarray(image)
