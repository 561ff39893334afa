import math
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex
from matplotlib.image import AxesImage, imread
from matplotlib.text import Text

from fer_lightning.data.faces import CLASSES
from fer_lightning.results import figures
from fer_lightning.results.figures import save
from fer_lightning.results.run_folder import EPOCH_COLUMNS

MATRIX = np.diag([250, 18, 142, 810, 220, 250, 264])
MATRIX[2, 4], MATRIX[4, 2], MATRIX[1, 0], MATRIX[6, 4] = 140, 60, 20, 105


def epochs(count: int) -> pd.DataFrame:
    x = np.arange(1, count + 1)
    columns = (x, 1 + 1 / x, 0.6 - 0.3 / x, 1.1 + 1 / x, 0.5 - 0.2 / x, 1e-3 + 0 * x, 4.0 + 0 * x, 0.9 + 1 / x)
    return pd.DataFrame(dict(zip(EPOCH_COLUMNS, columns, strict=True)))


def faces(targets, predicted, confidence):
    """Arguments of `mistakes`; the pixels of face i are all i, so that it can be told in a picture."""
    targets, predicted = np.array(targets), np.array(predicted)
    probabilities = np.zeros((len(targets), 7))
    probabilities[np.arange(len(targets)), predicted] = confidence
    pixels = np.arange(len(targets), dtype=np.uint8)[:, None, None] * np.ones((1, 48, 48), np.uint8)
    return pixels, targets, predicted, probabilities


FEW = faces([2, 4, 2, 0, 3, 3], [4, 2, 4, 6, 3, 3], [0.5, 0.9, 0.7, 0.4, 1.0, 1.0])


def texts(figure) -> list[str]:
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def shown(figure) -> list[int]:
    """The faces in a picture of mistakes, in the order drawn."""
    return [int(image.get_array()[0, 0]) for image in figure.findobj(AxesImage)]


@pytest.fixture(scope="module")
def all_figures() -> dict:
    """One of each figure, and their edges."""
    style = {"synthetic": True}
    curve = {"title": "CNN", "best_epoch": 1, **style}
    nan = epochs(9).assign(val_loss=np.nan)
    many = [(("cnn", "norm_aug", f"optimizer.lr={i} aug.degrees={i}"), epochs(50)) for i in range(16)]
    none, norm = ("dnn", "none", ""), ("dnn", "norm", "")
    style_of = figures.styles([none, norm])
    x = np.arange(1.0, 31)
    lines = [
        figures.Line("a long name of a setting that differs in much", x, 1 / x, style_of[none]),
        figures.Line("validation", x, 2 / x, style_of[norm], dashed=True),
        figures.Line("", x, 2.1 / x, style_of[norm], faint=True),
    ]
    rows = [
        (
            "DNN none",
            style_of[none],
            [figures.Dot(0.4, 0.38, 0.42, True), figures.Dot(0.39, math.nan, math.nan, False)],
        ),
        ("DNN norm with a long name that says what is different", style_of[norm], [figures.Dot(0.5, 0.4, 0.6, True)]),
    ]
    known = [(0.6, 0.7, "humans"), (0.719, 0.719, "the study")]
    dots = {"title": "Accuracy", "names": ("all", "unseen"), **style}
    return {
        "curves": figures.curves(epochs(300), **curve),
        "curves of no epoch": figures.curves(epochs(0), **curve),
        "curves with nan": figures.curves(nan, **curve),
        "comparison": figures.comparison([(none, epochs(12)), (norm, epochs(1))], **style),
        "comparison of many": figures.comparison(many, **style),
        "comparison of nothing": figures.comparison([], **style),
        "chart": figures.chart(
            lines,
            title="CNN " + "which differs in much, " * 5,
            y_label="loss",
            marks=[(9.0, "#000000", "onset")],
            **style,
        ),
        "dots": figures.dots(rows, known, **dots),
        "dots alone": figures.dots(rows[:1], [], **dots),
        "confusion matrix": figures.confusion_matrix(MATRIX, CLASSES, title="CNN", **style),
        "confusion matrix of nothing": figures.confusion_matrix(0 * MATRIX, CLASSES, title="CNN", **style),
        "mistakes": figures.mistakes(*faces(np.arange(90) % 7, np.arange(90) % 5, 0.5), title="CNN", **style),
        "no mistakes": figures.mistakes(*faces([1, 2], [1, 2], 0.9), title="CNN", **style),
    }


def test_every_figure_says_where_its_faces_are_synthetic(all_figures):
    for name, figure in all_figures.items():
        assert any("synthetic faces" in text for text in texts(figure)), name


@pytest.mark.slow
def test_nothing_leaves_the_figure_and_no_legend_covers_anything(all_figures):
    for name, figure in all_figures.items():
        renderer = FigureCanvasAgg(figure).get_renderer()
        figure.draw(renderer)
        width, height = figure.get_size_inches()
        drawn = figure.get_tightbbox(renderer)  # inches
        assert drawn.x0 >= 0, name
        assert drawn.y0 >= 0, name
        assert drawn.x1 <= width, name
        assert drawn.y1 <= height, name
        for legend in figure.legends:
            others = [axes.get_tightbbox(renderer) for axes in figure.axes]
            others += [text.get_window_extent(renderer) for text in figure.texts]
            assert legend.get_window_extent(renderer).count_overlaps(others) == 0, name


