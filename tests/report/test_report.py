import base64
import io
import json
import re
from functools import cache
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from conftest import run_command
from PIL import Image
from results.test_comparison import FAILED, write_job

from fer_lightning.data import fer2013, synthetic
from fer_lightning.data.faces import CLASSES, Faces, digest, fingerprint
from fer_lightning.errors import UserError
from fer_lightning.models import CNN, DNN
from fer_lightning.report import __main__ as command
from fer_lightning.report import answers, findings, html, markdown
from fer_lightning.report.ablation import _falls
from fer_lightning.report.archive import Archive, positions
from fer_lightning.report.charts import LEFT, Chart, Line, epoch_ticks, svg, ticks
from fer_lightning.report.comparisons import compare_accuracy
from fer_lightning.report.findings import main_condition, rivals, unique_names
from fer_lightning.report.networks import layers_of
from fer_lightning.results.axes import y_range
from fer_lightning.results.run_folder import EPOCH_COLUMNS
from fer_lightning.results.scores import confused_pairs, confusion_matrix, overfitting_epoch, recall, wilson_interval

COLUMNS = ("train_cross_entropy", "train_acc", "val_loss", "val_acc")
TRAINING, PUBLIC = 140, 60  # rows of the small data set
PREDICTED = ["split", "index", "target", "predicted", *CLASSES]


# --- runs made of files


@pytest.fixture(scope="module")
def small_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fer2013.csv of 200 random images."""
    rng = np.random.default_rng(0)
    lines = ["emotion,pixels,Usage"]
    for row in range(TRAINING + PUBLIC):
        usage = "Training" if row < TRAINING else "PublicTest"
        lines.append(f"{row % 7},{' '.join(map(str, rng.integers(0, 256, 48 * 48).tolist()))},{usage}")
    path = tmp_path_factory.mktemp("data") / "fer2013.csv"
    path.write_text("\n".join(lines) + "\n")
    return path


def curve(epochs: int, *, start: float = 1.9, fall: float = 0.5, accuracy: float = 0.4, lowest: int = 99, seed=0):
    """metrics.csv: losses that fall by `fall`, the validation loss until the epoch `lowest`."""
    rng = np.random.default_rng(seed)
    epoch = np.arange(1, epochs + 1)
    train_loss = start - fall * (epoch - 1) / max(1, epochs - 1)
    val_loss = start - 0.02 * np.minimum(epoch, lowest) + 0.05 * np.maximum(0, epoch - lowest)
    rise = accuracy * epoch / epochs
    noise = rng.normal(0, 0.002, (4, epochs))
    columns = [
        epoch,
        train_loss + noise[0] + 0.3,  # the objective, above the cross-entropy
        rise + noise[1],
        val_loss,
        rise + noise[3],
        [0.001] * epochs,
        [4.0] * epochs,
        train_loss + noise[0],
    ]
    return pd.DataFrame(dict(zip(EPOCH_COLUMNS, columns, strict=True)))


def predictions(rows: dict[str, range], accuracy: float, seed: int = 0) -> pd.DataFrame:
    """predictions.csv of images whose class is their row modulo 7; exactly that share of each split is right."""
    rng = np.random.default_rng(seed)
    parts = []
    for split, indices in rows.items():
        target = np.array(indices) % 7
        predicted = (target + rng.integers(1, 7, len(target))) % 7
        right = rng.permutation(len(target)) < round(accuracy * len(target))
        predicted[right] = target[right]
        share = rng.uniform(0.4, 0.9, len(target)).round(4)
        probabilities = np.repeat(((1 - share) / 6)[:, None], 7, axis=1)
        probabilities[np.arange(len(target)), predicted] = share
        part = pd.DataFrame(probabilities, columns=list(CLASSES))
        part["split"], part["index"] = split, list(indices)
        part["target"], part["predicted"] = np.array(CLASSES)[target], np.array(CLASSES)[predicted]
        parts.append(part[PREDICTED])
    return pd.concat(parts, ignore_index=True)


@cache
def fingerprint_of(source: str) -> str:
    """What a run on this data says of it; on data that is gone, anything."""
    if source == "synthetic faces":
        return fingerprint(synthetic.draw())
    return fingerprint(fer2013.load(source)) if Path(source).exists() else "0123456789abcdef"


def write_trained(
    folder: Path, source: Path | str, *, model="dnn", aug="norm", seed=0, accuracy=0.4, epochs=None, **more
):
    """A completed run on `small_csv`, its validation images depending on its seed. `more` changes metrics.json."""
    rows = {"val": range(seed * 10, seed * 10 + 100), "public": range(TRAINING, TRAINING + PUBLIC)}
    table = predictions(rows, accuracy, seed=len(model + aug) + 10 * seed)
    right = table["target"] == table["predicted"]
    val, public = right[table["split"] == "val"], right[table["split"] == "public"]
    epochs = curve(12, accuracy=accuracy, seed=seed) if epochs is None else epochs
    metrics = {
        "params": {"cnn": 5_758_791, "dnn": 5_778_439}[model],
        "epochs": len(epochs),
        "best_epoch": int(epochs["val_acc"].idxmax()) + 1,
        "val_acc": float(val.mean()),
        "val_acc_95": wilson_interval(int(val.sum()), len(val)),
        "val_n": len(val),
        "test_public_acc": float(public.mean()),
        "test_public_acc_95": wilson_interval(int(public.sum()), len(public)),
        "test_public_acc_unseen": float(public.mean()) - 0.01,
        "test_private_acc": None,
        "test_private_acc_95": None,
        "test_private_acc_unseen": None,
        "seconds_per_epoch": {"cnn": 40.0, "dnn": 4.0}[model],
        "source": str(source),
        "data_fingerprint": fingerprint_of(str(source)),
        "form": "fer2013.csv (emotion,pixels,Usage)",
        "versions": {"fer_lightning": "0.1.0", "torch": "2.14.1"},
        **more,
    }
    changes = {
        "trainer": {"max_epochs": len(epochs)},
        "data": {"name": "fer2013", "root": str(source), "batch_size": 128},
    }
    write_job(folder, model=model, aug=aug, seed=seed, metrics=metrics, changes=changes, epochs=epochs)
    table.to_csv(folder / "predictions.csv", index=False)
    network = {"cnn": CNN, "dnn": DNN}[model]
    (folder / "model.txt").write_text(f"{NETWORKS[network]}\n\n{metrics['params']:,} trainable parameters\n")
    (folder / ".hydra").mkdir()
    overrides = [f"model={model}", f"aug={aug}", f"seed={seed}", "data.root=/with a/space"]
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))
    return folder


NETWORKS = {network: str(network()) for network in (CNN, DNN)}
ACCURACIES = {"none": (0.30, 0.33, 0.31), "norm": (0.50, 0.53, 0.52), "norm_aug": (0.40, 0.42, 0.43)}
FALLS = {"none": 0.5, "norm": 0.9, "norm_aug": 0.4}
LOWEST = {"none": 4, "norm": 3, "norm_aug": 99}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, small_csv: Path) -> Path:
    """A DNN ablation over three seeds with a run that is too strong, and one CNN run."""
    folder = tmp_path_factory.mktemp("runs")
    number = 0
    for aug, accuracies in ACCURACIES.items():
        for seed, accuracy in enumerate(accuracies):
            epochs = curve(12, fall=FALLS[aug], accuracy=accuracy, lowest=LOWEST[aug], seed=seed)
            job = folder / "dnn" / f"{number}-dnn-{aug}-seed{seed}"
            write_trained(job, small_csv, aug=aug, seed=seed, accuracy=accuracy, epochs=epochs)
            number += 1
    epochs = curve(12, fall=0.02, accuracy=0.2)
    write_trained(folder / "dnn" / "9-dnn-too_strong", small_csv, aug="too_strong", accuracy=0.2, epochs=epochs)
    epochs = curve(8, fall=0.8, accuracy=0.6, lowest=5)
    write_trained(folder / "cnn", small_csv, model="cnn", aug="norm_aug", accuracy=0.6, epochs=epochs)
    return folder


# --- the page, read again


class Page:
    """A report's page: tables as lists of rows by caption or first header, charts by title."""

    def __init__(self, text: str) -> None:
        self.root = ElementTree.fromstring(text)  # well-formed, or an error
        self.text = " ".join("".join(self.root.itertext()).split())
        self.tables: list[tuple[str, list[str], list[list[str]]]] = []
        caption = ""
        for element in self.root.iter():
            if element.get("class") == "caption":
                caption = "".join(element.itertext())
            if element.tag == "table":
                lines = [["".join(cell.itertext()) for cell in row] for row in element.iter("tr")]
                self.tables.append((caption, lines[0], lines[1:]))
                caption = ""

    def table(self, caption: str) -> list[list[str]]:
        found = [rows for title, heads, rows in self.tables if title.startswith(caption) or heads[0] == caption]
        assert found, [(title, heads[0]) for title, heads, _ in self.tables]
        return found[0]

    @property
    def charts(self) -> dict[str, ElementTree.Element]:
        charts = [element for element in self.root.iter("svg") if element.get("class") == "chart"]
        return {chart.get("aria-label", ""): chart for chart in charts}

    @property
    def missing(self) -> list[str]:
        """The items of `What is missing`."""
        elements = list(self.root.iter())
        heads = [i for i, element in enumerate(elements) if element.tag == "h2" and element.text == "What is missing"]
        if not heads:
            return []
        listed = next(element for element in elements[heads[0] :] if element.tag == "ul")
        return ["".join(item.itertext()) for item in listed]


