"""Hydra's complaints about a command line in words for the person who wrote it: what is wrong, what would be right."""

import difflib
import re
import sys
from pathlib import Path

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fer_lightning.errors import UserError

PACKAGE = Path(__file__).parents[1]
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())  # in a wheel, in a checkout
TAKING_MORE = ("optimizer", "trainer")  # groups that go to a constructor with more arguments than `conf/` names


def as_user_error(error: BaseException) -> UserError | None:
    """The user's mistake behind an exception of Hydra's or OmegaConf's; None where it is no such exception."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, ValueError) and "Config group override" in str(error):  # Hydra's own, of model=null or model=5
        return UserError(not_a_choice() or str(error))
    if isinstance(error, HydraException | OmegaConfBaseException):
        return UserError(explain(error))
    return None


def explain(error: BaseException) -> str:
    message = "\n".join(dict.fromkeys(str(e) for e in (error, error.__cause__) if e is not None))
    choice = re.search(r"Could not find '([\w/]+)/([^'/]+)'", message)
    if choice and choices(choice[1]):
        return no_such_choice(*choice.groups())
    key = re.search(r"Could not override '([^']+)'", message)
    return no_such_key(key[1]) if key else message


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def no_such_choice(group: str, name: str) -> str:
    known = choices(group)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" (nearest: {near[0]})" if near else ""
    return f"{group}={name}: there is no such choice; {group} is one of {', '.join(known)}{hint}"


def not_a_choice() -> str:
    """The groups for which the command line names what is no choice."""
    said = []
    for given in sys.argv[1:]:
        group, _, value = given.lstrip("+").partition("=")
        if known := choices(group):
            said += [no_such_choice(group, name) for name in value.strip("[]").split(",") if name not in known]
    return "; ".join(said)


def no_such_key(key: str) -> str:
    known = keys()
    group = key.partition(".")[0]
    if having := known.get(key):
        return f"{key}: no key of the {group} that is chosen, but of {' and '.join(having)}"
    near = difflib.get_close_matches(key, known, n=3, cutoff=0.5)
    hint = f"; nearest: {', '.join(near)}" if near else "; `--cfg job` prints all keys"
    more = f" (a further argument: +{key}=…)" if group in TAKING_MORE and "." in key else ""
    return f"{key}: there is no such key{hint}{more}"


def keys() -> dict[str, list[str]]:
    """Every key of `conf/`, dotted, with the choices, `group=name`, that have it; groups and plain keys with none."""
    top = OmegaConf.load(CONF / "config.yaml")
    assert OmegaConf.is_dict(top)
    found: dict[str, list[str]] = {str(key): [] for key in top if key not in ("defaults", "hydra")}
    found |= {f"distill.{key}": [] for key in top.distill}
    for path in sorted(CONF.glob("*/*.yaml")):
        group = path.parent.name
        found.setdefault(group, [])
        if group == "experiment":
            continue
        for key in map(str, OmegaConf.load(path)):
            if not key.startswith("_") and key != "defaults":
                found.setdefault(f"{group}.{key}", []).append(f"{group}={path.stem}")
    return found
