"""FER2013 as csv: the public file, Kaggle's train.csv and test.csv, the course's, and those that converters write.

Columns stand in any order, further ones are passed over; lines end in LF, CRLF or CR, blank ones are skipped; fields
may have quotes and spaces around; commas may be semicolons or tabs. Labels are 0 to 6 (also 0.0) or names of classes;
where a further column names the classes, it must agree with their numbers, which some count by the alphabet.

The splits are those of a column: of a known name, or whose first value is a split's name. What stands in a file that is
named after another split than Training is not trained on, whatever the column says. Without one the file's name tells.
"""

import codecs
import csv
import difflib
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from fer_lightning.data import tree
from fer_lightning.data.faces import CLASSES, NO_LABEL, SIZE, TRAINING, UNLABELLED, Faces, digest
from fer_lightning.data.faults import LABELS, SPLITS, faulty, shown
from fer_lightning.data.form import Form
from fer_lightning.data.names import class_named, class_of, usage_named, usage_of
from fer_lightning.data.tree import Node
from fer_lightning.errors import UserError

HEADERS = (
    ("emotion", "pixels", "Usage"),  # fer2013.csv; icml_face_data.csv has them as `emotion, Usage, pixels`
    ("emotion", "pixels"),  # Kaggle's train.csv
    ("pixels",),  # Kaggle's test.csv
    ("label", "feature"),  # the course's train.csv
    ("id", "feature"),  # the course's test.csv
)
_PIXELS = SIZE * SIZE
COLUMNS = {  # what a column holds, by its name; of several the first that is there
    "pixels": ("pixels", "feature", "features", "pixel"),
    "label": ("emotion", "label", "emotions", "labels"),
    "usage": ("usage", "split", "set", "subset", "partition"),
    "name": ("id",),
}
_LABELS = {f"{label}{end}".encode(): label for label in range(len(CLASSES)) for end in ("", ".0")}
_UNNAMED = re.compile(r"unnamed: \d+")  # pandas' index, which it also writes with no name at all
_DELIMITERS = (b",", b";", b"\t")
_HEADER_BYTES = 4096  # no known header comes near it
# About 30 rows, so that a block's temporary arrays stay in the CPU's cache. Seconds for 32,298 rows: 1.0 with 32 kB,
# 0.7 with 256 kB, 0.9 with 1 MB. Two threads gained nothing; np.fromstring takes 1.2 for the numbers alone.
_BLOCK_BYTES = 1 << 18
_HEAP_BYTES = 1 << 24
_LINE_BYTES = 1 << 20  # a row of FER2013 takes 9 kB; what has no line ends must not fill the memory
_NAME_CHARACTERS = 200  # likewise: an array of names takes as much for each as for the longest
_BLANK_LINES = 100  # below a header at most, or its columns are known by their names alone
_MANY_FAULTS = 1000  # a file with so many is of another kind; listing them all took minutes and gigabytes


@dataclass(frozen=True)
class Header:
    """The columns of a csv as its first line names them, and at which position each kind of content stands."""

    columns: tuple[str, ...]
    delimiter: bytes
    pixels: int
    label: int | None
    usage: int | None
    name: int | None
    words: int | None = None  # of the classes, beside labels that are numbers

    def __str__(self) -> str:
        return ",".join(column for column in self.columns if column not in self.unread)

    @property
    def unread(self) -> list[str]:
        read = (self.pixels, self.label, self.usage, self.name)
        return [column for position, column in enumerate(self.columns) if position not in read]


