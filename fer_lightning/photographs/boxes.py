"""Which faces of a picture are meant: those that are found, the whole picture, or a user's boxes."""

import csv
import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from fer_lightning.data.faults import faulty, shown
from fer_lightning.errors import UserError
from fer_lightning.photographs.faces import Face, boxed, find_faces, whole
from fer_lightning.results.paths import expanded

Box = tuple[float, float, float, float]
SIDES = ("left", "top", "width", "height")
RIGHT = "LEFT,TOP,WIDTH,HEIGHT in pixels, the last two above 0"


def finder(
    paths: Sequence[Path], detect: bool = True, boxes: Sequence[str] | None = None
) -> Callable[[Path, np.ndarray], list[Face]]:
    """A function from a picture's path and pixels to its faces.

    detect: whether they are looked for; else the whole picture is one. boxes: those that are meant instead, as a csv's
    path, or one of the only picture a text. UserError where they are no boxes.
    """
    if boxes is None:
        return (lambda path, picture: find_faces(picture)) if detect else (lambda path, picture: [whole(picture)])
    if not detect:
        raise UserError("--no-detect takes the whole picture as a face, --boxes a part of it; right: one of the two")
    if len(boxes) == 1 and boxes[0].lower().endswith(".csv"):
        known = read_boxes(expanded(boxes[0]), paths)
    elif len(paths) == 1:
        known = {paths[0]: [_typed(text) for text in boxes]}
    else:
        raise UserError(f"--boxes {' '.join(boxes)}: of which of the {len(paths):,} pictures? right: a csv tells it")

    def find(path: Path, picture: np.ndarray) -> list[Face]:
        height, width = picture.shape[:2]
        for left, top, wide, high in known.get(path, ()):
            if left >= width or top >= height or left + wide <= 0 or top + high <= 0:
                box = ",".join(f"{value:g}" for value in (left, top, wide, high))
                raise UserError(f"{path}: the box {box} is outside of its {width}×{height} pixels")
        return [boxed(picture, box) for box in known.get(path, ())]

    return find


def read_boxes(path: Path, pictures: Sequence[Path]) -> dict[Path, list[Box]]:
    """The boxes of a csv with the columns picture, left, top, width, height, perhaps among others, by picture.

    A picture's path is as that on the command line, or starts at the csv's folder. Rows whose box is empty are of
    pictures without a face. UserError with every faulty line.
    """
    at = {picture.resolve(): picture for picture in pictures}
    found: dict[Path, list[Box]] = {}
    faults = []
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader((line.replace("\0", "\ufffd") for line in file), restval="")  # no path has NUL
            columns = reader.fieldnames or []
            rows = [(reader.line_num, row) for row in reader]  # a field may have several lines
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"--boxes {path}: it cannot be read as a csv ({error})") from None
    if missing := [name for name in ("picture", *SIDES) if name not in columns]:
        raise UserError(f"--boxes {path}, line 1: no column {', '.join(missing)}; right: picture,{','.join(SIDES)}")
    for line, row in rows:
        values = [row[side] for side in SIDES]
        places = ((folder / row["picture"]).resolve() for folder in (Path(), path.parent))
        picture = next((at[place] for place in places if place in at), None)
        if picture is None:
            faults.append(f"line {line}, column picture: {shown(row['picture'])} is none of the pictures named")
        elif any(values):
            try:
                found.setdefault(picture, []).append(_box(values))
            except ValueError as error:
                (side,) = error.args
                faults.append(f"line {line}, column {side}: {shown(row[side])}; right: {RIGHT}")
    if faults:
        raise faulty(path, faults, len(rows), "rows")
    return found


def _typed(text: str) -> Box:
    try:
        return _box(text.split(","))
    except ValueError:
        wrong = f"--boxes {shown(text)}: no box; right: {RIGHT}, or one csv (pictures go before --boxes)"
        raise UserError(wrong) from None


def _box(texts: Sequence[str]) -> Box:
    """ValueError with the side that is none, or where there are not four."""
    numbers = []
    for side, text in zip(SIDES, texts, strict=True):
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number) or (side in ("width", "height") and number <= 0):
            raise ValueError(side)
        numbers.append(number)
    left, top, width, height = numbers
    return left, top, width, height
