"""Pages and TensorBoard's curves in a real headless Chromium."""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pandas as pd
import pytest

from fer_lightning.__main__ import work
from fer_lightning.report import __main__ as report
from fer_lightning.report.charts import CSS, LIGHT, Chart, Line, svg
from fer_lightning.results.page import document
from fer_lightning.results.run_folder import read_epochs

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe"),
)
# Chromium takes its pipes on descriptors 3 and 4 and no others
ON_3_AND_4 = """import fcntl, os, sys
pipes = [fcntl.fcntl(int(pipe), fcntl.F_DUPFD, 10) for pipe in sys.argv[1:3]]
for number, pipe in enumerate(pipes, start=3):
    os.dup2(pipe, number)
os.execv(sys.argv[3], sys.argv[3:])"""
EPOCHS = 3
PATIENCE = 90  # seconds, on a busy machine, for what a test waits for; it goes on as soon as that is there


def wait_for(what: str, found: Callable[[], Any]) -> Any:
    """The first true result of `found`, or a failure that says what did not come."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        result = found()
        if result:
            return result
        time.sleep(0.05)
    pytest.fail(f"{what}: not within {PATIENCE} s")


class Browser:
    """A Chromium, driven through its DevTools protocol: JSON messages, each ended by a NUL, over two pipes."""

    def __init__(self, profile: Path) -> None:
        assert CHROMIUM
        to_browser, self.writer = os.pipe()
        self.reader, from_browser = os.pipe()
        line = [sys.executable, "-S", "-c", ON_3_AND_4, str(to_browser), str(from_browser), CHROMIUM, *FLAGS]
        self.process = subprocess.Popen(
            [*line, f"--user-data-dir={profile}", "about:blank"],
            pass_fds=(to_browser, from_browser),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(to_browser)
        os.close(from_browser)
        self.buffer = b""
        self.sent = 0

    def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        self.sent += 1
        message = {"id": self.sent, "method": method, "params": parameters}
        os.write(self.writer, json.dumps(message | ({"sessionId": session} if session else {})).encode() + b"\0")
        while True:
            while b"\0" not in self.buffer:
                read = os.read(self.reader, 1 << 20)
                assert read, "Chromium has ended"
                self.buffer += read
            text, _, self.buffer = self.buffer.partition(b"\0")
            answer = json.loads(text)
            if answer.get("id") == self.sent:
                assert "error" not in answer, answer
                return answer["result"]

    def close(self) -> None:
        os.close(self.writer)  # at which it ends
        os.close(self.reader)
        self.process.wait(PATIENCE)


class Tab:
    """A page in a window of some size, by a colour scheme (light or dark) and for a medium (screen or print)."""

    def __init__(self, browser: Browser, url: str, *, width=1200, height=800, scheme="light", medium="screen"):
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        browser.call("Emulation.setDeviceMetricsOverride", self.session, **size)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.call("Emulation.setEmulatedMedia", self.session, media=medium, features=features)
        browser.call("Page.navigate", self.session, url=url)
        wait_for(url, lambda: self.run("location.href != 'about:blank' && document.readyState") == "complete")

    def run(self, script: str) -> Any:
        """What a JavaScript expression gives."""
        found = self.browser.call("Runtime.evaluate", self.session, expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here (Debian: apt install chromium)")
    opened = Browser(tmp_path_factory.mktemp("chromium"))
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny real run on the synthetic faces."""
    folder = tmp_path_factory.mktemp("outputs") / "run"
    settings = ("model=dnn", "model.widths=[16,8]", "data=synthetic", "trainer=cpu", f"trainer.max_epochs={EPOCHS}")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["fer-lightning", *settings, f"hydra.run.dir={folder}"])
        work()
    return folder


@pytest.fixture(scope="module")
def page(trained: Path) -> str:
    """The address of its report."""
    path = trained.parent / "report.html"
    report.work([str(trained)], path)
    return path.as_uri()


# --- the report


