"""The figures of a run, of a sweep and of a report, drawn from plain arrays and tables.

Every function but `save`, `png` and `svg` returns a `matplotlib.figure.Figure`; these make a file or a part of a page
of it.
A setting has one colour and one marker on all pictures, see `styles`; training is dashed, validation solid.
`synthetic` marks a figure whose faces are drawn and not photographed.
"""

import io
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from zlib import crc32

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from fer_lightning.data.faces import CLASSES, digest
from fer_lightning.results import scores
from fer_lightning.results.files import write_file
from fer_lightning.results.run_folder import TRAIN_LOSS
from fer_lightning.results.words import count

DPI = 150
INK, GREY, GRID, WRONG = "#000000", "#555555", "#e5e5e5", "#d55e00"
HEAT = "#56a0d8"  # of a cell of the confusion matrix that holds all images of its class; black text is readable on it
COLOURS = {  # names, as a page's styles have them: (on white, on black)
    "text": (INK, "#e4e7eb"),
    "soft": (GREY, "#a2abb6"),
    "line": (GRID, "#3a414a"),
    "page": ("#ffffff", "#15181c"),
    "heat": (HEAT, "#1f5f96"),
    # after Okabe and Ito, for colour-blind readers too, 3:1 and more on white: the CNN's cool, the DNN's warm
    "cnn-none": ("#3a97cf", "#56b4e9"),
    "cnn-norm": ("#23408e", "#7d9bf0"),
    "cnn-norm_aug": ("#009e73", "#12b886"),
    "dnn-none": ("#bf7f00", "#e69f00"),
    "dnn-norm": ("#c26a9b", "#cc79a7"),
    "dnn-norm_aug": ("#d55e00", "#e8772e"),
    # of Tol's muted ones and others, for any further setting
    "other-0": ("#332288", "#8f7fe8"),
    "other-1": ("#882255", "#d05a92"),
    "other-2": ("#777711", "#b5b546"),
    "other-3": ("#222222", "#dddddd"),
    "other-4": ("#7a4a21", "#c08552"),
}
OTHERS = [name for name in COLOURS if name.startswith("other")]
MARKERS = dict(zip([name for name in COLOURS if "nn-" in name], "os^Dvp", strict=True))
OTHER_MARKERS = ("P", "X", "<", ">", "*", "h", "8")
matplotlib.rcParams["text.parse_math"] = False  # names of settings are text, "$" included
PANELS = ((TRAIN_LOSS, "val_loss", "loss (cross-entropy)"), ("train_acc", "val_acc", "accuracy"))
FEW_EPOCHS = 30  # up to here each epoch gets its own mark
PAIR_ROWS, CLASS_ROWS, FACES_A_ROW = 4, 2, 10  # of the picture of mistakes
TRAINING_NOTE = (
    "Training figures are means over the epoch's batches, with augmentation and dropout; validation comes after the "
    "epoch, without.\nSo training may look worse. Losses are plain cross-entropy, without label smoothing or a teacher."
)

Setting = tuple[str, str, str]  # network, augmentation, what else sets it apart


class Style(NamedTuple):
    colour: str
    marker: str


def styles(settings: Sequence[Setting]) -> dict[Setting, Style]:
    """A colour and a marker for each: the study's six have their own, any other one the first free after its hash.

    A label counts where it sets a setting apart from another one of the network and augmentation.
    """
    found: dict[Setting, Style] = {}
    several = [setting[:2] for setting in dict.fromkeys(settings)]
    for setting in dict.fromkeys(settings):
        network, aug, label = setting
        name = f"{network}-{aug}"
        if name in COLOURS and (not label or several.count(setting[:2]) == 1):
            found[setting] = Style(COLOURS[name][0], MARKERS[name])
            continue
        start = crc32(" ".join(setting).encode())
        taken = [style.colour for style in found.values()]
        colours = [COLOURS[OTHERS[(start + i) % len(OTHERS)]][0] for i in range(len(OTHERS))]
        colour = min(colours, key=taken.count)
        looks = [Style(colour, OTHER_MARKERS[(start + i) % len(OTHER_MARKERS)]) for i in range(len(OTHER_MARKERS))]
        found[setting] = min(looks, key=[*found.values()].count)
    return found