def header(path: Node) -> Header:
    """The header of a csv of a known form. UserError if it is none."""
    with _open(path) as file:
        line = file.readline(_HEADER_BYTES).removeprefix(codecs.BOM_UTF8).strip()
        rows = (file.readline(_LINE_BYTES) for _ in range(_BLANK_LINES))
        first = next((row for row in rows if not _is_blank(row)), b"")
    delimiter = next((each for each in _DELIMITERS if each in line), b",")
    columns = tuple(_field(column).decode("utf-8", "replace").lstrip("\ufeff") for column in line.split(delimiter))
    keys = [column.lower() for column in columns]
    at = {}
    for what, names in COLUMNS.items():
        name = next((name for name in names if name in keys), None)
        if name is not None and keys.count(name) > 1:
            raise _no_header(path, line, "a column stands there twice")
        at[what] = None if name is None else keys.index(name)
    if at["pixels"] is None:
        raise _no_header(path, line, "column pixels is missing")
    if at["label"] is None:  # images without labels; nothing beside them, which might be labels of another name
        if unknown := [
            key for key in keys if key not in (*sum(COLUMNS.values(), ()), "index") and _UNNAMED.sub("", key)
        ]:
            raise _no_header(path, line, f"column emotion is missing, and {shown(unknown[0])} is not known")
        return Header(columns, delimiter, at["pixels"], None, None, at["name"])
    found = Header(columns, delimiter, at["pixels"], at["label"], at["usage"], None)
    fields = _fields(first, found)
    others = {columns.index(name): name for name in found.unread}
    values = {position: fields[position] for position in others if position < len(fields)}
    if found.usage is None:
        for name in others.values():
            if near := difflib.get_close_matches(name.lower(), COLUMNS["usage"], 1, 0.75):
                raise _no_header(path, line, f"column {shown(name)} is not known; is it {near[0].capitalize()}?")
            if usage_of(name.lower().removeprefix("is")) is not None:
                raise _no_header(path, line, f"column {shown(name)} is not known; a column Usage tells the splits")
        found = replace(found, usage=next((each for each in values if _usage(values[each]) is not None), None))
    if at["label"] < len(fields) and fields[at["label"]] in _LABELS:
        found = replace(
            found, words=next((each for each in values if class_named(_word(values[each])) is not None), None)
        )
    return found


def _no_header(path: Node, line: bytes, why: str) -> UserError:
    known = " | ".join(",".join(known) for known in HEADERS)
    return UserError(f"{path}, line 1: {shown(line)} is no header of FER2013: {why}. Known headers: {known}")


class _Rows(NamedTuple):
    """A block's part of the arrays of `Faces`, in their order there; names are "" where the file has none."""

    pixels: np.ndarray
    labels: np.ndarray
    usage: np.ndarray
    rows: np.ndarray
    digests: np.ndarray
    names: np.ndarray | None


class Part(NamedTuple):
    """A csv. named: the split that its name tells, None where it tells none."""

    file: Node
    header: Header
    named: int | None

    def __str__(self) -> str:
        return f"{self.file.name} with {self.header}"

    @property
    def usage(self) -> int:
        """Of its rows that no column tells the split of, and of those which it says are Training."""
        if self.header.label is None:
            return UNLABELLED
        return TRAINING if self.named is None else self.named


@dataclass(frozen=True)
class CsvFiles(Form):
    """One csv, or one for each split; the training images' first."""

    path: Path
    parts: tuple[Part, ...]

    @property
    def form(self) -> str:
        if len({str(part.header) for part in self.parts}) == 1:
            return f"{' + '.join(part.file.name for part in self.parts)} with {self.parts[0].header}"
        return " + ".join(map(str, self.parts))

    @property
    def has_usage(self) -> bool:
        return len(self.parts) > 1 or self.parts[0].header.usage is not None

    @property
    def splits(self) -> list[int]:
        return [part.usage for part in self.parts if part.named is not None]

    def files(self) -> list[Node]:
        return [part.file for part in self.parts]

    def labelled(self) -> int:
        """The number of rows with a label, counted without parsing them."""
        counted = [part.file for part in self.parts if part.header.label is not None]
        return sum(not _is_blank(line) for file in counted for _, lines in _blocks(file) for line in lines)

    def read(self) -> Faces:
        """All rows, file after file. UserError with all faulty rows of a file, each with its line and columns."""
        blocks = [block for part in self.parts for block in _read(part)]
        rows = _Rows(*map(np.concatenate, zip(*blocks, strict=True)))
        unread = [f"column {shown(name)} of {part.file.name}" for part in self.parts for name in part.header.unread]
        if all(part.header.name is None for part in self.parts):
            rows = rows._replace(names=None)
        return Faces(*rows, source=str(self.path), form=self.form, left_out=", ".join(unread))


def recognize(file: Node, folder: str = "") -> CsvFiles:
    """The csv that a file is, by itself. UserError if it is of no known form.

    folder: the name of the one it stands in, where that may tell its split.
    """
    found = header(file)
    names = (file.name, folder) if found.usage is None else (file.name,)  # a whole fer2013.csv may stand in test/
    return CsvFiles(tree.file_of(file), (Part(file, found, usage_named(names)),))


