"""What the cache keeps the faces of, and what all forms of FER2013 tell of themselves."""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from fer_lightning.data import tree
from fer_lightning.data.faces import Faces

Stats = Mapping[str, os.stat_result]  # every file of a source, by absolute path


class Source(ABC):
    """Files that are `Faces` once they are read. path: where they are, absolute; it may be their folder."""

    path: Path

    @abstractmethod
    def files(self) -> Iterable[tree.Node]: ...

    @abstractmethod
    def read(self) -> Faces:
        """UserError with all that is faulty."""

    def scan(self) -> Stats:
        """The files as they are now."""
        return tree.stats(self.files())


class Form(Source):
    """FER2013 in one form, named by `form` in messages.

    has_usage: whether it names the test splits. splits: the usages of its parts, where each is one.
    """

    @property
    @abstractmethod
    def form(self) -> str: ...

    @property
    def has_usage(self) -> bool:
        return True

    @property
    def splits(self) -> Sequence[int]:
        return ()

    @abstractmethod
    def labelled(self) -> int:
        """How many images have a label, told without reading them."""
