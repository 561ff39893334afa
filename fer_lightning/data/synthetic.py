"""The built-in faces: schematic faces drawn from a seed, to try everything out where FER2013 is not at hand.

Brows, eyes, nose and mouth tell the seven expressions, much as a cartoonist would. Identity, pose, light, blur, grain
and things in front of the face vary, so that the gray value at one place says little and shapes say more; every
feature of an expression spreads around its mean, so that fear, sad, surprise and neutral run into each other.

Lengths are in face coordinates: x to the right, y down, the origin between eyes and mouth, a head about 2 high. A
chunk of n faces is drawn at once: images are float32 (n, 48, 48) with 0 black and 1 white, parameters (n, 1, 1).
"""

from types import SimpleNamespace

import numpy as np

from fer_lightning.data.faces import PRIVATE, PUBLIC, SIZE, TRAINING, Faces, digest

SHARES = (0.14, 0.06, 0.14, 0.22, 0.16, 0.12, 0.16)  # about FER2013's, but for its 0.015 of disgust, too few to measure
LABEL_NOISE = 0.03  # share of a usage whose labels are passed around among themselves
DUPLICATES = 0.02  # share of a test usage that repeats images of Training with the same label
CHUNK = 64  # faces drawn at once: arrays of 0.6 MB stay in the CPU's cache

# How the expressions differ: means in the order of CLASSES, and the standard deviation within each class.
EXPRESSION = {
    #                angry disgust fear happy   sad  surprise neutral
    "brow_raise": ((-0.07, -0.04, 0.07, 0.02, 0.02, 0.13, 0.00), 0.025),
    "brow_slant": ((-0.13, -0.06, 0.10, 0.00, 0.12, 0.00, 0.00), 0.035),  # inner ends above the outer ends
    "brow_arch": ((0.01, 0.02, 0.02, 0.05, 0.02, 0.08, 0.04), 0.015),
    "brow_knit": ((0.07, 0.05, 0.04, 0.00, 0.03, -0.02, 0.00), 0.020),  # inner ends drawn together
    "eye_open": ((0.075, 0.055, 0.135, 0.060, 0.070, 0.145, 0.090), 0.016),  # half the height
    "nose_wrinkle": ((0.15, 0.90, 0.05, 0.10, 0.05, 0.00, 0.05), 0.120),  # strength, 0 to 1
    "fold": ((0.25, 0.75, 0.15, 0.75, 0.25, 0.00, 0.10), 0.150),  # from nose to mouth; strength, 0 to 1
    "mouth_width": ((0.27, 0.27, 0.36, 0.42, 0.28, 0.20, 0.30), 0.030),  # half the width
    "mouth_smile": ((-0.06, -0.09, -0.04, 0.16, -0.12, 0.00, 0.00), 0.030),  # corners above the middle
    "mouth_open": ((0.02, 0.05, 0.10, 0.08, 0.01, 0.19, 0.01), 0.025),  # half the height
    "lip_raise": ((0.00, 0.07, 0.00, 0.02, 0.00, 0.00, 0.00), 0.015),  # of the upper lip
    "teeth": ((0.40, 0.60, 0.55, 0.90, 0.10, 0.15, 0.10), 0.150),  # brightness, 0 to 1
}
LIMITS = {"nose_wrinkle": (0, 1), "fold": (0, 1), "teeth": (0, 1), "eye_open": (0.02, 1), "mouth_open": (0, 1)}

