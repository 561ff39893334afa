"""A sweep's jobs and their folders: which jobs there are, and which of them stand in the sweep's folder already.

jobs.json of the sweep's folder tells each job's folder: the processes that do the jobs find theirs by it.
"""

import copy
import itertools
import logging
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from fer_lightning.errors import UserError
from fer_lightning.results.files import write_json
from fer_lightning.results.paths import JOBS, in_order, read_jobs

log = logging.getLogger(__name__)

RECORD = ".hydra"  # Hydra's record of a start, in a job's folder
FINGERPRINT = "data_fingerprint"
EXCLUDE = "'hydra.job.config.override_dirname.exclude_keys=[data.root]'"
LONGEST_NAME = 255  # bytes, of most file systems
NUMBER = re.compile("[0-9]+(?=-)")  # of a job, at the beginning of its folder's name


@dataclass
class Job:
    """One of a sweep: what it is and where it is done."""

    config: DictConfig
    name: str  # of its folder, without the number
    experiment: Any = None  # the checked `Experiment`
    folder: str = ""  # below the sweep's
    complete: bool = False

    @property
    def overrides(self) -> list[str]:
        return list(self.config.hydra.overrides.task)


def tell_hydra(config: DictConfig) -> None:
    """Let `${hydra:…}` in a configuration resolve."""
    HydraConfig.instance().set_config(copy.deepcopy(config))  # it makes its own read-only


def has_sweeper(hydra: Any, name: str) -> bool:
    """Whether that class chooses a sweep's jobs; all but BasicSweeper choose each by the scores of those before."""
    return str(hydra.sweeper.get("_target_")).endswith(f".{name}")


def has_launcher(hydra: Any, name: str) -> bool:
    """Whether that class does a sweep's jobs: BasicLauncher in this process, one after the other."""
    return str(hydra.launcher.get("_target_")).endswith(f".{name}")


def jobs_of(config: DictConfig) -> tuple[list[Job], list[str]]:
    """Every job of a sweep, as Hydra's sweeper will compose them, and the keys that are swept.

    Of another sweeper, one job that it could choose.
    """
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    params = config.hydra.sweeper.get("params") or {}
    given = OmegaConf.to_container(config.hydra.overrides.task, resolve=False)  # an interpolation is each job's own
    assert isinstance(given, list)
    given = [*(f"{key}={value}" for key, value in params.items()), *given]
    overrides = OverridesParser.create(hydra.config_loader).parse_overrides(given)
    if has_sweeper(config.hydra, "BasicSweeper"):
        (lists,) = BasicSweeper.split_arguments(overrides, max_batch_size=None)
        for override in overrides if not lists else []:
            if override.is_sweep_override() and not list(override.sweep_iterator()):
                raise UserError(
                    f"{override.input_line}: it has no values; glob(…) is of a group's choices, such as model's"
                )
    else:
        lists = [[_first(override) for override in overrides]]
    swept = [override.get_key_element().lstrip("+") for override in overrides if override.is_sweep_override()]
    jobs = []
    for number, each in enumerate(lists):
        job = hydra.config_loader.load_sweep_config(config, each)
        with open_dict(job):
            job.hydra.job.num = number
        name = job_name(job.hydra.runtime.choices, list(job.hydra.overrides.task), swept)
        jobs.append(Job(job, name))
    return jobs, swept


def _first(override: Override) -> str:
    key = override.get_key_element()
    if not override.is_sweep_override():
        return f"{key}={override.get_value_element_as_str()}"
    if override.is_discrete_sweep():
        return f"{key}={next(iter(override.sweep_string_iterator()))}"
    interval: Any = override.value()
    return f"{key}={interval.start}"


def job_name(choices: Mapping[str, Any], overrides: Sequence[str], swept: Sequence[str] | None) -> str:
    """A job's folder without its number, `dnn-norm-seed1`: `run_name`, and what is swept beside it.

    swept: keys; None where they are not known: all are taken.
    """
    parts = [run_name(choices, overrides)]
    for given in overrides:
        key, _, value = given.lstrip("+~").partition("=")
        if key not in ("model", "aug", "experiment") and (swept is None or key in swept):
            parts.append(key.rpartition(".")[2] + value)
    return in_letters(parts)


def run_name(choices: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """What a run is: `dnn-norm`; of a recipe, its name and what was chosen instead of its own: `quick_cnn-none`."""
    if (recipe := choices.get("experiment")) is None:
        return in_letters([choices.get("model"), choices.get("aug")])  # one that was taken away is refused later
    instead = [value for key, _, value in (given.partition("=") for given in overrides) if key in ("model", "aug")]
    return in_letters([recipe, *instead])


def in_letters(parts: Iterable[object]) -> str:
    """A folder's name of letters, digits, `.`, `_` and `-`."""
    name = "-".join(map(str, parts)).replace("+", "")  # 1e+30 must not become 1e-30
    return re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9._-]+", "-", name))[:100].strip("-.")


