"""Pages and TensorBoard's curves in a real headless Chromium."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import numpy as np
import pytest
from fer_lightning.report.charts import CSS, LIGHT, Chart, Line, svg
from playwright.sync_api import Browser, Page, sync_playwright

from fer_lightning.report import __main__ as report
from fer_lightning.results.page import document
from fer_lightning.results.run_folder import read_epochs

pytestmark = pytest.mark.slow

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
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


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    executable = shutil.which("chromium")
    if executable is None:
        pytest.skip("no chromium here (Debian: apt install chromium)")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=executable, args=FLAGS) as opened:
        yield opened


@pytest.fixture
def show(browser: Browser) -> Iterator[Callable[..., Page]]:
    """`show(url, …)` opens it in a window of some size, by a colour scheme (light or dark), for screen or print."""
    with ExitStack() as tabs:

        def show(url: str, *, width=1200, height=800, scheme="light", medium="screen") -> Page:
            tab = tabs.enter_context(
                browser.new_page(
                    viewport={"width": width, "height": height}, color_scheme=scheme, is_mobile=width < 600
                )
            )
            tab.emulate_media(media=medium)
            tab.goto(url)
            return tab

        yield show


@pytest.fixture(scope="module")
def trained(_trained_once: Callable[..., Path]) -> Path:
    """A tiny real run on the synthetic faces."""
    return _trained_once(
        "model=dnn", "model.widths=[16,8]", "data=synthetic", "trainer=cpu", f"trainer.max_epochs={EPOCHS}"
    )


@pytest.fixture(scope="module")
def report_url(trained: Path) -> str:
    """The address of its report."""
    path = trained.parent / "report.html"
    report.work([str(trained)], path)
    return path.as_uri()


# --- the report


def test_the_charts_hold_the_numbers_of_metrics_csv(show, report_url, trained):
    tab = show(report_url)
    drawn = tab.evaluate(
        """[...document.querySelectorAll('svg.chart path[data-run]')].map(path => {
            const [first, last] = [0, path.getTotalLength()].map(at => path.getPointAtLength(at).y);
            return {...path.dataset, first, last, height: path.getBoundingClientRect().height,
                    colour: getComputedStyle(path).stroke};
        })"""
    )
    table = read_epochs(trained / "metrics.csv")
    assert {line["column"] for line in drawn} == {"train_cross_entropy", "train_acc", "val_loss", "val_acc"}
    for line in drawn:
        values = [float(value) for value in line["values"].split(",")]
        np.testing.assert_allclose(values, table[line["column"]], rtol=1e-4)
        assert (line["last"] < line["first"]) == (values[-1] > values[0])  # the y axis points down
        assert line["height"] > 0
    assert {line["colour"] for line in drawn} == {rgb(LIGHT[0]), rgb(LIGHT[1])}


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_overflows(show, report_url, width):
    tab = show(report_url, width=width)
    tab.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    beyond = tab.evaluate(
        """[...document.querySelectorAll('body *')]
            .filter(element => !element.closest('.scroll') || element.matches('.scroll'))
            .filter(element => !element.closest('svg svg'))  // which clips what is in it
            .filter(element => element.getBoundingClientRect().right > innerWidth + 0.5)
            .map(element => element.outerHTML.slice(0, 100))"""
    )
    assert beyond == []
    outside = tab.evaluate(
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
def test_the_text_of_a_chart_keeps_a_distance(show, tmp_path, label, values):
    chart = Chart("A title", label, [Line("training", values, 0), Line("validation", values[::-1], 1)])
    path = tmp_path / "page.html"
    path.write_text(document("Chart", svg(chart), CSS))
    tab = show(path.as_uri(), width=460)
    touching = tab.evaluate(
        """(() => {
            const texts = [...document.querySelectorAll('svg > text')].map(of => [of, of.getBoundingClientRect()]);
            return texts.flatMap(([one, a], i) => texts.slice(i + 1).filter(([, b]) => a.left < b.right + 4
                && b.left < a.right + 4 && a.top < b.bottom && b.top < a.bottom)
                .map(([other]) => one.textContent + ' on ' + other.textContent));
        })()"""
    )
    assert touching == []


def test_tables_fit_on_paper(show, report_url):
    tab = show(report_url, width=718, medium="print")  # A4 with margins of 1 cm
    cut = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth).length"
    assert tab.evaluate(cut) == 0
    assert tab.evaluate("document.querySelectorAll('.scroll').length") > 5


@pytest.mark.parametrize(
    ("scheme", "medium", "dark"), [("light", "screen", 0), ("dark", "screen", 1), ("dark", "print", 0)]
)
def test_text_and_lines_stand_out(show, report_url, scheme, medium, dark):
    """At least 4.5:1 for text and 3:1 for lines (WCAG 2.1), in light, dark and on paper."""
    tab = show(report_url, scheme=scheme, medium=medium)
    colours = tab.evaluate(
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


def test_the_page_needs_nothing_else_and_shows_its_faces(show, report_url):
    tab = show(report_url)
    assert tab.evaluate("performance.getEntriesByType('resource').filter(r => !r.name.startsWith('data:')).length") == 0
    faces = tab.evaluate("[...document.images].map(image => [image.naturalWidth, image.naturalHeight, image.alt])")
    assert len(faces) > 5
    assert all(face[:2] == [48, 48] and face[2].startswith("face: ") for face in faces)
    assert "SYNTHETIC" in tab.evaluate("document.title")
    assert tab.evaluate("document.scripts.length") == 0


# --- TensorBoard


@pytest.fixture(scope="module")
def board(trained: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a TensorBoard on the run."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("tensorboard") / "log"
    options = f"--host 127.0.0.1 --port {port} --load_fast=false --logdir".split()
    with open(log, "wb") as output:
        server = subprocess.Popen(
            [sys.executable, "-m", "tensorboard.main", *options, trained], stdout=output, stderr=subprocess.STDOUT
        )
    address = f"http://127.0.0.1:{port}"

    def has_read() -> bool:
        assert server.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"{address}/data/plugin/scalars/tags", timeout=PATIENCE) as answer:
                return any("val/acc" in tags for tags in json.load(answer).values())
        except OSError:
            return False

    try:
        wait_for("TensorBoard's curves", has_read)
        yield address
    finally:
        server.terminate()
        server.wait(PATIENCE)


def test_tensorboard_draws_the_curves(show, board, trained):
    tab = show(f"{board}/?{urlencode({'tagFilter': '^(train|val)/'})}#timeseries", height=2400)
    last = read_epochs(trained / "metrics.csv").iloc[-1]
    for tag in ("train/loss", "train/acc", "val/loss", "val/acc"):
        number = f"{last[tag.replace('/', '_')]:.4f}".rstrip("0")  # which the card's table shows for the last step
        tab.wait_for_function(  # the name of a tag is split over two lines there
            """shown => {
                const words = document.body.innerText.replace(/\\s+\\//g, '/').split(/\\s+/);
                return shown.every(word => words.includes(word));
            }""",
            arg=[tag, number],
            timeout=PATIENCE * 1000,
        )
    assert tab.title() == "TensorBoard"
