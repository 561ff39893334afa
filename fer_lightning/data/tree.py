"""Files and folders, on a disk or inside an archive, as one kind of path: pathlib's and zipfile's methods are alike.

An archive is read where it is, not unpacked to the disk: of a zip, what is wanted; a tar, or what is compressed as a
whole, in memory.
"""

import bz2
import functools
import gzip
import io
import lzma
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO, NamedTuple

from fer_lightning.data.faults import in_a_line
from fer_lightning.data.names import is_system
from fer_lightning.errors import UserError

Node = Path | zipfile.Path

HEAD_BYTES = 512
_ZIP = b"PK"
_PACKED = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_FOREIGN = {b"7z\xbc\xaf\x27\x1c": "7z", b"Rar!": "rar", b"\x28\xb5\x2f\xfd": "zst"}
ENDINGS = (".zip", ".tar", ".tgz", ".gz", ".bz2", ".xz", ".7z", ".rar", ".zst", ".001")
LARGEST = 1 << 31  # bytes in memory: FER2013's csv has 0.3 GB
_TOO_LARGE = f"more than {LARGEST >> 30} GB inside; right: FER2013, which has 0.3"
_ERRORS = (  # of zipfile, tarfile and what they stand on, where an archive is damaged, locked or of a strange kind
    *(zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, RuntimeError, NotImplementedError),
    *(OSError, ValueError, KeyError, UnicodeError, struct.error),
)


class Listing(NamedTuple):
    """What a folder holds, each sorted by name. others: pipes, dangling links and the like."""

    folders: list[Node]
    files: list[Node]
    others: list[Node]


def listed(folder: Node) -> Listing:
    """What a folder holds but for hidden and system files."""
    kinds = Listing([], [], [])
    with os.scandir(folder) if isinstance(folder, Path) else nullcontext(folder.iterdir()) as entries:
        for entry in sorted((entry for entry in entries if not is_system(entry.name)), key=lambda entry: entry.name):
            kind = kinds.others
            with suppress(OSError):  # a link in a circle
                kind = kinds.folders if entry.is_dir() else kinds.files if entry.is_file() else kinds.others
            kind.append(Path(entry.path) if isinstance(entry, os.DirEntry) else entry)
    return kinds


def ending(file: Node) -> str:
    """`.png` of `a.PNG`."""
    return Path(file.name).suffix.lower()


def file_of(node: Node) -> Path:
    """The file on the disk that a node is, or stands in."""
    return node if isinstance(node, Path) else node.root.file  # type: ignore[attr-defined]  # of _Archive


def stats(nodes: Iterable[Node]) -> dict[str, os.stat_result]:
    """The state of each node's file on the disk, by its path."""
    return {str(file): os.stat(file) for file in dict.fromkeys(map(file_of, nodes))}


@contextmanager
def reading(node: Node, most: int = 0) -> Iterator[IO[bytes]]:
    """A file's bytes, to be read once. Of a member of an archive, UserError for whatever is wrong with it.

    most: of a member, so many bytes at most, in memory, where one can go back and forth.
    """
    if isinstance(node, Path):
        with open(node, "rb") as file:
            yield file
    elif most:
        with _explained(node), node.open("rb") as member:
            content = member.read(most)
        yield io.BytesIO(content)
    else:
        with _explained(node), node.open("rb") as member:
            yield member


@contextmanager
def _explained(node: Node) -> Iterator[None]:
    try:
        yield
    except _ERRORS as error:
        wrong = f"a damaged or locked archive ({in_a_line(error)})"
        raise UserError(f"{node}: {wrong}; right: a whole one, without a password") from error


def limited(stream: IO[bytes], node: Node) -> bytes:
    """All that a stream holds. UserError, which names `node`, where that is too much for the memory."""
    content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise UserError(f"{node}: {_TOO_LARGE}")
    return content


def is_archive(head: bytes, node: Node) -> bool:
    """Whether a file that begins with `head` is an archive. UserError where it is of a kind that is not read."""
    for start, kind in _FOREIGN.items():
        if head.startswith(start):
            raise UserError(f"{node}: a {kind} archive, which is not read here; right: unpack it, or a zip or tar.gz")
    return head.startswith((_ZIP, *_PACKED)) or _is_tar(head)


