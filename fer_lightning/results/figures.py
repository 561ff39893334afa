"""The figures of a run and of a sweep, drawn from plain arrays and tables.

Every function returns a `matplotlib.figure.Figure`; `save` writes one. Colours are Okabe and Ito's, which colour-blind
readers can tell apart. `synthetic` marks a figure whose faces are drawn and not photographed.
"""

import io
import math
from collections.abc import Sequence
from itertools import cycle, product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fer_lightning.data.faces import CLASSES
from fer_lightning.results import scores
from fer_lightning.results.axes import y_range
from fer_lightning.results.files import write_file
from fer_lightning.results.run_folder import TRAIN_LOSS

DPI = 150
BLUE, VERMILION, GREY = "#0072B2", "#D55E00", "#555555"
# yellow is left out: it vanishes on white
SETTING_COLOURS = (BLUE, VERMILION, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
SETTING_MARKERS = ("", "o", "s", "^", "D")  # tell apart the settings that share a colour
PANELS = ((TRAIN_LOSS, "val_loss", "loss (cross-entropy)"), ("train_acc", "val_acc", "accuracy"))
FEW_EPOCHS = 30  # up to here each epoch gets its own mark

PAIR_ROWS, CLASS_ROWS, FACES_A_ROW = 4, 2, 10  # of the picture of mistakes


def save(figure: Figure, path: str | Path) -> None:
    """Write a figure in the format of the path's suffix (.png, .svg, .pdf), replacing the file in one step."""
    path = Path(path)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.removeprefix("."), dpi=DPI)
    write_file(path, content.getvalue())


def curves(epochs: pd.DataFrame, *, title: str, best_epoch: int | None, synthetic: bool) -> Figure:
    """Loss and accuracy against epoch, side by side, for training and validation.

    epochs: the columns of metrics.csv, any number of rows; NaN leaves a gap. best_epoch: marked; None marks nothing.
    """
    figure = _figure(10, 4.8)
    panels = figure.subplots(1, 2)
    marker = "." if len(epochs) <= FEW_EPOCHS else ""
    for axes, (train_column, val_column, name) in zip(panels, PANELS, strict=True):
        train, val = epochs[train_column], epochs[val_column]
        axes.plot(epochs["epoch"], train, color=BLUE, marker=marker, label="training")
        axes.plot(epochs["epoch"], val, color=VERMILION, marker=marker, label="validation")
        _dress(axes, name, len(epochs), [train, val])
    best = epochs[epochs["epoch"] == best_epoch]
    if len(best):
        loss, acc = best["val_loss"].iloc[0], best["val_acc"].iloc[0]
        label = f"best epoch {best_epoch}: validation loss {loss:.3f}, accuracy {acc:.3f}"
        for axes, value in zip(panels, (loss, acc), strict=True):
            axes.axvline(best_epoch, color=GREY, linewidth=1, linestyle=":", zorder=1)
            axes.plot(best_epoch, value, "o", color=VERMILION, markeredgecolor="black", markersize=7, label=label)
    # a legend inside would cover the curves of one run or another
    figure.legend(
        *panels[0].get_legend_handles_labels(),
        title=_titled(title, synthetic),
        title_fontsize=12,
        loc="outside upper center",
        ncols=3,
        frameon=False,
    )
    figure.supxlabel(
        "Training figures are running means over the epoch's batches, with augmentation (if any) and dropout; "
        "validation comes after the epoch, without them.\nTraining can therefore look worse than validation. The loss "
        "is the plain cross-entropy on both sides: no label smoothing, no teacher's term.",
        fontsize=8,
        color=GREY,
    )
    return figure


