"""Hydra's complaints about a command line in words for the person who wrote it: what is wrong, what would be right."""

import difflib
import inspect
import re
import shlex
import sys
import traceback
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from hydra.utils import get_class
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from fer_lightning.errors import UserError, say_loading, told
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

OPEN = ("hydra.job.env_set.", "hydra.callbacks.")  # Hydra's own that take any name
HYDRAS = (  # what is most set of Hydra's own
    *("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.job.chdir", "hydra.job.name"),
    *("hydra.output_subdir", "hydra.verbose", "hydra.mode", "hydra.searchpath"),
)
PLUGINS = {  # of Hydra's: where each is
    "joblib": "fer_lightning[parallel]",
    "submitit_local": "fer_lightning[cluster]",
    "submitit_slurm": "fer_lightning[cluster]",
    "colorlog": "hydra-colorlog",
    "optuna": "hydra-optuna-sweeper",
    "ax": "hydra-ax-sweeper",
    "nevergrad": "hydra-nevergrad-sweeper",
    "ray": "hydra-ray-launcher",
    "rq": "hydra-rq-launcher",
}


def as_user_error(error: BaseException) -> UserError | None:
    """The user's mistake behind an exception of Hydra's or OmegaConf's; None where it is no such exception."""
    if message := told(error) or (told(error.__cause__) if error.__cause__ else None):  # of a log that is refused
        return message
    if isinstance(error, ValueError) and "Config group override" in str(error):  # Hydra's own, of model=null or model=5
        return UserError(not_a_choice() or str(error))
    if isinstance(error, HydraException | OmegaConfBaseException) or of_hydra(error):
        return UserError(explain(error))
    return None


def of_hydra(error: BaseException) -> bool:
    """Whether it is a ValueError that Hydra itself raises, as for options that exclude each other."""
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    return isinstance(error, ValueError) and str(frames[-1].f_globals.get("__name__")).startswith("hydra.")


def explain(error: BaseException) -> str:
    message = "\n".join(dict.fromkeys(str(e) for e in (error, error.__cause__) if e is not None))
    choice = re.search(r"Could not find '(\w+)/([^']+)'", message)
    if choice and choices(choice[1]):
        return no_such_choice(*choice.groups())
    if plugin := re.search(r"Could not find '(hydra/(launcher|sweeper|job_logging|hydra_logging))/([^']+)'", message):
        package = PLUGINS.get(plugin[3])
        right = f"it needs a package: pip install '{package}'" if package else f"there is no such {plugin[2]}"
        return f"{plugin[1]}={plugin[3]}: {right}"
    if several := re.search(r"(?:Ambiguous value for argument|Sweep parameters) '(.+)'( requires)?", message):
        key, _, value = several[1].partition("=")
        one = f"; a list is {shlex.quote(f'{key}=[{value}]')}, a text {shlex.quote(override(key, value))}"
        one = "" if several[2] or choices(key) else one
        return f"{several[1]}: several values, one after the other, are for --multirun {shlex.quote(several[1])}{one}"
    if again := re.search(r"Multiple values for ([^.]+)\. To override a value use 'override", message):
        return f"+{again[1]}=…: there is one already; write {again[1]}=… without the +"
    if of_hydra_itself := re.search(r"Interpolation key 'hydra\.([^']+)' not found", message):
        return f"${{hydra.{of_hydra_itself[1]}}}: Hydra's own settings are written ${{hydra:{of_hydra_itself[1]}}} here"
    if "Primary config" in message:  # --config-path takes the place of conf/
        return f"{message.partition(chr(10))[0]} A folder of your own stands beside conf/: --config-dir DIR"
    unknown = re.search(r"Could not override '([^']+)'", message)
    return no_such_key(unknown[1]) if unknown else message


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in CONF.glob(f"{group}/*.yaml")) if re.fullmatch(r"\w+", group) else []


def no_such_choice(group: str, name: str) -> str:
    known = choices(group)
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
    hint = f" (nearest: {near[0]})" if near else ""
    if group == "data" and ("/" in name or Path(name).exists()):
        hint = f"; a file or folder is {shlex.quote(override('data.root', name))}"
    return f"{group}={name}: there is no such choice; {group} is one of {', '.join(known)}{hint}"


def not_a_choice() -> str:
    """The groups for which the command line names what is no choice."""
    said = []
    for group, value in given():
        if known := choices(group):
            said += [no_such_choice(group, name) for name in value.strip("[]").split(",") if name not in known]
    return "; ".join(said)


def no_such_key(key: str) -> str:
    if key.startswith("hydra.launcher."):
        return f"{key}: no key of the launcher that is chosen; choose its launcher, such as hydra/launcher=joblib"
    if (group := key.partition("@")[0]) != key and choices(group):
        return f"{key}: there is no such key; write {group}={dict(given()).get(key, '…')}"
    if key.startswith(OPEN):
        return f"{key}: it is not there yet, so add it: +{key}={dict(given()).get(key, '…')}"
    if near := difflib.get_close_matches(key, HYDRAS, n=1, cutoff=0.7):
        return f"{key}: there is no such key; nearest: {near[0]}"
    if having := keys().get(key):
        return f"{key}: no key of the {key.partition('.')[0]} that is chosen, but of {' and '.join(having)}"
    known, value = chosen(), dict(given()).get(key, "…")
    if right := meant(key, value, known):
        return f"{key}: there is no such key; write {' or '.join(right)}"
    near = nearest(key, value, known)
    hint = f"nearest: {', '.join(near)}" if near else "`--cfg job` prints all keys"
    return f"{key}: there is no such key; {hint}"


