"""Part 3: what normalization and augmentation do, and what happens when the strengths are set too high."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np

from fer_lightning.report import findings, published, words
from fer_lightning.report.blocks import Block, Bullets, Charts, Fold, Heading, Point, Table, Text
from fer_lightning.report.charts import Chart
from fer_lightning.report.comparisons import Comparison, adjusted, compare_accuracy, compare_speed
from fer_lightning.report.curves import median_onset, onset_in_words, onsets
from fer_lightning.report.drawing import axis_label, lines_of, thin_lines
from fer_lightning.report.findings import Ablation, Study
from fer_lightning.results.conditions import LOSS_LEVELS, Condition
from fer_lightning.results.run_folder import TRAIN_LOSS, Run

COLUMNS = {
    TRAIN_LOSS: "training loss",
    "val_loss": "validation loss",
    "train_acc": "training accuracy",
    "val_acc": "validation accuracy",
}


def answer(study: Study) -> tuple[list[Block], list[str]]:
    """The part, and its answers in short."""
    blocks: list[Block] = [
        Heading("3. Normalization and augmentation"),
        Text("The study’s table does not say for which network it holds; here every network has its own."),
    ]
    short = []
    for network, conditions in study.networks.items():
        ablation = findings.ablation(conditions)
        harsh = findings.too_strong(conditions, ablation)
        if ablation or harsh:
            blocks.append(Heading(network.upper(), 3))
        if ablation:
            more, sentence = _ablation(study, network, ablation)
            blocks += more
            short.append(f"{network.upper()}: {sentence}")
        if harsh:
            more, sentence = _too_strong(study, harsh, ablation)
            blocks += more
            short.append(f"{network.upper()}, too strong: {sentence}")
    if short:
        return blocks, short
    text = "No network was trained with two of aug=none, norm and norm_aug and otherwise the same settings."
    return [*blocks, Text(text)], ["not answered, for want of runs that differ in their augmentation alone."]


@dataclass
class Claim:
    """The study's claim that one setting is better than another, and what was measured of it."""

    text: str
    quantity: str
    found: Comparison  # better − worse
    higher_is_better: bool

    @property
    def direction(self) -> str:
        if self.found.difference == 0:
            return "no difference"
        return "as published" if (self.found.difference > 0) == self.higher_is_better else "the opposite"

    @property
    def finding(self) -> str:
        if self.found.p is None:
            return f"{self.direction}, not tested"
        return (
            f"{self.direction}, more than chance" if self.found.certain else f"{self.direction}, not told from chance"
        )


def _ablation(study: Study, network: str, ablation: Ablation) -> tuple[list[Block], str]:
    last, studied = ablation.epochs, ablation.studied
    losses = {aug: condition.mean_training_losses(last) for aug, condition in studied.items()}
    accuracies = {aug: condition.values("val_acc") for aug, condition in studied.items()}
    speed = findings.ranks({aug: fmean(values) for aug, values in losses.items()})
    accuracy = findings.ranks({aug: fmean(values) for aug, values in accuracies.items()}, highest_first=True)
    rows = [
        (
            aug,
            published.SPEED_WORDS[aug],
            _rank(speed[aug], len(studied), "fastest", "slowest"),
            words.spread(losses[aug]),
            published.ACCURACY_WORDS[aug],
            _rank(accuracy[aug], len(studied), "highest", "lowest"),
            words.spread(accuracies[aug]),
        )
        for aug in studied
    ]
    heads = ("aug", "speed, study", "speed, here", "training loss", "accuracy, study", "accuracy, here", "accuracy")
    caption = (
        "The study’s table, filled in. Speed at which the loss falls: by the training loss (plain cross-entropy), mean "
        f"over epochs 1 to {last}; the lower, the faster. Accuracy: validation, best epoch. ±: standard deviation over "
        "seeds"
    )
    claims = _claims(studied, last)
    charts = [
        Chart(
            study.titled(f"{network.upper()}: {name}"),
            axis_label(name),
            [line for i, (aug, c) in enumerate(ablation.all.items()) for line in lines_of(c, column, aug, i)],
        )
        for column, name in COLUMNS.items()
    ]
    levels = [
        (aug, *(words.number(c.summary[f"epochs_to_loss_{level}"], "g") or "never" for level in LOSS_LEVELS))
        for aug, c in ablation.all.items()
    ]
    blocks: list[Block] = [
        Table(heads, rows, caption),
        _claims_table(claims),
        *([Text(_cope(claims))] if network == "dnn" and {"norm", "norm_aug"} <= studied.keys() else []),
        Charts(charts, f"All settings in one picture.{thin_lines(*ablation.all.values())}"),
        Fold(
            "Epochs until the training loss (plain cross-entropy) fell to given levels",
            [Table(("aug", *map(str, LOSS_LEVELS)), levels, "Median over seeds")],
        ),
        *_against_overfitting(ablation),
    ]
    counted = Counter(claim.finding for claim in claims)
    outcome = "; ".join(f"{number} {finding}" for finding, number in counted.most_common())
    return blocks, (
        f"the loss falls fastest to slowest with {_order(speed)} (study: {_order(_kept(published.SPEED, studied))}); "
        f"validation accuracy, highest first: {_order(accuracy)} "
        f"(study: {_order(_kept(published.ACCURACY, studied))}). "
        f"Of the study’s {len(claims)} differences: {outcome}."
    )


