"""Where a run's curves and results go beside its own files: TensorBoard, and Lightning's loggers for other programs."""

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib.image
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from fer_lightning.errors import UserError
from fer_lightning.results.outputs import FIGURES
from fer_lightning.results.run_folder import flat
from fer_lightning.training.processes import is_first_process

PROJECT = "fer_lightning"  # of Weights & Biases, and MLflow's experiment, where the environment names no other
EVENTS = ".fer_lightning"  # at the end of the names of TensorBoard's files
PICTURES = ("confusion_matrix", "mistakes")  # in TensorBoard, which has the curves themselves
# TensorBoard sorts charts by the words of their names, and opens the first two groups (in Scalars three) alone: these.
OPEN = {
    "accuracy/train": "train/acc",
    "accuracy/validation": "val/acc",
    "loss/train": "train/cross_entropy",
    "loss/validation": "val/loss",
}
CHARTS = {  # its Custom Scalars tab, where several lines of a run would have one colour
    "training and validation": {
        f"{what}: line validation, band to training": ["Margin", [*2 * [f"{what}/validation"], f"{what}/train"]]
        for what in ("accuracy", "loss")
    }
}
HPARAMS = (
    *("model", "aug", "seed", "data.batch_size", "data.val_split", "optimizer.lr", "optimizer.weight_decay"),
    *("trainer.max_epochs", "trainer.precision"),
)
KINDS = {"optimizer": "optimizer", "scheduler": "scheduler", "weight_averaging": "averaging"}


def check_installed(names: Sequence[str]) -> None:
    """Raise UserError for a logger whose package, an extra of the same name, is missing."""
    for name in sorted({"wandb", "mlflow"} & set(names)):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # nothing, or a folder of that name, as these programs leave behind
            raise UserError(f"logger={name}: it needs a package: pip install 'fer_lightning[{name}]'")


class Board(TensorBoardLogger):
    """TensorBoard with the charts of OPEN and CHARTS, in one file.

    The events of a run that goes on are told again from the first epoch on, so those of before give way. Their file
    stays, empty: where the file that it reads is gone, a running TensorBoard without its fast loader never finds the
    next one. What it has read it forgets by the session's start that stands in each file (purge_step).
    """

    def __init__(self, folder: Path) -> None:
        if is_first_process():
            for events in folder.glob(f"events.out.tfevents.*{EVENTS}"):  # others are the user's own
                if events.stat().st_size:
                    os.truncate(events, 0)
                else:
                    events.unlink()
        super().__init__(folder, name="", version="", default_hp_metric=False, purge_step=0, filename_suffix=EVENTS)
        self.experiment.add_custom_scalars(CHARTS)

    @property
    def log_dir(self) -> str:
        return self.root_dir  # Lightning takes $NAME and ~ in a folder's name for what they mean to a shell

    def finalize(self, status: str) -> None:
        self.experiment.flush()  # closed, it would begin another file for the results

    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        super().log_metrics({**metrics, **{new: metrics[old] for new, old in OPEN.items() if old in metrics}}, step)


def make_loggers(names: Sequence[str], folder: Path) -> list[Logger]:
    """Loggers by name: tensorboard, csv, wandb, mlflow. A run that goes on tells them its earlier epochs again."""
    made: list[Logger] = []
    if "tensorboard" in names:
        made.append(Board(folder))
    if "csv" in names:
        if is_first_process():
            for name in ("metrics.csv", "hparams.yaml"):
                (folder / "csv" / name).unlink(missing_ok=True)
        made.append(CSVLogger(folder, name="csv", version="", flush_logs_every_n_steps=1))
    if "wandb" in names:
        project = os.environ.get("WANDB_PROJECT", PROJECT)
        made.append(WandbLogger(name=folder.name, save_dir=folder, project=project))
    if "mlflow" in names:
        made.append(
            MLFlowLogger(
                os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT),
                run_name=folder.name,
                tracking_uri=os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{folder.resolve()}/mlflow.db",
                artifact_location=(folder / "mlflow").resolve().as_uri(),
            )
        )
    return made


def log_results(loggers: list[Logger], config: dict[str, Any], metrics: dict[str, Any], folder: Path) -> None:
    """The settings and the test scores; in TensorBoard the HParams tab of a few of them, and pictures."""
    settings = {**flat(config), "model": metrics["model"], "aug": metrics["aug"], "data": metrics["data"]}
    test = {f"test/{split}_acc": metrics[f"test_{split}_acc"] for split in ("public", "private")}
    test = {name: value for name, value in test.items() if value is not None}
    for logger in loggers:
        if isinstance(logger, Board):
            for name in PICTURES:
                picture = matplotlib.image.imread(folder / FIGURES[name])[..., :3]
                logger.experiment.add_image(f"pictures/{name}", picture, metrics["epochs"], dataformats="HWC")
            reached = {"val/best_acc": metrics["val_acc"], **test}
            logger.log_hyperparams(hyper_parameters(settings), reached, step=metrics["epochs"])
            logger.save()
            logger.experiment.close()
        else:
            if test:
                logger.log_metrics(test, step=metrics["epochs"])
            logger.log_hyperparams(settings)
            logger.finalize("failed" if metrics["interrupted"] else "success")


def hyper_parameters(settings: dict[str, Any]) -> dict[str, Any]:
    """What tells most runs apart. TensorBoard sorts by name and shows the first five: down to the model."""
    chosen = {key.rpartition(".")[2]: settings[key] for key in HPARAMS if key in settings}
    kinds = {group: str(settings.get(f"{key}._target_", "none")).rpartition(".")[2] for group, key in KINDS.items()}
    return {**chosen, **kinds, "trained_on": settings["data"]}


def close(completed: bool) -> None:
    """End the run of Weights & Biases, into which a sweep's next job would write otherwise."""
    if (wandb := sys.modules.get("wandb")) is not None:
        wandb.finish(exit_code=0 if completed else 1)
