"""Which classes are taken for which, and the faces concerned."""

from typing import Any

import numpy as np

from fer_lightning.data.faces import CLASSES, Faces
from fer_lightning.report import published
from fer_lightning.report.archive import Archive, positions
from fer_lightning.report.pictures import picture
from fer_lightning.report.study import CONFIRMED, CONTRADICTED, NOT_RUN, UNDECIDED, Answer, Study, word
from fer_lightning.results import figures, scores
from fer_lightning.results.conditions import Condition
from fer_lightning.results.outputs import SPLIT_TITLES, confusion_of
from fer_lightning.results.run_folder import Run, class_indices

PAIRS_WITH_FACES, PAIRS_LISTED, FACES = 3, 6, 4  # faces of each direction of a pair

Pair = tuple[str, str]


def section(study: Study, archive: Archive) -> list[dict[str, Any]]:
    """One for each network; of what stands for it the first seed with predictions."""
    return [_network(study, condition, run, archive) for condition, run, _ in _runs(study)]


def answers(study: Study) -> list[Answer]:
    """Confirmed where both of the study's classes are the worst and their pair is the most confused one."""
    found = []
    for condition, run, matrix in _runs(study):
        worst = _worst(matrix)
        pairs = [(CLASSES[pair.a], CLASSES[pair.b]) for pair in scores.confused_pairs(matrix)]
        ranks = [(pair, 1 + pairs.index(pair)) for pair in published.PAIRS]
        outcome = UNDECIDED if worst["outcome"] == CONFIRMED and ranks[0][1] > 1 else worst["outcome"]
        numbers = {**worst, "pairs": ranks, "of": len(pairs), "seed": run.metrics["seed"]}
        found.append(Answer("confusions", word(study, condition.epochs, outcome), condition.network.upper(), numbers))
    return found or [Answer("confusions", NOT_RUN)]


def _runs(study: Study) -> list[tuple[Condition, Run, np.ndarray]]:
    """With their confusion matrix of validation images."""
    found = []
    for condition in study.mains.values():
        made = [(run, confusion_of(run.predictions)) for run in condition.runs if run.predictions is not None]
        found += [(condition, run, matrix) for run, matrix in made if matrix.any()][:1]
    return found


def _worst(matrix: np.ndarray) -> dict[str, Any]:
    """The recall of the study's two worst classes against each other class's, by Fisher's exact test.

    The better one of the two is held against the others, with Holm's correction for their number.
    """
    from scipy.stats import fisher_exact

    recall, images, right = scores.recall(matrix), matrix.sum(axis=1), np.diag(matrix)
    two = sorted((CLASSES.index(name) for name in published.WORST_CLASSES), key=lambda i: recall[i])
    others = sorted((i for i in range(len(CLASSES)) if i not in two and images[i]), key=lambda i: recall[i])
    if not others or not all(images[two]):
        return {"outcome": UNDECIDED, "two": [], "other": None, "p": None}
    best = two[-1]
    tables = [[[right[i], images[i] - right[i]] for i in (best, other)] for other in others]
    ps = scores.holm([float(fisher_exact(table).pvalue) for table in tables])
    signs = [
        scores.more_than_chance(p) * (1 if recall[best] < recall[i] else -1) for p, i in zip(ps, others, strict=True)
    ]
    return {
        "outcome": CONTRADICTED if -1 in signs else CONFIRMED if set(signs) == {1} else UNDECIDED,
        "two": [(CLASSES[i], recall[i]) for i in two],
        "other": (CLASSES[others[0]], recall[others[0]]),
        "p": ps[0],
        "certain": scores.more_than_chance(ps[0]),
    }


def _network(study: Study, condition: Condition, run: Run, archive: Archive) -> dict[str, Any]:
    assert run.predictions is not None
    matrices = {split: confusion_of(run.predictions, split) for split in SPLIT_TITLES}
    matrix = matrices["val"]
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    found = [((CLASSES[pair.a], CLASSES[pair.b]), pair) for pair in scores.confused_pairs(matrix)]
    pairs = [
        {
            "pair": pair,
            "there": share[confused.a, confused.b],
            "back": share[confused.b, confused.a],
            "images": confused.images,
            "study": pair in published.PAIRS,
            "rank": rank,
        }
        for rank, (pair, confused) in enumerate(found, start=1)
        if rank <= PAIRS_LISTED or pair in published.PAIRS
    ]
    faces = archive.faces(run)
    shown = [row for row in pairs if row["images"] and (row["rank"] <= PAIRS_WITH_FACES or row["study"])]
    ways = _faces(run, [row["pair"] for row in shown], faces) if isinstance(faces, Faces) else []
    return {
        "title": condition.title,
        "seed": run.metrics["seed"],
        "matrices": [
            _matrix(study, f"{condition.title}: {SPLIT_TITLES[name]}", m) for name, m in matrices.items() if m.any()
        ],
        "pairs": pairs,
        "faces": [*zip(shown, ways, strict=False)],
        "no_faces": None if isinstance(faces, Faces) else faces,
    }


def _matrix(study: Study, title: str, matrix: np.ndarray) -> Any:
    starred = [(CLASSES.index(a), CLASSES.index(b)) for pair in published.PAIRS for a, b in (pair, pair[::-1])]
    figure = figures.confusion_matrix(matrix, CLASSES, title=title, synthetic=study.synthetic, starred=starred)
    rows = [
        (name, *map("{:,}".format, row), "–" if np.isnan(recall) else f"{recall:.3f}")
        for name, row, recall in zip(CLASSES, matrix, scores.recall(matrix), strict=True)
    ]
    return picture(figure, title, ("true class", *CLASSES, "recall"), rows)


def _faces(run: Run, pairs: list[Pair], faces: Faces) -> list[list[dict[str, Any]]]:
    """For each pair both directions: the errors, and the faces of the surest ones, identical photographs once."""
    assert run.predictions is not None
    table = run.predictions[run.predictions["split"] == "val"]
    rows, probabilities = table["index"].to_numpy(), table[[*CLASSES]].to_numpy()
    targets, predicted = (class_indices(table[column]) for column in ("target", "predicted"))
    where = positions(faces, run, table)
    surest = scores.surest_errors(targets, predicted, probabilities, faces.digests[where])
    ways = [(CLASSES.index(a), CLASSES.index(b)) for pair in pairs for a, b in (pair, pair[::-1])]
    chosen = [surest[(targets[surest] == a) & (predicted[surest] == b)][:FACES] for a, b in ways]
    if chosen and run.config["data"].get("crop"):
        from fer_lightning.photographs.aligned import aligned  # and with it torch

        faces = aligned(faces, where[np.concatenate(chosen)])
    found = [
        {
            "true": CLASSES[a],
            "predicted": CLASSES[b],
            "errors": int(((targets == a) & (predicted == b)).sum()),
            "faces": [(faces.pixels[where[i]], f"{probabilities[i, b]:.2f}\nrow {rows[i]}") for i in kept],
        }
        for (a, b), kept in zip(ways, chosen, strict=True)
    ]
    return [found[i : i + 2] for i in range(0, len(found), 2)]