def save(figure: Figure, path: Path) -> None:
    """Write a figure as a PNG file, replacing it in one step."""
    write_file(path, png(figure))


def png(figure: Figure, about: dict[str, str] | None = None) -> bytes:
    """The figure as a PNG file, with these texts in it."""
    content = io.BytesIO()
    figure.savefig(content, format="png", dpi=DPI, metadata=about)
    return content.getvalue()


def svg(figure: Figure, name: str, alt: str) -> str:
    """The figure as an <svg> element: text stays text, and its colours are the page's variables of COLOURS' names.

    name: letters, digits and hyphens, unique on the page. alt: what it shows, in words, without markup.
    """
    content = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(content, format="svg", transparent=True)
    text = content.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>|<!--.*?-->", "", text, flags=re.S)
    opening, inside = re.search(r"<svg (.*?)>(.*)", text, flags=re.S).groups()  # type: ignore[union-attr]
    box = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', opening)
    assert box is not None
    inside = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", inside)
    for variable, (colour, _) in COLOURS.items():
        inside = inside.replace(colour, f"var(--{variable})")
    spaces = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    return f'<svg {spaces} class="chart" style="width: {box[1]}pt" {box[0]} role="img" aria-label="{alt}">{inside}'


# --- lines


@dataclass(frozen=True)
class Line:
    """y against x, both float (N,); NaN leaves a gap. faint: one of several seeds, behind their mean."""

    label: str
    x: np.ndarray
    y: np.ndarray
    style: Style
    dashed: bool = False
    faint: bool = False


def chart(
    lines: Sequence[Line],
    *,
    title: str,
    y_label: str,
    x_label: str = "epoch",
    marks: Sequence[tuple[float, str, str]] = (),
    synthetic: bool,
) -> Figure:
    """One panel, for a page. marks: (x, colour, text) of vertical lines."""
    labels = [textwrap.fill(line.label, 60) for line in lines if line.label and not line.faint]
    columns = 2 if max(map(len, labels)) < 24 else 1
    below = 0.6 + 0.17 * (math.ceil(len(labels) / columns) + sum(label.count("\n") for label in labels))  # inches
    heading = textwrap.fill(titled(title, synthetic), 56)
    above = 0.3 + 0.17 * heading.count("\n")
    height = 2.6 + below + above
    figure = Figure((4.7, height), dpi=100)  # its margins are fixed: to find them takes as long as to draw it
    axes = figure.add_axes((0.18, below / height, 0.77, 2.6 / height))
    handles = _lines(axes, lines, x_label, y_label)
    for x, colour, text in marks:
        axes.axvline(x, color=colour, linewidth=1, linestyle=":", zorder=1)
        left = x > sum(axes.get_xlim()) / 2
        place: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "va": "top"}
        place["ha"] = "right" if left else "left"
        axes.annotate(text, (x, 1), (-4 if left else 4, -4), **place, fontsize=8)
    axes.set_title(heading, fontsize=10, loc="left", x=-0.15)
    figure.legend(handles, labels, loc="lower left", ncols=columns, frameon=False, fontsize=8)
    return figure


