"""Self-contained HTML pages: one file that opens from disk, in light and dark, on a phone and in print.

A template of `templates/` extends `page.html.j2` and uses `table`, `faces` and, as filters, the words for numbers.
Text is escaped wherever it is put; what is markup is `Markup`. Only try.html.j2 has scripts.
"""

import base64
import io
import re
from collections.abc import Iterable, Sequence

import jinja2
import numpy as np
from markupsafe import Markup
from PIL import Image

from fer_lightning.results.words import count, interval, number, p_value, percent, signed, size, spread

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


def table(headers: Sequence[object], rows: Iterable[Sequence[object]], caption: str = "") -> Markup:
    """A table that scrolls sideways where the window is narrower. Cells are text, or markup where they are `Markup`.

    Columns of numbers are set flush right; columns of sentences stay wide enough to read on a phone. See `kind`.
    """
    lines = [list(row) for row in rows]
    kinds = [kind([row[i] for row in lines]) for i in range(len(headers))]
    head, *body = ([*zip(kinds, cells, strict=True)] for cells in (headers, *lines))
    return _part("table", head, body, caption)


def kind(cells: Iterable[object]) -> str:
    """Of a column: `n` of numbers (some cell has a digit, none has a letter), `long` of sentences, else nothing."""
    texts = [str(cell) for cell in cells]
    letters = "".join(texts)
    if any(letter.isdigit() for letter in letters) and not any(letter.isalpha() for letter in letters):
        return "n"
    return "long" if any(len(text) > LONG for text in texts) else ""


def faces(items: Iterable[tuple[np.ndarray, str]]) -> Markup:
    """Faces, uint8 (48, 48) or (48, 48, 3), side by side, each over its caption (text; line breaks stay)."""
    return _part("faces", [(base64.b64encode(png(pixels)).decode(), caption) for pixels, caption in items])


def png(pixels: np.ndarray) -> bytes:
    """uint8 (H, W), 0 black, as a gray PNG; (H, W, 3) as one in colour."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


def _part(name: str, *content: object) -> Markup:
    return getattr(_TEMPLATES.get_template("parts.html.j2").module, name)(*content)


_TEMPLATES.globals.update(table=table, faces=faces)
_TEMPLATES.filters.update(
    number=number, size=size, signed=signed, spread=spread, interval=interval, percent=percent, count=count, p=p_value
)
