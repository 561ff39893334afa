"""The built-in faces: schematic faces drawn from a seed, for trying everything out where FER2013 is not at hand.

The seven expressions are told by brows, eyes, nose and mouth, much as a cartoonist would. Identity, pose, light,
blur, noise and things in front of the face vary from face to face, so that the pixels at one place say little and
shapes say more; the spread of each feature makes neighbouring expressions overlap.

All coordinates are face coordinates: x to the right, y down, the origin between eyes and mouth, 1 about the half
height of a head. A chunk of n faces is drawn at once from arrays (n, 48, 48); a parameter is an array (n, 1, 1).
"""

import numpy as np

from fer_lightning.data.faces import CLASSES, PRIVATE, PUBLIC, SIZE, TRAINING, Faces, digest

# FER2013's own shares are 0.14, 0.015, 0.14, 0.25, 0.17, 0.11, 0.17; its disgust would be too rare to measure here.
SHARES = (0.14, 0.06, 0.14, 0.22, 0.16, 0.12, 0.16)
SMALLEST = 20  # images of a usage, fewer would leave disgust out
LABEL_NOISE = 0.03  # share of each usage whose labels are passed around among themselves
DUPLICATES = 0.02  # share of each test usage that repeats a Training image, label included
CHUNK = 64  # faces drawn at once: the working arrays of 0.6 MB stay in the CPU's cache

# Means in the order of CLASSES, then the standard deviation that all classes share. Lengths in face coordinates.
#                    angry disgust fear  happy   sad surprise neutral
EXPRESSION = {
    "brow_raise": ((-0.07, -0.04, 0.07, 0.02, 0.02, 0.13, 0.00), 0.025),
    "brow_slant": ((-0.13, -0.06, 0.10, 0.00, 0.12, 0.00, 0.00), 0.035),  # inner end above the outer end
    "brow_arch": ((0.01, 0.02, 0.02, 0.05, 0.02, 0.08, 0.04), 0.015),
    "brow_knit": ((0.07, 0.05, 0.04, 0.00, 0.03, -0.02, 0.00), 0.020),  # inner ends towards each other
    "eye_open": ((0.075, 0.055, 0.135, 0.060, 0.070, 0.145, 0.090), 0.016),  # half height
    "nose_wrinkle": ((0.15, 0.90, 0.05, 0.10, 0.05, 0.00, 0.05), 0.12),  # 0 to 1
    "fold": ((0.25, 0.75, 0.15, 0.75, 0.25, 0.00, 0.10), 0.15),  # from nose to the corners of the mouth, 0 to 1
    "mouth_width": ((0.27, 0.27, 0.36, 0.42, 0.28, 0.20, 0.30), 0.030),  # half width
    "mouth_smile": ((-0.06, -0.09, -0.04, 0.16, -0.12, 0.00, 0.00), 0.030),  # corners above the middle
    "mouth_open": ((0.02, 0.05, 0.10, 0.08, 0.01, 0.19, 0.01), 0.025),  # half height
    "lip_raise": ((0.00, 0.07, 0.00, 0.02, 0.00, 0.00, 0.00), 0.015),
    "teeth": ((0.40, 0.60, 0.55, 0.90, 0.10, 0.15, 0.10), 0.15),  # 0 to 1
}


def draw(train: int = 2600, test: int = 450, seed: int = 0) -> Faces:
    """`train` Training faces, then `test` PublicTest and `test` PrivateTest faces; the Training faces do not depend on `test`.

    ValueError: a usage of fewer than SMALLEST faces, or a negative seed.
    """
    if min(train, test) < SMALLEST:
        raise ValueError(f"train={train}, test={test}: each must be at least {SMALLEST}, so that every class occurs")
    if seed < 0:
        raise ValueError(f"seed={seed}: must not be negative")
    counts = {TRAINING: train, PUBLIC: test, PRIVATE: test}
    generators = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(len(counts))]
    parts = [_draw_usage(count, rng) for count, rng in zip(counts.values(), generators, strict=True)]
    (train_pixels, train_labels), *tests = parts
    for (pixels, labels), rng in zip(tests, generators[1:], strict=True):
        copies = max(1, round(DUPLICATES * test))
        into, of = rng.choice(test, copies, replace=False), rng.choice(train, copies)
        pixels[into], labels[into] = train_pixels[of], train_labels[of]
    pixels = np.concatenate([part[0] for part in parts])
    return Faces(
        pixels=pixels,
        labels=np.concatenate([part[1] for part in parts]),
        usage=np.repeat(np.array(list(counts), np.uint8), list(counts.values())),
        rows=np.arange(len(pixels), dtype=np.int64),
        digests=digest(pixels),
        names=None,
        source="synthetic faces",
        form=f"drawn from seed {seed}",
        synthetic=True,
    )


