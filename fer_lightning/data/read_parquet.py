"""FER2013 as parquet: images and labels as Hugging Face keeps them, or the columns of fer2013.csv. Needs pyarrow."""

import importlib.util
import io
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_lightning.data import tree
from fer_lightning.data.faces import CLASSES, NO_LABEL, SIZE, TRAINING, UNLABELLED, Faces, digest
from fer_lightning.data.faults import LABELS, LISTED, SPLITS, faulty, in_a_line, shown
from fer_lightning.data.form import Form
from fer_lightning.data.names import class_named, class_of, usage_named, usage_of
from fer_lightning.data.picture import as_face
from fer_lightning.data.read_csv import COLUMNS
from fer_lightning.data.tree import Node
from fer_lightning.errors import UserError

MAGIC = b"PAR1"
_IMAGES = ("image", "img", "images", *COLUMNS["pixels"])
_COMMAS = re.compile(r"[\[\],]")


@dataclass(frozen=True)
class Parquet(Form):
    """Parquet files in the folder `path`, or one. parts: each with the split that its name tells.

    Splits and names of classes in its columns are taken as those of a csv are, see read_csv.py.
    """

    path: Path
    parts: tuple[tuple[Node, int | None], ...]

    @property
    def splits(self) -> list[int]:
        return [usage for _, usage in self.parts if usage is not None]

    @property
    def form(self) -> str:
        schemas = [_read(file, "read_schema") for file, _ in self.parts]
        numbered = any(_columns("", each)[1] and _class_names(each) is None for each in schemas)
        numbers = ", labels as fer2013.csv numbers them" if numbered else ""
        return f"parquet {', '.join(file.name for file, _ in self.parts)}{numbers}"

    def files(self) -> list[Node]:
        return [file for file, _ in self.parts]

    def labelled(self) -> int:
        return sum(_read(file, "read_metadata").num_rows for file, usage in self.parts if usage != UNLABELLED)

    def read(self) -> Faces:
        """All rows, file after file. UserError with what is wrong in a file, by row from 0."""
        blocks = [_faces(file, TRAINING if usage is None else usage) for file, usage in self.parts]
        pixels, labels, usage, rows = (np.concatenate(each) for each in zip(*blocks, strict=True))
        return Faces(pixels, labels, usage, rows, digest(pixels), None, str(self.path), self.form)


def recognize(file: Node, folder: str = "") -> Parquet:
    """The parquet that a file is, by itself. UserError where it has no images and labels, or pyarrow is missing."""
    if importlib.util.find_spec("pyarrow") is None:
        raise UserError(f"{file}: parquet needs a package: pip install 'fer_lightning[parquet]'")
    _, label, usage = _columns(file, _read(file, "read_schema"))
    named = usage_named((file.name, folder) if usage is None else (file.name,))
    return Parquet(tree.file_of(file), ((file, named if label else UNLABELLED),))


def _read(file: Node, how: str = "read_table") -> Any:
    """What one of pyarrow's readers says of a file."""
    import pyarrow.parquet as parquet

    with tree.reading(file, tree.LARGEST) as opened:
        try:
            return getattr(parquet, how)(opened)
        except Exception as error:  # on damaged files, pyarrow raises many types
            raise UserError(f"{file}: a damaged parquet ({in_a_line(error)}); right: a whole one") from error


def _columns(file: object, schema: Any) -> tuple[str, str | None, str | None]:
    """The names of the columns of images, labels and usages. None for labels where nothing else could be them."""
    by_name = {name.lower(): name for name in schema.names}
    image, label, usage = (
        next((by_name[name] for name in names if name in by_name), None)
        for names in (_IMAGES, COLUMNS["label"], COLUMNS["usage"])
    )
    if image is None or (label is None and not set(by_name) <= {image.lower(), "id", "index", "__index_level_0__"}):
        raise UserError(
            f"{file}: the columns {', '.join(schema.names)}; right: image or pixels, label or emotion, perhaps Usage"
        )
    return image, label, usage


