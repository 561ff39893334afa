"""What a careful student writes from a tutorial: pandas, torchvision's transforms an image at a time, a float32 loop.

Nothing here comes from fer_lightning, so that no mistake of ours can be on both sides of a ratio.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset, Subset
from torchvision import transforms

BATCH = 128
WORKERS = (0, 1, 2)  # on two cores; each machine's fastest is used


def read_csv(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 (N, 48, 48) and labels (N,) of a fer2013.csv."""
    frame = pd.read_csv(path)
    pixels = np.stack([np.array(text.split(), dtype=np.uint8) for text in frame["pixels"]])
    return pixels.reshape(-1, 48, 48), frame["emotion"].to_numpy()


def normalization(training: np.ndarray) -> tuple[float, float]:
    """Mean and standard deviation of uint8 pixels, in 0–1."""
    return float(training.mean()) / 255, float(training.std()) / 255


def train_transform(mean: float, std: float) -> Callable[[Image.Image], Tensor]:
    """The study's; the angle of RandomRotation, which it leaves open, is that of conf/aug/norm_aug.yaml."""
    return transforms.Compose(
        [
            transforms.RandomAffine(0, translate=(0.1, 0.1), scale=(0.9, 1.1), shear=10, fill=0),
            transforms.RandomRotation(10),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize((mean,), (std,)),
        ]
    )


def val_transform(mean: float, std: float) -> Callable[[Image.Image], Tensor]:
    return transforms.Compose([transforms.ToTensor(), transforms.Normalize((mean,), (std,))])


class FERDataset(Dataset[tuple[Tensor, int]]):
    def __init__(self, pixels: np.ndarray, labels: np.ndarray, transform: Callable[[Image.Image], Tensor]) -> None:
        self.pixels, self.labels, self.transform = pixels, labels, transform

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.transform(Image.fromarray(self.pixels[index])), int(self.labels[index])


Batches = DataLoader[Any]  # of (faces float (B, 1, 48, 48), targets int64 (B,))


def loader(dataset: Dataset[tuple[Tensor, int]], shuffle: bool, workers: int, pinned: bool = False) -> Batches:
    return DataLoader(
        dataset,
        batch_size=BATCH,
        shuffle=shuffle,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=pinned,
    )


class CNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = 1
        for outputs, kernel, pool, dropout in (
            (64, 5, False, 0.2),
            (64, 5, True, 0.25),
            (128, 3, True, 0.3),
            (512, 3, True, 0.4),
            (512, 3, True, 0.5),
        ):
            layers += [nn.Conv2d(inputs, outputs, kernel, padding="same"), nn.LeakyReLU(0.05), nn.BatchNorm2d(outputs)]
            if pool:
                layers.append(nn.MaxPool2d(2, 2))
            layers.append(nn.Dropout2d(dropout))
            inputs = outputs
        layers.append(nn.Flatten())
        for width in (4608, 512):
            layers += [nn.Linear(width, 512), nn.ReLU(), nn.BatchNorm1d(512), nn.Dropout(0.5)]
        self.layers = nn.Sequential(*layers, nn.Linear(512, 7))

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


class DNN(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(2304, 2048), nn.ReLU(), nn.BatchNorm1d(2048), nn.Dropout(0.4),
            nn.Linear(2048, 512), nn.ReLU(), nn.BatchNorm1d(512), nn.Dropout(0.5),
            nn.Linear(512, 7),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


NETWORKS: dict[str, type[nn.Module]] = {"cnn": CNN, "dnn": DNN}


def train_epoch(
    model: nn.Module, optimizer: torch.optim.Optimizer, batches: Batches, device: str = "cpu"
) -> tuple[float, float]:
    """Mean loss and accuracy of one epoch, as a tutorial adds them up."""
    model.train()
    loss_sum, hits, images = 0.0, 0, 0
    for faces, targets in batches:
        faces, targets = faces.to(device), targets.to(device)
        optimizer.zero_grad()
        logits = model(faces)
        loss = F.cross_entropy(logits, targets)
        loss.backward()
        optimizer.step()
        loss_sum += loss.item() * len(targets)
        hits += int((logits.argmax(1) == targets).sum())
        images += len(targets)
    return loss_sum / images, hits / images


@torch.no_grad()
def validate(model: nn.Module, batches: Batches, device: str = "cpu") -> tuple[float, float]:
    model.eval()
    loss_sum, hits, images = 0.0, 0, 0
    for faces, targets in batches:
        faces, targets = faces.to(device), targets.to(device)
        logits = model(faces)
        loss_sum += F.cross_entropy(logits, targets).item() * len(targets)
        hits += int((logits.argmax(1) == targets).sum())
        images += len(targets)
    return loss_sum / images, hits / images


class Training:
    """A training whose epochs are taken one at a time. rows: what `data.load_rows` reads.

    workers: loader processes; None takes what is fastest with `probe` images, in training and validation by itself.
    """

    def __init__(
        self, network: str, rows: dict[str, np.ndarray], probe: int, workers: int | None = None, device: str = "cpu"
    ) -> None:
        torch.manual_seed(0)
        pixels, labels, train, val = rows["pixels"], rows["labels"], rows["train"], rows["val"]
        mean, std = self.normalization = normalization(pixels[train])
        self.device = device
        self.model = NETWORKS[network]().to(device)
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-3)
        self.train = FERDataset(pixels[train], labels[train], train_transform(mean, std))
        self.val = FERDataset(pixels[val], labels[val], val_transform(mean, std))
        self.workers = {
            "train": self._fastest(True, probe) if workers is None else workers,
            "val": self._fastest(False, probe) if workers is None else workers,
        }
        self.train_batches = loader(self.train, True, self.workers["train"], device != "cpu")
        self.val_batches = loader(self.val, False, self.workers["val"], device != "cpu")
        next(iter(self.train_batches)), next(iter(self.val_batches))  # starts the loaders' processes

    def _fastest(self, training: bool, images: int) -> int:
        """The number of loader processes with which `images` images take least, once these have started."""

        def seconds(workers: int) -> float:
            data = self.train if training else self.val
            batches = loader(Subset(data, range(min(images, len(data)))), training, workers)
            for _ in batches:
                pass
            started = time.perf_counter()
            if training:
                train_epoch(self.model, self.optimizer, batches, self.device)
            else:
                validate(self.model, batches, self.device)
            return time.perf_counter() - started

        return min(WORKERS, key=seconds)

    def epoch(self) -> dict[str, float]:
        """Seconds of the training part and of the validation pass after it."""
        started = time.perf_counter()
        train_epoch(self.model, self.optimizer, self.train_batches, self.device)
        trained = time.perf_counter()
        validate(self.model, self.val_batches, self.device)
        return {"seconds": trained - started, "validation": time.perf_counter() - trained}
