"""Checkpoints to work with, and what their runs tell of them: precision, device, data."""

import hashlib
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch

from fer_lightning.data.faces import Faces
from fer_lightning.data.source import open_faces, place_of
from fer_lightning.errors import UserError
from fer_lightning.results import weights
from fer_lightning.results.checkpoint import Classifier, find_checkpoint, load
from fer_lightning.results.run_folder import read_config, read_run


@dataclass(frozen=True)
class Member:
    """A checkpoint to work with.

    name: as the user named it. run: the folder of the run that it stands in, None for a file elsewhere.
    precision, accelerator: those of its run; "32-true" and "auto" for a file elsewhere.
    source: where its run found its data.
    """

    name: str
    checkpoint: Path
    run: Path | None
    classifier: Classifier
    precision: str
    accelerator: str
    source: str | None

    @property
    def data(self) -> dict[str, Any]:
        """What its training knew of its data: `FERDataModule.state_dict()`."""
        return self.classifier.data

    @property
    def split_seed(self) -> int:
        """The seed of what was held out of its training; it decides nothing with data.val_split=public."""
        return self.data["split_seed"]

    @cached_property
    def sha256(self) -> str:
        """That of the checkpoint's file."""
        return sha256(self.checkpoint)

    def place(self, kind: str) -> Path:
        """The folder for what is made of it, such as kind="evaluation".

        It stands in the run for a run's best.ckpt; another checkpoint has a folder of its name in it, one that stands
        in no run such a folder beside it, the package's network in the current folder.
        """
        home = Path() if self.checkpoint == weights.packaged() else self.run or self.checkpoint.parent
        home /= kind
        return home if self.run is not None and self.checkpoint.name == "best.ckpt" else home / self.checkpoint.stem

    def summary(self) -> dict[str, Any]:
        """What evaluation.json says of it."""
        return {
            "name": self.name,
            "checkpoint": str(self.checkpoint),
            "sha256": self.sha256,
            "network": type(self.classifier.model).__name__,
            "trained_on": "synthetic" if self.data["synthetic"] else "fer2013",
            "aligned": self.classifier.aligned,
            "val_split": self.data["val_split"],
            "seed": self.data["seed"],
            "split_seed": self.split_seed,
            "precision": self.precision,
        }


def sha256(path: Path) -> str:
    """As the command `sha256sum` prints it."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def open_member(name: str | None) -> Member:
    """The checkpoint that a path means, a file's or a run's, or the package's (None). UserError where there is none."""
    if name is None:
        name = str(weights.packaged())
    checkpoint = find_checkpoint(Path(name)).absolute()
    classifier = load(checkpoint)
    run = checkpoint.parents[1] if checkpoint.parent.name == "checkpoints" else None
    config, source = {}, None
    if run is not None and (run / "metrics.json").is_file():
        read = read_run(run)
        config, source = read.config, read.metrics["source"]
    elif run is not None and (run / "config.yaml").is_file():  # copied without its scores
        config = read_config(run / "config.yaml")
    trainer, root = config.get("trainer", {}), config.get("data", {}).get("root")
    if root and not (source and os.path.exists(source)):
        source = os.path.expanduser(root)
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
        source=source,
    )


def open_data(path: str | None, member: Member) -> Faces:
    """The faces of --data, or else those that the checkpoint was trained on. UserError where they cannot be had."""
    if path == "synthetic" or (path is None and member.data["synthetic"]):
        return open_faces("synthetic", None)
    place = place_of(member.source) if path is None else path
    if place is not None:
        return open_faces("fer2013", place)
    gone = f" ({member.source}, which is not there now)" if member.source else ""
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
