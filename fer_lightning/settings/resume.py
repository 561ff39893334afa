"""Going on with a run: from which checkpoint, and whether the training it belongs to is the one configured."""

import shlex
import shutil
from pathlib import Path
from typing import Any

from fer_lightning.data.datamodule import DATA_STATE, FERDataModule
from fer_lightning.errors import UserError
from fer_lightning.models import EmotionClassifier
from fer_lightning.results.checkpoint import read_checkpoint
from fer_lightning.results.paths import best_checkpoint, last_checkpoint, override, run_of
from fer_lightning.results.run_folder import is_completed, overrides_of, read_config, read_epochs, write_epochs
from fer_lightning.training.averaging import KEY as AVERAGING
from fer_lightning.training.averaging import Averaging
from fer_lightning.training.processes import is_first_process

# Of the trainer, what a training's figures depend on beside its length and device
STEPS = (
    *("precision", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm"),
    *("limit_train_batches", "limit_val_batches"),
)


def resumed_checkpoint(config: dict[str, Any]) -> Path | None:
    """The checkpoint that `ckpt_path`, a file or a run's folder, names."""
    return None if config["ckpt_path"] is None else last_checkpoint(config["ckpt_path"])


def check_resumable(
    path: Path,
    model: EmotionClassifier,
    datamodule: FERDataModule,
    averaging: Averaging | None,
    teachers: list[str],
    groups: int,
    processes: int,
    config: dict[str, Any],
) -> None:
    """Raise UserError unless a training of `model` can go on from the checkpoint.

    teachers: their digests. groups: how many groups of parameters its optimizer will have. processes: how many will
    train it. config: its `trainer` with every `auto` decided.
    """
    epochs = config["trainer"]["max_epochs"]
    checkpoint = read_checkpoint(path)
    if "optimizer_states" not in checkpoint:
        raise UserError(f"ckpt_path={path}: it holds weights only; go on from last.ckpt beside it")
    check_same_settings(path, config)
    check_files(path, checkpoint["epoch"])
    network = f"{type(model).__module__}.{type(model).__qualname__}"
    if checkpoint["network"] != network:
        name = checkpoint["network"].rpartition(".")[2]
        raise UserError(f"ckpt_path={path}: it holds a {name}, not a {type(model).__name__}; add model={name.lower()}")
    for key, value in checkpoint["hyper_parameters"].items():
        mine = model.hparams[key]
        if (list(mine) if isinstance(mine, list | tuple) else mine) != value:
            raise UserError(f"ckpt_path={path}: it was trained with model.{key}={value}, now it is {mine}")
    datamodule.load_state_dict(checkpoint[DATA_STATE])
    done = checkpoint["epoch"]
    if done > epochs or (done == epochs and is_completed(run_of(path))):
        raise UserError(
            f"ckpt_path={path}: it has {done} epochs behind it and trainer.max_epochs is {epochs}; "
            "nothing is left to do (a larger trainer.max_epochs goes on)"
        )
    kept = checkpoint.get(AVERAGING, {}).get("settings")
    mine = None if averaging is None else averaging.settings()
    if kept != mine:
        raise UserError(
            f"ckpt_path={path}: it was trained with averaging {in_short(kept)}, now it is {in_short(mine)}; "
            "go on with the same"
        )
    if checkpoint["processes"] != processes:
        raise UserError(
            f"ckpt_path={path}: the number of processes that trained it is {checkpoint['processes']}, now it would be "
            f"{processes}, and each step's batch another; go on with its trainer.devices"
        )
    if checkpoint["teachers"] != teachers:
        raise UserError(f"ckpt_path={path}: its teachers were other networks than those of distill.teachers")
    theirs = len(checkpoint["optimizer_states"][0]["param_groups"])
    if theirs != groups:
        raise UserError(
            f"ckpt_path={path}: its optimizer has {theirs} group{'s'[: theirs > 1]} of parameters, now it would have "
            f"{groups}: weight decay makes a second one, of what it spares; go on with its optimizer.weight_decay"
        )
    if checkpoint["max_epochs"] != epochs and (reason := fixed_length(config)):
        raise UserError(
            f"ckpt_path={path}: {reason} was laid out for {checkpoint['max_epochs']} epochs, not {epochs}; "
            f"go on with trainer.max_epochs={checkpoint['max_epochs']}"
        )


def check_files(path: Path, done: int) -> None:
    """Raise UserError unless the run's files up to the checkpoint's epoch stand where they belong, see `take_over`."""
    if not done:
        return
    folder, best = run_of(path), path.with_name("best.ckpt")
    if not (folder / "metrics.csv").is_file() or not best.is_file():
        raise UserError(
            f"ckpt_path={path}: the run it belongs to is not around it; copied elsewhere, it needs that run's "
            "metrics.csv and checkpoints/best.ckpt as well: PATH/metrics.csv, PATH/checkpoints/last.ckpt and so on"
        )
    try:  # 0-based; of the epoch after the checkpoint where a run was killed there, which will come out the same
        epoch = read_checkpoint(best)["epoch"]
    except UserError:  # killed while that epoch's replaced it: it will again
        epoch = done
    rows = len(read_epochs(folder / "metrics.csv"))
    if rows < done or epoch > done:
        raise UserError(
            f"ckpt_path={path}: it has {done} epochs behind it, but the files around it are of another state of its "
            f"run (best.ckpt is of epoch {epoch + 1}, metrics.csv has {rows}); go on from that run's last.ckpt"
        )


def check_same_settings(path: Path, config: dict[str, Any]) -> None:
    """Raise UserError where the checkpoint's run, as its config.yaml tells, was trained with other settings."""
    folder = run_of(path)
    if not (folder / "config.yaml").is_file():
        return
    theirs, mine = deciding(read_config(folder / "config.yaml")), deciding(config)
    if changed := [line for group in mine for line in differences(group, theirs.get(group), mine[group])]:
        overrides = overrides_of(folder)
        own = ["…"] if overrides is None else overrides
        precision = theirs["trainer"]["precision"]  # `auto` may come to another here
        if precision not in (None, mine["trainer"]["precision"]) and f"trainer.precision={precision}" not in own:
            own = [*own, f"trainer.precision={precision}"]
        own_command = shlex.join(["python", "-m", "fer_lightning", *own, override("ckpt_path", folder)])
        raise UserError(
            f"ckpt_path={path}: it was trained with {', '.join(changed)}; go on with its own settings: {own_command}"
        )


def deciding(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """What a training's figures depend on, beside its length, device and teachers' names: group → key → value."""
    data, seed = config["data"], config["seed"]
    split_seed = data["split_seed"]
    distill = config["distill"]
    count = {"number of teachers": len(distill["teachers"])}
    return {
        **{group: config[group] for group in ("model", "optimizer", "scheduler", "averaging")},
        "aug": {key: value for key, value in config["aug"].items() if key != "name"},
        "data": {
            **{key: data[key] for key in ("batch_size", "val_split")},
            "split_seed": seed if split_seed is None else split_seed,
        },
        "distill": {**distill, **count, "teachers": None} if distill["teachers"] else count,
        "trainer": {key: config["trainer"].get(key) for key in STEPS},
        "seed": {"": seed},
    }


def differences(group: str, theirs: dict[str, Any] | None, mine: dict[str, Any]) -> list[str]:
    """`group.key=theirs (now mine)` of each key with another value; of another class only that it is another."""
    if theirs is None:
        return []
    kinds = [str(settings.get("_target_", "none")).rpartition(".")[2] for settings in (theirs, mine)]
    if kinds[0] != kinds[1]:
        return [f"{group}={kinds[0]} (now {kinds[1]})"]
    keys = [key for key in mine if key in theirs]
    if group in ("optimizer", "scheduler"):  # any argument may be added; other groups' keys differ by version only
        keys = [*mine, *(key for key in theirs if key not in mine)]
    changed = [key for key in keys if theirs.get(key) != mine.get(key)]
    return [f"{f'{group}.{key}'.rstrip('.')}={theirs.get(key)} (now {mine.get(key)})" for key in changed]


def in_short(averaging: dict[str, Any] | None) -> str:
    if averaging is None:
        return "none"
    return f"{averaging['name']} ({', '.join(f'{key}={value}' for key, value in averaging.items() if key != 'name')})"


def fixed_length(config: dict[str, Any]) -> str | None:
    """What of a training depends on how many epochs it has in all, if anything."""
    aug = config["aug"]
    if config["scheduler"]["_target_"].rpartition(".")[2] in ("cosine", "onecycle"):
        return "its schedule"
    if (aug["mixup"] or aug["cutmix"]) and aug["mix_until"] < 1:
        return "aug.mix_until"
    if 0 < aug["low_res_until"] < 1:
        return "aug.low_res_until"
    if config["averaging"].get("start"):
        return "averaging.start"
    return None


def take_over(checkpoint: Path, folder: Path) -> list[dict[str, Any]]:
    """The epochs that a checkpoint's run has behind it; its checkpoints are copied where the run goes on elsewhere."""
    source = run_of(checkpoint)
    done = read_checkpoint(checkpoint)["epoch"]
    table = read_epochs(source / "metrics.csv") if done else None
    rows: list[dict[str, Any]] = [] if table is None else table.head(done).to_dict("records")  # type: ignore[assignment]
    if source != folder.resolve() and is_first_process():
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        if rows:
            write_epochs(rows, folder / "metrics.csv")
            shutil.copy2(checkpoint.with_name("best.ckpt"), best_checkpoint(folder))
        shutil.copy2(checkpoint, last_checkpoint(folder))  # last: from it, the rest is looked for
    return rows
