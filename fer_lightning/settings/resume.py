"""Going on with a run: from which checkpoint, and whether the training it belongs to is the one configured.

What decides a training's figures is one dictionary, `decisive_settings`. A checkpoint keeps it; going on compares it.
"""

import shlex
import shutil
from pathlib import Path
from typing import Any

from fer_lightning.data.datamodule import FERDataModule
from fer_lightning.errors import UserError
from fer_lightning.results.checkpoint import Classifier, read_checkpoint
from fer_lightning.results.paths import (
    best_checkpoint,
    here,
    holds_run,
    last_checkpoint,
    override,
    refuse_foreign,
    run_of,
)
from fer_lightning.results.run_folder import (
    Row,
    best_row,
    cd_to,
    is_completed,
    overrides_of,
    own_recipes,
    read_epochs,
    read_metrics,
    record_of,
    stalled_at,
    versions_of,
    write_epochs,
)
from fer_lightning.settings.schema import Mixing, Phases, Settings, Warp
from fer_lightning.settings.targets import learning_rates
from fer_lightning.training.checkpoints import DECISIVE, scored_part, write_checkpoint
from fer_lightning.training.distillation import Teachers
from fer_lightning.training.pretrained import digest
from fer_lightning.training.processes import is_first_process

# Of the trainer, what a training's figures depend on beside its length and device
STEPS = (
    *("precision", "accumulate_grad_batches", "gradient_clip_val", "gradient_clip_algorithm", "sync_batchnorm"),
    *("limit_train_batches", "limit_val_batches"),
)
BATCHES = ("batch_size", "val_split", "crop", "class_weights", "sampling")  # of the data
# What a training's length depends on; it may be another one when a run goes on
LENGTH = ("trainer.max_epochs", "trainer.patience")
# Values that only tell whether two are the same
DIGESTS = {
    "split": "other training or validation images, or labels",
    "init_from": "other initial weights",
    "distill.teachers": "other teachers",
}


def decisive_settings(
    settings: Settings,
    datamodule: FERDataModule,
    initial: Classifier | None,
    teachers: Teachers | None,
    processes: int,
) -> dict[str, Any]:
    """What decides a training's figures, beside the device and, mostly, its length: `group.key` → value, as primitives.

    A group that names what it makes has that as its own value: `optimizer` → `torch.optim.Adam`.
    """
    found: dict[str, Any] = {"seed": settings.seed, "data.split_seed": settings.split_seed}
    for group in ("model", "optimizer", "scheduler", "averaging"):
        section = getattr(settings, group)
        found[group] = section.target
        found |= {f"{group}.{key}": value for key, value in section.arguments.items()}
    found["aug.normalize"] = settings.aug.normalize
    for kind in (Warp, Mixing, Phases):
        found |= {f"aug.{key}": value for key, value in settings.aug.part(kind).items()}
    found |= {f"data.{key}": getattr(settings.data, key) for key in BATCHES}
    found["split"] = datamodule.state_dict()["split"]
    if initial is not None:
        found["init_from"] = digest(initial)
    if teachers is not None:
        found |= {f"distill.{key}": getattr(settings.distill, key) for key in ("weight", "temperature", "once")}
        found["distill.teachers"] = teachers.digests
    found |= {f"trainer.{key}": settings.trainer.arguments.get(key) for key in STEPS}
    found |= {"trainer.max_epochs": settings.trainer.max_epochs, "trainer.patience": settings.trainer.patience}
    found["number of processes"] = processes
    if settings.trial:
        found["trial"] = True  # it never becomes a run that counts, nor one that counts a trial
    return found


def state_of(
    settings: Settings, folder: Path | None, mine: dict[str, Any], data_fingerprint: str
) -> tuple[Path | None, bool]:
    """The checkpoint that a training goes on from, as `ckpt_path` or `resume` say, and whether all of it is done.

    folder: the run's; None where it is not known yet. mine: the training's `decisive_settings`. UserError where it
    can't go on.
    """
    if settings.ckpt_path is not None:
        if settings.resume:
            raise UserError("resume=true with ckpt_path: the run's own folder says where it goes on; take one of them")
        checkpoint = last_checkpoint(settings.ckpt_path)
        check_resumable(checkpoint, settings, mine)
        return checkpoint, False
    if not settings.resume or folder is None or not holds_run(folder):
        return None, False
    return found_state(settings, folder, mine, data_fingerprint)


