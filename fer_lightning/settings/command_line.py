"""A command's words as Hydra can read them: options first, paths in quotes, `experiment=` for `+experiment=`."""

import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from fer_lightning.errors import UserError
from fer_lightning.results.paths import override, quoted
from fer_lightning.settings.hydra_errors import choices, foreign_options

PATHS = ("data.root", "ckpt_path", "hydra.run.dir", "hydra.sweep.dir")
LISTS_OF_PATHS = ("distill.teachers",)
WINDOWS = sys.platform == "win32"


def readable(words: list[str]) -> list[str]:
    """The words of a command, options first. UserError for one that Hydra cannot read, with what would be right."""
    if message := foreign_options(words):
        raise UserError(message)
    options, rest = get_args_parser().parse_known_args(words)
    settings = [*options.overrides, *rest]  # argparse takes none that follow an option in their midst
    words = [word for word in words if word not in settings]
    if options.shell_completion:
        return [*words, *settings]
    own = not options.config_name and not options.config_path  # else nobody knows what is in the defaults list
    return [*words, *(_readable(settings, at, own) for at in range(len(settings)))]


def _readable(words: Sequence[str], at: int, own: bool) -> str:
    word = words[at]
    sign, key, value = _parts(word)
    if own and sign == "+" and choices(key):  # in the defaults list, where Hydra knows of nothing to add
        word = f"{key}={value}"
    given = _parsed(word)
    in_quotes = _path(value, given) if key in PATHS else _paths(value, given) if key in LISTS_OF_PATHS else None
    if in_quotes:
        return f"{sign}{key}={in_quotes}"
    if given is None:
        raise UserError(_refused(words, at))
    return word


def _parts(word: str) -> tuple[str, str, str]:
    """`+`, `key` and `value` of `+key=value`."""
    name, _, value = word.partition("=")
    key = name.lstrip("+")
    return name[: len(name) - len(key)], key, value


def _parsed(word: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(word)
    except HydraException:
        return None


def _path(value: str, given: Override | None) -> str | None:
    """A path in quotes that Hydra's grammar refuses, or would take for a number or a list; None: it stays as it is."""
    if given is None:
        return None if "," in value or value.startswith(("'", '"')) else quoted(value)
    if given.is_sweep_override() or value.startswith(("'", '"')):
        return None
    as_typed = not isinstance(given.value(), bool | int | float | list | dict) and not (WINDOWS and "\\" in value)
    return None if as_typed else quoted(value)


def _paths(value: str, given: Override | None) -> str | None:
    """`[A,B]` with each path in quotes; None: it stays as it is, or is refused."""
    if not re.fullmatch(r"\[[^'\"]+\]", value) or (given is not None and given.is_sweep_override()):
        return None
    if given is not None and all(isinstance(each, str) for each in given.value()) and not WINDOWS:  # type: ignore[union-attr]
        return None
    return f"[{','.join(quoted(each.strip()) for each in value[1:-1].split(','))}]"


def _refused(words: Sequence[str], at: int) -> str:
    """What is wrong with a word, and how it, or it and its neighbours, would be typed."""
    word = words[at]
    _, key, value = _parts(word)
    for first, last in ((at - 1, at + 1), (at - 1, at + 2), (at, at + 2), (at, at + 3)):  # cut at a space
        if first < 0 or last > len(words):
            continue
        whole = re.sub(r"\s*=\s*", "=", " ".join(words[first:last]), count=1)
        _, its_key, its_value = _parts(whole)
        begun = its_key in PATHS or words[first].endswith("=") or _parsed(words[first]) is None
        if not its_value or not begun:
            continue
        right = override(its_key, its_value) if its_key in PATHS else whole
        if _parsed(right) is not None:
            return f"{' '.join(words[first:last])}: it has spaces; write {shlex.quote(right)}"
    if "=" not in word:
        if known := choices(word):
            return f"{word}: it has no value; write {word}={known[0]} or another of {', '.join(known)}"
        hint = f" (a file or folder of FER2013 is {shlex.quote(override('data.root', word))})"
        return f"{word}: settings are written key=value{hint if Path(word).exists() else ''}"
    try:
        OverridesParser.create().parse_override(word)
    except HydraException as error:
        why = str(error).partition("\n")[0]
    right = shlex.quote(override(key, value.strip("'\"")))
    commas = f"; several in one: {shlex.quote(f'{key}=…,…')} with --multirun, each in quotes" if "," in value else ""
    return f"{word}: Hydra cannot read it ({why}); a text with such letters is written in quotes: {right}{commas}"
