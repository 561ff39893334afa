"""Loss and accuracy against epoch, and where overfitting begins."""

import math
from collections.abc import Iterable
from statistics import median
from typing import Any

from fer_lightning.report import published
from fer_lightning.report.pictures import Curve, Picture, lines
from fer_lightning.report.study import CONFIRMED, CONTRADICTED, NOT_RUN, UNDECIDED, Answer, Study, word
from fer_lightning.results import scores
from fer_lightning.results.conditions import Condition
from fer_lightning.results.figures import PANELS
from fer_lightning.results.words import count

NEAR = 0.2  # an onset this share before or after the study's is near it


def section(study: Study, elsewhere: Iterable[Condition]) -> dict[str, Any]:
    """main: of what stands for each network. others: of conditions that are not drawn elsewhere either."""
    drawn = [*study.mains.values(), *elsewhere]
    others = [c for c in study.conditions if not any(c is other for other in drawn)]
    return {
        "main": [(c, pictures(study, c)) for c in study.mains.values()],
        "others": [(c, pictures(study, c)) for c in others],
        "published": published.ONSETS,
    }


def answer(study: Study) -> Answer:
    cnn = study.mains.get("cnn")
    if cnn is None:
        return Answer("onset", NOT_RUN, numbers=[*study.mains.values()])
    return Answer("onset", word(study, cnn.epochs, _near(cnn)), numbers=[*study.mains.values()])


def _near(cnn: Condition) -> str:
    low, high = published.ONSET * (1 - NEAR), published.ONSET * (1 + NEAR)
    found = cnn.summary["overfitting_epoch"]
    if math.isnan(found):
        return CONTRADICTED if cnn.epochs > high else UNDECIDED
    return CONFIRMED if low <= found <= high else CONTRADICTED


def in_words(condition: Condition) -> str:
    """Where overfitting begins, by seed where there are several."""
    last, found = condition.epochs, [onset for onset in condition.onsets if onset is not None]
    if last < scores.ONSET_EPOCHS:
        return f"overfitting is not looked for in {count(last, 'epoch')}"
    by_seed = ", ".join("none" if epoch is None else str(epoch) for epoch in condition.onsets)
    seeds = f" (by seed {by_seed})" if len(condition.runs) > 1 else ""
    if not found:
        return f"no overfitting within {last} epochs"
    if len(found) < len(condition.runs):
        return f"overfitting in {len(found)} of {len(condition.runs)} seeds{seeds}"
    return f"overfitting from epoch {median(found):g} of {max(len(run.epochs) for run in condition.runs)}{seeds}"


def pictures(study: Study, condition: Condition) -> list[Picture]:
    onset = condition.summary["overfitting_epoch"]
    colour = study.styles[condition.setting].colour
    marks = [] if math.isnan(onset) else [(onset, colour, f"overfitting from {onset:g}")]
    return [
        lines(
            study,
            f"{condition.title}: {name.partition(' ')[0]}",
            name,
            [
                Curve("training", condition, train, dashed=True),
                Curve("validation", condition, val),
            ],
            marks=marks,
        )
        for train, val, name in PANELS
    ]
