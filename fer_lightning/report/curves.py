"""Part 2: loss and accuracy against epoch, and where overfitting begins."""

import math
from statistics import median

from fer_lightning.report import findings, published, words
from fer_lightning.report.blocks import Block, Charts, Fold, Heading, Table, Text
from fer_lightning.report.charts import Chart
from fer_lightning.report.drawing import axis_label, epochs_listed, lines_of, thin_lines
from fer_lightning.report.findings import Study
from fer_lightning.results.conditions import Condition
from fer_lightning.results.run_folder import TRAIN_LOSS

TRAIN, VAL = 0, 1  # colours
RULE = (
    "Overfitting begins, by this rule, at the epoch of the lowest validation loss, smoothed with a centred running "
    "mean over 5 epochs. Where the lowest value stands in the last 2 epochs, the loss still fell: no onset yet."
)
TRAINING = (
    "A loss is always the plain cross-entropy, in training too: without label smoothing and a teacher’s term, so that "
    "training compares with validation, and one setting with another. "
    "Training figures are running means over the epoch’s augmented batches, with dropout, as the study’s were; "
    "validation comes after the epoch, without either. So training can look worse than validation."
)


def answer(study: Study) -> tuple[list[Block], list[str]]:
    """The part, and its answer in short. Conditions of an ablation have their curves in part 3."""
    blocks: list[Block] = []
    rows, short = [], []
    for network, conditions in study.networks.items():
        main, ablation = study.mains[network], findings.ablation(conditions)
        elsewhere = [*(ablation.all.values() if ablation else ()), findings.too_strong(conditions, ablation)]
        for condition in conditions:
            if condition is main or not any(condition is other for other in elsewhere):
                blocks += _curves(study, condition)
                said = published.ONSETS.get(network, "") if condition.aug == "norm_aug" else ""
                gap = words.signed(condition.summary["gap_loss"])
                rows.append((condition.title, str(condition.epochs), onsets(condition), said, gap))
        short.append(f"{main.title}: {onset_in_words(main)}.")
    heads = (
        "setting",
        "epochs",
        "onset of overfitting, by seed",
        "in the study",
        "validation − training loss at the end",
    )
    return [
        Heading("2. Loss and accuracy against epoch"),
        Text(RULE),
        Text(TRAINING),
        Table(heads, rows),
        *blocks,
    ], short


def _curves(study: Study, condition: Condition) -> list[Block]:
    onset = median_onset(condition)
    marks = [] if onset is None else [(onset, VAL, f"onset: epoch {onset:g}")]
    charts = [
        Chart(
            study.titled(f"{condition.network.upper()} {condition.aug}: {name}"),
            axis_label(name),
            [
                *lines_of(condition, train, "training", TRAIN),
                *lines_of(condition, val, "validation", VAL),
            ],
            marks,
        )
        for train, val, name in ((TRAIN_LOSS, "val_loss", "loss"), ("train_acc", "val_acc", "accuracy"))
    ]
    columns = (TRAIN_LOSS, "val_loss", "train_acc", "val_acc")
    rows = [
        (str(epoch), *(words.spread(condition.at(column, epoch)) for column in columns))
        for epoch in epochs_listed(condition.epochs)
    ]
    heads = ("epoch", "training loss", "validation loss", "training accuracy", "validation accuracy")
    caption = f"{condition.title}. Onset of overfitting: {onset_in_words(condition)}.{thin_lines(condition)}"
    return [
        Heading(condition.title, 3),
        Charts(charts, caption),
        Fold("The curves in numbers", [Table(heads, rows, condition.title)]),
    ]


def onsets(condition: Condition) -> str:
    return ", ".join("none yet" if onset is None else str(onset) for onset in condition.onsets)


def median_onset(condition: Condition) -> float | None:
    """Over the runs; one that has none yet counts as later than all others."""
    found = median(math.inf if onset is None else onset for onset in condition.onsets)
    return found if math.isfinite(found) else None


def onset_in_words(condition: Condition) -> str:
    onset = median_onset(condition)
    seeds = f" (median of {onsets(condition)})" if len(condition.runs) > 1 else ""
    if not any(condition.onsets):
        seeds = " with any seed" if seeds else ""
    if onset is None:
        return f"none within {words.count(condition.epochs, 'epoch')}{seeds}"
    return f"epoch {onset:g} of {condition.epochs}{seeds}"