def _faces(file: Node, named: int) -> tuple[np.ndarray, ...]:
    """Pixels, labels, usages and rows of a file that is named after a split."""
    table = _read(file)
    count = table.num_rows
    if not count:
        raise UserError(f"{file}: no rows; right: one for each image")
    image, label, split = _columns(file, table.schema)
    labels = table[label].to_pylist() if label else [None] * count
    first = {name: table[name][0].as_py() for name in table.column_names if name not in (image, label)}
    texts = {name: value for name, value in first.items() if isinstance(value, str)}
    split = split or next((name for name in texts if label and usage_of(texts[name]) is not None), None)
    words = next((name for name in texts if class_named(texts[name]) is not None), None)
    label_of = _named_labels(file, table.schema) if label else lambda _: NO_LABEL
    pixels = np.empty((count, SIZE, SIZE), np.uint8)
    codes = np.empty(count, np.int8)
    usages = np.full(count, named, np.uint8)
    faults = []
    images = (value for chunk in table[image].chunks for value in chunk)  # one at a time: the bytes of all are many
    splits, classes = (table[name].to_pylist() if name else [None] * count for name in (split, words))
    for row, (value, given, told, word) in enumerate(zip(images, labels, splits, classes, strict=True)):
        try:
            pixels[row] = _image(value.as_py())
        except Exception as error:  # on damaged pictures, Pillow's decoders raise some ten types
            faults.append(f"row {row}, column {image}: {in_a_line(error)}")
        if (found := label_of(given)) is None:
            faults.append(f"row {row}, column {label}: {shown(str(given))}; right: {LABELS}")
        else:
            codes[row] = found
            if class_named(str(word)) not in (None, found):
                faults.append(f"row {row}, column {words}: {shown(str(word))}, but {label} is {given}; right: {LABELS}")
        if split is not None:
            if (found := usage_of(str(told))) is None:
                faults.append(f"row {row}, column {split}: {shown(str(told))}; right: {SPLITS}")
            elif found != TRAINING:
                usages[row] = found
        if len(faults) > 100 * LISTED:
            break
    if faults:
        raise faulty(tree.file_of(file), faults, count, "rows")
    return pixels, codes, usages, np.arange(count)


def _class_names(schema: Any) -> list[Any] | None:
    """What Hugging Face keeps beside a column's numbers, if it does."""
    column = _columns("", schema)[1]
    try:
        kept = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        return kept.get("info", {}).get("features", {}).get(column, {}).get("names")
    except (ValueError, AttributeError):  # damaged
        return []


def _named_labels(file: Node, schema: Any) -> Any:
    """What gives a label's class: by the names that Hugging Face keeps beside its numbers, or as fer2013.csv counts."""
    names = _class_names(schema)
    classes = list(range(len(CLASSES))) if names is None else [class_of(str(name)) for name in names]
    if None in classes or not classes:
        raise UserError(
            f"{file}: its classes are {', '.join(map(str, names or ['not told']))}; right: {', '.join(CLASSES)}"
        )

    def label_of(value: Any) -> int | None:
        if isinstance(value, bool):
            return None
        if isinstance(value, str) and not value.strip().isdigit():
            return class_of(value)
        try:
            number = int(value)
        except (TypeError, ValueError, OverflowError):  # of infinity
            return None
        return classes[number] if number == float(value) and 0 <= number < len(classes) else None

    return label_of


def _image(value: Any) -> np.ndarray:
    """uint8 (48, 48) of an encoded picture, a text of numbers or the numbers."""
    if isinstance(value, dict):
        value = value.get("bytes")
    if isinstance(value, bytes):
        return as_face(io.BytesIO(value))
    if isinstance(value, str):
        value = [int(number) for number in _COMMAS.sub(" ", value).split()]
    numbers = np.array(value)
    if numbers.dtype.kind not in "iu" or numbers.size != SIZE * SIZE:
        raise ValueError("no picture; right: the bytes of one, or 2,304 whole numbers")
    if numbers.min() < 0 or numbers.max() > 255:
        raise ValueError("values beyond 0 to 255")
    return numbers.astype(np.uint8).reshape(SIZE, SIZE)
