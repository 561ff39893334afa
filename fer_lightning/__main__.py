"""Train, test and draw: python -m fer_lightning [model=dnn] [aug=norm] [key=value …] [--multirun key=a,b,…]"""

import logging
import os
import shlex
import sys
from contextlib import nullcontext
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fer_lightning import __version__
from fer_lightning.errors import UserError, run_command
from fer_lightning.results.lock import FolderLock
from fer_lightning.results.paths import last_checkpoint, override
from fer_lightning.settings.hydra_app import end_sweep, register_resolvers, release_folders
from fer_lightning.settings.hydra_errors import CONF, as_user_error, foreign_options
from fer_lightning.training.processes import is_first_process

log = logging.getLogger(__name__)


def job(cfg: DictConfig) -> float | None:
    """One run, alone or in a sweep, whose other jobs go on when this one fails.

    Returns the validation accuracy, for Hydra's sweepers that search; None for a job that failed.
    """
    settings = HydraConfig.get()
    folder = Path(settings.runtime.output_dir)
    if not is_first_process():
        logging.disable(logging.WARNING)  # the first one tells it
    from fer_lightning.train import train  # torch and Lightning, so not before a run is wanted

    in_sweep = settings.mode == RunMode.MULTIRUN
    try:
        with FolderLock(folder) if in_sweep else nullcontext():  # a single run's is held already
            metrics = train(cfg, folder)
    except Exception as error:
        if not in_sweep:
            raise
        if isinstance(error, UserError):
            log.error("failed: %s: %s", folder.name, error)
        else:
            log.exception("failed: %s", folder.name)
        return None
    if metrics["interrupted"]:
        if in_sweep:
            end_sweep(folder.parent)
        log.info("interrupted; %s", how_to_go_on(cfg, folder, in_sweep))
        sys.exit(130)
    goes_on = cfg.ckpt_path is not None or cfg.resume
    if goes_on and not in_sweep and (folder.parent / "multirun.yaml").is_file() and is_first_process():
        try:
            end_sweep(folder.parent)  # whose comparison does not know yet that this job has completed
        except Exception:
            log.exception("the run is complete; the comparison of its sweep failed")
    return metrics.get("val_acc")


def how_to_go_on(cfg: DictConfig, folder: Path, in_sweep: bool) -> str:
    if cfg.ckpt_path is not None and not last_checkpoint(folder).is_file():
        return f"nothing was taken over from {cfg.ckpt_path} yet: start it again, in another folder than {folder}"
    key = "hydra.sweep.dir" if in_sweep else "hydra.run.dir"
    given = [word for word in sys.argv[1:] if not word.startswith(("ckpt_path=", "resume=", f"{key}="))]
    place = override(key, os.path.relpath(folder.parent if in_sweep else folder))
    return f"go on with: python -m fer_lightning {shlex.join([*given, place, 'resume=true'])}"


def main() -> None:
    """The command: exit status 0 done, 1 failed, 2 a mistake in the input or configuration, 130 interrupted."""
    run_command(work)


def work() -> None:
    """What Hydra makes of the command line; its own complaints become the user's mistakes."""
    if "--version" in sys.argv[1:]:  # Hydra would tell its own
        print(f"fer_lightning {__version__}")
        return
    if message := foreign_options(sys.argv[1:]):
        raise UserError(message)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come out as exceptions; who made them decides what is shown
    register_resolvers()
    try:
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)()
    except Exception as error:
        if (mistake := as_user_error(error)) is None:
            raise
        raise mistake from None
    finally:
        release_folders()


if __name__ == "__main__":
    main()
