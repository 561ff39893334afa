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


def test_a_page_is_complete_and_well_formed():
    text = page.document("Faults & more", page.table(["fault", "images"], [["constant", "12"]]), ".own { color: red; }")
    root = ElementTree.fromstring(text)
    assert text.startswith("<!DOCTYPE html>")
    assert (root.tag, root.get("lang")) == ("html", "en")
    assert root.findtext("head/title") == root.findtext("body/h1") == "Faults & more"
    assert ".own { color: red; }" in root.findtext("head/style", "")
    assert root.find("head/meta[@name='viewport']") is not None


def test_a_page_loads_nothing_and_runs_nothing():
    text = page.document("Title", page.faces([(np.zeros((48, 48), np.uint8), "a face")]))
    policy = ElementTree.fromstring(text).find("head/meta[@http-equiv]")
    assert policy is not None
    assert "default-src 'none'" in policy.get("content", "")
    assert re.findall(r"(?:src|href)=[\"'](?!data:)", text) == []
    assert "url(" not in text
    assert "@import" not in text


@pytest.mark.parametrize(
    ("text", "markup"),
    [
        (NASTY, "&lt;script&gt;alert(1)&lt;/script&gt; a&amp;b &#34;&#39;"),
        ("nul \0 and escape \x1b", "nul \ufffd and escape \ufffd"),
        ("undecodable \udcff", "undecodable \ufffd"),
        ("face → 😀 ±", "face → 😀 ±"),
        (12, "12"),
        (page.Markup("<b>"), "&lt;b&gt;"),
    ],
)
def test_text_is_escaped(text, markup):
    assert page.escape(text) == markup
    assert parsed(page.escape(text)).text is not None


def test_nothing_in_a_page_goes_unescaped():
    pixels = np.zeros((48, 48), np.uint8)
    body = page.table([NASTY], [[NASTY]], NASTY) + page.faces([(pixels, NASTY)])
    root = ElementTree.fromstring(page.document(NASTY, body))
    assert list(root.iter("script")) == []
    assert [element.text for tag in ("title", "h1", "th", "td", "figcaption") for element in root.iter(tag)] == [
        NASTY
    ] * 5
    assert [element.get("alt") for element in root.iter("img")] == [f"face: {NASTY}"]


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
    assert page.numeric(cells) is numbers
    table = parsed(page.table(["head"], [[cell] for cell in cells]))
    assert {cell.get("class") for tag in ("th", "td") for cell in table.iter(tag)} == {"n" if numbers else None}


def test_columns_of_sentences_are_told_from_those_of_words():
    table = parsed(page.table(["word", "sentence"], [["short", "s" * 40], ["short", "s" * 41]]))
    assert [cell.get("class") for cell in table.iter("td")] == [None, "long", None, "long"]


def test_what_a_page_cannot_hold_is_replaced_wherever_it_comes_from():
    text = page.document("nul \0", page.Markup("<p>half \udcff</p>") + page.table(["\x1b"], [["\x1b"]]), "/* \0 */")
    root = ElementTree.fromstring(text.encode())
    assert [root.findtext(path) for path in ("body/h1", "body/p", ".//th", ".//td")] == [
        "nul \ufffd",
        "half \ufffd",
        "\ufffd",
        "\ufffd",
    ]


def test_a_page_says_what_its_template_lacks():
    with pytest.raises(jinja2.UndefinedError, match="'body' is undefined"):
        page.render("page.html.j2", title="Title", css="")


def test_faces_keep_their_pixels_and_captions():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 48, 48), np.uint8)
    root = parsed(page.faces(zip(pixels, ["row 1\nfear", "row 2"], strict=True)))
    for image, expected in zip(root.iter("img"), pixels, strict=True):
        with Image.open(io.BytesIO(base64.b64decode(image.get("src", "").partition(",")[2]))) as face:
            np.testing.assert_array_equal(np.asarray(face), expected)
    assert [caption.text for caption in root.iter("figcaption")] == ["row 1\nfear", "row 2"]


def test_a_page_knows_dark_phones_and_paper():
    style = ElementTree.fromstring(page.document("Title", "")).findtext("head/style", "")
    assert "prefers-color-scheme: dark" in style
    assert "max-width: 40rem" in style
    assert "@media print" in style
