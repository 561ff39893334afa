"""At a glance: every setting's accuracy on one axis, and the study's questions with their answers."""

import math
from collections.abc import Iterable
from typing import Any

from fer_lightning.report import ablation, confusions, curves, networks, published
from fer_lightning.report.pictures import Picture, picture
from fer_lightning.report.study import Study
from fer_lightning.results import figures
from fer_lightning.results.conditions import TESTS, Condition
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
        shown = [each for each in (score, f"{score}_unseen") if _has(condition, each)]
        dots = [figures.Dot(found[e], found[f"{e}_lo"], found[f"{e}_hi"], filled=e == score) for e in shown]
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
