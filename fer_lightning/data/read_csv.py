"""FER2013 as csv: the public file, Kaggle's train.csv and test.csv, and the course's.

Columns stand in any order; lines end in LF or CRLF, blank ones are skipped; fields may have quotes and spaces around.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fer_lightning.data.cache import Stats
from fer_lightning.data.faces import CLASSES, NO_LABEL, SIZE, TRAINING, UNLABELLED, USAGES, Faces, digest
from fer_lightning.data.faults import LABELS, faulty, shown
from fer_lightning.errors import UserError

HEADERS = (
    ("emotion", "pixels", "Usage"),  # fer2013.csv; icml_face_data.csv has them as `emotion, Usage, pixels`
    ("emotion", "pixels"),  # Kaggle's train.csv
    ("pixels",),  # Kaggle's test.csv
    ("label", "feature"),  # the course's train.csv
    ("id", "feature"),  # the course's test.csv
)
_PIXELS = SIZE * SIZE
_LABELS = {str(label).encode(): label for label in range(len(CLASSES))}
_USAGES = {usage.encode(): code for code, usage in enumerate(USAGES) if code != UNLABELLED}
_HEADER_BYTES = 4096  # no known header comes near it
# About 30 rows, so that a block's temporary arrays stay in the CPU's cache. Seconds for 32,298 rows: 1.0 with 32 kB,
# 0.7 with 256 kB, 0.9 with 1 MB. Two threads gained nothing; np.fromstring takes 1.2 for the numbers alone.
_BLOCK_BYTES = 1 << 18
_HEAP_BYTES = 1 << 24
_LINE_BYTES = 1 << 20  # a row of FER2013 takes 9 kB; what has no line ends must not fill the memory
_NAME_CHARACTERS = 200  # likewise: an array of names takes as much for each as for the longest
_MANY_FAULTS = 1000  # a file with so many is of another kind; listing them all took minutes and gigabytes


@dataclass(frozen=True)
class Header:
    """The columns of a csv as its first line names them, and at which position each kind of content stands."""

    columns: tuple[str, ...]
    pixels: int
    label: int | None
    usage: int | None
    name: int | None

    def __str__(self) -> str:
        return ",".join(self.columns)


def header(path: Path) -> Header:
    """The header of a csv of a known form. UserError if it is none."""
    with open(path, "rb") as file:
        line = file.readline(_HEADER_BYTES).removeprefix(b"\xef\xbb\xbf").strip()
    columns = [_field(column).decode("utf-8", "replace") for column in line.split(b",")]
    keys = [column.lower() for column in columns]
    for known in HEADERS:
        if sorted(keys) == sorted(name.lower() for name in known):
            at = {key: position for position, key in enumerate(keys)}
            pixels = at["pixels"] if "pixels" in at else at["feature"]
            return Header(tuple(columns), pixels, at.get("emotion", at.get("label")), at.get("usage"), at.get("id"))
    raise UserError(
        f"{path}, line 1: {shown(line)} is no header of FER2013: {_difference(keys)}. "
        f"Known headers: {' | '.join(','.join(known) for known in HEADERS)}"
    )


def _difference(keys: list[str]) -> str:
    """What separates the columns `keys` from the known header that is most like them."""
    nearest = min(HEADERS, key=lambda known: len({name.lower() for name in known} ^ set(keys)))
    missing = [name for name in nearest if name.lower() not in keys]
    unknown = [key for key in keys if key not in {name.lower() for name in nearest}]
    if missing:
        return f"column {', '.join(missing)} is missing"
    if unknown:
        return f"column {shown(', '.join(unknown))} is not one of its columns"
    return "a column stands there twice"


class _Rows(NamedTuple):
    """A block's part of the arrays of `Faces`; names are "" where the file has none."""

    pixels: np.ndarray
    labels: np.ndarray
    usage: np.ndarray
    rows: np.ndarray
    digests: np.ndarray
    names: np.ndarray


