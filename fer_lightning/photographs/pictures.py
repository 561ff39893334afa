"""A person's pictures: which files are meant, and their pixels."""

import glob
import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from fer_lightning.data.picture import RIGHT, SUFFIXES, fault, open_picture
from fer_lightning.errors import UserError
from fer_lightning.results.paths import expanded, in_order, nearest


def find_pictures(names: Sequence[str]) -> list[Path]:
    """The files that the arguments of a command mean, each once: files, a folder's pictures, or patterns as `*.jpg`.

    In a folder, and below it, what ends like a picture is one. UserError where an argument means nothing.
    """
    found: dict[Path, None] = {}
    for name in names:
        if not name:  # not the current folder: a script whose variable is not set does not mean that
            raise UserError("the name of a picture is empty (a variable that is not set?)")
        path = expanded(name)
        if path.is_dir():
            chosen = [each for each in path.rglob("*") if _is_picture(each.relative_to(path)) and each.is_file()]
            if not chosen:
                raise UserError(f"{path}: no picture in this folder; {RIGHT}")
        elif path.exists():
            chosen = [path]
        else:
            chosen = [each for each in map(Path, glob.glob(str(path), recursive=True)) if each.is_file()]
            if not chosen:
                raise UserError(f"{path}: no such picture{nearest(path)}")
        found |= dict.fromkeys(sorted(chosen, key=in_order))
    return list(found)


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in SUFFIXES and not any(part.startswith(".") for part in path.parts)


def read_picture(path: Path) -> np.ndarray:
    """uint8 (H, W, 3), RGB, upright; what is transparent is white. Of a moving picture the first frame.

    UserError where it cannot be read.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # Pillow's
            with open(path, "rb") as file:
                image = open_picture(file)
            if image.has_transparency_data:
                image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
            return np.asarray(image.convert("RGB"))
    except Exception as error:  # see `open_picture`
        raise UserError(f"{path}: {fault(error)}") from None


def read_texts(path: Path) -> dict[str, str]:
    """What stands in a png's or jpeg's metadata, by name; nothing of another file."""
    try:
        with warnings.catch_warnings(action="ignore"), Image.open(path, formats=("PNG", "JPEG")) as image:
            texts = {str(key): text for key, text in image.info.items()}
    except Exception:  # no picture, or a damaged one, of which Pillow says so in some ten ways
        return {}
    return {
        key: text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text) for key, text in texts.items()
    }
