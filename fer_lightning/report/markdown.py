"""A report as Markdown with its pictures beside it.

Markdown has no pictures of its own and most viewers refuse data URIs: charts (SVG, readable in light and dark) and rows
of faces (PNG) go into files, which the text names.
"""

import math
import re
from collections.abc import Sequence

import numpy as np

from fer_lightning.data.faces import SIZE
from fer_lightning.report import charts
from fer_lightning.report.blocks import Block, Bullets, Charts, Code, FaceRow, Fold, Heading, Matrix, Point, Table, Text
from fer_lightning.report.words import percent
from fer_lightning.results import page

# What begins markup inside a line; underscores inside words and a lone < or & do not.
SPECIAL = re.compile(r"[\\`*\[\]|~]|(?<![^\W_])_|_(?![^\W_])")
HTML = re.compile(r"<(?=[A-Za-z/!?])|&(?=#?\w+;)")
FACES_A_ROW, GAP = 10, 4


def render(blocks: Sequence[Block], folder: str, marker: str) -> tuple[str, dict[str, bytes]]:
    """The text, and its pictures by their names in `folder`, which stands beside the text."""
    pictures: dict[str, bytes] = {}
    parts = [f"<!-- {marker} -->", *_blocks(blocks, folder, pictures)]
    return "\n\n".join(parts) + "\n", pictures


def _blocks(blocks: Sequence[Block], folder: str, pictures: dict[str, bytes]) -> list[str]:
    return [part for block in blocks for part in _block(block, folder, pictures)]


def _block(block: Block, folder: str, pictures: dict[str, bytes]) -> list[str]:
    match block:
        case Heading(text, level):
            return [f"{'#' * level} {escape(text)}"]
        case Text(text, warning):
            return [f"> **{escape(text)}**" if warning else escape(text)]
        case Bullets(points):
            return ["\n".join(f"- {_point(point)}" for point in points)]
        case Code(text):
            return ["\n".join(f"    {line}" for line in text.splitlines())]
        case Table(headers, rows, caption):
            return [*([f"*{escape(caption)}*"] if caption else []), _table(headers, rows)]
        case Matrix():
            return [f"*{escape(block.caption)}*", _matrix(block)]
        case Charts(drawn, caption):
            names = [_add(pictures, charts.svg(chart, standalone=True).encode(), "chart", "svg") for chart in drawn]
            shown = " ".join(_image(chart.title, folder, name) for chart, name in zip(drawn, names, strict=True))
            return [shown, f"*{escape(caption)}*"]
        case FaceRow(faces, caption):
            name = _add(pictures, page.png(side_by_side([pixels for pixels, _ in faces])), "faces", "png")
            under = "; ".join(escape(" ".join(text.split())) for _, text in faces)
            return [f"*{escape(caption)}*", _image(caption, folder, name), under]
        case Fold(summary, inside):
            opening = f"<details><summary>{page.escape(summary)}</summary>"  # GitHub and most viewers fold it
            return [opening, *_blocks(inside, folder, pictures), "</details>"]


def escape(text: str) -> str:
    """Text that stays what it is inside a line: no markup, no HTML."""
    line = " ".join(page.UNPRINTABLE.sub("\ufffd", text).split())
    return HTML.sub(lambda found: str(page.escape(found[0])), SPECIAL.sub(r"\\\g<0>", line))


def _point(point: Point) -> str:
    lead = f"**{escape(point.lead)}** " if point.lead else ""
    return f"{lead}{escape(point.text)}" + (f" `{point.command}`" if point.command else "")


def _image(alt: str, folder: str, name: str) -> str:
    return f"![{escape(alt)}](<{folder}/{name}>)"


def _add(pictures: dict[str, bytes], content: bytes, kind: str, suffix: str) -> str:
    name = f"{kind}-{1 + sum(other.startswith(kind) for other in pictures):02}.{suffix}"
    pictures[name] = content
    return name


def _table(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [[escape(cell) for cell in row] for row in [headers, *rows]]
    right = [page.numeric(row[i] for row in rows) for i in range(len(headers))]
    lines.insert(1, ["---:" if numbers else "---" for numbers in right])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _matrix(block: Matrix) -> str:
    images = block.counts.sum(axis=1)
    share = block.counts / np.maximum(images, 1)[:, None]
    rows = [
        [
            name,
            *(f"{percent(share[i, j])} ({block.counts[i, j]:,})" for j in range(len(block.classes))),
            f"{images[i]:,}",
            "–" if math.isnan(block.recall[i]) else f"{block.recall[i]:.3f}",
        ]
        for i, name in enumerate(block.classes)
    ]
    return _table(["true class", *block.classes, "images", "recall"], rows)


def side_by_side(faces: Sequence[np.ndarray]) -> np.ndarray:
    """uint8 (H, W): the faces in rows of FACES_A_ROW, on white."""
    step = SIZE + GAP
    rows = math.ceil(len(faces) / FACES_A_ROW)
    sheet = np.full((rows * step - GAP, min(len(faces), FACES_A_ROW) * step - GAP), 255, np.uint8)
    for i, face in enumerate(faces):
        top, left = (place * step for place in divmod(i, FACES_A_ROW))
        sheet[top : top + SIZE, left : left + SIZE] = face
    return sheet