def foreign_options(arguments: list[str]) -> str | None:
    """How `--model dnn --epochs 3` is written here; None where every option is one of Hydra's."""
    _, rest = get_args_parser().parse_known_args(arguments)
    if not (foreign := [word for word in rest if word.startswith("-")]):
        return None
    known, said, right = chosen(), [], []
    for word, following in zip(arguments, [*arguments[1:], "-"], strict=True):
        if word not in foreign:
            continue
        option, _, value = word.partition("=")
        if not value and not following.startswith("-") and "=" not in following:
            word, value = f"{word} {following}", following
        said.append(word)
        key, value = option.strip("-").replace("-", "_"), value or "…"
        own = [f"{key}={value}"] if key in known or choices(key) else []
        right += (own or meant(key, value, known))[:1]
    here = f"settings are written {' '.join(right or ['key=value'])}"
    return f"{' '.join(said)}: there is no such option; {here} (`--cfg job` prints all keys)"


def meant(key: str, value: str, known: dict[str, Any]) -> list[str]:
    """The settings that a key stands for: of the same name in a group, of a usual name, or one argument more."""
    group, _, name = key.rpartition(".")
    if same := [other for other in known if other.rpartition(".")[2] == name]:
        return [written(other, value, known) for other in same]
    if name in USUAL_NAMES:
        return [written(USUAL_NAMES[name], value, known)]
    typo = difflib.get_close_matches(name, own_names(group, known), cutoff=0.85)  # torch is not loaded for that
    return [f"+{key}={value}"] if not typo and name in further_arguments(group, known) else []


def nearest(key: str, value: str, known: dict[str, Any]) -> list[str]:
    """The settings most like one that there is not: of its group, of the group's further arguments, or of all."""
    group, _, name = key.rpartition(".")
    if near := difflib.get_close_matches(name, own_names(group, known), cutoff=0.7):
        return [written(f"{group}.{other}", value, known) for other in near]
    if near := difflib.get_close_matches(name, further_arguments(group, known), cutoff=0.7):
        return [f"+{group}.{other}={value}" for other in near]
    every: dict[str, str] = {}
    for other, of in sorted(keys().items(), key=lambda item: item[0] in known):  # what is chosen wins
        is_there = other in known or not of
        every[other] = written(other, value, known) if is_there else f"{other} (of {' and '.join(of)})"
        every[other.rpartition(".")[2]] = every[other]
    return list(dict.fromkeys(every[other] for other in difflib.get_close_matches(key, every, cutoff=0.7)))


def own_names(group: str, known: dict[str, Any]) -> list[str]:
    return [other.rpartition(".")[2] for other in known if other.startswith(f"{group}.")]


def written(key: str, value: str, known: dict[str, Any]) -> str:
    """`key=value`; a number for a key that holds a list is repeated."""
    if isinstance(usual := known.get(key), list) and re.fullmatch(r"[0-9.e+-]+", value):
        value = f"[{','.join([value] * len(usual))}]"
    return f"{key}={value}"


def further_arguments(group: str, known: dict[str, Any]) -> list[str]:
    """Arguments that a group's constructor takes beside those that `conf/` names; none that a run decides by itself."""
    if group == "trainer":
        target = "pytorch_lightning.Trainer"
    elif group == "optimizer":
        target = known["optimizer._target_"]
    else:
        return []
    say_loading()
    from fer_lightning.settings.schema import PARTIAL_EPOCH_TRAINER_ARGS, RESERVED_TRAINER_ARGS

    ours = ("params", *RESERVED_TRAINER_ARGS, *PARTIAL_EPOCH_TRAINER_ARGS)
    taken = inspect.signature(get_class(target)).parameters
    return [name for name in taken if name not in ours and f"{group}.{name}" not in known]


def given() -> list[tuple[str, str]]:
    """The keys and values on the command line."""
    return [(key.lstrip("+"), value) for key, _, value in (word.partition("=") for word in sys.argv[1:])]


def chosen() -> dict[str, Any]:
    """The keys of all groups as the command line chooses them, dotted, and the plain keys, with their values."""
    picked = [f"{group}={value.split(',')[0]}" for group, value in given() if value.split(",")[0] in choices(group)]
    running = GlobalHydra.instance().is_initialized()  # in a callback
    with nullcontext() if running else initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", picked)
    plain: Any = OmegaConf.to_container(config)
    groups = {group: values for group, values in plain.items() if isinstance(values, dict)}
    dotted = {f"{group}.{key}": value for group, values in groups.items() for key, value in values.items()}
    return {key: value for key, value in plain.items() if key not in groups} | dotted


def keys() -> dict[str, list[str]]:
    """Every key of `conf/`, dotted, with the choices, `group=name`, that have it; groups and plain keys with none."""
    top = OmegaConf.load(CONF / "config.yaml")
    assert OmegaConf.is_dict(top)
    found: dict[str, list[str]] = {str(key): [] for key in top if key not in ("defaults", "hydra")}
    found |= {f"distill.{key}": [] for key in top.distill}
    for path in sorted(CONF.glob("*/*.yaml")):
        group = path.parent.name
        found.setdefault(group, [])
        if group in ("experiment", "debug"):
            continue
        for key in map(str, OmegaConf.load(path)):
            if not key.startswith("_") and key != "defaults":
                found.setdefault(f"{group}.{key}", []).append(f"{group}={path.stem}")
    return found
