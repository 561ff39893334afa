"""`EmotionClassifier`: loss, running figures and optimizer of any network from faces to logits. It knows no layer."""

import math
from collections.abc import Callable, Iterable
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor

from fer_lightning.compilation import Compiled

Batch = tuple[Tensor, Tensor]  # faces float (B, 1, 48, 48), already normalized; targets int64 (B,)
OptimizerFactory = Callable[[Iterable[Tensor]], torch.optim.Optimizer]
SchedulerFactory = Callable[[torch.optim.Optimizer, int, int], dict[str, Any]]  # (optimizer, epochs, steps an epoch)


class EmotionClassifier(pl.LightningModule):
    """The base of every network: a subclass adds layers and `forward`.

    label_smoothing: share of the target's probability spread over all classes in training, in [0, 1).
    optimizer: makes an optimizer from the parameters; Adam with its defaults (lr 0.001, as published) if None.
    scheduler: makes Lightning's `lr_scheduler` dictionary from the optimizer, the number of epochs and the number of
        steps in an epoch; the learning rate is constant if None.

    Subclasses call `self.save_hyperparameters(ignore=["optimizer", "scheduler"])`, so that a checkpoint holds their
    constructor arguments as primitives. Logged, once an epoch: train/loss, train/acc, val/loss, val/acc.
    """

    train_sums: Tensor
    val_sums: Tensor

    def __init__(
        self,
        label_smoothing: float = 0.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}; it must be at least 0 and below 1")
        self.label_smoothing = label_smoothing
        self.make_optimizer = optimizer or torch.optim.Adam
        self.make_scheduler = scheduler
        # An epoch's loss × images, hits and images, kept on the training device and read once, at the epoch's end:
        # an `.item()` a step stalls a GPU, and `self.log` a step costs a few percent of a DNN step.
        self.register_buffer("train_sums", torch.zeros(3), persistent=False)
        self.register_buffer("val_sums", torch.zeros(3), persistent=False)
        self.train_loss: Callable[[Tensor, Tensor], Tensor] = self._train_loss

    def compile_training(self, batch_size: int, mode: str) -> Compiled:
        """Compile forward pass and loss for training batches of this size, and with them their backward pass."""
        self.train_loss = compiled = Compiled(self._train_loss, batch_size, mode)
        return compiled

    def _loss(self, faces: Tensor, targets: Tensor, label_smoothing: float, sums: Tensor) -> Tensor:
        logits = self(faces).float()  # (B, 7); bf16 is too coarse for softmax and loss
        loss = F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
        with torch.no_grad():
            sums[0] += loss * len(targets)
            sums[1] += (logits.argmax(1) == targets).sum()
            sums[2] += len(targets)
        return loss

    def _train_loss(self, faces: Tensor, targets: Tensor) -> Tensor:
        return self._loss(faces, targets, self.label_smoothing, self.train_sums)

    def _log_means(self, stage: str, sums: Tensor) -> None:
        loss, hits, images = self.trainer.strategy.reduce(sums, reduce_op="sum")
        figures = {f"{stage}/loss": loss / images, f"{stage}/acc": hits / images}
        self.log_dict(figures, logger=False, sync_dist=True)

    def on_train_epoch_start(self) -> None:
        self.train_sums.zero_()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return self.train_loss(*batch)

    def on_train_epoch_end(self) -> None:
        self._log_means("train", self.train_sums)

    def on_validation_epoch_start(self) -> None:
        self.val_sums.zero_()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._loss(*batch, 0.0, self.val_sums)

    def on_validation_epoch_end(self) -> None:
        self._log_means("val", self.val_sums)

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameters())
        if self.make_scheduler is None:
            return optimizer
        epochs = self.trainer.max_epochs
        assert epochs is not None
        steps = math.ceil(self.trainer.estimated_stepping_batches / epochs)
        return {"optimizer": optimizer, "lr_scheduler": self.make_scheduler(optimizer, epochs, steps)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # With `hyper_parameters`, all that is needed to make the network again without knowing which it was.
        checkpoint["network"] = f"{type(self).__module__}.{type(self).__qualname__}"
        checkpoint["max_epochs"] = self.trainer.max_epochs
