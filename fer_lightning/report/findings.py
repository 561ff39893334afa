"""What runs say about the study's questions, from their files alone: conditions, and the choices among them."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from fer_lightning.errors import UserError
from fer_lightning.report import published
from fer_lightning.results.conditions import Condition, conditions_of
from fer_lightning.results.run_folder import Run, read_epochs, read_run, run_folders, why_unfinished

NETWORKS = ("cnn", "dnn")  # the study's
TOO_STRONG = "too_strong"  # aug.name of experiment=too_strong


@dataclass
class Study:
    """conditions: the networks in the study's order, then augmentations. left_out: (run, why) of those not counted."""

    conditions: list[Condition]
    left_out: list[tuple[str, str]]

    @property
    def runs(self) -> list[Run]:
        return [run for condition in self.conditions for run in condition.runs]

    @property
    def synthetic(self) -> bool:
        return self.runs[0].metrics["synthetic"]

    @cached_property
    def networks(self) -> dict[str, list[Condition]]:
        found: dict[str, list[Condition]] = {}
        for condition in self.conditions:
            found.setdefault(condition.network, []).append(condition)
        return found

    @cached_property
    def mains(self) -> dict[str, Condition]:
        """The condition that stands for each network."""
        return {network: main_condition(conditions) for network, conditions in self.networks.items()}

    def titled(self, text: str) -> str:
        """The title of a figure: it says where the faces are drawn ones."""
        return f"{text} · synthetic faces" if self.synthetic else text


def read(paths: Sequence[str | Path]) -> Study:
    """The study that the runs at or below `paths` make; a run named twice counts once, `run.name` is made unique.

    FER2013 and drawn faces are not compared: where there are both, the runs on drawn faces are left out. So is a run
    whose files are broken, with what is wrong with them. UserError where a path holds no readable run, or where no run
    completed.
    """
    found: dict[Path, Run | str] = {}  # or why it cannot be read
    for path in paths:
        try:
            places = [folder.resolve() for folder in run_folders(path)]
        except UserError as error:
            unfinished = [f"{place}: {cause}" for place, cause in without_metrics([path]).items()]
            raise UserError("\n  ".join([str(error), *unfinished])) from None
        for place in places:
            if place not in found:
                found[place] = _read_or_why(place)
        broken = [cause for place in places if isinstance(cause := found[place], str)]
        if len(broken) == len(places):
            raise UserError("\n  ".join([f"{path}: no run in it can be read", *broken]))
    killed = without_metrics(paths)
    names = unique_names([*found, *killed])
    left_out = {names[place]: cause for place, cause in killed.items()}
    left_out |= {names[place]: why for place, run in found.items() if (why := why_unusable(run))}
    usable = {names[place]: run for place, run in found.items() if isinstance(run, Run) and not why_unusable(run)}
    if not usable:
        listed = "; ".join(f"{name}: {cause}" for name, cause in left_out.items())
        raise UserError(
            f"{', '.join(map(str, paths))}: none of the runs completed, trials aside; nothing to report ({listed})"
        )
    if any(not run.metrics["synthetic"] for run in usable.values()):
        drawn = [name for name, run in usable.items() if run.metrics["synthetic"]]
        left_out |= dict.fromkeys(drawn, "on synthetic faces, which are not compared with FER2013")
        usable = {name: run for name, run in usable.items() if name not in drawn}
    conditions = group(usable, left_out)
    return Study(sorted(conditions, key=_order), list(left_out.items()))


def group(runs: dict[str, Run], left_out: dict[str, str]) -> list[Condition]:
    """Conditions of runs by unique names; second runs of a condition with the same seed join `left_out`."""
    kinds: dict[tuple[str, str], list[Run]] = {}
    names = {run.folder: name for name, run in runs.items()}
    for run in runs.values():
        kinds.setdefault((run.metrics["model"], run.metrics["aug"]), []).append(_comparable(run))
    conditions = []
    for condition in (condition for kind in kinds.values() for condition in conditions_of(kind)):
        by_seed: dict[int, Run] = {}
        for run in condition.runs:
            first = by_seed.setdefault(run.metrics["seed"], run)
            if first is not run:
                left_out[names[run.folder]] = f"repeats {names[first.folder]}: the same settings and seed"
        kept = [replace(by_seed[seed], name=names[by_seed[seed].folder]) for seed in sorted(by_seed)]
        conditions.append(replace(condition, runs=kept))
    return conditions


def _comparable(run: Run) -> Run:
    """The run without the settings that only say where things are read from and written to."""
    config = dict(run.config)
    if isinstance(config.get("data"), dict):
        kept = {key: value for key, value in config["data"].items() if key not in ("name", "root")}
        config["data"] = {**kept, "source": run.metrics.get("source")}
    return replace(run, config=config)


def _order(condition: Condition) -> tuple:
    networks, augs = (*NETWORKS, condition.network), (*published.AUGS, condition.aug)
    return (
        *(networks.index(condition.network), condition.network),
        *(augs.index(condition.aug), condition.aug, condition.label),
    )