def reported(*paths: Path) -> Page:
    return Page(html.render(answers.report(findings.read(paths), Archive(), "the command"), command.MARKER))


@pytest.fixture(scope="module")
def page(runs: Path) -> Page:
    return reported(runs)


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def jobs(runs: Path, aug: str) -> list[Path]:
    return [path for path in sorted((runs / "dnn").iterdir()) if f"-{aug}-seed" in path.name]


# --- 1. networks


def test_parameters_and_layers_stand_beside_the_published_ones(page):
    assert page.table("network") == [
        ["CNN", "5,758,791", "5,758,791", "as published"],
        ["DNN", "5,778,439", "5,778,439", "as published"],
    ]
    layers = dict(page.table("CNN, input"))
    assert layers["conv0"] == "Conv2d(1, 64, 5×5, padding 2) → LeakyReLU(0.05) → BatchNorm2d(64) → Dropout2d(0.2)"
    assert layers["conv3"].startswith(
        "Conv2d(128, 512, 3×3, padding 1) → LeakyReLU(0.05) → BatchNorm2d(512) → MaxPool2d(2)"
    )
    assert layers["fc1"] == "Linear(4608, 512) → ReLU() → BatchNorm1d(512) → Dropout(0.5)"
    assert [*dict(page.table("DNN, input"))] == ["fc1", "fc2", "fc3"]


def test_another_network_than_the_published_one_is_named_beside_its_accuracy(tmp_path, small_csv, page):
    assert "not the published network" not in page.text
    write_trained(tmp_path / "0", small_csv, params=40_431)
    assert "DNN norm, not the published network (parameters: 40,431): validation" in reported(tmp_path).text


def test_a_printed_network_of_any_depth_is_read():
    printed = """Net(
  (stem): Conv2d(1, 8, kernel_size=(3, 5), stride=(2, 2))
  (body): Sequential(
    (0): Block(
      (conv): Linear(in_features=3, out_features=4, bias=False)
    )
    (1): ReLU(inplace=True)
  )
)"""
    assert layers_of(printed) == {
        "stem": ["Conv2d(1, 8, 3×5, stride 2)"],
        "body.0": ["Linear(3, 4, bias=False)"],
        "body": ["ReLU(inplace=True)"],
    }


def test_settings_stand_beside_the_published_ones(page):
    rows = {key: values for key, *values in page.table("For each network")}
    assert rows["optimizer"] == ["Adam", "Adam", "Adam"]
    assert rows["optimizer.lr"] == ["0.001", "0.001", "0.001"]
    assert rows["trainer.max_epochs"] == ["not said (more than 250)", "8", "12"]
    assert rows["seeds"] == ["not said", "0", "0, 1, 2"]
    assert rows["model.widths"] == ["", "[2048, 512]", "[2048, 512]"]
    assert not any("_target_" in key for key in rows)


def test_accuracies_come_with_spread_interval_unseen_and_the_published_ones(page, runs):
    found = [metrics_of(folder) for folder in jobs(runs, "norm_aug")]
    accuracies = np.array([each["val_acc"] for each in found])
    bounds = np.mean([each["val_acc_95"] for each in found], axis=0)
    row = next(row for row in page.table("Validation and training accuracy") if row[0] == "DNN norm_aug")
    assert row[1:3] == ["0, 1, 2", "12"]
    assert row[4] == f"{accuracies.mean():.3f} ± {accuracies.std(ddof=1):.3f}"
    assert row[5] == f"{bounds[0]:.3f}–{bounds[1]:.3f}"
    assert (row[6], row[8]) == ("0.425–0.435", "0.42–0.43")
    short = f"DNN norm_aug: validation {row[4]} (95 %: {row[5]}; study 0.425–0.435), PublicTest "
    assert short in page.text
    public = np.array([each["test_public_acc"] for each in found])
    row = next(row for row in page.table("Test accuracy") if row[0] == "DNN norm_aug")
    assert row[1:3] == ["PublicTest", f"{public.mean():.3f} ± {public.std(ddof=1):.3f}"]
    assert row[4] == f"{np.mean([each['test_public_acc_unseen'] for each in found]):.3f}"
    low, high = metrics_of(runs / "cnn")["test_public_acc_95"]
    row = next(row for row in page.table("run") if row[0] == "cnn")
    assert row[2] == f"{metrics_of(runs / 'cnn')['test_public_acc']:.3f} ({low:.3f}–{high:.3f})"
    assert row[4:] == ["", ""]  # no PrivateTest


def test_cnn_and_dnn_are_compared_at_the_same_epoch(page, runs):
    cnn = pd.read_csv(runs / "cnn" / "metrics.csv")["val_acc"]
    dnn = np.mean([pd.read_csv(job / "metrics.csv")["val_acc"] for job in jobs(runs, "norm_aug")], axis=0)
    rows = page.table("Validation accuracy at the same epoch")
    assert [row[0] for row in rows] == ["1", "2", "3", "5", "8"]
    assert rows[-1][1] == f"{cnn[7]:.3f}"
    assert rows[-1][2].startswith(f"{dnn[7]:.3f} ± ")
    assert rows[-1][3] == f"{cnn[7] - dnn[7]:+.3f}"
    ahead = int((cnn[:8] > dnn[:8]).sum())
    assert f"the CNN is {cnn[7] - dnn[7]:.3f} ahead, and it is ahead at {ahead} of 8 epochs" in page.text
    assert "takes the CNN 40 s and the DNN 4 s, on the same device: the CNN takes 10 times as long" in page.text
    assert "they differ in trainer.max_epochs (8 and 12)" in page.text


