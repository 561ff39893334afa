"""What a network's answers on a split depend on: mean maps of the classes and the surest errors; files and pictures.

Maps are those of `results/maps.py`: float (48, 48), at least 0 and of sum 1.
"""

import io
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Polygon

from fer_lightning.data.faces import CLASSES
from fer_lightning.errors import UserError
from fer_lightning.results import figures
from fer_lightning.results.files import write_file, write_json

FILES = FACTS, ARRAYS, MEANS, ERRORS = ("explanation.json", "maps.npz", "mean_maps.png", "errors.png")
REGIONS = {"brows and eyes": slice(0, 23), "nose": slice(23, 32), "mouth and chin": slice(32, 48)}  # rows, usual faces
MEANING = (
    "A map shows which pixels this network's answer depends on. It is no proof that the answer is right, nor of what "
    "a person feels; where two maps disagree, trust neither."
)
BRIGHT = 0.995  # the share of a map's pixels below full colour


@dataclass(frozen=True)
class Explanation:
    """Of one split.

    facts: explanation.json. kinds: the K names of the maps.
    mean_faces, float32 (7, 48, 48), and means, float32 (K, 7, 48, 48): of each class's images that are recognized,
        `counts`, int (7,), of them; 0 where there is none.
    The surest errors, identical photographs once: faces, uint8 (E, 48, 48), and maps, float32 (K, E, 48, 48), for the
        predicted class; their rows in the data, targets and predicted classes, int64 (E,), and its probability.
    """

    facts: dict[str, Any]
    counts: np.ndarray
    mean_faces: np.ndarray
    means: np.ndarray
    faces: np.ndarray
    maps: np.ndarray
    rows: np.ndarray
    targets: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray

    @property
    def kinds(self) -> list[str]:
        return self.facts["maps"]

    def error_captions(self) -> list[str]:
        found = zip(self.targets, self.predicted, self.confidence, self.rows, strict=True)
        return [f"{CLASSES[a]}\n→ {CLASSES[b]} {p:.2f}\nrow {row}" for a, b, p, row in found]

    def shares(self, kind: int) -> np.ndarray:
        """float (7, 3): how much of each class's mean map lies in each of REGIONS."""
        found = np.stack([self.means[kind][:, rows].sum((1, 2)) for rows in REGIONS.values()], axis=1)
        return found / np.maximum(found.sum(1, keepdims=True), 1e-12)  # a map of Grad-CAM may be 0 everywhere


AREAS = [(rows.stop - rows.start) / 48 for rows in REGIONS.values()]  # what an even map has in REGIONS


def write(found: Explanation, folder: Path, *, title: str) -> None:
    """FILES, in a folder that is there."""
    arrays = {name: value for name, value in vars(found).items() if name != "facts"}
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_file(folder / ARRAYS, content.getvalue())
    synthetic = found.facts["synthetic"]
    figures.save(mean_maps(found, title=title, synthetic=synthetic), folder / MEANS)
    figures.save(surest_errors(found, title=title, synthetic=synthetic), folder / ERRORS)
    shares: dict[str, dict[str, dict[str, float]]] = {}
    for i, kind in enumerate(found.kinds):
        rows = (dict(zip(REGIONS, map(float, row), strict=True)) for row in found.shares(i))
        shares[kind] = dict(zip(CLASSES, rows, strict=True))
    write_json(folder / FACTS, {**found.facts, "shares": shares})  # the last: where it is, all are


def read(folder: Path) -> Explanation | None:
    """What `write` wrote there; None where it did not. UserError where it is broken."""
    if not (folder / FACTS).is_file():
        return None
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        with np.load(folder / ARRAYS) as arrays:
            return Explanation(facts, **arrays)
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(f"{folder}: no explanation that can be read ({error}); make it again, or remove it") from None


def to_text(found: Explanation) -> str:
    """How much of each class's mean maps lies in REGIONS, as a table."""
    lines = [f"{'':<10}{'images':>7}" + "".join(f"{f'{kind}:':>14}{'':24}" for kind in found.kinds)]
    lines += [" " * 17 + "".join(f"{name:>16}" for name in REGIONS) * len(found.kinds)]
    shares = np.concatenate([found.shares(i) for i in range(len(found.kinds))], axis=1)
    for name, count, row in zip(CLASSES, found.counts, shares, strict=True):
        lines.append(f"{name:<10}{count:>7,}" + "".join(f"{share:>16.2f}" for share in row))
    lines.append(f"{'evenly':<17}" + "".join(f"{share:>16.2f}" for share in AREAS) * len(found.kinds))
    return "\n".join(line.rstrip() for line in lines)


# --- pictures


def overlay(face: np.ndarray, map_: np.ndarray, most: float | None = None) -> np.ndarray:
    """uint8 (48, 48, 3): a gray face (48, 48), 0–255, coloured where its map is high, fully at `most`."""
    most = float(np.quantile(map_, BRIGHT)) if most is None else most
    height = np.clip(map_ / max(most, 1e-12), 0, 1)
    colour = 255 * matplotlib.colormaps["plasma"](height)[..., :3]
    cover = 0.8 * height[..., None] ** 2  # what is low leaves the face as it is
    return (face[..., None] * (1 - cover) + colour * cover).round().astype(np.uint8)


def mean_overlays(found: Explanation, kind: int) -> list[np.ndarray]:
    """The mean faces under their mean maps, all on one scale."""
    most = float(np.quantile(found.means[kind], BRIGHT))
    return [overlay(face, map_, most) for face, map_ in zip(found.mean_faces, found.means[kind], strict=True)]


