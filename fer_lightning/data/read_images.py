"""FER2013 as image folders: train/<class>/* and test/<class>/*, or <class>/* alone, pictures of any size.

A name that begins PublicTest_ or PrivateTest_ gives an image's usage. Without it the folder does, see `names.usage_of`,
so that what was moved from train/ to val/ is not trained on; class folders alone are Training, unless their own folder
is named after another split. Pictures that stand in a test folder without class folders are unlabelled.

Hidden files and those of systems are passed over, other files that are no pictures are named as left out.
"""

import errno
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import UnidentifiedImageError

from fer_lightning.data import tree
from fer_lightning.data.faces import NO_LABEL, PRIVATE, PUBLIC, TRAINING, UNLABELLED, USAGES, Faces, digest
from fer_lightning.data.faults import faulty, in_a_line
from fer_lightning.data.form import Form
from fer_lightning.data.names import class_of, is_number, usage_named, usage_of
from fer_lightning.data.picture import MOST_BYTES, SUFFIXES, as_face, fault
from fer_lightning.data.tree import Node, ending, listed
from fer_lightning.errors import UserError

_PREFIXES = {USAGES[code].lower(): code for code in (PUBLIC, PRIVATE)}
_KNOWN = "angry, disgust, fear, happy, sad, surprise, neutral, or 0 to 6 as in fer2013.csv"
_NAMED = 3  # files that are left out, in a message
_WRAPPED = 3  # folders around a split's class folders at most


class Split(NamedTuple):
    """A folder of class folders, or of pictures without a class. usage: of images whose names give none."""

    folder: Node
    usage: int


class _File(NamedTuple):
    node: Node
    usage: int
    label: int  # NO_LABEL where it has none


@dataclass(frozen=True)
class ImageFolders(Form):
    """The image folders in the folder, or archive, `path`. others: folders of classes there that are of no split."""

    path: Path
    parts: tuple[Split, ...]
    others: tuple[str, ...] = ()

    @property
    def splits(self) -> list[int]:
        return [split.usage for split in self.parts]

    @property
    def form(self) -> str:
        names = [self._name(split.folder) for split in self.parts]
        numbered = any(is_number(each.name) for split in self.parts for each in _classes(split.folder))
        numbers = ", classes 0 to 6 as in fer2013.csv" if numbered else ""
        return f"image folders {', '.join(f'{name}/' for name in names if name) or '<class>/'}{numbers}"

    def files(self) -> list[Node]:
        """All files. UserError if something else stands in or beside the class folders."""
        return [file.node for file in self._files()[0]]

    def labelled(self) -> int:
        """The number of files in class folders, but for those that end like no picture."""
        ends = (*SUFFIXES, "")
        return sum(file.label != NO_LABEL and ending(file.node) in ends for file in self._files()[0])

    def _name(self, node: Node) -> str:
        """A file or folder as a path below this one's."""
        return str(node)[len(str(self.path)) :].replace(os.sep, "/").strip("/")

    def _files(self) -> tuple[list[_File], list[str]]:
        """What must be pictures, in the order of their paths, and the files beside class folders that are none."""
        files: list[_File] = []
        left_out: list[str] = []
        faults: list[str] = []
        numbers: set[str | None] = set()
        total = 0
        for split in self.parts:
            folders, beside, others = listed(split.folder)
            if split.usage == PRIVATE and not folders:
                files += [_File(entry, UNLABELLED, NO_LABEL) for entry in beside]
                continue
            left_out += [self._name(entry) for entry in beside if ending(entry) not in SUFFIXES]
            strange = [*(entry for entry in beside if ending(entry) in SUFFIXES), *others]
            faults += [f"{self._name(each)}: a file beside the class folders; right: none there" for each in strange]
            total += len(strange)
            numbers.update(is_number(folder.name) for folder in folders)
            for folder in folders:
                if (label := class_of(folder.name)) is None:
                    faults.append(f"{self._name(folder)}: no known class; right: {_KNOWN}")
                    label = NO_LABEL
                inside, pictures, others = listed(folder)
                faults += [f"{self._name(each)}: no file; right: a picture" for each in (*inside, *others)]
                total += 1 + len(inside) + len(pictures) + len(others)
                files += [_File(picture, split.usage, label) for picture in pictures]
        if "0" not in numbers and {"1", "6"} <= numbers:
            faults.append("class folders 1 to 6 without 0: are they counted from 1? right: names, or 0 to 6")
        if faults:
            raise faulty(self.path, faults, total, "files and folders")
        return sorted(files, key=lambda file: str(file.node)), left_out

    def read(self) -> Faces:
        """All pictures in the order of their paths. UserError with all that are none."""
        files, left_out = self._files()
        images, labels, usage, names, faults = [], [], [], [], []
        for file in files:
            name = self._name(file.node)
            try:
                with tree.reading(file.node, MOST_BYTES + 1) as opened:
                    images.append(as_face(opened))
            except Exception as error:  # see `open_picture`
                unknown = isinstance(error, UnidentifiedImageError)
                if unknown and ending(file.node) not in (*SUFFIXES, ""):
                    left_out.append(name)
                else:
                    faults.append(f"{name}: {fault(error)}")
                continue
            named = _PREFIXES.get(file.node.name.partition("_")[0].lower(), TRAINING)
            labels.append(file.label)
            usage.append(file.usage if file.usage == UNLABELLED or named == TRAINING else named)
            names.append(name)
        if faults:
            raise faulty(self.path, faults, len(files) - len(left_out), "pictures")
        if not images:
            raise UserError(f"{self.path}: no picture in its {self.form}; right: pictures in class folders")
        pixels = np.stack(images)
        more = f" and {len(left_out) - _NAMED:,} more" if len(left_out) > _NAMED else ""
        kept = f"{', '.join(left_out[:_NAMED])}{more} (no pictures)" if left_out else ""
        return Faces(
            pixels=pixels,
            labels=np.array(labels, np.int8),
            usage=np.array(usage, np.uint8),
            rows=np.arange(len(images)),
            digests=digest(pixels),
            names=np.array(names),
            source=str(self.path),
            form=self.form,
            left_out=kept,
        )