def _is_tar(block: bytes) -> bool:
    return block[257:262] == b"ustar"


def open_archive(node: Node) -> zipfile.Path:
    """An archive as a folder. UserError where it is damaged, locked or too large."""
    if isinstance(node, Path):
        state = os.stat(node)
        return _kept(node, (state.st_size, state.st_mtime_ns))
    return _opened(node)


@functools.lru_cache(maxsize=8)
def _kept(file: Path, state: tuple[int, int]) -> zipfile.Path:
    return _opened(file)


def forget() -> None:
    """Give back the memory of archives that were opened."""
    _kept.cache_clear()


class _Memory(io.BytesIO):
    name: str  # which zipfile takes for its own


class _Archive(zipfile.ZipFile):
    file: Path  # on the disk, which this is or stands in


def _opened(node: Node) -> zipfile.Path:
    with _explained(node), reading(node, LARGEST) as file:
        head = file.read(HEAD_BYTES)
        file.seek(0)
        if head.startswith(_ZIP):
            return _as_folder(node, node if isinstance(node, Path) else _memory(node, file.read()))
        unpack = next((unpack for start, unpack in _PACKED.items() if head.startswith(start)), None)
        stream: Any = io.BufferedReader(unpack(file, "rb") if unpack else file, 1 << 16)  # type: ignore[operator]
        made = _memory(node)
        with zipfile.ZipFile(made, "w") as archive:
            if _is_tar(stream.peek(HEAD_BYTES)):
                _repack(stream, archive, node)
            else:
                archive.writestr(Path(node.name).stem, limited(stream, node))
        return _as_folder(node, made)


def _as_folder(node: Node, file: Path | BinaryIO) -> zipfile.Path:
    """The zip `file` that `node` is.

    Of several members of one name the last counts, as where they are unpacked. Some Windows programs write backslashes.
    """
    archive = _Archive(file)
    archive.file = file_of(node)
    for member in archive.filelist:
        member.filename = member.filename.replace("\\", "/")
    archive.NameToInfo = {member.filename: member for member in archive.filelist}
    archive.filelist = list(archive.NameToInfo.values())
    return zipfile.Path(archive)


def _memory(node: Node, content: bytes = b"") -> _Memory:
    memory = _Memory(content)
    memory.name = str(node)
    return memory


def _repack(stream: BinaryIO, archive: zipfile.ZipFile, node: Node) -> None:
    """The files of the tar `node` as members of a zip. A link, which has no bytes of its own, is what it points at."""
    room = LARGEST
    links: dict[str, str] = {}

    def put(name: str, content: IO[bytes], size: int) -> None:
        nonlocal room
        room -= size + HEAD_BYTES  # what stands around it takes memory too
        if room < 0:
            raise UserError(f"{node}: {_TOO_LARGE}")
        archive.NameToInfo.pop(name, None)  # the last of a name counts
        with archive.open(name, "w") as copy:
            shutil.copyfileobj(content, copy)

    with tarfile.open(fileobj=stream, mode="r|") as tar:
        for member in tar:
            name = os.path.normpath(member.name)
            if any(is_system(part) for part in Path(name).parts):
                continue
            if member.issym() or member.islnk():
                to = member.linkname if member.islnk() else os.path.join(os.path.dirname(name), member.linkname)
                links[name] = os.path.normpath(to)
            elif member.isfile():
                content = tar.extractfile(member)
                assert content is not None
                put(name, content, member.size)
    names = archive.namelist()
    for link, to in links.items():
        inside = [to] if to in archive.NameToInfo else [name for name in names if name.startswith(f"{to}/")]
        if not inside:
            raise UserError(f"{node}: its {link} is a link to {to}, which is not in it; right: an archive of files")
        for name in inside:
            copied = archive.read(name)
            put(link + name.removeprefix(to), io.BytesIO(copied), len(copied))
