"""What normalization and augmentation do, and what happens when the strengths are set too high."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from itertools import permutations
from math import inf, isfinite
from statistics import fmean
from typing import Any

import numpy as np

from fer_lightning.report import published
from fer_lightning.report.comparisons import Comparison, adjusted, compare_accuracy, compare_speed
from fer_lightning.report.pictures import Curve, Picture, lines
from fer_lightning.report.study import (
    CONFIRMED,
    CONTRADICTED,
    NOT_RUN,
    UNDECIDED,
    Answer,
    Study,
    kept_settings,
    main_condition,
    word,
)
from fer_lightning.results.conditions import Condition
from fer_lightning.results.run_folder import TRAIN_LOSS, Run

TOO_STRONG = "too_strong"  # aug.name of experiment=too_strong
SPEED, ACCURACY = "training loss", "validation accuracy"


@dataclass
class Claim:
    """The study's claim that one setting is better than another, and what was measured of it."""

    better: str
    worse: str
    quantity: str  # SPEED or ACCURACY
    found: Comparison  # better − worse

    @property
    def as_published(self) -> bool:
        """Whether the difference has the study's sign; the lower loss falls faster."""
        return self.found.difference > 0 if self.quantity == ACCURACY else self.found.difference < 0

    @property
    def outcome(self) -> str:
        if not self.found.certain:
            return UNDECIDED
        return CONFIRMED if self.as_published else CONTRADICTED


@dataclass(eq=False)
class Ablation:
    """Conditions of one network that differ in their augmentation alone, by its name.

    studied: those of the study, two or all of its three, or none. others: any more. harsh: of experiment=too_strong,
    which may stand outside.
    """

    network: str
    studied: dict[str, Condition]
    others: dict[str, Condition]
    harsh: Condition | None

    @property
    def all(self) -> dict[str, Condition]:
        return self.studied | self.others

    @property
    def epochs(self) -> int:
        """How many epochs all of the studied have."""
        return min(condition.epochs for condition in self.studied.values())

    @property
    def ranks(self) -> tuple[tuple[dict[str, int], str], ...]:
        """The study's ranks of both quantities."""
        accuracy = published.DNN_ACCURACY if self.network == "dnn" else published.ACCURACY
        return (published.SPEED, SPEED), (accuracy, ACCURACY)

    def values(self, aug: str, quantity: str) -> list[float]:
        """Of each run."""
        condition = self.studied[aug]
        return condition.values("val_acc") if quantity == ACCURACY else condition.mean_training_losses(self.epochs)

    def order(self, quantity: str) -> list[tuple[str, float]]:
        """The studied settings with their values, the best first, those unknown last."""
        means = {aug: fmean(self.values(aug, quantity)) for aug in self.studied}
        sign = -1 if quantity == ACCURACY else 1
        return sorted(means.items(), key=lambda item: sign * item[1] if isfinite(item[1]) else inf)

    @cached_property
    def claims(self) -> list[Claim]:
        """Pairs of settings that the study ranks, better one first, corrected for being several.

        Speed is compared over the epochs that all have.
        """
        pairs = [
            (better, worse, quantity)
            for ranks, quantity in self.ranks
            for better, worse in permutations(self.studied, 2)
            if ranks[better] < ranks[worse]
        ]
        found = [self._compare(self.studied[a], self.studied[b], quantity) for a, b, quantity in pairs]
        return [Claim(*pair, one) for pair, one in zip(pairs, adjusted(found), strict=True)]

    def _compare(self, a: Condition, b: Condition, quantity: str) -> Comparison:
        return compare_accuracy(a, b) if quantity == ACCURACY else compare_speed(a, b, self.epochs)


def ablations(study: Study) -> dict[str, Ablation]:
    """For each network its ablation: of several that with most of the study's three, then of its other settings, then
    the most epochs, runs.
    """
    found = {}
    for network, conditions in study.networks.items():
        groups: dict[str, dict[str, Condition]] = {}
        for condition in conditions:
            rest = {key: value for key, value in condition.keys.items() if key.partition(".")[0] != "aug"}
            members = groups.setdefault(json.dumps(rest, sort_keys=True), {})
            members[condition.aug] = main_condition([condition, members.get(condition.aug, condition)])
        best = max(groups.values(), key=_merit)
        studied = {aug: best[aug] for aug in published.AUGS if aug in best}
        others = {aug: condition for aug, condition in best.items() if aug not in published.AUGS}
        if len(studied) < 2:
            studied, others = {}, {}
        harsh = max((c for c in conditions if c.aug == TOO_STRONG), key=lambda c: c.epochs, default=None)
        found[network] = Ablation(network, studied, others, others.get(TOO_STRONG, harsh))
    return found


