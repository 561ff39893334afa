"""Checkpoints to score with, and what their runs tell of them: precision, device, data."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from fer_lightning.data import fer2013
from fer_lightning.data.faces import Faces
from fer_lightning.data.source import open_faces
from fer_lightning.errors import UserError
from fer_lightning.results import weights
from fer_lightning.results.checkpoint import Classifier, load
from fer_lightning.results.paths import best_checkpoint, holds_run, last_checkpoint, nearest
from fer_lightning.results.run_folder import in_order, is_completed, read_config, read_epochs, read_run


@dataclass(frozen=True)
class Member:
    """A checkpoint to score with.

    name: as the user named it. run: the folder of the run that it stands in, None for a file elsewhere.
    precision, accelerator: those of its run; "32-true" and "auto" for a file elsewhere.
    sources: where its run may have found its data.
    """

    name: str
    checkpoint: Path
    run: Path | None
    classifier: Classifier
    precision: str
    accelerator: str
    sources: tuple[str, ...]

    @property
    def data(self) -> dict[str, Any]:
        return self.classifier.data

    @property
    def seed(self) -> int:
        """Its run's."""
        return self.data["seed"]

    @property
    def split_seed(self) -> int:
        """That of what was held out of its training; of no meaning with data.val_split=public."""
        return self.data["split_seed"]


def packaged_network() -> str:
    """The path of the network that comes with the package. UserError where none does."""
    path = weights.packaged()
    if path is None:
        raise UserError("name a run's folder or a checkpoint: no network comes with this version of fer_lightning")
    return str(path)


def open_member(name: str) -> Member:
    """UserError where there is no checkpoint of ours."""
    checkpoint = find_checkpoint(Path(name)).absolute()
    classifier = load(checkpoint)
    run = checkpoint.parents[1] if checkpoint.parent.name == "checkpoints" else None
    config: dict[str, Any] = {}
    sources = []
    if run is not None and (run / "metrics.json").is_file():
        read = read_run(run)
        config = read.config
        sources.append(read.metrics.get("source"))
    elif run is not None and (run / "config.yaml").is_file():  # still training, or killed
        config = read_config(run / "config.yaml")
    sources.append(config.get("data", {}).get("root"))
    trainer = config.get("trainer", {})
    precision = trainer.get("precision", "32-true")
    if precision == "16-mixed" and not torch.cuda.is_available():
        precision = "32-true"  # few processors compute in float16
    return Member(
        name=name,
        checkpoint=checkpoint,
        run=run,
        classifier=classifier,
        precision=precision,
        accelerator=trainer.get("accelerator", "auto"),
        sources=tuple(source for source in sources if source),
    )


def find_checkpoint(path: Path) -> Path:
    """The file that a run's folder or a checkpoint's path means. UserError, with what is near, where there is none."""
    checkpoint = best_checkpoint(path)
    if checkpoint.is_file():
        return checkpoint
    if not path.exists():
        raise UserError(f"{path}: no such run or checkpoint{nearest(path)}")
    if holds_run(path):
        last = last_checkpoint(path)
        hint = f"; its newest state is {last}" if last.is_file() else ""
        cause = "removed, or not copied with the run" if has_epochs(path) else "none of the run's epochs has ended"
        raise UserError(f"{path}: checkpoints/best.ckpt is not there: {cause}{hint}")
    folders = [path.parent] if (path / "best.ckpt").is_file() else []
    for depth in ("*", "*/*", "*/*/*"):
        folders += sorted((found.parents[1] for found in path.glob(f"{depth}/checkpoints/best.ckpt")), key=in_order)
    hint = f"; runs near it: {', '.join(map(str, folders[:3]))}" if folders else ""
    raise UserError(f"{path}: no run's folder (it holds no checkpoints/best.ckpt){hint}")


def has_epochs(run: Path) -> bool:
    """Whether an epoch of the run has ended, by its files; True for a folder with none that would tell.

    UserError where they are broken.
    """
    if (run / "metrics.csv").is_file():
        return not read_epochs(run / "metrics.csv").empty
    return is_completed(run) or not any((run / name).is_file() for name in ("config.yaml", "metrics.json"))


def open_data(wanted: str | None, member: Member) -> Faces:
    """The faces of --data, or else those that the checkpoint was trained on. UserError where they cannot be had."""
    if wanted == "synthetic" or (wanted is None and member.data["synthetic"]):
        return open_faces("synthetic", None)
    if wanted is not None:
        return open_faces("fer2013", wanted)
    for source in member.sources:
        if Path(source).exists():
            return open_faces("fer2013", source)
    if (found := fer2013.find(None)) is not None:
        return open_faces("fer2013", str(found))
    gone = f" ({member.sources[0]}, which is not there now)" if member.sources else ""
    raise UserError(
        f"{member.name}: it was trained on FER2013{gone}; name the file or folder with --data PATH, set the "
        "environment variable FER2013_ROOT, or put it into ./data"
    )


def choose_device(member: Member) -> torch.device:
    """The device that its run took where it is here: a score is repeated exactly only there."""
    if member.accelerator == "cpu" or not torch.accelerator.is_available():
        return torch.device("cpu")
    device = torch.accelerator.current_accelerator()
    assert device is not None
    return device


def described(member: Member) -> dict[str, Any]:
    """What evaluation.json says of a checkpoint."""
    return {
        "name": member.name,
        "checkpoint": str(member.checkpoint),
        "network": type(member.classifier.model).__name__,
        "trained_on": "synthetic" if member.data["synthetic"] else "fer2013",
        "val_split": member.data["val_split"],
        "seed": member.seed,
        "split_seed": member.split_seed,
        "precision": member.precision,
    }