@contextmanager
def _open(file: Node) -> Iterator[IO[bytes]]:
    """A csv's bytes in UTF-8, of lines that end in LF; Excel writes UTF-16, with a mark, and a Mac's CR as well."""
    with tree.reading(file) as stream:
        head = stream.read(_HEADER_BYTES)
    with tree.reading(file) as stream:
        if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            yield io.BytesIO(tree.limited(stream, file).decode("utf-16", "replace").encode())
        elif b"\r" in head and b"\n" not in head:
            yield io.BytesIO(tree.limited(stream, file).replace(b"\r", b"\n"))
        else:
            yield stream


def _blocks(path: Node) -> Iterator[tuple[int, list[bytes]]]:
    """The lines below the header, some at once, and the line number of the first of these."""
    first = 2
    with _open(path) as file:
        file.readline(_HEADER_BYTES)
        while block := file.read(_BLOCK_BYTES):
            rest = file.readline(_LINE_BYTES)
            if len(rest) == _LINE_BYTES and not rest.endswith(b"\n"):
                line = first + block.count(b"\n")
                raise UserError(f"{path}, line {line}: longer than {_LINE_BYTES:,} bytes; right: a line for each image")
            lines = io.BytesIO(block + rest).readlines()
            yield first, lines
            first += len(lines)


def _read(part: Part) -> list[_Rows]:
    """All rows of one file, block after block."""
    path, header = part.file, part.header
    blocks: list[_Rows] = []
    faults: list[str] = []
    # glibc gives freed arrays of a block's size back to the kernel, which maps them anew for every block (the first
    # reading took 1.7 s, not 0.8), until it has once seen a larger one freed.
    np.empty(_HEAP_BYTES, np.uint8)
    total, unit = 0, "rows"
    for first, lines in _blocks(path):
        records = [_fields(line, header) for line in lines if not _is_blank(line)]
        rows = _parse(records, part, total) if records else None
        total += len(records)
        if rows:
            blocks.append(rows)
        else:
            faults += _faults(lines, first, header)
        if len(faults) >= _MANY_FAULTS:
            unit = "rows (it was not read further)"
            break
    if faults:
        raise faulty(path, faults, total, unit)
    if not total:
        raise UserError(f"{path}, line 1: only a header ({header}); right: below it one line per image")
    return blocks


def _is_blank(line: bytes) -> bool:
    """Whether a line has nothing in its fields, as sheets end that were cleared."""
    return not line.strip(b' \t\r\n\v\f",;')


def _fields(line: bytes, header: Header) -> list[bytes]:
    fields = line.split(header.delimiter)
    if len(fields) > len(header.columns) and b'"' in line:  # such a name of a label as "sad, a little"
        try:
            text = csv.reader([line.decode("latin-1")], delimiter=header.delimiter.decode(), strict=True)
            fields = [field.encode("latin-1") for field in next(text)]
        except csv.Error:
            pass
    return [_field(field) for field in fields]


def _field(text: bytes) -> bytes:
    """A field without its quotes and the spaces around it."""
    text = text.strip()
    if len(text) > 1 and text[:1] == b'"' == text[-1:]:
        return text[1:-1].strip()
    return text


def _parse(records: list[list[bytes]], part: Part, first: int) -> _Rows | None:
    """The fields of some rows as arrays, `first` being the data row of the first one; None if anything is wrong."""
    header = part.header
    if any(len(fields) != len(header.columns) for fields in records):
        return None
    labels = [NO_LABEL if header.label is None else _label(fields[header.label]) for fields in records]
    told = (TRAINING if header.usage is None else _usage(fields[header.usage]) for fields in records)
    usage = [part.usage if code == TRAINING else code for code in told]
    names = ["" if header.name is None else _name(fields[header.name]) for fields in records]
    pixels = _parse_pixels([fields[header.pixels] for fields in records])
    if pixels is None or None in labels or None in usage or None in names:
        return None
    if header.words is not None and any(_other_class(fields, header) for fields in records):
        return None
    return _Rows(
        pixels,
        np.array(labels, np.int8),
        np.array(usage, np.uint8),
        np.arange(first, first + len(records)),
        digest(pixels),
        np.array(names),
    )


def _label(text: bytes) -> int | None:
    """A class by its number in fer2013.csv or by its name; None if it is none."""
    if (label := _LABELS.get(text)) is not None:
        return label
    return None if text[:1].isdigit() else class_of(_word(text))