def curves(
    epochs: pd.DataFrame, *, title: str, best_epoch: int | None, synthetic: bool, setting: Setting = ("", "", "")
) -> Figure:
    """Loss and accuracy against epoch, side by side, for training and validation.

    epochs: the columns of metrics.csv, any number of rows; NaN leaves a gap. best_epoch: marked; None marks nothing.
    """
    figure = _figure(10, 4.8)
    panels = figure.subplots(1, 2)
    style = Style(styles([setting])[setting].colour, "." if len(epochs) <= FEW_EPOCHS else "")
    x = epochs["epoch"].to_numpy(np.float64)
    for axes, (train_column, val_column, name) in zip(panels, PANELS, strict=True):
        lines = [
            Line("training", x, epochs[train_column].to_numpy(), style, dashed=True),
            Line("validation", x, epochs[val_column].to_numpy(), style),
        ]
        _lines(axes, lines, "epoch", name)
    best = epochs[epochs["epoch"] == best_epoch]
    if len(best):
        loss, acc = best["val_loss"].iloc[0], best["val_acc"].iloc[0]
        label = f"best epoch {best_epoch}: validation loss {loss:.3f}, accuracy {acc:.3f}"
        for axes, value in zip(panels, (loss, acc), strict=True):
            axes.axvline(best_epoch, color=GREY, linewidth=1, linestyle=":", zorder=1)
            axes.plot(best_epoch, value, "o", color=style.colour, markeredgecolor=INK, markersize=7, label=label)
    # a legend inside would cover the curves of one run or another
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        title=titled(title, synthetic),
        title_fontsize=12,
        loc="outside upper center",
        ncols=3,
        frameon=False,
    )
    figure.supxlabel(TRAINING_NOTE, fontsize=8, color=GREY)
    return figure


def comparison(runs: Sequence[tuple[Setting, pd.DataFrame]], *, synthetic: bool, title: str = "All runs") -> Figure:
    """Loss and accuracy against epoch for all runs of a sweep: validation solid, training dashed and pale.

    runs: (setting, epochs as for `curves`) pairs; the runs of one setting share its colour. Settings stand in the
    legend in the order of their first run.
    """
    looks = styles([setting for setting, _ in runs])
    names = [" ".join(part for part in setting if part) for setting in looks]
    inches = 0.065 * max(map(len, names), default=0) + 0.6  # of a legend entry in 8 point type
    columns = min(4, max(1, int(9.6 / inches)))
    figure = _figure(10, 4.5 + 0.17 * math.ceil((len(looks) + 1) / columns))
    figure.suptitle(titled(title, synthetic), fontsize=12)
    for axes, (train_column, val_column, name) in zip(figure.subplots(1, 2), PANELS, strict=True):
        lines = []
        for setting, epochs in runs:
            for column, dashed in ((train_column, True), (val_column, False)):
                x, y = (epochs[key].to_numpy(np.float64) for key in ("epoch", column))
                lines.append(Line("", x, y, looks[setting], dashed=dashed))
        _lines(axes, lines, "epoch", name)
    handles = [Line2D([], [], color=style.colour, marker=style.marker, markersize=4) for style in looks.values()]
    dashed_line = Line2D([], [], color=GREY, linestyle="--", linewidth=1)
    figure.legend(
        [*handles, dashed_line],
        [*names, "dashed: training"],
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=8,
    )
    return figure


