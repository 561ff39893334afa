"""Train, test and draw: python -m fer_lightning [model=dnn] [aug=norm] [key=value …] [--multirun key=a,b,…]"""

import logging
import os
import re
import shlex
import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from fer_lightning.errors import UserError, run_command
from fer_lightning.hydra_hooks import end_sweep, register_resolvers
from fer_lightning.paths import last_checkpoint, override
from fer_lightning.processes import is_first_process

log = logging.getLogger(__name__)

PACKAGE = Path(__file__).parent
CONF = next(path for path in (PACKAGE / "conf", PACKAGE.parent / "conf") if path.is_dir())  # in a wheel, in a checkout


def job(cfg: DictConfig) -> None:
    """One run, alone or in a sweep, whose other jobs go on when this one fails."""
    settings = HydraConfig.get()
    folder = Path(settings.runtime.output_dir)
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
        return
    if metrics["interrupted"]:
        if settings.mode == RunMode.MULTIRUN:
            end_sweep(folder.parent)
        else:
            log.info("interrupted; %s", how_to_go_on(folder))
        sys.exit(130)
    if cfg.ckpt_path is not None and (folder.parent / "multirun.yaml").is_file() and is_first_process():
        try:
            end_sweep(folder.parent)  # whose comparison does not know yet that this job has completed
        except Exception:
            log.exception("the run is complete; the comparison of its sweep failed")


def how_to_go_on(folder: Path) -> str:
    last = last_checkpoint(folder)
    if not last.is_file():
        return f"it had no epoch to go on from yet: start it again, in another folder than {folder}"
    arguments = [argument for argument in sys.argv[1:] if not argument.startswith("ckpt_path=")]
    return f"go on with: python -m fer_lightning {shlex.join([*arguments, override('ckpt_path', last)])}"


def main() -> None:
    """The command: exit status 0 done, 1 failed, 2 a mistake in the input or configuration, 130 interrupted."""
    run_command(work)


def work() -> None:
    """What Hydra makes of the command line; its own complaints become the user's mistakes."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come out as exceptions; who made them decides what is shown
    register_resolvers()
    try:
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(explain(error)) from None
    except ValueError as error:
        if "Config group override" not in str(error):  # Hydra's, of GROUP=null
            raise
        nulls = ", ".join(given for given in sys.argv[1:] if given.endswith("=null"))
        raise UserError(f"{nulls}: a group cannot be null; leave it out, or choose, as in averaging=none") from None


def explain(error: Exception) -> str:
    """Hydra's message, with the nearest existing keys or choices where one was misspelt."""
    import difflib

    message = "\n".join(dict.fromkeys(str(e) for e in (error, error.__cause__) if e is not None))
    choice = re.search(r"Could not find '(\w+)/([^']+)'", message)
    if choice:
        group, name = choice.groups()
        known = [path.stem for path in (CONF / group).glob("*.yaml")]
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
        return f"{group}={name}: there is no such choice; {group} is one of {', '.join(sorted(known))}" + (
            f" (nearest: {near[0]})" if near else ""
        )
    key = re.search(r"Could not override '([^']+)'", message)
    if key:
        near = difflib.get_close_matches(key[1], known_keys(), n=3, cutoff=0.5)
        hint = f"; nearest: {', '.join(near)}" if near else "; `--cfg job` prints all keys"
        more = (
            f" (a further argument: +{key[1]}=…)" if key[1].partition(".")[0] in TAKING_MORE and "." in key[1] else ""
        )
        return f"{key[1]}: there is no such key{hint}{more}"
    return message


TAKING_MORE = ("model", "optimizer", "scheduler", "averaging", "trainer")  # groups that go to a constructor


def known_keys() -> list[str]:
    """Every key and group of the default configuration, dotted, without `_target_` and its like."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose("config"), resolve=False)

    def flatten(node: object, path: str) -> list[str]:
        keys = [path] if path else []
        if isinstance(node, dict):
            for name, value in node.items():
                if not str(name).startswith("_"):
                    keys += flatten(value, f"{path}.{name}" if path else str(name))
        return keys

    return [*flatten(config, ""), "experiment"]


if __name__ == "__main__":
    main()