def _draw_usage(count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """uint8 (count, 48, 48) and int8 (count,): classes in their shares, in random order."""
    ends = np.round(np.cumsum(SHARES) * count).astype(int)
    drawn = rng.permutation(np.searchsorted(ends, np.arange(count), side="right"))
    pixels = np.concatenate([_draw_chunk(drawn[i : i + CHUNK], rng) for i in range(0, count, CHUNK)])
    labels = drawn.astype(np.int8)
    noisy = rng.choice(count, round(LABEL_NOISE * count), replace=False)
    labels[noisy] = np.roll(labels[noisy], 1)
    return pixels, labels


def _draw_chunk(drawn: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """uint8 (n, 48, 48): a face for each class index in `drawn` (n,)."""
    n = len(drawn)

    def normal(mean: float, deviation: float) -> np.ndarray:
        return rng.normal(mean, deviation, (n, 1, 1)).astype(np.float32)

    def uniform(low: float, high: float) -> np.ndarray:
        return rng.uniform(low, high, (n, 1, 1)).astype(np.float32)

    def some(share: float) -> np.ndarray:
        return (rng.random((n, 1, 1)) < share).astype(np.float32)

    e = {
        name: np.array(means, np.float32)[drawn, None, None] + normal(0, deviation)
        for name, (means, deviation) in EXPRESSION.items()
    }
    for name in ("nose_wrinkle", "fold", "teeth"):
        e[name] = np.clip(e[name], 0, 1)
    e["eye_open"] = np.maximum(e["eye_open"], 0.02)
    e["mouth_open"] = np.maximum(e["mouth_open"], 0)

    # Pose: image coordinates to head coordinates, then to those of the features, which yaw and pitch move on the head.
    scale = uniform(17.5, 22.5)  # pixels
    angle = normal(0, 0.14)
    dx = (np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2)[None, None, :] - normal(0, 1.8)
    dy = (np.arange(SIZE, dtype=np.float32) - (SIZE - 1) / 2)[None, :, None] - normal(0, 1.8)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    x = cos * dx + sin * dy
    y = cos * dy - sin * dx
    yaw = normal(0, 0.3)
    fx = (x - 0.25 * yaw) * (1 + 0.3 * yaw * x)
    fy = y - normal(0, 0.05)
    side = np.abs(fx)  # both sides of the face at once

    def cover(distance: np.ndarray) -> np.ndarray:
        """Share of each pixel that a shape covers, from the distance to its edge, negative inside."""
        return np.clip(0.5 - distance * scale, 0, 1)

    # Tones, 0 to 1: light and dark skins; hair and brows darker than the skin, or lighter.
    skin = uniform(0.25, 0.85)
    dark = skin * uniform(0.1, 0.5)
    hair = np.where(some(0.75) > 0, skin * uniform(0.1, 0.6), np.minimum(1, skin * uniform(1.2, 1.7)))
    white = np.minimum(1, skin + uniform(0.1, 0.4))

    image = uniform(0, 1) + uniform(-0.3, 0.3) * x + uniform(-0.3, 0.3) * y

    def paint(tone: np.ndarray, alpha: np.ndarray) -> None:
        nonlocal image
        image = image + alpha * (tone - image)

    # Head, wider above than at the jaw, with hair and ears left out
    half_width, half_height = uniform(0.72, 0.92), uniform(1.0, 1.2)
    hx = x / (half_width * (1 - uniform(0.05, 0.25) * y))
    hy = y / half_height
    radius = np.sqrt(hx * hx + hy * hy)
    paint(hair, cover((np.sqrt((x / (half_width + 0.12)) ** 2 + ((y + 0.1) / half_height) ** 2) - 1) * 0.8))
    head = cover((radius - 1) * 0.8)
    shading = 1 - 0.25 * radius * radius + uniform(-0.45, 0.45) * x + uniform(-0.3, 0.3) * y
    paint(skin * shading, head)
    paint(hair, head * cover(y + uniform(0.6, 0.95) - uniform(-0.1, 0.35) * x * x))

    # Eyes
    eye_x, eye_y = uniform(0.33, 0.41), uniform(-0.24, -0.14)
    ex, ey = side - eye_x, fy - eye_y
    eye_w = uniform(0.15, 0.20)
    lid = np.abs(ey) - e["eye_open"] * (1 - (ex / eye_w) ** 2)
    paint(dark, cover(np.abs(lid) - 0.03) * (np.abs(ex) < eye_w + 0.02))
    inside = cover(lid)
    paint(white, inside)
    gaze = normal(0, 0.03)
    px = fx - np.sign(fx) * eye_x - gaze
    paint(dark * 0.5, inside * cover(np.sqrt(px * px + ey * ey) - uniform(0.06, 0.085)))

    # Brows
    inner, outer = 0.15 + uniform(-0.02, 0.02) - e["brow_knit"], uniform(0.55, 0.62)
    t = (side - inner) / (outer - inner) * 2 - 1  # -1 at the inner, 1 at the outer end
    brow_y = eye_y - uniform(0.22, 0.27) - e["brow_raise"] + e["brow_slant"] * t - e["brow_arch"] * (1 - t * t)
    thickness = uniform(0.03, 0.055)
    brow = np.maximum(np.abs(fy - brow_y) - thickness, (np.abs(t) - 1) * 0.2)
    paint(np.minimum(hair, dark + 0.2), cover(brow) * uniform(0.6, 1))

    # Nose
    nose_y, nose_w = uniform(0.18, 0.28), uniform(0.11, 0.17)
    nose_y = nose_y - 0.05 * e["nose_wrinkle"]
    nose = np.maximum(np.abs(fy - nose_y + 1.5 * fx * fx) - 0.03, side - nose_w)
    paint(dark, cover(nose) * uniform(0.4, 0.9))
    ridge = np.maximum(np.abs(side - 0.05) - 0.02, np.abs(fy - nose_y + 0.2) - 0.15)
    paint(dark, cover(ridge) * 0.25)
    wrinkle_y = (fy - eye_y - 0.02) / 0.09 + 3 * side
    wrinkles = np.maximum(np.abs(wrinkle_y - np.round(wrinkle_y)) * 0.09 - 0.022, np.abs(wrinkle_y - 1) * 0.09 - 0.14)
    paint(dark, cover(np.maximum(wrinkles, side - 0.16)) * e["nose_wrinkle"] * 0.8)

    # Mouth
    mouth_y = uniform(0.55, 0.66)
    mx = fx / e["mouth_width"]
    middle = mouth_y - e["mouth_smile"] * (mx * mx - 0.5) - normal(0, 0.03) * mx
    arc = 1 - mx * mx
    top = middle - (e["mouth_open"] + e["lip_raise"]) * arc
    bottom = middle + e["mouth_open"] * arc
    lip = uniform(0.035, 0.06)
    lips = np.maximum(np.maximum(top - lip - fy, fy - bottom - lip), (np.abs(mx) - 1) * 0.2)
    paint(dark, cover(lips) * uniform(0.6, 1))
    hollow = np.maximum(np.maximum(top + lip * 0.3 - fy, fy - bottom + lip * 0.3), (np.abs(mx) - 0.95) * 0.2)
    paint(dark * 0.4, cover(hollow))
    paint(white, cover(np.maximum(hollow, fy - top - 0.45 * (bottom - top))) * e["teeth"])

    # Folds between nose and mouth
    f = (fy - nose_y) / 0.4
    fold = np.maximum(np.abs(side - nose_w - 0.06 - (e["mouth_width"] - 0.1) * f * f) - 0.025, np.abs(f - 0.45) * 0.4 - 0.2)
    paint(dark, cover(fold) * e["fold"] * 0.6)

    # In front of the face: glasses, a hand, a bar
    rim = np.abs(np.sqrt((ex / 0.27) ** 2 + (ey / 0.21) ** 2) - 1) * 0.23 - 0.02
    bridge = np.maximum(np.abs(ey) - 0.02, side - eye_x + 0.25)
    paint(uniform(0, 0.6), cover(np.minimum(rim, bridge)) * some(0.12))
    hand_x, hand_y = x - np.where(some(0.5) > 0, 1, -1) * uniform(0.45, 0.85), y - uniform(0.3, 0.95)
    tilt = uniform(-0.6, 0.6)
    hand = np.sqrt(((hand_x + tilt * hand_y) / 0.28) ** 2 + ((hand_y - tilt * hand_x) / 0.5) ** 2) - 1
    fingers = 1 - 0.25 * (np.abs(((hand_x + tilt * hand_y) / 0.14) % 1 - 0.5) > 0.38)
    paint(skin * 1.05 * fingers, cover(hand * 0.3) * some(0.12))
    bar_angle = uniform(0, np.pi)
    bar = np.abs(np.cos(bar_angle) * x + np.sin(bar_angle) * y - uniform(-0.8, 0.8)) - uniform(0.04, 0.12)
    paint(uniform(0, 1), cover(bar) * some(0.10))

    # Camera: blur, exposure, contrast, grain
    soft = image.copy()
    soft[:, 1:-1] = (image[:, :-2] + 2 * image[:, 1:-1] + image[:, 2:]) / 4
    soft[:, :, 1:-1] = (soft[:, :, :-2] + 2 * soft[:, :, 1:-1] + soft[:, :, 2:]) / 4
    image = image + uniform(0, 1) * (soft - image)
    image = 0.5 + uniform(-0.2, 0.2) + uniform(0.55, 1.1) * (image - 0.5)
    image = image + uniform(0.01, 0.06) * rng.standard_normal(image.shape, np.float32)
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)
