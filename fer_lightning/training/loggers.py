"""Where a run's curves and results go beside its own files: TensorBoard, and Lightning's loggers for other programs."""

import importlib.util
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.image
from pytorch_lightning.loggers import CSVLogger, Logger, MLFlowLogger, TensorBoardLogger, WandbLogger

from fer_lightning.errors import UserError
from fer_lightning.results.outputs import FIGURES
from fer_lightning.training.processes import is_first_process

PROJECT = "fer_lightning"  # of Weights & Biases, and MLflow's experiment, where the environment names no other
CHARTS = {  # TensorBoard's Custom Scalars tab: train and validation in one chart
    "training": {
        "loss": ["Multiline", ["train/cross_entropy", "val/loss"]],
        "accuracy": ["Multiline", ["train/acc", "val/acc"]],
    }
}


def check_installed(names: Sequence[str]) -> None:
    """Raise UserError for a logger whose package, an extra of the same name, is missing."""
    for name in sorted({"wandb", "mlflow"} & set(names)):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:  # nothing, or a folder of that name, as these programs leave behind
            raise UserError(f"logger={name}: it needs a package: pip install 'fer_lightning[{name}]'")


def make_loggers(names: Sequence[str], folder: Path, goes_on: bool) -> list[Logger]:
    """Loggers by name: tensorboard, csv, wandb, mlflow. A run that goes on tells them its earlier epochs again."""
    made: list[Logger] = []
    if "tensorboard" in names:
        purge = 0 if goes_on else None  # earlier events give way
        made.append(TensorBoardLogger(folder, name="", version="", default_hp_metric=False, purge_step=purge))
    if "csv" in names:
        if is_first_process():
            shutil.rmtree(folder / "csv", ignore_errors=True)
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
    """The settings and the test scores; in TensorBoard also the figures, the charts' layout, and the HParams tab."""
    settings = {key: value for key, value in flat(config).items() if not key.endswith(("_target_", "_partial_"))}
    settings = {"model": metrics["model"], "aug": metrics["aug"], "data": metrics["data"], **settings}
    test = {f"test/{split}_acc": metrics[f"test_{split}_acc"] for split in ("public", "private")}
    test = {name: value for name, value in test.items() if value is not None}
    for logger in loggers:
        if test:
            logger.log_metrics(test, step=metrics["epochs"])
        if isinstance(logger, TensorBoardLogger):
            board = logger.experiment
            for name, file in FIGURES.items():
                if (folder / file).exists():
                    picture = matplotlib.image.imread(folder / file)[..., :3]
                    board.add_image(name, picture, metrics["epochs"], dataformats="HWC")
            board.add_custom_scalars(CHARTS)
            reached = {"hp/val_acc": metrics["val_acc"], "hp/val_loss": metrics["val_loss"]}
            reached |= {name.replace("test/", "hp/test_"): value for name, value in test.items()}
            logger.log_hyperparams(settings, {name: value for name, value in reached.items() if value is not None})
        else:
            logger.log_hyperparams(settings)
        logger.finalize("failed" if metrics["interrupted"] else "success")


def close(completed: bool) -> None:
    """End the run of Weights & Biases, into which a sweep's next job would write otherwise."""
    if (wandb := sys.modules.get("wandb")) is not None:
        wandb.finish(exit_code=0 if completed else 1)


def flat(node: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings as dotted keys."""
    found: dict[str, Any] = {}
    for key, value in node.items():
        found |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return found
