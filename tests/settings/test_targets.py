"""Arguments of a class of one's own are checked as far as its signature tells."""

import sys

import pytest

from fer_lightning.errors import UserError
from fer_lightning.settings.targets import check_arguments

OWN = """
from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class Net:
    def __init__(self, depth: int, place: Path | None = None, **more: object) -> None: ...


class Plain:
    def __init__(self, depth: int) -> None: ...
"""


def test_what_a_signature_does_not_tell_is_left_to_the_class(tmp_path, monkeypatch):
    (tmp_path / "own_targets.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    import own_targets  # type: ignore[import-not-found]

    check_arguments("model", own_targets.Net, {"depth": 3, "width": 5})
    with pytest.raises(UserError, match=r"model\.depht: Plain has no such argument; nearest: depth"):
        check_arguments("model", own_targets.Plain, {"depht": 3})
    with pytest.raises(UserError, match=r"model\.depth=1\.5: it must be a whole number"):
        check_arguments("model", own_targets.Plain, {"depth": 1.5})
    del sys.modules["own_targets"]