def _lines(axes: Axes, lines: Sequence[Line], x_label: str, y_label: str) -> list[Line2D]:
    """Lines, and axes that fit them: the upper end is cut where one diverging epoch would flatten all else.

    Returns those that a legend names.
    """
    named = []
    for line in sorted(lines, key=lambda line: not line.faint):
        look: dict[str, Any] = {"color": line.style.colour, "linestyle": "--" if line.dashed else "-"}
        if line.faint:
            look |= {"linewidth": 0.8, "alpha": 0.4}
        else:
            look |= {"linewidth": 1 if line.dashed else 1.5, "alpha": 0.6 if line.dashed else 1}
            if not line.dashed or len(line.x) == 1:
                look |= {"marker": line.style.marker, "markersize": 4}
                look["markevery"] = 1 if line.style.marker == "." else max(1, len(line.x) // 10)
        drawn = axes.plot(line.x, line.y, label=line.label, **look)
        named += drawn if line.label and not line.faint else []
    first = min((line.x[0] for line in lines if len(line.x)), default=1.0)
    last = max((line.x[-1] for line in lines if len(line.x)), default=first)
    margin = (last - first) / 50 or 0.5
    low, high, highest = y_range(np.concatenate([*(line.y for line in lines), []]))
    if highest is not None:
        beside: dict[str, Any] = {
            "xycoords": "axes fraction",
            "textcoords": "offset points",
            "ha": "right",
            "va": "top",
        }
        axes.annotate(f"axis cut, highest {highest:.3g}", (1, 1), (-2, -2), **beside, fontsize=8, color=GREY)
    axes.set(xlabel=x_label, ylabel=y_label, xlim=(first - margin, last + margin), ylim=(low, high))
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.grid(color=GRID, linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    return named


def y_range(values: np.ndarray) -> tuple[float, float, float | None]:
    """The ends of the axis for float (N,) values, some perhaps NaN or infinite; the highest of them if it is cut."""
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0, None
    low, high, usual = float(values.min()), float(values.max()), float(np.quantile(values, 0.95))
    highest = high if high > 2 * usual > 0 else None
    if highest is not None:
        high = 1.25 * usual
    margin = max(0.05 * (high - low), 0.05 - (high - low) / 2)  # a range of 0.1 at least, lest noise look like a trend
    return low - margin, high + margin, highest


# --- accuracies on one axis


class Dot(NamedTuple):
    """An accuracy with the ends of its interval, NaN where it has none. filled: all images; hollow: unseen ones."""

    value: float
    low: float
    high: float
    filled: bool


def dots(
    rows: Sequence[tuple[str, Style, Sequence[Dot]]],
    references: Sequence[tuple[float, float, str]],
    *,
    title: str,
    names: tuple[str, str],
    synthetic: bool,
) -> Figure:
    """Accuracies of settings, a row each, beside known ones.

    rows: (label, style, dots). references: (low, high, text) of vertical bands, lines where both are the same.
    names: what filled and hollow dots are.
    """
    figure = _figure(5.2, 1.3 + 0.46 * len(rows) + (1 if references else 0))
    axes = figure.subplots()
    for place, (label, style, found) in enumerate(rows):
        at: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "va": "center", "fontsize": 8.5}
        axes.annotate(textwrap.shorten(label, 54, placeholder=" …"), (0.01, place - 0.34), **at)
        for dot in found:
            y = place + (-0.04 if dot.filled else 0.22)
            axes.plot([dot.low, dot.high], [y, y], color=style.colour, linewidth=1.4)
            face = style.colour if dot.filled else "#ffffff"
            axes.plot(dot.value, y, style.marker, color=style.colour, markerfacecolor=face, markersize=6)
    ends = [value for *_, found in rows for dot in found for value in dot[:3] if math.isfinite(value)]
    ends += [value for reference in references for value in reference[:2]]
    low, high = min(ends), max(ends)
    margin = 0.04 * max(high - low, 0.1)
    above: dict[str, Any] = {"xycoords": ("data", "axes fraction"), "textcoords": "offset points", "rotation": 35}
    for start, stop, text in references:
        axes.axvspan(start, max(stop, start), color=GRID, zorder=0, linewidth=1)
        axes.axvline((start + stop) / 2, color=GREY, linewidth=0.9, linestyle=":", zorder=1)
        axes.annotate(text, ((start + stop) / 2, 1), (0, 3), **above, fontsize=8, color=GREY, ha="left", va="bottom")
    axes.set(xlim=(low - margin, high + margin), ylim=(len(rows) - 0.55, -0.6), xlabel="accuracy (share of the images)")
    axes.set_yticks([])
    axes.grid(axis="x", color=GRID, linewidth=0.7)
    axes.spines[["top", "right", "left"]].set_visible(False)
    kinds = [Line2D([], [], color=GREY, marker="o", linewidth=1.4, markerfacecolor=face) for face in (GREY, "#ffffff")]
    shown = {dot.filled for *_, found in rows for dot in found}
    keys = [(kind, name) for kind, name, filled in zip(kinds, names, (True, False), strict=True) if filled in shown]
    figure.legend(*zip(*keys, strict=True), loc="outside lower left", ncols=2, frameon=False, fontsize=8)
    figure.suptitle(titled(title, synthetic), fontsize=10, x=0.01, ha="left")
    return figure


# --- classes


def confusion_matrix(
    matrix: np.ndarray, classes: Sequence[str], *, title: str, synthetic: bool, starred: Sequence[tuple[int, int]] = ()
) -> Figure:
    """A confusion matrix with recall per class beside it.

    matrix: int (C, C) counts, rows = true class. Colour and percentages are shares of the row; a class with no images
    is drawn empty. starred: cells (row, column) that get a frame.
    """
    images = matrix.sum(axis=1)
    share = matrix / np.maximum(images, 1)[:, None]
    recall = scores.recall(matrix)
    figure = Figure((7.6, 5.6), dpi=100)  # its margins are fixed: to find them takes as long as to draw it
    axes = figure.add_axes((0.13, 0.11, 0.66, 0.76))
    side = figure.add_axes((0.82, 0.11, 0.17, 0.76), sharey=axes)
    for row, column in np.ndindex(matrix.shape):
        box = Rectangle((column - 0.48, row - 0.48), 0.96, 0.96, facecolor=HEAT, linewidth=0)
        box.set_alpha(0.04 + 0.96 * share[row, column])
        axes.add_patch(box)
        if (row, column) in starred:
            axes.add_patch(Rectangle((column - 0.47, row - 0.47), 0.94, 0.94, fill=False, edgecolor=INK, linestyle=":"))
        if images[row]:
            weight = "bold" if row == column else "normal"
            axes.text(column, row - 0.13, f"{share[row, column]:.0%}", ha="center", va="center", weight=weight)
            axes.text(column, row + 0.24, f"{matrix[row, column]:,}", ha="center", va="center", fontsize=7.5)
        elif column == len(classes) // 2:
            axes.text(column, row, "no images of this class", ha="center", va="center", color=GREY, style="italic")
    names = [f"{name}\n{of_it:,}" for name, of_it in zip(classes, images, strict=True)]
    ends = (-0.5, len(classes) - 0.5)
    axes.set(xlabel="predicted class", ylabel="true class, number of images", xlim=ends, ylim=ends[::-1])
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), names)

    side.barh(range(len(classes)), np.nan_to_num(recall), height=0.6, color=HEAT)
    for row, value in enumerate(recall):
        side.text(np.nan_to_num(value) + 0.04, row, "–" if np.isnan(value) else f"{value:.3f}", va="center")
    side.set(xlim=(0, 1.6), xticks=[])
    side.set_title("recall", fontsize=10)
    side.tick_params(labelleft=False)
    for panel in (axes, side):
        panel.tick_params(length=0)
        panel.spines[:].set_visible(False)
    accuracy = np.trace(matrix) / max(1, matrix.sum())
    note = (
        f"{count(matrix.sum(), 'image')}, accuracy {accuracy:.3f}, "
        f"balanced accuracy {scores.balanced_accuracy(matrix):.3f}. Cells: share of the true class, images"
    )
    figure.suptitle(textwrap.fill(titled(title, synthetic), 80), fontsize=12)
    axes.set_title(note, fontsize=9, color=GREY)
    return figure