def test_the_charts_hold_the_numbers_of_metrics_csv(browser, page, trained):
    tab = Tab(browser, page)
    drawn = tab.run(
        """[...document.querySelectorAll('svg.chart path[data-run]')].map(path => {
            const [first, last] = [0, path.getTotalLength()].map(at => path.getPointAtLength(at).y);
            return {...path.dataset, first, last, height: path.getBoundingClientRect().height,
                    colour: getComputedStyle(path).stroke};
        })"""
    )
    table = read_epochs(trained / "metrics.csv")
    assert {line["column"] for line in drawn} == {"train_loss", "train_acc", "val_loss", "val_acc"}
    for line in drawn:
        values = [float(value) for value in line["values"].split(",")]
        np.testing.assert_allclose(values, table[line["column"]], rtol=1e-4)
        assert (line["last"] < line["first"]) == (values[-1] > values[0])  # the y axis points down
        assert line["height"] > 0
    assert {line["colour"] for line in drawn} == {rgb(LIGHT[0]), rgb(LIGHT[1])}


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_overflows(browser, page, width):
    tab = Tab(browser, page, width=width)
    tab.run("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    assert tab.run("document.documentElement.scrollWidth") == width
    beyond = tab.run(
        """[...document.querySelectorAll('body *')]
            .filter(element => !element.closest('.scroll') || element.matches('.scroll'))
            .filter(element => !element.closest('svg svg'))  // which clips what is in it
            .filter(element => element.getBoundingClientRect().right > innerWidth + 0.5)
            .map(element => element.outerHTML.slice(0, 100))"""
    )
    assert beyond == []
    outside = tab.run(
        """[...document.querySelectorAll('svg.chart > text')].filter(text => {
            const [own, chart] = [text, text.closest('svg.chart')].map(element => element.getBoundingClientRect());
            return own.left < chart.left - 0.5 || own.right > chart.right + 0.5 || own.bottom > chart.bottom + 0.5;
        }).map(text => text.textContent)"""
    )
    assert outside == []


@pytest.mark.parametrize(
    ("label", "values"),
    [("accuracy", [0.15, 0.18]), ("loss", [17.5, 12.5, 10.5]), ("accuracy (axis cut, highest 1.23e+04)", [0.1, 0.4])],
)
def test_the_text_of_a_chart_keeps_a_distance(browser, tmp_path, label, values):
    chart = Chart("A title", label, [Line("training", values, 0), Line("validation", values[::-1], 1)])
    path = tmp_path / "page.html"
    path.write_text(document("Chart", svg(chart), CSS))
    tab = Tab(browser, path.as_uri(), width=460)
    touching = tab.run(
        """(() => {
            const texts = [...document.querySelectorAll('svg > text')].map(of => [of, of.getBoundingClientRect()]);
            return texts.flatMap(([one, a], i) => texts.slice(i + 1).filter(([, b]) => a.left < b.right + 4
                && b.left < a.right + 4 && a.top < b.bottom && b.top < a.bottom)
                .map(([other]) => one.textContent + ' on ' + other.textContent));
        })()"""
    )
    assert touching == []


def test_tables_fit_on_paper(browser, page):
    tab = Tab(browser, page, width=718, medium="print")  # A4 with margins of 1 cm
    cut = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth).length"
    assert tab.run(cut) == 0
    assert tab.run("document.querySelectorAll('.scroll').length") > 5


@pytest.mark.parametrize(
    ("scheme", "medium", "dark"), [("light", "screen", 0), ("dark", "screen", 1), ("dark", "print", 0)]
)
def test_text_and_lines_stand_out(browser, page, scheme, medium, dark):
    """At least 4.5:1 for text and 3:1 for lines (WCAG 2.1), in light, dark and on paper."""
    tab = Tab(browser, page, scheme=scheme, medium=medium)
    colours = tab.run(
        """(() => {
            const of = (selector, property) => [...document.querySelectorAll(selector)]
                .map(element => getComputedStyle(element)[property]);
            return {page: of('body', 'backgroundColor'), text: of('p, li, td, th, figcaption, h2, summary, a', 'color'),
                    chart: of('svg.chart text', 'fill'), lines: of('svg.chart path', 'stroke')};
        })()"""
    )
    ground = luminance(colours["page"][0])
    assert (ground < 0.5) == dark
    for kind, least in (("text", 4.5), ("chart", 4.5), ("lines", 3.0)):
        for colour in set(colours[kind]):
            lighter, darker = sorted((luminance(colour), ground), reverse=True)
            assert (lighter + 0.05) / (darker + 0.05) >= least, (kind, colour)


def luminance(colour: str) -> float:
    """Relative luminance of `rgb(r, g, b)`."""
    parts = np.array([int(part) for part in colour.removeprefix("rgb(").rstrip(")").split(",")]) / 255
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])


