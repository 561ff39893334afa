"""The faces of a picture: where they are, and as the network sees them."""

import cmath
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from PIL import Image

from fer_lightning.data.faces import SIZE
from fer_lightning.photographs.align import TRAINING_LANDMARKS, VARIANTS, Similarity, fit, warp
from fer_lightning.photographs.detector import detect, distinct
from fer_lightning.photographs.light import as_bytes, clearer, lit, lit_alike

LEAST_SCORE = 0.65
# The longer side of what the detector looks at, in pixels: smaller pictures are scaled up, larger ones down
SHORTEST, USUAL, LARGER = 192, 640, 1280
SMALL = 48  # pixels of that, a face's height below which a second look at LARGER may find others
SURE = 0.9  # a score from which on a picture is taken as upright
TURNS = (1, 3, 2)  # by 90° each
LOOKS = 2  # at a face in its place
BATCH = 64  # pictures that are looked at together
LEAST_CHANGED = 0.8  # a score that counts in a picture that was turned, lit or smoothed: a cat's there is up to 0.76
AHEAD = 0.05  # by how much a turned picture's must be better


@dataclass(frozen=True)
class Face:
    """A face in a picture.

    gray: the picture, uint8 (H, W). to_picture: from the 48×48 pixels' coordinates to the picture's.
    box: left, top, width, height in the upright picture's pixels, perhaps beyond its border. rough: whether its place
    is a box that was given, not by landmarks.
    """

    gray: np.ndarray
    to_picture: Similarity
    box: tuple[float, float, float, float]
    rough: bool = False

    @property
    def roll(self) -> float:
        """Degrees by which the face is turned clockwise."""
        return math.degrees(cmath.phase(self.to_picture.a))

    @property
    def corners(self) -> np.ndarray:
        """float (4, 2): x and y in the picture of the square that becomes 48×48, around from its left upper one."""
        return self.to_picture(np.array([[0, 0], [SIZE, 0], [SIZE, SIZE], [0, SIZE]]))

    @property
    def pixels(self) -> np.ndarray:
        """uint8 (48, 48), as FER2013's are."""
        return self._crops[0]

    def settled(self) -> "Face":
        """The same face in its place by its landmarks, as `realigned` finds it; itself where they are not seen."""
        rough = self.to_picture(TRAINING_LANDMARKS)
        (landmarks,) = refined([self.gray], [rough], LOOKS + 1, in_light=True)  # the first for the detector's own look
        return self if landmarks is rough else replace(self, to_picture=fit(landmarks, TRAINING_LANDMARKS).inverse())

    def variants(self) -> np.ndarray:
        """uint8 (V, 48, 48): the crops whose mean probability is the answer, `pixels` the first of them."""
        return np.stack([turned for crop in self._crops for turned in (crop, crop[:, ::-1])])

    @cached_property
    def _crops(self) -> np.ndarray:
        """One of each of VARIANTS."""
        return lit_alike(np.stack([warp(self.gray, self.to_picture.after(variant)) for variant in VARIANTS]))


def find_faces(picture: np.ndarray) -> list[Face]:
    """The faces of an upright picture uint8 (H, W, 3), RGB, the largest first; none is an answer."""
    gray = to_gray(picture)
    found = _largest_first(detections(picture[None], in_light=True)[0])
    places = refined([gray] * len(found), [each[5:].reshape(-1, 2) for each in found], in_light=True)
    return [
        Face(gray, fit(landmarks, TRAINING_LANDMARKS).inverse(), (left, top, width, height))
        for (_, left, top, width, height, *_), landmarks in zip(found.tolist(), places, strict=True)
    ]


def realigned(pixels: np.ndarray, after_batch: Callable[[int], None] = lambda images: None) -> np.ndarray:
    """uint8 (N, 48, 48) of uint8 (N, 48, 48): the largest face of each, cropped anew; as it is where none is found."""
    crops = np.array(pixels)
    for start in range(0, len(pixels), BATCH):
        batch = pixels[start : start + BATCH]
        found = detections(np.repeat(batch[..., None], 3, axis=3))
        faces = {index: _largest_first(each)[0, 5:].reshape(-1, 2) for index, each in enumerate(found) if len(each)}
        for index, landmarks in zip(faces, refined([batch[index] for index in faces], [*faces.values()]), strict=True):
            crops[start + index] = as_bytes(warp(batch[index], fit(landmarks, TRAINING_LANDMARKS).inverse()))
        after_batch(len(batch))
    return crops