# What has nothing to do with the expression, normal around 0 with this standard deviation ...
POSE = {
    "tilt": 0.14,  # radians, in the image plane
    "right": 2.5,  # pixels
    "down": 2.5,
    "yaw": 0.3,  # moves the features on the head and narrows one side
    "pitch": 0.05,
    "smirk": 0.03,  # one corner of the mouth above the other
    "gaze": 0.03,
}
# ... or uniform between two values.
TRAITS = {
    "scale": (20, 25),  # pixels to a unit
    "half_width": (0.72, 0.92),
    "half_height": (1.0, 1.2),
    "jaw": (0.05, 0.25),  # how much narrower the head is below
    "hairline": (0.6, 0.95),
    "fringe": (-0.1, 0.35),  # bend of the hairline
    "eye_x": (0.33, 0.41),
    "eye_y": (-0.24, -0.14),
    "eye_width": (0.17, 0.22),
    "pupil": (0.06, 0.085),
    "brow_height": (0.22, 0.27),
    "brow_inner": (0.13, 0.17),
    "brow_outer": (0.55, 0.62),
    "brow_thickness": (0.04, 0.075),
    "nose_y": (0.18, 0.28),
    "nose_width": (0.11, 0.17),
    "mouth_y": (0.55, 0.66),
    "lip": (0.047, 0.081),
    "skin": (0.35, 0.9),
    "line": (0.1, 0.4),  # tone of brows, lids and lips, as a share of the skin's
    "hair": (0.1, 1.4),  # likewise
    "white": (0.1, 0.4),  # eyes and teeth above the skin
    "background": (0, 1),
    "background_x": (-0.3, 0.3),
    "background_y": (-0.3, 0.3),
    "light_x": (-0.45, 0.45),
    "light_y": (-0.3, 0.3),
    "blur": (0, 1),
    "brightness": (-0.2, 0.2),
    "contrast": (0.7, 1.1),
    "grain": (0.005, 0.04),
}
GLASSES, HAND, BAR = 0.12, 0.12, 0.10  # shares of the faces that have them


def draw(train: int = 2600, test: int = 450, seed: int = 0) -> Faces:
    """`train` Training faces, then `test` PublicTest and `test` PrivateTest faces; Training does not depend on `test`.

    Of each 20 at least, so that every class occurs.
    """
    counts = {TRAINING: train, PUBLIC: test, PRIVATE: test}
    generators = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(len(counts))]
    drawn = [_draw_usage(count, rng) for count, rng in zip(counts.values(), generators, strict=True)]
    (training_pixels, training_labels), *tests = drawn
    for (test_pixels, test_labels), rng in zip(tests, generators[1:], strict=True):
        for copy in rng.choice(test, max(1, round(DUPLICATES * test)), replace=False):
            test_pixels[copy] = training_pixels[rng.choice(np.flatnonzero(training_labels == test_labels[copy]))]
    pixels = np.concatenate([usage_pixels for usage_pixels, _ in drawn])
    return Faces(
        pixels=pixels,
        labels=np.concatenate([usage_labels for _, usage_labels in drawn]),
        usage=np.repeat(np.array(list(counts), np.uint8), list(counts.values())),
        rows=np.arange(len(pixels), dtype=np.int64),
        digests=digest(pixels),
        names=None,
        source="synthetic faces",
        form=f"drawn from seed {seed}",
        synthetic=True,
    )


def _draw_usage(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, 48, 48) and int8 (count,): the classes in their shares, in random order."""
    ends = np.round(np.cumsum(SHARES) * count)
    expressions = rng.permutation(np.searchsorted(ends, np.arange(count), side="right"))
    pixels = np.concatenate([_draw_chunk(expressions[i : i + CHUNK], rng) for i in range(0, count, CHUNK)])
    labels = expressions.astype(np.int8)
    noisy = rng.choice(count, round(LABEL_NOISE * count), replace=False)
    labels[noisy] = np.roll(labels[noisy], 1)
    return pixels, labels


def _draw_chunk(expressions: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (n, 48, 48): a face for each class index in `expressions` (n,)."""
    face = _draw_parameters(expressions, rng)
    canvas = _Canvas(face)
    _paint_head(canvas, face)
    _paint_eyes(canvas, face)
    _paint_brows(canvas, face)
    _paint_nose(canvas, face)
    _paint_mouth(canvas, face)
    _paint_obstacles(canvas, face, rng)
    return _expose(canvas.image, face, rng)


def _draw_parameters(expressions: np.ndarray, rng: np.random.Generator) -> SimpleNamespace:
    """Everything in EXPRESSION, POSE and TRAITS by its name, float32 (n, 1, 1)."""
    shape = (len(expressions), 1, 1)
    face = {
        name: np.array(means)[expressions].reshape(shape) + rng.normal(0, deviation, shape)
        for name, (means, deviation) in EXPRESSION.items()
    }
    face |= {name: np.clip(face[name], *limits) for name, limits in LIMITS.items()}
    face |= {name: rng.normal(0, deviation, shape) for name, deviation in POSE.items()}
    face |= {name: rng.uniform(low, high, shape) for name, (low, high) in TRAITS.items()}
    return SimpleNamespace(**{name: value.astype(np.float32) for name, value in face.items()})


