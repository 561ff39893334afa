"""Runs that differ in their seed alone, as one condition of an experiment: grouped, named, summed up."""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from fer_lightning.results import scores
from fer_lightning.results.run_folder import TRAIN_LOSS, Run, overrides_of

LOSS_LEVELS = (1.8, 1.6, 1.4, 1.2, 1.0)
PLACE = ("data", "data.name", "data.root")  # where data is found
TESTS = {"test_public_acc": "PublicTest", "test_private_acc": "PrivateTest"}
ACCURACIES = ("val_acc", *TESTS)


Quantity = str | Callable[[Run], np.ndarray]  # a column of metrics.csv, or what is made of a run's


def per_epoch(run: Run, of: Quantity) -> np.ndarray:
    """float (N,), one an epoch."""
    return run.epochs[of].to_numpy(np.float64) if isinstance(of, str) else of(run)


@dataclass
class Condition:
    """runs: those that completed, `failed` those that did not; they differ in their seed alone.

    keys: their configuration, `group.key` → value, and `group` → the name of what was chosen in it.
    label: the keys that set it apart from the others, network and augmentation aside; "" where there is none.
    """

    runs: list[Run]
    failed: list[Run]
    keys: dict[str, Any]
    label: str

    @property
    def network(self) -> str:
        return self.keys["model"] or ""

    @property
    def aug(self) -> str:
        return self.keys["aug"] or ""

    @property
    def setting(self) -> tuple[str, str, str]:
        return self.network, self.aug, self.label

    @cached_property
    def recipe(self) -> str:
        """The experiment=… that its first run named; "" where it named none, or nobody knows."""
        named = [part for part in overrides_of(self.runs[0].folder) or [] if part.startswith("experiment=")]
        return named[-1].partition("=")[2] if named else ""

    @property
    def title(self) -> str:
        return " ".join(part for part in (self.network.upper(), self.aug, self.label) if part)

    @property
    def seeds(self) -> list[int]:
        return [run.metrics["seed"] for run in self.runs]

    @property
    def epochs(self) -> int:
        """How many epochs all runs have."""
        return min(len(run.epochs) for run in self.runs)

    @property
    def onsets(self) -> list[int | None]:
        """The epoch where overfitting begins, for each run; None where it has not."""
        return [scores.overfitting_epoch(run.epochs["val_loss"]) for run in self.runs]

    def values(self, metric: str) -> list[float]:
        """One of metrics.json's numbers, for each run."""
        return [run.metrics[metric] for run in self.runs]

    def mean_curve(self, of: Quantity) -> np.ndarray:
        """float (epochs,): the mean over the runs, as far as all go."""
        return np.mean([per_epoch(run, of)[: self.epochs] for run in self.runs], axis=0)

    def mean_training_losses(self, last: int) -> list[float]:
        """The mean of the training cross-entropy over the epochs 1 … last, for each run: the lower, the faster."""
        return [float(run.epochs[TRAIN_LOSS].to_numpy(np.float64)[:last].mean()) for run in self.runs]

    @cached_property
    def summary(self) -> dict[str, float]:
        """The numbers of its row in a sweep's comparison.csv (which tells their meanings); nothing without runs.

        Means, standard deviations and medians over the runs; NaN where a figure is unknown.
        """
        if not self.runs:
            return {}
        found: dict[str, float] = {}
        for score in (*ACCURACIES, *(f"{test}_unseen" for test in TESTS)):
            values = self.values(score)
            intervals = [run.metrics[f"{score}_95"] or (None, None) for run in self.runs]
            found[score] = _mean(values)
            found[f"{score}_std"] = _std(values)
            found[f"{score}_lo"], found[f"{score}_hi"] = (_mean(bounds) for bounds in zip(*intervals, strict=True))
        for level in LOSS_LEVELS:
            found[f"epochs_to_loss_{level}"] = _median(
                scores.epochs_to_loss(run.epochs[TRAIN_LOSS], level) for run in self.runs
            )
        last = [run.epochs.iloc[-1] for run in self.runs]
        found["gap_acc"] = _mean(epoch["train_acc"] - epoch["val_acc"] for epoch in last)
        found["gap_loss"] = _mean(epoch["val_loss"] - epoch[TRAIN_LOSS] for epoch in last)
        found["overfitting_epoch"] = _median(self.onsets)
        found["seconds_per_epoch"] = _mean(self.values("seconds_per_epoch"))
        return found


