"""Train, test and draw: python -m fer_lightning [model=dnn] [aug=norm] [key=value …] [--multirun key=a,b,…]"""

import logging
import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from fer_lightning import __version__
from fer_lightning.errors import UserError, run_command
from fer_lightning.results.paths import last_checkpoint, override
from fer_lightning.settings.hydra_app import end_sweep, register_resolvers
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

    try:
        metrics = train(cfg, folder)
    except Exception as error:
        if settings.mode != RunMode.MULTIRUN:
            raise
        if isinstance(error, UserError):
            log.error("failed: %s: %s", folder.name, error)
        else:
            log.exception("failed: %s", folder.name)
        return None
    if metrics["interrupted"]:
        given = sys.argv[1:]
        if settings.mode == RunMode.MULTIRUN:
            end_sweep(folder.parent)
            log.info("the jobs of the sweep behind this one were not begun")
            given = settings.overrides.task
        log.info("interrupted; %s", how_to_go_on(folder, given))
        sys.exit(130)
    if cfg.ckpt_path is not None and (folder.parent / "multirun.yaml").is_file() and is_first_process():
        try:
            end_sweep(folder.parent)  # whose comparison does not know yet that this job has completed
        except Exception:
            log.exception("the run is complete; the comparison of its sweep failed")
    return metrics.get("val_acc")


def how_to_go_on(folder: Path, given: Sequence[str]) -> str:
    last = last_checkpoint(folder)
    if not last.is_file():
        return f"it had no epoch to go on from yet: start it again, in another folder than {folder}"
    arguments = [argument for argument in given if not argument.startswith("ckpt_path=")]
    return f"go on with: python -m fer_lightning {shlex.join([*arguments, override('ckpt_path', last)])}"


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


if __name__ == "__main__":
    main()