def test_curves_show_the_numbers_and_mark_the_best_epoch():
    table = epochs(12)
    figure = figures.curves(table, title="CNN", best_epoch=7, synthetic=False)
    assert [axes.get_ylabel() for axes in figure.axes] == ["loss (cross-entropy)", "accuracy"]
    columns = (("train_cross_entropy", "loss"), ("train_acc", "acc"))
    for axes, (training, quantity) in zip(figure.axes, columns, strict=True):
        lines = {line.get_label(): line for line in axes.lines}
        np.testing.assert_array_equal(lines["training"].get_xydata(), table[["epoch", training]])
        np.testing.assert_array_equal(lines["validation"].get_xydata(), table[["epoch", f"val_{quantity}"]])
        (mark,) = (line for label, line in lines.items() if label.startswith("best epoch 7"))
        assert mark.get_xydata().tolist() == [[7, table[f"val_{quantity}"][6]]]
    assert any("best epoch 7: validation loss 1.243, accuracy 0.471" in text for text in texts(figure))
    assert any("with augmentation and dropout" in text for text in texts(figure))
    styles = {line.get_label(): line.get_linestyle() for line in figure.axes[0].lines}
    assert (styles["training"], styles["validation"]) == ("--", "-")
    figure = figures.curves(table, title="CNN", best_epoch=None, synthetic=False)
    assert [len(axes.lines) for axes in figure.axes] == [2, 2]


def test_one_diverging_epoch_does_not_flatten_the_others():
    table = epochs(100)
    table.loc[50, "val_loss"] = 1e6
    table.loc[60, "val_loss"] = np.inf
    loss = figures.curves(table, title="CNN", best_epoch=1, synthetic=False).axes[0]
    assert loss.get_ylim()[1] < 5
    assert "axis cut, highest 1e+06" in [text.get_text() for text in loss.texts]


def test_comparison_gives_a_setting_one_colour_and_settings_different_looks():
    study = [(model, aug, "") for model in ("cnn", "dnn") for aug in ("none", "norm", "norm_aug")]
    settings = [*study, *(("dnn", "norm", f"optimizer.lr={i}") for i in range(10))]
    figure = figures.comparison([(name, epochs(20)) for name in settings * 2], synthetic=False)
    for axes in figure.axes:
        looks = [(to_hex(line.get_color()), line.get_marker(), line.get_linestyle()) for line in axes.lines]
        training, validation = looks[0::2], looks[1::2]
        assert validation[:16] == validation[16:]
        assert len(set(validation)) == 16
        assert {style for *_, style in validation} == {"-"}
        assert {style for *_, style in training} == {"--"}
        assert [colour for colour, *_ in training] == [colour for colour, *_ in validation]
        assert [colour for colour, *_ in validation[:6]] == [figures.COLOURS[f"{m}-{a}"][0] for m, a, _ in study]
    (legend,) = figure.legends
    assert [text.get_text() for text in legend.texts] == [
        *(" ".join(filter(None, name)) for name in settings),
        "dashed: training",
    ]


def test_confusion_matrix_shows_counts_shares_and_recall():
    shown = texts(figures.confusion_matrix(MATRIX, CLASSES, title="CNN", synthetic=False))
    assert {"140", "50%", "0.504"} <= set(shown)  # of 282 fearful faces 140 are taken for sad, 142 found
    assert "fear\n282" in shown
    assert any(f"{MATRIX.sum():,} images, accuracy 0.857, balanced accuracy 0.783" in text for text in shown)


def test_confusion_matrix_leaves_an_empty_class_empty():
    matrix = MATRIX.copy()
    matrix[1] = 0
    figure = figures.confusion_matrix(matrix, CLASSES, title="CNN", synthetic=False)
    assert texts(figure).count("no images of this class") == 1
    assert "–" in texts(figure)  # its recall
    assert not any("nan" in text for text in texts(figure))


def test_a_chart_holds_its_lines_and_a_curve_of_a_setting_has_one_colour_everywhere():
    setting = ("cnn", "norm_aug", "")
    style = figures.styles([setting])[setting]
    line = figures.Line("CNN", np.arange(1.0, 10), np.arange(9.0), style)
    (axes,) = figures.chart([line], title="Title", y_label="accuracy", synthetic=False).axes
    np.testing.assert_array_equal(axes.lines[0].get_xydata(), np.c_[line.x, line.y])
    curves = figures.curves(epochs(40), title="CNN", best_epoch=None, synthetic=False, setting=setting)
    drawn = [axes.lines[0], *curves.axes[0].lines]
    assert {to_hex(each.get_color()) for each in drawn} == {figures.COLOURS["cnn-norm_aug"][0]}


