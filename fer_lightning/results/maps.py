"""Which pixels of a face a network's answer depends on: Grad-CAM and SmoothGrad.

A map is for one class: that which the network predicts, unless another one is asked for. It is about its logit, in
eval mode and float32. Of a face and a network it is always the same one, whatever faces stand beside it.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.data.datamodule import unit
from fer_lightning.data.faces import CLASSES, SIZE
from fer_lightning.models import EmotionClassifier
from fer_lightning.results.checkpoint import Classifier

BATCH = 64  # with the CNN, some 400 MB of activations
NOISE = 0.15  # of a face's range from dark to bright, as SmoothGrad's authors found best (0.1 to 0.2)
SAMPLES = 32  # noisy copies of a face whose map is looked at
GRAD_CAM, SMOOTH_GRAD = "Grad-CAM", "SmoothGrad"


class Maps(NamedTuple):
    """Of N faces: the class that the maps are for, int64 (N,); each kind of map, float32 (N, 48, 48).

    A map's values are at least 0 and have a sum of 1: shares of what the answer depends on. Grad-CAM's are all 0 where
    nothing speaks for the class.
    """

    targets: np.ndarray
    kinds: dict[str, np.ndarray]


def maps_of(
    classifier: Classifier,
    pixels: np.ndarray,
    target: int | None = None,
    samples: int = SAMPLES,
    after_batch: Callable[[int], None] = lambda faces: None,
) -> Maps:
    """The maps of uint8 (N, 48, 48), on the model's device: Grad-CAM where it has a convolution, and SmoothGrad.

    target: the class, if not the predicted one. samples: of SmoothGrad, which takes as many times as long as Grad-CAM.
    after_batch: called with the number of faces done.
    """
    model = classifier.model.eval()
    layer = map_layer(model)
    targets = [np.empty(0, np.int64)]
    found: dict[str, list[np.ndarray]] = {} if layer is None else {GRAD_CAM: []}
    found[SMOOTH_GRAD] = []
    for batch in torch.from_numpy(pixels).split(BATCH):
        faces = classifier.normalize(unit(batch.to(model.device)))  # (B, 1, 48, 48)
        with torch.no_grad():
            chosen = model(faces).argmax(1) if target is None else torch.full((len(faces),), target, device=faces.device)
        targets.append(chosen.cpu().numpy())
        if layer is not None:
            found[GRAD_CAM].append(_shares(grad_cam(model, layer, faces, chosen)))
        found[SMOOTH_GRAD].append(_shares(smooth_grad(model, faces, chosen, samples)))
        after_batch(len(faces))
    empty = np.empty((0, SIZE, SIZE), np.float32)
    return Maps(np.concatenate(targets), {name: np.concatenate([empty, *each]) for name, each in found.items()})


def map_layer(model: EmotionClassifier) -> nn.Module | None:
    """The layer that Grad-CAM looks at: `model.map_layer`, else the last convolution; None without convolutions."""
    if model.map_layer is not None:
        return model.get_submodule(model.map_layer)
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    return convolutions[-1] if convolutions else None


def grad_cam(model: nn.Module, layer: nn.Module, faces: Tensor, targets: Tensor) -> Tensor:
    """float (B, 48, 48), at least 0: the layer's channels, each times the mean of the logit's gradient over it.

    faces: float (B, 1, 48, 48), normalized. targets: int64 (B,). Selvaraju et al. (2017),
    https://arxiv.org/abs/1610.02391
    """
    kept: list[Tensor] = []

    def keep(layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        kept.append(output.detach().requires_grad_())  # what stands before it needs no gradient
        return kept[-1]

    with torch.enable_grad(), layer.register_forward_hook(keep):
        gradient = _gradient(model(faces), targets, kept[0])
    channels = kept[0].detach()
    cam = (gradient.mean((2, 3), keepdim=True) * channels).sum(1, keepdim=True).relu()
    return F.interpolate(cam, faces.shape[2:], mode="bilinear").squeeze(1)


def smooth_grad(model: nn.Module, faces: Tensor, targets: Tensor, samples: int) -> Tensor:
    """float (B, 48, 48), at least 0: the size of the logit's mean gradient over noisy copies of each face.

    faces: float (B, 1, 48, 48), normalized. targets: int64 (B,). The noise is the same for every face, see `noise`.
    Smilkov et al. (2017), https://arxiv.org/abs/1706.03825
    """
    spread = NOISE * (faces.amax((2, 3), keepdim=True) - faces.amin((2, 3), keepdim=True))
    total = torch.zeros_like(faces)
    for drawn in noise(samples).to(faces.device):
        noisy = (faces + spread * drawn).requires_grad_()
        with torch.enable_grad():
            total += _gradient(model(noisy), targets, noisy)
    return (total / samples).abs().squeeze(1)


def noise(samples: int) -> Tensor:
    """float (samples, 1, 48, 48), standard normal."""
    return torch.randn((samples, 1, SIZE, SIZE), generator=torch.Generator().manual_seed(0))


def _gradient(logits: Tensor, targets: Tensor, of: Tensor) -> Tensor:
    """That of each face's own logit with respect to its part of `of`, float (B, …)."""
    return torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), of)[0]


def _shares(maps: Tensor) -> np.ndarray:
    total = maps.sum((1, 2), keepdim=True)
    return (maps / torch.where(total > 0, total, 1)).float().cpu().numpy()
