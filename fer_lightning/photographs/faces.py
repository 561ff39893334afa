"""The faces of a picture: where they are, and as the network sees them."""

import cmath
import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from PIL import Image

from fer_lightning.data.faces import SIZE
from fer_lightning.photographs.align import TRAINING_LANDMARKS, VARIANTS, Similarity, fit, warp
from fer_lightning.photographs.detector import detect, distinct

LEAST_SCORE = 0.65
# The longer side of what the detector looks at, in pixels: smaller pictures are scaled up, larger ones down
SHORTEST, USUAL, LARGER = 192, 640, 1280
SMALL = 48  # pixels of that, a face's height below which a second look at LARGER may find others
SURE = 0.9  # a score from which on a picture is taken as upright
TURNS = (1, 3, 2)  # by 90° each
LEAST_TURNED, AHEAD = 0.8, 0.05  # a score in a turned picture that counts, and by how much it is better than another


@dataclass(frozen=True)
class Face:
    """A face in a picture.

    gray: the picture, uint8 (H, W). to_picture: from the 48×48 pixels' coordinates to the picture's.
    box: left, top, width, height in the upright picture's pixels, perhaps beyond its border.
    score: the detector's, from 0 to 1; None where the face was not looked for. landmarks: float (5, 2), as
    `detector.LANDMARKS`, or None.
    """

    gray: np.ndarray
    to_picture: Similarity
    box: tuple[float, float, float, float]
    score: float | None = None
    landmarks: np.ndarray | None = None

    @property
    def roll(self) -> float:
        """Degrees by which the face is turned clockwise."""
        return math.degrees(cmath.phase(self.to_picture.a))

    @cached_property
    def pixels(self) -> np.ndarray:
        """uint8 (48, 48), as FER2013's are."""
        return warp(self.gray, self.to_picture)

    def variants(self) -> np.ndarray:
        """uint8 (V, 48, 48): the crops whose mean probability is the answer, `pixels` the first of them."""
        crops = [warp(self.gray, self.to_picture.after(variant)) for variant in VARIANTS]
        return np.stack([turned for crop in crops for turned in (crop, crop[:, ::-1])])


def find_faces(picture: np.ndarray) -> list[Face]:
    """The faces of an upright picture uint8 (H, W, 3), RGB, the largest first; none is an answer."""
    gray = to_gray(picture)
    return [_aligned(gray, each) for each in sorted(detections(picture), key=lambda each: -each[3] * each[4])]


def whole(picture: np.ndarray) -> Face:
    """A picture uint8 (H, W, 3) that is a ready face, cropped as FER2013's are: its middle square."""
    height, width = picture.shape[:2]
    side = min(height, width)
    return boxed(picture, ((width - side) / 2, (height - side) / 2, side, side))


def boxed(picture: np.ndarray, box: tuple[float, float, float, float]) -> Face:
    """The square around a box (left, top, width, height) of a picture uint8 (H, W, 3), as a face."""
    left, top, width, height = box
    side = max(width, height)
    corner = complex(left + (width - side) / 2, top + (height - side) / 2)
    return Face(to_gray(picture), Similarity(complex(side / SIZE), corner), box)


def to_gray(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W) of uint8 (H, W, 3): ITU-R 601 luma, as of every picture here."""
    return np.asarray(Image.fromarray(picture).convert("L"))


def detections(picture: np.ndarray) -> np.ndarray:
    """float (M, 15) as `detector.detect`'s, of a picture uint8 (H, W, 3) and in its pixels.

    It looks a second time where faces are small, and in turned pictures where no face is clear: of a face that lies on
    its side it finds the place, but not its landmarks.
    """
    longer = max(picture.shape[:2])
    usual = min(max(longer, SHORTEST), USUAL)
    found = _look(picture, usual)
    if longer > USUAL and (not len(found) or found[:, 4].max() < SMALL * longer / USUAL):
        more = _look(picture, min(longer, LARGER))
        found = distinct(torch.from_numpy(np.concatenate([found, more]))).numpy()
    best = _best(found)
    if best < SURE:
        for turns in TURNS:
            turned = _look(np.ascontiguousarray(np.rot90(picture, turns)), usual)
            if _best(turned) >= max(LEAST_TURNED, best + AHEAD):
                found, best = _turned_back(turned, turns, *picture.shape[:2]), _best(turned)
    return found


def _best(found: np.ndarray) -> float:
    return float(found[:, 0].max(initial=0))


def _look(picture: np.ndarray, longer: int) -> np.ndarray:
    """`detect` on the picture with a longer side of so many pixels; the result in the picture's pixels."""
    height, width = picture.shape[:2]
    scale = longer / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    scaled = (
        picture
        if size == (width, height)
        else np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR))
    )
    found = detect(torch.from_numpy(np.array(scaled)), LEAST_SCORE).numpy()
    factors = np.array([width / size[0], height / size[1]], np.float32)
    found[:, 1:] *= np.tile(factors, 7)
    return found


def _turned_back(found: np.ndarray, turns: int, height: int, width: int) -> np.ndarray:
    """Detections of `np.rot90(picture, turns)` in the pixels of the picture, which has this height and width."""
    for turn in reversed(range(turns)):  # a point (x, y) of np.rot90(before) is (width of before - y, x) of before
        across = height if turn % 2 else width
        left, top, wide, high = found[:, 1:5].T.copy()
        found[:, 1:5] = np.stack([across - top - high, left, high, wide], -1)
        x, y = found[:, 5::2].copy(), found[:, 6::2].copy()
        found[:, 5::2], found[:, 6::2] = across - y, x
    return found


def _aligned(gray: np.ndarray, found: np.ndarray) -> Face:
    landmarks = found[5:].reshape(-1, 2)
    left, top, width, height = map(float, found[1:5])
    to_picture = fit(landmarks, TRAINING_LANDMARKS).inverse()
    return Face(gray, to_picture, (left, top, width, height), float(found[0]), landmarks)
