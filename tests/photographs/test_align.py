"""From a picture to 48×48 pixels."""

import numpy as np
import pytest
from PIL import Image

from fer_lightning.photographs.align import TRAINING_LANDMARKS, Similarity, fit, warp


def rotated(points: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    return points @ np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])


def test_fit_finds_the_similarity_that_moved_the_points() -> None:
    moved = 3 * rotated(TRAINING_LANDMARKS, 30) + (100, 50)
    found = fit(TRAINING_LANDMARKS, moved)
    assert abs(found.a) == pytest.approx(3)
    assert np.degrees(np.angle(found.a)) == pytest.approx(30)
    np.testing.assert_allclose(found(TRAINING_LANDMARKS), moved, atol=1e-9)
    np.testing.assert_allclose(found.inverse()(moved), TRAINING_LANDMARKS, atol=1e-9)
    np.testing.assert_allclose(found.after(found)(TRAINING_LANDMARKS), found(moved), atol=1e-9)


def test_fit_is_the_least_squares_of_points_that_no_similarity_moves() -> None:
    generator = np.random.default_rng(0)
    source, target = generator.normal(size=(2, 5, 2))
    rows = [[x, -y, 1, 0] for x, y in source] + [[y, x, 0, 1] for x, y in source]
    solution, *_ = np.linalg.lstsq(np.array(rows), target.T.ravel(), rcond=None)
    found = fit(source, target)
    np.testing.assert_allclose([found.a.real, found.a.imag, found.shift.real, found.shift.imag], solution)


def test_warp_takes_a_crop_as_it_is() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (100, 80), np.uint8)
    crop = warp(picture, Similarity(1 + 0j, 20 + 30j))
    np.testing.assert_allclose(crop, picture[30:78, 20:68], atol=0.01)


@pytest.mark.parametrize("times", [5, 30])
def test_a_pixel_is_the_mean_of_the_area_that_it_covers(times: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (48 * times, 48 * times), np.uint8)
    means = picture.reshape(48, times, 48, times).mean((1, 3))
    assert np.abs(warp(picture, Similarity(complex(times), 0j)) - means).max() < 0.01


def test_warp_turns_as_pillow_does_and_goes_on_past_the_border(hopper: np.ndarray) -> None:
    gray = Image.fromarray(hopper).convert("L")
    crop = warp(np.asarray(gray), Similarity(4j, 400 + 120j))  # its x is the picture's y
    expected = gray.rotate(90, expand=True).crop((120, 112, 312, 304)).reduce(4)
    assert crop.shape == (48, 48)
    np.testing.assert_allclose(crop, np.asarray(expected).astype(int), atol=0.51)
    outside = warp(np.full((10, 10), 77, np.uint8), Similarity(1 + 0j, -100 - 100j))
    np.testing.assert_allclose(outside, 77)
