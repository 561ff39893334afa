"""A copy of a picture in which its faces are marked, with what the network says of each."""

import io
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
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

MARKER = "annotated by python -m fer_lightning.predict"  # in a copy's metadata, by which the next run knows it
JPEG, PNG = (".jpg", ".jpeg", ".jpe", ".jfif"), (".png",)
SQUARE = np.array([[0, 0], [SIZE, 0], [SIZE, SIZE], [0, SIZE]])  # of a face's pixels
LEAST_FACE, LEAST_SIDE = 130, 240  # pixels, to which a small face and a small picture are enlarged
LARGEST = 4096  # a side, to which no picture is enlarged further
LEAST_ROW = 16  # pixels, of a line of text
FONT, PADDING, BAR_WIDTH = 0.82, 0.35, 4  # in rows
WHITE, GRAY, BLACK, GROUND, SHADE = (255, 255, 255), (200, 200, 200), (0, 0, 0), (24, 24, 24), (0, 0, 0, 185)
SURE, UNSURE, BAR = (255, 196, 0), WHITE, (120, 170, 220)  # no color that says good or bad

Color = tuple[int, ...]
Size = tuple[float, float]
Rectangle = tuple[float, float, float, float]  # left, top, right, bottom


def copies(pictures: Sequence[Path], folder: Path) -> dict[Path, Path]:
    """Where the copy of each picture goes: below `folder`, which is made, as they lie below the folder that they share.

    A JPEG stays one, all else becomes a PNG. Pictures that are copies in `folder` are passed over. UserError where
    something that is no copy of ours would be lost.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"--annotate {folder}: the folder cannot be made ({error.strerror}); name another one"
        ) from None
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
    """A copy, RGB, of a picture uint8 (H, W, 3), with the square that the network saw of each face.

    Beside each: its number where there are several, its class, or "unsure" below the threshold, and bars of its
    probabilities, float (N, 7). Bars that have no room beside their face stand to the right of the picture. Small
    pictures, and those of small faces, are enlarged. note: what is written into the lower left corner.
    """
    height, width = picture.shape[:2]
    sides = [SIZE * abs(face.to_picture.a) for face in faces]
    wanted = max(LEAST_FACE / min(sides, default=LEAST_FACE), LEAST_SIDE / min(height, width))
    scale = max(1.0, min(wanted, LARGEST / max(height, width)))
    size = (round(width * scale), round(height * scale))
    most = max(LEAST_ROW, max(size) / 40)
    marks = [
        Mark(
            square=scale * face.to_picture(SQUARE),
            within=size,
            row=float(np.clip(scale * side / 8, LEAST_ROW, most)),
            number=f"{number}" if len(faces) > 1 else "",
            chances=chances,
            sure=bool(chances.max() >= threshold),
        )
        for number, (face, side, chances) in enumerate(zip(faces, sides, probabilities, strict=True), 1)
    ]
    right, bottom = lay_out(marks, size)
    image = Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)
    for mark in marks:
        mark.draw_square(ImageDraw.Draw(image))
    page = Image.new("RGB", (round(max(size[0], right)), round(max(size[1], bottom))), GROUND)
    page.paste(image)
    draw = ImageDraw.Draw(page, "RGBA")
    for mark in marks:
        mark.draw_bars(draw)
        for tag in mark.tags:
            _write(draw, tag, mark.words, mark.row, BLACK, mark.color)
    for top, words in ((0.0, "" if faces else "no face"), (size[1] - most, note)):
        if words:
            _write(draw, _rectangle((0, top), _size(words, most)), words, most, WHITE, SHADE)
    return page


@dataclass
class Mark:
    """What is drawn of one face, in the copy's pixels.

    within: the picture's size. row: the height of a line of its text. tags, bars: where its class and its
    probabilities stand.
    """

    square: np.ndarray
    within: Size
    row: float
    number: str
    chances: np.ndarray
    sure: bool
    tags: list[Rectangle] = field(default_factory=list)
    bars: Rectangle = (0, 0, 0, 0)

    @property
    def around(self) -> Rectangle:
        """What is seen of the square."""
        seen = self.square.clip(0, self.within)
        (left, top), (right, bottom) = seen.min(0).tolist(), seen.max(0).tolist()
        return left, top, right, bottom

    @property
    def color(self) -> Color:
        return SURE if self.sure else UNSURE

    @property
    def words(self) -> str:
        best = int(self.chances.argmax())
        answer = f"{CLASSES[best]} {self.chances[best]:.0%}" if self.sure else "unsure"
        return f"{self.number} {answer}".strip()

    @property
    def columns(self) -> tuple[float, float]:
        """How wide the names of the classes and the percentages are."""
        return max(_size(name, self.row)[0] for name in CLASSES), _size("100%", self.row)[0]

    @property
    def bars_size(self) -> Size:
        return sum(self.columns) + BAR_WIDTH * self.row, len(CLASSES) * self.row

    def draw_square(self, draw: ImageDraw.ImageDraw) -> None:
        """Bright with dark edges, so that it shows on any ground."""
        line = [tuple(corner) for corner in (*self.square.tolist(), *self.square[:2].tolist())]
        thick = max(2, round(self.row / 8))
        draw.line(line, BLACK, thick + 2, joint="curve")
        draw.line(line, self.color, thick, joint="curve")

    def draw_bars(self, draw: ImageDraw.ImageDraw) -> None:
        left, top, right, _ = self.bars
        draw.rectangle(self.bars, SHADE)
        names, shares = self.columns
        best = int(self.chances.argmax())
        for place, (name, chance) in enumerate(zip(CLASSES, self.chances.tolist(), strict=True)):
            y, color = top + place * self.row, self.color if place == best else GRAY
            _write(draw, (left, y, left + names, y + self.row), name, self.row, color)
            start, length = left + names, BAR_WIDTH * self.row * chance
            edges = (start, y + 0.2 * self.row, start + max(length, 1), y + 0.8 * self.row)
            draw.rectangle(edges, self.color if place == best else BAR)
            _write(draw, (right - shares, y, right, y + self.row), f"{chance:.0%}", self.row, color)


def lay_out(marks: Sequence[Mark], size: Size) -> Size:
    """Place tags and bars of all faces of a picture of this size, and tell the size that they need."""
    taken = [mark.around for mark in marks]
    for mark in marks:
        left, top, right, bottom = mark.around
        wide, high = tag = _size(mark.words, mark.row)
        inside = (min(max(left, 0), max(size[0] - wide, 0)), max(top, 0))
        peak = min(mark.square.tolist(), key=lambda corner: corner[1])[0]
        usual = max(left, min(peak - wide / 2, right - wide))
        corners = [(x, y) for y in (top - high, bottom) for x in (usual, left, right - wide)]
        mark.tags = [_place(tag, corners, taken, size) or _rectangle(inside, tag)]
        taken += mark.tags
    x, y, needed = size[0], 0.0, size
    for mark in marks:
        left, top, right, bottom = mark.around
        wide, high = mark.bars_size
        corners = [(x, y) for x in (right, left - wide) for y in (top, bottom - high)]
        corners += [(x, y) for y in (bottom, top - high) for x in (left, right - wide)]
        if free := _place((wide, high), corners, taken, size):
            mark.bars = free
            taken.append(free)
            continue
        title = _size(mark.words, mark.row) if mark.number else (0, 0)
        if y and y + title[1] + high > size[1]:  # another column
            x, y = needed[0], 0.0
        if mark.number:
            mark.tags.append(_rectangle((x, y), title))
        mark.bars = _rectangle((x, y + title[1]), (wide, high))
        y = mark.bars[3] + mark.row / 2
        needed = (max(needed[0], x + max(wide, title[0])), max(needed[1], mark.bars[3]))
    return needed


def _place(size: Size, corners: Iterable[Size], taken: Sequence[Rectangle], within: Size) -> Rectangle | None:
    """The first rectangle at one of the corners that is within the picture and overlaps nothing."""
    for corner in corners:
        left, top, right, bottom = place = _rectangle(corner, size)
        fits = left >= 0 and top >= 0 and right <= within[0] and bottom <= within[1]
        if fits and not any(left < r and x < right and top < b and t < bottom for x, t, r, b in taken):
            return place
    return None


def _rectangle(corner: Size, size: Size) -> Rectangle:
    return corner[0], corner[1], corner[0] + size[0], corner[1] + size[1]


@cache
def _font(row: float) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(FONT * row)
    assert isinstance(font, ImageFont.FreeTypeFont)
    return font


def _size(words: str, row: float) -> Size:
    """Of a line of text with its padding."""
    return _font(row).getlength(words) + 2 * PADDING * row, row


def _write(
    draw: ImageDraw.ImageDraw, place: Rectangle, words: str, row: float, color: Color, ground: Color | None = None
) -> None:
    if ground:
        draw.rectangle(place, ground, BLACK)
    draw.text((place[0] + PADDING * row, (place[1] + place[3]) / 2), words, color, _font(row), anchor="lm")