def _claims(studied: dict[str, Condition], last: int) -> list[Claim]:
    """Each pair of settings in each of the study's two columns, better one first, corrected for being several."""
    claims = []
    for rank, speed in ((published.SPEED, True), (published.ACCURACY, False)):
        order = sorted(studied, key=rank.__getitem__)
        pairs = [(better, worse) for i, better in enumerate(order) for worse in order[i + 1 :]]
        found = [
            compare_speed(studied[a], studied[b], last) if speed else compare_accuracy(studied[a], studied[b])
            for a, b in pairs
        ]
        said, quantity = ("falls faster than", "training loss") if speed else ("is more accurate than", "accuracy")
        claims += [
            Claim(f"{better} {said} {worse}", quantity, one, higher_is_better=not speed)
            for (better, worse), one in zip(pairs, adjusted(found), strict=True)
        ]
    return claims


def _claims_table(claims: Sequence[Claim]) -> Table:
    rows = [
        (
            claim.text,
            f"{claim.quantity} {claim.found.between[0]:.3f} against {claim.found.between[1]:.3f}",
            words.signed(claim.found.difference),
            words.p_value(claim.found.p),
            claim.found.test,
            claim.finding,
        )
        for claim in claims
    ]
    caption = (
        "More than chance? p after Holm’s correction for the comparisons of a kind; below 0.05 is more than chance"
    )
    if any("McNemar" in claim.found.test for claim in claims):
        caption += ". McNemar’s test is of two trained networks; other seeds might make others of them"
    return Table(("the study says", "here", "difference", "p", "test", "finding"), rows, caption)


def _cope(claims: Sequence[Claim]) -> str:
    claim = next(claim for claim in claims if claim.text == "norm_aug is more accurate than norm")
    with_aug, without = claim.found.between
    kind = "lower" if with_aug < without else "higher" if with_aug > without else "no other"
    holds = "So it is here" if with_aug < without and claim.found.certain else "That is not shown here"
    return (
        f"The study: {published.AUGMENTED}. {holds}: its {claim.found.images} accuracy is {kind} with augmentation, "
        f"{with_aug:.3f} against {without:.3f} with normalization alone, {words.verdict(claim.found)}."
    )


def _against_overfitting(ablation: Ablation) -> list[Block]:
    rows = [
        (
            aug,
            str(condition.epochs),
            words.signed(condition.summary["gap_loss"]),
            words.signed(condition.summary["gap_acc"]),
            onsets(condition),
        )
        for aug, condition in ablation.all.items()
    ]
    heads = ("aug", "epochs", "validation − training loss", "training − validation accuracy", "onset, by seed")
    blocks: list[Block] = [
        Heading("Against overfitting", 4),
        Table(
            heads,
            rows,
            "The gap between training and validation in the last epoch (loss: plain cross-entropy on both sides), and "
            "the epoch where overfitting begins",
        ),
    ]
    studied = ablation.studied
    if "norm_aug" not in studied:
        return [*blocks, Text("What augmentation does against overfitting is not known: aug=norm_aug is missing.")]
    augmented = studied["norm_aug"]
    sentences = []
    for other in (condition for aug, condition in studied.items() if aug != "norm_aug"):
        gaps = augmented.summary["gap_loss"], other.summary["gap_loss"]
        kind = "smaller" if gaps[0] < gaps[1] else "larger" if gaps[0] > gaps[1] else "the same"
        when = [median_onset(condition) or float("inf") for condition in (augmented, other)]
        if when[0] == when[1]:
            later = "overfitting begins with both at once" if when[0] < float("inf") else "neither overfits yet"
        else:
            later = f"overfitting begins {'later' if when[0] > when[1] else 'earlier'}"
        sentences.append(
            f"Against aug={other.aug}, augmentation leaves a gap in loss that is {kind} at the end "
            f"({words.signed(gaps[0])} against {words.signed(gaps[1])}), and {later} "
            f"(onset: {onset_in_words(augmented)}, against {onset_in_words(other)})."
        )
    return [*blocks, Bullets([Point(sentence) for sentence in sentences])]


