"""`EmotionClassifier`: loss, running figures and optimizer of any network from faces to logits. It knows no layer."""

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.training.compilation import Compiled

# Faces float (B, 1, 48, 48), already normalized; targets int64 (B,), or float (B, 7) where images are mixed; in
# training perhaps what teachers said of the images before, float (B, 7).
Batch = tuple[Tensor, ...]
OptimizerFactory = Callable[[Iterable[Any]], torch.optim.Optimizer]  # from parameters or groups of them
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
    any_size = False  # whether `forward` takes faces of other sizes than 48 × 48

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
        # Each rank has sums of its own: DDP would overwrite them with those of the first at every step.
        self._ddp_params_and_buffers_to_ignore = ["train_sums", "val_sums"]
        self.train_loss: Callable[..., Tensor] = self._train_loss
        self.teacher_probabilities: Callable[[Tensor], Tensor] | None = None
        self.teacher_digests: list[str] = []

    def distill_from(
        self,
        teacher_probabilities: Callable[[Tensor], Tensor] | None,
        weight: float,
        temperature: float,
        teacher_digests: Sequence[str] = (),
    ) -> None:
        """Distillation: in training the loss is (1 − weight) · cross-entropy + weight · temperature² · KL divergence.

        teacher_probabilities: from the faces of a training step, as this network sees them, to class probabilities
        float (B, 7) at that temperature, from which the divergence of this network's is taken. No part of this
        module: it neither trains nor saves them. None: the batches hold such probabilities as their third part.
        weight: in [0, 1]. temperature: above 0. teacher_digests: what the teachers are known by in a checkpoint.
        Hinton, Vinyals, Dean (2015), https://arxiv.org/abs/1503.02531
        """
        self.teacher_probabilities, self.distill_weight, self.temperature = teacher_probabilities, weight, temperature
        self.teacher_digests = list(teacher_digests)

    def compile_training(self, batch_size: int, mode: str) -> Compiled:
        """Compile forward pass and loss for training batches of this size, and with them their backward pass."""
        self.train_loss = compiled = Compiled(self._train_loss, batch_size, mode)
        return compiled

    def _loss(
        self, faces: Tensor, targets: Tensor, label_smoothing: float, sums: Tensor, soft_targets: Tensor | None = None
    ) -> Tensor:
        logits = self(faces).float()  # (B, 7); bf16 is too coarse for softmax and loss
        loss = F.cross_entropy(logits, targets, label_smoothing=label_smoothing)
        if soft_targets is not None:
            t, w = self.temperature, self.distill_weight
            divergence = F.kl_div((logits / t).log_softmax(1), soft_targets, reduction="batchmean")
            loss = (1 - w) * loss + w * t**2 * divergence
        with torch.no_grad():
            sums[0] += loss * len(targets)
            predicted = logits.argmax(1)
            # Of mixed targets a prediction hits the share that the image has of its class (as mixup's authors count).
            mixed = targets.is_floating_point()
            sums[1] += (targets.gather(1, predicted[:, None]) if mixed else predicted == targets).sum()
            sums[2] += len(targets)
        return loss

    def _train_loss(self, faces: Tensor, targets: Tensor, soft_targets: Tensor | None = None) -> Tensor:
        return self._loss(faces, targets, self.label_smoothing, self.train_sums, soft_targets)

    def _log_means(self, stage: str, sums: Tensor) -> None:
        loss, hits, images = self.trainer.strategy.reduce(sums, reduce_op="sum")
        figures = {f"{stage}/loss": loss / images, f"{stage}/acc": hits / images}
        self.log_dict(figures, logger=False, sync_dist=True)

    def on_train_epoch_start(self) -> None:
        self.train_sums.zero_()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.teacher_probabilities is None:
            return self.train_loss(*batch)
        return self.train_loss(*batch, self.teacher_probabilities(batch[0]))

    def on_train_epoch_end(self) -> None:
        self._log_means("train", self.train_sums)

    def on_validation_epoch_start(self) -> None:
        self.val_sums.zero_()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        faces, targets = batch
        self._loss(faces, targets, 0.0, self.val_sums)

    def on_validation_epoch_end(self) -> None:
        self._log_means("val", self.val_sums)

    def configure_optimizers(self) -> Any:
        optimizer = self.make_optimizer(self.parameters())
        if optimizer.defaults.get("weight_decay"):
            optimizer = self.make_optimizer(decay_groups(self))
        if self.make_scheduler is None:
            return optimizer
        epochs = self.trainer.max_epochs
        assert epochs is not None
        steps = math.ceil(self.trainer.estimated_stepping_batches / epochs)
        return {"optimizer": optimizer, "lr_scheduler": self.make_scheduler(optimizer, epochs, steps)}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # With `hyper_parameters`, all that is needed to make the network again without knowing which it was.
        checkpoint["network"] = f"{type(self).__module__}.{type(self).__qualname__}"
        # To go on from it, what must be the same:
        checkpoint["max_epochs"] = self.trainer.max_epochs
        checkpoint["processes"] = self.trainer.world_size
        checkpoint["teachers"] = self.teacher_digests


def decay_groups(module: nn.Module) -> list[dict[str, Any]]:
    """The parameters in two groups, of which the second, vectors, keeps its size: no weight decay.

    Vectors are the biases and what batch normalization scales and shifts by; decay only changes the effective learning
    rate of what stands before such a layer, and hurts there. He et al. (2018), https://arxiv.org/abs/1812.01187, 3.1
    """
    parameters = [parameter for parameter in module.parameters() if parameter.requires_grad]
    return [
        {"params": [parameter for parameter in parameters if parameter.ndim > 1]},
        {"params": [parameter for parameter in parameters if parameter.ndim <= 1], "weight_decay": 0.0},
    ]