def found_state(
    settings: Settings, folder: Path, mine: dict[str, Any], data_fingerprint: str
) -> tuple[Path | None, bool]:
    """`state_of` for `resume` in the folder of a run. It begins anew where it ended before it had a checkpoint."""
    metrics, theirs = recorded(folder)
    if not metrics and theirs is None:
        refuse_foreign(folder)
    last = last_checkpoint(folder)
    completed = is_completed(folder)
    curves = folder / "metrics.csv"
    begun = completed or last.is_file() or (curves.is_file() and not read_epochs(curves).empty)
    if theirs is None:
        if begun:
            made = versions_of(metrics) or "an older version"
            raise UserError(f"{folder}: its run kept no record of its settings (it is of {made}); name another folder")
        return None, False
    changed = differences(theirs, mine)
    if metrics.get("data_fingerprint") not in (None, data_fingerprint) and DIGESTS["split"] not in changed:
        changed.append("other test images, or labels")
    if changed and begun:
        own = own_command(folder, theirs, mine, "hydra.run.dir", "resume=true")
        raise UserError(
            f"{folder}: it holds a run with {', '.join(changed)}; name another folder, or go on with its own settings "
            f"and data: {own}"
        )
    done = metrics.get("epochs") or 0
    if completed and (all(theirs[key] == mine[key] for key in LENGTH) or done == ending(folder, done, mine)[1]):
        return None, True
    if completed or last.is_file():
        check_resumable(last, settings, mine)
        return last, False
    if begun:
        raise UserError(
            f"{curves}: it has epochs, but checkpoints/last.ckpt, to go on from, is not there; name another folder"
        )
    return None, False


def recorded(folder: Path) -> tuple[dict[str, Any], dict[str, Any] | None]:
    """Of a folder's run: its metrics.json and its decisive settings, as far as they are there."""
    path, last = folder / "metrics.json", last_checkpoint(folder)
    metrics = read_metrics(path) if path.is_file() else {}
    decisive = decisive_of(metrics)
    if decisive is None and last.is_file():
        decisive = decisive_of(read_checkpoint(last))
    return metrics, decisive


def decisive_of(content: dict[str, Any]) -> dict[str, Any] | None:
    """The decisive settings that a checkpoint or metrics.json holds; None where it holds none that can be compared."""
    found = content.get(DECISIVE)
    return found if isinstance(found, dict) and set(LENGTH) <= found.keys() else None


def check_resumable(path: Path, settings: Settings, mine: dict[str, Any]) -> None:
    """Raise UserError unless a training with `mine`, its `decisive_settings`, can go on from a checkpoint."""
    if path.name == "last.ckpt" and not path.is_file() and is_completed(run_of(path)):
        raise UserError(
            f"{path}: its run is complete and was laid out for that many epochs, so nothing was kept to go "
            "on from; for a longer one, start anew with a larger trainer.max_epochs"
        )
    checkpoint = read_checkpoint(path)
    theirs = decisive_of(checkpoint)
    if theirs is None or not isinstance(checkpoint.get("epoch"), int):
        raise UserError(f"{path}: it holds weights only; go on from last.ckpt beside it")
    if changed := differences(theirs, mine):
        own = own_command(run_of(path), theirs, mine, "ckpt_path")
        raise UserError(
            f"{path}: it was trained with {', '.join(changed)}; go on with its own settings and data: {own}"
        )
    done = checkpoint["epoch"]
    check_files(path, done)
    planned, epochs = theirs["trainer.max_epochs"], mine["trainer.max_epochs"]
    key, end = ending(run_of(path), done, mine)
    if done > end or (done == end and is_completed(run_of(path))):
        raise UserError(
            f"{path}: it has {done} epochs behind it and by {key}={mine[key]} it ends at {end}; "
            f"nothing is left to do (a larger {key} goes on)"
        )
    if planned != epochs and (reason := laid_out(settings, planned, epochs)):
        raise UserError(
            f"{path}: {reason} was laid out for {planned} epochs, not {epochs}; go on with trainer.max_epochs={planned}"
        )


def ending(run: Path, done: int, mine: dict[str, Any]) -> tuple[str, int]:
    """Which key of LENGTH ends a training that has the first epochs of a run behind it, and after which epoch."""
    epochs = mine["trainer.max_epochs"]
    stalled = stalled_at(epochs_behind(run, done), mine["trainer.patience"])
    ends = {"trainer.max_epochs": epochs, "trainer.patience": epochs if stalled is None else stalled}
    key = min(LENGTH, key=lambda key: ends[key])  # of equal ones the first
    return key, ends[key]