def test_what_follows_is_computed_and_may_contradict_the_study(tmp_path, small_csv):
    epochs = {"cnn": curve(5, accuracy=0.3), "dnn": curve(5, accuracy=0.6)}
    seconds = {"cnn": 2.0, "dnn": 6.0}
    for model in ("cnn", "dnn"):
        accuracy, more = {"cnn": 0.3, "dnn": 0.6}[model], {"seconds_per_epoch": seconds[model]}
        write_trained(tmp_path / model, small_csv, model=model, epochs=epochs[model], accuracy=accuracy, **more)
    text = reported(tmp_path).text
    assert "behind, and it is ahead at" in text
    assert "at the same epoch the CNN is far more accurate; not so here" in text
    assert "the DNN takes 3 times as long" in text
    assert "the DNN trains faster per epoch; not so here" in text


def test_seconds_on_different_devices_are_not_compared(tmp_path, small_csv):
    write_trained(tmp_path / "cnn", small_csv, model="cnn", device="NVIDIA H100")
    write_trained(tmp_path / "dnn", small_csv, device="CPU")
    text = reported(tmp_path).text
    assert "on different devices or in different precisions (NVIDIA H100, 32-true and CPU, 32-true)" in text
    assert "times as long" not in text


# --- 2. curves and charts


def test_every_chart_holds_the_numbers_of_metrics_csv(page, runs):
    folders = {path.name: path for path in (runs / "cnn", *(runs / "dnn").iterdir())}
    drawn: dict[str, set[str]] = {}
    for title, chart in page.charts.items():
        for path in chart.iter("path"):
            if path.get("data-run"):
                run, column = path.get("data-run", ""), path.get("data-column", "")
                values = [float(value) for value in path.get("data-values", "").split(",")]
                expected = pd.read_csv(folders[run] / "metrics.csv")[column]
                np.testing.assert_allclose(values, expected, rtol=1e-4)
                np.testing.assert_allclose(points(chart, path), expected, atol=pixel(chart))
                drawn.setdefault(run, set()).add(column)
        assert title
    assert drawn == {run: set(COLUMNS) for run in folders}


def scale(chart: ElementTree.Element) -> tuple[float, float]:
    """Slope and offset of the y axis, from its grid lines and their labels."""
    elements = list(chart)
    marks = [(float(a.get("y1", "")), float(b.text or "")) for a, b in pairwise(elements) if a.get("class") == "grid"]
    (y0, v0), (y1, v1) = marks[0], marks[-1]
    slope = (v1 - v0) / (y1 - y0)
    return slope, v0 - slope * y0


def epoch_places(chart: ElementTree.Element) -> dict[str, float]:
    """Where the epochs stand that are named under the x axis."""
    return {text.text or "": float(text.get("x", "")) for text in chart.iter("text") if (text.text or "").isdigit()}


def pixel(chart: ElementTree.Element) -> float:
    return abs(scale(chart)[0])