def test_the_page_needs_nothing_else_and_shows_its_faces(browser, page):
    tab = Tab(browser, page)
    assert tab.run("performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length") == 0
    faces = tab.run("[...document.images].map(image => [image.naturalWidth, image.naturalHeight, image.alt])")
    assert len(faces) > 5
    assert all(face[:2] == [48, 48] and face[2].startswith("face: ") for face in faces)
    assert "SYNTHETIC" in tab.run("document.title")
    assert tab.run("document.scripts.length") == 0


# --- TensorBoard


@pytest.fixture(scope="module")
def board(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a TensorBoard on the run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("tensorboard") / "log"
    line = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(trained),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]
    with open(log, "wb") as output:
        server = subprocess.Popen([*line, "--load_fast=false"], stdout=output, stderr=subprocess.STDOUT)
    address = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert server.poll() is None, log.read_text()
        try:
            return bool(ask(address, "runs"))
        except OSError:
            return False

    try:
        wait_for("TensorBoard", answers)
        yield address
    finally:
        server.terminate()
        server.wait(PATIENCE)


def ask(address: str, path: str, **query: str) -> Any:
    """An answer of TensorBoard's HTTP API."""
    with urllib.request.urlopen(f"{address}/data/{path}?{urlencode(query)}", timeout=PATIENCE) as answer:
        return json.load(answer)


def test_tensorboard_has_the_curves_by_epoch(board, trained):
    table = read_epochs(trained / "metrics.csv")
    tags = wait_for("the curves", lambda: curves(board))
    names = {f"{part}/{kind}": f"{part}_{kind}" for part in ("train", "val") for kind in ("loss", "acc")} | {"lr": "lr"}
    assert names.keys() <= tags.keys()
    for tag, column in names.items():
        points = pd.DataFrame(
            ask(board, "plugin/scalars/scalars", run=tags[tag], tag=tag), columns=["time", "epoch", "value"]
        )
        assert points["epoch"].tolist() == list(range(1, EPOCHS + 1))
        np.testing.assert_allclose(points["value"], table[column], rtol=1e-6)


def curves(board: str) -> dict[str, str]:
    """The tags of the curves with the run that holds them; empty until TensorBoard has read them."""
    found = {tag: run for run, tags in ask(board, "plugin/scalars/tags").items() for tag in tags}
    return found if "val/acc" in found else {}


def test_tensorboard_has_the_test_scores_figures_settings_and_layout(board, trained):
    metrics = json.loads((trained / "metrics.json").read_text())
    tags = wait_for("the curves", lambda: curves(board))
    for split in ("public", "private"):
        points = ask(board, "plugin/scalars/scalars", run=tags[f"test/{split}_acc"], tag=f"test/{split}_acc")
        assert [value for _, _, value in points] == pytest.approx([metrics[f"test_{split}_acc"]], rel=1e-6)
    images = {tag for tags in ask(board, "plugin/images/tags").values() for tag in tags}
    assert {"curves", "confusion_matrix", "mistakes"} <= images
    layout = ask(board, "plugin/custom_scalars/layout")
    charts = {chart["title"]: chart["multiline"]["tag"] for group in layout["category"] for chart in group["chart"]}
    assert charts == {"loss": ["train/loss", "val/loss"], "accuracy": ["train/acc", "val/acc"]}
    experiment = ask(board, "plugin/hparams/experiment", request=json.dumps({"experimentName": ""}))
    assert {"model", "aug", "optimizer.lr"} <= {info["name"] for info in experiment["hparamInfos"]}
    scores = {info["name"]["tag"] for info in experiment["metricInfos"]}
    assert {"hp/val_acc", "hp/test_public_acc", "hp/test_private_acc"} <= scores


def test_tensorboard_draws_the_curves(browser, board, trained):
    wait_for("the curves", lambda: curves(board))
    tab = Tab(browser, f"{board}/?{urlencode({'tagFilter': '^(train|val)/'})}#timeseries", height=2400)
    last = read_epochs(trained / "metrics.csv").iloc[-1]
    for tag in ("train/loss", "train/acc", "val/loss", "val/acc"):
        number = f"{last[tag.replace('/', '_')]:.4f}".rstrip("0")  # which the card's table shows for the last step
        wait_for(f"{tag} with {number}", lambda shown=(tag, number): set(shown) <= set(cards(tab)))
    assert tab.run("document.title") == "TensorBoard"


def cards(tab: Tab) -> list[str]:
    """Words on TensorBoard's page; the name of a tag is split over two lines there."""
    return re.sub(r"\s+/", "/", tab.run("document.body.innerText")).split()
