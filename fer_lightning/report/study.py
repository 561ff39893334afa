"""The runs of a report, as conditions of one study; the choices among them; what an answer to a question is."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from statistics import fmean
from typing import Any

from fer_lightning.errors import UserError
from fer_lightning.report import published
from fer_lightning.results import figures
from fer_lightning.results.conditions import Condition, conditions_of, label
from fer_lightning.results.run_folder import Run, read_run, run_folders, why_unfinished

NETWORKS = ("cnn", "dnn")  # the study's
TRAINER_KEYS = ("trainer.max_epochs", "trainer.precision", "trainer.gradient_clip_val", "trainer.patience")
SHORTENED = ("limit_train_batches", "limit_val_batches")  # of the trainer: batches left out


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

    @cached_property
    def styles(self) -> dict[figures.Setting, figures.Style]:
        return figures.styles([condition.setting for condition in self.conditions])


def read(paths: Sequence[str | Path]) -> Study:
    """The study that the runs at or below `paths` make; a run named twice counts once, `run.name` is made unique.

    FER2013 and drawn faces are not compared: where there are both, the runs on drawn faces are left out. So is a run
    whose files are broken, with what is wrong with them. UserError where a path holds no readable run, or where no run
    completed.
    """
    found: dict[Path, Run | str] = {}  # or why it cannot be read
    for path in paths:
        places = [folder.resolve() for folder in run_folders(path)]
        for place in places:
            if place not in found:
                found[place] = _read_or_why(place)
        broken = [cause for place in places if isinstance(cause := found[place], str)]
        if len(broken) == len(places):
            raise UserError("\n  ".join([f"{path}: no run in it can be read", *broken]))
    names = unique_names([*found])
    left_out = {names[place]: why for place, run in found.items() if (why := why_unusable(run))}
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
    conditions = labelled(group(usable, left_out))
    return Study(sorted(conditions, key=_order), list(left_out.items()))


def group(runs: dict[str, Run], left_out: dict[str, str]) -> list[Condition]:
    """Conditions of runs by unique names; second runs of a condition with the same seed join `left_out`."""
    names = {run.folder: name for name, run in runs.items()}
    conditions = []
    for condition in conditions_of([_comparable(run) for run in runs.values()]):
        by_seed: dict[int, Run] = {}
        for run in condition.runs:
            first = by_seed.setdefault(run.metrics["seed"], run)
            if first is not run:
                left_out[names[run.folder]] = f"repeats {names[first.folder]}: the same settings and seed"
        kept = [replace(by_seed[seed], name=names[by_seed[seed].folder]) for seed in sorted(by_seed)]
        conditions.append(replace(condition, runs=kept))
    return conditions


def labelled(conditions: list[Condition]) -> list[Condition]:
    """Each with what sets it apart from the one that stands for its network: its recipe, its keys."""
    found = []
    for condition in conditions:
        peers = [other for other in conditions if other.network == condition.network]
        main = main_condition(peers)
        name = condition.recipe if condition.recipe != main.recipe else ""
        beside = [other for other in peers if (other.recipe, other.aug) == (name, condition.aug)] if name else [main]
        several = [condition.keys, *(other.keys for other in beside)]
        keys = label(condition.keys, several) if condition is not main else ""
        found.append(replace(condition, label=" ".join(part for part in (name, keys) if part)))
    settings = [condition.setting for condition in found]
    for condition, setting in zip(found, settings, strict=True):
        same = [other for other, name in zip(found, settings, strict=True) if name == setting]
        apart = sorted({key for other in same for key in differences(condition, other, "")})
        condition.label += "".join(f" {key}={condition.keys.get(key)}" for key in apart)  # what the label left out
    return found


def _comparable(run: Run) -> Run:
    """The run without the settings that only say where things are read from and written to."""
    config = dict(run.config)
    if isinstance(config.get("data"), dict):
        kept = {key: value for key, value in config["data"].items() if key not in ("name", "root")}
        config["data"] = {**kept, "fingerprint": run.metrics["data_fingerprint"]}
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
    trainer = run.config.get("trainer") or {}
    limits = [f"trainer.{key}={trainer[key]}" for key in SHORTENED if str(trainer.get(key)) not in ("None", "1.0")]
    if run.metrics["trial"] or limits:
        return f"a trial ({'debug=fast' if run.metrics['trial'] else ', '.join(limits)}), whose figures say nothing"
    if reason := why_unfinished(run):
        return reason
    unknown = [key for key in ("model", "aug", "data", "seed", "val_acc") if run.metrics[key] is None]
    return f"its metrics.json does not say {', '.join(unknown)}" if unknown else None


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
    """The one that stands for its network: norm_aug and the study's settings, then the most epochs, seeds, accuracy."""

    def merit(c: Condition) -> tuple:
        return c.aug == "norm_aug", kept_settings(c), c.epochs, len(c.runs), fmean(c.values("val_acc"))

    return max(conditions, key=merit)


def kept_settings(condition: Condition) -> int:
    """How many of the study's settings it keeps to."""
    return sum(condition.keys.get(key) == value for key, value in published.RECIPE.items())


def rivals(study: Study) -> tuple[Condition, Condition] | None:
    """The CNN's and the DNN's condition that are compared: of the same augmentation where both have one."""
    if not all(network in study.networks for network in NETWORKS):
        return None
    cnn, dnn = (study.networks[network] for network in NETWORKS)
    both = {condition.aug for condition in cnn} & {condition.aug for condition in dnn}
    chosen = main_condition([condition for condition in cnn if not both or condition.aug in both])
    return chosen, main_condition([condition for condition in dnn if not both or condition.aug == chosen.aug])


def differences(a: Condition, b: Condition, without: str) -> list[str]:
    """The configuration keys in which two conditions differ, the group `without` and the machine's aside."""
    names = [key for key in dict.fromkeys([*a.keys, *b.keys]) if key.partition(".")[0] != without]
    names = [key for key in names if not key.startswith("trainer.") or key in TRAINER_KEYS]
    return [key for key in names if a.keys.get(key) != b.keys.get(key)]


# --- the study's questions, each with one word for what was measured of its answer

CONFIRMED, CONTRADICTED, UNDECIDED = "confirmed", "contradicted", "undecided"
TOO_EARLY, NOT_RUN, SYNTHETIC = "too early", "not run", "synthetic faces"


@dataclass(frozen=True)
class Answer:
    """kind: of published.QUESTIONS. word: one of the above. numbers: what the template of `kind` says in a sentence."""

    kind: str
    word: str
    network: str = ""
    numbers: Any = None


def word(study: Study, epochs: int, found: str) -> str:
    """`found`, unless the runs are too short, or about other faces, to say anything of the study."""
    if study.synthetic:
        return SYNTHETIC
    return TOO_EARLY if epochs < published.EPOCHS / 10 else found
