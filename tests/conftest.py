"""Fixtures shared by all tests."""

from pathlib import Path

import pytest

SHARED = Path(__file__).parents[2] / "shared" / "fer2013"


@pytest.fixture(scope="session")
def shared_rows() -> Path:
    """The folder of the real FER2013 rows that stands beside this checkout, where it does."""
    if not (SHARED / "unpack.py").is_file():
        pytest.skip("the real FER2013 rows (../shared/fer2013) are not here")
    return SHARED
