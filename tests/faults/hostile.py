"""Bad input by the hundred: FER2013 and checkpoints as no program of ours writes them, and how reading them may end."""

import bz2
import csv
import gzip
import io
import re
import signal
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from commands import ALL
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from PIL import Image
from pillow_heif import register_heif_opener

from fer_lightning.data import cache, fer2013
from fer_lightning.data.faces import USAGES, Faces
from fer_lightning.errors import UserError

SECONDS = 10  # by which reading a small input has ended

Spoil = Callable[[bytes], bytes]
Rows = list[tuple[int, list[int], str]]  # label, pixels, usage


def examples(count: int) -> settings:
    """So many generated cases, the same ones each time; thirty times as many with FAULTS=all."""
    return settings(
        max_examples=30 * count if ALL else count,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


class Hang(BaseException):
    """No Exception, which a reader might take for a damaged file's."""


@contextmanager
def in_time() -> Iterator[None]:
    def ring(*_: object) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def outcome(path: Path, read: Callable[[Path], object] = fer2013.load) -> object:
    """What `path` holds, or None where it is refused: in time, in one message, with nothing of it in the cache."""
    entries = set(cache.folder().glob("*/*"))
    with in_time():
        try:
            return read(path)
        except UserError as error:
            said = str(error)
    assert said
    assert len(said) < 10_000
    assert set(cache.folder().glob("*/*")) == entries
    return None


def flips(content: bytes, most: int = 3) -> st.SearchStrategy[bytes]:
    """`content` with some bytes changed, added or taken away: anywhere, or where a file says what it holds."""

    def change(drawn: list[tuple[str, int, bytes]]) -> bytes:
        changed = bytearray(content)
        for kind, at, new in drawn:
            if kind == "change":
                changed[at : at + len(new)] = new
            elif kind == "insert":
                changed[at:at] = new
            elif kind == "cut":
                del changed[at:]
            else:
                del changed[at : at + len(new)]
        return bytes(changed)

    size = len(content)
    place = st.one_of(*(st.integers(low, size - 1) for low in (0, max(0, size - 300))), st.integers(0, min(size, 300)))
    kinds = st.sampled_from(["change", "change", "insert", "cut", "remove"])
    return st.lists(st.tuples(kinds, place, st.binary(min_size=1, max_size=4)), min_size=1, max_size=most).map(change)


# csv

DRAWN = np.random.default_rng(0).integers(0, 256, (3, 48, 48)).astype(np.uint8)
DRAWN[0, 0, :3] = 0, 255, 7
USED = USAGES[:3]


def as_text(image: np.ndarray) -> str:
    return " ".join(map(str, image.ravel().tolist()))


def sheet(header: str, row: str, usages: bool = False) -> tuple[bytes, Rows]:
    """A csv of three faces and what it says."""
    lines = [row.format(i=i, pixels=as_text(DRAWN[i]), usage=USED[i]) for i in range(3)]
    labelled = "{i}," in row and not header.startswith("id")
    rows = [(i if labelled else -1, DRAWN[i].ravel().tolist(), USED[i] if usages else None) for i in range(3)]
    usual = "Training" if labelled else "Unlabelled"
    return "\n".join([header, *lines, ""]).encode(), [(label, pixels, u or usual) for label, pixels, u in rows]


SHEETS = {
    "fer2013": sheet("emotion,pixels,Usage", "{i},{pixels},{usage}", usages=True),
    "icml": sheet("emotion, Usage, pixels", "{i}, {usage}, {pixels}", usages=True),
    "kaggle": sheet("emotion,pixels", "{i},{pixels}"),
    "pixels": sheet("pixels", "{pixels}"),
    "course": sheet("label,feature", "{i},{pixels}"),
    "course's test": sheet("id,feature", "{i},{pixels}"),
}


def rows_of(faces: Faces) -> Rows:
    labels, pixels = faces.labels.tolist(), faces.pixels.reshape(-1, 48 * 48).tolist()
    return [(label, row, USAGES[code]) for label, row, code in zip(labels, pixels, faces.usage, strict=True)]


def plainly_read(content: bytes) -> Rows | None:
    """The same with Python's csv and int; None where it is not FER2013."""
    try:
        table = list(csv.reader(io.StringIO(content.removeprefix(b"\xef\xbb\xbf").decode("latin-1"))))
    except csv.Error:
        return None
    table = [[field.strip() for field in record] for record in table if any(field.strip() for field in record)]
    header = [name.lower() for name in table[0]] if table else []
    rows: Rows = []
    for record in table[1:]:
        if len(record) != len(header):
            return None
        by_name = dict(zip(header, record, strict=True))
        label = by_name.get("emotion", by_name.get("label"))
        values = [value for value in (by_name.get("pixels") or by_name.get("feature", "")).split(" ") if value]
        usage = by_name.get("usage", "Unlabelled" if label is None else "Training")
        known = len(values) == 48 * 48 and all(re.fullmatch("[0-9]{1,3}", v) and int(v) < 256 for v in values)
        if not known or (label is not None and label not in list("0123456")):
            return None
        if usage not in USED and "usage" in by_name:
            return None
        rows.append((-1 if label is None else int(label), [int(value) for value in values], usage))
    return rows or None


def each_line(change: Callable[[bytes], bytes]) -> Spoil:
    return lambda content: b"\n".join(change(line) if line else line for line in content.split(b"\n"))


def rows_below(change: Callable[[bytes], bytes]) -> Spoil:
    """Changes the second row."""

    def spoil(content: bytes) -> bytes:
        lines = content.split(b"\n")
        lines[2] = change(lines[2])
        return b"\n".join(lines)

    return spoil


def value(new: bytes) -> Spoil:
    """Puts `new` in the place of a pixel of the second row."""
    return rows_below(lambda line: re.sub(rb"(?<= )\d+ (\d+)(?= )", lambda _: new + b" 1", line, count=1))


READ: dict[str, Spoil] = {
    "as it is": lambda content: content,
    "BOM": lambda content: b"\xef\xbb\xbf" + content,
    "CRLF": lambda content: content.replace(b"\n", b"\r\n"),
    "CR CR LF": lambda content: content.replace(b"\n", b"\r\r\n"),
    "no end of line at the end": lambda content: content[:-1],
    "rows of empty fields": lambda content: content.replace(b"\n", b'\n,,\r\n,"" ,\n') + b",,\n",
    "blank lines": lambda content: content.replace(b"\n", b"\n \n\r\n"),
    "quotes": each_line(lambda line: b",".join(b'"' + field.strip() + b'"' for field in line.split(b","))),
    "quotes and BOM and CRLF": lambda content: b"\xef\xbb\xbf" + READ["CRLF"](READ["quotes"](content)),
    "two spaces": lambda content: content.replace(b" ", b"  "),
    "spaces around": lambda content: content.replace(b",", b" ,  "),
    "spaces at the ends of lines": each_line(lambda line: b" " + line + b"  "),
    "tabs around": lambda content: content.replace(b",", b"\t,"),
    "columns turned around": each_line(lambda line: b",".join(reversed(line.split(b",")))),
    "capitals": lambda content: content.replace(content.split(b"\n")[0], content.split(b"\n")[0].upper()),
    "a form feed at the end": lambda content: content + b"\x0c\n",
    **{name: lambda content, name=name: content.decode().encode(name) for name in ("utf-16", "utf-8-sig")},
    "gzip": lambda content: gzip.compress(content),
    "bz2": lambda content: bz2.compress(content),
    "a zip of it": lambda content: archive({"fer2013.csv": content}),
    "CR": lambda content: content.replace(b"\n", b"\r"),
    "semicolons": each_line(lambda line: line.replace(b",", b";")),
    "tabs": each_line(lambda line: line.replace(b",", b"\t")),
    "pandas' index": each_line(lambda line: (b"" if b"pixels" in line or b"feature" in line else b"7") + b"," + line),
    "an empty column more": each_line(lambda line: line + b","),
    "leading zeros": rows_below(lambda line: re.sub(rb"(?<= )(\d)(?= )", rb"00\1", line)),
}
REFUSED: dict[str, Spoil] = {
    "empty": lambda _: b"",
    "NULs": lambda content: b"\0" * len(content),
    "header alone": lambda content: content.split(b"\n")[0] + b"\n",
    "header alone, no line end": lambda content: content.split(b"\n")[0],
    "header and blank lines": lambda content: content.split(b"\n")[0] + b"\n\r\n \n",
    "no header": lambda content: content.split(b"\n", 1)[1],
    "a blank line above": lambda content: b"\n" + content,
    "a comment above": lambda content: b"# FER2013\n" + content,
    **{
        name: lambda content, name=name: content.decode().encode(name)
        for name in ("utf-16-le", "utf-16-be", "utf-32", "cp037")
    },
    "half a gzip": lambda content: gzip.compress(content)[:2000],
    "HTML": lambda content: b"<!DOCTYPE html><html>" + content,
    "a Git LFS pointer": lambda _: b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 301\n",
    "other delimiters in rows": lambda content: content.replace(b" ", b";"),
    "tabs for spaces": lambda content: content.replace(b" ", b"\t"),
    "no-break spaces": lambda content: content.replace(b" ", b"\xc2\xa0"),
    "lines joined": lambda content: content.replace(b"\n", b" ").replace(b" ", b"\n", 1),
    "cut in a number": lambda content: content[: content.rindex(b" ") - 1],
    "cut in the first row": lambda content: content[:2000],
    "a header again": lambda content: content + content,
    "a column twice": each_line(lambda line: line.split(b",")[0] + b"," + line),
    "a field more": rows_below(lambda line: line + b",1"),
    "pixels twice": rows_below(lambda line: line + b" " + line),
    "a quote": rows_below(lambda line: b'"' + line),
    "a NUL in a number": value(b"1\0"),
    "an enormous number": value(b"1" + b"0" * 400),
    "a number of a million digits": value(b"9" * 1_000_000),
    **{
        f"value {shown!r}": value(shown.encode())
        for shown in (
            *("256", "999", "1000", "4294967296", "-1", "-0", "+1", "1.0", "1.5", "1e2", "0x1f", "1_0", "0b1", "0001"),
            *("nan", "inf", "None", "x", "²", "١٢", "１２", "Ⅻ", "½", "1,2", "1;2", "'1'", '"1"', "1\t2", "1\r2"),
        )
    },
    "a value less": rows_below(lambda line: re.sub(rb" \d+ (?=\d)", b" ", line, count=1)),
    "a value more": value(b"1 1"),
    "latin-1": value("é".encode("latin-1")),
}
LABELS = ("7", "-1", "3.5", "", " ", "hapy", "03", "+3", "３", "1e0", "3 3", "\0", "9" * 400)
USAGE_WORDS = ("", "Rest", "Trainer", "Train 2", "Training\0", "Τraining", "0", "é" * 1000)


def mutations(content: bytes) -> st.SearchStrategy[bytes]:
    """A csv with one to three changes: bytes anywhere, or whole lines and fields moved about."""

    def rearranged(drawn: tuple[str, int, int, int]) -> bytes:
        kind, line, field, other = drawn
        lines = content.split(b"\n")
        fields = lines[line % len(lines)].split(b",")
        if kind == "line":
            lines.insert(other % len(lines), lines[line % len(lines)])
        elif kind == "swap":
            a, b = field % len(fields), other % len(fields)
            fields[a], fields[b] = fields[b], fields[a]
        elif kind == "drop":
            del fields[field % len(fields)]
        else:
            fields.insert(other % (len(fields) + 1), fields[field % len(fields)])
        if kind != "line":
            lines[line % len(lines)] = b",".join(fields)
        return b"\n".join(lines)

    number = st.integers(0, 9)
    return st.one_of(
        flips(content), st.tuples(st.sampled_from(["line", "swap", "drop", "twice"]), *[number] * 3).map(rearranged)
    )


# npz


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, np.asanyarray(array), allow_pickle=True)
    return file.getvalue()