def mistakes(
    pixels: np.ndarray,
    targets: np.ndarray,
    predicted: np.ndarray,
    probabilities: np.ndarray,
    *,
    title: str,
    synthetic: bool,
) -> Figure:
    """Misclassified faces with true class, predicted class and its probability, the most confident errors first.

    A row of faces for each of the worst-confused pairs of classes (see `scores.confused_pairs`), half of it for each
    direction, then one for each of the two classes of lowest recall with errors that stand in no row above. Of
    identical photographs one is shown.

    pixels: uint8 (N, 48, 48), all scored images, right ones included. targets, predicted: int (N,). probabilities:
    float (N, 7).
    """
    matrix = scores.confusion_matrix(targets, predicted)
    confidence = probabilities[np.arange(len(predicted)), predicted]
    errors = int((targets != predicted).sum())
    wrong = scores.surest_errors(targets, predicted, probabilities, digest(pixels))

    rows: list[tuple[str, str, np.ndarray]] = []
    for pair in [pair for pair in scores.confused_pairs(matrix) if pair.images][:PAIR_ROWS]:
        one = wrong[(targets[wrong] == pair.a) & (predicted[wrong] == pair.b)]
        other = wrong[(targets[wrong] == pair.b) & (predicted[wrong] == pair.a)]
        shown = both_ways(one, other, FACES_A_ROW)
        text = f"{count(pair.images, 'image')} taken for each other, on average {pair.rate:.1%} of a class"
        text += f"; {len(shown)} shown" if len(shown) < pair.images else ""
        rows.append((f"{CLASSES[pair.a]} / {CLASSES[pair.b]}", text, shown))
    recall, above = scores.recall(matrix), np.concatenate([wrong[:0], *(shown for *_, shown in rows)])
    for worst in np.argsort(recall, kind="stable")[:CLASS_ROWS]:
        missed = matrix[worst].sum() - matrix[worst, worst]
        if missed:
            text = f"recall {recall[worst]:.3f}: {missed:,} of {count(matrix[worst].sum(), 'image')} missed"
            others = wrong[(targets[wrong] == worst) & ~np.isin(wrong, above)]
            rows.append((CLASSES[worst], text, others[:FACES_A_ROW]))

    face, gap, margin, head, caption = 0.86, 0.1, 0.25, 0.3, 0.42  # inches, as are the axes' units
    top = 0.78
    ends = np.cumsum([top, *(head + (face + caption) * bool(len(shown)) for *_, shown in rows)])
    sheet = Sheet(2 * margin + FACES_A_ROW * (face + gap) - gap, ends[-1] + margin)
    axes = sheet.axes
    summary = f"{errors:,} of {count(len(targets), 'image')} misclassified"
    if errors:
        summary += ". Under each face: its true class, → the predicted class and its probability. "
        summary += "Most confident first, each once."
    sheet.head(titled(title, synthetic), summary, left=margin)
    for y, (name, text, shown) in zip(ends[:-1], rows, strict=True):
        label = axes.text(margin, y + head / 2, name, fontsize=10, weight="bold", va="center")
        axes.annotate(text, (1, 0.5), (8, 0), xycoords=label, textcoords="offset points", fontsize=9, va="center")
        for place, image in enumerate(shown):
            x, below = margin + place * (face + gap), y + head + face
            sheet.image(pixels[image], x, y + head, face, interpolation="auto")
            axes.text(x, below + 0.09, CLASSES[targets[image]], fontsize=7.5, va="center")
            prediction = f"→ {CLASSES[predicted[image]]} {confidence[image]:.2f}"
            axes.text(x, below + 0.22, prediction, fontsize=7.5, va="center", color=WRONG)
    return sheet.figure


