"""`Recorder`: what a training writes while it runs, an epoch at a time: metrics.csv, checkpoints, curves."""

import logging
import math
import time
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint

from fer_lightning.data.datamodule import FERDataModule
from fer_lightning.errors import Failure
from fer_lightning.results.run_folder import Row, append_epoch, best_row, stalled_at, write_epochs
from fer_lightning.training.checkpoints import DECISIVE, Checkpoints
from fer_lightning.training.progress import epoch_head, epoch_line, epochs_of, forecast, stopping

log = logging.getLogger(__name__)

SAVED_EVERY = 30  # seconds at most, in epochs shorter than that
HEAD_EVERY = 20  # epochs, so that a screen shows what its columns are
CURVES = {  # loggers' names: columns of metrics.csv
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
    where it goes on from a checkpoint. patience: the training ends after so many epochs without a better validation
    accuracy; None: never. Not by Lightning's `EarlyStopping`: a run killed after its last epoch would train one more.

    The state before the epoch now running becomes last.ckpt where the epoch before was the best so far, where
    SAVED_EVERY seconds have passed, at the end, and when the training is interrupted or fails; there is one from the
    start. best.ckpt holds the weights of the first epoch with the highest validation accuracy: those that were
    validated, so the averages where weights are averaged.
    """

    def __init__(self, folder: Path, decisive: dict[str, Any], rows: list[Row], patience: int | None = None) -> None:
        self.metrics = folder / "metrics.csv"
        self.checkpoints = Checkpoints(folder)
        self.decisive = decisive
        self.rows, self.patience = rows, patience
        self.saved = -math.inf  # when last.ckpt was written
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

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        trainer.strategy.checkpoint_io = self.checkpoints

    @property
    def stalled(self) -> bool:
        return stalled_at(self.rows, self.patience) is not None

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        trainer.should_stop = self.stalled
        if trainer.is_global_zero:
            write_epochs(self.rows, self.metrics)
            for row in self.rows:
                self._log_curves(trainer, row)

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            assert trainer.max_epochs is not None
            log.info(epoch_head(trainer.max_epochs))

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer, due=time.monotonic() - self.saved >= SAVED_EVERY)
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
            raise Failure(
                f"the training loss became {row['train_loss']} in epoch {row['epoch']}: training diverged; "
                "a lower optimizer.lr is the usual remedy"
            )
        self.rows.append(row)
        self.images = int(figures["train/images"])
        if trainer.is_global_zero:
            append_epoch(row, self.metrics)
            self._log_curves(trainer, row)
            self._announce(trainer, row, _clock(pl_module) - self.started)
        trainer.should_stop = self.stalled

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._save(trainer, due=True)

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        if isinstance(exception, KeyboardInterrupt) and trainer.is_global_zero:
            log.info(stopping(self.rows))
        state = self.checkpoints.state
        if state is None:
            return
        try:
            if len(self.rows) > state["epoch"]:  # ended after an epoch, before the state behind it was taken
                del self.rows[state["epoch"] :]
                write_epochs(self.rows, self.metrics)
            if not self.checkpoints.written:
                self.checkpoints.write(best=self._best_is_last())
        except Exception as error:  # the disk is full, or the device is gone
            if not isinstance(exception, Failure):  # not what the training ended from
                log.warning(f"{self.checkpoints.last}: not brought up to date ({error})")

    def _save(self, trainer: pl.Trainer, due: bool) -> None:
        trainer.save_checkpoint(self.checkpoints.last)
        if not trainer.is_global_zero:
            return
        best = self._best_is_last()
        if due or best:
            self.checkpoints.write(best)
            self.saved = time.monotonic()
        else:
            self.checkpoints.hold()

    def _best_is_last(self) -> bool:
        return bool(self.rows) and best_row(self.rows) is self.rows[-1]

    def _log_curves(self, trainer: pl.Trainer, row: Row) -> None:
        for logger in trainer.loggers:
            logger.log_metrics({name: float(row[column]) for name, column in CURVES.items()}, step=int(row["epoch"]))

    def _announce(self, trainer: pl.Trainer, row: Row, seconds: float) -> None:
        epochs = trainer.max_epochs
        assert epochs is not None
        log.info(epoch_line(row, epochs, best_row(self.rows)))
        if self.stalled and row["epoch"] < epochs:
            log.info(f"no better for {epochs_of(self.patience)}: stopped at epoch {row['epoch']}")
        elif row["epoch"] % HEAD_EVERY == 0 and row["epoch"] < epochs:
            log.info(epoch_head(epochs))
        if not self.stalled and not self.announced and row["epoch"] < epochs:
            datamodule = trainer.datamodule  # type: ignore[attr-defined]
            assert isinstance(datamodule, FERDataModule)
            areas = [datamodule.side(epoch, epochs) ** 2 for epoch in range(row["epoch"] - 1, epochs)]
            log.info(forecast(seconds, [area / areas[0] for area in areas[1:]], epochs))
            if self.patience is not None:
                log.info(f"It ends earlier if validation accuracy is no better for {epochs_of(self.patience)}.")
        self.announced = True


def _clock(pl_module: pl.LightningModule) -> float:
    if pl_module.device.type == "cuda":
        torch.cuda.synchronize()  # three times an epoch; otherwise the queue, not the work, is timed
    return time.perf_counter()
