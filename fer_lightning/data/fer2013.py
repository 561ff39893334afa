"""FER2013 in any form that its users have, as `Faces`: csv, image folders, npz, parquet, also inside archives.

The form is recognized from what the files hold. What was parsed once comes from the cache afterwards (see cache.py).
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import copy  # of an error: without its traceback, which would keep archives open
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from fer_lightning.data import cache, read_csv, read_images, read_npz, read_parquet, tree
from fer_lightning.data.faces import TRAINING, Faces
from fer_lightning.data.form import Form, Source
from fer_lightning.data.names import usage_named, usage_of
from fer_lightning.data.picture import SUFFIXES
from fer_lightning.data.tree import Node
from fer_lightning.errors import UserError

_KNOWN = f"""The known forms:
  csv with the columns {" | ".join(",".join(columns) for columns in read_csv.HEADERS)}; or one for each split
  npz with the arrays {", ".join(read_npz.ARRAYS)}
  image folders train/<class>/ and test/<class>/, or <class>/ alone (give the folder that holds them)
  parquet with image or pixels, and label or emotion
  each of them in a zip, tar, tar.gz or gz"""
# Names that stand for FER2013 alone: a file that bears one, but is none, is an error and not passed over.
_OWN_NAMES = {"fer2013.csv", "icml_face_data.csv", "fer2013.npz"}
_ENDINGS = (".csv", ".npz", ".parquet", ".part", ".crdownload")  # of files that are named where they are not read
_MANY = 100  # files in a folder, of which those with other endings are not opened: 100,000 labels took 19 s
_NAMED = 10  # things that are not read, in a message
_DEPTH = 3  # folders below the one that is given: archive/images/images/train
_NESTED = 2  # archives inside archives


class _Found(NamedTuple):
    """What stands in a folder: forms, archives that were not opened, and why other files and folders are none of them.

    damaged: why archives can't be opened.
    """

    forms: list[Form]
    archives: list[Node]
    refused: dict[Node, UserError | OSError]
    damaged: dict[Node, UserError | OSError]

    def add(self, more: "_Found") -> None:
        self.forms.extend(more.forms)
        self.archives.extend(more.archives)
        self.refused.update(more.refused)
        self.damaged.update(more.damaged)

    def not_read(self) -> list[str]:
        """What stands there beside the forms, in short."""
        said = [(node, "an archive") for node in self.archives]
        for others, words in ((self.damaged, "an archive that can't be opened"), (self.refused, "of no known form")):
            for node, why in others.items():
                if isinstance(why, OSError) or not node.is_dir():  # a folder without classes may hold what is read
                    said.append((node, getattr(why, "strerror", "") or words))
        lines = [f"{node.name} ({why})" for node, why in said]
        for form in self.forms:
            if isinstance(form, read_images.ImageFolders):
                lines += [f"{name}/ (its name is no split's)" for name in form.others]
        return [*lines[:_NAMED], *([f"{len(lines) - _NAMED:,} more"] if len(lines) > _NAMED else [])]


def load(root: str | Path) -> Faces:
    """The faces in `root`, a file of a known form or a folder that holds some; from the cache if nothing changed.

    Files or folders that are one split each are read together. Of several forms in a folder the one with the most
    labelled images is taken, among equals one that names the test splits. `Faces.left_out` tells what was not read.
    UserError if nothing known is there, or with everything that is wrong in it.
    """
    root = _absolute(root)
    with _os_errors_as_user_errors():
        source, left_out = _source(root)
        faces = cache.load(source)
    tree.forget()
    return replace(faces, left_out="; ".join(filter(None, [faces.left_out, *left_out])))


def find() -> Path | None:
    """Where FER2013 is: $FER2013_ROOT if set, else data/ in the current folder if it holds any, else None.

    UserError if $FER2013_ROOT holds no known form.
    """
    with _os_errors_as_user_errors():
        if variable := os.environ.get("FER2013_ROOT"):
            try:
                _source(_absolute(variable))
            except UserError as error:
                raise UserError(f"The environment variable FER2013_ROOT: {error}") from error
            return _absolute(variable)
        return _absolute("data") if holds("data") else None


def holds(folder: str | Path) -> bool:
    """Whether there is such a folder with a known form in it.

    UserError where a file is FER2013's by its name only, or an archive can't be opened.
    """
    with _os_errors_as_user_errors():
        if not (path := _absolute(folder)).is_dir():
            return False
        found = _search(path)
        if found.forms or (found.archives and _Archives(path, found.archives).is_known()):
            return True
        for why in found.damaged.values():
            raise why
        return False


def refused_in(folder: str | Path) -> str:
    """Why files of a folder that `holds` none are none, in short: "" where there is no such folder or file."""
    with _os_errors_as_user_errors():
        return "; ".join(map(str, _search(_absolute(folder)).refused.values())) if _absolute(folder).is_dir() else ""


def _absolute(path: str | Path) -> Path:
    path = Path(os.path.expanduser(path)).absolute()
    return Path(os.path.realpath(path)) if ".." in path.parts else path  # its name may tell a split


@contextmanager
def _os_errors_as_user_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"FER2013 cannot be read: {error}") from error


def _source(root: Path) -> tuple[Source, list[str]]:
    """What is to be read of `root`, and what beside it is not."""
    if root.is_file():
        if form := _recognize(root):
            return _with_siblings(form), []
        archive = _Archives(root, [root])
        archive.check()
        return archive, []
    if not root.is_dir():
        wrong = "is neither a file nor a folder" if os.path.lexists(root) else "does not exist"
        raise UserError(f"{root} {wrong}; right: a file or folder of FER2013. {_KNOWN}")
    found = _search(root)
    if found.forms:
        source = found.forms[0] if len(found.forms) == 1 else _Several(root, found.forms)
        return source, found.not_read()
    if found.archives:
        archive = _Archives(root, found.archives)
        archive.check()
        _raise_what_is_missed(found.damaged)
        return archive, found._replace(archives=[]).not_read()
    raise _holds_none(root, [*map(str, found.damaged.values()), *map(str, found.refused.values())])


def _holds_none(root: Path, refused: Sequence[str]) -> UserError:
    looked_at = "\n  ".join(["\nLooked at:", *refused[:10]]) if refused else ""
    return UserError(f"{root} holds no FER2013. {_KNOWN}{looked_at}")


def _search(top: Node) -> _Found:
    """What stands in a folder, else in its sub-folders, and so on: data/fer2013/fer2013.csv. Archives on the way.

    Also below a single split, for the others; but not below image folders.
    """
    all_found = _Found([], [], {}, {})
    # Each with the name that tells its split, its own or that of a folder or archive around it.
    level = [(top, "" if isinstance(top, Path) else top.name)]
    for depth in range(_DEPTH + 1):
        below: list[tuple[Node, str]] = []
        for folder, name in level:
            try:
                found = _directly_in(folder, name)
                if not any(isinstance(form, read_images.ImageFolders) for form in found.forms):
                    inside = tree.listed(folder).folders
                    below += [(each, name if usage_of(each.name) is None else each.name) for each in inside]
            except OSError as error:
                if not depth:
                    raise
                found = _Found([], [], {folder: copy(error)}, {})  # one that may not be read
            all_found.add(found)
        all_found.forms[:] = _joined(all_found.forms, tree.file_of(top))
        if any(len(set(form.splits)) != 1 for form in all_found.forms):
            break
        level = below
    return all_found


def _directly_in(folder: Node, name: str) -> _Found:
    found = _Found([], [], {}, {})
    inside = tree.listed(folder)
    nodes = {node: ending for node in (*inside.files, *inside.others) if (ending := tree.ending(node)) not in SUFFIXES}
    for node, ending in nodes.items():
        if len(nodes) > _MANY and ending not in (*_ENDINGS, *tree.ENDINGS):
            continue
        try:
            if node in inside.others:
                raise UserError(f"{node} is neither a file nor a folder; is it a link to nothing?")
            if form := _recognize(node, name):
                found.forms.append(form)
            elif ending in (*_ENDINGS, *tree.ENDINGS, ""):  # checkpoints and office documents are zips too
                found.archives.append(node)
        except (UserError, OSError) as error:
            if node.name.lower() in _OWN_NAMES:
                raise
            if ending in tree.ENDINGS:
                found.damaged[node] = copy(error)
            elif ending in _ENDINGS:
                found.refused[node] = copy(error)
    for kind, ending in ((read_csv.CsvFiles, ".csv"), (read_parquet.Parquet, ".parquet")):
        if any(isinstance(each, kind) and TRAINING in each.splits for each in found.forms):
            for file, why in found.refused.items():  # a test.csv of no known form: it would be missed
                if file.name.lower().endswith(ending) and usage_named([file.name]) is not None:
                    raise why
    try:
        if images := read_images.recognize(folder, name):
            found.forms.append(images)
    except UserError as error:
        found.refused[folder] = copy(error)
    return found


def _recognize(file: Node, folder: str = "") -> Form | None:
    """The form that a file is, by itself; None for an archive. UserError if it is none.

    folder: the name of the one it stands in, where that may tell its split.
    """
    with tree.reading(file) as opened:
        head = opened.read(tree.HEAD_BYTES)
    if not head:
        raise UserError(f"{file} is empty; right: a file of FER2013. {_KNOWN}")
    if head.startswith(read_parquet.MAGIC):
        return read_parquet.recognize(file, folder)
    if not tree.is_archive(head, file):
        return read_csv.recognize(file, folder)
    return read_npz.recognize(file) if head.startswith(b"PK") else None


def _joined(forms: list[Form], path: Path) -> list[Form]:
    """Forms of which each is another split as one, which holds Training; others as they are."""
    kept = list(forms)
    for kind in (read_csv.CsvFiles, read_images.ImageFolders, read_parquet.Parquet):
        alike: list[Any] = [form for form in kept if isinstance(form, kind) and form.splits]
        alike.sort(key=lambda form: min(form.splits))
        splits = [split for form in alike for split in set(form.splits)]
        shards = kind is read_parquet.Parquet  # of one split there may be several
        if len(alike) > 1 and TRAINING in splits and (shards or len(splits) == len(set(splits))):
            kept = [form for form in kept if form not in alike]
            where = alike[0].path if kind is read_csv.CsvFiles else path
            kept.append(replace(alike[0], path=where, parts=tuple(part for form in alike for part in form.parts)))
    return kept


def _with_siblings(form: Form) -> Form:
    """A csv of the training images, as train.csv, with those of the other splits that stand beside it."""
    if not isinstance(form, read_csv.CsvFiles) or form.splits != [TRAINING]:
        return form
    folder = form.path.parent
    joined = _joined(_directly_in(folder, "").forms, folder)
    csv_files = (each for each in joined if isinstance(each, read_csv.CsvFiles))
    return next((each for each in csv_files if form.parts[0] in each.parts), form)


def _raise_what_is_missed(damaged: dict[Node, UserError | OSError]) -> None:
    """UserError where an archive can't be opened that is a split by its name."""
    for file, why in damaged.items():
        if usage_named([file.name]) is not None:
            raise why