def lying_npy(descr: str, shape: str, body: bytes = b"", version: bytes = b"\1\0", fortran: str = "False") -> bytes:
    """An array's file whose header says what it likes."""
    text = f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n".encode()
    return b"\x93NUMPY" + version + len(text).to_bytes(2 if version == b"\1\0" else 4, "little") + text + body


def raw_npy(header: bytes) -> bytes:
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header


def archive(members: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", compression) as made:
        for name, content in members.items():
            made.writestr(zipfile.ZipInfo(name), content, compression)
    return file.getvalue()


ARRAYS = {"pixels": DRAWN, "emotion": np.arange(3), "usage": np.array(USED)}
MEMBERS = {f"{name}.npy": npy(array) for name, array in ARRAYS.items()}


class Planted:
    """Unpickled, it makes the file `RAN` in the current folder."""

    def __reduce__(self) -> tuple[Callable, tuple]:
        return Path.touch, (Path("RAN"),)


# Pictures

GRAY = np.random.default_rng(1).integers(0, 256, (48, 48)).astype(np.uint8)
COLOR = np.random.default_rng(2).integers(0, 256, (60, 40, 3)).astype(np.uint8)


register_heif_opener()


def encoded(image: Image.Image | np.ndarray, form: str = "PNG", **options: object) -> bytes:
    file = io.BytesIO()
    (image if isinstance(image, Image.Image) else Image.fromarray(image)).save(file, form, **options)
    return file.getvalue()


def png(width: int, height: int, depth: int = 8, color: int = 0, data: bytes = b"") -> bytes:
    """A png that declares what it likes; its checksums are right."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")

    head = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([depth, color, 0, 0, 0])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def with_checksums(content: bytes) -> bytes:
    """A png whose chunks have the right checksums again."""
    made, at = content[:8], 8
    while at + 12 <= len(content):
        end = at + 8 + int.from_bytes(content[at : at + 4], "big")
        if end + 4 > len(content):
            break
        made += content[at:end] + zlib.crc32(content[at + 4 : end]).to_bytes(4, "big")
        at = end + 4
    return made + content[at:]


def turned(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[274] = orientation
    return exif


def palette(transparency: bytes) -> bytes:
    image = Image.fromarray(COLOR).quantize(16)
    return encoded(image, transparency=transparency)


ORIENTED: dict[int, Callable[[np.ndarray], np.ndarray]] = {  # as a viewer shows what is stored
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: np.transpose,
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).T,
    8: np.rot90,
}


def write_picture(root: Path, content: bytes, name: str = "train/happy/a.png") -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return root
