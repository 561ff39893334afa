"""YuNet, a small face detector, as a torch module.

W. Wu, H. Peng, S. Yu, "YuNet: A Tiny Millisecond-level Face Detector", Machine Intelligence Research 2023. Its weights
are those of OpenCV Zoo's face_detection_yunet_2023mar, MIT licence: see NOTICE.
"""

from functools import cache
from itertools import pairwise

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn
from torchvision.ops import nms

from fer_lightning.results.weights import WEIGHTS

FILE = WEIGHTS / "yunet.safetensors"
STRIDES = (8, 16, 32)  # pixels of the picture a cell, at each of the three levels
MULTIPLE = 32  # of which height and width must be one
LANDMARKS = 5  # the eye on the left of the picture, the one on its right, nose, mouth's corner left, right
OVERLAP = 0.3  # intersection over union, from which on the box of lower score is the same face


class Separable(nn.Sequential):
    """A pointwise convolution, then a depthwise one of 3×3."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(nn.Conv2d(inputs, outputs, 1), nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs))


def _stage(*widths: int) -> nn.Sequential:
    return nn.Sequential(*(layer for pair in pairwise(widths) for layer in (Separable(*pair), nn.ReLU())))


class YuNet(nn.Module):
    """float (N, 3, H, W), RGB from 0 to 255, H and W multiples of 32, to float (N, cells, 15) in pixels of the picture.

    A cell's 15 numbers: score from 0 to 1; left, top, width and height of the face; x and y of its LANDMARKS.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, stride=2, padding=1), nn.ReLU(), _stage(16, 16))
        self.stages = nn.ModuleList([_stage(16, 16, 32, 32, 64), *(_stage(64, 64, 64) for _ in range(3))])
        self.lateral = nn.ModuleList([_stage(64, 64) for _ in STRIDES])
        outputs = {"cls": 1, "bbox": 4, "obj": 1, "kps": 2 * LANDMARKS}
        self.heads = nn.ModuleDict(
            {name: nn.ModuleList(Separable(64, n) for _ in STRIDES) for name, n in outputs.items()}
        )

    def forward(self, x: Tensor) -> Tensor:
        """The cells of the three levels, one after the other."""
        x = self.stem(x.flip(1))  # it was trained on BGR
        levels = []
        for stage in self.stages:
            x = stage(F.max_pool2d(x, 2))
            levels.append(x)
        levels = levels[1:]
        found: list[Tensor] = []
        above = None
        for index in (2, 1, 0):
            level = levels[index]
            if above is not None:
                level = level + F.interpolate(above, scale_factor=2, mode="nearest")
            above = self.lateral[index](level)
            found.insert(0, self._decoded(above, index))
        return torch.cat(found, 1)

    def _decoded(self, level: Tensor, index: int) -> Tensor:
        score, objectness = (self.heads[name][index](level).sigmoid() for name in ("cls", "obj"))  # type: ignore[index]
        box, landmarks = (self.heads[name][index](level) for name in ("bbox", "kps"))  # type: ignore[index]
        rows = torch.arange(level.shape[2], device=level.device, dtype=level.dtype)
        columns = torch.arange(level.shape[3], device=level.device, dtype=level.dtype)
        cell = torch.stack(torch.broadcast_tensors(columns[None, :], rows[:, None]))  # (2, H, W): x, y
        size = box[:, 2:].exp()
        corner = cell + box[:, :2] - size / 2
        points = cell.repeat(LANDMARKS, 1, 1) + landmarks
        sizes = torch.cat([corner, size, points], 1) * STRIDES[index]
        return torch.cat([(score * objectness).sqrt(), sizes], 1).flatten(2).transpose(1, 2)


@cache
def yunet() -> YuNet:
    """The detector with the weights that come with the package, in eval mode on the CPU."""
    model = YuNet().eval().requires_grad_(False)
    model.load_state_dict(load_file(FILE))
    return model


@torch.inference_mode()
def detect(pictures: Tensor, least: float) -> list[Tensor]:
    """The faces of each picture of uint8 (N, H, W, 3), RGB: float (M, 15) as `YuNet`'s, best score first.

    Scores are `least` at least. Of faces that overlap more than OVERLAP only the best is there.
    """
    height, width = pictures.shape[1:3]
    padded = F.pad(pictures.permute(0, 3, 1, 2).float(), (0, -width % MULTIPLE, 0, -height % MULTIPLE))
    return [distinct(cells[cells[:, 0] >= least]) for cells in yunet()(padded)]


def distinct(faces: Tensor) -> Tensor:
    """Non-maximum suppression of float (M, 15), by score and box; best score first."""
    corners = torch.cat([faces[:, 1:3], faces[:, 1:3] + faces[:, 3:5]], 1)
    return faces[nms(corners, faces[:, 0], OVERLAP)]
