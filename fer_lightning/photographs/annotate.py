"""A copy of a picture in which its faces are marked, with what the network says of each."""

import io
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from PIL.PngImagePlugin import PngInfo

from fer_lightning.data.faces import CLASSES, SIZE
from fer_lightning.errors import UserError
from fer_lightning.photographs import LIMITS
from fer_lightning.photographs.faces import Face
from fer_lightning.photographs.pictures import read_texts
from fer_lightning.results.files import make_folder

MARKER = "annotated by python -m fer_lightning.predict"  # in a copy's metadata, by which the next run knows it
JPEG, PNG = (".jpg", ".jpeg", ".jpe", ".jfif"), (".png",)
LEAST_FACE, LEAST_SIDE = 130, 240  # pixels, to which a small face and a small picture are enlarged
LARGEST = 4096  # a side, to which no picture is enlarged further
LEAST_ROW = 16  # pixels, of a line of text
ROWS = 40  # in a square picture's side
SEVERAL = 13  # times the root of their number, that many rows for the bars of several faces: half a picture's area
FONT, PADDING, BAR_WIDTH = 0.82, 0.35, 4  # in rows
WHITE, GRAY, BLACK, GROUND, SHADE = (255, 255, 255), (200, 200, 200), (0, 0, 0), (24, 24, 24), (0, 0, 0, 185)
SURE, UNSURE, BAR = (255, 196, 0), WHITE, (120, 170, 220)  # no color that says good or bad

Color = tuple[int, ...]
Point = tuple[float, float]  # of the copy, x and y


