"""What an expert writes for this machine alone: everything in memory, whole batches, bf16, no metrics but the loss."""

import time
from contextlib import nullcontext

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from bench.baseline import BATCH, normalization
from fer_lightning.data.augment import Augment, Normalize
from fer_lightning.models import CNN, DNN
from fer_lightning.training.memory import keep_freed_memory

NETWORKS = {"cnn": CNN, "dnn": DNN}


class Training:
    """A training whose epochs are taken one at a time. rows: what `data.load_rows` reads.

    augment: the keys of conf/aug/norm_aug.yaml. bf16: whether this machine computes in it.
    """

    def __init__(self, network: str, rows: dict[str, np.ndarray], augment: dict[str, object], bf16: bool) -> None:
        # What our networks and processes do faster than plain ones it does too: what is left is Lightning's part.
        keep_freed_memory()
        torch.manual_seed(0)
        train = rows["train"]
        self.pixels, self.labels = torch.from_numpy(rows["pixels"][train]), torch.from_numpy(rows["labels"][train])
        self.normalization = normalization(rows["pixels"][train])
        self.augment = Augment(**augment)  # type: ignore[arg-type]
        self.normalize = Normalize(*self.normalization)
        self.bf16 = bf16
        self.model = NETWORKS[network]()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3, fused=True)

    def batch(self, chunk: Tensor) -> tuple[Tensor, Tensor]:
        faces = self.pixels[chunk].unsqueeze(1).float() / 255
        return self.normalize(self.augment(faces)), self.labels[chunk]

    def epoch(self) -> dict[str, float]:
        """Seconds of one epoch; the loss is read once, at its end."""
        started = time.perf_counter()
        total = torch.zeros(())
        for chunk in torch.randperm(len(self.pixels)).split(BATCH):
            faces, targets = self.batch(chunk)
            with torch.autocast("cpu", torch.bfloat16) if self.bf16 else nullcontext():
                logits = self.model(faces)
            loss = F.cross_entropy(logits.float(), targets)
            self.optimizer.zero_grad()
            loss.backward()
            self.optimizer.step()
            total += loss.detach() * len(targets)
        total.item()
        return {"seconds": time.perf_counter() - started}
