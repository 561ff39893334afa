"""What a person sees while a run trains: a bar on a terminal, a table with a line an epoch everywhere."""

import logging
import sys
import textwrap
import time
from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

import pytorch_lightning as pl
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from fer_lightning.models import EmotionClassifier
from fer_lightning.results.files import naming
from fer_lightning.training.processes import is_first_process

log = logging.getLogger(__name__)

WIDTH = 80  # columns of a line
REFRESH_SECONDS = 0.25  # reading the running loss stalls a GPU, so not at every step


class StdoutHandler(logging.StreamHandler):
    """Writes to whatever `sys.stdout` is at that moment, so that lines go above a live progress bar, not into it."""

    @property
    def stream(self) -> TextIO:
        return sys.stdout

    @stream.setter
    def stream(self, value: Any) -> None:
        pass


class LogFile(logging.FileHandler):
    """A run's log, in UTF-8. A `Failure` ends the run where it cannot be written, as for any of its files."""

    def __init__(self, filename: str) -> None:
        delay = not is_first_process()  # others have nothing to tell
        super().__init__(filename, encoding="utf-8", delay=delay, errors="backslashreplace")  # file names may be none

    def emit(self, record: logging.LogRecord) -> None:
        with naming(Path(self.baseFilename)):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        raise  # what `emit` met


def epoch_head(epochs: int) -> str:
    """What stands in the columns of `epoch_line`."""
    head = f"{'train loss':>10}{'acc':>7}{'val loss':>9}{'acc':>7}{'lr':>10}{'seconds':>8}  best val acc"
    return "epoch".ljust(len(epoch_name(epochs, epochs)) - 1) + head


def epoch_line(row: dict[str, float], epochs: int, best: dict[str, float]) -> str:
    """One epoch (a row of metrics.csv) in WIDTH columns, up to 1,000 epochs of 10,000 seconds."""
    return (
        f"{epoch_name(row['epoch'], epochs)}{row['train_loss']:9.4f} {row['train_acc']:.4f}"
        f"{row['val_loss']:9.4f} {row['val_acc']:.4f}{row['lr']:10.2e}{row['seconds']:8.1f}"
        f"  {best['val_acc']:.4f} @ {best['epoch']}"
    )


def epoch_name(epoch: float, epochs: int) -> str:
    return f"epoch {epoch:>{len(str(epochs))}}/{epochs}"


def epochs_of(number: int | None) -> str:
    return f"{number} epoch{'s'[: number != 1]}"


def forecast(seconds: float, remaining: list[float], epochs: int) -> str:
    """After the first epoch: when the run will end and how to shorten it.

    seconds: that whole epoch's. remaining: how many times as long each of the others takes. epochs: in all.
    """
    left = timedelta(seconds=round(seconds * sum(remaining)))
    end = datetime.now() + left
    when = f"{end:%H:%M}" if end.date() == datetime.now().date() else f"{end:%Y-%m-%d %H:%M}"
    rest = f"{len(remaining)} epochs end" if len(remaining) > 1 else "epoch ends"
    growing = ", later ones of larger pictures longer" if max(remaining) > 1 else ""
    text = (
        f"{seconds:.1f} s an epoch{growing}: the remaining {rest} in about {left}, at {when}. Shorter: "
        f"trainer.max_epochs=N (now {epochs}); or Ctrl-C at any time: at most the epoch under way is lost, and "
        "the run can go on."
    )
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)


def stopping(rows: Sequence[dict[str, float]]) -> str:
    """At once after Ctrl-C: what is still done. rows: the epochs so far."""
    if not rows:
        return "\nstopping: no epoch is done yet"
    best = max(rows, key=lambda row: row["val_acc"])["epoch"]
    return f"\nstopping after epoch {len(rows)}; scoring epoch {best}, the best. Ctrl-C again: at once"


class EpochBar(pl.Callback):
    """A live bar for the running epoch, with its loss and accuracy so far, the last validation and the time left."""

    def __init__(self) -> None:
        self.progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=Console(),
            transient=True,  # the lines of the epochs stay, the bars go
        )
        self.steps: TaskID | None = None
        self.epochs: TaskID | None = None
        self.refreshed = 0.0

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.epochs = self.progress.add_task(
            "run  ", total=trainer.max_epochs, completed=trainer.current_epoch, figures=""
        )
        self.steps = self.progress.add_task("epoch", figures="")
        self.progress.start()

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self.steps is not None
        epoch = f"epoch {trainer.current_epoch + 1}"
        self.progress.reset(self.steps, total=trainer.num_training_batches, description=epoch)

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        now = time.monotonic()
        if now - self.refreshed < REFRESH_SECONDS and batch_idx + 1 < trainer.num_training_batches:
            return
        self.refreshed = now
        assert self.steps is not None
        assert isinstance(pl_module, EmotionClassifier)
        loss, _, hits, images = pl_module.means["train/"].sums.tolist()  # of this process: the others do not wait
        figures = f"loss {loss / images:.3f} acc {hits / images:.3f}"
        self.progress.update(self.steps, completed=batch_idx + 1, figures=figures)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self.epochs is not None
        figures = f"val loss {trainer.callback_metrics['val/loss']:.3f} acc {trainer.callback_metrics['val/acc']:.3f}"
        self.progress.update(self.epochs, completed=trainer.current_epoch + 1, figures=figures)

    def teardown(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        self.progress.stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.progress.stop()  # there will be no teardown
