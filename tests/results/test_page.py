import base64
import io
import re
from xml.etree import ElementTree

import jinja2
import numpy as np
import pytest
from PIL import Image

from fer_lightning.results import page

NASTY = "<script>alert(1)</script> a&b \"'"


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<div>{markup}</div>")


def shown(body: str, **content: object) -> str:
    """A page of this body, a template."""
    source = '{% extends "page.html.j2" %}{% block body %}' + body + "{% endblock %}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            page._TEMPLATES, "loader", jinja2.ChoiceLoader([jinja2.DictLoader({"own": source}), page._TEMPLATES.loader])
        )
        return page.render("own", title=NASTY, **content)


def test_a_page_is_complete_and_loads_and_runs_nothing():
    text = shown("{{ faces(several) }}", several=[(np.zeros((48, 48), np.uint8), "a face")])
    root = ElementTree.fromstring(text)
    assert text.startswith("<!DOCTYPE html>")
    assert (root.tag, root.get("lang")) == ("html", "en")
    assert root.findtext("head/title") == root.findtext("body/h1") == NASTY
    assert root.find("head/meta[@name='viewport']") is not None
    policy = root.find("head/meta[@http-equiv]")
    assert policy is not None
    assert "default-src 'none'" in policy.get("content", "")
    assert re.findall(r"(?:src|href)=[\"'](?!data:)", text) == []
    assert not any(word in text for word in ("url(", "@import"))
    style = root.findtext("head/style", "")
    assert all(word in style for word in ("prefers-color-scheme: dark", "max-width: 40rem", "@media print"))


def test_nothing_in_a_page_goes_unescaped_or_unprintable():
    pixels = np.zeros((48, 48), np.uint8)
    body = "{{ table([nasty], [[nasty]], nasty) }}{{ faces([(pixels, nasty)]) }}<p>{{ odd }}</p>"
    root = ElementTree.fromstring(
        shown(body, nasty=NASTY, pixels=pixels, odd="nul \0, half \udcff, escape \x1b").encode()
    )
    assert list(root.iter("script")) == []
    assert [element.text for tag in ("title", "h1", "th", "td", "figcaption") for element in root.iter(tag)] == [
        NASTY
    ] * 5
    assert [element.get("alt") for element in root.iter("img")] == [f"face: {NASTY}"]
    assert [p.text for p in root.iter("p")][-1] == "nul \ufffd, half \ufffd, escape \ufffd"


def test_a_table_holds_its_cells_and_keeps_markup_where_it_is_meant():
    root = parsed(page.table(["a", "b"], [["1 < 2", page.Markup("<b>bold</b>")], ["", 3]], caption="Of it all"))
    assert [cell.text for cell in root.iter("th")] == ["a", "b"]
    assert ["".join(cell.itertext()) for cell in root.iter("td")] == ["1 < 2", "bold", "", "3"]
    assert root.findtext(".//td/b") == "bold"
    assert root.findtext("p") == "Of it all"


def test_a_table_may_be_empty_and_must_not_be_ragged():
    assert [cell.text for cell in parsed(page.table(["a"], [])).iter("th")] == ["a"]
    for ragged in ([["1", "2"], ["3"]], [["1", "2", "3"]]):
        with pytest.raises((ValueError, IndexError)):
            page.table(["a", "b"], ragged)


@pytest.mark.parametrize(
    ("cells", "numbers"),
    [
        (["12", "3,456"], True),
        (["0.412 ± 0.004", "", "−0.1"], True),
        (["0.41–0.43", "72 %", "< 0.001", "–"], True),
        (["0-dnn-norm", "1-dnn-norm"], False),
        (["12", "none"], False),
        (["", "–"], False),
        ([], False),
    ],
)
def test_columns_of_numbers_stand_flush_right(cells, numbers):
    table = parsed(page.table(["head"], [[cell] for cell in cells]))
    assert {cell.get("class") for tag in ("th", "td") for cell in table.iter(tag)} == {"n" if numbers else None}


def test_columns_of_sentences_are_told_from_those_of_words():
    table = parsed(page.table(["word", "sentence"], [["short", "s" * 40], ["short", "s" * 41]]))
    assert [cell.get("class") for cell in table.iter("td")] == [None, "long", None, "long"]


def test_a_page_says_what_its_template_lacks():
    with pytest.raises(jinja2.UndefinedError, match="'body' is undefined"):
        shown("{{ body }}")


@pytest.mark.parametrize(
    ("form", "written"),
    [
        ("{{ none | number }}{{ 0.12345 | number }} {{ 1234.5 | number(',.0f') }}", "0.123 1,234"),
        ("{{ 41.23 | size }} {{ 999.7 | size }} {{ 1010.4 | size }}{{ none | size }}", "41.2 1,000 1,010"),
        ("{{ -0.0126 | signed }} {{ 0.5 | signed }}", "−0.013 +0.500"),
        ("{{ [0.4, 0.42] | spread }}; {{ [0.4] | spread }}; {{ [0.4, none] | spread }}", "0.410 ± 0.014; 0.400; "),
        (
            "{{ [0.41, 0.4349] | interval }}{{ none | interval }} {{ 0.123 | percent }} "
            "{{ 1 | count('run') }} {{ 2000 | count('run') }}",
            "0.410–0.435 12.3 % 1 run 2,000 runs",
        ),
        (
            "{{ 0.0004 | p }}, {{ 0.0123 | p }}, {{ 0.256 | p }}, {{ none | p }}",
            "p < 0.001, p = 0.012, p = 0.26, p unknown",
        ),
    ],
)
def test_numbers_are_written_alike(form, written):
    root = ElementTree.fromstring(shown(f"<p>{form}</p>"))
    assert root.findtext("body/p") == written


def test_faces_keep_their_pixels_and_captions():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 48, 48), np.uint8)
    root = parsed(page.faces(zip(pixels, ["row 1\nfear", "row 2"], strict=True)))
    for image, expected in zip(root.iter("img"), pixels, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(image.get("src", "").partition(",")[2]))) as face:
            np.testing.assert_array_equal(np.asarray(face), expected)
    assert [caption.text for caption in root.iter("figcaption")] == ["row 1\nfear", "row 2"]
