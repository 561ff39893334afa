"""Train, test and draw: python -m fer_lightning [model=dnn] [aug=norm] [key=value …] [--multirun key=a,b,…]"""

import logging
import os
import sys
from contextlib import ExitStack, redirect_stdout
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fer_lightning import __version__
from fer_lightning.errors import UserError, print_error, run_command, told
from fer_lightning.results.lock import FolderLock
from fer_lightning.results.paths import holds_run
from fer_lightning.settings import begun
from fer_lightning.settings.begun import compare
from fer_lightning.settings.command_line import readable
from fer_lightning.settings.hydra_app import register_resolvers
from fer_lightning.settings.hydra_errors import CONF, as_user_error
from fer_lightning.settings.sweep import has_launcher, has_sweeper
from fer_lightning.training.processes import end_with_parent, is_first_process

log = logging.getLogger(__name__)


def job(cfg: DictConfig) -> float | None:
    """One run, alone or in a sweep, whose other jobs go on when this one fails.

    Returns the validation accuracy, for Hydra's sweepers that search; None for a job that failed.
    """
    settings = HydraConfig.get()
    folder = Path(settings.runtime.output_dir)
    if settings.job.chdir:  # a run's files have their place in it; paths mean what they meant where they were typed
        os.chdir(settings.runtime.cwd)
    if not is_first_process():
        logging.disable(logging.WARNING)  # the first one tells it
    if settings.mode == RunMode.MULTIRUN:
        return sweep_job(cfg, folder)
    from fer_lightning.train import train  # torch and Lightning, so not before a run is wanted

    try:
        metrics = train(cfg, folder)
    except Exception as error:
        if (message := told(error)) is None:
            raise
        print_error(message)
        sys.exit(message.status)  # Hydra adds a line to an exception
    if metrics["interrupted"]:
        raise KeyboardInterrupt
    goes_on = cfg.ckpt_path is not None or cfg.resume
    if goes_on and (folder.parent / "multirun.yaml").is_file() and is_first_process():
        try:
            compare(folder.parent)  # whose comparison does not know yet that this job has completed
        except Exception:
            log.exception("the run is complete; the comparison of its sweep failed")
    return metrics.get("val_acc")


def sweep_job(cfg: DictConfig, folder: Path) -> float | None:
    """A job of a sweep, in the process that began it or in another one, where Hydra's launcher is another one."""
    elsewhere = begun.now is None
    if elsewhere:
        if has_launcher(HydraConfig.get(), "JoblibLauncher"):
            end_with_parent()
        if cfg.ckpt_path is None:
            cfg.resume = True  # a cluster may begin a job again
    from fer_lightning.train import train, write_metrics

    if begun.stopped:
        if not holds_run(folder):
            write_metrics({"completed": False, "interrupted": True}, folder)
        return None
    with ExitStack() as opened:
        if elsewhere:  # the process that began the sweep shows what is logged, see `Follower`
            opened.enter_context(redirect_stdout(opened.enter_context(open(os.devnull, "w", encoding="utf-8"))))
        try:
            with FolderLock(folder):
                if holds_run(folder) and not cfg.resume:
                    raise UserError(f"{folder}: another run was done in it meanwhile")
                metrics = train(cfg, folder)
        except KeyboardInterrupt:
            metrics = {"interrupted": True}
        except Exception as error:
            if message := told(error):
                log.error("failed: %s: %s", folder.name, message)
            else:
                log.exception("failed: %s", folder.name)
            if not has_sweeper(HydraConfig.get(), "BasicSweeper"):
                raise  # such a sweeper is to know that it failed
            return None
    if metrics["interrupted"]:
        if not elsewhere:
            raise KeyboardInterrupt
        begun.stopped = True
    return metrics.get("val_acc")


def main() -> None:
    """The command: exit status 0 done, 1 failed, 2 a mistake in the input or configuration, 130 interrupted."""
    run_command(work)


def work() -> None:
    """What Hydra makes of the command line; its own complaints become the user's mistakes."""
    if "--version" in sys.argv[1:]:  # Hydra would tell its own
        print(f"fer_lightning {__version__}")
        return
    sys.argv[1:] = readable(sys.argv[1:])
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come out as exceptions; who made them decides what is shown
    register_resolvers()
    try:
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)()
    except (KeyboardInterrupt, Exception) as error:
        if (mistake := as_user_error(error)) is not None:
            raise mistake from None
        if begun.now is None or (status := begun.now.end(error)) is None:
            raise
        sys.exit(status)
    finally:
        begun.close()


if __name__ == "__main__":
    main()
