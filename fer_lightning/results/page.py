"""Self-contained HTML pages: one file that opens from disk, in light and dark, on a phone and in print.

A template of `templates/` extends `page.html.j2` and uses `table`, `faces` and the filters below, which write numbers.
Text is escaped wherever it is put; what is markup is `Markup`. Only try.html.j2 has scripts.
"""

import base64
import io
import math
import re
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

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
    """Faces, uint8 (48, 48) or (48, 48, 3), side by side, each over its caption (text; line breaks stay)."""
    return _part("faces", [(base64.b64encode(png(pixels)).decode(), caption) for pixels, caption in items])


def png(pixels: np.ndarray) -> bytes:
    """uint8 (H, W), 0 black, as a gray PNG; (H, W, 3) as one in colour."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", optimize=True)
    return file.getvalue()


# --- numbers


def number(value: float | None, form: str = ".3f") -> str:
    """Nothing for what is not known."""
    return "" if value is None or math.isnan(value) else format(value, form)


def signed(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+z.3f}".replace("-", "−")


def spread(values: Sequence[float | None], form: str = ".3f") -> str:
    """`0.412 ± 0.004`: mean and sample standard deviation; of a single value only itself."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known or len(known) < len(values):
        return ""
    return number(fmean(known), form) + (f" ± {stdev(known):{form}}" if len(known) > 1 else "")


def interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{low:.3f}–{high:.3f}"


def percent(share: float, digits: int = 1) -> str:
    return f"{share * 100:.{digits}f} %"


def count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def p_value(p: float | None) -> str:
    if p is None:
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"


def _part(name: str, *content: object) -> Markup:
    return getattr(_TEMPLATES.get_template("parts.html.j2").module, name)(*content)


_TEMPLATES.globals.update(table=table, faces=faces)
_TEMPLATES.filters.update(
    number=number, signed=signed, spread=spread, interval=interval, percent=percent, count=count, p=p_value
)
