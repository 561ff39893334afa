"""The study's four questions, each with one word for what was measured of its answer."""

from dataclasses import dataclass
from typing import Any

from fer_lightning.report import published
from fer_lightning.report.study import Study

CONFIRMED, CONTRADICTED, UNDECIDED = "confirmed", "contradicted", "undecided"
TOO_EARLY, NOT_RUN, SYNTHETIC = "too early", "not run", "synthetic faces"


@dataclass(frozen=True)
class Answer:
    """kind: of published.QUESTIONS. word: one of the above. numbers: what the template of `kind` says in a sentence."""

    kind: str
    word: str
    network: str = ""
    numbers: Any = None


def word(study: Study, epochs: int, found: str) -> str:
    """`found`, unless the runs are too short, or about other faces, to say anything of the study."""
    if study.synthetic:
        return SYNTHETIC
    return TOO_EARLY if epochs < published.EPOCHS / 10 else found
