"""What the names in a copy of FER2013 mean: splits, classes, and what an operating system leaves beside files."""

import functools
import re
from collections.abc import Iterable

from fer_lightning.data.faces import PRIVATE, PUBLIC, TRAINING

# What stands around a name: `train_set`, `fer2013-test`, `Validation (1)`.
_AROUND = "fer|faces?|images?|imgs?|pictures?|photos?|samples?|data|sets?|datasets?|split|folder"
_SPLITS = {
    "train(ing)?": TRAINING,
    "val(id(at(e|ion|ing))?)?|dev(elopment)?|eval|(test)?public(test)?": PUBLIC,
    "test(ing)?|(test)?private(test)?": PRIVATE,
}
_SPLIT = {re.compile(f"({_AROUND})*({words})({_AROUND})*"): usage for words, usage in _SPLITS.items()}
_CLASSES = (  # in the order of CLASSES
    *("angry|anger", "disgust(ed|ing)?", "fear(ful)?|scared|afraid", "happy|happiness|joy", "sad(ness)?"),
    *("surprised?|surprising|suprised?", "neutral(ity)?"),
)
_CLASS = [re.compile(f"({words})({_AROUND}|expression|emotion)*") for words in _CLASSES]
_SHARD = re.compile(r"-\d+-of-\d+.*|\d+")  # `train-00000-of-00001-0a1b.parquet`, `train/0000.parquet`
_NUMBER = re.compile(r"((class|label|emotion)[\s_.-]*)?0*([0-6])")
_SYSTEM = {
    *("thumbs.db", "ehthumbs.db", "desktop.ini", "picasa.ini", "icon\r", "icon\uf00d", "__macosx", "__pycache__"),
    *("$recycle.bin", "recycler", "system volume information", "lost+found", "network trash folder", "temporary items"),
    *("@eadir", "@tmp", "@recycle", "@recently-snapshot", "@__thumb", "#recycle", "#snapshot", "cvs", "_vti_cnf"),
}
# Windows' streams, Synology's, what editors keep of a file's last state.
_SYSTEM_ENDS = ("zone.identifier", ":encryptable", "@synoeastream", "@synoresource", "~", ".bak", ".orig", ".swp")


@functools.cache
def usage_of(name: str) -> int | None:
    """The split, an index into USAGES, that a folder, a file or a csv's field is named after; None if after none.

    `test` is PrivateTest, `validation` is PublicTest: the split that was there to choose between models.
    """
    letters = re.sub(r"^\d+[\s_.-]+|2013|\(\d+\)|[\s_.-]", "", name.lower())
    return next((usage for words, usage in _SPLIT.items() if words.fullmatch(letters)), None)


def usage_named(names: Iterable[str]) -> int | None:
    """The split that the first of some names of files or folders is one of, as `usage_of`; without their endings.

    `fer2013.train.csv.gz` is Training.
    """
    parts = [name.split(".") for name in names]
    stems = (_SHARD.sub("", ".".join(each[:count])) for each in parts for count in range(len(each), 0, -1))
    return next((usage for stem in stems if (usage := usage_of(stem)) is not None), None)


@functools.cache
def class_of(name: str) -> int | None:
    """The class, an index into CLASSES, that a folder is named after or numbered as in fer2013.csv; None if it is none.

    A number beside a name says nothing: some count classes by their alphabet.
    """
    number = is_number(name)
    return class_named(name) if number is None else int(number)


@functools.cache
def class_named(name: str) -> int | None:
    """As `class_of`, by its name alone."""
    letters = re.sub(r"^\d+[\s_.-]+|[\s_.-]+\d+$|[\s_.-]", "", name.lower())
    return next((label for label, words in enumerate(_CLASS) if words.fullmatch(letters)), None)


def is_number(name: str) -> str | None:
    """The digit of a class that is numbered, `3` or `class_03`."""
    found = _NUMBER.fullmatch(name.lower())
    return found and found[3]


def is_system(name: str) -> bool:
    """Whether a file or folder is hidden, or one that a system, a cloud or an editor makes beside a person's own."""
    lower = name.lower()
    return lower.startswith((".", "~$")) or lower in _SYSTEM or lower.endswith(_SYSTEM_ENDS)
