"""The light of a picture: one that is dim or hazy is brought to the levels that FER2013's faces have."""

from collections.abc import Iterator

import numpy as np
from PIL import Image

MIDDLE = slice(8, 40)  # rows and columns of a face's 48×48 pixels: what is around it may be brighter, as a window is
# The medians of FER2013's 28,709 Training faces: the 1st and the 99th percentile of the pixels in a face's middle
TRAINING_LEVELS = (28, 218)
DARKEST, BRIGHTEST = 1, 99  # those percentiles
FEW, ENOUGH = 80, 120  # levels between them; 0.6 % and 5.6 % of Training's faces have fewer
NOISE = 8  # levels; no smaller range is spread as if it were more than noise
SMOOTHED = 4  # pixels of which one is made, a side, against noise


def levels(gray: np.ndarray) -> tuple[float, float]:
    """The darkest and the brightest level of gray pixels, but for the 1 % beyond each."""
    darkest, brightest = np.percentile(gray, (DARKEST, BRIGHTEST))
    return float(darkest), float(brightest)


def lit(pixels: np.ndarray, gray: np.ndarray) -> np.ndarray:
    """Pixels, 0 to 255, spread to TRAINING_LEVELS where the levels of `gray` are FEW; as they are from ENOUGH on."""
    darkest, brightest = levels(gray)
    share = min((ENOUGH - (brightest - darkest)) / (ENOUGH - FEW), 1)
    if share <= 0:
        return pixels
    low, high = TRAINING_LEVELS
    spread = (pixels - (darkest + brightest) / 2) * ((high - low) / max(brightest - darkest, NOISE)) + (low + high) / 2
    return pixels + share * (spread - pixels)


def lit_alike(crops: np.ndarray) -> np.ndarray:
    """uint8 of a face's crops from 0 to 255, float (V, 48, 48), all in the light that the first one needs."""
    return as_bytes(lit(crops, crops[0, MIDDLE, MIDDLE]))


def clearer(picture: Image.Image) -> Iterator[Image.Image]:
    """An RGB picture as a detector sees more in it: lit, where that changes it; then without noise and fine details."""
    small = [max(side // SMOOTHED, 1) for side in picture.size]
    smoothed = picture.resize(small, Image.Resampling.BILINEAR).resize(picture.size, Image.Resampling.BILINEAR)
    if (better := _lit_picture(picture)) is not picture:
        yield better
    yield _lit_picture(smoothed)


def _lit_picture(picture: Image.Image) -> Image.Image:
    pixels = np.asarray(picture)
    better = lit(pixels, np.asarray(picture.convert("L")))
    return picture if better is pixels else Image.fromarray(as_bytes(better))


def as_bytes(pixels: np.ndarray) -> np.ndarray:
    return pixels.round().clip(0, 255).astype(np.uint8)
