"""What was measured, as lines of a table: in the terminal (100 columns), as Markdown, as JSON."""

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

HEADS = ("what", "median", "min–max", "n", "bar", "met", "ours : the other")
WIDTHS = (35, 7, 13, 2, 9, 3, 25)


@dataclass(frozen=True)
class Bar:
    """What the median should reach: at least `low`, at most `high`."""

    low: float | None = None
    high: float | None = None

    def met(self, value: float) -> bool:
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True)
class Line:
    """One line: `values` are the figures of single pairs or runs, `raw` what they were made from.

    unit: "×" for ratios, "s" for seconds. note: for the last column.
    """

    row: str
    what: str
    values: Sequence[float]
    unit: str = "×"
    bar: Bar | None = None
    note: str = ""
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def met(self) -> bool | None:
        return None if self.bar is None else self.bar.met(self.median)

    def cells(self) -> tuple[str, ...]:
        low, high = min(self.values), max(self.values)
        verdict = {None: "", True: "yes", False: "NO"}[self.met]
        spread = f"{_figure(low)}–{_figure(high)}"
        return (
            self.what,
            f"{_figure(self.median)}{self._unit}",
            spread,
            str(len(self.values)),
            self.wanted(),
            verdict,
            self.note,
        )

    def wanted(self) -> str:
        """The bar in a few characters."""
        if self.bar is None:
            return ""
        low, high = self.bar.low, self.bar.high
        if low is not None and high is not None:
            return f"{low:g}–{high:g}"
        return f"≥ {low:g}{self._unit}" if low is not None else f"≤ {high:g}{self._unit}"

    @property
    def _unit(self) -> str:
        return self.unit if self.unit in ("×", "") else f" {self.unit}"

    def record(self) -> dict[str, Any]:
        return {**asdict(self), "median": self.median, "met": self.met}


def in_columns(cells: Sequence[str]) -> str:
    """A line of the terminal's table, in 100 columns."""
    aligned = [
        f"{cell:{'>' if 0 < column < 4 else '<'}{width}}"
        for column, (cell, width) in enumerate(zip(cells, WIDTHS, strict=True))
    ]
    return " ".join(aligned).rstrip()


def markdown(lines: Iterable[Line]) -> str:
    rows = [HEADS, ("---", "--:", "--:", "--:", "---", "---", "---"), *(line.cells() for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def verdicts(lines: Sequence[Line]) -> list[str]:
    """A line a row: whether all its bars are met, else which are not."""
    texts = []
    for row in dict.fromkeys(line.row for line in lines):
        missed = [line for line in lines if line.row == row and line.met is False]
        judged = [line for line in lines if line.row == row and line.bar is not None]
        listed = "; ".join(f"{line.what} {line.cells()[1]} ({line.wanted()})" for line in missed)
        texts.append(f"{row:<8} " + (f"MISSED: {listed}" if missed else "met" if judged else "no bar"))
    return texts


def _figure(value: float) -> str:
    """Three digits or more."""
    decimals = 3 if value < 2 else 2 if value < 10 else 1 if value < 1000 else 0
    return f"{value:,.{decimals}f}"
