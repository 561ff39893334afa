"""The range of a chart's y axis, for pictures and page alike."""

import numpy as np


def y_range(values: np.ndarray) -> tuple[float, float, float | None]:
    """The ends of the axis for float (N,) values, some perhaps NaN or infinite; the highest of them if it is cut.

    It is cut where one diverging epoch would flatten all else.
    """
    values = values[np.isfinite(values)]
    if not len(values):
        return 0.0, 1.0, None
    low, high, usual = float(values.min()), float(values.max()), float(np.quantile(values, 0.95))
    highest = high if high > 2 * usual else None
    if highest is not None:
        high = 1.25 * usual
    margin = max(0.05 * (high - low), 0.05 - (high - low) / 2)  # a range of 0.1 at least, lest noise look like a trend
    return low - margin, high + margin, highest
