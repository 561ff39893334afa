"""The report in a real headless Chromium."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from browser import chromium
from playwright.sync_api import Browser, Page

from fer_lightning.report import __main__ as report
from fer_lightning.results.figures import COLOURS

pytestmark = pytest.mark.slow


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
def report_url(_trained_once: Callable[..., Path]) -> str:
    """The address of the report of a tiny real run on the synthetic faces."""
    run = _trained_once("model=dnn", "model.widths=[64,32]", "trainer=cpu", "trainer.max_epochs=2", "logger=none")
    path = run.parent / "report.html"
    report.work([str(run)], path)
    return path.as_uri()


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
    assert rgb(COLOURS["dnn-norm_aug"][dark]) in colours["lines"]
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