def comparison(runs: Sequence[tuple[str, pd.DataFrame]], *, synthetic: bool, title: str = "All runs") -> Figure:
    """Loss and accuracy against epoch for all runs of a sweep: validation solid, training dashed and pale.

    runs: (setting, epochs as for `curves`) pairs; the runs of one setting share its colour. Settings stand in the
    legend in the order of their first run.
    """
    settings = list(dict.fromkeys(name for name, _ in runs))
    styles = dict(zip(settings, cycle(product(SETTING_MARKERS, SETTING_COLOURS)), strict=False))
    longest = max((len(epochs) for _, epochs in runs), default=0)

    inches = 0.065 * max(map(len, settings), default=0) + 0.6  # of a legend entry in 8 point type
    columns = min(4, max(1, int(9.6 / inches)))
    figure = _figure(10, 4.5 + 0.17 * math.ceil((len(settings) + 1) / columns))
    figure.suptitle(_titled(title, synthetic), fontsize=12)
    for axes, (train_column, val_column, name) in zip(figure.subplots(1, 2), PANELS, strict=True):
        for setting, epochs in runs:
            marker, colour = styles[setting]
            if len(epochs) == 1:
                marker = marker or "o"
            style: dict[str, Any] = {"color": colour, "marker": marker, "markersize": 4}
            style["markevery"] = max(1, longest // 10)
            axes.plot(epochs["epoch"], epochs[train_column], linestyle="--", linewidth=1, alpha=0.45, **style)
            axes.plot(epochs["epoch"], epochs[val_column], linewidth=1.4, **style)
        drawn = [epochs[column] for _, epochs in runs for column in (train_column, val_column)]
        _dress(axes, name, longest, drawn)
    handles = [Line2D([], [], color=colour, marker=marker, markersize=4) for marker, colour in styles.values()]
    dashed = Line2D([], [], color=GREY, linestyle="--", linewidth=1)
    figure.legend(
        [*handles, dashed],
        [*settings, "dashed: training"],
        loc="outside lower center",
        ncols=columns,
        frameon=False,
        fontsize=8,
    )
    return figure


def _dress(axes: Axes, name: str, epochs: int, drawn: list[pd.Series]) -> None:
    axes.set(xlabel="epoch", ylabel=name, xlim=(0.5, 1.5) if epochs <= 1 else (1 - epochs / 50, epochs * 1.02))
    axes.xaxis.set_major_locator(MaxNLocator(steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    axes.grid(color="#e5e5e5", linewidth=0.7)
    axes.spines[["top", "right"]].set_visible(False)
    low, high, highest = y_range(np.concatenate([*drawn, []]))
    axes.set_ylim(low, high)
    if highest is not None:
        axes.set_ylabel(f"{name} (axis cut, highest {highest:.3g})")


def confusion_matrix(matrix: np.ndarray, classes: Sequence[str], *, title: str, synthetic: bool) -> Figure:
    """A confusion matrix with recall per class beside it.

    matrix: int (C, C) counts, rows = true class. Colour and percentages are shares of the row; a class with no images
    is drawn empty.
    """
    images = matrix.sum(axis=1)
    share = matrix / np.maximum(images, 1)[:, None]
    recall = scores.recall(matrix)
    figure = _figure(9.2, 6.6)
    figure.suptitle(_titled(title, synthetic), fontsize=12)
    axes, side = figure.subplots(1, 2, width_ratios=[7, 1.5], sharey=True)
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for row, column in np.ndindex(matrix.shape):
        if images[row]:
            colour = "white" if share[row, column] > 0.55 else "black"
            weight = "bold" if row == column else "normal"
            percent, count = f"{share[row, column]:.0%}", f"{matrix[row, column]:,}"
            axes.text(column, row - 0.13, percent, ha="center", va="center", color=colour, weight=weight)
            axes.text(column, row + 0.2, count, ha="center", va="center", color=colour, fontsize=8)
        elif column == len(classes) // 2:
            axes.text(column, row, "no images of this class", ha="center", va="center", color=GREY, style="italic")
    names = [f"{name}\n{count:,}" for name, count in zip(classes, images, strict=True)]
    axes.set_xticks(range(len(classes)), classes)
    axes.set_yticks(range(len(classes)), names)
    axes.set(xlabel="predicted class", ylabel="true class, number of images")
    axes.set_xticks(np.arange(len(classes)) - 0.5, minor=True)
    axes.set_yticks(np.arange(len(classes)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=2)
    axes.tick_params(which="both", length=0)
    axes.spines[:].set_visible(False)

    side.barh(range(len(classes)), np.nan_to_num(recall), height=0.6, color=BLUE)
    for row, value in enumerate(recall):
        side.text(np.nan_to_num(value) + 0.04, row, "–" if np.isnan(value) else f"{value:.3f}", va="center")
    side.set(xlim=(0, 1.6), xticks=[])
    side.set_title("recall", fontsize=10)
    side.tick_params(which="both", length=0, labelleft=False)
    side.spines[["top", "right", "bottom"]].set_visible(False)
    accuracy = np.trace(matrix) / max(1, matrix.sum())
    axes.set_title(
        f"{_images(matrix.sum())}, accuracy {accuracy:.3f}, balanced accuracy {scores.balanced_accuracy(matrix):.3f}",
        fontsize=10,
        color=GREY,
    )
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

    A row of faces for each of the worst-confused pairs of classes (see `scores.confused_pairs`), then one for each of
    the two classes of lowest recall with errors that stand in no row above.

    pixels: uint8 (N, 48, 48), all scored images, right ones included. targets, predicted: int (N,). probabilities:
    float (N, 7).
    """
    matrix = scores.confusion_matrix(targets, predicted)
    confidence = probabilities[np.arange(len(predicted)), predicted]
    wrong = np.flatnonzero(targets != predicted)
    wrong = wrong[np.argsort(-confidence[wrong], kind="stable")]

    rows: list[tuple[str, str, np.ndarray]] = []
    for pair in [pair for pair in scores.confused_pairs(matrix) if pair.images][:PAIR_ROWS]:
        between = wrong[np.isin(targets[wrong], pair[:2]) & np.isin(predicted[wrong], pair[:2])]
        text = f"{_images(pair.images)} taken for each other, on average {pair.rate:.1%} of a class"
        rows.append((f"{CLASSES[pair.a]} / {CLASSES[pair.b]}", text, between[:FACES_A_ROW]))
    recall = scores.recall(matrix)
    for worst in np.argsort(recall, kind="stable")[:CLASS_ROWS]:
        missed = wrong[targets[wrong] == worst]
        if len(missed):
            others = missed[~np.isin(missed, np.concatenate([shown for *_, shown in rows]))]
            text = f"recall {recall[worst]:.3f}: {len(missed):,} of {_images(matrix[worst].sum())} missed"
            if len(others) < len(missed):
                text += "; others than above" if len(others) else "; all shown above"
            rows.append((CLASSES[worst], text, others[:FACES_A_ROW]))

    face, gap, margin, head, caption = 0.86, 0.1, 0.25, 0.3, 0.42  # inches, as are the axes' units
    top = 0.78
    width = 2 * margin + FACES_A_ROW * (face + gap) - gap
    heights = [head + (face + caption if len(shown) else 0) for *_, shown in rows]
    height = top + sum(heights) + margin
    figure = Figure((width, height), dpi=100)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.text(margin, 0.28, _titled(title, synthetic), fontsize=12, va="center")
    summary = f"{len(wrong):,} of {_images(len(targets))} misclassified"
    if len(wrong):
        summary += ". Under each face: its true class, → the predicted class and its probability. Most confident first."
    axes.text(margin, 0.52, summary, fontsize=9, color=GREY, va="center")
    y = top
    for (name, text, shown), row_height in zip(rows, heights, strict=True):
        label = axes.text(margin, y + head / 2, name, fontsize=10, weight="bold", va="center")
        axes.annotate(text, (1, 0.5), (8, 0), xycoords=label, textcoords="offset points", fontsize=9, va="center")
        for place, image in enumerate(shown):
            x, below = margin + place * (face + gap), y + head + face
            extent = (x, x + face, below, below - face)
            axes.imshow(pixels[image], cmap="gray", vmin=0, vmax=255, extent=extent, aspect="auto")
            axes.text(x, below + 0.09, CLASSES[targets[image]], fontsize=7.5, va="center")
            prediction = f"→ {CLASSES[predicted[image]]} {confidence[image]:.2f}"
            axes.text(x, below + 0.22, prediction, fontsize=7.5, va="center", color=VERMILION)
        y += row_height
    axes.set(xlim=(0, width), ylim=(height, 0))
    return figure


def _figure(width: float, height: float) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.1, wspace=0.05)  # the default lets the panels touch each other
    return Figure((width, height), dpi=100, layout=layout)


def _titled(title: str, synthetic: bool) -> str:
    return f"{title} · synthetic faces" if synthetic else title


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
