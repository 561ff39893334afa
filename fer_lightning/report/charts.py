"""Line charts against epoch as SVG: small, without scripts, readable in light and dark, each line with its numbers.

A `<path>` that shows a run's column carries them as data-run, data-column and data-values (an epoch each, from 1,
empty where unknown). Hovering over a chart shows the values of the epoch under the pointer.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_lightning.results.axes import y_range
from fer_lightning.results.page import escape

WIDTH, PLOT_HEIGHT = 460, 220  # units of the SVG, pixels at its natural size
LEFT, RIGHT, BOTTOM = 58, 14, 42
HEAD, LEGEND_ROW = 26, 18
LETTER = 6.6  # mean width of a letter in the legend
COLUMNS = 50  # at most so many places to hover over
# Okabe and Ito's colours, which colour-blind readers can tell apart; darker on white and paler on black, so that thin
# lines keep a contrast of 3:1. Yellow, which vanishes on white, is left out.
LIGHT = ("#0072b2", "#c95000", "#008762", "#b0528a", "#9a6a00", "#2b8fc7", "#33383f")
DARK = ("#5cb3ef", "#ff8b45", "#2fc79b", "#e79ac7", "#f0b840", "#a5d5ff", "#d6dbe1")


def _variables(colours: Sequence[str]) -> str:
    return " ".join(f"--c{i}: {colour};" for i, colour in enumerate(colours))


COLOURS = (
    f":root {{ {_variables(LIGHT)} }}\n"
    f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(DARK)} }} }}\n"
)
CSS = (
    COLOURS
    + """