def copies(pictures: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Where the copy of each picture goes: below `folder`, which is made, as they lie below the folder that they share.

    A JPEG stays one, all else becomes a PNG. Pictures that are copies in `folder` are passed over. UserError where
    something that is no copy of ours would be lost.
    """
    make_folder(folder)
    inside = folder.resolve()
    pictures = [each for each in pictures if not (each.resolve().is_relative_to(inside) and is_copy(each))]
    if not pictures:
        raise UserError(f"--annotate {folder}: the pictures are copies that lie in it; name the pictures themselves")
    parents = [picture.parent.resolve() for picture in pictures]
    above = (parents[0], *parents[0].parents)
    shared = next((each for each in above if all(parent.is_relative_to(each) for parent in parents)), None)
    found: dict[Path, Path] = {}
    taken: set[str] = set()
    for picture, parent in zip(pictures, parents, strict=True):
        name = picture.name if picture.suffix.lower() in (*JPEG, *PNG) else f"{picture.name}.png"
        below = parent.relative_to(shared) if shared else Path(*parent.parts[1:])  # Windows has drives
        target = folder / below / name
        while str(target).lower() in taken:
            target = target.with_stem(f"{target.stem}-2")
        if target.exists() and not is_copy(target):
            raise UserError(f"--annotate {folder}: {target} is there and is no copy of ours; name another folder")
        taken.add(str(target).lower())
        found[picture] = target
    return found


def is_copy(path: Path) -> bool:
    """Whether a file is one that `encoded` made."""
    texts = read_texts(path)
    return MARKER in (texts.get("comment") or texts.get("Description") or "")


def encoded(image: Image.Image, path: Path, about: str) -> bytes:
    """A copy as a JPEG or PNG, as `path` ends; its metadata are what it is, LIMITS and `about`, and nothing else."""
    file, text = io.BytesIO(), f"{MARKER}\n{LIMITS}\n{about}".encode(errors="backslashreplace")
    if path.suffix.lower() in JPEG:
        image.save(file, "JPEG", quality=92, comment=text)
    else:
        info = PngInfo()
        info.add_text("Description", text.decode())
        image.save(file, "PNG", pnginfo=info)
    return file.getvalue()


def annotated(
    picture: np.ndarray, faces: Sequence[Face], probabilities: np.ndarray, threshold: float, note: str = ""
) -> Image.Image:
    """A copy, RGB, of a picture uint8 (H, W, 3), with the square that the network saw of each face and what it says.

    Above the square, and right of the picture with bars of the probabilities, float (N, 7), stand its number where
    there are several and its class, or "unsure" below the threshold. Small pictures, and those of small faces, are
    enlarged. note: what is written into the lower left corner.
    """
    height, width = picture.shape[:2]
    sides = [SIZE * abs(face.to_picture.a) for face in faces]
    wanted = max(LEAST_FACE / min(sides, default=LEAST_FACE), LEAST_SIDE / min(height, width))
    scale = max(1.0, min(wanted, LARGEST / max(height, width)))
    width, height = round(width * scale), round(height * scale)
    image = Image.fromarray(picture).resize((width, height), Image.Resampling.BICUBIC)
    answers = [answer(chances, threshold) for chances in probabilities]
    titles = [f"{number} {words}" if len(faces) > 1 else words for number, (words, _) in enumerate(answers, 1)]
    colors = [color for _, color in answers]

    usual = math.sqrt(width * height)
    most = max(LEAST_ROW, usual / ROWS)
    draw = ImageDraw.Draw(image, "RGBA")
    squares = [scale * face.corners for face in faces]
    for square, color in zip(squares, colors, strict=True):
        draw_square(draw, square, color, most)
    for square, side, words, color in zip(squares, sides, titles, colors, strict=True):
        row = float(np.clip(scale * side / 8, LEAST_ROW, most))
        wide = _width(words, row)
        left = max(min(square[:, 0].mean() - wide / 2, width - wide), 0)
        top = max(min(square[:, 1].min() - row, height - row), 0)
        _write(draw, (left, top), words, row, BLACK, color)
    for top, words in ((0, "" if faces else "no face"), (height - most, note)):
        if words:
            _write(draw, (0, top), words, most, WHITE, SHADE)

    row = max(LEAST_ROW, usual / max(ROWS, SEVERAL * math.sqrt(len(faces))))
    wide, high = round(_bars_width(row) + PADDING * row), round((len(CLASSES) + 1.5) * row)
    lines = max(height // high, 1)  # of faces, one above the other
    page = Image.new("RGB", (width + math.ceil(len(faces) / lines) * wide, max(height, high * bool(faces))), GROUND)
    page.paste(image)
    draw = ImageDraw.Draw(page)
    for index, (words, chances, color) in enumerate(zip(titles, probabilities, colors, strict=True)):
        left, top = width + index // lines * wide + PADDING * row, index % lines * high + row / 2
        _write(draw, (left, top), words, row, BLACK, color)
        draw_bars(draw, (left, top + row), chances, row, color)
    return page


def answer(chances: np.ndarray, threshold: float) -> tuple[str, Color]:
    """The class of a face or "unsure" in words, and its color."""
    best = int(chances.argmax())
    return (f"{CLASSES[best]} {chances[best]:.0%}", SURE) if chances[best] >= threshold else ("unsure", UNSURE)


def draw_square(draw: ImageDraw.ImageDraw, square: np.ndarray, color: Color, row: float) -> None:
    """Bright with dark edges, so that it shows on any ground."""
    line = [tuple(corner) for corner in (*square.tolist(), *square[:2].tolist())]
    thick = max(2, round(row / 8))
    draw.line(line, BLACK, thick + 2, joint="curve")
    draw.line(line, color, thick, joint="curve")


def draw_bars(draw: ImageDraw.ImageDraw, corner: Point, chances: np.ndarray, row: float, color: Color) -> None:
    """The probabilities of all classes, the largest in this color."""
    left, top = corner
    start, shares = left + _names_width(row), left + _bars_width(row) - _width("100%", row)
    best = int(chances.argmax())
    for place, (name, chance) in enumerate(zip(CLASSES, chances.tolist(), strict=True)):
        y, bright = top + place * row, place == best
        _write(draw, (left, y), name, row, color if bright else GRAY)
        edges = (start, y + 0.2 * row, start + max(BAR_WIDTH * row * chance, 1), y + 0.8 * row)
        draw.rectangle(edges, color if bright else BAR)
        _write(draw, (shares, y), f"{chance:.0%}", row, color if bright else GRAY)


@cache
def _font(row: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(FONT * row)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _width(words: str, row: float) -> float:
    """Of a line of text with its padding."""
    return _font(row).getlength(words) + 2 * PADDING * row


def _names_width(row: float) -> float:
    return max(_width(name, row) for name in CLASSES)


def _bars_width(row: float) -> float:
    return _names_width(row) + BAR_WIDTH * row + _width("100%", row)


def _write(
    draw: ImageDraw.ImageDraw, corner: Point, words: str, row: float, color: Color, ground: Color | None = None
) -> None:
    left, top = corner
    if ground:
        draw.rectangle((left, top, left + _width(words, row), top + row), ground, BLACK)
    draw.text((left + PADDING * row, top + row / 2), words, color, _font(row), anchor="lm")
