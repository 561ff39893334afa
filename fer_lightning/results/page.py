"""Self-contained HTML pages: one file without scripts that opens from disk, in light and dark, on a phone and in print.

`document("Audit", table(("fault", "images"), [("constant", "12")]) + faces([(pixels, "row 59")]))` is such a page.
"""

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence

import numpy as np
from PIL import Image

# XML's characters, which HTML shares: no control characters, no halves of surrogate pairs (undecodable file names)
UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

# Nothing is loaded and nothing is run, whatever text gets onto the page
POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"

CSS = """
:root { color-scheme: light dark; --page: #fff; --text: #1c1e21; --soft: #5b626c; --line: #d8dce1; --tint: #f4f6f8;
  --accent: #0b5cad; --warn-line: #c77700; --warn-tint: #fff5e2; }
@media screen and (prefers-color-scheme: dark) {
  :root { --page: #15181c; --text: #e4e7eb; --soft: #a2abb6; --line: #3a414a; --tint: #1f242a;
    --accent: #7db8f5; --warn-line: #d99a2b; --warn-tint: #33280f; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem 1rem 4rem; max-width: 64rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif;
  overflow-wrap: break-word; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 1rem 0; }
h2 { font-size: 1.3rem; line-height: 1.25; margin: 2.5rem 0 .75rem; padding-top: .75rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 .5rem; }
p, ul, ol { margin: .5rem 0; max-width: 46rem; }
a { color: var(--accent); }
code, pre { font: .875em/1.45 ui-monospace, "Cascadia Mono", Menlo, Consolas, "Liberation Mono", monospace; }
pre { background: var(--tint); padding: .6rem .8rem; border-radius: 4px; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.soft, .caption, figcaption { color: var(--soft); font-size: .875rem; }
.warning { border-left: 4px solid var(--warn-line); background: var(--warn-tint); padding: .5rem .8rem; }
.scroll { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .92rem; }
.caption { max-width: none; margin: 1rem 0 .25rem; }
.caption + .scroll { margin-top: 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .75rem .3rem 0; border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; }
.n { text-align: right; }
td.n { white-space: nowrap; }
figure { margin: 1rem 0; }
@media (max-width: 40rem) { td:not(.n) { min-width: 6.5rem; } td.long { min-width: 15rem; } }
img { max-width: 100%; height: auto; }
.faces { display: flex; flex-wrap: wrap; gap: .6rem .3rem; margin: .5rem 0; }
.faces figure { margin: 0; width: 5.9rem; break-inside: avoid; }
.faces img { display: block; width: 4.5rem; height: 4.5rem; image-rendering: pixelated; }
.faces figcaption { font-size: .72rem; line-height: 1.3; white-space: pre-line; }
@media print { :root { font-size: 11px; } body, p, ul, ol { max-width: none; } body { padding: 0; }
  .scroll { overflow: visible; } figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } }
"""


LONG = 40  # letters of a cell from which on a narrow column makes it a tower of single words


class Html(str):
    """Markup. Whatever else is put on a page is text and gets escaped."""

    __slots__ = ()


def escape(text: object) -> Html:
    """Text as markup, for content and attribute values; characters that HTML cannot hold become U+FFFD."""
    return Html(html.escape(UNPRINTABLE.sub("\ufffd", str(text))))


def document(title: str, body: str, css: str = "") -> str:
    """A complete HTML5 page, well-formed XML as well where `body` is.

    title: text, also the page's <h1>. body: markup. css: styles beside those of this module.
    """
    head = [
        '<meta charset="utf-8" />',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}" />',
        '<meta name="viewport" content="width=device-width, initial-scale=1" />',
        f"<title>{escape(title)}</title>",
        f"<style>{CSS}{css}</style>",
    ]
    start = ["<!DOCTYPE html>", '<html lang="en">', "<head>", *head, "</head>"]
    return "\n".join([*start, "<body>", f"<h1>{escape(title)}</h1>", body, "</body>", "</html>", ""])


def table(headers: Sequence[object], rows: Iterable[Sequence[object]], caption: str = "") -> Html:
    """A table that scrolls sideways where the window is narrower. Cells are text, or markup where they are `Html`.

    Columns of numbers are set flush right, see `numeric`; columns of sentences stay wide enough to read on a phone.
    """
    lines = [list(row) for row in rows]
    columns = [[row[i] for row in lines] for i in range(len(headers))]
    classes = [' class="n"' if numeric(column) else ' class="long"' if _long(column) else "" for column in columns]

    def row(tag: str, cells: Iterable[object]) -> str:
        marked = (f"<{tag}{c}>{_markup(cell)}</{tag}>" for c, cell in zip(classes, cells, strict=True))
        return f"<tr>{''.join(marked)}</tr>"

    body = "\n".join(row("td", line) for line in lines)
    # above the table, not in its <caption>, which would be as narrow as the table; tabindex: for scrolling with keys
    above = f'<p class="caption">{_markup(caption)}</p>\n' if caption else ""
    inside = f"<table><thead>{row('th', headers)}</thead><tbody>\n{body}\n</tbody></table>"
    return Html(f'{above}<div class="scroll" tabindex="0">{inside}</div>\n')


def numeric(cells: Iterable[object]) -> bool:
    """Whether a column is one of numbers: some cell has a digit and none has a letter."""
    text = "".join(str(cell) for cell in cells)
    return any(letter.isdigit() for letter in text) and not any(letter.isalpha() for letter in text)


def _long(cells: Iterable[object]) -> bool:
    return any(len(str(cell)) > LONG for cell in cells)


def image(png_bytes: bytes, alt: str) -> Html:
    """A PNG, inside the page; `alt` is what it shows, in words."""
    return Html(f'<img src="data:image/png;base64,{base64.b64encode(png_bytes).decode()}" alt="{escape(alt)}" />')


def png(pixels: np.ndarray) -> bytes:
    """uint8 (H, W), 0 black, as a gray PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


def faces(items: Iterable[tuple[np.ndarray, str]]) -> Html:
    """Faces, uint8 (48, 48), side by side, each over its caption (text; line breaks stay)."""
    figures = (
        f"<figure>{image(png(pixels), f'face: {caption}')}<figcaption>{escape(caption)}</figcaption></figure>"
        for pixels, caption in items
    )
    return Html(f'<div class="faces">{"".join(figures)}</div>\n')


def _markup(cell: object) -> Html:
    return cell if isinstance(cell, Html) else escape(cell)
