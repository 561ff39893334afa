"""Random changes and normalization of whole batches of faces, drawn for each image by itself, on any device."""

import functools
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributions import Beta
from torchvision import transforms
from torchvision.transforms.functional import pil_to_tensor, to_pil_image


class Normalize(nn.Module):
    """(x − mean) / std on float (B, 1, H, W) in 0–1; mean and std of pixels in 0–1. The defaults change nothing."""

    def __init__(self, mean: float = 0.0, std: float = 1.0) -> None:
        super().__init__()
        if not std > 0:
            raise ValueError(f"std is {std}; it must be above 0")
        self.mean = mean
        self.std = std

    def forward(self, faces: Tensor) -> Tensor:
        return (faces - self.mean) / self.std


class Augment(nn.Module):
    """Random geometry, contrast and erasing, drawn for each image: float (B, 1, H, W) in 0–1 to the same.

    degrees: rotation, uniform in ±degrees. translate: shift, uniform in ± this share of the side, in x and in y.
    scale: (smallest, largest) factor. shear: horizontal shear, uniform in ±shear degrees. flip: chance of mirroring.
    contrast: factor on the distance to the image's mean, uniform in 1 ± contrast. erase: chance of blacking out one
    rectangle of 2–20 % of the area. Raises ValueError for values out of range.

    The study applied an affine map, a rotation and a flip one after the other; here they are composed into one bilinear
    warp (one interpolation, a third of the time). What comes from outside the image is black. Parameters come from
    torch's generator of the batch's device.

    image_by_image: the study's own transforms instead of the warp, for comparison: torchvision's RandomAffine,
    RandomRotation and RandomHorizontalFlip with their defaults (nearest pixel, whole pixels of translation) on PIL
    images of 8 bits. Slow; parameters come from torch's CPU generator.
    """

    def __init__(
        self,
        degrees: float = 0.0,
        translate: float = 0.0,
        scale: Sequence[float] = (1.0, 1.0),
        shear: float = 0.0,
        flip: float = 0.0,
        contrast: float = 0.0,
        erase: float = 0.0,
        image_by_image: bool = False,
    ) -> None:
        super().__init__()
        for name, value, high in (
            ("degrees", degrees, 180), ("translate", translate, 1), ("shear", shear, 80), ("flip", flip, 1),
            ("contrast", contrast, 1), ("erase", erase, 1),
        ):  # fmt: skip
            if not 0 <= value <= high:
                raise ValueError(f"{name} is {value}; it must be between 0 and {high}")
        if len(scale) != 2 or not 0 < scale[0] <= scale[1]:
            raise ValueError(f"scale is {list(scale)}; it must be two factors above 0, the smaller first")
        self.degrees, self.translate, self.scale, self.shear = degrees, translate, tuple(scale), shear
        self.flip, self.contrast, self.erase = flip, contrast, erase
        self.warps = bool(degrees or translate or shear or flip) or self.scale != (1.0, 1.0)
        self.image_by_image = image_by_image

    def forward(self, faces: Tensor) -> Tensor:
        if self.warps and self.image_by_image:
            faces = self._warp_image_by_image(faces)
        elif self.warps:
            faces = warp(faces, *self._draw(len(faces), faces.device))
        if self.contrast:
            faces = self._jitter_contrast(faces)
        if self.erase:
            faces = self._erase(faces)
        return faces

    @torch.compiler.disable  # PIL's calls are no part of a graph
    def _warp_image_by_image(self, faces: Tensor) -> Tensor:
        change = transforms.Compose([
            transforms.RandomAffine(0, (self.translate, self.translate), self.scale, self.shear, fill=0),
            transforms.RandomRotation(self.degrees),
            transforms.RandomHorizontalFlip(self.flip),
        ])  # fmt: skip
        images = (255 * faces).round().byte().cpu()
        changed = [pil_to_tensor(change(to_pil_image(image))) for image in images]
        return torch.stack(changed).to(faces.device) / 255

    def _draw(self, n: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        u = torch.rand(6, n, device=device)
        signed = 2 * u - 1
        low, high = self.scale
        return (
            signed[0] * self.degrees,
            torch.stack([signed[1], signed[2]], 1) * self.translate,
            low + (high - low) * u[3],
            signed[4] * self.shear,
            u[5] < self.flip,
        )

    def _jitter_contrast(self, faces: Tensor) -> Tensor:
        factor = 1 + self.contrast * (2 * torch.rand(len(faces), 1, 1, 1, device=faces.device) - 1)
        mean = faces.mean((1, 2, 3), keepdim=True)
        return (mean + (faces - mean) * factor).clamp(0, 1)

    def _erase(self, faces: Tensor) -> Tensor:
        n, _, height, width = faces.shape
        u = torch.rand(5, n, 1, 1, 1, device=faces.device)
        area = 0.02 + 0.18 * u[0]
        aspect = torch.exp((2 * u[1] - 1) * math.log(3.0))  # a third to three times as wide as high
        h, w = height * (area / aspect).sqrt(), width * (area * aspect).sqrt()
        top, left = u[2] * (height - h), u[3] * (width - w)
        y = torch.arange(height, device=faces.device).view(1, 1, -1, 1) + 0.5
        x = torch.arange(width, device=faces.device).view(1, 1, 1, -1) + 0.5
        inside = (y > top) & (y < top + h) & (x > left) & (x < left + w) & (u[4] < self.erase)
        return faces.masked_fill(inside, 0.0)


class Mix(nn.Module):
    """mixup and CutMix: each image with the next of its batch, their targets in the same shares.

    float (B, 1, H, W) and targets int64 (B,) to the same shape and targets float (B, classes); further float (B,
    classes), such as teachers' probabilities, are mixed alike. mixup, cutmix: α of the distribution Beta(α, α) of an
    image's own share, 0 for not at all; with both, each image is mixed one way or the other by an even chance. Raises
    ValueError for values out of range.

    Unlike torchvision's `v2.MixUp` and `v2.CutMix`, which draw one share and one rectangle for a whole batch and make
    Python numbers of them, these are drawn for each image (less noise from step to step) and stay tensors, so that
    nothing is compiled anew.
    mixup: Zhang et al. (2018), https://arxiv.org/abs/1710.09412. CutMix: Yun et al. (2019),
    https://arxiv.org/abs/1905.04899
    """

    def __init__(self, classes: int, mixup: float = 0.0, cutmix: float = 0.0) -> None:
        super().__init__()
        for name, value in (("mixup", mixup), ("cutmix", cutmix)):
            if not 0 <= value < math.inf:
                raise ValueError(f"{name} is {value}; it must be 0 (off) or the α of a Beta distribution, above 0")
        self.classes = classes
        self.alphas = {name: a for name, a in (("mixup", mixup), ("cutmix", cutmix)) if a}

    def forward(self, faces: Tensor, targets: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        n, device = len(faces), faces.device
        sampler = device if device.type == "cuda" else torch.device("cpu")  # others have none for Beta
        drawn = {name: beta(alpha, sampler).sample((n, 1)).to(device) for name, alpha in self.alphas.items()}
        own = drawn.get("mixup", torch.ones(n, 1, device=device))  # the image's own share, (B, 1)
        pixels = own.view(-1, 1, 1, 1)  # the same of each pixel
        if "cutmix" in drawn:
            cut = torch.rand(n, 1, device=device) < (0.5 if "mixup" in drawn else 1.0)
            outside = self._outside(1 - drawn["cutmix"], faces)
            own = torch.where(cut, outside.mean((1, 2, 3)).unsqueeze(1), own)
            pixels = torch.where(cut.view(-1, 1, 1, 1), outside, pixels)
        # Batches are shuffled, so the next image is any image.
        mixed = [torch.lerp(each.roll(1, 0), each, own) for each in (self.soft(targets), *more)]
        return torch.lerp(faces.roll(1, 0), faces, pixels), *mixed

    def soft(self, targets: Tensor) -> Tensor:
        """Targets of images that are not mixed in the form of those that are: float (B, classes) from int64 (B,)."""
        return F.one_hot(targets, self.classes).float()

    @staticmethod
    def _outside(areas: Tensor, faces: Tensor) -> Tensor:
        """float (B, 1, H, W): 0 inside a rectangle of these shares of the area, (B, 1), about any point, 1 outside."""
        height, width = faces.shape[2:]
        device = faces.device
        half = areas.view(-1, 1, 1, 1).sqrt() / 2
        centre = torch.rand(2, len(faces), 1, 1, 1, device=device)
        y = (torch.arange(height, device=device).view(1, 1, -1, 1) + 0.5) / height
        x = (torch.arange(width, device=device).view(1, 1, 1, -1) + 0.5) / width
        inside = ((y - centre[0]).abs() < half) & ((x - centre[1]).abs() < half)
        return (~inside).float()


@functools.cache  # it checks its arguments, for which it waits for a GPU
def beta(alpha: float, device: torch.device) -> Beta:
    return Beta(*torch.full((2,), float(alpha), device=device))  # of integers, it draws none


def warp(faces: Tensor, degrees: Tensor, translate: Tensor, scale: Tensor, shear: Tensor, flip: Tensor) -> Tensor:
    """Warp each image about its centre with one bilinear interpolation; black comes in from outside.

    faces: float (B, 1, S, S). degrees, scale, shear: float (B,), angles in degrees, shear horizontal. translate: float
    (B, 2), x and y as shares of the side. flip: bool (B,), mirrored last. The map and its signs are those of
    torchvision's `affine(angle, translate, scale, shear)` followed by `hflip`.
    """
    rotation = torch.deg2rad(degrees)
    cos, sin, tan = torch.cos(rotation), torch.sin(rotation), torch.tan(torch.deg2rad(shear))
    # Output to input coordinates, the centre at 0 and the borders at ±1: undo the shift, then rotation · shear · scale.
    linear = torch.stack([cos - sin * tan, sin + cos * tan, -sin, cos], 1).view(-1, 2, 2) / scale.view(-1, 1, 1)
    shift = linear @ (-2 * translate).unsqueeze(2)  # (B, 2, 1)
    mirror = torch.stack([1 - 2 * flip.to(linear.dtype), torch.ones_like(scale)], 1).unsqueeze(1)  # (B, 1, 2)
    grid = affine_grid(linear * mirror, shift, faces.shape[-1])
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="zeros", align_corners=False)


def affine_grid(linear: Tensor, shift: Tensor, size: int) -> Tensor:
    """float (B, size, size, 2): where each output pixel comes from, `linear` (B, 2, 2) · (x, y) + `shift` (B, 2, 1).

    As torch's `affine_grid(…, align_corners=False)` to rounding. That multiplies every pixel's (x, y, 1) by a matrix;
    a row's part and a column's part, added up, take 0.2 instead of 2.4 ms for 128 faces on two CPU cores.
    """
    centres = (2 * torch.arange(size, device=linear.device, dtype=linear.dtype) + 1) / size - 1  # of pixels, in ±1
    columns = linear[:, :, 0, None] * centres  # (B, 2, size)
    rows = linear[:, :, 1, None] * centres + shift
    return (rows.unsqueeze(3) + columns.unsqueeze(2)).permute(0, 2, 3, 1)  # grid_sample takes any strides