def _other_class(fields: list[bytes], header: Header) -> bool:
    """Whether the column of classes' names names another one than the label does."""
    if header.words is None or header.label is None:
        return False
    named, label = class_named(_word(fields[header.words])), _label(fields[header.label])
    return None not in (named, label) and named != label


def _usage(text: bytes) -> int | None:
    return usage_of(_word(text))


def _word(text: bytes) -> str:
    """A field's short text; "" where it is none."""
    word = text[:_NAME_CHARACTERS].decode("utf-8", "replace")
    return word if word.isprintable() else ""


def _name(text: bytes) -> str | None:
    """An image's id, None if it is none."""
    name = text.decode("utf-8", "replace")
    is_name = 0 < len(name) <= _NAME_CHARACTERS and name.isprintable() and not {'"', "\ufffd"} & set(name)
    return name if is_name else None


def _parse_pixels(texts: list[bytes]) -> np.ndarray | None:
    """uint8 (N, 48, 48) from N texts of 2,304 numbers 0-255 in 1-3 digits between spaces; None if any is not so.

    All bytes at once: each number is computed at its last digit, from that and the two bytes to its left.
    """
    text = np.frombuffer(b" ".join(texts), np.uint8)
    digit = text >= ord("0")
    if text.max(initial=0) > ord("9") or np.count_nonzero(text == ord(" ")) + np.count_nonzero(digit) != len(text):
        return None
    two = digit[:-1] & digit[1:]
    if (two[:-2] & two[2:]).any():  # four digits in a row
        return None
    last = np.flatnonzero(np.append(digit[:-1] > digit[1:], digit[-1:]))  # where a digit is followed by none
    row_ends = np.cumsum([len(row) + 1 for row in texts]) - 2
    if len(last) != len(texts) * _PIXELS or (last[_PIXELS - 1 :: _PIXELS] != row_ends).any():
        return None
    values = text & 15  # the value of a digit, and 0 for a space
    numbers = values.astype(np.uint16)
    numbers[1:] += values[:-1] * np.uint8(10)
    numbers[2:] += values[:-2] * digit[1:-1] * np.uint16(100)
    numbers = numbers.take(last)
    if numbers.max() > 255:
        return None
    return numbers.astype(np.uint8).reshape(-1, SIZE, SIZE)


def _faults(lines: list[bytes], first: int, header: Header) -> list[str]:
    """What is wrong with some lines, of which the first has the number `first`: one string for each faulty one."""
    faults = []
    for number, line in enumerate(lines, first):
        if wrong := [] if _is_blank(line) else _row_faults(_fields(line, header), header):
            cut = "" if line.endswith(b"\n") else " (the last line, which does not end: is the file cut off?)"
            faults.append(f"line {number}, {'; '.join(wrong)}{cut}")
    return faults


def _row_faults(fields: list[bytes], header: Header) -> list[str]:
    if len(fields) > len(header.columns):
        return [f"{len(fields)} fields; right: the {len(header.columns)} columns {header}"]
    missing = header.columns[len(fields) :]
    faults = [f"column {column}: missing; right: the columns {header}" for column in missing]
    for position, (column, field) in enumerate(zip(header.columns, fields, strict=False)):
        if position == header.pixels:
            fault = _pixels_fault(field) if _parse_pixels([field]) is None else None
        elif position == header.label and _label(field) is None:
            fault = f"{shown(field)}; right: {LABELS}"
        elif position == header.usage and _usage(field) is None:
            fault = f"{shown(field)}; right: {SPLITS}"
        elif position == header.words and not faults and _other_class(fields, header):
            label = _word(fields[header.label or 0])
            fault = f"{shown(field)}, but {header.columns[header.label or 0]} is {label}; right: {LABELS}"
        elif position == header.name and _name(field) is None:
            known = f"the id of the image, 1 to {_NAME_CHARACTERS} printable characters of UTF-8, no quote"
            fault = f"{shown(field) if field else 'empty'}; right: {known}"
        else:
            fault = None
        if fault:
            faults.append(f"column {column}: {fault}")
    return faults


def _pixels_fault(text: bytes) -> str:
    values = text.split()
    for position, value in enumerate(values, 1):
        if not (value.isdigit() and len(value) <= 3 and int(value) <= 255):
            return f"value {position:,} is {shown(value)}; right: a whole number from 0 to 255"
    if len(values) != _PIXELS:
        return f"{len(values):,} values; right: {_PIXELS:,} (48×48)"
    return "values not separated by spaces; right: spaces"
