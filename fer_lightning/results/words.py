"""Numbers in words, written alike on pages, in tables and in messages."""

import math
from collections.abc import Sequence
from statistics import fmean, stdev


def number(value: float | None, form: str = ".3f") -> str:
    """Nothing for what is not known."""
    return "" if value is None or math.isnan(value) else format(value, form)


def size(value: float | None) -> str:
    """`0.412`, `41.2`, `1,010`: three digits at least, of a time or a ratio."""
    return number(value, ",.0f" if value is not None and value >= 999.5 else ".3g")


def signed(value: float) -> str:
    return "" if math.isnan(value) else f"{value:+z.3f}".replace("-", "−")


def spread(values: Sequence[float | None], form: str = ".3f") -> str:
    """`0.412 ± 0.004`: mean and sample standard deviation; of a single value only itself."""
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known or len(known) < len(values):
        return ""
    return number(fmean(known), form) + (f" ± {stdev(known):{form}}" if len(known) > 1 else "")


def interval(bounds: Sequence[float] | None, form: str = ".3f") -> str:
    return "" if bounds is None or math.isnan(bounds[0]) else f"{bounds[0]:{form}}–{bounds[1]:{form}}"


def percent(share: float, digits: int = 1) -> str:
    return f"{share * 100:.{digits}f} %"


def count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def p_value(p: float | None) -> str:
    if p is None:
        return "p unknown"
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}" if p < 0.1 else f"p = {p:.2f}"
