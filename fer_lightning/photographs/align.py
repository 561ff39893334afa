"""From a face in a picture to 48×48 gray pixels as FER2013 has them."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from fer_lightning.data.faces import SIZE

# The median landmarks of FER2013's Training faces in their 48×48 pixels, by the detector: `python -m bench.landmarks`
# (28,261 of 28,709 images; the middle half of them lies within 1.4 to 2.1 pixels)
TRAINING_LANDMARKS = np.array([[14.54, 18.17], [32.71, 18.26], [23.52, 28.35], [16.66, 36.12], [31.0, 36.15]])
MOST_SAMPLES = 64  # a side, that a pixel of 48×48 is the mean of; of a larger result fewer, as memory is


class Similarity(NamedTuple):
    """(x, y) ↦ a·(x, y) + shift, in complex numbers x + iy: scaled by |a| and turned by its angle."""

    a: complex
    shift: complex

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """float (N, 2) to float64 (N, 2)."""
        moved = self.a * _complex(points) + self.shift
        return np.stack([moved.real, moved.imag], -1)

    def inverse(self) -> "Similarity":
        return Similarity(1 / self.a, -self.shift / self.a)

    def after(self, first: "Similarity") -> "Similarity":
        return Similarity(self.a * first.a, self.a * first.shift + self.shift)


def _moved(scale: float, down: float) -> Similarity:
    """Of a crop's coordinates: a part of it of this size, in its middle or lower by so many pixels."""
    middle = SIZE / 2 * (1 + 1j)
    return Similarity(complex(scale), middle * (1 - scale) + down * 1j)


# The crops, each also mirrored, whose mean probability is the answer: of eight scales and shifts the four that had the
# least log loss on validation faces (docs/photographs.md)
VARIANTS = (_moved(1, 0), _moved(0.9, 0), _moved(1, -2), _moved(1, 2))


def _complex(points: np.ndarray) -> np.ndarray:
    return points[..., 0].astype(np.float64) + 1j * points[..., 1]


def fit(source: np.ndarray, target: np.ndarray) -> Similarity:
    """The similarity that brings the points `source`, float (N, 2), nearest to `target`: the least squares."""
    p, q = _complex(source), _complex(target)
    centred = p - p.mean()
    a = complex((centred.conj() * (q - q.mean())).sum() / (abs(centred) ** 2).sum())
    return Similarity(a, complex(q.mean() - a * p.mean()))


def warp(picture: np.ndarray, to_picture: Similarity, size: int = SIZE) -> np.ndarray:
    """float32 (size, size) of a gray picture uint8 (H, W): each pixel the mean over the area that it covers there.

    to_picture: from the result's coordinates to the picture's; a pixel's centre is at ½. Past the border, the border's
    pixels go on.
    """
    samples = int(np.clip(np.ceil(abs(to_picture.a)), 1, MOST_SAMPLES * SIZE // size))
    grid = (np.arange(size * samples) + 0.5) / samples
    at = to_picture.a * (grid[None, :] + 1j * grid[:, None]) + to_picture.shift
    height, width = picture.shape
    place = np.stack([at.real * 2 / width - 1, at.imag * 2 / height - 1], -1)
    source = torch.from_numpy(picture.astype(np.float32))[None, None]
    sampled = F.grid_sample(
        source, torch.from_numpy(place.astype(np.float32))[None], padding_mode="border", align_corners=False
    )
    return F.avg_pool2d(sampled, samples)[0, 0].numpy()
