"""Networks as they stand in an ONNX file: with all that is around them, and with maps of the parts they depend on.

torch exports no gradients, so that of the CNN is written by hand here: of its last layers, which stand in a row.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.data.faces import SIZE
from fer_lightning.models import CNN
from fer_lightning.results.checkpoint import Classifier


class Complete(nn.Module):
    """uint8 (N, 1, 48, 48), gray, 0 black, to class probabilities float32 (N, 7)."""

    def __init__(self, classifier: Classifier, temperature: float) -> None:
        super().__init__()
        self.model, self.normalize, self.temperature = classifier.model, classifier.normalize, temperature

    def forward(self, faces: Tensor) -> Tensor:
        return (self.model(self.normalize(faces.float() / 255)) / self.temperature).softmax(1)


class WithMaps(Complete):
    """A CNN from uint8 (N, 1, 48, 48) to class probabilities (N, 7) and maps (N, 7, 48, 48), float32.

    A map is `maps.grad_cam` of a class's logit at conv3.
    """

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        model = self.model
        assert isinstance(model, CNN)
        x = self.normalize(faces.float() / 255)
        for block in (model.conv0, model.conv1, model.conv2, model.conv3):
            x = block(x)
        channels = x
        layers: list[Any] = [*model.conv4, nn.Flatten(), *model.fc1, *model.fc2, model.fc3]
        conv, *after = layers
        x = conv(x)
        inputs = []
        for layer in after:
            inputs.append(x)
            x = layer(x)
        gradient = torch.eye(x.shape[1]).expand(x.shape[0], -1, -1)  # (N, 7, …): of each logit; len(x) would fix N
        for layer, before in zip(reversed(after), reversed(inputs), strict=True):
            gradient = backward(layer, before, gradient)
        # Of a shift of a whole channel before `conv`: each weight times the gradient where it meets a pixel of the map
        meets = F.unfold(torch.ones(1, 1, *channels.shape[2:]), conv.kernel_size, padding=conv.padding)[0]
        weights = conv.weight.permute(0, 2, 3, 1).flatten(0, 2)  # (outputs of conv · 9, its inputs)
        means = (gradient.flatten(3) @ meets.T).flatten(2) @ weights / meets.shape[1]  # (N, 7, inputs)
        maps = (means @ channels.flatten(2)).relu().unflatten(2, channels.shape[2:])
        return (x / self.temperature).softmax(1), F.interpolate(maps, (SIZE, SIZE), mode="bilinear")


def backward(layer: nn.Module, before: Tensor, gradient: Tensor) -> Tensor:
    """The gradients (N, 7, …) with respect to what a layer was given, (N, …), of those with respect to its output."""
    match layer:
        case nn.Linear():
            return gradient @ layer.weight
        case nn.ReLU() | nn.LeakyReLU():
            return gradient * torch.where(before > 0, 1.0, getattr(layer, "negative_slope", 0.0))[:, None]
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            assert layer.running_var is not None
            factor = layer.weight * (layer.running_var + layer.eps).rsqrt()
            return gradient * factor.reshape(-1, *[1] * (before.ndim - 2))
        case nn.MaxPool2d():
            largest = before == F.interpolate(layer(before), scale_factor=2)
            spread = F.interpolate(gradient.flatten(0, 1), scale_factor=2)
            return spread.unflatten(0, gradient.shape[:2]) * largest[:, None]
        case nn.Flatten():
            return gradient.unflatten(2, before.shape[1:])
        case nn.Dropout() | nn.Dropout2d():
            return gradient
    raise TypeError(f"no gradient is known of {layer}")