def recognize(folder: Node, name: str = "") -> ImageFolders | None:
    """The image folders in a folder: of splits, or else of classes. UserError where there are pictures, but no classes.

    name: of a folder around it that tells a split.
    """
    path = tree.file_of(folder)
    folders, _, others = listed(folder)
    splits = [Split(_unwrapped(each), usage) for each in folders if (usage := usage_of(each.name)) is not None]
    if any(_classes(split.folder) for split in splits):
        if missed := [each for each in others if usage_of(each.name) is not None]:
            raise FileNotFoundError(
                errno.ENOENT, "neither a folder nor a file, but perhaps a link to none", str(missed[0])
            )
        beside = tuple(each.name for each in folders if usage_of(each.name) is None and _holds_classes(each))
        return ImageFolders(path, tuple(split for split in splits if any(listed(split.folder))), beside)
    classes = _classes(folder)
    if len(classes) > 1 and len(classes) > len(folders) / 2:
        usage = usage_named((folder.name, name))
        return ImageFolders(path, (Split(folder, TRAINING if usage is None else usage),))
    for split in splits:
        inside = listed(split.folder)
        if inside.folders or any(ending(file) in SUFFIXES for file in inside.files):
            names = ", ".join([f"{each.name}/" for each in inside.folders] or ["pictures"])
            raise UserError(f"{split.folder} holds no class folders, but {in_a_line(names)}; right: {_KNOWN}")
    return None


def _unwrapped(folder: Node) -> Node:
    """A folder, or the only one in it, and so on, that holds class folders; or pictures, if it has a split's name."""
    inner = folder
    for _ in range(_WRAPPED):
        inside = listed(inner)
        if len(inside.folders) != 1 or inside.files:
            break
        inner = inside.folders[0]
        if _classes(inner) or (usage_of(inner.name) is not None and listed(inner).files):
            return inner
    return folder


def _holds_classes(folder: Node) -> bool:
    """Whether a folder that is of no split is one of a class, or holds some."""
    with suppress(OSError):  # one that may not be read
        return class_of(folder.name) is not None or len(_classes(_unwrapped(folder))) > 1
    return False


def _classes(folder: Node) -> list[Node]:
    return [each for each in listed(folder).folders if class_of(each.name) is not None]
