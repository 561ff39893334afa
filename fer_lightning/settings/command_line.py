"""A command's words as Hydra can read them: options first, paths in quotes, `experiment=` for `+experiment=`."""

import os
import re
import shlex
import sys
from collections.abc import Sequence

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from fer_lightning.errors import UserError
from fer_lightning.results.paths import override, quoted
from fer_lightning.settings.hydra_errors import choices, foreign_options

PATHS = ("data.root", "init_from", "ckpt_path", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
LISTS_OF_PATHS = ("distill.teachers",)
WINDOWS = sys.platform == "win32"
SETTING = re.compile(r"[+~]*[\w./@]+=.")
TYPESET = str.maketrans("“”„‘’\u00a0", '"""\'\' ')


def readable(words: list[str]) -> list[str]:
    """The words of a command, options first. UserError for one that Hydra cannot read, with what would be right."""
    if of_windows := next((word for word in words if word.endswith("\r")), None):
        raise UserError(f"{of_windows!r}: the script has Windows' ends of lines; convert it: dos2unix SCRIPT")
    if message := foreign_options(words):
        raise UserError(message)
    options, rest = get_args_parser().parse_known_args(words)
    settings = [*options.overrides, *rest]  # argparse takes none that follow an option in their midst
    words = [word for word in words if word not in settings]
    if options.shell_completion:
        return [*words, *settings]
    ours = not options.config_name and not options.config_path  # else nobody knows what is in the defaults list
    sweep = options.multirun or any("hydra.mode=" in word for word in settings)
    return [*words, *(_readable(settings, at, ours, sweep) for at in range(len(settings)))]


def _readable(words: Sequence[str], at: int, ours: bool, sweep: bool) -> str:
    word = words[at]
    sign, key, value = _parts(word)
    if ours and sign and choices(key):  # it is in the defaults list, so there is nothing to add
        word = f"{key}={value}"
    given = _parsed(word)
    in_quotes = None
    if value and key in PATHS:
        is_one = key.startswith("hydra.") or (not sweep and os.path.lexists(os.path.expanduser(value)))
        in_quotes = _path(value, given, is_one)
    elif value and key in LISTS_OF_PATHS:
        in_quotes = _paths(value, given)
    if in_quotes:
        return f"{sign}{key}={in_quotes}"
    if key.startswith("hydra.sweeper.params"):  # OmegaConf fails on them with a traceback
        raise UserError(f"{key}: it stands in a configuration; here keys have several values, --multirun seed=0,1")
    if given is None or not key:
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


def _path(value: str, given: Override | None, is_one: bool) -> str | None:
    """A path in quotes that Hydra would not take for a text, or cannot read; None: it stays as it is, or is refused.

    given: what Hydra takes it for. is_one: with commas as well, where it is not refused.
    """
    if value.startswith(("'", '"')):
        return None
    if "," in value and (given is None or given.is_sweep_override()):
        return quoted(value) if is_one else None
    if given is None or value != value.strip() or (WINDOWS and "\\" in value):
        return quoted(value)
    text = given.is_sweep_override() or not isinstance(given.value(), bool | int | float | list | dict)
    return None if text else quoted(value)


def _paths(value: str, given: Override | None) -> str | None:
    """A list of paths, each in quotes; None: it stays as it is, or is refused. given: what Hydra takes it for."""
    if not re.fullmatch(r"\[[^\[\]'\"]+\]", value):
        return None
    if given is not None and all(isinstance(each, str) for each in given.value()) and not WINDOWS:  # type: ignore[union-attr]
        return None
    return _quoted_list(value)


def _quoted_list(value: str) -> str:
    return f"[{','.join(quoted(each.strip()) for each in value.strip('[]').split(','))}]"


def _refused(words: Sequence[str], at: int) -> str:
    """What is wrong with a word, and how it, or it and its neighbours, would be typed."""
    word = words[at]
    _, key, value = _parts(word)
    if "=" not in word and choices(key):
        following = words[at + 1] if at + 1 < len(words) else ""
        known = choices(key)
        return f"{word}: it has no value; write {key}={following if following in known else '|'.join(known)}"
    if plain := _typeset(word):
        return f"{word}: with quotes, dashes or spaces that do not belong there; write {shlex.quote(plain)}"
    if whole := _cut_at_a_space(words, at):
        return f"{whole[0]}: it was cut at a space; write {shlex.quote(whole[1])}"
    if "=" not in word or not key:
        data = f"; a file or folder of FER2013 is {shlex.quote(override('data.root', word))}"
        return f"{word or 'an empty word'}: settings are written key=value{data if os.path.exists(word) else ''}"
    right = f"{key}={_quoted_list(value)}" if key in LISTS_OF_PATHS else override(key, value.strip("'\""))
    right = f"a text with such letters stands in quotes, which the shell must leave: {shlex.quote(right)}"
    if any(value.count(a) != value.count(b) for a, b in ("[]", "{}")):
        right = f"a bracket is not closed, or {right}"
    elif "," in value:
        right = f"{right}; of several, for --multirun, each"
    return f"{word}: Hydra cannot read that; {right}"


def _typeset(word: str) -> str | None:
    """A word from a page or a text processor, or with quotes that Windows' shell leaves, as it would be typed."""
    plain = word.translate(TYPESET).strip()
    if plain[:1] in ("'", '"') and plain[:1] == plain[-1:]:
        plain = plain[1:-1]
    plain = re.sub("^[–—]", "-" if len(plain) == 2 else "--", plain)
    plain = re.sub(r"\s*=\s*", "=", plain, count=1)
    return plain if plain != word and (plain.startswith("-") or SETTING.match(plain)) else None


def _cut_at_a_space(words: Sequence[str], at: int) -> tuple[str, str] | None:
    """A word with its neighbours as it stands and as it would be right, where that makes one setting."""
    end = next((i for i in range(at + 1, len(words)) if SETTING.match(words[i])), len(words))
    for first in (at, at - 1):
        cut = words[max(first, 0) : end]
        if len(cut) == 1 or (SETTING.match(words[at]) and first < at):
            continue
        typed = " ".join(cut)
        whole = re.sub(r"\s*=\s*", "=", typed.strip("'"), count=1)
        _, key, value = _parts(whole)
        is_path = key in PATHS and (os.path.exists(value) or not os.path.exists(_parts(cut[0])[2]))
        goes_on = is_path or cut[0].endswith("=") or _parsed(cut[0]) is None
        right = override(key, value) if key in PATHS else whole
        if key and value and goes_on and _parsed(right) is not None:
            return typed, right
    return None