def conditions_of(runs: Sequence[Run]) -> list[Condition]:
    """Group the runs whose configurations differ in their seed alone, and label what sets the groups apart.

    Where the same data lies is no setting, nor how many threads computed, unless it sets two runs of one seed apart.
    """
    places: dict[str, dict[str, Any]] = {}  # of data, by its fingerprint: those of the first run
    groups: dict[str, tuple[dict[str, Any], list[Run]]] = {}
    for run in runs:
        keys = _keys(run)
        if data := run.metrics["data_fingerprint"]:
            keys |= places.setdefault(data, {key: keys.get(key) for key in PLACE})
        groups.setdefault(json.dumps(keys, sort_keys=True), (keys, []))[1].append(run)
    parts = [part for keys, members in groups.values() for part in _by_threads(keys, members)]
    all_keys = [keys for keys, _ in parts]
    return [
        Condition(
            [run for run in members if run.metrics["completed"]],
            [run for run in members if not run.metrics["completed"]],
            keys,
            label(keys, all_keys),
        )
        for keys, members in parts
    ]


def _by_threads(keys: dict[str, Any], runs: list[Run]) -> list[tuple[dict[str, Any], list[Run]]]:
    """Apart where one seed has several numbers of threads: on these last digits depend, two are no two seeds."""
    threads = [(run.config.get("trainer") or {}).get("threads") for run in runs]
    seeds = [run.metrics["seed"] for run in runs]
    if len(set(zip(seeds, threads, strict=True))) == len(set(seeds)):
        return [(keys, runs)]
    each = {one: [run for run, its in zip(runs, threads, strict=True) if its == one] for one in threads}
    return [(keys | {"trainer.threads": one}, members) for one, members in each.items()]


def _keys(run: Run) -> dict[str, Any]:
    keys: dict[str, Any] = {}
    for group, value in run.config.items():
        # No figure depends on the loggers; of a trial nothing is compared, and earlier runs do not know the key.
        # A resumed run is the one that it would be had it never been interrupted.
        if group in ("seed", "logger", "trial", "ckpt_path", "resume"):
            continue
        if isinstance(value, dict):
            keys[group] = value.get("name") or str(value.get("_target_", "")).rpartition(".")[2]
            keys.update({f"{group}.{key}": item for key, item in value.items()})
        else:
            keys[group] = value
    keys.pop("trainer.threads", None)
    keys = {key: value for key, value in keys.items() if value not in (None, "")}  # older runs lack the newer ones
    return keys | {"model": run.metrics["model"], "aug": run.metrics["aug"]}


def label(own: dict[str, Any], all_keys: list[dict[str, Any]]) -> str:
    """`optimizer.lr=0.01 …`: the keys in which a condition differs from others, and `init_from`; no model and aug.

    The arguments of another optimizer (network, …) are not named beside its name: `optimizer=SGD` says it.
    """
    shown = []
    for key in sorted(set().union(*all_keys)):
        value = own.get(key)
        group = key.partition(".")[0]
        peers = [other for other in all_keys if key == group or other.get(group) == own.get(group)]
        trained_before = key == "init_from" and value is not None  # what a few epochs reached would mislead without it
        if key not in ("model", "aug") and (trained_before or any(other.get(key) != value for other in peers)):
            shown.append(f"{key}={value if isinstance(value, str) else json.dumps(value)}")
    return " ".join(shown)


def _mean(values: Iterable[float | None]) -> float:
    """NaN where one is unknown: a mean over some of the runs would pass for one over all."""
    return float(np.mean(np.array(list(values), np.float64)))


def _std(values: Sequence[float | None]) -> float:
    """The sample standard deviation; NaN for one value, and where one is unknown."""
    return float(np.std(np.array(values, np.float64), ddof=1)) if len(values) > 1 else math.nan


def _median(epochs: Iterable[int | None]) -> float:
    """None is later than any epoch; NaN where that is the median."""
    median = float(np.median([math.inf if epoch is None else epoch for epoch in epochs]))
    return median if math.isfinite(median) else math.nan
