"""`Recorder`: what a training writes while it runs, an epoch at a time: metrics.csv, checkpoints, curves."""

import logging
import math
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.loggers import TensorBoardLogger
from pytorch_lightning.plugins.io import TorchCheckpointIO

from fer_lightning.data.datamodule import FERDataModule
from fer_lightning.results.files import replacing
from fer_lightning.results.paths import best_checkpoint, last_checkpoint
from fer_lightning.results.run_folder import append_epoch, write_epochs
from fer_lightning.training.averaging import Averaging
from fer_lightning.training.progress import epoch_line, forecast

log = logging.getLogger(__name__)

Row = dict[str, Any]  # a row of metrics.csv
DECISIVE = "decisive_settings"  # in a checkpoint to go on from, what it must be gone on with
CURVES = {  # TensorBoard's tags: columns of metrics.csv
    "train/loss": "train_loss",
    "train/acc": "train_acc",
    "train/cross_entropy": "train_cross_entropy",
    "val/loss": "val_loss",
    "val/acc": "val_acc",
    "lr": "lr",
}


class Recorder(Checkpoint):  # a Checkpoint, so that Lightning calls it after the epoch's figures are logged
    """Records each epoch in `folder`.

    decisive: settings that a checkpoint to go on from keeps, as primitives. rows: the epochs before this training,
    where it goes on from a checkpoint.

    last.ckpt is the state before the epoch now running (so there is one from the start), best.ckpt the weights of the
    first epoch with the highest validation accuracy: those that were validated, so `averaging`'s where there is one.
    """

    def __init__(
        self, folder: Path, decisive: dict[str, Any], rows: list[Row], averaging: Averaging | None = None
    ) -> None:
        self.metrics = folder / "metrics.csv"
        self.last, self.best = last_checkpoint(folder), best_checkpoint(folder)
        self.decisive = decisive
        self.rows = rows
        self.averaging = averaging
        self.images = 0  # in the last epoch
        self.announced = False

    def state_dict(self) -> dict[str, Any]:
        return {"images": self.images}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.images = state_dict["images"]

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[DECISIVE] = self.decisive

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            write_epochs(self.rows, self.metrics)
            for row in self.rows:
                self._log_curves(trainer, row)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.save_checkpoint(self.last)
        self.lr = trainer.optimizers[0].param_groups[0]["lr"]
        self.started = _clock(pl_module)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if batch_idx + 1 == trainer.num_training_batches:  # before validation, and what averaging does for that
            self.seconds = _clock(pl_module) - self.started

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {
            "epoch": trainer.current_epoch + 1,
            **{column: figures[name] for name, column in CURVES.items() if name in figures},
            "lr": self.lr,
            "seconds": round(self.seconds, 3),
        }
        if not math.isfinite(row["train_loss"]):
            raise RuntimeError(
                f"the training loss became {row['train_loss']} in epoch {row['epoch']}: training diverged; "
                "a lower optimizer.lr is the usual remedy"
            )
        better = all(row["val_acc"] > earlier["val_acc"] for earlier in self.rows)
        self.rows.append(row)
        self.images = int(figures["train/images"])
        if better:
            with nullcontext() if self.averaging is None else self.averaging.applied(pl_module):
                trainer.save_checkpoint(self.best, weights_only=True)
        if trainer.is_global_zero:
            append_epoch(row, self.metrics)
            self._log_curves(trainer, row)
            self._announce(trainer, row, _clock(pl_module) - self.started)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.save_checkpoint(self.last)

    def _log_curves(self, trainer: pl.Trainer, row: Row) -> None:
        if isinstance(trainer.logger, TensorBoardLogger):
            for name, column in CURVES.items():
                trainer.logger.experiment.add_scalar(name, row[column], row["epoch"])

    def _announce(self, trainer: pl.Trainer, row: Row, seconds: float) -> None:
        epochs = trainer.max_epochs
        assert epochs is not None
        log.info(epoch_line(row, epochs, best_row(self.rows)))
        if not self.announced and row["epoch"] < epochs:
            datamodule = trainer.datamodule  # type: ignore[attr-defined]
            assert isinstance(datamodule, FERDataModule)
            areas = [datamodule.side(epoch, epochs) ** 2 for epoch in range(row["epoch"] - 1, epochs)]
            log.info(forecast(seconds, [area / areas[0] for area in areas[1:]], epochs))
        self.announced = True


class CheckpointFiles(TorchCheckpointIO):
    """How Lightning's checkpoints get onto the disk here.

    Lightning's own (2.6.6, by fsspec) writes into the system's temporary folder and moves the file from there. Where
    that is another file system, as a /tmp in memory is, the move is a copy: killed in it, a run would be left with
    part of a last.ckpt and none to go on from.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with replacing(Path(path)) as part:
            torch.save(checkpoint, part)


def best_row(rows: list[Row]) -> Row:
    """The first epoch of the highest validation accuracy: the one whose weights best.ckpt holds."""
    return max(rows, key=lambda row: row["val_acc"])


def _clock(pl_module: pl.LightningModule) -> float:
    if pl_module.device.type == "cuda":
        torch.cuda.synchronize()  # three times an epoch; otherwise the queue, not the work, is timed
    return time.perf_counter()