class _Canvas:
    """n images under the brush, their background painted, and the face coordinates of their pixels.

    x, y: of the head. fx, fy: of its features, which yaw and pitch move. side: |fx|, so that both sides of a face are
    painted at once.
    """

    def __init__(self, face: SimpleNamespace) -> None:
        pixel = np.arange(SIZE, dtype=np.float32) - np.float32((SIZE - 1) / 2)
        right, down = pixel[None, None, :] - face.right, pixel[None, :, None] - face.down
        cos, sin = np.cos(face.tilt) / face.scale, np.sin(face.tilt) / face.scale
        self.x, self.y = cos * right + sin * down, cos * down - sin * right
        self.fx = (self.x - 0.25 * face.yaw) * (1 + 0.3 * face.yaw * self.x)
        self.fy = self.y - face.pitch
        self.side = np.abs(self.fx)
        self.scale = face.scale
        self.image = face.background + face.background_x * self.x + face.background_y * self.y

    def cover(self, distance: np.ndarray) -> np.ndarray:
        """The share of each pixel that a shape covers, from the distance to its edge (negative inside)."""
        return np.clip(0.5 - distance * self.scale, 0, 1)

    def paint(self, tone: np.ndarray, alpha: np.ndarray) -> None:
        self.image = self.image + alpha * (tone - self.image)


def _paint_head(canvas: _Canvas, face: SimpleNamespace) -> None:
    x, y = canvas.x, canvas.y
    hair = np.minimum(face.skin * face.hair, 1)
    around = _radius(x / (face.half_width + 0.12), (y + 0.1) / face.half_height)
    canvas.paint(hair, canvas.cover((around - 1) * 0.8))
    radius = _radius(x / (face.half_width * (1 - face.jaw * y)), y / face.half_height)
    head = canvas.cover((radius - 1) * 0.8)
    canvas.paint(face.skin * (1 - 0.25 * radius * radius + face.light_x * x + face.light_y * y), head)
    canvas.paint(hair, head * canvas.cover(y + face.hairline - face.fringe * x * x))


def _paint_eyes(canvas: _Canvas, face: SimpleNamespace) -> None:
    x, y = canvas.side - face.eye_x, canvas.fy - face.eye_y
    line = face.skin * face.line
    lid = np.abs(y) - face.eye_open * (1 - (x / face.eye_width) ** 2)
    canvas.paint(line, canvas.cover(np.maximum(np.abs(lid) - 0.04, np.abs(x) - face.eye_width - 0.02)))
    inside = canvas.cover(lid)
    canvas.paint(np.minimum(face.skin + face.white, 1), inside)
    pupil = _radius(canvas.fx - np.sign(canvas.fx) * face.eye_x - face.gaze, y)
    canvas.paint(line * 0.5, inside * canvas.cover(pupil - face.pupil))


def _paint_brows(canvas: _Canvas, face: SimpleNamespace) -> None:
    inner = face.brow_inner - face.brow_knit
    along = 2 * (canvas.side - inner) / (face.brow_outer - inner) - 1  # -1 at the inner end, 1 at the outer
    height = face.brow_height + face.brow_raise - face.brow_slant * along + face.brow_arch * (1 - along * along)
    across = np.abs(canvas.fy - face.eye_y + height) - face.brow_thickness
    canvas.paint(face.skin * face.line, canvas.cover(np.maximum(across, (np.abs(along) - 1) * 0.2)))


