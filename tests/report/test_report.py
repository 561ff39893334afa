import base64
import io
import json
import os
import re
import time
from collections.abc import Callable
from functools import cache
from itertools import combinations
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from commands import Ended, run_command
from PIL import Image
from results.test_comparison import FAILED, write_job

from fer_lightning.data import fer2013, synthetic
from fer_lightning.data.faces import CLASSES, Faces, digest, fingerprint
from fer_lightning.errors import UserError
from fer_lightning.photographs import aligned
from fer_lightning.report import __main__ as command
from fer_lightning.report import ablation, curves, published
from fer_lightning.report import page as pages
from fer_lightning.report import study as studies
from fer_lightning.report.archive import positions
from fer_lightning.report.comparisons import compare_accuracy
from fer_lightning.results import figures
from fer_lightning.results.run_folder import EPOCH_COLUMNS, RECENT, read_run
from fer_lightning.results.scores import confused_pairs, confusion_matrix, overfitting_epoch, recall, wilson_interval

TRAINING, PUBLIC = 140, 60  # rows of the small data set
EPOCHS = 30  # above a tenth of the study's
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
    epochs = curve(EPOCHS, accuracy=accuracy, seed=seed) if epochs is None else epochs
    metrics = {
        "params": {"cnn": 5_758_791, "dnn": 5_778_439}[model],
        "epochs": len(epochs),
        "best_epoch": int(epochs["val_acc"].idxmax()) + 1,
        "val_acc": float(val.mean()),
        "val_acc_95": wilson_interval(int(val.sum()), len(val)),
        "val_n": len(val),
        "test_public_acc": float(public.mean()),
        "test_public_acc_95": wilson_interval(int(public.sum()), len(public)),
        "test_public_acc_unseen": 30 / 50,
        "test_public_acc_unseen_95": wilson_interval(30, 50),
        "test_public_unseen_n": 50,
        "device": "CPU of some kind, 2 threads",
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
    (folder / "model.txt").write_text(f"the layers of a {model}\n")
    (folder / ".hydra").mkdir()
    overrides = [f"model={model}", f"aug={aug}", f"seed={seed}", "data.root=/with a/space"]
    (folder / ".hydra" / "overrides.yaml").write_text(json.dumps(overrides))
    return folder


ACCURACIES = {"none": (0.38, 0.40, 0.33), "norm": (0.50, 0.53, 0.52), "norm_aug": (0.40, 0.42, 0.43)}
FALLS = {"none": 0.5, "norm": 0.9, "norm_aug": 0.4}
LOWEST = {"none": 9, "norm": 8, "norm_aug": 99}


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory, small_csv: Path) -> Path:
    """A DNN ablation over three seeds with a run that is too strong, and one CNN run."""
    folder = tmp_path_factory.mktemp("runs")
    number = 0
    for aug, accuracies in ACCURACIES.items():
        for seed, accuracy in enumerate(accuracies):
            epochs = curve(EPOCHS, fall=FALLS[aug], accuracy=accuracy, lowest=LOWEST[aug], seed=number)
            job = folder / "dnn" / f"{number}-dnn-{aug}-seed{seed}"
            write_trained(job, small_csv, aug=aug, seed=seed, accuracy=accuracy, epochs=epochs)
            number += 1
    epochs = curve(EPOCHS, fall=0.02, accuracy=0.2)
    write_trained(folder / "dnn" / "9-dnn-too_strong", small_csv, aug="too_strong", accuracy=0.2, epochs=epochs)
    epochs = curve(EPOCHS + 2, fall=0.8, accuracy=0.6, lowest=20)
    write_trained(folder / "cnn", small_csv, model="cnn", aug="norm_aug", accuracy=0.6, epochs=epochs)
    return folder


# --- the page, read again


class Page:
    """A report's page: its text, and its tables as lists of rows by caption or first header."""

    def __init__(self, text: str) -> None:
        self.root = ElementTree.fromstring(text)  # well-formed, or an error
        for element in self.root.iter():
            element.tag = element.tag.rpartition("}")[2]  # the charts' namespace
        self.text = said(self.root)
        self.tables: list[tuple[str, list[list[str]]]] = []
        caption = ""
        for element in self.root.iter():
            if element.get("class") == "caption":
                caption = said(element)
            if element.tag == "table":
                lines = [[said(cell) for cell in row] for row in element.iter("tr")]
                self.tables.append((caption or lines[0][0], lines))
                caption = ""

    def table(self, caption: str) -> list[list[str]]:
        """Without its header."""
        found = [lines[1:] for title, lines in self.tables if title.startswith(caption) or lines[0][0] == caption]
        assert found, [title for title, _ in self.tables]
        return found[0]

    @property
    def charts(self) -> dict[str, ElementTree.Element]:
        return {chart.get("aria-label", ""): chart for chart in self.root.iter("svg")}

    @property
    def answers(self) -> list[tuple[str, str, str]]:
        """The study's questions (empty: the same again), what is said of them here, and the word."""
        return [(row[0], row[2], row[3]) for row in self.table("question")]

    @property
    def left_out(self) -> list[str]:
        items = [said(item) for item in self.root.iter("li")]
        return [item.removeprefix("Not counted: ") for item in items if item.startswith("Not counted: ")]


