"""torchvision's ResNet-18 for gray faces, from scratch: 11,171,271 parameters, to compare with."""

import torch
from torch import Tensor, nn
from torchvision.models import resnet18

from fer_lightning.data.faces import CLASSES
from fer_lightning.models.classifier import EmotionClassifier, OptimizerFactory, SchedulerFactory


class ResNet18(EmotionClassifier):
    """Faces float (B, 1, 48, 48) to logits (B, 7); other sizes from 16 on work too, for training on smaller pictures.

    The arguments: see `EmotionClassifier`. He et al. (2016), https://arxiv.org/abs/1512.03385
    """

    any_size = True
    map_layer = "resnet.layer4"  # its sum: the last convolution is but a part of that

    def __init__(
        self,
        label_smoothing: float = 0.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(label_smoothing, optimizer, scheduler)
        self.resnet = resnet18(num_classes=len(CLASSES))
        # The stem of ImageNet's 224 pixels (7 × 7 by steps of 2, then pooled) would leave 12 × 12 of 48 × 48 before the
        # first block. Instead that of the paper's network for CIFAR's 32: 3 × 3, no step, no pooling.
        self.resnet.conv1 = nn.Conv2d(1, 64, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(self.resnet.conv1.weight, mode="fan_out", nonlinearity="relu")  # as torchvision's
        self.resnet.maxpool = nn.Identity()
        self.to(memory_format=torch.channels_last)

    def forward(self, faces: Tensor) -> Tensor:
        # After layers 1 to 4: (B, 64, 48, 48), (B, 128, 24, 24), (B, 256, 12, 12), (B, 512, 6, 6)
        return self.resnet(faces)
