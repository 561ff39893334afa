"""Pages and TensorBoard's curves in a real headless Chromium."""

import json
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

import pytest
from browser import PATIENCE, chromium
from playwright.sync_api import Browser, Page

from fer_lightning.report import __main__ as report
from fer_lightning.results.figures import COLOURS
from fer_lightning.results.run_folder import read_epochs

pytestmark = pytest.mark.slow

EPOCHS = 3


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
    with chromium() as opened:
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
        "model=dnn", "model.widths=[16,8]", "data=synthetic", "aug=norm", "trainer=cpu", f"trainer.max_epochs={EPOCHS}"
    )


@pytest.fixture(scope="module")
def report_url(trained: Path) -> str:
    """The address of its report."""
    path = trained.parent / "report.html"
    report.work([str(trained)], path)
    return path.as_uri()


# --- the report


@pytest.mark.parametrize(("scheme", "dark"), [("light", 0), ("dark", 1)])
def test_charts_are_drawn_in_the_page_s_colours(show, report_url, scheme, dark):
    tab = show(report_url, scheme=scheme)
    colours = tab.evaluate(
        """(() => {
            const of = (selector, property) => [...document.querySelectorAll(selector)]
                .filter(element => element.getBoundingClientRect().width > 0)
                .map(element => getComputedStyle(element)[property]);
            return {lines: of('svg.chart path', 'stroke'), text: of('svg.chart text', 'fill'),
                    words: of('body, .soft', 'color')};
        })()"""
    )
    assert rgb(COLOURS["dnn-norm"][dark]) in colours["lines"]
    assert set(colours["text"]) == set(colours["words"])


def rgb(colour: str) -> str:
    return f"rgb({', '.join(str(int(colour[i : i + 2], 16)) for i in (1, 3, 5))})"


@pytest.mark.parametrize("width", [390, 1200])
def test_nothing_overflows(show, report_url, width):
    tab = show(report_url, width=width)
    tab.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true })")
    assert tab.evaluate("document.documentElement.scrollWidth") == width
    beyond = tab.evaluate(
        """[...document.querySelectorAll('body *')]
            .filter(element => !element.closest('.scroll, .wide, svg *') || element.matches('.scroll, .wide'))
            .filter(element => element.getBoundingClientRect().right > innerWidth + 0.5)
            .map(element => element.outerHTML.slice(0, 100))"""
    )
    assert beyond == []
    outside = tab.evaluate(
        """[...document.querySelectorAll('svg.chart text')].filter(text => {
            const [own, chart] = [text, text.closest('svg.chart')].map(element => element.getBoundingClientRect());
            return own.left < chart.left - 0.5 || own.right > chart.right + 0.5 || own.bottom > chart.bottom + 0.5;
        }).map(text => text.textContent)"""
    )
    assert outside == []


def test_tables_fit_on_paper(show, report_url):
    tab = show(report_url, width=718, medium="print")  # A4 with margins of 1 cm
    cut = "[...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth).length"
    assert tab.evaluate(cut) == 0
    assert tab.evaluate("document.querySelectorAll('.scroll').length") > 3


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
