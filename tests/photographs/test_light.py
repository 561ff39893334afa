"""Pictures in bad light: a face is found in them, and seen as in good light; good light stays as it is."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from fer_lightning.photographs import faces
from fer_lightning.photographs.faces import Face, boxed, find_faces, realigned
from fer_lightning.photographs.light import ENOUGH, FEW, MIDDLE, TRAINING_LEVELS, as_bytes, clearer, levels, lit


def noisy(picture: np.ndarray) -> np.ndarray:
    return as_bytes(picture + np.random.default_rng(0).normal(0, 3, picture.shape))


def face_levels(pixels: np.ndarray) -> tuple[float, float]:
    return levels(pixels[MIDDLE, MIDDLE])


LIGHT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "a fifth of the light": lambda picture: noisy(picture * 0.2),
    "a tenth of the light": lambda picture: noisy(picture * 0.1),
    "a twentieth of the light": lambda picture: noisy(picture * 0.05),
    "haze": lambda picture: noisy(128 + (picture.astype(float) - 128) * 0.2),
}


def test_few_levels_are_spread_to_those_of_training_faces_and_many_are_not() -> None:
    pixels = np.random.default_rng(0).normal(128, 40, (48, 48)).clip(0, 255)
    np.testing.assert_array_equal(lit(pixels, pixels), pixels)
    for share, offset in ((0.4, 0), (0.1, 0), (0.3, 150)):  # ranges from 19 to 75
        few = pixels * share + offset
        spread = lit(few, few)
        np.testing.assert_allclose(levels(spread), TRAINING_LEVELS)
        assert np.corrcoef(spread.ravel(), pixels.ravel())[0, 1] == pytest.approx(1)
    contrast = [np.ptp(lit(each, each)) for each in (np.repeat([0.0, few], 500) for few in range(FEW, ENOUGH + 20))]
    steps = np.diff(contrast)  # a little more light never makes another face
    assert contrast[0] == np.ptp(TRAINING_LEVELS)
    assert contrast[ENOUGH - FEW :] == [*range(ENOUGH, ENOUGH + 20)]
    assert np.abs(steps).max() < 8
    wall = np.full((48, 48), 90) + np.tile([0, 1], (48, 24))
    blank = lit(wall, wall)
    assert np.ptp(blank) < 30  # no face is made of a blank wall's noise
    assert blank.mean() == pytest.approx(np.mean(TRAINING_LEVELS))


@pytest.mark.parametrize("light", LIGHT)
def test_a_face_in_bad_light_is_that_of_good_light(light: str, astronaut: np.ndarray, hopper: np.ndarray) -> None:
    for picture in (astronaut, hopper):
        (good,) = find_faces(picture)
        (face,) = find_faces(LIGHT[light](picture))
        assert face.box == pytest.approx(good.box, abs=0.15 * good.box[2])
        coarse = [one.pixels.reshape(12, 4, 12, 4).mean((1, 3)).ravel() for one in (face, good)]
        assert np.corrcoef(*coarse)[0, 1] > 0.7  # its landmarks may be two pixels off
        assert face_levels(face.pixels) == pytest.approx(TRAINING_LEVELS, abs=2)


def test_a_face_against_the_light_needs_light_of_its_own(hopper: np.ndarray) -> None:
    left, top, width, height = (round(side) for side in find_faces(hopper)[0].box)
    picture = np.full(hopper.shape, 250, np.uint8)
    place = np.s_[top - 20 : top + height + 20, left - 20 : left + width + 20]
    picture[place] = hopper[place] * 0.2
    assert np.ptp(levels(picture)) > ENOUGH  # all in all
    (face,) = find_faces(picture)
    assert face_levels(face.pixels) == pytest.approx(TRAINING_LEVELS, abs=2)


def test_all_crops_of_a_face_have_one_light(astronaut: np.ndarray) -> None:
    dim = boxed(astronaut // 4, (178, 63, 90, 113)).variants().astype(float)
    bright = boxed(astronaut, (178, 63, 90, 113)).variants().astype(float)
    slopes = [np.polyfit(one.ravel(), other.ravel(), 1) for one, other in zip(bright, dim, strict=True)]
    np.testing.assert_allclose(slopes, [slopes[0]] * len(slopes), atol=2)
    assert np.std([slope for slope, _ in slopes]) < 0.02


def test_nothing_becomes_a_face_in_bad_light(faceless: dict[str, np.ndarray]) -> None:
    for name, picture in faceless.items():
        for light, spoil in LIGHT.items():
            assert find_faces(spoil(picture)) == [], (name, light)
    assert find_faces(noisy(np.full((300, 300, 3), 20.0))) == []


def test_noise_hides_a_face_until_it_is_smoothed(astronaut: np.ndarray) -> None:
    dark = LIGHT["a twentieth of the light"](astronaut)[None]
    assert [len(found) for found in (*faces.detections(dark), *faces.detections(dark, in_light=True))] == [0, 1]


def test_a_detector_sees_more_in_a_lit_picture_and_in_one_without_noise(astronaut: np.ndarray) -> None:
    dim = Image.fromarray(LIGHT["a tenth of the light"](astronaut))
    before, bright, smooth = (np.asarray(each.convert("L")).astype(float) for each in (dim, *clearer(dim)))
    assert levels(bright) == pytest.approx(TRAINING_LEVELS, abs=4)
    assert np.corrcoef(bright.ravel(), before.ravel())[0, 1] > 0.99
    assert np.abs(np.diff(smooth)).mean() < np.abs(np.diff(bright)).mean() / 2
    (only,) = clearer(Image.fromarray(astronaut))
    assert levels(np.asarray(only)) == pytest.approx(levels(astronaut), abs=15)


@pytest.mark.parametrize(("light", "degrees"), [("a fifth of the light", 90), ("haze", 50)])
def test_a_tilted_face_is_turned_upright_in_bad_light_too(light: str, degrees: int, astronaut: np.ndarray) -> None:
    tilted = np.asarray(Image.fromarray(astronaut).rotate(degrees))
    (face,) = find_faces(LIGHT[light](tilted))
    assert face.roll == pytest.approx(-degrees, abs=25)


def test_training_faces_are_cropped_as_they_are(astronaut: np.ndarray) -> None:
    (face,) = find_faces(astronaut)
    dim = face.pixels // 4
    (crop,) = realigned(dim[None])
    assert crop.max() <= dim.max()
    dark = face.pixels // 20
    np.testing.assert_array_equal(realigned(dark[None])[0], dark)  # its face is not looked for in a better light
    assert find_faces(np.repeat(dark[..., None], 3, 2))
    assert levels(Face(dim, boxed(astronaut, (0, 0, 48, 48)).to_picture, (0, 0, 48, 48)).pixels)[1] > 200