def refined(
    grays: Sequence[np.ndarray], landmarks: Sequence[np.ndarray], looks: int = LOOKS, in_light: bool = False
) -> list[np.ndarray]:
    """Landmarks float (5, 2) of a face in each gray picture uint8 (H, W), looked at again in their place.

    Those of a face that is not seen there come back as the very array.

    There the face is as large and nearly as upright as Training's were when their landmarks were measured; that of a
    tilted face is not seen at the first look. in_light: and in such a light, which a dim one needs to be seen.
    """
    landmarks = [*landmarks]
    larger = Similarity(complex(SIZE / SHORTEST), 0j)
    for start in range(0, len(landmarks), BATCH):
        part = range(start, min(start + BATCH, len(landmarks)))
        for _ in range(looks):
            views = [fit(landmarks[index], TRAINING_LANDMARKS).inverse().after(larger) for index in part]
            crops = [warp(grays[index], view, SHORTEST) for index, view in zip(part, views, strict=True)]
            if in_light:
                crops = [lit(crop, crop) for crop in crops]
            seen = detect(torch.from_numpy(as_bytes(np.stack(crops))[..., None].repeat(3, axis=3)), LEAST_SCORE)
            for index, view, found in zip(part, views, seen, strict=True):
                if len(found):
                    middle = found[:, 1:3] + found[:, 3:5] / 2
                    own = found[(middle - SHORTEST / 2).square().sum(1).argmin()]
                    landmarks[index] = view(own[5:].numpy().reshape(-1, 2))
    return landmarks


def _largest_first(found: np.ndarray) -> np.ndarray:
    return found[np.argsort(-found[:, 3] * found[:, 4], kind="stable")]


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
    return Face(to_gray(picture), Similarity(complex(side / SIZE), corner), box, rough=True)


def to_gray(picture: np.ndarray) -> np.ndarray:
    """uint8 (H, W) of uint8 (H, W, 3): ITU-R 601 luma, as of every picture here."""
    return np.asarray(Image.fromarray(picture).convert("L"))


def detections(pictures: np.ndarray, in_light: bool = False) -> list[np.ndarray]:
    """float (M, 15) as `detector.detect`'s of each picture of uint8 (N, H, W, 3), in its pixels.

    It looks a second time where faces are small, and in turned pictures where no face is clear: of a face that lies on
    its side it finds the place, but not its landmarks. in_light: where none is clear, also in `clearer` pictures.
    """
    height, width = pictures.shape[1:3]
    longer = max(height, width)
    usual = min(max(longer, SHORTEST), USUAL)
    found = _look(pictures, usual)
    if longer > USUAL:
        for index, each in enumerate(found):
            if each[:, 4].max(initial=0) < SMALL * longer / USUAL:
                found[index] = _together(each, *_look(pictures[index : index + 1], min(longer, LARGER)))
    upright = [_best(each) for each in found]  # in its own light, as the turned picture is looked at
    if in_light:
        for index, each in enumerate(found):
            if upright[index] < SURE:
                more = _seen([*clearer(_scaled(pictures[index], usual))], height, width)
                found[index] = _together(each, *(one[one[:, 0] >= LEAST_CHANGED] for one in more))
    unclear = [index for index, each in enumerate(found) if _best(each) < SURE]
    for turns in TURNS if unclear else ():
        for index, turned in zip(unclear, _look(np.rot90(pictures[unclear], turns, axes=(1, 2)), usual), strict=True):
            if _best(turned) >= max(LEAST_CHANGED, upright[index] + AHEAD):
                found[index], upright[index] = _turned_back(turned, turns, height, width), _best(turned)
    return found


def _best(found: np.ndarray) -> float:
    return float(found[:, 0].max(initial=0))


def _together(*found: np.ndarray) -> np.ndarray:
    return distinct(torch.from_numpy(np.concatenate(found))).numpy()


def _look(pictures: np.ndarray, longer: int) -> list[np.ndarray]:
    """`detect` on pictures with a longer side of so many pixels; the result in the pictures' own pixels."""
    return _seen([_scaled(picture, longer) for picture in pictures], *pictures.shape[1:3])


def _scaled(picture: np.ndarray, longer: int) -> Image.Image:
    height, width = picture.shape[:2]
    scale = longer / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    return Image.fromarray(picture).resize(size, Image.Resampling.BILINEAR)


def _seen(scaled: Sequence[Image.Image], height: int, width: int) -> list[np.ndarray]:
    """`detect` on pictures of one size; the result in the pixels of one of this height and width."""
    factors = np.tile(np.array([width / scaled[0].width, height / scaled[0].height], np.float32), 7)
    faces = detect(torch.from_numpy(np.stack([np.asarray(picture) for picture in scaled])), LEAST_SCORE)
    return [np.concatenate([each[:, :1], each[:, 1:] * factors], 1) for each in (face.numpy() for face in faces)]


def _turned_back(found: np.ndarray, turns: int, height: int, width: int) -> np.ndarray:
    """Detections of `np.rot90(picture, turns)` in the pixels of the picture, which has this height and width."""
    for turn in reversed(range(turns)):  # a point (x, y) of np.rot90(before) is (width of before - y, x) of before
        across = height if turn % 2 else width
        left, top, wide, high = found[:, 1:5].T.copy()
        found[:, 1:5] = np.stack([across - top - high, left, high, wide], -1)
        x, y = found[:, 5::2].copy(), found[:, 6::2].copy()
        found[:, 5::2], found[:, 6::2] = across - y, x
    return found
