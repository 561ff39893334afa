"""Which pixels of a face a network's answer depends on: Grad-CAM and SmoothGrad.

A map is for one class: about its logit, in eval mode and float32. Of a face, a class and a network it is always the
same one, whatever faces stand beside it.
"""

from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fer_lightning.data.datamodule import unit
from fer_lightning.data.faces import SIZE
from fer_lightning.models import EmotionClassifier
from fer_lightning.results.checkpoint import Classifier

BATCH = 64
NOISE = 0.05  # of a face's range from dark to bright; see docs/labbook.md for this and for the blur
SAMPLES = 32  # noisy copies of a face whose map is looked at
GRAD_CAM, SMOOTH_GRAD = "Grad-CAM", "SmoothGrad"


def maps_of(
    classifier: Classifier,
    pixels: np.ndarray,
    targets: np.ndarray,
    samples: int = SAMPLES,
    after_batch: Callable[[int], None] = lambda faces: None,
) -> dict[str, np.ndarray]:
    """The maps of uint8 (N, 48, 48), on the model's device: GRAD_CAM where it has a convolution, SMOOTH_GRAD.

    Each is float32 (N, 48, 48); its values are at least 0 and have a sum of 1: shares of what the logit depends on.
    They are all 0 where nothing speaks for the class.

    targets: int64 (N,), the classes. samples: of SmoothGrad, each of which takes as long as Grad-CAM and more.
    after_batch: called with the number of faces done.
    """
    model = classifier.model.eval()
    layer = map_layer(model)
    found: dict[str, list[np.ndarray]] = {GRAD_CAM: []} if layer is not None else {}
    found[SMOOTH_GRAD] = []
    for start in range(0, len(pixels), BATCH):
        batch, classes = (torch.from_numpy(each[start : start + BATCH]).to(model.device) for each in (pixels, targets))
        faces = classifier.normalize(unit(batch))  # (B, 1, 48, 48)
        if layer is not None:
            found[GRAD_CAM].append(_shares(grad_cam(model, layer, faces, classes)))
        found[SMOOTH_GRAD].append(_shares(smoothed(smooth_grad(model, faces, classes, samples))))
        after_batch(len(faces))
    return {name: np.concatenate([np.empty((0, SIZE, SIZE), np.float32), *each]) for name, each in found.items()}


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


def smoothed(maps: Tensor) -> Tensor:
    """float (B, H, W), each pixel taken with its neighbours: about a Gaussian of 1.2 pixels."""
    for _ in range(2):
        maps = F.avg_pool2d(maps, 3, stride=1, padding=1, count_include_pad=False)
    return maps


def noise(samples: int) -> Tensor:
    """float (samples, 1, 48, 48), standard normal."""
    return torch.randn((samples, 1, SIZE, SIZE), generator=torch.Generator().manual_seed(0))


def _gradient(logits: Tensor, targets: Tensor, of: Tensor) -> Tensor:
    """That of each face's own logit with respect to its part of `of`, float (B, …)."""
    return torch.autograd.grad(logits.gather(1, targets[:, None]).sum(), of)[0]


def _shares(maps: Tensor) -> np.ndarray:
    total = maps.sum((1, 2), keepdim=True)
    return (maps / torch.where(total > 0, total, 1)).float().cpu().numpy()
