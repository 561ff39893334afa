"""What a report is made of, in order, whatever it is written as. All strings are plain text."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_lightning.report.charts import Chart


@dataclass(frozen=True)
class Heading:
    text: str
    level: int = 2  # 1 is the report's title


@dataclass(frozen=True)
class Text:
    text: str
    warning: bool = False


@dataclass(frozen=True)
class Point:
    """lead: stands out, before the text. command: to be typed, after it."""

    text: str
    lead: str = ""
    command: str = ""


@dataclass(frozen=True)
class Bullets:
    points: Sequence[Point]


@dataclass(frozen=True)
class Code:
    text: str


@dataclass(frozen=True)
class Table:
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: counts int (C, C), rows = true class; recall float (C,), NaN for a class without images."""

    counts: np.ndarray
    recall: np.ndarray
    classes: Sequence[str]
    caption: str


@dataclass(frozen=True)
class Charts:
    """Charts that belong together, side by side where there is room."""

    charts: Sequence[Chart]
    caption: str


@dataclass(frozen=True)
class FaceRow:
    """Faces, uint8 (48, 48) each, with what stands under it."""

    faces: Sequence[tuple[np.ndarray, str]]
    caption: str


@dataclass(frozen=True)
class Fold:
    """What only some readers want: closed at first where the form allows."""

    summary: str
    blocks: Sequence["Block"]


Block = Heading | Text | Bullets | Code | Table | Matrix | Charts | FaceRow | Fold
