"""Is a difference between two settings more than chance? Student's t tests over seeds, on the standard library alone.

McNemar's test, for two runs on the same images, is in `fer_lightning.results.scores`.
"""

import math
from collections.abc import Sequence
from statistics import fmean, stdev, variance

LEVEL = 0.05  # of significance: a p below it is called more than chance


def paired_t(a: Sequence[float], b: Sequence[float]) -> float:
    """The two-sided p of a paired t test, as `scipy.stats.ttest_rel(a, b).pvalue`; at least 2 pairs.

    Differences that are all the same leave no chance to measure: p = 0, or 1 where they are 0 (scipy: NaN).
    """
    differences = [x - y for x, y in zip(a, b, strict=True)]
    error = stdev(differences) / math.sqrt(len(differences))
    return _p(fmean(differences), error, len(differences) - 1)


def welch_t(a: Sequence[float], b: Sequence[float]) -> float:
    """The two-sided p of Welch's t test, as `scipy.stats.ttest_ind(a, b, equal_var=False).pvalue`; 2 values each.

    For values without spread as `paired_t`.
    """
    parts = [variance(values) / len(values) for values in (a, b)]
    freedoms = [part**2 / (len(values) - 1) for part, values in zip(parts, (a, b), strict=True)]
    degrees = sum(parts) ** 2 / sum(freedoms) if sum(freedoms) else 1.0
    return _p(fmean(a) - fmean(b), math.sqrt(sum(parts)), degrees)


def holm(ps: Sequence[float]) -> list[float]:
    """p values adjusted for being several, in the order given (Holm 1979): each is as if it stood alone.

    The smallest is multiplied by their number, the next by one less, …; none gets below one before it, or above 1.
    """
    adjusted = [0.0] * len(ps)
    largest = 0.0
    for rank, i in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        largest = max(largest, min(1.0, ps[i] * (len(ps) - rank)))
        adjusted[i] = largest
    return adjusted


def _p(difference: float, error: float, degrees: float) -> float:
    if error == 0:
        return 1.0 if difference == 0 else 0.0
    t = difference / error
    return incomplete_beta(degrees / 2, 0.5, degrees / (degrees + t * t))


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b), as `scipy.special.betainc`: a, b > 0, 0 ≤ x ≤ 1.

    Lentz's evaluation of its continued fraction (Press et al., Numerical Recipes, section 6.4).
    """
    if x > (a + 1) / (a + b + 2):  # where the fraction of the other end converges faster
        return 1 - incomplete_beta(b, a, 1 - x)
    if x == 0:
        return 0.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x)) / a
    tiny = 1e-300
    c, d, fraction = 1.0, 0.0, 1.0
    for step in range(1000):
        m = step // 2
        if step == 0:
            numerator = 1.0
        elif step % 2:
            numerator = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            numerator = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d = 1 / (1 + numerator * d or tiny)
        c = 1 + numerator / c or tiny
        fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return front * (fraction - 1)