def said(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


def reported(*paths: Path) -> Page:
    """With all but the drawing of the pictures, which takes most of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("chart", "dots", "confusion_matrix"):
            patch.setattr(figures, name, create_autospec(getattr(figures, name)))
        patch.setattr(figures, "svg", lambda figure, name, alt: f'<svg aria-label="{alt}"/>')
        return drawn(*paths)


def drawn(*paths: Path) -> Page:
    return Page(pages.render(studies.read(paths), "the command", command.MARKER))


@pytest.fixture(scope="module")
def page(runs: Path) -> Page:
    return reported(runs)


def metrics_of(folder: Path) -> dict:
    return json.loads((folder / "metrics.json").read_text())


def jobs(runs: Path, aug: str) -> list[Path]:
    return [path for path in sorted((runs / "dnn").iterdir()) if f"-{aug}-seed" in path.name]


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f}" + (f" ± {np.std(values, ddof=1):.3f}" if len(values) > 1 else "")


def p_in_words(p: float) -> str:
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


# --- numbers


def test_every_picture_has_its_numbers_and_they_are_those_of_metrics_csv(page, runs):
    tables = {aug: [pd.read_csv(job / "metrics.csv") for job in jobs(runs, aug)] for aug in ACCURACIES}
    tables["too_strong"] = [pd.read_csv(runs / "dnn" / "9-dnn-too_strong" / "metrics.csv")]
    quantities: dict[str, Callable[[pd.DataFrame], pd.Series]] = {
        "training loss": lambda table: table["train_cross_entropy"],
        "validation accuracy": lambda table: table["val_acc"],
        "validation loss": lambda table: table["val_loss"],
        "validation − training loss": lambda table: table["val_loss"] - table["train_cross_entropy"],
    }
    for name, of in quantities.items():
        rows = page.table(f"DNN: {name}")
        assert [row[0] for row in rows] == ["1", "2", "3", "5", "10", "15", "20", "30"]
        for epoch, *cells in rows:
            values = [[float(of(table)[int(epoch) - 1]) for table in several] for several in tables.values()]
            assert cells == [spread(each) for each in values]
    main = tables["norm_aug"]
    for name, columns in {"loss": ("train_cross_entropy", "val_loss"), "accuracy": ("train_acc", "val_acc")}.items():
        for epoch, *cells in page.table(f"DNN norm_aug: {name}"):
            assert cells == [spread([float(table[column][int(epoch) - 1]) for table in main]) for column in columns]
    assert page.table("Validation accuracy by training time")[0][2].endswith(f"after {4 / 60:.3g}")
    captions = [caption for caption, _ in page.tables]
    assert all(title in captions for title in page.charts)
    assert len(page.charts) > 10


@pytest.mark.slow
def test_charts_are_text_in_the_page_s_colours_need_nothing_from_outside_and_are_the_same_again(runs):
    texts = [pages.render(studies.read([runs / "cnn"]), "command", command.MARKER) for _ in range(2)]
    assert texts[0] == texts[1]
    page = Page(texts[0])
    text = ElementTree.tostring(page.root, encoding="unicode")
    assert re.findall(r"(?:src|href)=\"(?!data:|#|https://(?:github|arxiv))", text) == []
    ids = [element.get("id") for element in page.root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for title, chart in page.charts.items():
        assert {"epoch", "accuracy (share of the images)", "predicted class", "minutes of training"} & {
            t.text for t in chart.iter("text")
        }, title
        drawn = ElementTree.tostring(chart, encoding="unicode")
        assert "var(--" in drawn
        assert not any(colour in drawn for pair in figures.COLOURS.values() for colour in pair)
    style = page.root.findtext("head/style", "")
    assert all(f"--{name}:" in style for name in figures.COLOURS)


def test_at_a_glance_has_each_setting_s_accuracy_and_intervals(page, runs):
    rows = {row[0]: row[1:] for row in page.table("Accuracy on PublicTest")}
    for aug in ACCURACIES:
        accuracies = [metrics_of(job)["test_public_acc"] for job in jobs(runs, aug)]
        bounds = np.mean([wilson_interval(round(acc * PUBLIC), PUBLIC) for acc in accuracies], axis=0)
        unseen = wilson_interval(30, 50)
        assert rows[f"DNN {aug}"] == [
            *(f"{np.mean(accuracies):.3f}", f"{bounds[0]:.3f}–{bounds[1]:.3f}"),
            *("0.600", f"{unseen[0]:.3f}–{unseen[1]:.3f}"),
        ]
    assert rows["study: CNN, public"][0].startswith("0.719")


def test_networks_stand_beside_the_published_ones(page, tmp_path, small_csv):
    rows = {row[0]: row for row in page.table("network")}
    assert rows["CNN norm_aug"][1] == "5,758,791 (as published)"
    assert rows["DNN norm_aug"][4] == "0.425–0.435"
    assert any(said(pre) == "the layers of a dnn" for pre in page.root.iter("pre"))
    write_trained(tmp_path / "0", small_csv, params=7)
    assert reported(tmp_path).table("network")[0][1] == "7 (published: 5,778,439)"


def test_a_network_of_ones_own_is_reported_too(tmp_path, small_csv):
    write_trained(tmp_path / "0", small_csv)
    metrics = metrics_of(tmp_path / "0") | {"model": "mynet", "params": 7}
    (tmp_path / "0" / "metrics.json").write_text(json.dumps(metrics))
    page = reported(tmp_path)
    assert page.table("network")[0][:2] == ["MYNET norm", "7"]
    assert page.answers[0][1:] == ("No completed run of the CNN and the DNN.", "not run")
    assert "MYNET norm: loss" in page.charts


# --- the study's questions


def test_each_question_has_the_study_s_answer_ours_and_a_word(page):
    questions = [question for question, _, _ in page.answers if question]
    assert questions == [question for question, _ in published.QUESTIONS.values()]
    assert [(text.split()[0].strip(":"), word) for _, text, word in page.answers] == [
        ("Validation", "confirmed"),
        ("CNN", "contradicted"),
        ("DNN", "confirmed"),
        ("CNN", "undecided"),
        ("DNN", "undecided"),
    ]


def test_runs_below_a_tenth_of_the_study_s_length_say_nothing_yet(tmp_path, small_csv):
    for model in ("cnn", "dnn"):
        for aug in ("norm", "norm_aug"):
            write_trained(tmp_path / f"{model}-{aug}", small_csv, model=model, aug=aug, epochs=curve(24))
    assert {word for _, _, word in reported(tmp_path).answers} == {"too early"}


def right_of(run: Path) -> np.ndarray:
    table = pd.read_csv(run / "predictions.csv")
    return (table["target"] == table["predicted"])[table["split"] == "val"].to_numpy()


def test_cnn_and_dnn_are_compared_on_the_same_images_and_in_one_place(page, runs, tmp_path, small_csv):
    cnn, dnn = right_of(runs / "cnn"), right_of(jobs(runs, "norm_aug")[0])  # of the CNN's seed
    b, c = int((cnn & ~dnn).sum()), int((dnn & ~cnn).sum())
    p = p_in_words(scipy.stats.binomtest(b, b + c).pvalue)
    told = f"CNN norm_aug {cnn.mean():.3f}, DNN norm_aug {dnn.mean():.3f} (these two networks differ, {p})"
    ahead = f"the CNN is ahead at {EPOCHS} of {EPOCHS} epochs"
    text = page.answers[0][1]
    assert text.startswith(f"Validation accuracy at their best: {told}; {ahead}.")
    test = f"McNemar’s test, seeds 0 and 0, 100 images, {b} against {c} right alone, {p}"
    assert f"of {EPOCHS + 2} and {EPOCHS} epochs, by +0.200 (these two networks differ: {test})." in page.text
    assert text.endswith("An epoch takes the CNN 10 times as long as the DNN.")
    assert "Besides the network they differ in trainer.max_epochs" in page.text
    write_trained(tmp_path / "0", small_csv, model="cnn", device="NVIDIA H100")
    write_trained(tmp_path / "1", small_csv)
    elsewhere = reported(tmp_path)
    assert "times as long" not in elsewhere.text
    assert "Their times do not compare" in elsewhere.text


@pytest.mark.parametrize(
    ("accuracies", "word"),
    [((0.9, 0.3), "confirmed"), ((0.3, 0.9), "contradicted"), ((0.5, 0.5), "undecided")],
)
def test_what_follows_is_computed_and_may_contradict_the_study(tmp_path, small_csv, accuracies, word):
    for name, accuracy in zip(("cnn", "dnn"), accuracies, strict=True):
        write_trained(tmp_path / name, small_csv, model=name, aug="norm_aug", accuracy=accuracy)
    assert reported(tmp_path).answers[0][2] == word


def test_onsets_are_those_of_the_rule(page, runs, tmp_path, small_csv):
    found = [overfitting_epoch(pd.read_csv(job / "metrics.csv")["val_loss"]) for job in jobs(runs, "norm")]
    row = next(row for row in page.table("At the end, and epochs until") if row[0] == "norm")
    assert row[1] == f"overfitting from epoch {np.median(found):g} of 30 (by seed {', '.join(map(str, found))})"
    assert "DNN norm_aug: no overfitting within 30 epochs" in page.text
    write_trained(tmp_path / "0", small_csv, epochs=curve(9, lowest=3))
    assert "overfitting is not looked for in 9 epochs" in reported(tmp_path).text


@pytest.mark.parametrize(
    ("epochs", "lowest", "word"),
    [(300, 240, "confirmed"), (300, 100, "contradicted"), (310, 999, "contradicted"), (60, 999, "undecided")],
)
def test_an_onset_is_held_against_the_study_s(tmp_path, small_csv, epochs, lowest, word):
    table = curve(epochs, lowest=lowest)
    write_trained(tmp_path / "0", small_csv, model="cnn", aug="norm_aug", epochs=table)
    assert curves.answer(studies.read([tmp_path])).word == word


def test_the_published_table_is_filled_and_its_claims_are_tested_as_scipy_does(page, runs):
    rows = {row[0]: row[1:] for row in page.table("Places in the study’s table")}
    assert {aug: (row[0], row[4]) for aug, row in rows.items()} == {
        "none": ("2", "2"),
        "norm": ("1", "1"),
        "norm_aug": ("3", "2"),  # the DNN cannot cope with augmented images; more it does not say
    }
    assert {aug: (row[1], row[5]) for aug, row in rows.items()} == {
        "none": ("2", "3"),
        "norm": ("1", "1"),
        "norm_aug": ("3", "2"),
    }
    accuracies = {aug: [metrics_of(job)["val_acc"] for job in jobs(runs, aug)] for aug in ACCURACIES}
    losses = {
        aug: [pd.read_csv(job / "metrics.csv")["train_cross_entropy"].mean() for job in jobs(runs, aug)]
        for aug in ACCURACIES
    }
    for aug, row in rows.items():
        assert (row[2], row[6]) == (spread(losses[aug]), spread(accuracies[aug]))
    claims = {row[0]: row[1:] for row in page.table("the study says")}
    ps = {}
    for quantity, values, pairs in (
        ("training loss", losses, combinations(("norm", "none", "norm_aug"), 2)),
        ("validation accuracy", accuracies, [("norm", "norm_aug"), ("norm", "none")]),
    ):
        for better, worse in pairs:
            p = scipy.stats.ttest_rel(values[better], values[worse]).pvalue
            ps[quantity, better, worse] = p, float(np.mean(values[better])), float(np.mean(values[worse]))
    assert len(claims) == len(ps) == 5
    largest = 0.0
    for rank, (claim, (p, a, b)) in enumerate(sorted(ps.items(), key=lambda item: item[1])):  # Holm's correction
        largest = max(largest, p * (5 - rank))
        here, difference, test, finding = claims["{}: {} before {}".format(*claim)]
        assert here == f"{a:.3f}, {b:.3f}"
        assert difference == f"{a - b:+.3f}".replace("-", "−")
        assert test == f"the settings differ: paired t test, 3 seeds, {p_in_words(largest)}"
        assert finding == "confirmed"
        if claim == ("training loss", "norm", "none"):
            assert rows["none"][3] == f"{p_in_words(largest)} against norm"
    ((answer, word_of),) = ((text, word) for _, text, word in page.answers if "training loss, fastest first" in text)
    assert "What decides: " in answer
    assert word_of == "confirmed"


def test_a_claim_that_is_the_other_way_round_by_more_than_chance_contradicts_the_study(tmp_path, small_csv):
    for aug, accuracy in {"norm": 0.8, "norm_aug": 0.3}.items():
        write_trained(tmp_path / aug, small_csv, model="cnn", aug=aug, accuracy=accuracy)
    text, word = next((text, word) for _, text, word in reported(tmp_path).answers if "What decides" in text)
    assert (
        "What decides: norm_aug against norm, validation accuracy −0.500 (these two networks differ, p < 0.001)" in text
    )
    assert word == "contradicted"


def test_too_strong_is_held_against_norm_aug_inside_and_outside_of_the_ablation(page, tmp_path, small_csv):
    shares = np.bincount(np.arange(100) % 7) / 100  # of the validation images of seed 0
    assert "from epoch 1 to 30 the training loss goes from" in page.text
    assert ": 5 % of its fall" in page.text
    assert f"Naming only the shares of the classes costs {scipy.stats.entropy(shares):.3f}" in page.text
    write_trained(tmp_path / "0", small_csv, aug="too_strong", epochs=curve(6, fall=0.1))
    assert "of its fall" not in reported(tmp_path).text
    write_trained(tmp_path / "1", small_csv, aug="norm_aug", epochs=curve(12, fall=0.5))
    both = reported(tmp_path)
    assert "from epoch 1 to 6 the training loss goes from" in both.text
    assert "DNN: training loss, strengths too high" in both.charts


def test_a_test_of_one_run_each_is_of_networks_and_not_of_settings(tmp_path, small_csv):
    right = {
        aug: right_of(write_trained(tmp_path / aug, small_csv, aug=aug, accuracy=ACCURACIES[aug][0]))
        for aug in ("none", "norm")
    }
    b, c = int((right["norm"] & ~right["none"]).sum()), int((right["none"] & ~right["norm"]).sum())
    claims = {row[0]: row[1:] for row in reported(tmp_path).table("the study says")}
    _, _, test, _ = claims["validation accuracy: norm before none"]
    p = scipy.stats.binomtest(b, b + c).pvalue
    kind = "these two networks differ" if p < 0.05 else "not told from chance"
    assert test == f"{kind}: McNemar’s test, seeds 0 and 0, 100 images, {b} against {c} right alone, {p_in_words(p)}"
    assert claims["training loss: norm before none"][2:] == ["no test: too few seeds", "undecided"]


def test_one_run_beside_several_is_compared_with_that_of_its_seed(tmp_path, small_csv):
    for seed in (0, 1):
        write_trained(tmp_path / f"none-{seed}", small_csv, aug="none", seed=seed, accuracy=ACCURACIES["none"][0])
    write_trained(tmp_path / "norm", small_csv, aug="norm", seed=1, accuracy=ACCURACIES["norm"][0])
    claims = {row[0]: row[1:] for row in reported(tmp_path).table("the study says")}
    assert "McNemar’s test, seeds 1 and 1, " in claims["validation accuracy: norm before none"][2]


def test_runs_of_other_seeds_are_not_compared_or_by_welch(tmp_path, small_csv):
    write_trained(tmp_path / "one" / "0", small_csv, aug="none", seed=0)
    write_trained(tmp_path / "one" / "1", small_csv, aug="norm", seed=1)
    found = compare_accuracy(*studies.read([tmp_path / "one"]).conditions)
    assert (found.p, found.test) == (None, "no test: too few seeds")
    values = {"none": {0: 0.3, 1: 0.35}, "norm": {2: 0.5, 3: 0.4, 4: 0.46}}
    for aug, by_seed in values.items():
        for seed, accuracy in by_seed.items():
            write_trained(tmp_path / "several" / f"{aug}{seed}", small_csv, aug=aug, seed=seed, val_acc=accuracy)
    found = compare_accuracy(*studies.read([tmp_path / "several"]).conditions)
    expected = scipy.stats.ttest_ind([*values["none"].values()], [*values["norm"].values()], equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.test == "Welch’s t test, 2 and 3 seeds"
    for aug, accuracies in {"none": (0.25, 0.375), "norm": (0.5, 0.625)}.items():
        for seed, accuracy in enumerate(accuracies):
            write_trained(tmp_path / "level" / f"{aug}{seed}", small_csv, aug=aug, seed=seed, val_acc=accuracy)
    found = compare_accuracy(*studies.read([tmp_path / "level"]).conditions)
    assert (found.p, found.test) == (None, "no test: seeds without spread")


# --- confusions


def test_recall_and_pairs_agree_with_the_predictions(page, runs):
    table = pd.read_csv(jobs(runs, "norm_aug")[0] / "predictions.csv")
    table = table[table["split"] == "val"]
    matrix = confusion_matrix(*([CLASSES.index(name) for name in table[column]] for column in ("target", "predicted")))
    for name, row, counts, share in zip(
        CLASSES, page.table("DNN norm_aug: validation"), matrix, recall(matrix), strict=True
    ):
        assert row == [name, *map(str, counts), f"{share:.3f}"]
    pairs = [f"{CLASSES[pair.a]} / {CLASSES[pair.b]}" for pair in confused_pairs(matrix)]
    listed = [rows for caption, rows in page.tables if caption.startswith("The worst pairs")][1][1:]
    assert [row[1].removesuffix(" ★") for row in listed][:6] == pairs[:6]
    starred = {row[1].removesuffix(" ★"): int(row[0]) for row in listed if row[1].endswith("★")}
    assert starred == {pair: pairs.index(pair) + 1 for pair in ("fear / sad", "fear / surprise", "sad / neutral")}
    assert "DNN norm_aug: PublicTest" in page.charts


@pytest.mark.parametrize(
    ("wrong", "taken_for", "word"),
    [
        (("fear", "sad"), ("sad", "fear"), "confirmed"),
        (("fear", "sad"), ("angry", "angry"), "undecided"),  # worst, but not taken for each other
        (("happy",), ("angry",), "contradicted"),
        ((), (), "undecided"),
    ],
)
def test_which_classes_are_worst_is_tested_as_scipy_does(tmp_path, small_csv, wrong, taken_for, word):
    folder = write_trained(tmp_path / "0", small_csv)
    table = pd.read_csv(folder / "predictions.csv")
    table["predicted"] = table["target"].replace(dict(zip(wrong, taken_for, strict=True)))
    table.to_csv(folder / "predictions.csv", index=False)
    *_, (_, text, found) = reported(tmp_path).answers
    assert found == word
    images = np.bincount(np.arange(100) % 7)
    if word == "confirmed":  # with Holm's correction, of five equal classes but for an image
        ps = [scipy.stats.fisher_exact([[0, images[4]], [images[i], 0]]).pvalue for i in (0, 1, 3, 5, 6)]
        told = f"lowest of the others angry 1.000 (more than chance, {p_in_words(min(1, 5 * min(ps)))}; seed 0)"
        assert f"DNN: recall fear 0.000, sad 0.000, {told}" in text
        assert "fear/sad 1," in text


def test_faces_are_those_of_the_data_surest_first_in_both_directions_and_once(page, small_csv, tmp_path):
    lines = small_csv.read_text().splitlines()
    pixels = [np.array(line.split(",")[1].split(), np.uint8) for line in lines[1:]]
    ways = {}
    for way in (element for element in page.root.iter("div") if element.get("class") == "ways"):
        for direction in way:
            title = said(direction.find("p")).partition(":")[0]
            confidences = []
            for figure in direction.iter("figure"):
                confidence, row = re.fullmatch(r"([\d.]+)\nrow (\d+)", figure.findtext("figcaption")).groups()
                image = Image.open(io.BytesIO(base64.b64decode(figure.find("img").get("src").partition(",")[2])))
                np.testing.assert_array_equal(np.asarray(image).ravel(), pixels[int(row)])
                assert title.startswith(f"{CLASSES[int(row) % 7]} → ")
                confidences.append(float(confidence))
            assert confidences == sorted(confidences, reverse=True)
            ways[title] = len(confidences)
    assert {"fear → sad", "sad → fear"} <= ways.keys()
    assert sum(ways.values()) > 5
    twice = lines[1 + 2].split(",")[1]  # all fearful faces are one photograph
    same = [
        f"{row % 7},{twice if row % 7 == 2 else line.split(',')[1]},{line.split(',')[2]}"
        for row, line in enumerate(lines[1:])
    ]
    (tmp_path / "fer2013.csv").write_text("\n".join([lines[0], *same]))
    folder = write_trained(tmp_path / "run", tmp_path / "fer2013.csv")
    table = pd.read_csv(folder / "predictions.csv")
    table["predicted"] = table["predicted"].mask(table["target"] == "fear", "sad")
    table.to_csv(folder / "predictions.csv", index=False)
    once = next(
        d
        for w in reported(folder).root.iter("div")
        if w.get("class") == "ways"
        for d in w
        if said(d).startswith("fear → sad")
    )
    assert "14 errors" in said(once)
    assert len(list(once.iter("img"))) == 1


def test_faces_of_a_file_for_each_split_are_those_of_its_own_rows(tmp_path, small_csv):
    header, *lines = (line.rpartition(",")[0] for line in small_csv.read_text().splitlines())
    (tmp_path / "data").mkdir()
    for name, part in {"train": lines[:TRAINING], "val": lines[TRAINING - 1 :], "test": lines[:7]}.items():
        (tmp_path / "data" / f"{name}.csv").write_text("\n".join([header, *part]))
    folder = write_trained(tmp_path / "run", tmp_path / "data")
    table = pd.read_csv(folder / "predictions.csv")
    table["index"] -= (TRAINING - 1) * (table["split"] == "public")  # each file's rows count from 0
    table.to_csv(folder / "predictions.csv", index=False)
    known = {np.array(line.split(",")[1].split(), np.uint8).tobytes() for line in lines[:TRAINING]}
    images = [image.get("src").partition(",")[2] for image in reported(folder).root.iter("img")]
    shown = {np.asarray(Image.open(io.BytesIO(base64.b64decode(image)))).tobytes() for image in images}
    assert len(shown) > 5
    assert shown <= known


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
    assert "gone.csv is not there, and no FER2013 is found here" in page.text
    monkeypatch.setenv("FER2013_ROOT", str(tmp_path / "nowhere"))  # which no longer holds anything
    assert "FER2013_ROOT" in reported(tmp_path / "runs").text
    monkeypatch.setenv("FER2013_ROOT", str(small_csv))  # the same data in another place
    assert len(list(reported(tmp_path / "runs" / "gone").root.iter("img"))) > 5


def test_faces_of_data_that_is_not_known_or_in_other_rows_are_not_shown(tmp_path, small_csv):
    """The fingerprint is the same whatever the order of the images; predictions.csv names rows."""
    write_trained(tmp_path / "unknown" / "0", small_csv, data_fingerprint=None)
    page = reported(tmp_path / "unknown")
    assert "The faces cannot be shown: its metrics.json has no data_fingerprint" in page.text
    assert page.table("Fingerprint")[0][3] == "not recorded"
    header, *lines = small_csv.read_text().splitlines()
    turned = tmp_path / "fer2013.csv"
    turned.write_text("\n".join([header, *lines[1:TRAINING], lines[0], *lines[TRAINING:]]))
    assert fingerprint_of(str(turned)) == fingerprint_of(str(small_csv))
    write_trained(tmp_path / "run", turned)  # whose predictions are of `small_csv`'s rows
    assert f"{turned} holds other data than the run was scored on" in reported(tmp_path / "run").text


def test_images_are_found_by_split_row_and_class_whatever_their_order(tmp_path, small_csv):
    rows = np.array([7, 3, 5, 3, 3, 8, 8], np.int64)
    pixels = np.zeros((7, 48, 48), np.uint8)
    usage, labels = np.array([0, 0, 1, 3, 1, 0, 0], np.uint8), np.array([1, 2, 3, -1, 2, 4, 4], np.int8)
    faces = Faces(pixels, labels, usage, rows, digest(pixels), None, "source", "form")
    wanted = [("val", 3, 2), ("public", 3, 2), ("val", 7, 1), ("val", 7, 2), ("private", 5, 3), ("val", 8, 4)]
    table = pd.DataFrame(wanted, columns=["split", "index", "target"])
    table["target"] = np.array(CLASSES)[table["target"]]
    run = read_run(write_trained(tmp_path / "run", small_csv))
    assert positions(faces, run, table).tolist() == [1, 4, 0, -1, -1, -1]  # two have the last row
    run.config["data"]["val_split"] = "public"
    assert positions(faces, run, table.replace("public", "val")).tolist()[:2] == [4, 4]


# --- which runs count, and how they are named


def test_others_stand_beside_every_setting_of_ours_best_first(page, runs):
    rows = page.table("system")
    links = [link.get("href") for link in page.root.iter("a") if link.get("href", "").startswith("http")]
    assert links == [address for _, address, _, _ in published.OTHERS if address]
    ours = {row[0]: row[1:] for row in rows if row[0].startswith("here: ")}
    assert [*ours] == [
        f"here: {name}" for name in ("CNN norm_aug", "DNN norm", "DNN norm_aug", "DNN none", "DNN too_strong")
    ]
    accuracies = [metrics_of(job)["test_public_acc"] for job in jobs(runs, "norm")]
    assert ours["here: DNN norm"][1] == f"{np.mean(accuracies) * 100:.2f} %"


def test_how_to_repeat_it(page, small_csv):
    commands = next(said_lines for pre in page.root.iter("pre") if "fer_lightning" in (said_lines := pre.text or ""))
    more = "'data.root=/with a/space' trainer.threads=2"
    assert commands.splitlines() == [
        f"python -m fer_lightning model=cnn aug=norm_aug {more} seed=0",
        *(
            f"python -m fer_lightning --multirun model=dnn aug={aug} {more} seed=0,1,2"
            for aug in ("none", "norm", "norm_aug")
        ),
        f"python -m fer_lightning model=dnn aug=too_strong {more} seed=0",
        "the command",
    ]
    made = [["CPU of some kind, 2 threads", "32-true", "fer_lightning 0.1.0, torch 2.14.1", "11"]]
    assert page.table("The same seed") == made
    assert page.table("Fingerprint")[0][0] == str(small_csv)
    assert page.table("Fingerprint")[0][2:] == ["140 Training, 60 PublicTest", fingerprint_of(str(small_csv))]
    settings = {row[0]: row[1:] for row in page.table("key")}
    assert settings["optimizer.lr"] == ["0.001", "0.001", "0.001"]
    assert settings["seeds"] == ["not said", "seed 0", "seed 0, 1, 2"]


def test_missing_parts_are_named_with_their_command(tmp_path, small_csv, page):
    more = "model=cnn 'data.root=/with a/space' trainer.threads=2 aug=none,norm"
    command_of = f"python -m fer_lightning --multirun {more}"
    assert f"CNN: none, norm, with otherwise the same settings: {command_of}" in page.text
    assert "CNN: augmentation that is too strong: python -m fer_lightning model=cnn experiment=too_strong" in page.text
    write_trained(tmp_path / "0", small_csv, aug="norm")
    write_trained(tmp_path / "1", small_csv, aug="norm_aug", epochs=curve(5))
    (tmp_path / "1" / "predictions.csv").unlink()
    (tmp_path / "1" / "model.txt").unlink()
    lone = reported(tmp_path)
    assert "CNN: a completed run: python -m fer_lightning model=cnn" in lone.text
    assert [word for _, _, word in lone.answers] == ["not run"] * 4
    assert "No predictions of validation images." in lone.text
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan[a-z]*", "", lone.text)


UNDER_WAY = {"completed": False, "interrupted": False, "error": None}


def test_runs_that_did_not_complete_or_are_trials_are_named_and_not_counted(tmp_path, small_csv):
    write_trained(tmp_path / "0-good", small_csv)
    write_job(tmp_path / "1-failed", metrics=FAILED, epochs=None)
    write_job(tmp_path / "2-stopped", metrics={"completed": False, "interrupted": True})
    write_job(tmp_path / "3-killed", metrics=UNDER_WAY)
    write_job(tmp_path / "4-running", metrics=UNDER_WAY)
    write_trained(tmp_path / "5-again", small_csv)
    write_trained(tmp_path / "6-trial", small_csv, aug="none", trial=True)
    limited = write_trained(tmp_path / "7-limited", small_csv, aug="none") / "config.yaml"
    limited.write_text(limited.read_text().replace("max_epochs:", "limit_train_batches: 0.1\n  max_epochs:"))
    old = time.time() - RECENT - 60
    for path in (tmp_path / "3-killed").iterdir():
        os.utime(path, (old, old))
    page = reported(tmp_path)
    assert sorted(page.left_out) == [
        "1-failed: RuntimeError: the loss became `nan` (after 0 epochs)",
        "2-stopped: interrupted (after 3 epochs)",
        "3-killed: killed, or in a long epoch: 3 epochs so far, nothing written for 11 minutes",
        "4-running: running, 3 epochs so far",
        "5-again: repeats 0-good: the same settings and seed",
        "6-trial: a trial (debug=fast), whose figures say nothing",
        "7-limited: a trial (trainer.limit_train_batches=0.1), whose figures say nothing",
    ]
    assert "1 run in 1 setting" in page.text


BROKEN = {
    "metrics.json": ('{"model": "dnn",', "metrics.json: not JSON: "),
    "metrics.csv": ("epoch,train_loss\n1,2\n", "metrics.csv, line 1: expected the columns epoch,"),
    "predictions.csv": ("split,index\nval,1\n", "predictions.csv, line 1: expected the columns split,"),
    "config.yaml": ("a: [1", "config.yaml: not YAML: "),
}


def test_broken_runs_are_named_with_their_errors_and_the_rest_reported(tmp_path, small_csv):
    write_trained(tmp_path / "0-good", small_csv)
    for name, (content, _) in BROKEN.items():
        write_trained(tmp_path / f"broken-{name}", small_csv, aug="norm_aug")
        (tmp_path / f"broken-{name}" / name).write_text(content)
    (tmp_path / "0-good" / ".hydra" / "overrides.yaml").write_text("a: [1")
    page = reported(tmp_path)
    for name, (_, message) in BROKEN.items():
        (cause,) = (item for item in page.left_out if item.startswith(f"broken-{name}: "))
        assert f"{tmp_path}/broken-{name}/{message}" in cause
    assert "1 run in 1 setting" in page.text
    assert "so their command is not known: 0-good" in page.text


def test_a_run_given_twice_counts_once_and_runs_of_one_name_are_told_apart(runs, tmp_path):
    study = studies.read([runs, runs / "dnn", runs / "cnn", f"{runs}/dnn/../cnn"])
    assert len({run.name for run in study.runs}) == len(study.runs) == 11
    assert study.left_out == []
    paths = [tmp_path / "a" / "0-dnn", tmp_path / "b" / "0-dnn", tmp_path / "b" / "1-dnn"]
    assert list(studies.unique_names(paths).values()) == ["a/0-dnn", "b/0-dnn", "1-dnn"]


def test_what_only_says_where_things_lie_makes_no_other_setting(tmp_path, small_csv):
    mark = fingerprint_of(str(small_csv))
    for seed in range(2):
        folder = write_trained(tmp_path / str(seed), f"/place/{seed}.csv", seed=seed, data_fingerprint=mark)
        config = folder / "config.yaml"
        text = config.read_text().replace("ckpt_path: null", f"ckpt_path: elsewhere/{seed}.ckpt")
        config.write_text(f"{text}logger:\n  x: {seed}\n")
    assert [condition.seeds for condition in studies.read([tmp_path]).conditions] == [[0, 1]]


def test_settings_are_named_by_what_sets_them_apart_from_the_study_s(tmp_path, small_csv):
    """A stray trial, or a recipe, changes its own name alone; the longest norm_aug of the study's stands for all."""

    def write(name: str, aug: str, overrides: tuple[str, ...] = (), **changes: Any) -> None:
        folder = write_trained(tmp_path / name, small_csv, aug=aug)
        config = (folder / "config.yaml").read_text()
        for old, new in changes.items():
            config = re.sub(rf"(?m)^(  {old}:) .*$", rf"\1 {new}", config)
        (folder / "config.yaml").write_text(config)
        (folder / ".hydra" / "overrides.yaml").write_text(json.dumps([f"aug={aug}", *overrides]))

    write("0", "norm")
    write("1", "norm_aug")
    write("2", "norm_aug", batch_size=8)
    write("3", "strong", ("experiment=best_dnn",), lr=0.003)
    write_trained(tmp_path / "4", small_csv, aug="norm_aug", epochs=curve(8))
    study = studies.read([tmp_path])
    assert [condition.title for condition in study.conditions] == [
        "DNN norm",
        "DNN norm_aug",
        "DNN norm_aug data.batch_size=8",
        "DNN norm_aug trainer.max_epochs=8",
        "DNN strong best_dnn",
    ]
    assert study.mains["dnn"].title == "DNN norm_aug"


NASTY = "<script>alert(1)<%2Fscript> a&b |x| `y` _z_"


def test_odd_runs_are_reported_too_and_names_are_text_and_never_markup(tmp_path, small_csv):
    """Losses that became NaN, times unknown, one epoch, TeX and markup in names."""
    nowhere = curve(30, seed=1)
    nowhere.loc[20:, "val_loss"], nowhere["seconds"] = np.nan, np.nan
    aug = "<img src=x onerror=alert(1)> a$b_$c{"
    for seed in range(2):
        write_trained(tmp_path / f"{seed}{NASTY}", small_csv, aug=aug, seed=seed, epochs=nowhere, device="<b>CPU</b>")
    write_trained(tmp_path / "one", small_csv, aug="norm", epochs=curve(1))
    write_job(tmp_path / "0-failed", metrics=FAILED | {"error": "</li><script>alert(2)</script>"}, epochs=None)
    page = drawn(tmp_path)
    assert {row[0] for row in page.table("Accuracy on PublicTest")} >= {"DNN norm trainer.max_epochs=1", f"DNN {aug}"}
    assert "overfitting is not looked for in 1 epoch" in page.text
    assert "nan" not in re.sub(r"[a-z]*nan[a-z]+|[a-z]+nan[a-z]*", "", page.text)
    ids = [element.get("id") for element in page.root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    assert {element.tag for element in page.root.iter()} & {"script", "b", "x"} == set()
    assert f"0{NASTY}" in page.text
    assert all(element.get("alt", "").startswith("face: ") for element in page.root.iter("img"))


def test_settings_of_one_short_name_and_public_images_held_out_are_told_apart(tmp_path, small_csv):
    public = write_trained(tmp_path / "public", small_csv, test_public_acc=None, test_public_acc_unseen=None)
    config = (public / "config.yaml").read_text()
    (public / "config.yaml").write_text(config.replace("data:\n", "data:\n  val_split: public\n"))
    for name, lr in {"sgd1": 0.1, "sgd2": 0.01}.items():
        folder = write_trained(tmp_path / name, small_csv, aug="norm_aug")
        config = (folder / "config.yaml").read_text()
        (folder / "config.yaml").write_text(re.sub("Adam", "SGD", re.sub(r"lr: .*", f"lr: {lr}", config)))
    write_trained(tmp_path / "adam", small_csv, aug="norm_aug")
    assert {row[0] for row in reported(tmp_path).table("Accuracy on PublicTest")} >= {
        *(
            "DNN norm_aug",
            "DNN norm_aug optimizer=SGD optimizer.lr=0.1",
            "DNN norm_aug optimizer=SGD optimizer.lr=0.01",
        ),
        "DNN norm data.val_split=public (PublicTest as validation)",
    }


def test_aligned_faces_are_not_the_study_s_and_are_shown_as_the_network_saw_them(tmp_path, small_csv, monkeypatch):
    write_trained(tmp_path / "own", small_csv, aug="norm_aug", accuracy=0.3)
    crops = write_trained(tmp_path / "crops", small_csv, aug="norm_aug", accuracy=0.5)
    config = (crops / "config.yaml").read_text()
    (crops / "config.yaml").write_text(config.replace("data:\n", "data:\n  crop: aligned\n"))
    study = studies.read([tmp_path])
    assert "data.crop" not in study.mains["dnn"].keys
    seen = []
    monkeypatch.setattr(aligned, "aligned", lambda faces, where: seen.append(where) or faces)
    reported(tmp_path / "own")
    assert not seen
    page = reported(crops)
    assert [len(where) for where in seen] == [len(list(page.root.iter("img")))]  # all at once, which copies the pixels


def test_the_ablation_is_that_of_the_study_s_settings_even_where_another_is_longer(tmp_path, small_csv):
    for aug in ("none", "norm"):
        crops = write_trained(tmp_path / f"crops-{aug}", small_csv, aug=aug, epochs=curve(60))
        config = (crops / "config.yaml").read_text()
        (crops / "config.yaml").write_text(config.replace("data:\n", "data:\n  crop: aligned\n"))
        write_trained(tmp_path / f"own-{aug}", small_csv, aug=aug)
    study = studies.read([tmp_path])
    studied = ablation.ablations(study)["dnn"].studied
    assert [*studied] == ["none", "norm"]
    assert {condition.keys.get("data.crop") for condition in studied.values()} == {None}


def test_networks_are_compared_with_the_same_augmentation(tmp_path, small_csv):
    write_trained(tmp_path / "0", small_csv, model="cnn", aug="norm")
    write_trained(tmp_path / "1", small_csv, model="dnn", aug="norm_aug")
    assert [c.aug for c in studies.rivals(studies.read([tmp_path]))] == ["norm", "norm_aug"]  # nothing better is there
    write_trained(tmp_path / "2", small_csv, model="dnn", aug="norm")
    assert [c.aug for c in studies.rivals(studies.read([tmp_path]))] == ["norm", "norm"]


# --- synthetic faces, names, the command


@pytest.mark.slow
def test_synthetic_faces_are_marked_on_every_picture_and_not_held_against_the_study(tmp_path, small_csv):
    faces = synthetic.draw()
    folder = write_trained(tmp_path / "none", "synthetic faces", aug="none", data="synthetic", synthetic=True)
    rows = np.flatnonzero(faces.usage == 0)[:100]
    table = pd.read_csv(folder / "predictions.csv").head(100)
    table["index"], table["target"] = faces.rows[rows], np.array(CLASSES)[faces.labels[rows]]
    table.to_csv(folder / "predictions.csv", index=False)
    page = drawn(tmp_path)
    assert page.root.findtext("body/h1", "").endswith("SYNTHETIC FACES")
    assert page.root.find("body/p[@class='warning']") is not None
    for chart in page.charts.values():
        assert any("synthetic faces" in (text.text or "") for text in chart.iter("text"))
    ways = [said(p) for w in page.root.iter("div") if w.get("class") == "ways" for p in w.iter("p")]
    assert ways
    assert all("synthetic faces" in text for text in ways)
    assert {word for _, _, word in page.answers} <= {"synthetic faces", "not run"}
    assert "study: " not in " ".join(row[0] for row in page.table("Accuracy on PublicTest"))
    write_trained(tmp_path / "real", small_csv)
    both = reported(tmp_path)
    assert "SYNTHETIC" not in both.text
    assert "none: on synthetic faces, which are not compared with FER2013" in both.left_out


@pytest.fixture
def call() -> Callable[..., Ended]:
    """`call(path, …)` runs the command in the current folder."""
    return lambda *arguments: run_command(command.main, *arguments)


def test_the_command_writes_a_page_and_replaces_an_earlier_one(call, tmp_path, runs, monkeypatch):
    monkeypatch.setattr(figures, "svg", lambda *_: "<svg/>")
    ended = call(runs / "cnn")
    assert (ended.status, ended.out) == (0, "report.html: 1 run reported, 0 left out\n")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    text = (tmp_path / "report.html").read_text()
    assert f"python -m fer_lightning.report {runs}/cnn --out report.html" in text
    assert len(text) < 500_000
    assert call(runs / "dnn" / "9-dnn-too_strong").status == 0
    assert (tmp_path / "report.html").read_text() != text
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert call(runs / "cnn", "--out=~/page.html").status == 0  # the shell leaves the tilde there
    assert (tmp_path / "home" / "page.html").read_text() == text.replace(
        "report.html", str(tmp_path / "home/page.html")
    )


@pytest.mark.parametrize(
    ("status", "out", "message"),
    [
        (2, "report.pdf", "the name must end in .html"),
        (2, "absent/report.html", "there is no folder"),
        (2, "folder.html", "it is a folder"),
        (2, "notes.html", "it exists and is no report"),
        pytest.param(
            1,
            "/proc/report.html",
            "it cannot be written",
            marks=pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="no folder here that nobody can write to"),
        ),
    ],
)
def test_a_place_where_no_report_belongs_is_refused(call, tmp_path, runs, status, out, message, monkeypatch):
    monkeypatch.setattr(pages, "render", lambda *_: "")
    (tmp_path / "folder.html").mkdir()
    (tmp_path / "notes.html").write_text("my notes, some of them made by fer_lightning.report")
    ended = call(runs / "cnn", "--out", out)
    assert ended.status == status
    assert re.fullmatch(f"fer_lightning: (--out )?.*{re.escape(out)}: .*{message}.*", ended.err.splitlines()[-1])
    assert (tmp_path / "notes.html").read_text().startswith("my notes")


def test_paths_without_completed_runs_are_refused(call, tmp_path, small_csv):
    write_job(tmp_path / "failed" / "0-failed", metrics=FAILED, epochs=None)
    with pytest.raises(UserError, match=r"none of the runs completed.*0-failed: RuntimeError"):
        studies.read([tmp_path / "failed"])
    (tmp_path / "empty").mkdir()
    write_trained(tmp_path / "good", small_csv)
    write_trained(tmp_path / "bad" / "0", small_csv)
    (tmp_path / "bad" / "0" / "metrics.json").write_text("")
    for paths, words in {
        ("empty",): "empty: no run in it or below it ",
        ("good", "bad"): "bad/0/metrics.json: not JSON",
        ("emty",): "; the nearest is empty",
    }.items():
        ended = call(*paths)
        assert ended.status == 2
        assert words in ended.err
    assert not (tmp_path / "report.html").exists()