def _read_or_why(folder: Path) -> Run | str:
    """The run, all of its tables read, or what is wrong with its files."""
    try:
        run = read_run(folder)
        run.predictions  # noqa: B018 - read on first use, and here is where a broken one can be told
    except UserError as error:
        return " ".join(str(error).split())
    return run


def why_unusable(run: Run | str) -> str | None:
    if isinstance(run, str):
        return run
    if run.metrics["trial"]:
        return "a trial (debug=fast), whose figures say nothing"
    if reason := why_unfinished(run):
        return reason
    unknown = [key for key in ("model", "aug", "data", "seed", "val_acc") if run.metrics[key] is None]
    return f"its metrics.json does not say {', '.join(unknown)}" if unknown else None


def without_metrics(paths: Iterable[str | Path]) -> dict[Path, str]:
    """Folders of runs that have not come to their metrics.json, and what is known of them."""
    found: dict[Path, str] = {}
    for path in paths:
        for place, below, files in os.walk(path):
            folder = Path(place).resolve()
            if "metrics.json" in files or "metrics.csv" in files or ".hydra" in below:
                below.clear()
                if "metrics.json" not in files:
                    try:
                        epochs = len(read_epochs(folder / "metrics.csv")) if "metrics.csv" in files else 0
                        known = f"after {epochs} epochs"
                    except UserError as error:
                        known = str(error)
                    found[folder] = f"left no metrics.json: killed, or still running ({known})"
            below[:] = sorted(name for name in below if not name.startswith("."))
    return found


def unique_names(folders: Sequence[Path]) -> dict[Path, str]:
    """For each of different absolute folders the shortest end of its path that no other one shares."""
    names = {}
    for folder in folders:
        depth = 1
        while any(other.parts[-depth:] == folder.parts[-depth:] for other in folders if other != folder):
            depth += 1
        names[folder] = "/".join(folder.parts[-depth:])
    return names


# --- choices


def main_condition(conditions: Iterable[Condition]) -> Condition:
    """The one that stands for its network: norm_aug, as in the study; then the most epochs, seeds, accuracy."""
    return max(conditions, key=lambda c: (c.aug == "norm_aug", c.epochs, len(c.runs), fmean(c.values("val_acc"))))


def rivals(study: Study) -> tuple[Condition, Condition] | None:
    """The CNN's and the DNN's condition that are compared: of the same augmentation where both have one."""
    if not all(network in study.networks for network in NETWORKS):
        return None
    cnn, dnn = (study.networks[network] for network in NETWORKS)
    both = {condition.aug for condition in cnn} & {condition.aug for condition in dnn}
    chosen = main_condition([condition for condition in cnn if not both or condition.aug in both])
    return chosen, main_condition([condition for condition in dnn if not both or condition.aug == chosen.aug])


def differences(a: Condition, b: Condition, *without: str) -> dict[str, tuple[Any, Any]]:
    """The configuration keys in which two conditions differ, groups `without` aside: (a's value, b's)."""
    names = [key for key in dict.fromkeys([*a.keys, *b.keys]) if key.partition(".")[0] not in without]
    return {key: (a.keys.get(key), b.keys.get(key)) for key in names if a.keys.get(key) != b.keys.get(key)}


@dataclass
class Ablation:
    """Conditions of one network that differ in their augmentation alone, by its name.

    studied: those of the study, two or all of its three. others: any more.
    """

    studied: dict[str, Condition]
    others: dict[str, Condition]

    @property
    def all(self) -> dict[str, Condition]:
        return self.studied | self.others

    @property
    def epochs(self) -> int:
        """How many epochs all of the studied have."""
        return min(condition.epochs for condition in self.studied.values())


def ablation(conditions: Iterable[Condition]) -> Ablation | None:
    """The ablation among one network's conditions: of several the one with most of the study's, then runs, epochs."""
    groups: dict[str, dict[str, Condition]] = {}
    for condition in conditions:
        rest = {key: value for key, value in condition.keys.items() if key.partition(".")[0] != "aug"}
        members = groups.setdefault(json.dumps(rest, sort_keys=True), {})
        if condition.aug not in members or len(condition.runs) > len(members[condition.aug].runs):
            members[condition.aug] = condition
    found = [
        Ablation(
            {aug: members[aug] for aug in published.AUGS if aug in members},
            {aug: condition for aug, condition in members.items() if aug not in published.AUGS},
        )
        for members in groups.values()
    ]
    found = [one for one in found if len(one.studied) > 1]
    merit = [(len(one.studied), sum(len(c.runs) for c in one.studied.values()), one.epochs) for one in found]
    return found[merit.index(max(merit))] if found else None


def too_strong(conditions: Iterable[Condition], found: Ablation | None) -> Condition | None:
    """The condition of experiment=too_strong: that of the ablation if it has one, else the longest."""
    if found and TOO_STRONG in found.others:
        return found.others[TOO_STRONG]
    return max((c for c in conditions if c.aug == TOO_STRONG), key=lambda c: c.epochs, default=None)


def ranks(values: dict[str, float], highest_first: bool = False) -> dict[str, int]:
    """1 for the lowest value, or the highest."""
    order = sorted(values, key=lambda name: values[name], reverse=highest_first)
    return {name: order.index(name) + 1 for name in values}
