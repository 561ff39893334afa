"""Faces in photographs: found however the picture lies, and brought to the place where FER2013 has them."""

import numpy as np
import pytest
from PIL import Image

from fer_lightning.photographs import faces
from fer_lightning.photographs.align import TRAINING_LANDMARKS
from fer_lightning.photographs.faces import boxed, find_faces, realigned, whole


def landmarks_of(pixels: np.ndarray) -> np.ndarray:
    (found,) = faces.detections(np.repeat(pixels[None, :, :, None], 3, 3))[0]
    return found[5:].reshape(-1, 2)


def test_a_face_is_found_and_its_landmarks_are_where_those_of_training_faces_are(
    astronaut: np.ndarray, hopper: np.ndarray
) -> None:
    for picture, box in ((astronaut, (178, 63, 90, 113)), (hopper, (183, 120, 170, 212))):
        (face,) = find_faces(picture)
        assert face.box == pytest.approx(box, abs=3)
        assert abs(face.roll) < 8
        assert face.pixels.shape == (48, 48)
        assert np.abs(landmarks_of(face.pixels) - TRAINING_LANDMARKS).max() < 4


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_a_turned_picture_gives_the_same_face(hopper: np.ndarray, turns: int) -> None:
    (upright,) = find_faces(hopper)
    (face,) = find_faces(np.rot90(hopper, turns))
    assert np.abs(face.pixels.astype(int) - upright.pixels).mean() < 3
    assert (face.roll - upright.roll + 90 * turns + 180) % 360 == pytest.approx(180, abs=2)


def test_a_tilted_face_is_upright(astronaut: np.ndarray) -> None:
    (upright,) = find_faces(astronaut)
    (face,) = find_faces(np.asarray(Image.fromarray(astronaut).rotate(20)))
    assert face.roll - upright.roll == pytest.approx(-20, abs=6)
    assert np.abs(face.pixels.astype(int) - upright.pixels).mean() < 20


def test_a_small_face_in_a_large_picture_is_found_at_a_second_look(astronaut: np.ndarray) -> None:
    picture = np.zeros((2000, 2400, 3), np.uint8)
    small = Image.fromarray(astronaut[:256, 100:356]).resize((96, 96), Image.Resampling.LANCZOS)
    picture[1500:1596, 1800:1896] = small
    (face,) = find_faces(picture)
    left, top, width, height = face.box
    assert 1800 < left < left + width < 1896
    assert 1500 < top < top + height < 1596


def test_several_faces_come_the_largest_first(astronaut: np.ndarray, hopper: np.ndarray) -> None:
    picture = np.zeros((600, 1024, 3), np.uint8)
    picture[:512, :512] = astronaut
    picture[:, 512:] = hopper
    first, second = find_faces(picture)
    assert first.box[0] > 512 > second.box[0]


def test_no_face_is_an_answer(faceless: dict[str, np.ndarray]) -> None:
    for name, picture in faceless.items():
        assert find_faces(picture) == [], name
    assert find_faces(np.zeros((1, 1, 3), np.uint8)) == []


def test_a_ready_face_and_a_box_are_taken_as_they_are(hopper: np.ndarray) -> None:
    ready = np.ascontiguousarray(hopper[100:148, 200:248])
    gray = np.asarray(Image.fromarray(ready).convert("L"))
    np.testing.assert_array_equal(whole(ready).pixels, gray)
    np.testing.assert_array_equal(boxed(hopper, (200, 100, 48, 48)).pixels, gray)
    tall = boxed(hopper, (200, 100, 40, 48))  # the square around it
    np.testing.assert_array_equal(tall.pixels, np.asarray(Image.fromarray(hopper).convert("L"))[100:148, 196:244])


def test_variants_begin_with_the_face_and_its_mirror_image(hopper: np.ndarray) -> None:
    (face,) = find_faces(hopper)
    variants = face.variants()
    np.testing.assert_array_equal(variants[0], face.pixels)
    np.testing.assert_array_equal(variants[1], face.pixels[:, ::-1])
    assert len(np.unique(variants, axis=0)) == len(variants)


def test_realigned_images_are_their_faces_cropped_anew_or_stay(astronaut: np.ndarray) -> None:
    (face,) = find_faces(astronaut)
    shifted = np.roll(face.pixels, 4, axis=1)
    nothing = np.full((48, 48), 90, np.uint8)
    crops = realigned(np.stack([shifted, nothing]))
    np.testing.assert_array_equal(crops[1], nothing)
    before, after = (np.abs(landmarks_of(each) - TRAINING_LANDMARKS).mean() for each in (shifted, crops[0]))
    assert after < before / 2