def test_dots_stand_at_their_values_filled_and_hollow(all_figures):
    (axes,) = all_figures["dots"].axes
    points = [line for line in axes.lines if line.get_marker() != "None"]
    assert [line.get_xdata()[0] for line in points] == [0.4, 0.39, 0.5]
    assert [to_hex(line.get_markerfacecolor()) == "#ffffff" for line in points] == [False, True, False]
    assert {"humans", "the study"} <= set(texts(all_figures["dots"]))


def luminance(colour: str) -> float:
    parts = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


@pytest.mark.parametrize("dark", [0, 1])
def test_text_and_lines_stand_out_on_a_light_and_a_dark_page(dark):
    """At least 4.5:1 for text, on the page and on the fullest cell of a matrix, and 3:1 for lines (WCAG 2.1)."""
    colours = {name: pair[dark] for name, pair in figures.COLOURS.items()}
    least = {("text", "page"): 4.5, ("soft", "page"): 4.5, ("text", "heat"): 4.5}
    least |= {(name, "page"): 3.0 for name in colours if name[:3] in ("cnn", "dnn", "oth")}
    for pair, ratio in least.items():
        lighter, darker = sorted((luminance(colours[name]) for name in pair), reverse=True)
        assert (lighter + 0.05) / (darker + 0.05) >= ratio, pair


def test_svg_keeps_text_and_takes_the_page_s_colours(all_figures):
    for name in ("chart", "dots", "confusion matrix"):
        text = figures.svg(all_figures[name], "own", "what it shows")
        root = ElementTree.fromstring(text)
        assert root.get("aria-label") == "what it shows"
        assert {"chart": "loss", "dots": "humans", "confusion matrix": "disgust"}[name] in "".join(root.itertext())
        assert "var(--" in text
        assert not any(pair[0] in text for pair in figures.COLOURS.values())
        assert all(element.get("id").startswith("own-") for element in root.iter() if element.get("id"))


def test_mistakes_come_by_pair_and_class_with_the_most_confident_first():
    # fear/sad is confused most; then angry/neutral. Angry and sad have recall 0, with no error beyond those
    figure = figures.mistakes(*FEW, title="CNN", synthetic=False)
    assert shown(figure) == [2, 0, 1, 3]  # fear taken for sad, then sad for fear
    words = texts(figure)
    assert "4 of 6 images misclassified" in words[1]
    rows = [word for word in words if word in ("fear / sad", "angry / neutral", "angry", "fear")]
    assert rows.index("fear / sad") < rows.index("angry / neutral")
    assert "3 images taken for each other, on average 100.0% of a class" in words
    assert "1 image taken for each other, on average 50.0% of a class" in words
    # angry's one error and sad's two are shown already
    assert [word for word in words if word.startswith("recall")] == [
        "recall 0.000: 1 of 1 image missed",
        "recall 0.000: 2 of 2 images missed",
    ]
    assert words[words.index("→ fear 0.90") - 1] == "sad"


def test_rows_of_the_worst_classes_show_errors_not_shown_before():
    # five pairs with disgust at 2 errors each; only four pairs have rows, so the fifth is shown by the class's row
    targets = [1] * 10 + [0, 2, 3, 4, 5] * 20
    predicted = [0, 0, 2, 2, 3, 3, 4, 4, 5, 5] + [0, 2, 3, 4, 5] * 20
    figure = figures.mistakes(*faces(targets, predicted, np.linspace(0.9, 0.1, 110)), title="CNN", synthetic=False)
    assert shown(figure) == [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert "recall 0.000: 10 of 10 images missed" in texts(figure)


def test_a_row_holds_ten_faces():
    figure = figures.mistakes(*faces([2] * 30, [4] * 30, np.linspace(0.1, 0.9, 30)), title="CNN", synthetic=False)
    assert shown(figure) == list(range(29, 9, -1))  # ten of the pair, ten others of the class
    both = faces([2] * 20 + [4] * 20, [4] * 20 + [2] * 20, np.linspace(0.1, 0.9, 40))
    assert shown(figures.mistakes(*both, title="CNN", synthetic=False))[:10] == [*range(19, 14, -1), *range(39, 34, -1)]


def test_identical_photographs_are_shown_once():
    pixels, *others = faces([2] * 4, [4] * 4, [0.9, 0.8, 0.7, 0.6])
    pixels[2] = pixels[0]
    figure = figures.mistakes(pixels, *others, title="CNN", synthetic=False)
    assert shown(figure) == [0, 1, 3]
    assert "4 of 4 images misclassified" in texts(figure)[1]


def test_no_mistakes_make_no_rows():
    figure = figures.mistakes(*faces([1, 2], [1, 2], 0.9), title="CNN", synthetic=False)
    assert shown(figure) == []
    assert texts(figure) == ["CNN", "0 of 2 images misclassified"]  # of real faces nothing is said


def test_save_writes_a_png(tmp_path, all_figures):
    save(all_figures["curves"], tmp_path / "curves.png")
    assert imread(tmp_path / "curves.png").shape == (720, 1500, 4)
    assert [file.name for file in tmp_path.iterdir()] == ["curves.png"]