.chart { display: block; width: 100%; height: auto; font: 12px system-ui, "Liberation Sans", sans-serif; }
.chart text { fill: currentColor; }
.chart .head { font-size: 13.5px; font-weight: 600; }
.chart .grid { stroke: currentColor; stroke-opacity: .15; }
.chart .axis { stroke: currentColor; stroke-opacity: .6; }
.chart path { fill: none; stroke-width: 1.8; stroke-linejoin: round; stroke-linecap: round; }
.chart .faint { stroke-width: 1; stroke-opacity: .45; }
.chart .mark { stroke-width: 1.2; stroke-dasharray: 3 3; }
.chart .column { fill: currentColor; fill-opacity: 0; }
.chart .column:hover { fill-opacity: .1; }
"""
)
# On its own, a picture beside a Markdown file
STANDALONE = "svg { color: #1c1e21; } @media (prefers-color-scheme: dark) { svg { color: #e4e7eb; } }\n" + CSS


@dataclass(frozen=True)
class Line:
    """values: one an epoch, from 1; NaN leaves a gap. name: what the legend says, once for all lines of the name.

    faint: stands behind a bolder line, as one of the runs behind their mean. run, column: whose numbers these are.
    """

    name: str
    values: Sequence[float]
    colour: int
    faint: bool = False
    run: str = ""
    column: str = ""


@dataclass(frozen=True)
class Chart:
    """marks: (epoch, colour, text) of vertical lines."""

    title: str
    y_label: str
    lines: Sequence[Line]
    marks: Sequence[tuple[float, int, str]] = ()


def svg(chart: Chart, standalone: bool = False) -> str:
    """The chart as an <svg> element; `standalone` as a file of its own."""
    longest = max((len(line.values) for line in chart.lines), default=1)
    low, high, highest = y_range(np.concatenate([np.asarray(line.values, np.float64) for line in chart.lines]))
    plot_width = WIDTH - LEFT - RIGHT

    def x(epoch: float) -> float:
        return (epoch - 1) / max(1, longest - 1) * plot_width if longest > 1 else plot_width / 2

    def y(value: float) -> float:
        return (high - value) / (high - low) * PLOT_HEIGHT

    legend, top = _legend(chart, HEAD)
    parts = [f'<text class="head" x="{LEFT}" y="16">{escape(chart.title)}</text>', *legend]
    for value, text in ticks(low, high):
        at = top + y(value)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">{text}</text>')
    for epoch in epoch_ticks(longest):
        at = LEFT + x(epoch)
        parts.append(
            f'<line class="axis" x1="{at:.1f}" x2="{at:.1f}" y1="{top + PLOT_HEIGHT}" y2="{top + PLOT_HEIGHT + 4}"/>'
        )
        parts.append(f'<text x="{at:.1f}" y="{top + PLOT_HEIGHT + 17}" text-anchor="middle">{epoch}</text>')
    parts.append(
        f'<line class="axis" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{top + PLOT_HEIGHT}" y2="{top + PLOT_HEIGHT}"/>'
    )
    middle = LEFT + plot_width / 2
    parts.append(f'<text x="{middle:.0f}" y="{top + PLOT_HEIGHT + 34}" text-anchor="middle">epoch</text>')
    label = chart.y_label if highest is None else f"{chart.y_label} (axis cut, highest {highest:.3g})"
    turned = f'transform="translate(11 {top + PLOT_HEIGHT / 2:.0f}) rotate(-90)"'
    parts.append(f'<text {turned} text-anchor="middle">{escape(label)}</text>')
    # an <svg> inside clips what leaves the plot, without an id that would have to be unique on the page
    parts.append(f'<svg x="{LEFT}" y="{top}" width="{plot_width}" height="{PLOT_HEIGHT}">')
    for onset, colour, text in chart.marks:
        at = x(onset)
        end = at > plot_width / 2
        parts.append(
            f'<line class="mark" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{PLOT_HEIGHT}" stroke="var(--c{colour})"/>'
        )
        anchor = ' text-anchor="end"' if end else ""
        parts.append(f'<text x="{at + (-5 if end else 5):.1f}" y="13"{anchor}>{escape(text)}</text>')
    parts += [_path(line, x, y) for line in sorted(chart.lines, key=lambda line: not line.faint)]
    parts += _hover(chart, longest, x, plot_width)
    parts.append("</svg>")
    height = top + PLOT_HEIGHT + BOTTOM
    own = f' xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}"' if standalone else ""
    style = f"<style>{STANDALONE}</style>\n" if standalone else ""
    opening = f'<svg{own} class="chart" viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(chart.title)}">'
    return "\n".join([opening + style, *parts, "</svg>"]) + "\n"


def ticks(low: float, high: float) -> list[tuple[float, str]]:
    """Round values between the ends, about three to eight of them, with their texts."""
    raw = (high - low) / 8
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= raw)
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first = math.ceil(low / step - 1e-9)
    values = [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]
    return [(value, f"{value:.{digits}f}") for value in values]


def epoch_ticks(longest: int) -> list[int]:
    """Epoch 1 and round ones after it."""
    step = next(n * 10**p for p in range(9) for n in (1, 2, 5) if longest / (n * 10**p) <= 8)
    return sorted({1, *(epoch for epoch in range(step, longest + 1, step) if epoch - 1 >= step / 2 or epoch == 1)})


def _legend(chart: Chart, top: int) -> tuple[list[str], int]:
    """An entry a name, in as many rows as they need, and where the plot can begin."""
    names = {line.name: line.colour for line in chart.lines if not line.faint}
    parts: list[str] = []
    x = float(LEFT)
    for name, colour in names.items():
        width = 22 + LETTER * len(name) + 14
        if x > LEFT and x + width > WIDTH:
            x, top = float(LEFT), top + LEGEND_ROW
        parts.append(f'<path d="M{x:.0f} {top + 4}h16" stroke="var(--c{colour})"/>')
        parts.append(f'<text x="{x + 22:.0f}" y="{top + 8}">{escape(name)}</text>')
        x += width
    return parts, top + LEGEND_ROW


def _path(line: Line, x, y) -> str:
    pieces, pen_down = [], False
    for epoch, value in enumerate(line.values, start=1):
        if math.isfinite(value):
            pieces.append(f"{'L' if pen_down else 'M'}{x(epoch):.1f} {y(value):.1f}{'' if pen_down else 'h0'}")
        pen_down = math.isfinite(value)
    data = ""
    if line.run:
        numbers = ",".join(f"{value:.5g}" if math.isfinite(value) else "" for value in line.values)
        data = f' data-run="{escape(line.run)}" data-column="{escape(line.column)}" data-values="{numbers}"'
    kind = ' class="faint"' if line.faint else ""
    return f'<path{kind} d="{"".join(pieces)}" stroke="var(--c{line.colour})"{data}/>'


def _hover(chart: Chart, longest: int, x, plot_width: float) -> list[str]:
    shown = [line for line in chart.lines if not line.faint]
    step = math.ceil(longest / COLUMNS)
    width = plot_width / math.ceil(longest / step)
    parts = []
    for epoch in range(1, longest + 1, step):
        lines = [
            f"{line.name}: {line.values[epoch - 1]:.4g}"
            for line in shown
            if epoch <= len(line.values) and math.isfinite(line.values[epoch - 1])
        ]
        title = escape("\n".join([f"epoch {epoch}", *lines]))
        at = x(epoch) - width / 2
        place = f'x="{at:.1f}" y="0" width="{width:.1f}" height="{PLOT_HEIGHT}"'
        parts.append(f'<rect class="column" {place}><title>{title}</title></rect>')
    return parts
