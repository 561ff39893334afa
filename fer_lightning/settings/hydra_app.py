"""What Hydra calls around runs and sweeps: names of folders, checks before any work, the comparison after a sweep."""

import itertools
import re
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from fer_lightning.errors import UserError, print_error, say_loading
from fer_lightning.results.paths import holds_run, last_checkpoint, override
from fer_lightning.settings.hydra_errors import as_user_error
from fer_lightning.training.processes import is_first_process


def register_resolvers() -> None:
    """Make `${fer.run_dir:…}` and the others of conf/config.yaml known. Harmless when called again."""
    OmegaConf.register_new_resolver("fer.run_dir", run_dir, replace=True)
    OmegaConf.register_new_resolver("fer.run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("fer.job_name", job_name, replace=True)


def run_dir(ckpt_path: object, new: str) -> str:
    """The folder of the run that `ckpt_path` goes on with, where it is a run's last.ckpt; otherwise `new`."""
    if isinstance(ckpt_path, str):  # anything else is refused a little later
        last = Path(ckpt_path).expanduser().absolute()  # also of last.ckpt in the current folder
        last = last_checkpoint(last)
        if last.name == "last.ckpt" and last.parent.name == "checkpoints" and holds_run(last.parents[1]):
            return str(last.parents[1])
    return new


def run_name(choices: Mapping[str, Any], overrides: list[str]) -> str:
    """What a run is: `dnn-norm`; of a recipe, its name and what was chosen instead of its own: `quick_cnn-none`."""
    if (recipe := choices.get("experiment")) is None:
        return in_letters([choices.get("model"), choices.get("aug")])  # one that was taken away is refused later
    instead = [value for key, _, value in (given.partition("=") for given in overrides) if key in ("model", "aug")]
    return in_letters([recipe, *instead])


def job_name(number: int, choices: Mapping[str, Any], overrides: list[str]) -> str:
    """A sweep job's folder, `0-dnn-norm-seed1`: number, `run_name`, and what not all jobs share."""
    parts = [number, run_name(choices, overrides)]
    for given in overrides:
        key, _, value = given.lstrip("+~").partition("=")
        if key not in ("model", "aug", "experiment") and given not in sys.argv:  # as given, so the same for every job
            parts.append(key.rpartition(".")[2] + value)
    return in_letters(parts)


def in_letters(parts: Iterable[object]) -> str:
    """A folder's name of letters, digits, `.`, `_` and `-`."""
    name = "-".join(map(str, parts)).replace("+", "")  # 1e+30 must not become 1e-30
    return re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9._-]+", "-", name))[:100].strip("-.")


class RunHooks(Callback):
    """Refuses what cannot work before a folder is made; compares a sweep's runs when it ends.

    An exception in a callback is only a warning to Hydra, so mistakes are reported and exit from here.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        if not is_first_process():
            return
        with exit_on_error():
            folder = place(config, "hydra.run.dir")
            named = is_named(config, "hydra.run.dir") or config.get("ckpt_path") is not None
            goes_on = named and holds_run(folder)
            if goes_on:
                claim_for_resuming(config, folder)
            check(config)
            config.hydra.run.dir = str(folder if goes_on else claim(folder, "checkpoints", named))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with exit_on_error():
            folder = place(config, "hydra.sweep.dir")
            named = is_named(config, "hydra.sweep.dir")
            if named and any(holds_run(job) for job in folder.glob("*/")):
                raise UserError(f"{folder}: it already holds a sweep, which is not overwritten; name another folder")
            for job in sweep_jobs(config):
                if str(job.trainer.get("strategy", "")).startswith("ddp") or check(job) > 1:
                    raise UserError(
                        "trainer=ddp, or trainer.devices above 1, with --multirun: each process of a job would start "
                        "the whole sweep again; run the jobs one by one, or use trainer=gpu"
                    )
            config.hydra.sweep.dir = str(folder if named else claim(folder, ".", named))
            given = config.hydra.overrides.hydra  # from these, each job's configuration is composed
            others = [each for each in given if not is_override(each, "hydra.sweep.dir")]
            config.hydra.overrides.hydra = [*others, override("hydra.sweep.dir", config.hydra.sweep.dir)]

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        with exit_on_error():
            all_completed = end_sweep(Path(config.hydra.sweep.dir))
        if not all_completed:
            sys.exit(1)


class exit_on_error:
    """Ends the command where the work inside fails: with a user's mistake alone and status 2, or a traceback and 1."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None and (mistake := as_user_error(error)) is not None:
            print_error(mistake)
            sys.exit(2)
        if isinstance(error, Exception):
            traceback.print_exception(error)
            sys.exit(1)