def points(chart: ElementTree.Element, path: ElementTree.Element) -> list[float]:
    """The values that a line shows, read off the axis."""
    slope, offset = scale(chart)
    top = float(chart.find("svg").get("y", ""))
    return [slope * (float(y) + top) + offset for _, y in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", path.get("d", ""))]


def test_the_epochs_are_where_their_ticks_are():
    chart = ElementTree.fromstring(svg(Chart("title", "loss", [Line("a", [3.0, 2.0, 1.0], 0, run="r", column="c")])))
    at = epoch_places(chart)
    left = float(chart.find("svg").get("x", ""))
    drawn = [left + float(x) for x, _ in re.findall(r"[ML]([-\d.]+) ([-\d.]+)", chart.find("svg/path").get("d"))]
    assert drawn == pytest.approx([at["1"], at["2"], at["3"]], abs=0.1)


def test_the_onset_is_marked_where_the_rule_says(page, runs):
    for run, title in (("cnn", "CNN norm_aug: loss"), ("cnn", "CNN norm_aug: accuracy")):
        onset = overfitting_epoch(pd.read_csv(runs / run / "metrics.csv")["val_loss"])
        mark = page.charts[title].find("svg/line[@class='mark']")
        assert float(mark.get("x1")) + LEFT == pytest.approx(epoch_places(page.charts[title])[str(onset)], abs=0.1)
        assert f"onset: epoch {onset}" in "".join(page.charts[title].itertext())
    assert page.charts["DNN norm_aug: loss"].find("svg/line[@class='mark']") is None
    rows = {row[0]: row[1:4] for row in page.table("setting")}
    assert rows["CNN norm_aug"] == ["8", str(onset), "near epoch 250"]
    assert rows["DNN norm_aug"] == ["12", "none yet, none yet, none yet", "not said"]


def test_a_line_with_gaps_outliers_or_one_epoch_is_drawn():
    gap = svg(Chart("t", "loss", [Line("a", [1.0, float("nan"), 3.0], 0, run="r", column="c")]))
    assert 'data-values="1,,3"' in gap
    assert gap.count("h0L") == 0  # two dots, no line across the gap
    assert len(re.findall(r"M[\d.]+ [\d.]+h0", gap)) == 2
    cut = svg(Chart("t", "loss", [Line("a", [1.0] * 99 + [1e6], 0)]))
    assert "axis cut, highest 1e+06" in cut
    assert "nan" not in svg(Chart("t", "loss", [Line("a", [1.0], 0)]))
    assert "nan" not in svg(Chart("t", "loss", [Line("a", [float("nan")], 0)]))


def test_hovering_shows_the_values_of_an_epoch():
    chart = ElementTree.fromstring(svg(Chart("t", "loss", [Line("a", list(range(300)), 0), Line("b", [7.0], 1)])))
    titles = [title.text for title in chart.iter("title")]
    assert titles[0] == "epoch 1\na: 0\nb: 7"
    assert titles[1].startswith("epoch 7\na: 6")
    assert len(titles) == 50


@pytest.mark.parametrize(("low", "high"), [(0.1, 0.45), (1.2, 1.9), (0, 1), (0.31, 0.42), (-3, 250)])
def test_ticks_are_round_and_inside(low, high):
    found = ticks(low, high)
    assert 3 <= len(found) <= 9
    assert all(low <= value <= high + 1e-9 and float(text) == pytest.approx(value, abs=1e-9) for value, text in found)


@pytest.mark.parametrize("epochs", [1, 2, 7, 16, 100, 300, 1234])
def test_epochs_on_the_axis_begin_with_the_first(epochs):
    found = epoch_ticks(epochs)
    assert found[0] == 1
    assert len(found) <= 10
    assert all(isinstance(epoch, int) and epoch <= epochs for epoch in found)


def test_a_flat_curve_keeps_a_range():
    low, high, highest = y_range(np.array([1.0, 1.0]))
    assert (low, high) == pytest.approx((0.95, 1.05))
    assert highest is None


# --- 3. the ablation


def test_the_published_table_is_filled(page, runs):
    rows = {row[0]: row[1:] for row in page.table("The study’s table, filled in")}
    assert {aug: (row[0], row[3]) for aug, row in rows.items()} == {
        "none": ("second", "lowest"),
        "norm": ("fastest", "second"),
        "norm_aug": ("slowest", "highest"),
    }
    assert {aug: (row[1], row[4]) for aug, row in rows.items()} == {
        "none": ("second", "lowest"),
        "norm": ("fastest", "highest"),
        "norm_aug": ("slowest", "second"),
    }
    for aug, row in rows.items():
        losses = [pd.read_csv(job / "metrics.csv")["train_cross_entropy"].mean() for job in jobs(runs, aug)]
        accuracies = [metrics_of(job)["val_acc"] for job in jobs(runs, aug)]
        for cell, values in ((row[2], losses), (row[5], accuracies)):
            assert cell == f"{np.mean(values):.3f} ± {np.std(values, ddof=1):.3f}"


def test_whether_a_difference_is_chance_agrees_with_scipy(page, runs):
    accuracies = {aug: [metrics_of(job)["val_acc"] for job in jobs(runs, aug)] for aug in ACCURACIES}
    pairs = [("norm_aug", "norm"), ("norm_aug", "none"), ("norm", "none")]
    ps = {pair: scipy.stats.ttest_rel(accuracies[pair[0]], accuracies[pair[1]]).pvalue for pair in pairs}
    rows = {row[0]: row[1:] for row in page.table("More than chance?")}
    assert len(rows) == 6
    largest = 0.0
    for rank, pair in enumerate(sorted(ps, key=ps.__getitem__)):
        largest = max(largest, ps[pair] * (3 - rank))
        here, difference, p, test, finding = rows[f"{pair[0]} is more accurate than {pair[1]}"]
        a, b = (float(np.mean(accuracies[aug])) for aug in pair)
        assert here == f"accuracy {a:.3f} against {b:.3f}"
        assert difference == f"{a - b:+.3f}".replace("-", "−")
        assert p == ("< 0.001" if largest < 0.001 else f"{largest:.3f}")
        assert test == "paired t test, 3 seeds"
        assert finding == ("the opposite" if pair == ("norm_aug", "norm") else "as published") + ", more than chance"
    assert rows["norm falls faster than none"][4] == "as published, more than chance"
    assert "5 as published, more than chance; 1 the opposite, more than chance" in page.text


def test_gap_and_onset_of_each_setting(page, runs):
    rows = {row[0]: row[1:] for row in page.table("The gap between training and validation")}
    assert [*rows] == ["none", "norm", "norm_aug", "too_strong"]
    for aug in ACCURACIES:
        ends = [pd.read_csv(job / "metrics.csv").iloc[-1] for job in jobs(runs, aug)]
        gap = np.mean([end["val_loss"] - end["train_cross_entropy"] for end in ends])
        assert rows[aug][1] == f"{gap:+.3f}".replace("-", "−")
        onsets = [overfitting_epoch(pd.read_csv(job / "metrics.csv")["val_loss"]) for job in jobs(runs, aug)]
        assert rows[aug][3] == ", ".join("none yet" if onset is None else str(onset) for onset in onsets)
    assert "Against aug=norm, augmentation leaves a gap in loss that is smaller at the end" in page.text
    assert "overfitting begins later (onset: none within 12 epochs" in page.text


def test_onsets_that_do_not_differ_are_told_in_words(tmp_path, small_csv):
    for aug in ("none", "norm", "norm_aug"):
        epochs = curve(12, lowest=99 if aug == "none" else 4)
        write_trained(tmp_path / aug, small_csv, aug=aug, epochs=epochs)
    onset = overfitting_epoch(epochs["val_loss"])
    text = reported(tmp_path).text
    assert f"and overfitting begins earlier (onset: epoch {onset} of 12, against none within 12 epochs)." in text
    assert f"overfitting begins with both at once (onset: epoch {onset} of 12, against epoch {onset} of 12)." in text
    write_trained(tmp_path / "again" / "norm_aug", small_csv, aug="norm_aug")
    write_trained(tmp_path / "again" / "norm", small_csv, aug="norm")
    write_trained(tmp_path / "again" / "norm-1", small_csv, aug="norm", seed=1)
    text = reported(tmp_path / "again").text
    assert (
        "and neither overfits yet (onset: none within 12 epochs, against none within 12 epochs with any seed)." in text
    )


def test_all_settings_stand_in_one_picture(page):
    for name in ("training loss", "validation loss", "training accuracy", "validation accuracy"):
        chart = page.charts[f"DNN: {name}"]
        assert len([path for path in chart.iter("path") if path.get("data-run")]) == 10
        legend = [text.text for text in chart if text.tag == "text"][1:5]
        assert legend == ["none", "norm", "norm_aug", "too_strong"]


def test_too_strong_is_held_against_norm_aug(page):
    assert "too strong a setting stops the training loss from falling. Here, with experiment=too_strong" in page.text
    assert "it hardly falls any more (5 % of the fall with norm_aug)" in page.text
    shares = np.bincount(np.arange(100) % 7) / 100  # of the validation images of seed 0
    assert f"Naming only the shares of the classes would cost a loss of {scipy.stats.entropy(shares):.3f}" in page.text


def test_too_strong_may_stand_outside_of_the_ablation_or_alone(tmp_path, small_csv):
    write_trained(tmp_path / "0", small_csv, aug="too_strong", epochs=curve(6, fall=0.1))
    alone = reported(tmp_path)
    assert "there is no run with norm_aug to compare with" in alone.text
    write_trained(tmp_path / "1", small_csv, aug="norm_aug", epochs=curve(12, fall=0.5))
    page = reported(tmp_path)
    assert "from epoch 1 to 6 the training loss goes from" in page.text
    assert "Besides the augmentation they differ in trainer.max_epochs." in page.text
    lines = [path for path in page.charts["DNN: training loss"].iter("path") if path.get("data-run")]
    assert [path.get("data-run") for path in lines] == ["1", "0"]


def test_a_network_of_ones_own_is_reported_too(tmp_path, small_csv):
    write_trained(tmp_path / "0", small_csv)
    metrics = metrics_of(tmp_path / "0") | {"model": "mynet", "params": 7}
    (tmp_path / "0" / "metrics.json").write_text(json.dumps(metrics))
    page = reported(tmp_path)
    assert page.table("network") == [["MYNET", "7", "", ""]]
    assert "CNN beside DNN: not answered, for want of a completed run of the CNN and DNN." in page.text
    assert "MYNET norm: loss" in page.charts


def test_single_runs_are_compared_by_mcnemar_on_the_same_images(tmp_path, small_csv):
    folders = {}
    for aug in ("none", "norm"):
        epochs = curve(12, fall=FALLS[aug])
        folders[aug] = write_trained(tmp_path / aug, small_csv, aug=aug, accuracy=ACCURACIES[aug][0], epochs=epochs)
    right = {}
    for aug, folder in folders.items():
        table = pd.read_csv(folder / "predictions.csv")
        right[aug] = (table["target"] == table["predicted"])[table["split"] == "val"].to_numpy()
    b, c = int((right["norm"] & ~right["none"]).sum()), int((right["none"] & ~right["norm"]).sum())
    p = scipy.stats.binomtest(b, b + c).pvalue
    page = reported(tmp_path)
    rows = {row[0]: row[1:] for row in page.table("More than chance?")}
    _, difference, shown, test, _ = rows["norm is more accurate than none"]
    assert difference == f"{right['norm'].mean() - right['none'].mean():+.3f}"
    assert shown == ("< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}")
    assert test.startswith("McNemar’s test of one run each, 100 validation images: ")
    assert test.endswith(f"{b} right only with the first, {c} only with the second")
    assert rows["norm falls faster than none"][2:] == [
        "–",
        "no test: too few seeds",
        "as published, not tested",
    ]


def test_single_runs_of_other_seeds_are_compared_on_test_images(tmp_path, small_csv):
    write_trained(tmp_path / "0", small_csv, aug="none", seed=0)
    write_trained(tmp_path / "1", small_csv, aug="norm", seed=1)
    study = findings.read([tmp_path])
    assert "60 PublicTest images" in compare_accuracy(*study.conditions).test
    for run in study.runs:
        run.predictions = run.predictions[run.predictions["split"] != "public"]
    found = compare_accuracy(*study.conditions)
    assert (found.p, found.test) == (None, "no test: too few seeds")


def test_seeds_that_are_not_the_same_are_compared_by_welch(tmp_path, small_csv):
    values = {"none": {0: 0.3, 1: 0.35}, "norm": {2: 0.5, 3: 0.4, 4: 0.46}}
    for aug, by_seed in values.items():
        for seed, accuracy in by_seed.items():
            write_trained(tmp_path / f"{aug}{seed}", small_csv, aug=aug, seed=seed, val_acc=accuracy)
    found = compare_accuracy(*findings.read([tmp_path]).conditions)
    expected = scipy.stats.ttest_ind([*values["none"].values()], [*values["norm"].values()], equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.test == "Welch’s t test, 2 and 3 seeds"


# --- 4. confusions


def test_recall_and_pairs_agree_with_the_predictions(page, runs):
    table = pd.read_csv(jobs(runs, "norm_aug")[0] / "predictions.csv")
    table = table[table["split"] == "val"]
    indices = [[CLASSES.index(name) for name in table[column]] for column in ("target", "predicted")]
    matrix = confusion_matrix(*indices)
    shown = next(rows for caption, _, rows in reversed(page.tables) if caption.startswith("Confusion matrix"))
    for name, row, counts, share in zip(CLASSES, shown, matrix, recall(matrix), strict=True):
        percent = counts / counts.sum() * 100
        assert row == [
            name,
            *(f"{p:.0f} %{n}" for p, n in zip(percent, counts, strict=True)),
            str(counts.sum()),
            f"{share:.3f}",
        ]
    pairs = [(CLASSES[pair.a], CLASSES[pair.b]) for pair in confused_pairs(matrix)]
    listed = [rows for caption, _, rows in page.tables if caption.startswith("The pairs confused most")][1]
    assert [row[4] for row in listed][:6] == ["/".join(pair) for pair in pairs[:6]]
    study = {row[3]: int(row[0]) for row in listed if row[3]}
    images = sorted((pair.images for pair in confused_pairs(matrix)), reverse=True)
    assert all(images[int(row[2]) - 1] == int(row[5]) for row in listed)
    for place, pair in zip(
        ("first", "second", "third"), (("fear", "sad"), ("fear", "surprise"), ("sad", "neutral")), strict=True
    ):
        assert study[place] == pairs.index(pair) + 1
    worst = np.argsort(recall(matrix), kind="stable")[:2]
    assert f"Lowest recall: {CLASSES[worst[0]]} ({recall(matrix)[worst[0]]:.3f})" in page.text


@pytest.mark.parametrize(
    ("classes", "found", "words"),
    [
        (
            CLASSES,
            "happy",
            "angry (0.000), disgust (0.000), fear (0.000), sad (0.000), surprise (0.000) and neutral (0.",
        ),
        (CLASSES[2:5], "fear", "happy (0.000) and sad (0.000). The study: fear and sad; not the same."),
        (("fear", "sad", "happy"), "happy", "fear (0.000) and sad (0.000). The study: fear and sad; the same."),
        (("sad",), "sad", "sad (1.000). The study: fear and sad; not the same."),
    ],
)
def test_classes_of_one_recall_are_all_named(tmp_path, small_csv, classes, found, words):
    folder = write_trained(tmp_path / "0", small_csv)
    table = pd.read_csv(folder / "predictions.csv")
    table["predicted"] = found
    table[table["target"].isin(classes)].to_csv(folder / "predictions.csv", index=False)
    assert f"Lowest recall: {words}" in reported(tmp_path).text


def test_faces_are_those_of_the_data_surest_first(page, runs, small_csv):
    pixels = [np.array(line.split(",")[1].split(), np.uint8) for line in small_csv.read_text().splitlines()[1:]]
    table = pd.read_csv(runs / "cnn" / "predictions.csv")
    rows = [div for div in page.root.iter("div") if div.get("class") == "faces"]
    assert rows
    seen = 0
    for row in rows:
        confidences = []
        for figure in row:
            target, predicted, at = (figure.findtext("figcaption") or "").split("\n")
            index = int(at.removeprefix("row "))
            image = Image.open(io.BytesIO(base64.b64decode(figure.find("img").get("src").partition(",")[2])))
            np.testing.assert_array_equal(np.asarray(image).ravel(), pixels[index])
            assert target == CLASSES[index % 7]
            confidences.append(float(predicted.rpartition(" ")[2]))
            line = table[(table["split"] == "val") & (table["index"] == index)]
            if len(line) and line["predicted"].item() == predicted.split()[1]:
                seen += round(line[predicted.split()[1]].item(), 2) == confidences[-1]
        assert confidences == sorted(confidences, reverse=True)
    assert seen > 5


def test_data_that_is_gone_or_other_gives_a_message_and_no_face(tmp_path, small_csv, monkeypatch):
    lines = small_csv.read_text().splitlines()
    other = tmp_path / "other" / "fer2013.csv"
    other.parent.mkdir()
    other.write_text("\n".join(lines))
    write_trained(tmp_path / "runs" / "other", other, aug="norm_aug")
    first, _, others = lines[1].removeprefix("0,").partition(" ")
    lines[1] = f"0,{(int(first) + 1) % 256} {others}"  # the same labels, one pixel of one image another
    other.write_text("\n".join(lines))
    mine = fingerprint_of(str(small_csv))
    write_trained(tmp_path / "runs" / "gone", tmp_path / "gone.csv", data_fingerprint=mine)
    page = reported(tmp_path / "runs")
    assert f"The faces cannot be shown: {other} holds other data than the run was scored on." in page.text
    assert list(page.root.iter("img")) == []
    assert "gone.csv does not exist" in page.text
    monkeypatch.setenv("FER2013_ROOT", str(tmp_path / "nowhere"))  # which no longer holds anything
    assert "FER2013_ROOT" in reported(tmp_path / "runs").text
    monkeypatch.setenv("FER2013_ROOT", str(small_csv))  # the same data in another place
    assert len(list(reported(tmp_path / "runs").root.iter("img"))) > 5


def test_a_run_that_does_not_say_which_data_it_had_is_shown_no_faces(tmp_path, small_csv):
    write_trained(tmp_path / "0", small_csv, data_fingerprint=None)
    page = reported(tmp_path)
    assert "The faces cannot be shown: its metrics.json has no data_fingerprint" in page.text
    assert list(page.root.iter("img")) == []
    assert page.table("data")[0][4] == "not recorded"


def test_the_same_images_in_other_rows_are_not_shown(tmp_path, small_csv):
    """The fingerprint is the same whatever their order; predictions.csv names rows."""
    header, *lines = small_csv.read_text().splitlines()
    turned = tmp_path / "fer2013.csv"
    turned.write_text("\n".join([header, *lines[1:TRAINING], lines[0], *lines[TRAINING:]]))
    assert fingerprint_of(str(turned)) == fingerprint_of(str(small_csv))
    write_trained(tmp_path / "run", turned)  # whose predictions are of `small_csv`'s rows
    assert f"{turned} holds other data than the run was scored on" in reported(tmp_path / "run").text


def test_the_fingerprint_is_of_the_images_not_of_their_order():
    faces = synthetic.draw(train=40, test=20)
    order = np.random.default_rng(0).permutation(len(faces))
    parts = (faces.pixels, faces.labels, faces.usage, faces.rows, faces.digests)
    again = Faces(*(part[order] for part in parts), names=None, source="elsewhere", form="npz", synthetic=True)
    other = Faces(faces.pixels, np.roll(faces.labels, 1), *parts[2:], names=None, source="", form="", synthetic=True)
    assert re.fullmatch("[0-9a-f]{16}", fingerprint(faces))
    assert fingerprint(again) == fingerprint(faces) != fingerprint(other)


# --- the rest of the page


def test_others_stand_beside_ours_with_the_split_named(page, runs):
    rows = {row[0]: row[1:] for row in page.table("system")}
    assert rows["2013 competition winner"][0] == "71.16 %"
    low, high = metrics_of(runs / "cnn")["test_public_acc_95"]
    accuracy = metrics_of(runs / "cnn")["test_public_acc"]
    assert rows["here: CNN norm_aug"][:2] == [
        "",
        f"{accuracy:.2%} ({low * 100:.1f}–{high * 100:.1f})".replace("%", " %"),
    ]
    assert "no labelled PrivateTest images. Ours are scores on PublicTest, which are other images" in page.text


def test_every_setting_stands_beside_the_others_best_first(page, runs):
    rows = [(row[0].removeprefix("here: "), row[3]) for row in page.table("system") if row[0].startswith("here: ")]
    assert [name for name, _ in rows] == ["CNN norm_aug", "DNN norm", "DNN norm_aug", "DNN none", "DNN too_strong"]
    accuracies = [metrics_of(job)["val_acc"] for job in jobs(runs, "norm")]
    spread = f"{np.mean(accuracies):.3f} ± {np.std(accuracies, ddof=1):.3f}"
    assert rows[1][1] == f"validation {spread}; 12 epochs, 3 seeds"


def test_how_to_repeat_it(page, runs, small_csv):
    commands = next(element for element in page.root.iter("pre") if "fer_lightning" in (element.text or "")).text
    assert "python -m fer_lightning model=cnn aug=norm_aug seed=0 'data.root=/with a/space'" in commands.splitlines()
    assert commands.splitlines()[-1] == "the command"
    assert len(commands.splitlines()) == 12
    seeds = {row[0]: row[1] for row in page.table("The same seed")}
    assert seeds["4-dnn-norm-seed1"] == "1"
    assert page.table("device") == [["cpu", "32-true", "fer_lightning 0.1.0, torch 2.14.1", "11"]]
    data = page.table("data")
    assert data[0][:2] == ["fer2013", str(small_csv)]
    assert data[0][3] == "140 Training, 60 PublicTest"
    assert data[0][4] == fingerprint_of(str(small_csv))


def test_links_lead_to_the_parts(page):
    ids = {element.get("id"): element.text for element in page.root.iter() if element.get("id")}
    links = [(link.get("href", "").removeprefix("#"), link.text) for link in page.root.findall(".//nav/a")]
    assert [text for _, text in links][:4] == ["In short", "What is missing", *list(ids.values())[2:4]]
    assert dict(links) == ids
    assert len(ids) == 8


def test_missing_parts_are_named_with_their_command(tmp_path, small_csv, runs, page):
    assert page.missing == [
        "CNN: aug=none and norm with otherwise the same settings: "
        "python -m fer_lightning --multirun model=cnn aug=none,norm",
        "CNN: augmentation that is too strong: python -m fer_lightning model=cnn experiment=too_strong",
        "PrivateTest scores: the data of these runs has no labelled PrivateTest images",
    ]
    write_trained(tmp_path / "0", small_csv, aug="norm")
    write_trained(tmp_path / "1", small_csv, aug="norm_aug", epochs=curve(5))
    (tmp_path / "1" / "predictions.csv").unlink()
    (tmp_path / "1" / "model.txt").unlink()
    lone = reported(tmp_path)
    assert lone.missing[0] == "A completed run of the CNN: python -m fer_lightning model=cnn"
    assert "DNN: two of aug=none, norm and norm_aug with otherwise the same settings" in lone.missing
    assert "DNN: the misclassified faces: the run left no predictions.csv" in lone.missing
    assert "CNN beside DNN: not answered, for want of a completed run of the CNN." in lone.text
    assert "not answered, for want of runs that differ in their augmentation alone" in lone.text
    assert "Confusions: not answered, for want of predictions." in lone.text
    assert "model.txt is not there, so its layers are not known" in lone.text
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan[a-z]*", "", lone.text)


def test_runs_that_did_not_complete_are_named_and_not_counted(tmp_path, small_csv):
    write_trained(tmp_path / "0-good", small_csv)
    write_job(tmp_path / "1-failed", metrics=FAILED, epochs=None)
    write_job(tmp_path / "2-stopped", metrics={"completed": False, "interrupted": True})
    (write_job(tmp_path / "3-running") / "metrics.json").unlink()
    (tmp_path / "4-killed" / ".hydra").mkdir(parents=True)
    write_trained(tmp_path / "5-again", small_csv)
    page = reported(tmp_path)
    assert [item for item in page.missing if item.startswith("Not counted")] == [
        "Not counted: 3-running: left no metrics.json: killed, or still running (after 3 epochs)",
        "Not counted: 4-killed: left no metrics.json: killed, or still running (after 0 epochs)",
        "Not counted: 1-failed: RuntimeError: the loss became `nan` (after 0 epochs)",
        "Not counted: 2-stopped: interrupted (after 3 epochs)",
        "Not counted: 5-again: repeats 0-good: the same settings and seed",
    ]
    assert "1 completed run in 1 setting" in page.text
    assert page.table("Validation and training accuracy")[0][1] == "0"


BROKEN = {
    "metrics.json": ('{"model": "dnn",', "metrics.json: not JSON: "),
    "metrics.csv": ("epoch,train_loss\n1,2\n", "metrics.csv, line 1: expected the columns epoch,"),
    "predictions.csv": ("split,index\nval,1\n", "predictions.csv, line 1: expected the columns split,"),
    "config.yaml": ("a: [1", "config.yaml: not YAML: "),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_run_is_named_with_its_error_and_the_rest_reported(tmp_path, small_csv, name):
    content, message = BROKEN[name]
    write_trained(tmp_path / "0-good", small_csv)
    write_trained(tmp_path / "1-broken", small_csv, aug="norm_aug")
    (tmp_path / "1-broken" / name).write_text(content)
    page = reported(tmp_path)
    (left_out,) = (item for item in page.missing if item.startswith("Not counted"))
    assert left_out.startswith(f"Not counted: 1-broken: {tmp_path}/1-broken/{message}")
    assert "1 completed run in 1 setting" in page.text


def test_a_path_without_a_readable_run_is_refused_whatever_the_others_hold(call, tmp_path, small_csv):
    write_trained(tmp_path / "good", small_csv)
    write_trained(tmp_path / "bad" / "0", small_csv)
    (tmp_path / "bad" / "0" / "metrics.json").write_text("")
    status, _, error = call("good", "bad")
    assert status == 2
    assert error.startswith("fer_lightning: bad: no run in it can be read\n")
    assert "bad/0/metrics.json: not JSON" in error
    assert not (tmp_path / "report.html").exists()
    status, out, _ = call(".")
    assert (status, out.splitlines()[0]) == (0, "report.html: 1 run reported, 1 left out")
    assert out.splitlines()[1].startswith(f"  left out: 0: {tmp_path}/bad/0/metrics.json: not JSON")


@pytest.mark.parametrize("overrides", ["a: [1", "a: 1", ""])
def test_broken_files_beside_the_figures_cost_only_what_they_say(tmp_path, small_csv, overrides):
    write_trained(tmp_path / "0-good", small_csv)
    (tmp_path / "0-good" / ".hydra" / "overrides.yaml").write_text(overrides)
    write_job(tmp_path / "1-killed")
    (tmp_path / "1-killed" / "metrics.json").unlink()
    (tmp_path / "1-killed" / "metrics.csv").write_text("epoch\n")
    page = reported(tmp_path)
    assert "so their command is not known: 0-good" in page.text
    killed = next(item for item in page.missing if "1-killed" in item)
    assert "left no metrics.json: killed, or still running (" in killed
    assert "metrics.csv, line 1: expected the columns" in killed


def test_a_run_given_twice_counts_once(runs):
    study = findings.read([runs, runs / "dnn", runs / "cnn", f"{runs}/dnn/../cnn"])
    assert len({run.name for run in study.runs}) == len(study.runs) == 11
    assert study.left_out == []


def test_runs_of_one_name_are_told_apart(tmp_path):
    paths = [tmp_path / "a" / "0-dnn", tmp_path / "b" / "0-dnn", tmp_path / "b" / "1-dnn"]
    assert list(unique_names(paths).values()) == ["a/0-dnn", "b/0-dnn", "1-dnn"]


def test_what_only_says_where_things_lie_makes_no_other_setting(tmp_path, small_csv):
    for seed, root in enumerate([str(small_csv), None]):
        write_trained(tmp_path / str(seed), small_csv, seed=seed)
        config = tmp_path / str(seed) / "config.yaml"
        config.write_text(
            config.read_text().replace(f"root: {small_csv}", f"root: {root or 'null'}") + f"logger:\n  x: {seed}\n"
        )
    assert [condition.seeds for condition in findings.read([tmp_path]).conditions] == [[0, 1]]


def test_the_longest_norm_aug_stands_for_a_network(tmp_path, small_csv):
    write_trained(tmp_path / "0", small_csv, aug="norm", epochs=curve(30), accuracy=0.9)
    write_trained(tmp_path / "1", small_csv, aug="norm_aug", epochs=curve(8))
    write_trained(tmp_path / "2", small_csv, aug="norm_aug", epochs=curve(9))
    conditions = findings.read([tmp_path]).conditions
    assert [condition.title for condition in conditions] == [
        "DNN norm",
        "DNN norm_aug trainer.max_epochs=8",
        "DNN norm_aug trainer.max_epochs=9",
    ]
    assert main_condition(conditions).epochs == 9


def test_networks_are_compared_with_the_same_augmentation(tmp_path, small_csv):
    write_trained(tmp_path / "0", small_csv, model="cnn", aug="norm")
    write_trained(tmp_path / "1", small_csv, model="dnn", aug="norm_aug")
    study = findings.read([tmp_path])
    assert [condition.aug for condition in rivals(study)] == ["norm", "norm_aug"]  # nothing better is there
    write_trained(tmp_path / "2", small_csv, model="dnn", aug="norm")
    study = findings.read([tmp_path])
    assert [condition.aug for condition in rivals(study)] == ["norm", "norm"]


# --- synthetic faces


@pytest.mark.slow
def test_synthetic_faces_are_marked_on_every_figure(tmp_path):
    faces = synthetic.draw()
    for aug in ("none", "norm_aug"):
        folder = write_trained(tmp_path / aug, "synthetic faces", aug=aug, data="synthetic", synthetic=True)
        rows = np.flatnonzero(faces.usage == 0)[:200]
        table = pd.read_csv(folder / "predictions.csv").head(100)
        table["index"] = faces.rows[rows[:100]]
        table["target"] = np.array(CLASSES)[faces.labels[rows[:100]]]
        table.to_csv(folder / "predictions.csv", index=False)
    page = reported(tmp_path)
    assert page.root.findtext("body/h1", "").endswith("SYNTHETIC FACES")
    assert page.root.find("body/p[@class='warning']") is not None
    assert page.charts
    assert all(title.endswith("· synthetic faces") for title in page.charts)
    figures = [caption for caption, _, _ in page.tables if caption.startswith("Confusion matrix")]
    figures += ["".join(p.itertext()) for p in page.root.iter("p") if p.get("class") == "soft"]
    assert len(figures) > 1
    assert all("synthetic faces" in text for text in figures)
    image = next(
        figure
        for figure in page.root.iter("figure")
        if figure.find("figcaption") is not None and figure.find("img") is not None
    )
    row = int(image.findtext("figcaption", "").rpartition("row ")[2])
    drawn = Image.open(io.BytesIO(base64.b64decode(image.find("img").get("src").partition(",")[2])))
    np.testing.assert_array_equal(np.asarray(drawn), faces.pixels[row])


def test_synthetic_runs_are_not_compared_with_real_ones(tmp_path, small_csv):
    write_trained(tmp_path / "real", small_csv)
    write_trained(tmp_path / "drawn", "synthetic faces", model="cnn", data="synthetic", synthetic=True)
    page = reported(tmp_path)
    assert "SYNTHETIC" not in page.text
    assert "Not counted: drawn: on synthetic faces, which are not compared with FER2013" in page.missing
    assert page.table("network")[0][0] == "DNN"


# --- what is written


NASTY = "<script>alert(1)<%2Fscript> a&b |x| `y` _z_"


def test_names_are_text_and_never_markup(tmp_path, small_csv):
    aug = "<img src=x onerror=alert(1)>"
    write_trained(tmp_path / NASTY, small_csv, aug=aug, device="<b>CPU</b>")
    write_job(tmp_path / "0-failed", metrics=FAILED | {"error": "</li><script>alert(2)</script>"}, epochs=None)
    study = findings.read([tmp_path])
    blocks = answers.report(study, Archive(), "python '<script>'")
    page = Page(html.render(blocks, command.MARKER))
    assert {element.tag for element in page.root.iter()} & {"script", "b", "x"} == set()
    assert NASTY in page.text
    assert f"DNN {aug}" in page.text
    assert all(element.get("alt", "").startswith("face: ") for element in page.root.iter("img"))
    text, pictures = markdown.render(blocks, "report_files", command.MARKER)
    outside = re.sub(r"(?m)^    .*$|`[^`\n]*`", "", text)  # code is literal in Markdown
    assert re.findall(r"<(?!!--|/?details>|/?summary>|report_files/)[a-zA-Z/!?]", outside) == []
    assert r"a&b \|x\| \`y\` \_z\_" in text
    for name, content in pictures.items():
        if name.endswith(".svg"):
            assert {element.tag.rpartition("}")[2] for element in ElementTree.fromstring(content).iter()} <= {
                *("svg", "style", "text", "line", "path", "rect", "title")
            }


@pytest.mark.slow
def test_the_same_runs_make_the_same_report(runs):
    first, second = (answers.report(findings.read([runs]), Archive(), "command") for _ in range(2))
    assert html.render(first, "marker") == html.render(second, "marker")
    assert markdown.render(first, "files", "marker") == markdown.render(second, "files", "marker")


@pytest.mark.slow
def test_long_curves_stay_light(tmp_path):
    for aug in ACCURACIES:
        for seed in range(3):
            for model in ("cnn", "dnn"):
                folder = tmp_path / f"{model}-{aug}-{seed}"
                write_trained(folder, "nowhere", model=model, aug=aug, seed=seed, epochs=curve(300, seed=seed))
    text = html.render(answers.report(findings.read([tmp_path]), Archive(), "command"), "marker")
    assert len(text.encode()) < 1_000_000


def test_markdown_holds_the_same_tables_and_its_pictures(runs, page):
    blocks = answers.report(findings.read([runs]), Archive(), "the command")
    text, pictures = markdown.render(blocks, "report_files", "marker")
    for _, heads, rows in page.tables:
        if heads[0] != "true class":
            for row in rows:
                assert "| " + " | ".join(map(markdown.escape, row)) + " |" in text
    named = re.findall(r"\]\(<report_files/([^>]+)>\)", text)
    assert sorted(named) == sorted(pictures)
    assert len([name for name in named if name.endswith(".svg")]) == len(page.charts)
    for name in named:
        if name.endswith(".svg"):
            ElementTree.fromstring(pictures[name])
        else:
            assert Image.open(io.BytesIO(pictures[name])).height >= 48


# --- the command


@pytest.fixture
def call():
    """`call(path, …)` runs the command in the current folder: its exit status, output and errors."""

    def ended(*arguments: str | Path) -> tuple[int, str, str]:
        ended = run_command(command.main, *arguments)
        return ended.status, ended.out, ended.err

    return ended


def test_the_command_writes_a_page(call, tmp_path, runs):
    assert call(runs) == (0, "report.html: 11 runs reported, 0 left out\n", "drawing 11 runs …\n")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    assert f"python -m fer_lightning.report {runs} --out report.html" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
def test_an_earlier_report_is_replaced_with_its_pictures(tmp_path, runs):
    for out in (tmp_path / "report.html", tmp_path / "report.md"):
        command.work([str(runs)], out)
        before = out.read_text()
        command.work([str(runs / "cnn")], out)
        assert out.read_text() != before
    pictures = {path.name for path in (tmp_path / "report_files").iterdir()}
    assert pictures == set(re.findall(r"<report_files/([^>]+)>", (tmp_path / "report.md").read_text()))
    assert {path.name for path in tmp_path.iterdir()} == {"report.html", "report.md", "report_files"}


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("name", ["chart-01.svg", "chart-99.svg", "faces-7.png"])
def test_pictures_of_others_are_neither_replaced_nor_deleted(call, tmp_path, runs, name):
    folder = tmp_path / "notes_files"
    folder.mkdir()
    (folder / name).write_text("my own")
    before = files_of(folder)
    status, _, error = call(runs / "cnn", "--out", "notes.md")
    assert (status, error.count("\n")) == (2, 1)
    assert f"--out notes.md: no report there wrote notes_files/{name}, so it is not overwritten" in error
    assert files_of(folder) == before
    assert not (tmp_path / "notes.md").exists()


def test_a_picture_that_was_changed_since_is_no_longer_the_reports(call, tmp_path, runs):
    assert call(runs, "--out", "notes.md")[0] == 0
    folder = tmp_path / "notes_files"
    (folder / "note.txt").write_text("my own, in nobody's way")
    (folder / "chart-03.svg").write_text("my own")
    before = files_of(folder)
    assert call(runs / "cnn", "--out", "notes.md")[0] == 2
    assert files_of(folder) == before
    (folder / "chart-03.svg").unlink()
    assert call(runs / "cnn", "--out", "notes.md")[0] == 0
    assert len(files_of(folder)) < len(before)
    assert (folder / "note.txt").read_text() == "my own, in nobody's way"


def test_a_page_needs_no_folder_of_pictures(tmp_path, runs):
    (tmp_path / "notes_files").write_text("a file")
    with pytest.raises(UserError, match=r"the pictures go into the folder .*notes_files, but that is a file"):
        command.work([str(runs)], tmp_path / "notes.md")
    command.work([str(runs)], tmp_path / "notes.html")
    assert (tmp_path / "notes_files").read_text() == "a file"


@pytest.mark.parametrize(
    ("out", "message"),
    [
        ("report.pdf", "the name must end in .html or .md"),
        ("absent/report.html", "there is no folder"),
        ("folder.md", "it is a folder"),
        ("notes.md", "it exists and is no report"),
    ],
)
def test_a_place_where_no_report_belongs_is_refused(tmp_path, runs, out, message):
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "notes.md").write_text("my notes, some of them made by fer_lightning.report")
    with pytest.raises(UserError, match=f"--out .*{re.escape(out)}: .*{message}"):
        command.work([str(runs)], tmp_path / out)
    assert (tmp_path / "notes.md").read_text().startswith("my notes")


def test_a_path_without_completed_runs_is_refused(call, tmp_path):
    write_job(tmp_path / "0-failed", metrics=FAILED, epochs=None)
    with pytest.raises(UserError, match=r"none of the runs completed.*0-failed: RuntimeError"):
        findings.read([tmp_path])
    (tmp_path / "empty").mkdir()
    status, _, error = call("empty")
    assert status == 2
    assert re.fullmatch(r"fer_lightning: empty: no run in it or below it .*\n", error)
    assert not (tmp_path / "report.html").exists()


def test_a_folder_of_unfinished_runs_names_them(call, tmp_path):
    (write_job(tmp_path / "sweep" / "0-running") / "metrics.json").unlink()
    status, _, error = call("sweep")
    assert status == 2
    assert "sweep: no run in it or below it" in error
    assert f"{tmp_path}/sweep/0-running: left no metrics.json: killed, or still running (after 3 epochs)" in error


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder here that nobody can write to")
def test_a_report_that_cannot_be_written_is_one_message(call, runs):
    status, _, error = call(runs, "--out", "/proc/report.html")
    assert (status, error.count("\n")) == (2, 2)
    assert error.splitlines()[1].startswith("fer_lightning: --out /proc/report.html: it cannot be written")


def test_a_mistyped_folder_is_told_the_nearest(call, runs, tmp_path):
    (tmp_path / "outputs").mkdir()
    assert call("output")[2].endswith("; the nearest is outputs\n")


@pytest.mark.parametrize(
    ("harsh", "mild", "words"),
    [
        (-0.1, 0.5, "it does not fall."),
        (0.1, 0.0, "it falls, and with norm_aug it does not."),
        (0.04, 0.5, "it hardly falls any more (8 %"),
        (0.2, 0.5, "it falls less (40 %"),
        (0.6, 0.5, "it falls as much (120 %"),
    ],
)
def test_how_much_the_loss_still_falls_in_words(harsh, mild, words):
    assert _falls(harsh, mild).startswith(words)


def test_images_are_found_by_row_whatever_their_order():
    rows = np.array([7, 3, 5, 3], np.int64)
    pixels = np.zeros((4, 48, 48), np.uint8)
    usage, labels = np.array([0, 0, 1, 3], np.uint8), np.array([1, 2, 3, -1], np.int8)
    faces = Faces(pixels, labels, usage, rows, digest(pixels), None, "source", "form")
    assert positions(faces, np.array([3, 5, 7, 4, 99])).tolist() == [1, 2, 0, -1, -1]
