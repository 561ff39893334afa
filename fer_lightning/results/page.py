"""Self-contained HTML pages: one file without scripts that opens from disk, in light and dark, on a phone and in print.

`document("Audit", table(("fault", "images"), [("constant", "12")]) + faces([(pixels, "row 59")]))` is such a page. Text
is escaped wherever it is put; what is markup is `Markup`.
"""

import base64
import io
import re
from collections.abc import Iterable, Sequence

import jinja2
import markupsafe
import numpy as np
from markupsafe import Markup
from PIL import Image

# XML's characters, which HTML shares: no control characters, no halves of surrogate pairs (undecodable file names)
UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

LONG = 40  # letters of a cell from which on a narrow column makes it a tower of single words

_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader(__package__),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def render(template: str, **content: object) -> str:
    """The page that a template makes, which may use `table` and `faces`; what HTML cannot hold becomes U+FFFD."""
    return UNPRINTABLE.sub("\ufffd", _TEMPLATES.get_template(template).render(content))


def document(title: str, body: str, css: str = "") -> str:
    """A complete HTML5 page, well-formed XML as well where `body` is.

    title: text, also the page's <h1>. body: markup. css: styles beside those of all pages.
    """
    return render("page.html.j2", title=title, body=Markup(body), css=Markup(css))


def escape(text: object) -> Markup:
    """Text as markup, for content and attribute values; characters that HTML cannot hold become U+FFFD."""
    return markupsafe.escape(UNPRINTABLE.sub("\ufffd", str(text)))


def table(headers: Sequence[object], rows: Iterable[Sequence[object]], caption: str = "") -> Markup:
    """A table that scrolls sideways where the window is narrower. Cells are text, or markup where they are `Markup`.

    Columns of numbers are set flush right, see `numeric`; columns of sentences stay wide enough to read on a phone.
    """
    lines = [list(row) for row in rows]
    columns = [[row[i] for row in lines] for i in range(len(headers))]
    kinds = ["n" if numeric(column) else "long" if _long(column) else "" for column in columns]
    head, *body = ([*zip(kinds, cells, strict=True)] for cells in (headers, *lines))
    return _part("table", head, body, caption)


def numeric(cells: Iterable[object]) -> bool:
    """Whether a column is one of numbers: some cell has a digit and none has a letter."""
    text = "".join(str(cell) for cell in cells)
    return any(letter.isdigit() for letter in text) and not any(letter.isalpha() for letter in text)


def _long(cells: Iterable[object]) -> bool:
    return any(len(str(cell)) > LONG for cell in cells)


def faces(items: Iterable[tuple[np.ndarray, str]]) -> Markup:
    """Faces, uint8 (48, 48), side by side, each over its caption (text; line breaks stay)."""
    return _part("faces", [(base64.b64encode(png(pixels)).decode(), caption) for pixels, caption in items])


def png(pixels: np.ndarray) -> bytes:
    """uint8 (H, W), 0 black, as a gray PNG."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


def _part(name: str, *content: object) -> Markup:
    return getattr(_TEMPLATES.get_template("parts.html.j2").module, name)(*content)


_TEMPLATES.globals.update(table=table, faces=faces)
