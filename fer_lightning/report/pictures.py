"""Pictures of a report: drawn by `results.figures`, with their numbers as a table beside them."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from fer_lightning.report.study import Study
from fer_lightning.results import figures
from fer_lightning.results.conditions import Condition
from fer_lightning.results.run_folder import Run
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
    """A column of metrics.csv, or what `of` makes of a run, against epoch or against `against`."""

    label: str
    condition: Condition
    of: str | Callable[[Run], np.ndarray]
    dashed: bool = False
    against: Callable[[Run], np.ndarray] | None = None

    def values(self, run: Run) -> np.ndarray:
        return run.epochs[self.of].to_numpy(np.float64) if isinstance(self.of, str) else self.of(run)

    def mean(self, what: Callable[[Run], np.ndarray]) -> np.ndarray:
        """Over the runs, as far as all go."""
        return np.mean([what(run)[: self.condition.epochs] for run in self.condition.runs], axis=0)


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
        style, runs = study.styles[curve.condition.setting], curve.condition.runs
        against = curve.against or (lambda run: run.epochs["epoch"].to_numpy(np.float64))
        if len(runs) > 1:
            drawn += [
                figures.Line("", against(run), curve.values(run), style, curve.dashed, faint=True) for run in runs
            ]
        x, y = curve.mean(against), curve.mean(curve.values)
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
    value = spread([float(curve.values(run)[epoch - 1]) for run in curve.condition.runs])
    return value if curve.against is None else f"{value} after {size(curve.mean(curve.against)[epoch - 1])}"