@dataclass(frozen=True)
class _Several(Source):
    """Several forms in the folder, or the archives, `path`."""

    path: Path
    forms: list[Form]

    def files(self) -> list[Node]:  # of all of them, as the choice depends on all
        return [file for each in self.forms for file in each.files()]

    def read(self) -> Faces:
        """The faces of the form with the most labelled images, and what it was chosen over."""
        counted = [(each.labelled(), each.has_usage, each) for each in self.forms]
        (count, _, best), *others = sorted(counted, key=lambda item: item[:2], reverse=True)
        faces = best.read()
        over = []
        for labelled, _, other in others:
            elsewhere = f" in {other.path}" if other.path.is_dir() and other.path != best.path else ""
            fewer = f", not {count:,}" if labelled < count else ""
            over.append(f"{other.form}{elsewhere} ({labelled:,} labelled images{fewer})")
        return replace(faces, left_out="; ".join(filter(None, [faces.left_out, *over])))


@dataclass(frozen=True)
class _Archives(Source):
    """What stands in `archives`, of which the folder `path` is, or the only one."""

    path: Path
    archives: list[Node]

    def files(self) -> list[Node]:
        return self.archives

    def is_known(self) -> bool:
        """Whether they hold FER2013. UserError where one is damaged."""
        return cache.has(self) or bool(self._found().forms)

    def check(self) -> None:
        """UserError unless they hold FER2013."""
        if not cache.has(self) and not (found := self._found()).forms:
            others = [f"{file}: an archive of other files" for file in self.archives]
            raise _holds_none(self.path, [*map(str, found.refused.values())] or others)

    def read(self) -> Faces:
        found = self._found()
        faces = _Several(self.path, found.forms).read()
        left_out = "; ".join(filter(None, [faces.left_out, *found.not_read()]))
        form = f"{', '.join(file.name for file in self.archives)}, not unpacked: {faces.form}"
        return replace(faces, source=str(self.path), form=form, left_out=left_out)

    def _found(self) -> _Found:
        all_found = _Found([], list(self.archives), {}, {})
        for _ in range(_NESTED):
            archives, all_found.archives[:] = list(all_found.archives), []
            for file in archives:
                try:
                    all_found.add(_search(tree.open_archive(file)))
                except UserError as error:
                    all_found.damaged[file] = copy(error)
            if all_found.forms:
                break
        if not all_found.forms:
            for why in all_found.damaged.values():
                raise why
        _raise_what_is_missed(all_found.damaged)
        return all_found._replace(forms=_joined(all_found.forms, self.path))