def mean_maps(found: Explanation, *, title: str, synthetic: bool) -> Figure:
    """A column a class: its mean face, and the mean maps over it."""
    captions = [f"{name}\n{count:,} images" for name, count in zip(CLASSES, found.counts, strict=True)]
    lines = {"mean face": list(found.mean_faces)}
    lines |= {kind: mean_overlays(found, i) for i, kind in enumerate(found.kinds)}
    size, left, top = 1.25, 1.1, 1.0
    sheet = figures.Sheet(left + 7 * (size + 0.1) + 0.15, top + len(lines) * (size + 0.1) + 0.45)
    sheet.head(
        figures.titled(f"{title}: where the answers come from", synthetic), "Means over the images that are recognized"
    )
    for column, caption in enumerate(captions):
        sheet.axes.text(left + column * (size + 0.1), top - 0.05, caption, fontsize=8.5, va="bottom")
    for row, (name, images) in enumerate(lines.items()):
        y = top + row * (size + 0.1)
        sheet.axes.text(0.2, y + size / 2, name, fontsize=9, va="center")
        for column, image in enumerate(images):
            sheet.image(image, left + column * (size + 0.1), y, size)
    sheet.foot(MEANING)
    return sheet.figure


def surest_errors(found: Explanation, *, title: str, synthetic: bool) -> Figure:
    """Three columns of errors, each as the face and its maps over it."""
    size, gap, columns, top = 0.95, 0.06, 3, 0.8
    width = (1 + len(found.kinds)) * (size + gap)
    lines = -(-len(found.faces) // columns)
    sheet = figures.Sheet(columns * (width + 0.9) + 0.3, top + lines * (size + 0.15) + 0.45)
    summary = f"Face, {', '.join(found.kinds)} for the predicted class, →. Most confident errors first."
    sheet.head(figures.titled(f"{title}: the most confident errors", synthetic), summary)
    for place, caption in enumerate(found.error_captions()):
        x, y = 0.2 + place % columns * (width + 0.9), top + place // columns * (size + 0.15)
        images = [found.faces[place], *(overlay(found.faces[place], maps[place]) for maps in found.maps)]
        for step, image in enumerate(images):
            sheet.image(image, x + step * (size + gap), y, size)
        sheet.axes.text(x + width + 0.02, y + size / 2, caption, fontsize=7.5, va="center")
    sheet.foot(MEANING)
    return sheet.figure


class Answer(NamedTuple):
    """One face of a picture.

    corners: float (4, 2), in the picture's pixels, of the square that became `pixels`, uint8 (48, 48).
    maps: by kind, for the class `target`. probabilities: float (7,). word: the class, or "unsure".
    """

    corners: np.ndarray
    pixels: np.ndarray
    maps: dict[str, np.ndarray]
    target: int
    probabilities: np.ndarray
    word: str


def picture_sheet(picture: np.ndarray, answers: Sequence[Answer], *, title: str, limits: str) -> Figure:
    """A picture uint8 (H, W, 3) with its faces framed, and for each the 48×48 face, its maps and its probabilities."""
    wide, size, top = 4.2, 1.5, 0.75  # inches
    high = wide * picture.shape[0] / picture.shape[1]
    high, wide = min(high, 6.0), wide * min(1.0, 6.0 / high)
    kinds = list(answers[0].maps)
    left = 0.2 + 4.2 + 0.3
    sheet = figures.Sheet(
        left + (1 + len(kinds)) * (size + 0.1) + 2.6, top + max(high, len(answers) * (size + 0.35)) + 1.0
    )
    sheet.head(title, "")
    sheet.axes.imshow(picture, extent=(0.2, 0.2 + wide, top + high, top), aspect="auto")
    for number, answer in enumerate(answers, start=1):
        corners = answer.corners * (wide / picture.shape[1]) + (0.2, top)
        sheet.axes.add_patch(Polygon(corners, fill=False, edgecolor="white", linewidth=2.2))
        sheet.axes.add_patch(Polygon(corners, fill=False, edgecolor=figures.WRONG, linewidth=1.2))
        if len(answers) > 1:
            box = {"facecolor": figures.WRONG, "edgecolor": "none", "pad": 1.5}
            x, y = corners[0]
            sheet.axes.text(x, y, str(number), color="white", fontsize=8, va="bottom", bbox=box)
        y = top + (number - 1) * (size + 0.35)
        images = {"the face as the network sees it": answer.pixels}
        images |= {f"{kind}: {CLASSES[answer.target]}": overlay(answer.pixels, m) for kind, m in answer.maps.items()}
        if len(answers) > 1:
            sheet.axes.text(left - 0.15, y + size / 2, str(number), fontsize=9, weight="bold", ha="center", va="center")
        for column, (caption, image) in enumerate(images.items()):
            x = left + column * (size + 0.1)
            sheet.image(image, x, y, size)
            sheet.axes.text(x, y - 0.05, caption, fontsize=6.5, va="bottom")
        _bars(sheet.axes, answer, left + len(images) * (size + 0.1) + 0.1, y, size)
    sheet.foot(f"{MEANING}\n{' '.join(limits.split())}")
    return sheet.figure


def _bars(axes: Axes, answer: Answer, left: float, top: float, height: float) -> None:
    axes.text(left, top - 0.05, answer.word, fontsize=9, weight="bold", va="bottom")
    step, start, full = height / len(CLASSES), left + 0.62, 1.2
    for place, (name, share) in enumerate(zip(CLASSES, answer.probabilities, strict=True)):
        y = top + (place + 0.5) * step
        axes.text(left, y, name, fontsize=8, va="center")
        axes.barh(y, full * share, 0.75 * step, left=start, color=figures.HEAT)
        axes.text(start + full * share + 0.04, y, f"{share:.2f}", fontsize=8, va="center")
