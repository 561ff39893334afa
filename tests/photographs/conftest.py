"""Photographs that may be shown: of matplotlib (US Navy, public domain) and scikit-image (NASA, CC0)."""

from pathlib import Path

import numpy as np
import pytest
import skimage.data
from matplotlib import cbook
from PIL import Image


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def hopper() -> np.ndarray:
    with cbook.get_sample_data("grace_hopper.jpg") as file:
        return np.asarray(Image.open(file).convert("RGB"))


@pytest.fixture(scope="session")
def faceless() -> dict[str, np.ndarray]:
    return {name: getattr(skimage.data, name)()[::2, ::2].copy() for name in ("chelsea", "coffee", "rocket")}


@pytest.fixture
def pictures(tmp_path: Path, astronaut: np.ndarray, hopper: np.ndarray, faceless: dict[str, np.ndarray]) -> Path:
    """A folder of picture files: two with a face, three without."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    Image.fromarray(astronaut).save(folder / "astronaut.png")
    Image.fromarray(hopper).save(folder / "hopper.jpg", quality=95)
    for name, picture in faceless.items():
        Image.fromarray(picture).save(folder / f"{name}.png")
    return folder
