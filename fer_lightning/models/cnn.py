"""The study's convolutional network: five convolution blocks and three linear layers, 5,758,791 parameters."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.data.faces import CLASSES, SIZE
from fer_lightning.models.classifier import EmotionClassifier, OptimizerFactory, SchedulerFactory
from fer_lightning.models.layers import check_rates, check_widths, linear_block


def conv_block(inputs: int, outputs: int, kernel: int, dropout: float, pool: bool) -> nn.Sequential:
    """Convolution, LeakyReLU, BatchNorm2d, perhaps MaxPool2d, Dropout2d: float (B, inputs, H, W) to (B, outputs, …)."""
    layers = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2), nn.LeakyReLU(0.05), nn.BatchNorm2d(outputs)]
    if pool:
        layers.append(nn.MaxPool2d(2, 2))
    return nn.Sequential(*layers, nn.Dropout2d(dropout))


class CNN(EmotionClassifier):
    """Faces float (B, 1, 48, 48) to logits (B, 7); other sizes from 16 on work too, for training on smaller pictures.

    channels: output channels of conv0 to conv4; conv1 to conv4 halve the image.
    hidden: width of fc1 and fc2.
    conv_dropout: drop rates of conv0 to conv4 (whole channels), each in [0, 1).
    fc_dropout: drop rate after fc1 and after fc2, in [0, 1).
    The rest: see `EmotionClassifier`. Raises ValueError for values out of range.
    """

    any_size = True
    map_layer = "conv3"  # 6 × 6; the 3 × 3 of conv4 are too coarse for a map, see docs/labbook.md

    def __init__(
        self,
        channels: Sequence[int] = (64, 64, 128, 512, 512),
        hidden: int = 512,
        conv_dropout: Sequence[float] = (0.2, 0.25, 0.3, 0.4, 0.5),
        fc_dropout: float = 0.5,
        label_smoothing: float = 0.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(label_smoothing, optimizer, scheduler)
        check_widths("channels", channels, 5)
        check_widths("hidden", [hidden], 1)
        check_rates("conv_dropout", conv_dropout, 5)
        check_rates("fc_dropout", [fc_dropout], 1)
        c, p = channels, conv_dropout
        self.conv0 = conv_block(1, c[0], 5, p[0], pool=False)
        self.conv1 = conv_block(c[0], c[1], 5, p[1], pool=True)
        self.conv2 = conv_block(c[1], c[2], 3, p[2], pool=True)
        self.conv3 = conv_block(c[2], c[3], 3, p[3], pool=True)
        self.conv4 = conv_block(c[3], c[4], 3, p[4], pool=True)
        self.fc1 = linear_block(c[4] * (SIZE // 16) ** 2, hidden, fc_dropout)
        self.fc2 = linear_block(hidden, hidden, fc_dropout)
        self.fc3 = nn.Linear(hidden, len(CLASSES))
        # Channels last pays in every precision: in float32 56 against 42 images/s on two CPU cores (bare loop).
        self.to(memory_format=torch.channels_last)

    def forward(self, faces: Tensor) -> Tensor:
        x = self.conv0(faces)  # (B, 64, 48, 48)
        x = self.conv1(x)  # (B, 64, 24, 24)
        x = self.conv2(x)  # (B, 128, 12, 12)
        x = self.conv3(x)  # (B, 512, 6, 6)
        x = self.conv4(x)  # (B, 512, 3, 3)
        if x.shape[2] != SIZE // 16:  # of smaller or larger faces
            x = F.adaptive_max_pool2d(x, SIZE // 16)
        x = x.flatten(1)  # (B, 4608)
        return self.fc3(self.fc2(self.fc1(x)))