def check(config: DictConfig) -> int:
    """`config.check` of a job: the number of its processes."""
    say_loading()
    from fer_lightning.settings import build  # torch and Lightning, so not before a run is wanted

    job = config.copy()
    with open_dict(job):
        job.pop("hydra", None)
    return build.check(job)


def place(config: DictConfig, key: str) -> Path:
    if not (named := OmegaConf.select(config, key)):
        raise UserError(f"{key}: it is empty; name a folder, or leave it out")
    return Path(named).expanduser()


def is_named(config: DictConfig, key: str) -> bool:
    """Whether the command line says where the run or sweep goes; otherwise its folder is named after the second."""
    return any(is_override(given, key) for given in config.hydra.overrides.hydra)


def is_override(given: object, key: str) -> bool:
    return str(given).lstrip("+").startswith(f"{key}=")


def claim(folder: Path, below: str, named: bool) -> Path:
    """Take a new folder by making the folder `below` in it, which only one process can.

    Where another has: UserError if the user named it; otherwise (two began in the same second) it gets a number.
    """
    taken = folder
    for number in itertools.count(2):
        try:
            (taken / below).mkdir(parents=True)
            break
        except FileExistsError:
            if named:
                raise UserError(f"{folder}: another run began in it just now; name another folder") from None
            taken = folder.with_name(f"{folder.name}-{number}")
        except OSError as error:
            raise UserError(f"{folder}: it cannot be made: {error.strerror}") from None
    return taken


def claim_for_resuming(config: DictConfig, folder: Path) -> None:
    """Let a run go on in its own folder, from its own newest state; anything else would overwrite what is there."""
    ckpt_path = config.get("ckpt_path")
    last = last_checkpoint(folder)
    if ckpt_path is None or last_checkpoint(ckpt_path).resolve() != last.resolve():
        from fer_lightning.results.run_folder import is_completed  # pandas, so not before it is wanted

        remedy = "that run has no checkpoint to go on from: it is just beginning, or ended before its first epoch"
        if is_completed(folder):
            remedy = "that run is complete"
        if last.exists():
            remedy = f"or go on with that run: {override('ckpt_path', last)}"
        raise UserError(
            f"{folder}: it already holds a run, which is not overwritten. Name another folder with hydra.run.dir=PATH; "
            f"{remedy}"
        )
    number = 1 + len(list(folder.glob(".hydra/resumed-*")))
    with open_dict(config):  # Hydra's record of the first start stays as it is
        config.hydra.output_subdir = f".hydra/resumed-{number}"


def sweep_jobs(config: DictConfig) -> list[DictConfig]:
    """The configuration of every job of a sweep, as Hydra's basic sweeper will compose them."""
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    lists = []
    for given in OverridesParser.create(hydra.config_loader).parse_overrides(list(config.hydra.overrides.task)):
        key = given.get_key_element()
        if given.is_sweep_override():
            lists.append([f"{key}={value}" for value in given.sweep_string_iterator()])
        else:
            lists.append([f"{key}={given.get_value_element_as_str()}"])
    for key, values in (config.hydra.sweeper.get("params") or {}).items():
        lists.append([f"{key}={value}" for value in str(values).split(",")])
    return [hydra.config_loader.load_sweep_config(config, list(overrides)) for overrides in itertools.product(*lists)]


def end_sweep(folder: Path) -> bool:
    """Write and print the comparison of a sweep's runs; whether all of them completed."""
    from fer_lightning.results import comparison  # pandas and matplotlib, so not before they are wanted

    table = comparison.compare(folder)
    print(
        f"\n{comparison.markdown(table)}\n"
        f"comparison: {folder}/comparison.md, .csv and .png; the figures of each run in its folder there\n"
        f"curves: tensorboard --logdir {folder}"
    )
    return not table["failed"].any()
