"""`EmotionClassifier`: the steps, figures and optimizer of any network from faces to logits. It knows no layer."""

import inspect
import math
from collections.abc import Callable, Iterable
from typing import Any, Self

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.models.metrics import EpochMeans, batch_sums

# Faces float (B, 1, 48, 48), already normalized; targets int64 (B,), or float (B, 7) where images are mixed; in
# training perhaps what teachers said of the images before, float (B, 7).
Batch = tuple[Tensor, ...]
OptimizerFactory = Callable[[Iterable[Any]], torch.optim.Optimizer]  # from parameters or groups of them
SchedulerFactory = Callable[[torch.optim.Optimizer, int, int], dict[str, Any]]  # (optimizer, epochs, steps an epoch)
FACTORIES = ("optimizer", "scheduler")  # arguments that no checkpoint holds


class KeepsArguments:
    """Each object has `arguments`: what its constructor was called with, by name, defaults included.

    Lightning collects them from the frames of all constructors instead: it takes a value that a constructor has changed
    before, and arguments that only a base class has. A network cannot be made again from these.
    """

    arguments: dict[str, Any]

    def __new__(cls, *args: Any, **kwargs: Any) -> Self:
        made = super().__new__(cls)
        signature = inspect.signature(cls.__init__)
        bound = signature.bind_partial(made, *args, **kwargs)  # partial: `copy` and `pickle` give no arguments
        bound.apply_defaults()
        arguments: dict[str, Any] = {}
        for name, value in list(bound.arguments.items())[1:]:  # all but self
            kind = signature.parameters[name].kind
            if kind is inspect.Parameter.VAR_POSITIONAL and value:
                raise TypeError(f"{cls.__name__} keeps its arguments by name; give {value} by name too")
            arguments |= value if kind is inspect.Parameter.VAR_KEYWORD else {name: value}
        made.arguments = arguments
        return made


