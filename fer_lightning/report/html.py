"""A report as one self-contained HTML page."""

import math
from collections.abc import Sequence

import numpy as np

from fer_lightning.report import charts
from fer_lightning.report.blocks import Block, Bullets, Charts, Code, FaceRow, Fold, Heading, Matrix, Point, Table, Text
from fer_lightning.report.words import percent
from fer_lightning.results import page
from fer_lightning.results.page import escape

CSS = (
    charts.CSS
    + """
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: .5rem 1rem; }
.charts .chart { max-width: 34rem; }
.charts + figcaption { margin-top: .25rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1.25rem; font-size: .925rem; }
h4 { font-size: .95rem; margin: 1.25rem 0 .5rem; }
details { margin: .5rem 0; }
summary { cursor: pointer; color: var(--accent); font-size: .925rem; }
li { margin: .25rem 0; }
.matrix td, .matrix th { text-align: center; padding: .35rem .5rem; border: 2px solid var(--page); }
.matrix th[scope=row] { text-align: right; font-weight: 400; vertical-align: middle; }
.matrix td { white-space: nowrap; print-color-adjust: exact; }
.matrix small { display: block; opacity: .75; }
@media print { .charts { grid-template-columns: 1fr 1fr; } summary { color: inherit; } .chart { break-inside: avoid; } }
"""
)


def render(blocks: Sequence[Block], marker: str) -> str:
    """The page. The first block is its title, a Heading of level 1; `marker` is a comment that says what made it."""
    title, rest = blocks[0], blocks[1:]
    assert isinstance(title, Heading)
    sections = [block.text for block in rest if isinstance(block, Heading) and block.level == 2]
    links = "".join(f'<a href="#s{i}">{escape(text)}</a>' for i, text in enumerate(sections, start=1))
    body = _body(rest)
    for i, text in enumerate(sections, start=1):
        body = body.replace(f"<h2>{escape(text)}</h2>", f'<h2 id="s{i}">{escape(text)}</h2>', 1)
    return page.document(title.text, f"<!-- {marker} -->\n<nav>{links}</nav>\n{body}", CSS)


def _body(blocks: Sequence[Block]) -> str:
    return "\n".join(_block(block) for block in blocks)


def _block(block: Block) -> str:
    match block:
        case Heading(text, level):
            return f"<h{level}>{escape(text)}</h{level}>"
        case Text(text, warning):
            return f'<p class="warning">{escape(text)}</p>' if warning else f"<p>{escape(text)}</p>"
        case Bullets(points):
            return "<ul>\n" + "\n".join(f"<li>{_point(point)}</li>" for point in points) + "\n</ul>"
        case Code(text):
            return f"<pre>{escape(text)}</pre>"
        case Table(headers, rows, caption):
            return page.table(headers, rows, caption)
        case Matrix():
            return _matrix(block)
        case Charts(drawn, caption):
            inside = "".join(charts.svg(chart) for chart in drawn)
            return f'<figure><div class="charts">{inside}</div><figcaption>{escape(caption)}</figcaption></figure>'
        case FaceRow(faces, caption):
            return f'<p class="soft">{escape(caption)}</p>\n{page.faces(faces)}'
        case Fold(summary, inside):
            return f"<details><summary>{escape(summary)}</summary>\n{_body(inside)}</details>"


def _point(point: Point) -> str:
    lead = f"<strong>{escape(point.lead)}</strong> " if point.lead else ""
    return f"{lead}{escape(point.text)}" + (f" <code>{escape(point.command)}</code>" if point.command else "")


def _matrix(block: Matrix) -> str:
    """Percentages are shares of the row; the tint is deeper by their square root, which shows the smaller ones too."""
    images = block.counts.sum(axis=1)
    share = block.counts / np.maximum(images, 1)[:, None]
    heads = ["true class", *block.classes, "images", "recall"]
    rows = []
    for i, name in enumerate(block.classes):
        cells = [
            f'<td style="background: color-mix(in srgb, var(--c0) {0.55 * share[i, j] ** 0.5:.0%}, transparent)">'
            f"{percent(share[i, j])}<small>{block.counts[i, j]:,}</small></td>"
            for j in range(len(block.classes))
        ]
        recall = "–" if math.isnan(block.recall[i]) else f"{block.recall[i]:.3f}"
        rows.append(
            f'<tr><th scope="row">{escape(name)}</th>{"".join(cells)}<td>{images[i]:,}</td><td>{recall}</td></tr>'
        )
    head = "".join(f'<th scope="col">{escape(name)}</th>' for name in heads)
    return (
        f'<p class="caption">{escape(block.caption)}</p>\n<div class="scroll" tabindex="0"><table class="matrix">'
        f"<thead><tr>{head}</tr></thead><tbody>\n" + "\n".join(rows) + "\n</tbody></table></div>"
    )