def job_folder(sweep: str, number: int, choices: Mapping[str, Any], overrides: Sequence[str]) -> str:
    """Where a sweep's job is done, below the sweep's folder: as jobs.json says, else number and name."""
    plan = read_jobs(Path(sweep))
    jobs = plan.get("jobs", [])
    if number < len(jobs) and jobs[number]["overrides"] == list(overrides):
        return str(jobs[number]["folder"])
    return f"{number}-{job_name(choices, overrides, plan.get('swept'))}"


def lay_out(sweep: Path, jobs: Sequence[Job], swept: Sequence[str], resume: bool) -> None:
    """Choose the folders of checked jobs that have none yet, and write jobs.json.

    With `resume`, a job whose settings a run in the sweep's folder has is done there, whatever its number and name; a
    run of its name with other settings is refused. New ones get new numbers.
    """
    names = [path.name for path in sweep.iterdir() if path.is_dir()]
    if resume:
        recognize(jobs, sweep, swept)
    numbers = itertools.count(1 + max((int(found[0]) for name in names if (found := NUMBER.match(name))), default=-1))
    for job in jobs:
        job.folder = job.folder or f"{next(numbers)}-{job.name}"
    begun = 0
    for job in jobs:
        checkpoint, job.complete = job.experiment.state_in(sweep / job.folder)
        begun += checkpoint is not None
    if resume:
        complete = sum(job.complete for job in jobs)
        rest = len(jobs) - complete - begun
        log.info(f"{sweep}: of {len(jobs)} jobs {complete} complete, {begun} to go on, {rest} to begin")
    told = [{"folder": job.folder, "overrides": job.overrides, "complete": job.complete} for job in jobs]
    write_json(sweep / JOBS, {"swept": list(swept), "jobs": told})


def recognize(jobs: Sequence[Job], sweep: Path, swept: Sequence[str]) -> None:
    """Give jobs the folders of the sweep that hold their runs: those of their settings first, then of their name."""
    from fer_lightning.results.run_folder import flat, read_config
    from fer_lightning.settings.resume import LENGTH, recorded

    free: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}  # what decides a run's figures, and its config.yaml
    for path in sorted((each for each in sweep.iterdir() if each.is_dir()), key=in_order):
        try:
            metrics, decisive = recorded(path)
            config = flat(read_config(path / "config.yaml")) if (path / "config.yaml").is_file() else {}
        except UserError:  # a broken one; refused later where it is in the way
            metrics, decisive, config = {}, None, {}
        free[path.name] = ((decisive or {}) | {FINGERPRINT: metrics.get(FINGERPRINT)}, config)

    def same_settings(job: Job, name: str, but: Sequence[str] = ()) -> bool:
        """Of what is swept, also what decides nothing; a group's keys decide, its name is in no config.yaml."""
        theirs, config = free[name]
        mine = job.experiment.decisive | {FINGERPRINT: job.experiment.data_fingerprint}
        own = flat(job.experiment.settings.dump())
        return all(theirs.get(key) == mine.get(key) for key in {*theirs, *mine} - set(but)) and all(
            config.get(key) == own.get(key) for key in swept
        )

    def longer(job: Job, name: str) -> bool:
        return same_settings(job, name, but=LENGTH)

    def same_name(job: Job, name: str) -> bool:
        return NUMBER.sub("", name) == f"-{job.name}"

    for same in (same_settings, longer, same_name):
        for job in jobs:
            if not job.folder and (found := [name for name in free if same(job, name)]):
                job.folder = min(found, key=lambda name: not same_name(job, name))
                del free[job.folder]


def own_folders(jobs: Sequence[Job]) -> None:
    """Give each job the folder that a `hydra.sweep.subdir` of the user's names. UserError where two would share one."""
    for job in jobs:
        tell_hydra(job.config)
        job.folder = str(OmegaConf.select(job.config, "hydra.sweep.subdir"))
        if "/" in job.folder or job.folder in ("", ".", ".."):
            raise UserError(
                f"hydra.sweep.subdir={job.folder}: a sweep's jobs stand side by side, each in a folder of its own, "
                f"without a / (of override_dirname those of a key: {EXCLUDE})"
            )
        if len(os.fsencode(job.folder)) > LONGEST_NAME:
            raise UserError(
                f"hydra.sweep.subdir={job.folder}: longer than a file's name may be; leave keys out: {EXCLUDE}"
            )
    folders = [job.folder for job in jobs]
    if shared := [folder for folder in folders if folders.count(folder) > 1]:
        raise UserError(
            f"hydra.sweep.subdir: {len(shared)} jobs would write into {shared[0]}; leave it out, or put what differs "
            "into it, such as ${hydra.job.num}"
        )


def record(folder: str, mode: object) -> str | None:
    """Where Hydra keeps its record of this start, below a run's folder: the first one's stays as it is.

    None, for no record, of a sweep's job that is complete.
    """
    path = Path(folder)
    jobs = read_jobs(path.parent).get("jobs", []) if mode == RunMode.MULTIRUN else []
    if any(job["complete"] and job["folder"] == path.name for job in jobs):
        return None
    if not (path / RECORD).exists():
        return RECORD
    return f"{RECORD}/resumed-{1 + len(list(path.glob(f'{RECORD}/resumed-*')))}"
