"""Is the difference between two conditions more than chance? Over seeds where there are enough, else image by image."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from fer_lightning.results.conditions import Condition
from fer_lightning.results.scores import holm, mcnemar, more_than_chance, paired_t_test, welch_t_test

SETTINGS, NETWORKS = "the settings differ", "these two networks differ"  # what a test over seeds, of one run each, says


@dataclass
class Comparison:
    """a − b, and the probability of so large a difference by chance alone; None where nothing can tell.

    between: the two values, means over what was compared. test: what was done. differ: what it says where it finds a
    difference.
    """

    between: tuple[float, float]
    p: float | None
    test: str
    differ: str = ""

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
    values = a.mean_training_losses(last), b.mean_training_losses(last)
    return _over_seeds(a, b, *values) or _untested(*values)


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
        p, test = paired_t_test(x, y), f"paired t test, {len(both)} seeds"
    elif min(len(values_a), len(values_b)) > 1:
        x, y = list(values_a), list(values_b)
        p, test = welch_t_test(x, y), f"Welch’s t test, {len(x)} and {len(y)} seeds"
    else:
        return None
    return Comparison((fmean(x), fmean(y)), p, test if p is not None else "no test: seeds without spread", SETTINGS)


def _same_images(a: Condition, b: Condition) -> Comparison | None:
    """McNemar's test of one run each, of the same seed if there is one; None where their validation images differ."""
    both = [seed for seed in a.seeds if seed in b.seeds]
    runs = [c.runs[c.seeds.index(both[0]) if both else 0] for c in (a, b)]
    tables = [run.predictions for run in runs if run.predictions is not None]
    if len(tables) < 2:
        return None
    x, y = (table[table["split"] == "val"].sort_values("index") for table in tables)
    if not len(x) or x[["index", "target"]].to_numpy().tolist() != y[["index", "target"]].to_numpy().tolist():
        return None
    right_x, right_y = ((table["target"] == table["predicted"]).to_numpy() for table in (x, y))
    found = mcnemar(right_x, right_y)
    seeds = " and ".join(str(run.metrics["seed"]) for run in runs)
    test = f"McNemar’s test, seeds {seeds}, {len(x):,} images, {found['b']:,} against {found['c']:,} right alone"
    return Comparison((float(right_x.mean()), float(right_y.mean())), float(found["p"]), test, NETWORKS)


def _untested(values_a: Sequence[float], values_b: Sequence[float]) -> Comparison:
    return Comparison((fmean(values_a), fmean(values_b)), None, "no test: too few seeds")


def adjusted(comparisons: Sequence[Comparison]) -> list[Comparison]:
    """With Holm's correction for being several."""
    ps = iter(holm([found.p for found in comparisons if found.p is not None]))
    return [found if found.p is None else replace(found, p=next(ps)) for found in comparisons]