@dataclass(frozen=True)
class CsvFiles:
    """One csv, or a train.csv with its test.csv, in that order."""

    files: tuple[Path, ...]
    headers: tuple[Header, ...]

    @property
    def path(self) -> Path:
        return self.files[0]

    @property
    def form(self) -> str:
        return " + ".join(f"{path.name} with {header}" for path, header in zip(self.files, self.headers, strict=True))

    @property
    def has_usage(self) -> bool:
        return self.headers[0].usage is not None

    def scan(self) -> Stats:
        return {str(path): os.stat(path) for path in self.files}

    def labelled(self) -> int:
        """The number of rows with a label, counted without parsing them."""
        if self.headers[0].label is None:
            return 0
        return sum(not line.isspace() for _, lines in _blocks(self.path) for line in lines)

    def read(self) -> Faces:
        """All rows, file after file. UserError with all faulty rows of a file, each with its line and columns."""
        blocks = [block for file in zip(self.files, self.headers, strict=True) for block in _read(*file)]
        rows = _Rows(*map(np.concatenate, zip(*blocks, strict=True)))
        return Faces(
            pixels=rows.pixels,
            labels=rows.labels,
            usage=rows.usage,
            rows=rows.rows,
            digests=rows.digests,
            names=rows.names if any(header.name is not None for header in self.headers) else None,
            source=str(self.path),
            form=self.form,
        )


def _blocks(path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """The lines below the header, some at once, and the line number of the first of these."""
    first = 2
    with open(path, "rb") as file:
        file.readline(_HEADER_BYTES)
        while block := file.read(_BLOCK_BYTES):
            rest = file.readline(_LINE_BYTES)
            if len(rest) == _LINE_BYTES and not rest.endswith(b"\n"):
                line = first + block.count(b"\n")
                raise UserError(f"{path}, line {line}: longer than {_LINE_BYTES:,} bytes; right: a line for each image")
            lines = io.BytesIO(block + rest).readlines()
            yield first, lines
            first += len(lines)


def _read(path: Path, header: Header) -> list[_Rows]:
    """All rows of one file, block after block."""
    blocks: list[_Rows] = []
    faults: list[str] = []
    # glibc gives freed arrays of a block's size back to the kernel, which maps them anew for every block (the first
    # reading took 1.7 s, not 0.8), until it has once seen a larger one freed.
    np.empty(_HEAP_BYTES, np.uint8)
    total, unit = 0, "rows"
    for first, lines in _blocks(path):
        records = [_fields(line) for line in lines if not line.isspace()]
        rows = _parse(records, header, total) if records else None
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


def _fields(line: bytes) -> list[bytes]:
    return [_field(field) for field in line.split(b",")]


def _field(text: bytes) -> bytes:
    """A field without its quotes and the spaces around it."""
    text = text.strip()
    if len(text) > 1 and text[:1] == b'"' == text[-1:]:
        return text[1:-1].strip()
    return text


def _parse(records: list[list[bytes]], header: Header, first: int) -> _Rows | None:
    """The fields of some rows as arrays, `first` being the data row of the first one; None if anything is wrong."""
    if any(len(fields) != len(header.columns) for fields in records):
        return None
    labels = [NO_LABEL if header.label is None else _LABELS.get(fields[header.label]) for fields in records]
    default = UNLABELLED if header.label is None else TRAINING
    usage = [default if header.usage is None else _USAGES.get(fields[header.usage]) for fields in records]
    names = ["" if header.name is None else _name(fields[header.name]) for fields in records]
    pixels = _parse_pixels([fields[header.pixels] for fields in records])
    if pixels is None or None in labels or None in usage or None in names:
        return None
    return _Rows(
        pixels,
        np.array(labels, np.int8),
        np.array(usage, np.uint8),
        np.arange(first, first + len(records)),
        digest(pixels),
        np.array(names),
    )


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
        if wrong := [] if line.isspace() else _row_faults(_fields(line), header):
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
        elif position == header.label and field not in _LABELS:
            fault = f"{shown(field)}; right: {LABELS}"
        elif position == header.usage and field not in _USAGES:
            fault = f"{shown(field)}; right: {', '.join(usage.decode() for usage in _USAGES)}"
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
