"""A command's words as Hydra can read them: options first, paths in quotes, `experiment=` for `+experiment=`."""

import os
import re
import shlex

from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException

from fer_lightning.errors import UserError
from fer_lightning.results.paths import override, quoted
from fer_lightning.settings.hydra_errors import choices

PATHS = ("data.root", "init_from", "ckpt_path", "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir")
LISTS_OF_PATHS = ("distill.teachers",)
SWEEP = r"(choice|range|glob|interval|sort|shuffle)\(.*\)"  # Hydra's functions of several values
RIGHT = "settings are written key=value, such as model=dnn trainer.max_epochs=3 (`--cfg job` prints all keys)"


def readable(words: list[str]) -> list[str]:
    """The words of a command, options first. UserError for one that Hydra cannot read, with what would be right."""
    if of_windows := next((word for word in words if word.endswith("\r")), None):
        raise UserError(f"{of_windows!r}: the script has Windows' ends of lines; convert it: dos2unix SCRIPT")
    options, rest = get_args_parser().parse_known_args(words)
    if foreign := [word for word in rest if word.startswith("-")]:
        raise UserError(f"{' '.join(foreign)}: there is no such option; {RIGHT}")
    settings = [*options.overrides, *rest]  # argparse takes none that follow an option in their midst
    words = [word for word in words if word not in settings]
    if options.shell_completion:
        return [*words, *settings]
    ours = not options.config_name and not options.config_path  # else nobody knows what is in the defaults list
    sweep = options.multirun or any("hydra.mode=" in word for word in settings)
    read = [_readable(word, ours, sweep) for word in settings]
    for at, word in enumerate(read):
        try:
            has_key = re.match("[+~]*[^+~=]", word) and OverridesParser.create().parse_override(word)
        except HydraException:
            has_key = None
        if not has_key:
            raise UserError(_refused(settings[at], settings[at - 1] if at else ""))
    return [*words, *read]


def _readable(word: str, ours: bool, sweep: bool) -> str:
    given, _, value = word.partition("=")
    key = given.lstrip("+")
    if ours and choices(key):  # it is in the defaults list, so there is nothing to add
        given = key
    if key in PATHS and value not in ("", "null") and not value.startswith(("'", '"')):
        is_there = not sweep and os.path.lexists(os.path.expanduser(value))
        several = (sweep and re.fullmatch(SWEEP, value)) or ("," in value and not is_there)
        if key.startswith("hydra.") or not several:
            value = quoted(value)
    elif key in LISTS_OF_PATHS and re.fullmatch(r"\[[^\[\]{}'\"]+\]", value):
        value = f"[{','.join(quoted(each.strip()) for each in value.strip('[]').split(','))}]"
    elif key.startswith("hydra.sweeper.params"):  # OmegaConf fails on them with a traceback
        raise UserError(f"{key}: it stands in a configuration; here keys have several values, --multirun seed=0,1")
    return f"{given}={value}" if "=" in word else word


def _refused(word: str, before: str) -> str:
    """What is wrong with a word, and what would be right. before: the word that stands before it."""
    key, sign, value = word.partition("=")
    if sign and re.fullmatch(r"[+~]*[\w./@-]+", key):
        right = shlex.quote(override(key, value.strip("'\""))) + "; of several, each" * ("," in value)
        return (
            f"{word}: Hydra cannot read that; a list is one word, such as 'aug.scale=[0.9,1.1]'; a text with such "
            f"letters stands in quotes, which the shell must leave: {right}"
        )
    if os.path.exists(word):
        return f"{word}: {RIGHT}; a file or folder of FER2013 is {shlex.quote(override('data.root', word))}"
    whole = f"; if it belongs to what stands before it: {shlex.quote(f'{before} {word}')}" if "=" in before else ""
    return f"{word or 'an empty word'}: {RIGHT}{whole}"