def _paint_nose(canvas: _Canvas, face: SimpleNamespace) -> None:
    """Nostrils, the sides of the bridge, wrinkles across it and the folds down to the corners of the mouth."""
    side, fy = canvas.side, canvas.fy
    line = face.skin * face.line
    tip = face.nose_y - 0.05 * face.nose_wrinkle
    canvas.paint(
        line, 0.7 * canvas.cover(np.maximum(np.abs(fy - tip + 1.5 * side * side) - 0.03, side - face.nose_width))
    )
    bridge = np.maximum(np.abs(side - 0.05) - 0.02, np.abs(fy - tip + 0.2) - 0.15)
    canvas.paint(line, 0.25 * canvas.cover(bridge))
    at = (fy - face.eye_y - 0.02) / 0.09 + 3 * side  # wrinkles at 0, 1 and 2
    wrinkles = 0.09 * np.maximum(np.abs(at - np.round(at)) - 0.25, np.abs(at - 1) - 1.5)
    canvas.paint(line, 0.8 * face.nose_wrinkle * canvas.cover(np.maximum(wrinkles, side - 0.16)))
    at = (fy - tip) / 0.4
    fold = np.abs(side - face.nose_width - 0.06 - (face.mouth_width - 0.1) * at * at) - 0.025
    canvas.paint(line, 0.6 * face.fold * canvas.cover(np.maximum(fold, 0.4 * np.abs(at - 0.45) - 0.2)))


def _paint_mouth(canvas: _Canvas, face: SimpleNamespace) -> None:
    """Lips, the dark between them, and teeth in its upper part."""
    along = canvas.fx / face.mouth_width  # -1 and 1 at the corners
    arc = 1 - along * along
    middle = face.mouth_y + face.mouth_smile * (arc - 0.5) - face.smirk * along
    top, bottom = middle - (face.mouth_open + face.lip_raise) * arc, middle + face.mouth_open * arc
    outside = np.maximum(top - canvas.fy, canvas.fy - bottom)
    line = face.skin * face.line
    canvas.paint(line, canvas.cover(np.maximum(outside - face.lip, (np.abs(along) - 1) * 0.2)))
    hollow = np.maximum(outside + face.lip * 0.3, (np.abs(along) - 0.95) * 0.2)
    canvas.paint(line * 0.4, canvas.cover(hollow))
    teeth = canvas.cover(np.maximum(hollow, canvas.fy - top - 0.45 * (bottom - top)))
    canvas.paint(np.minimum(face.skin + face.white, 1), face.teeth * teeth)


def _paint_obstacles(canvas: _Canvas, face: SimpleNamespace, rng: np.random.Generator) -> None:
    """Glasses, a hand at the cheek or before the mouth, a bar across the picture: each on some of the faces."""

    def uniform(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, face.skin.shape).astype(np.float32)

    def some(share: float) -> np.ndarray:
        return (rng.random(face.skin.shape) < share).astype(np.float32)

    x, y = canvas.side - face.eye_x, canvas.fy - face.eye_y
    rims = np.abs(_radius(x / 0.27, y / 0.21) - 1) * 0.23 - 0.02
    bridge = np.maximum(np.abs(y) - 0.02, x + 0.25)
    canvas.paint(uniform(0, 0.6), some(GLASSES) * canvas.cover(np.minimum(rims, bridge)))

    x, y = canvas.x - (2 * some(0.5) - 1) * uniform(0.45, 0.85), canvas.y - uniform(0.3, 0.95)
    tilt = uniform(-0.6, 0.6)
    x, y = x + tilt * y, y - tilt * x
    fingers = np.where(np.abs((x / 0.14) % 1 - 0.5) > 0.38, 0.75, 1).astype(np.float32)
    canvas.paint(face.skin * fingers, some(HAND) * canvas.cover((_radius(x / 0.28, y / 0.5) - 1) * 0.3))

    angle = uniform(0, np.pi)
    across = np.abs(np.cos(angle) * canvas.x + np.sin(angle) * canvas.y - uniform(-0.8, 0.8)) - uniform(0.04, 0.12)
    canvas.paint(uniform(0, 1), some(BAR) * canvas.cover(across))


def _expose(image: np.ndarray, face: SimpleNamespace, rng: np.random.Generator) -> np.ndarray:
    """uint8 (n, 48, 48): blur, brightness, contrast and grain."""
    soft = image.copy()
    soft[:, 1:-1] = (image[:, :-2] + 2 * image[:, 1:-1] + image[:, 2:]) / 4
    soft[:, :, 1:-1] = (soft[:, :, :-2] + 2 * soft[:, :, 1:-1] + soft[:, :, 2:]) / 4
    image = image + face.blur * (soft - image)
    image = 0.5 + face.brightness + face.contrast * (image - 0.5)
    image = image + face.grain * rng.standard_normal(image.shape, np.float32)
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _radius(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.sqrt(x * x + y * y)