def laid_out(settings: Settings, planned: int, epochs: int) -> str | None:
    """What depends on the planned number of epochs, so that a training can't have another; None where it can."""
    longer = max(planned, epochs)
    try:
        if learning_rates(settings, planned, longer) != learning_rates(settings, epochs, longer):
            return "its schedule"
    except ValueError:  # OneCycleLR has no rates past its end
        return "its schedule"
    return settings.fixed_length


def differences(theirs: dict[str, Any], mine: dict[str, Any]) -> list[str]:
    """`group.key=theirs (now mine)` of each key with another value; of another class only that it is another."""
    found = []
    for key in {**mine, **theirs}:
        group, of_class = key.partition(".")[0], "." in key
        their, own = theirs.get(key), mine.get(key)
        if key in LENGTH or their == own or (of_class and theirs.get(group) != mine.get(group)):
            continue
        if key in DIGESTS:
            found.append(DIGESTS[key])
            continue
        if not of_class and isinstance(own, str):  # a class or function, without its module
            their, own = (str(each).rpartition(".")[2] or "none" for each in (their, own))
        found.append(f"{key}={their} (now {own})")
    return found


def own_command(folder: Path, theirs: dict[str, Any], mine: dict[str, Any], key: str, *more: str) -> str:
    """The command that the run in `folder` was last started with, going on there by `key` and `more`."""
    record, own = record_of(folder), overrides_of(folder)
    there = cd_to(record)
    words = [*own_recipes(record), *(["…"] if own is None else own)]
    precision = theirs["trainer.precision"]  # `auto` may come to another on this machine
    if precision != mine["trainer.precision"] and f"trainer.precision={precision}" not in words:
        words.append(f"trainer.precision={precision}")
    words += [override(key, folder.absolute() if there else here(folder)), *more]
    return f"{there}python -m fer_lightning {shlex.join(words)}"


def check_files(path: Path, done: int) -> None:
    """Raise UserError unless the run's files up to the checkpoint's epoch stand where they belong, see `take_over`."""
    if not done:
        return
    folder, best = run_of(path), path.with_name("best.ckpt")
    if not (folder / "metrics.csv").is_file():
        raise UserError(_alone(path))
    rows = epochs_behind(folder, done)
    state = f"metrics.csv has {len(rows)} epochs"
    if len(rows) == done:
        wanted = best_row(rows)["epoch"]
        if wanted == done:
            return  # best.ckpt is made of the checkpoint itself
        if not best.is_file():
            raise UserError(_alone(path))
        found = read_checkpoint(best)["epoch"] + 1
        if found == wanted:
            return
        state = f"best.ckpt is of epoch {found}, not {wanted}"
    raise UserError(
        f"{path}: it has {done} epochs behind it, but the files around it are of another state of its run "
        f"({state}); go on from that run's last.ckpt"
    )


def _alone(path: Path) -> str:
    return (
        f"{path}: the run it belongs to is not around it; copied elsewhere, it needs that run's metrics.csv "
        "and checkpoints/best.ckpt as well: PATH/metrics.csv, PATH/checkpoints/last.ckpt and so on"
    )


def take_over(checkpoint: Path, folder: Path) -> list[Row]:
    """The epochs that a checkpoint's run has behind it; its files are there where the run goes on elsewhere.

    best.ckpt is made of the checkpoint where its last epoch is the best: a run may have been killed before it was.
    """
    source, state = run_of(checkpoint), read_checkpoint(checkpoint)
    rows = epochs_behind(source, state["epoch"])
    if is_first_process():
        (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
        elsewhere = source != folder.resolve()
        if elsewhere and rows:
            write_epochs(rows, folder / "metrics.csv")
        if rows and best_row(rows) is rows[-1]:
            write_checkpoint(scored_part(state), best_checkpoint(folder))
        elif rows and elsewhere:
            shutil.copy2(checkpoint.with_name("best.ckpt"), best_checkpoint(folder))
        if elsewhere:
            shutil.copy2(checkpoint, last_checkpoint(folder))  # last: from it, the rest is looked for
    return rows


def epochs_behind(run: Path, epochs: int) -> list[Row]:
    """The first rows of a run's metrics.csv; of a run without an epoch, there may be no such file."""
    return read_epochs(run / "metrics.csv", epochs).to_dict("records") if epochs else []  # type: ignore[return-value]
