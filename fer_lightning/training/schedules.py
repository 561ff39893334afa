"""Learning-rate schedules: each takes an optimizer, the number of epochs and of steps in an epoch, and gives the
`lr_scheduler` dictionary of Lightning's `configure_optimizers`."""

from typing import Any

from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    LinearLR,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)


def constant(optimizer: Optimizer, epochs: int, steps_per_epoch: int) -> dict[str, Any]:
    return {"scheduler": ConstantLR(optimizer, factor=1.0), "interval": "epoch"}


def cosine(
    optimizer: Optimizer, epochs: int, steps_per_epoch: int, warmup_epochs: float = 0, min_lr: float = 0.0
) -> dict[str, Any]:
    """Linear warm-up over `warmup_epochs`, then half a cosine down to `min_lr`, a step at a time."""
    if not 0 <= warmup_epochs < epochs:
        raise ValueError(f"warmup_epochs is {warmup_epochs}; it must be at least 0 and below the {epochs} epochs")
    warmup = round(warmup_epochs * steps_per_epoch)
    decay = CosineAnnealingLR(optimizer, T_max=epochs * steps_per_epoch - warmup, eta_min=min_lr)
    if warmup == 0:
        return {"scheduler": decay, "interval": "step"}
    rise = LinearLR(optimizer, start_factor=1 / warmup, total_iters=warmup)
    return {"scheduler": SequentialLR(optimizer, [rise, decay], milestones=[warmup]), "interval": "step"}


def onecycle(
    optimizer: Optimizer, epochs: int, steps_per_epoch: int, max_lr: float, pct_start: float = 0.3
) -> dict[str, Any]:
    """Smith's one cycle: a rise to `max_lr` over the share `pct_start` of all steps, then a fall to almost nothing."""
    cycle = OneCycleLR(optimizer, max_lr, total_steps=epochs * steps_per_epoch, pct_start=pct_start)
    return {"scheduler": cycle, "interval": "step"}


def plateau(
    optimizer: Optimizer,
    epochs: int,
    steps_per_epoch: int,
    factor: float = 0.5,
    patience: int = 10,
    min_lr: float = 0.0,
) -> dict[str, Any]:
    """The learning rate times `factor` when the validation loss has not improved for `patience` epochs."""
    if patience < 0:
        raise ValueError(f"patience is {patience}; it must be at least 0")
    scheduler = ReduceLROnPlateau(optimizer, factor=factor, patience=patience, min_lr=min_lr)
    return {"scheduler": scheduler, "interval": "epoch", "monitor": "val/loss"}
