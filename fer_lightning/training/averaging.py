"""Averages of the weights along a training, which are then what is validated, kept as best.ckpt and scored.

Not Lightning's `WeightAveraging` (2.6.6): its copy stays where the model is at `setup`, on the CPU, so that each step
of a GPU moves all weights there; it swaps the network's running sums as well, before they are logged; and it overwrites
the trained weights when a training ends: a finished run would go on from its average. The arithmetic is torch's.
"""

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from fer_lightning.data.datamodule import FERDataModule

KEY = "averaging"  # in a checkpoint
MEASURED = 6400  # training images that statistics are measured on, forwards only; an epoch has 25,838


class Averaging(pl.Callback):
    """Keeps an average of a network's parameters beside those that are trained, in a training on a `FERDataModule`.

    start: share of the epochs after which averaging begins, in [0, 1), with the last one at the latest; until then the
    trained weights are the average. Raises ValueError for values out of range.

    The statistics of batch normalization are measured for the average before each validation, on training batches, as
    Izmailov et al. do. Averaged like the parameters, they cost the DNN with EMA 0.3 points of validation accuracy (mean
    of the first eight epochs of Adam at 0.001; its loss was higher in each), and made it useless with SGD at 0.05 (loss
    4.5 against 1.8 after two epochs).
    A checkpoint to go on from (last.ckpt) holds the average as its weights, so that it can be scored as it is, and the
    trained ones under `averaging`, to go on with.
    """

    def __init__(self, start: float) -> None:
        if not 0 <= start < 1:
            raise ValueError(f"start is {start}; it must be at least 0 and below 1")
        self.start = start
        self.count = 0  # updates so far
        self.steps = 0  # trainer.global_step of the last of them
        self.average: dict[str, Tensor] = {}

    def due(self, trainer: pl.Trainer, last_of_epoch: bool) -> bool:
        """Whether the weights after the optimizer step just made belong into the average."""
        raise NotImplementedError

    def share(self) -> float:
        """The weight in [0, 1] with which the next weights enter the average; 1 for the first."""
        raise NotImplementedError

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.average = {name: tensor.to(pl_module.device) for name, tensor in self.average.items()}

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert trainer.max_epochs is not None
        begins = min(self.start * trainer.max_epochs, trainer.max_epochs - 1)
        if trainer.global_step == self.steps or trainer.current_epoch < begins:
            return  # gradients were added up without a step, or it is too early
        self.steps = trainer.global_step
        if not self.due(trainer, batch_idx + 1 == trainer.num_training_batches):
            return
        if self.count == 0:
            self.average = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}
        else:  # a share in numbers of Python's, so that no step waits for a GPU
            parameters = {name: parameter.data for name, parameter in pl_module.named_parameters()}
            average = [self.average[name] for name in parameters]
            get_ema_multi_avg_fn(1 - self.share())(average, list(parameters.values()), self.count)
        self.count += 1

    def on_validation_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap(pl_module)
        if self.count:
            datamodule = trainer.datamodule  # type: ignore[attr-defined]
            assert isinstance(datamodule, FERDataModule)
            batches = datamodule.batches_to_measure(MEASURED)
            measure_statistics(pl_module, batches, trainer.precision_plugin.val_step_context)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._swap(pl_module)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[KEY] = {
            "count": self.count,
            "steps": self.steps,
            "trained": checkpoint["state_dict"],
        }
        checkpoint["state_dict"] = self.average or checkpoint["state_dict"]

    def on_load_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        saved = checkpoint[KEY]  # Lightning has loaded the average into the network before
        self.count, self.steps = saved["count"], saved["steps"]
        if self.count:
            self.average = {name: tensor.clone() for name, tensor in pl_module.state_dict().items()}
        pl_module.load_state_dict(saved["trained"])

    @torch.no_grad()
    def _swap(self, pl_module: pl.LightningModule) -> None:
        """Exchange trained weights and average, in place: optimizer and compiled graphs know their addresses."""
        if self.count:
            for name, tensor in pl_module.state_dict().items():
                kept = tensor.clone()
                tensor.copy_(self.average[name])
                self.average[name].copy_(kept)


@torch.no_grad()
def measure_statistics(
    network: nn.Module, batches: Iterable[Tensor], context: Callable[[], AbstractContextManager[None]]
) -> None:
    """Give every batch normalization the plain mean of what it sees of `batches`, faces float (B, 1, H, W).

    context: of a forward pass, for its precision. The result is that of torch's `update_bn`, in which every layer waits
    for the GPU at every batch, to read how many there were. Of several processes, all validate with the first one's.
    """
    norms = [module for module in network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta, training = [norm.momentum for norm in norms], network.training
    network.train()
    for norm in norms:
        norm.reset_running_stats()
    for count, faces in enumerate(batches, 1):
        for norm in norms:
            norm.momentum = 1 / count
        with context():
            network(faces)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(training)


class EMA(Averaging):
    """An exponential moving average: the weights of some 1 / (1 − decay) last updates.

    decay: share of the average that stays at an update, in [0, 1); from 0 up to it over the first updates, n / (9 + n)
    at most (nearly TensorFlow's `num_updates`), so that the random first weights are soon forgotten.
    every: optimizer steps from one update to the next.
    Polyak, Juditsky (1992); for the networks of a training, Tarvainen, Valpola (2017), https://arxiv.org/abs/1703.01780
    """

    def __init__(self, decay: float = 0.999, every: int = 1, start: float = 0.0) -> None:
        super().__init__(start)
        if not 0 <= decay < 1:
            raise ValueError(f"decay is {decay}; it must be at least 0 and below 1")
        if every < 1:
            raise ValueError(f"every is {every}; it must be at least 1")
        self.decay, self.every = decay, every

    def due(self, trainer: pl.Trainer, last_of_epoch: bool) -> bool:
        return trainer.global_step % self.every == 0

    def share(self) -> float:
        return max(1 - self.decay, 9 / (9 + self.count))


class SWA(Averaging):
    """Stochastic weight averaging: the plain mean of the weights at the end of each epoch from `start` on.

    Made for a learning rate that stays high to the end. Izmailov et al. (2018), https://arxiv.org/abs/1803.05407
    """

    def __init__(self, start: float = 0.75) -> None:
        super().__init__(start)

    def due(self, trainer: pl.Trainer, last_of_epoch: bool) -> bool:
        return last_of_epoch

    def share(self) -> float:
        return 1 / (1 + self.count)
