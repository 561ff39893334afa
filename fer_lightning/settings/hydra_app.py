"""What Hydra calls around runs and sweeps: folders, checks before any work, the comparison after a sweep."""

import itertools
import random
import shlex
import shutil
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.utils import env_override
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict

from fer_lightning.errors import UserError, print_error, say_loading
from fer_lightning.results.files import keep
from fer_lightning.results.paths import JOBS, expanded, holds_run, last_checkpoint, nearest, override, refuse_foreign
from fer_lightning.settings import begun, sweep
from fer_lightning.settings.hydra_errors import CONF, as_user_error
from fer_lightning.settings.sweep import has_launcher, has_sweeper, job_folder, record, run_name
from fer_lightning.training.processes import check_ranks, is_first_process, started


def register_resolvers() -> None:
    """Make `${fer.run_dir:…}` and the others of conf/config.yaml known. Harmless when called again."""
    OmegaConf.register_new_resolver("fer.run_dir", run_dir, replace=True)
    OmegaConf.register_new_resolver("fer.run_name", run_name, replace=True)
    OmegaConf.register_new_resolver("fer.job_folder", job_folder, replace=True)
    OmegaConf.register_new_resolver("fer.record", record, replace=True)


def run_dir(ckpt_path: object, new: str) -> str:
    """The folder of the run that `ckpt_path` goes on with, where it is a run's last.ckpt; otherwise `new`."""
    if isinstance(ckpt_path, str):  # anything else is refused a little later
        last = expanded(ckpt_path).absolute()  # also of last.ckpt in the current folder
        last = last_checkpoint(last)
        if last.name == "last.ckpt" and last.parent.name == "checkpoints" and holds_run(last.parents[1]):
            return str(last.parents[1])
    return new


class RunHooks(Callback):
    """Refuses what cannot work before a folder is made; compares a sweep's runs when it ends.

    An exception in a callback is only a warning to Hydra, so mistakes are reported and exit from here.
    """

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with exit_on_error():
            check_ranks()
            sweep.tell_hydra(config)
            folder = place(config, "hydra.run.dir")
            named = is_named(config, "hydra.run.dir")
            if not is_first_process():
                check_processes(config)
                config.hydra.output_subdir = None
                config.hydra.run.dir = str(folder)
                if not named and config.get("ckpt_path") is None:
                    config.hydra.run.dir = "."  # it writes nothing; the first one's folder is named by the clock
                return
            resume = resumes(config, "hydra.run.dir", named)
            named |= config.get("ckpt_path") is not None
            if named and (folder / "multirun.yaml").is_file():
                raise UserError(f"{folder}: it holds a sweep; name another folder, or a job's below it")
            there = named and holds_run(folder)
            if there:
                if not resume:
                    refuse_another(config, folder)
                begun.begin(config, folder)
            elif named:
                refuse_foreign(folder)
            complete = check(config, folder).complete
            if not there:
                folder = claim(folder, "checkpoints", named)
                begun.begin(config, folder)
            config.hydra.run.dir = str(folder)
            if complete:
                config.hydra.output_subdir = None

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with exit_on_error():
            sweep.tell_hydra(config)
            folder = place(config, "hydra.sweep.dir")
            named = is_named(config, "hydra.sweep.dir")
            resume = resumes(config, "hydra.sweep.dir", named)
            check_ranks()
            if not is_first_process() or started() > 1:
                raise UserError(
                    "--multirun in several processes (torchrun, srun): each would do the whole sweep; start one"
                )
            if named and holds_run(folder):
                raise UserError(f"{folder}: it holds a run, not a sweep; name another folder")
            if named and not resume and any(holds_run(job) for job in folder.glob("*/")):
                raise UserError(
                    f"{folder}: it already holds a sweep, which is not overwritten; name another folder, or go on "
                    "with it: resume=true"
                )
            if has_launcher(config.hydra, "SlurmLauncher") and shutil.which("srun") is None:
                raise UserError(
                    "hydra/launcher=submitit_slurm: there is no srun here, so no SLURM; hydra/launcher=joblib does "
                    "jobs side by side on this machine"
                )
            if named and not any((folder / name).exists() for name in ("multirun.yaml", JOBS)):
                refuse_foreign(folder, ("comparison.*", "multirun*.yaml"))
            if resume and not has_sweeper(config.hydra, "BasicSweeper"):
                raise UserError("resume=true: this sweeper chooses its jobs as it goes, so none is known again")
            if resume and is_named(config, "hydra.sweep.subdir"):
                leave_out_resume(config)
            chance = random.getstate()
            jobs, swept = sweep.jobs_of(config)
            for job in jobs:
                job.experiment = check(job.config)
            if is_named(config, "hydra.sweep.subdir"):
                sweep.own_folders(jobs)
            folder = claim(folder, ".", named)
            this = begun.begin(config, folder, sweep=True)
            if not has_sweeper(config.hydra, "BasicSweeper"):
                jobs = []
            sweep.lay_out(folder, jobs, swept, resume)
            keep(folder / "multirun.yaml")
            this.jobs = jobs
            if begun.does_jobs_elsewhere(config.hydra):
                this.follow()
            config.hydra.sweep.dir = str(folder)
            # From these, each job's configuration is composed; of a key that stands there twice the last counts
            config.hydra.overrides.hydra = [
                *given_to_hydra(config),
                override("hydra.sweep.dir", config.hydra.sweep.dir),
            ]
            random.setstate(chance)  # so that shuffle(…) gives Hydra's sweeper the same order

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        assert begun.now is not None
        with exit_on_error():
            status = begun.now.end()
        if status:
            sys.exit(status)