def both_ways(one: np.ndarray, other: np.ndarray, most: int) -> np.ndarray:
    """The first of each, half of `most` from each side, more of one where the other has fewer; `one`'s come first."""
    few = min(len(one), max(most // 2, most - len(other)))
    return np.concatenate([one[:few], other[: most - few]])


def _figure(width: float, height: float) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.1, wspace=0.05)  # the default lets the panels touch each other
    return Figure((width, height), dpi=100, layout=layout)


def titled(title: str, synthetic: bool) -> str:
    return f"{title} · synthetic faces" if synthetic else title


class Sheet:
    """A figure whose units are inches, from its upper left corner."""

    def __init__(self, width: float, height: float) -> None:
        self.width, self.height = width, height
        self.figure = Figure((width, height), dpi=100)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set(xlim=(0, width), ylim=(height, 0))

    def head(self, title: str, summary: str, left: float = 0.2) -> None:
        self.axes.text(left, 0.28, title, fontsize=12, va="center")
        self.axes.text(left, 0.52, summary, fontsize=9, color=GREY, va="center")

    def image(self, pixels: np.ndarray, left: float, top: float, size: float, interpolation: str = "nearest") -> None:
        look: dict[str, Any] = {"vmin": 0, "vmax": 255, "cmap": "gray", "interpolation": interpolation}
        self.axes.imshow(pixels, extent=(left, left + size, top + size, top), aspect="auto", **look)

    def foot(self, text: str) -> None:
        wrapped = "\n".join(textwrap.fill(line, int(self.width * 17)) for line in text.splitlines())
        self.axes.text(0.2, self.height - 0.1, wrapped, fontsize=7.5, color=GREY, va="bottom")
