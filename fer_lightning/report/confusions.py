"""Part 4: which classes are taken for which, and the faces concerned."""

import numpy as np
import pandas as pd

from fer_lightning.data.faces import CLASSES, Faces
from fer_lightning.report import published, words
from fer_lightning.report.archive import Archive, positions
from fer_lightning.report.blocks import Block, Bullets, FaceRow, Heading, Matrix, Point, Table, Text
from fer_lightning.report.findings import Study
from fer_lightning.results import scores
from fer_lightning.results.conditions import Condition
from fer_lightning.results.outputs import confusion_of
from fer_lightning.results.run_folder import Run

PAIRS_WITH_FACES, PAIRS_LISTED, FACES = 3, 6, 20

Pair = tuple[str, str]


def answer(study: Study, archive: Archive) -> tuple[list[Block], list[str]]:
    """The part, and its answers in short."""
    blocks: list[Block] = [
        Heading("4. Which classes are taken for which"),
        Text(
            f"The study: {published.CONFUSIONS}. Here: validation images, the first seed of what stands for each "
            "network. Pairs are ranked by the mean of their two rates of confusion, so that rare classes count as much "
            "as common ones."
        ),
    ]
    short = []
    for network, condition in study.mains.items():
        runs = [run for run in condition.runs if run.predictions is not None and confusion_of(run.predictions).any()]
        if not runs:
            blocks += [Heading(network.upper(), 3), Text(f"{condition.title}: no predictions of validation images.")]
            continue
        more, sentence = _network(study, condition, runs, archive)
        blocks += [Heading(f"{condition.title}, seed {runs[0].metrics['seed']}", 3), *more]
        short.append(f"{network.upper()}: {sentence}")
    return blocks, short or ["not answered, for want of predictions."]


def _network(study: Study, condition: Condition, runs: list[Run], archive: Archive) -> tuple[list[Block], str]:
    matrices = [confusion_of(run.predictions) for run in runs if run.predictions is not None]
    matrix, recall = matrices[0], scores.recall(matrices[0])
    order = np.argsort(recall, kind="stable")  # NaN last
    order = order[~np.isnan(recall[order])]
    lowest = [i for i in order if recall[i] <= recall[order[:2]].max()]  # two, more where several are level
    worst = words.in_words([f"{CLASSES[i]} ({recall[i]:.3f})" for i in lowest])
    same = {CLASSES[i] for i in lowest} == set(published.WORST_CLASSES)
    orders = [_order(other) for other in matrices]
    confused = ["/".join(pair) for pair, found in orders[0].items() if found.images][:PAIRS_WITH_FACES]
    by_images = sorted(orders[0], key=lambda pair: -orders[0][pair].images)
    places = _places([*orders[0]])
    rows = []
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    for rank, (pair, found) in enumerate(orders[0].items(), start=1):
        if rank <= PAIRS_LISTED or pair in published.PAIRS:
            rows.append(
                (
                    str(rank),
                    words.listed([*order].index(pair) + 1 for order in orders),
                    str(by_images.index(pair) + 1),
                    words.ordinal(published.PAIRS.index(pair) + 1) if pair in published.PAIRS else "",
                    "/".join(pair),
                    f"{found.images:,}",
                    f"{pair[0]} → {pair[1]} {words.percent(share[found.a, found.b], 1)}, "
                    f"{pair[1]} → {pair[0]} {words.percent(share[found.b, found.a], 1)}",
                    words.percent(found.rate, 1),
                )
            )
    heads = (
        "rank",
        "by seed",
        "by images",
        "in the study",
        "pair",
        "images",
        "true → predicted, share of the true class",
        "mean",
    )
    blocks: list[Block] = [
        Matrix(matrix, recall, CLASSES, study.titled("Confusion matrix: rows are true, columns predicted classes")),
        Bullets(
            [
                Point(
                    f"Lowest recall: {worst}. The study: {words.in_words(published.WORST_CLASSES)}; "
                    + ("the same." if same else "not the same.")
                ),
                Point(
                    f"Confused most: {', '.join(confused) or 'none'}. Ranks of the study’s three pairs among all "
                    f"{len(orders[0])}: {places}; by the number of images instead: {_places(by_images)}."
                ),
            ]
        ),
        Table(heads, rows, "The pairs confused most, and the study’s"),
        Heading("The faces, most confident errors first", 4),
    ]
    faces = archive.faces(runs[0])
    if isinstance(faces, Faces):
        blocks += _faces(study, runs[0], orders[0], faces)
    else:
        blocks.append(Text(f"The faces cannot be shown: {faces}."))
    most = confused[0] if confused else "none"
    return blocks, f"lowest recall {worst}; confused most {most}; ranks of the study’s pairs: {places}."


def _places(order: list[Pair]) -> str:
    """Where the study's pairs stand in an order."""
    return words.in_words([f"{'/'.join(pair)} {order.index(pair) + 1}" for pair in published.PAIRS])


def _order(matrix: np.ndarray) -> dict[Pair, scores.Confused]:
    """All pairs of classes, those confused most first."""
    return {(CLASSES[found.a], CLASSES[found.b]): found for found in scores.confused_pairs(matrix)}


def _faces(study: Study, run: Run, order: dict[Pair, scores.Confused], faces: Faces) -> list[Block]:
    blocks: list[Block] = []
    for rank, (pair, found) in enumerate(order.items(), start=1):
        if not found.images or (rank > PAIRS_WITH_FACES and pair not in published.PAIRS):
            continue
        wrong = mistakes(run, pair)
        shown = wrong.head(FACES)
        where = positions(faces, shown["index"].to_numpy())
        texts = shown["target"] + "\n→ " + shown["predicted"] + " " + shown["confidence"].map("{:.2f}".format)
        texts += "\nrow " + shown["index"].astype(str)
        some = (
            f"{len(shown)} of {words.count(len(wrong), 'error')}"
            if len(shown) < len(wrong)
            else words.count(len(wrong), "error")
        )
        caption = study.titled(
            f"{'/'.join(pair)}, rank {rank}: {some}. True class → predicted class and its probability"
        )
        blocks.append(FaceRow([(faces.pixels[at], text) for at, text in zip(where, texts, strict=True)], caption))
    return blocks


def mistakes(run: Run, pair: Pair) -> pd.DataFrame:
    """The validation rows of predictions.csv in which one of two classes was taken for the other, surest first.

    With a column `confidence`, the probability of the predicted class.
    """
    assert run.predictions is not None
    table = run.predictions
    mistaken = table["target"].isin(pair) & table["predicted"].isin(pair) & (table["target"] != table["predicted"])
    table = table[(table["split"] == "val") & mistaken]
    confidence = np.where(table["predicted"] == pair[0], table[pair[0]], table[pair[1]])
    table = table.assign(confidence=confidence)
    return table.sort_values(["confidence", "index"], ascending=[False, True], kind="stable")
