"""Pictures of a report: drawn by `results.figures`, with their numbers as a table beside them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

from markupsafe import Markup, escape
from matplotlib.figure import Figure

from fer_lightning.report.study import Study
from fer_lightning.results import figures
from fer_lightning.results.conditions import Condition, Quantity, per_epoch
from fer_lightning.results.words import size, spread

EPOCHS_LISTED = (1, 2, 3, 5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1000)


@dataclass(frozen=True)
class Picture:
    """svg: the picture. headers, rows: what it shows, in numbers."""

    title: str
    svg: Markup
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Curve:
    """One quantity of a condition's runs against another."""

    label: str
    condition: Condition
    of: Quantity
    dashed: bool = False
    against: Quantity = "epoch"


def picture(figure: Figure, title: str, headers: Sequence[str], rows: Sequence[Sequence[str]]) -> Picture:
    name = f"{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}-{crc32(title.encode(errors='replace')):x}"
    return Picture(title, Markup(figures.svg(figure, name, str(escape(title)))), headers, rows)


def lines(
    study: Study,
    title: str,
    y_label: str,
    curves: Sequence[Curve],
    *,
    x_label: str = "epoch",
    marks: Sequence[tuple[float, str, str]] = (),
) -> Picture:
    """Curves as lines, seeds thin behind their mean; the table has each at some epochs."""
    drawn = []
    for curve in curves:
        condition = curve.condition
        style, runs = study.styles[condition.setting], condition.runs
        if len(runs) > 1:
            each = [(per_epoch(run, curve.against), per_epoch(run, curve.of)) for run in runs]
            drawn += [figures.Line("", x, y, style, curve.dashed, faint=True) for x, y in each]
        x, y = condition.mean_curve(curve.against), condition.mean_curve(curve.of)
        drawn.append(figures.Line(curve.label, x, y, style, curve.dashed))
    last = max(curve.condition.epochs for curve in curves)
    rows = [
        (str(epoch), *(_cell(curve, epoch) for curve in curves))
        for epoch in (*(epoch for epoch in EPOCHS_LISTED if epoch < last), last)
    ]
    chart = figures.chart(drawn, title=title, y_label=y_label, x_label=x_label, marks=marks, synthetic=study.synthetic)
    return picture(chart, title, ("epoch", *(curve.label for curve in curves)), rows)


def _cell(curve: Curve, epoch: int) -> str:
    if epoch > curve.condition.epochs:
        return ""
    value = spread([float(per_epoch(run, curve.of)[epoch - 1]) for run in curve.condition.runs])
    if curve.against == "epoch":
        return value
    return f"{value} after {size(curve.condition.mean_curve(curve.against)[epoch - 1])}"