def _merit(members: dict[str, Condition]) -> tuple[int, int, int, int]:
    studied = [members[aug] for aug in published.AUGS if aug in members]
    kept, epochs = (min(map(of, studied), default=0) for of in (kept_settings, lambda c: c.epochs))
    return len(studied), kept, epochs, sum(len(c.runs) for c in studied)


def section(study: Study, found: Iterable[Ablation]) -> list[dict[str, Any]]:
    return [
        {
            "ablation": one,
            "network": one.network.upper(),
            "table": _table(one),
            "pictures": _pictures(study, one) if one.studied else [],
            "too_strong": _too_strong(study, one) if one.harsh else None,
        }
        for one in found
        if one.studied or one.harsh
    ]


def answers(study: Study, found: Iterable[Ablation]) -> list[Answer]:
    """The claim that decides: of what contradicts the surest, else the least sure."""
    made = []
    for one in found:
        if not one.studied:
            continue
        outcomes = {claim.outcome for claim in one.claims}
        decided = CONTRADICTED if CONTRADICTED in outcomes else CONFIRMED if outcomes == {CONFIRMED} else UNDECIDED
        claims = [claim for claim in one.claims if claim.outcome == decided and claim.found.p is not None]
        sign = 1 if decided == CONTRADICTED else -1
        claim = min(claims or one.claims, key=lambda claim: sign * (claim.found.p or 0))
        untested = {claim.quantity for claim in one.claims if claim.found.p is None}
        numbers = {"claim": claim, "accuracy": one.order(ACCURACY), "speed": one.order(SPEED), "untested": untested}
        made.append(Answer("ablation", word(study, one.epochs, decided), one.network.upper(), numbers))
    return made or [Answer("ablation", NOT_RUN)]


def _table(ablation: Ablation) -> list[dict[str, Any]]:
    """A row a studied setting: for each quantity the study's rank, ours, the values, and p against the next better."""
    rows = []
    for aug in ablation.studied:
        cells = []
        for ranks, quantity in ablation.ranks:
            order = [name for name, _ in ablation.order(quantity)]
            above = order[order.index(aug) - 1] if aug != order[0] else None
            claims = [c for c in ablation.claims if c.quantity == quantity and {c.better, c.worse} == {aug, above}]
            cells.append(
                {
                    "study": 1 + sum(ranks[other] < ranks[aug] for other in ablation.studied),
                    "here": order.index(aug) + 1,
                    "runs": ablation.values(aug, quantity),
                    "above": above,
                    "found": claims[0].found if claims else None,
                }
            )
        rows.append({"aug": aug, "cells": cells})
    return rows


def _pictures(study: Study, ablation: Ablation) -> list[Picture]:
    """The curves of all settings, and the gap between training and validation."""
    shown: dict[str, tuple[Any, str]] = {
        "training loss": (TRAIN_LOSS, "loss (cross-entropy)"),
        "validation accuracy": ("val_acc", "accuracy"),
        "validation loss": ("val_loss", "loss (cross-entropy)"),
        "validation − training loss": (_gap, "difference of losses"),
    }
    return [
        lines(
            study,
            f"{ablation.network.upper()}: {name}",
            label,
            [Curve(aug, condition, of) for aug, condition in ablation.all.items()],
        )
        for name, (of, label) in shown.items()
    ]


def _gap(run: Run) -> np.ndarray:
    return (run.epochs["val_loss"] - run.epochs[TRAIN_LOSS]).to_numpy(np.float64)


def _too_strong(study: Study, ablation: Ablation) -> dict[str, Any]:
    """How far the training loss falls with experiment=too_strong, and with norm_aug over the same epochs."""
    harsh = ablation.harsh
    assert harsh is not None
    inside = ablation.others.get(TOO_STRONG) is harsh
    mild = [c for c in study.networks[ablation.network] if c.aug == "norm_aug"]
    own = ablation.studied.get("norm_aug") if inside else None
    beside = own or (main_condition(mild) if mild else None)
    shown = [c for c in (harsh, beside) if c]
    last = min(c.epochs for c in shown)
    ends = [c.mean_curve(TRAIN_LOSS)[[0, last - 1]].tolist() for c in shown]
    falls = [start - end for start, end in ends]
    title = f"{harsh.network.upper()}: training loss, strengths too high"
    curves = [Curve(c.title, c, TRAIN_LOSS) for c in shown]
    return {
        "last": last,
        "ends": ends,
        "share": falls[0] / falls[1] if beside and falls[1] > 0 else None,
        "guessing": _guessing(harsh.runs[0]),
        "pictures": [] if inside else [lines(study, title, "loss (cross-entropy)", curves)],
    }


def _guessing(run: Run) -> float | None:
    """The loss, in nats, of always naming the class shares of the validation images."""
    if run.predictions is None:
        return None
    targets = run.predictions.loc[run.predictions["split"] == "val", "target"]
    shares = targets.value_counts(normalize=True).to_numpy(np.float64)
    return float(-(shares * np.log(shares)).sum()) if len(shares) else None
