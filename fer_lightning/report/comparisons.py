"""Is the difference between two conditions more than chance? Over seeds where there are enough, else image by image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from fer_lightning.results.conditions import Condition
from fer_lightning.results.scores import holm, mcnemar, more_than_chance, paired_t_test, welch_t_test

SPLIT_NAMES = {"val": "validation", "public": "PublicTest", "private": "PrivateTest"}
SETTINGS, NETWORKS = "the settings differ", "these two networks differ"  # what a test over seeds, of one run each, says


@dataclass
class Comparison:
    """a − b, and the probability of so large a difference by chance alone; None where nothing can tell.

    between: the two values, means over what was compared. test: what was done. differ: what it says where it finds a
    difference. images: which the values are of.
    """

    between: tuple[float, float]
    p: float | None
    test: str
    differ: str = ""
    images: str = SPLIT_NAMES["val"]

    @property
    def difference(self) -> float:
        return self.between[0] - self.between[1]

    @property
    def certain(self) -> bool:
        return more_than_chance(self.p)


def compare_accuracy(a: Condition, b: Condition) -> Comparison:
    """Validation accuracy of the best epochs."""
    values = a.values("val_acc"), b.values("val_acc")
    return _over_seeds(a, b, *values) or _same_images(a, b) or _untested(*values)


def compare_speed(a: Condition, b: Condition, last: int) -> Comparison:
    """The training loss, mean over the epochs 1 … last."""
    return compare(a, b, a.mean_training_losses(last), b.mean_training_losses(last))


def compare(a: Condition, b: Condition, values_a: Sequence[float], values_b: Sequence[float]) -> Comparison:
    """A value for each run of the two."""
    return _over_seeds(a, b, values_a, values_b) or _untested(values_a, values_b)


def _over_seeds(a: Condition, b: Condition, values_a: Sequence[float], values_b: Sequence[float]) -> Comparison | None:
    """A paired t test over the seeds that both have, Welch's where they have fewer than two pairs.

    None where one of them has fewer than two. The same seed means the same validation images, hence the pairs, where
    it sets the split in both.
    """
    by_seed = [dict(zip(c.seeds, values, strict=True)) for c, values in ((a, values_a), (b, values_b))]
    alike = all(a.keys.get(key) == b.keys.get(key) for key in ("data.split_seed", "data.val_split"))
    both = sorted(by_seed[0].keys() & by_seed[1].keys()) if alike else []
    if len(both) > 1:
        x, y = ([values[seed] for seed in both] for values in by_seed)
        return Comparison((fmean(x), fmean(y)), paired_t_test(x, y), f"paired t test, {len(both)} seeds", SETTINGS)
    if min(len(values_a), len(values_b)) > 1:
        test = f"Welch’s t test, {len(values_a)} and {len(values_b)} seeds"
        return Comparison((fmean(values_a), fmean(values_b)), welch_t_test(values_a, values_b), test, SETTINGS)
    return None


def _same_images(a: Condition, b: Condition) -> Comparison | None:
    """McNemar's test of one run each, of the same seed if there is one: on validation, else on test images.

    None where the two were scored on no split of the same images.
    """
    pairs = [(x, y) for x in a.runs for y in b.runs if x.metrics["seed"] == y.metrics["seed"]]
    one, other = pairs[0] if pairs else (a.runs[0], b.runs[0])
    if one.predictions is None or other.predictions is None:
        return None
    for split, name in SPLIT_NAMES.items():
        x, y = (t[t["split"] == split].sort_values("index") for t in (one.predictions, other.predictions))
        if len(x) and x[["index", "target"]].to_numpy().tolist() == y[["index", "target"]].to_numpy().tolist():
            right_x, right_y = ((t["target"] == t["predicted"]).to_numpy() for t in (x, y))
            found = mcnemar(right_x, right_y)
            test = f"McNemar’s test, {len(x):,} {name} images, {found['b']:,} against {found['c']:,} right alone"
            return Comparison((float(right_x.mean()), float(right_y.mean())), float(found["p"]), test, NETWORKS, name)
    return None


def _untested(values_a: Sequence[float], values_b: Sequence[float]) -> Comparison:
    return Comparison((fmean(values_a), fmean(values_b)), None, "no test: too few seeds")


def adjusted(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """With Holm's correction for being several."""
    ps = iter(holm([found.p for found in comparisons if found.p is not None]))
    return [found if found.p is None else replace(found, p=next(ps)) for found in comparisons]
