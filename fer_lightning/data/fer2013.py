"""FER2013 in any form that its users have, as `Faces`: the csv files, image folders, an npz.

The form is recognized from what the files hold. What was parsed once comes from the cache afterwards (see cache.py).
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Protocol

from fer_lightning.data import cache, read_csv, read_images, read_npz
from fer_lightning.data.faces import Faces
from fer_lightning.data.read_csv import CsvFiles
from fer_lightning.errors import UserError

_KNOWN = f"""The known forms:
  csv with the columns {" | ".join(",".join(columns) for columns in read_csv.HEADERS)}
  npz with the arrays {", ".join(read_npz.ARRAYS)}
  image folders train/<class>/ and test/<class>/ (give the folder that holds them)"""
# Names that stand for FER2013 alone: a file that bears one, but is none, is an error and not passed over.
_OWN_NAMES = {"fer2013.csv", "icml_face_data.csv", "fer2013.npz"}


class Source(Protocol):
    """FER2013 in one form. `path` and `form` are those of messages, `has_usage` is whether it names the test splits."""

    @property
    def path(self) -> Path: ...
    @property
    def form(self) -> str: ...
    @property
    def has_usage(self) -> bool: ...
    def scan(self) -> cache.Stats: ...
    def labelled(self) -> int: ...
    def read(self) -> Faces: ...


def load(root: str | Path) -> Faces:
    """The faces in `root`, a file of a known form or a folder that holds some; from the cache if nothing changed.

    A train.csv is read with the test.csv that stands beside it. Of several forms in a folder the one with the most
    labelled images is taken, among equals one that names the test splits; `Faces.form` then tells what it was chosen
    over. UserError if nothing known is there, or with everything that is wrong in it.
    """
    root = _absolute(root)
    with _os_errors_as_user_errors():
        sources = _sources(root)
        if len(sources) == 1:
            return cache.load(sources[0].path, sources[0].scan, sources[0].read)

        def scan() -> cache.Stats:  # of all of them, as the choice depends on all
            return {path: stat for source in sources for path, stat in source.scan().items()}

        return cache.load(root, scan, lambda: _fullest(sources))


def find(root: str | Path | None = None) -> Path | None:
    """Where FER2013 is: `root` if given, else $FER2013_ROOT if set, else data/ in the current folder if it holds any.

    None if none of them is there. UserError if `root` or $FER2013_ROOT is given and holds no known form.
    """
    with _os_errors_as_user_errors():
        if root is not None:
            _sources(_absolute(root))
            return _absolute(root)
        if variable := os.environ.get("FER2013_ROOT"):
            try:
                _sources(_absolute(variable))
            except UserError as error:
                raise UserError(f"The environment variable FER2013_ROOT: {error}") from error
            return _absolute(variable)
        return _absolute("data") if holds("data") else None


def holds(folder: str | Path) -> bool:
    """Whether there is such a folder with a known form in it. UserError where a file is FER2013's by its name only."""
    with _os_errors_as_user_errors():
        return _absolute(folder).is_dir() and bool(_search(_absolute(folder))[0])


def _absolute(path: str | Path) -> Path:
    return Path(os.path.expanduser(path)).absolute()


@contextmanager
def _os_errors_as_user_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"FER2013 cannot be read: {error}") from error


def _sources(root: Path) -> list[Source]:
    """The sources in `root`, at least one."""
    if root.is_file():
        return [_with_test_csv(_recognize(root))]
    if not root.is_dir():
        wrong = "is neither a file nor a folder" if os.path.lexists(root) else "does not exist"
        raise UserError(f"{root} {wrong}; right: a file or folder of FER2013. {_KNOWN}")
    sources, refused = _search(root)
    if not sources:
        looked_at = "\n  ".join(["\nLooked at:", *refused[:10]]) if refused else ""
        raise UserError(f"{root} holds no FER2013. {_KNOWN}{looked_at}")
    return sources


def _search(folder: Path) -> tuple[list[Source], list[str]]:
    """The sources that stand in a folder, else those in its sub-folders, and why csv and npz files there are none.

    Archives often unpack into a folder of their own: data/fer2013/fer2013.csv.
    """
    sources, refused = _directly_in(folder)
    if not sources:
        for entry in read_images.visible(folder):
            try:
                more, why = _directly_in(Path(entry.path)) if entry.is_dir() else ([], [])
            except OSError as error:  # such as lost+found, which is root's
                more, why = [], [str(error)]
            sources += more
            refused += why
    return sources, refused


def _directly_in(folder: Path) -> tuple[list[Source], list[str]]:
    sources: list[Source] = []
    refused = []
    for entry in read_images.visible(folder):
        try:
            if entry.is_file():
                sources.append(_recognize(Path(entry.path)))
        except (UserError, OSError) as error:
            if entry.name.lower() in _OWN_NAMES:
                raise
            if entry.name.lower().endswith((".csv", ".npz")):
                refused.append(str(error))
    sources = [_with_test_csv(source) for source in sources]
    seconds = {file for source in sources if isinstance(source, CsvFiles) for file in source.files[1:]}
    sources = [source for source in sources if source.path not in seconds]
    images = read_images.recognize(folder)
    return sources + ([images] if images else []), refused


def _recognize(file: Path) -> Source:
    """The source that a file is, by itself. UserError if it is none."""
    with open(file, "rb") as opened:
        magic = opened.read(2)
    if not magic:
        raise UserError(f"{file} is empty; right: a file of FER2013. {_KNOWN}")
    if magic == b"PK":
        return read_npz.recognize(file)
    if magic == b"\x1f\x8b":
        raise UserError(f"{file} is compressed; right: unpack it first")
    return CsvFiles((file,), (read_csv.header(file),))


def _with_test_csv(source: Source) -> Source:
    """A train.csv without usages together with the unlabelled test.csv beside it, if there is one; else as it is."""
    if not isinstance(source, CsvFiles) or source.path.name.lower() != "train.csv" or source.has_usage:
        return source
    for entry in read_images.visible(source.path.parent):
        if entry.name.lower() == "test.csv" and entry.is_file():
            header = read_csv.header(Path(entry.path))
            if header.label is None:
                return CsvFiles((source.path, Path(entry.path)), (*source.headers, header))
    return source


def _fullest(sources: list[Source]) -> Faces:
    """The faces of the source with the most labelled images, its form saying what it was chosen over."""
    counted = [(source.labelled(), source.has_usage, source) for source in sources]
    (count, _, best), *others = sorted(counted, key=lambda item: item[:2], reverse=True)
    faces = best.read()
    over = "; ".join(f"{source.form} ({labelled:,})" for labelled, _, source in others)
    return replace(faces, form=f"{faces.form}; {count:,} labelled images, chosen over {over}")
