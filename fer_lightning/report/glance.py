"""At a glance: every setting's accuracy on one axis, and the study's questions with their answers."""

import math
from collections.abc import Iterable
from statistics import fmean
from typing import Any

from fer_lightning.report import ablation, confusions, curves, networks, published
from fer_lightning.report.pictures import Picture, picture
from fer_lightning.report.study import Study
from fer_lightning.results import figures
from fer_lightning.results.conditions import TESTS, Condition
from fer_lightning.results.scores import wilson_interval
from fer_lightning.results.words import interval, number

VALIDATION = ("val_acc", "validation images")


def section(study: Study, ablations: Iterable[ablation.Ablation]) -> dict[str, Any]:
    answers = [networks.answer(study), curves.answer(study), *ablation.answers(study, ablations)]
    answers += confusions.answers(study)
    return {"picture": _accuracies(study), "answers": answers, "questions": published.QUESTIONS}


def _accuracies(study: Study) -> Picture:
    """On the first test split that any run has, the unseen images beside all; where there is none, on validation."""
    tests = [(score, name) for score, name in TESTS.items() if any(_has(c, score) for c in study.conditions)]
    test, name = (*tests, VALIDATION)[0]
    rows: list[tuple[str, figures.Style, list[figures.Dot]]] = []
    cells = []
    for condition in study.conditions:
        score = test if _has(condition, test) else VALIDATION[0]
        found = condition.summary
        dots = [figures.Dot(found[score], found[f"{score}_lo"], found[f"{score}_hi"], filled=True)]
        if _has(condition, f"{score}_unseen"):
            bounds = _unseen_interval(condition, score)
            dots.append(figures.Dot(found[f"{score}_unseen"], *bounds, filled=False))
        held_out = "PublicTest as validation" if condition.keys.get("data.val_split") == "public" else "validation"
        label = condition.title + (f" ({held_out})" if score == VALIDATION[0] else "")
        rows.append((label, study.styles[condition.setting], dots))
        cells.append((label, *(text for dot in dots for text in (number(dot.value), interval(dot[1:3])))))
    marked = [(low, high, text) for network, low, high, text in published.MARKED if network in ("", *study.networks)]
    if study.synthetic:
        marked = []
    title, names = f"Accuracy on {name}", ("all images", "images not also in Training")
    figure = figures.dots(rows, marked, title=title, names=names, synthetic=study.synthetic)
    width = max(map(len, cells))
    cells += [(text, interval((low, high))) for low, high, text in marked]
    padded = [(*row, *[""] * (width - len(row))) for row in cells]
    return picture(figure, title, ("setting", name, "95 %", "unseen", "95 %")[:width], padded)


def _has(condition: Condition, score: str) -> bool:
    return not math.isnan(condition.summary.get(score, math.nan))


def _unseen_interval(condition: Condition, score: str) -> tuple[float, float]:
    """Wilson's, the mean of its bounds over the runs; NaN where a run does not say how many images they are."""
    key = score.removesuffix("_acc")
    made = [(run.metrics[f"{score}_unseen"], run.metrics.get(f"{key}_unseen_n")) for run in condition.runs]
    bounds = [wilson_interval(round(acc * n), n) for acc, n in made if acc is not None and n]
    if len(bounds) < len(made):
        return math.nan, math.nan
    return fmean(low for low, _ in bounds), fmean(high for _, high in bounds)
