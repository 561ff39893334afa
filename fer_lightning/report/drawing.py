"""How the parts of a report draw and list the curves of a condition."""

from fer_lightning.report.charts import Line
from fer_lightning.results.conditions import Condition

EPOCHS_LISTED = (1, 2, 3, 5, 10, 15, 20, 30, 50, 75, 100, 150, 200, 250, 300, 400, 500, 750, 1000)


def epochs_listed(last: int) -> list[int]:
    """The epochs that a table of curves shows."""
    return [*(epoch for epoch in EPOCHS_LISTED if epoch < last), last]


def axis_label(name: str) -> str:
    """Of a chart of `training loss`, `accuracy`, …"""
    return "loss (cross-entropy)" if name.endswith("loss") else "accuracy"


def lines_of(condition: Condition, column: str, name: str, colour: int) -> list[Line]:
    """A line a run and, where there are several, their mean in front of them."""
    several = len(condition.runs) > 1
    lines = [
        Line(name, run.epochs[column].tolist(), colour, faint=several, run=run.name, column=column)
        for run in condition.runs
    ]
    return [*lines, Line(name, condition.mean_curve(column).tolist(), colour)] if several else lines


def thin_lines(*conditions: Condition) -> str:
    """What a caption says of charts in which some condition has several runs."""
    several = any(len(condition.runs) > 1 for condition in conditions)
    return " Thin lines are single seeds, the thick line is their mean." if several else ""