@contextmanager
def exit_on_error() -> Iterator[None]:
    """Ends the command where the work inside fails: with one message and its status, or with a traceback and 1."""
    try:
        yield
    except Exception as error:
        if (mistake := as_user_error(error)) is None:
            traceback.print_exception(error)
            sys.exit(1)
        print_error(mistake)
        sys.exit(mistake.status)


def check(config: DictConfig, folder: Path | None = None) -> Any:
    """`build.check` of a job: its `Experiment`, on the meta device. folder: where the job is done, if that is known."""
    say_loading()
    from fer_lightning.settings import build  # torch and Lightning, so not before a run is wanted

    with env_override(config.hydra.job.env_set):  # as in the job
        return build.check(own(config), folder)


def check_processes(config: DictConfig) -> None:
    """UserError unless a process that is not the first one belongs to the run."""
    from fer_lightning.settings import build

    trainer = build.resolve(own(config)).trainer
    build.make_trainer({**trainer.arguments, "precision": "32-true", "max_epochs": 1})  # whatever `auto` comes to


def own(config: DictConfig) -> DictConfig:
    """A configuration without Hydra's own settings, which it may still refer to."""
    sweep.tell_hydra(config)
    job = config.copy()
    with open_dict(job):
        job.pop("hydra", None)
    return job


def resumes(config: DictConfig, key: str, named: bool) -> bool:
    """Whether the command goes on in the folder that `key` names."""
    resume = config.get("resume") is True  # anything else but false is refused a little later
    if resume and not named:
        raise UserError(f"resume=true: it goes on in the folder that {key}=PATH names, or begins there; name it")
    return resume


def place(config: DictConfig, key: str) -> Path:
    if not (named := OmegaConf.select(config, key)):
        raise UserError(f"{key}: it is empty; name a folder, or leave it out")
    return expanded(named)


def is_named(config: DictConfig, key: str) -> bool:
    """Whether the user, not conf/config.yaml, says where the run or sweep goes: there its name has the second in it."""
    group, _, name = key.rpartition(".")
    mine, usual = (
        OmegaConf.to_container(OmegaConf.select(each, group), resolve=False)[name]  # type: ignore[index, call-overload]
        for each in (config, OmegaConf.load(CONF / "config.yaml"))
    )
    return bool(mine != usual)


def leave_out_resume(config: DictConfig) -> None:
    """See to it that jobs whose folder is ${hydra.job.override_dirname} have the one that they began in."""
    key = "hydra.job.config.override_dirname.exclude_keys"
    left_out = [*OmegaConf.select(config, key), "resume"]
    config.hydra.overrides.hydra = [*given_to_hydra(config), f"{key}=[{','.join(left_out)}]"]


def given_to_hydra(config: DictConfig) -> list[str]:
    """What the command line says of Hydra's own settings; an interpolation is each job's own."""
    given = OmegaConf.to_container(config.hydra.overrides.hydra, resolve=False)
    assert isinstance(given, list)
    return given


def claim(folder: Path, below: str, named: bool) -> Path:
    """Take a new folder by making the folder `below` in it, which only one process can; "." takes an old one as well.

    Where another has: UserError if the user named it; otherwise (two began in the same second) it gets a number.
    """
    taken = folder
    for number in itertools.count(2):
        try:
            (taken / below).mkdir(parents=True, exist_ok=named and below == ".")
            break
        except FileExistsError:
            if not folder.is_dir():
                raise UserError(f"{folder}: it is a file, or a link to nothing; name a folder") from None
            if named:
                raise UserError(f"{folder}: another run began in it just now; name another folder") from None
            taken = folder.with_name(f"{folder.name}-{number}")
        except OSError as error:
            raise UserError(f"{folder}: it cannot be made: {error.strerror}") from None
    return taken


def refuse_another(config: DictConfig, folder: Path) -> None:
    """Raise UserError unless `ckpt_path` is the newest state of the run in a folder, which goes on there then."""
    ckpt_path = config.get("ckpt_path")
    if isinstance(ckpt_path, str) and not expanded(ckpt_path).exists():
        raise UserError(f"ckpt_path={ckpt_path}: no such checkpoint{nearest(Path(ckpt_path))}")
    if not isinstance(ckpt_path, str) or last_checkpoint(ckpt_path).resolve() != last_checkpoint(folder).resolve():
        raise UserError(
            f"{folder}: it already holds a run, which is not overwritten. Name another folder with hydra.run.dir=PATH, "
            f"or go on with that run: {shlex.quote(override('hydra.run.dir', folder))} resume=true"
        )


register_resolvers()  # on import, so in the processes of a parallel sweep as well, which unpickle the callback