class EmotionClassifier(pl.LightningModule, KeepsArguments):
    """The base of every network: a subclass adds layers and `forward`.

    label_smoothing: share of the target's probability spread over all classes in training, in [0, 1).
    optimizer: makes an optimizer from the parameters; Adam with its defaults (lr 0.001, as published) if None.
    scheduler: makes Lightning's `lr_scheduler` dictionary from the optimizer, the number of epochs and the number of
        steps in an epoch; the learning rate is constant if None.

    A checkpoint holds the arguments of the subclass's constructor but for FACTORIES, so they must be primitives.
    Logged, once an epoch: train/loss (the objective), train/cross_entropy (no smoothing, weights, teachers), train/acc,
    train/images; val/loss and val/acc; in `trainer.test`, of a loader named public, test/public_loss, test/public_acc.
    """

    class_weights: Tensor | None  # float (7,), see `weigh_classes`
    any_size = False  # whether `forward` takes faces of other sizes than 48 × 48
    map_layer: str | None = None  # the layer that Grad-CAM looks at, if not the last convolution

    def __init__(
        self,
        label_smoothing: float = 0.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__()
        self.save_hyperparameters({key: value for key, value in self.arguments.items() if key not in FACTORIES})
        if not 0 <= label_smoothing < 1:
            raise ValueError(f"label_smoothing is {label_smoothing}; it must be at least 0 and below 1")
        self.label_smoothing = label_smoothing
        self.make_optimizer = optimizer or torch.optim.Adam
        self.make_scheduler = scheduler
        # By what their figures' names begin with. In a dictionary they are no layers, which model.txt would show.
        self.means = {"train/": EpochMeans(), "val/": EpochMeans()}
        self.teacher_probabilities: Callable[[Tensor], Tensor] | None = None
        self.register_buffer("class_weights", None, persistent=False)  # on the network's device, in no checkpoint

    def weigh_classes(self, weights: Tensor) -> None:
        """In training, count an image's loss, what teachers add included, as often as its class is worth.

        weights: float (7,), with a mean of 1 over the training images, which keeps the loss's scale. A mixed image
        weighs what its shares of classes do. Torch's own `weight` weighs what label smoothing spreads as well: on
        FER2013, smoothing of 0.1 would have a perfect network give disgust 0.19 for every happy face.
        """
        self.class_weights = weights

    def distill_from(
        self,
        teacher_probabilities: Callable[[Tensor], Tensor] | None,
        weight: float,
        temperature: float,
    ) -> None:
        """Distillation: in training the loss is (1 − weight) · cross-entropy + weight · temperature² · KL divergence.

        teacher_probabilities: from the faces of a training step, as this network sees them, to class probabilities
        float (B, 7) at that temperature, from which the divergence of this network's is taken. No part of this
        module: it neither trains nor saves them. None: the batches hold such probabilities as their third part.
        weight: in [0, 1]. temperature: above 0.
        Hinton, Vinyals, Dean (2015), https://arxiv.org/abs/1503.02531
        """
        self.teacher_probabilities, self.distill_weight, self.temperature = teacher_probabilities, weight, temperature

    def train_loss(self, faces: Tensor, targets: Tensor, soft_targets: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The objective of a training batch and its `batch_sums`; forward pass and all, so that it can be compiled."""
        logits, weights = self._logits(faces), self.class_weights
        loss = F.cross_entropy(
            logits, targets, label_smoothing=self.label_smoothing, reduction="mean" if weights is None else "none"
        )
        plain = not self.label_smoothing and weights is None
        cross_entropy = loss if plain else F.cross_entropy(logits.detach(), targets)
        if soft_targets is not None:
            t, w = self.temperature, self.distill_weight
            student = (logits / t).log_softmax(1)
            if weights is None:
                divergence = F.kl_div(student, soft_targets, reduction="batchmean")
            else:
                divergence = F.kl_div(student, soft_targets, reduction="none").sum(1)
            loss = (1 - w) * loss + w * t**2 * divergence
        if weights is not None:
            image_weights = (targets * weights).sum(1) if targets.is_floating_point() else weights[targets]
            loss = (loss * image_weights).mean()
        return loss, batch_sums(loss, cross_entropy, logits, targets)

    def plain_loss(self, faces: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """The same without what is there for training alone: the cross-entropy."""
        logits = self._logits(faces)
        loss = F.cross_entropy(logits, targets)
        return loss, batch_sums(loss, loss, logits, targets)

    def _logits(self, faces: Tensor) -> Tensor:
        return self(faces).float()  # (B, 7); bf16 is too coarse for softmax and loss

    def _step(self, prefix: str, loss_of: Callable[..., tuple[Tensor, Tensor]], batch: Batch) -> Tensor:
        loss, sums = loss_of(*batch)
        self.means[prefix].update(sums)
        return loss

    def _log(self, prefix: str, *names: str) -> None:
        means = self.means[prefix].compute()
        logger = False if self.trainer.state.fn == "fit" else None  # the recorder draws the curves of a training
        self.log_dict({f"{prefix}{name}": means[name] for name in names}, logger=logger, sync_dist=True)

    def on_train_epoch_start(self) -> None:
        self.means["train/"].reset()

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        if self.teacher_probabilities is not None:
            batch = (*batch, self.teacher_probabilities(batch[0]))
        loss = self._step("train/", self.train_loss, batch)
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            # DDP takes the plain mean over processes, whose last batches may differ by an image
            images = torch.full_like(loss, len(batch[0]), requires_grad=False)
            in_all = images.clone()
            torch.distributed.all_reduce(in_all)
            loss = loss * (images * torch.distributed.get_world_size() / in_all)
        return loss

    def on_train_epoch_end(self) -> None:
        self._log("train/", "loss", "cross_entropy", "acc", "images")

    def on_validation_epoch_start(self) -> None:
        self.means["val/"].reset()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        self._step("val/", self.plain_loss, batch)

    def on_validation_epoch_end(self) -> None:
        self._log("val/", "loss", "acc")

    def _test_prefixes(self) -> list[str]:
        """One for each test loader: by its name, or by its number where there are some without names."""
        loaders = self.trainer.test_dataloaders
        if not isinstance(loaders, dict | list):
            return ["test/"]
        return [f"test/{name}_" for name in (loaders if isinstance(loaders, dict) else range(len(loaders)))]

    def on_test_epoch_start(self) -> None:
        self.means |= {prefix: EpochMeans() for prefix in self._test_prefixes()}

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        self._step(self._test_prefixes()[dataloader_idx], self.plain_loss, batch)

    def on_test_epoch_end(self) -> None:
        for prefix in self._test_prefixes():
            self._log(prefix, "loss", "acc")

    def predict_step(self, batch: Batch, batch_idx: int = 0, dataloader_idx: int = 0) -> Tensor:
        """Class probabilities, float32 (B, 7), of the batch's faces."""
        return self._logits(batch[0]).softmax(1)

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
        # All that is needed to make the network again without knowing which it was. Lightning leaves out what is empty.
        checkpoint.setdefault("hyper_parameters", {})
        checkpoint["network"] = f"{type(self).__module__}.{type(self).__qualname__}"


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
