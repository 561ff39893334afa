"""Hydra's complaints about a command line in words for the person who wrote it: what is wrong, what would be right."""

import difflib
import re
import shlex
import sys
import traceback
from pathlib import Path
from typing import Any

from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fer_lightning.errors import UserError, told
from fer_lightning.results.paths import override

PACKAGE = Path(__file__).parents[1]
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())  # in a wheel, in a checkout
USUAL_NAMES = {  # elsewhere: here; others are found by their last part
    "epochs": "trainer.max_epochs",
    "learning_rate": "optimizer.lr",
    "batch": "data.batch_size",
    "bs": "data.batch_size",
    "path": "data.root",
    "data_path": "data.root",
    "data_dir": "data.root",
    "augmentation": "aug",
    "network": "model",
    "gpus": "trainer.devices",
}
HYDRAS = (
    "hydra.run.dir",
    "hydra.sweep.dir",
    "hydra.sweep.subdir",
    "hydra.job.chdir",
    "hydra.mode",
)
# What takes names that conf/ does not have
OPEN = ("model.", "optimizer.", "scheduler.", "averaging.", "trainer.", "hydra.job.env_set.", "hydra.callbacks.")
EXTRAS = {"joblib": "parallel", "submitit_local": "cluster", "submitit_slurm": "cluster"}  # of ours, by launcher


def as_user_error(error: BaseException) -> UserError | None:
    """The user's mistake behind an exception of Hydra's or OmegaConf's; None where it is no such exception."""
    if message := told(error) or (told(error.__cause__) if error.__cause__ else None):  # of a log that is refused
        return message
    if isinstance(error, HydraException | OmegaConfBaseException) or of_hydra(error):
        return UserError(explain(error))
    return None


def of_hydra(error: BaseException) -> bool:
    """Whether it is a ValueError that Hydra itself raises, as for options that exclude each other."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, ValueError) and str(frames[-1].f_globals.get("__name__")).startswith("hydra.")


def explain(error: BaseException) -> str:
    """Hydra's own message; for an unknown key or choice the nearest that there are."""
    message = "\n".join(dict.fromkeys(str(each) for each in (error, error.__cause__) if each is not None))
    if choice := re.search(r"Could not find '((?:hydra/)?\w+)/([^']+)'", message):
        return no_such_choice(*choice.groups())
    if "Config group override" in message:  # of model=null or model=5, without the group's name
        return not_a_choice() or message
    if several := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.+)'( requires)?", message):
        key, _, value = several[1].partition("=")
        a_list = "" if several[2] or choices(key) else f"; a list is {shlex.quote(f'{key}=[{value}]')}"
        return (
            f"{several[1]}: several values, one after the other, are for --multirun {shlex.quote(several[1])}{a_list}"
        )
    if again := re.search(r"Multiple values for ([^.]+)\. To override a value use 'override", message):
        return f"+{again[1]}=…: there is one already; write {again[1]}=… without the +"
    if of_hydra_itself := re.search(r"Interpolation key 'hydra\.([^']+)' not found", message):
        return f"${{hydra.{of_hydra_itself[1]}}}: Hydra's own settings are written ${{hydra:{of_hydra_itself[1]}}} here"
    unknown = re.search(r"Could not override '([^']+)'", message)
    return no_such_key(unknown[1]) if unknown else message


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in CONF.glob(f"{group}/*.yaml")) if re.fullmatch(r"\w+", group) else []


def no_such_choice(group: str, name: str) -> str:
    if name in EXTRAS:
        return f"{group}={name}: it needs a package: pip install 'fer_lightning[{EXTRAS[name]}]'"
    if not (known := choices(group)):
        return f"{group}={name}: there is no such choice"
    near = difflib.get_close_matches(name, known, n=1)
    hint = f" (nearest: {near[0]})" if near else ""
    if group == "data" and ("/" in name or Path(name).exists()):
        hint = f"; a file or folder is {shlex.quote(override('data.root', name))}"
    return f"{group}={name}: there is no such choice; {group} is one of {', '.join(known)}{hint}"


def not_a_choice() -> str:
    """The groups for which the command line names what is no choice."""
    given = ((key.lstrip("+"), value.strip("[]")) for key, _, value in (word.partition("=") for word in sys.argv[1:]))
    named = ((group, name, choices(group)) for group, value in given for name in value.split(","))
    return "; ".join(no_such_choice(group, name) for group, name, known in named if known and name not in known)


def no_such_key(key: str) -> str:
    """With the nearest keys of all choices: those of the same last part, else those whose last part is alike."""
    if key.startswith("hydra.launcher."):
        return f"{key}: no key of the launcher that is chosen; choose its launcher, such as hydra/launcher=joblib"
    known, name = keys(), last_part(key)
    if known.get(key):
        return f"{key}: no key of the {key.partition('.')[0]} that is chosen, but of {' and '.join(known[key])}"
    parts = sorted({last_part(other) for other in known})
    alike = [name] if name in parts else difflib.get_close_matches(name, parts, cutoff=0.7)
    near = [other for other in known if last_part(other) in alike]
    if name in USUAL_NAMES:
        near = [USUAL_NAMES[name]]
    if key.startswith("hydra."):
        near = difflib.get_close_matches(key, HYDRAS)
    choose = [f"{other} (of {' and '.join(known[other])})" if known.get(other) else other for other in near]
    hint = f"nearest: {', '.join(choose)}" if near else "`--cfg job` prints all keys"
    if not near and key.startswith(OPEN):
        hint = f"one that conf/ does not name is added: +{key}=…"
    return f"{key}: there is no such key; {hint}"


def last_part(key: str) -> str:
    return key.rpartition(".")[2]


def keys() -> dict[str, list[str]]:
    """Every key of `conf/`, dotted, with the choices, `group=name`, that have it where not all do; groups with none."""
    top: Any = OmegaConf.load(CONF / "config.yaml")
    found: dict[str, list[str]] = {str(key): [] for key in top if key not in ("defaults", "hydra")}
    found |= {f"distill.{key}": [] for key in top.distill}
    for group in sorted({path.parent.name for path in CONF.glob("*/*.yaml")}):
        found[group] = []
        if group in ("experiment", "debug"):
            continue
        files: dict[str, Any] = {name: OmegaConf.load(CONF / group / f"{name}.yaml") for name in choices(group)}
        whole = {name: file for name, file in files.items() if "defaults" not in file}  # others change one of these
        for key in dict.fromkeys(str(key) for file in whole.values() for key in file if not str(key).startswith("_")):
            having = [f"{group}={name}" for name, file in whole.items() if key in file]
            found[f"{group}.{key}"] = having if len(having) < len(whole) else []
    return found