def _too_strong(study: Study, harsh: Condition, ablation: Ablation | None) -> tuple[list[Block], str]:
    """Whether the training loss still falls with experiment=too_strong, beside norm_aug."""
    blocks: list[Block] = [Heading("Strengths set too high", 4)]
    peers = ablation.all if ablation and ablation.others.get(findings.TOO_STRONG) is harsh else {}
    mild = [c for c in study.networks[harsh.network] if c.aug == "norm_aug"]
    if not mild:
        start, end = harsh.mean_curve(TRAIN_LOSS)[[0, -1]]
        sentence = (
            f"the training loss goes from {start:.3f} to {end:.3f}; there is no run with norm_aug to compare with."
        )
        return [*blocks, Text(f"The study: {published.TOO_STRONG}. Here {sentence}")], sentence
    beside = peers.get("norm_aug") or findings.main_condition(mild)
    last = min(harsh.epochs, beside.epochs)
    ends = [condition.mean_curve(TRAIN_LOSS)[[0, last - 1]].tolist() for condition in (harsh, beside)]
    sentence = (
        f"from epoch 1 to {last} the training loss goes from {ends[0][0]:.3f} to {ends[0][1]:.3f}, with norm_aug from "
        f"{ends[1][0]:.3f} to {ends[1][1]:.3f}: {_falls(*(start - end for start, end in ends))}"
    )
    guessing = _guessing(harsh.runs[0])
    known = "" if guessing is None else f" Naming only the shares of the classes would cost a loss of {guessing:.3f}."
    apart = findings.differences(harsh, beside, "aug")
    differ = f" Besides the augmentation they differ in {words.in_words([*apart])}." if apart else ""
    accuracies = [words.spread(condition.values("val_acc")) for condition in (harsh, beside)]
    if not peers:
        charts = [
            Chart(
                study.titled(f"{harsh.network.upper()}: {name}"),
                axis_label(name),
                [line for i, c in enumerate((beside, harsh)) for line in lines_of(c, column, c.aug, i)],
            )
            for column, name in COLUMNS.items()
        ]
        blocks.append(Charts(charts, f"{harsh.title} beside {beside.title}.{thin_lines(harsh, beside)}"))
    text = (
        f"The study: {published.TOO_STRONG}. Here, with experiment=too_strong, {sentence}{known} "
        f"Validation accuracy: {accuracies[0]} against {accuracies[1]}.{differ}"
    )
    return [*blocks, Text(text)], sentence


def _falls(harsh: float, mild: float) -> str:
    """How much of the mild setting's fall is left, in words."""
    if harsh <= 0:
        return "it does not fall."
    if mild <= 0:
        return "it falls, and with norm_aug it does not."
    share = harsh / mild
    kind = "it hardly falls any more" if share < 0.1 else "it falls less" if share < 0.9 else "it falls as much"
    return f"{kind} ({words.percent(share)} of the fall with norm_aug)."


def _guessing(run: Run) -> float | None:
    """The loss, in nats, of always naming the class shares of the validation images."""
    if run.predictions is None:
        return None
    targets = run.predictions.loc[run.predictions["split"] == "val", "target"]
    shares = targets.value_counts(normalize=True).to_numpy(np.float64)
    return float(-(shares * np.log(shares)).sum()) if len(shares) else None


def _kept(rank: dict[str, int], studied: dict[str, Condition]) -> dict[str, int]:
    return {aug: place for aug, place in rank.items() if aug in studied}


def _order(rank: dict[str, int]) -> str:
    return ", ".join(sorted(rank, key=rank.__getitem__))


def _rank(rank: int, of: int, first: str, last: str) -> str:
    return first if rank == 1 else last if rank == of else words.ordinal(rank)
