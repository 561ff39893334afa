"""Numbers as a report writes them."""

import json
import math
from collections.abc import Iterable, Sequence
from statistics import fmean, stdev
from typing import Any

from fer_lightning.report.comparisons import Comparison


def number(value: float | None, form: str = ".3f") -> str:
    """Nothing for what is not known."""
    return "" if value is None or math.isnan(value) else format(value, form)


def signed(value: float) -> str:
    return f"{value:+.3f}".replace("-", "−")


def spread(values: Sequence[float | None]) -> str:
    """`0.412 ± 0.004`: mean and sample standard deviation; of a single value only itself."""
    known = [value for value in values if value is not None]
    if not known or len(known) < len(values):
        return ""
    return number(fmean(known)) + (f" ± {stdev(known):.3f}" if len(known) > 1 else "")


def interval(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{low:.3f}–{high:.3f}"


def whole(value: float | None) -> str:
    return "" if value is None else f"{value:,.0f}"


def percent(share: float, digits: int = 0) -> str:
    return f"{share * 100:.{digits}f} %"


def count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def listed(values: Iterable[Any]) -> str:
    return ", ".join("?" if value is None else str(value) for value in values)


def in_words(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def setting(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def ordinal(number: int) -> str:
    return ("first", "second", "third")[number - 1]


def p_value(p: float | None) -> str:
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.1 else f"{p:.2f}"


def verdict(found: Comparison) -> str:
    """`more than chance (paired t test, 3 seeds: p = 0.012)`"""
    if found.p is None:
        return f"of unknown weight ({found.test})"
    relation = "" if found.p < 0.001 else "= "
    kind = "more than chance" if found.certain else "not told from chance"
    return f"{kind} ({found.test}: p {relation}{p_value(found.p)})"
