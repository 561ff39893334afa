"""What the command `evaluate` does: from checkpoints and data to honest scores, in words and as files."""

import math
import sys
import textwrap
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.progress import Progress

from fer_lightning import scores
from fer_lightning.data import fer2013
from fer_lightning.data.datamodule import EVAL_BATCH
from fer_lightning.data.faces import CLASSES, PRIVATE, PUBLIC, TRAINING, USAGES, Faces, fingerprint
from fer_lightning.data.source import describe, open_faces
from fer_lightning.data.splits import SCORED, Splits, make_splits
from fer_lightning.errors import UserError
from fer_lightning.files import write_json
from fer_lightning.inference import TTA_COPIES, TTA_SHIFT, Classifier, load
from fer_lightning.memory import keep_freed_memory
from fer_lightning.paths import best_checkpoint, holds_run, last_checkpoint, nearest
from fer_lightning.results import prediction_table, write_predictions
from fer_lightning.runs import in_order, read_config, read_run
from fer_lightning.votes import APART, CHOICES, TAGGERS, majority, read_votes
from fer_lightning.weights import packaged

WIDTH = 100  # columns of the printed tables
BLOCK = 4 * EVAL_BATCH  # images copied out of the data at once; whole batches, so that they are those of training
SIGNIFICANT = 0.05
TEST_USAGE = {"public": PUBLIC, "private": PRIVATE}
TTA = (
    f"mean over {TTA_COPIES} copies of each image: as it is and mirrored, each in place and shifted by {TTA_SHIFT} "
    "pixels left, right, up and down"
)


@dataclass(frozen=True)
class Member:
    """A checkpoint to score with.

    name: as the user named it. run: the folder of the run that it stands in, None for a file elsewhere.
    precision, accelerator: those of its run; "32-true" and "auto" for a file elsewhere.
    sources: where its run may have found its data.
    """

    name: str
    checkpoint: Path
    run: Path | None
    classifier: Classifier
    precision: str
    accelerator: str
    sources: tuple[str, ...]

    @property
    def data(self) -> dict[str, Any]:
        return self.classifier.data


def evaluate(
    checkpoints: Sequence[str],
    data: str | None = None,
    split: str = "all",
    tta: bool = False,
    compare: str | None = None,
    votes: Path | None = None,
    out: Path | None = None,
) -> dict[str, Any]:
    """Score the mean of the checkpoints' probabilities, print it, write it; evaluation.json as a dictionary.

    The arguments are those of the command, see evaluate.py. UserError for a mistake in any of them, before any
    prediction is made.
    """
    started = time.perf_counter()
    keep_freed_memory()
    members = [open_member(name) for name in checkpoints]
    others = [] if compare is None else [open_member(compare)]
    faces = open_data(data, members[0])
    print(describe(faces))
    splits, refused = scorable(faces, members)
    names = choose(split, splits, refused)
    notes = [f"{name} is not scored: {refused[name]}" for name in SCORED if split == "all" and name in refused]
    compared: list[str] = []
    if others:
        _, unfair = scorable(faces, [*members, *others])
        compared, reasons = comparable(names, unfair, others[0], split)
        notes += reasons
    notes += [mismatch(member, faces) for member in (*members, *others) if member.data["synthetic"] != faces.synthetic]
    tagged = None if votes is None else read_votes(votes, faces)
    folder = output_folder(members, split, tta, out)

    device = choose_device(members[0])
    passes = sum(len(splits[name]) for name in names) * len(members) + sum(len(splits[name]) for name in compared)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("scoring", total=passes)

        def predict(side: list[Member], name: str) -> np.ndarray:
            return probabilities(side, faces, splits[name], tta, device, lambda n: bar.advance(task, n))

        mine = {name: predict(members, name) for name in names}
        theirs = {name: predict(others, name) for name in compared}

    report: dict[str, Any] = {
        "checkpoints": [described(member) for member in members],
        "data": "synthetic" if faces.synthetic else "fer2013",
        "synthetic": faces.synthetic,
        "source": faces.source,
        "form": faces.form,
        "tta": TTA if tta else None,
        "device": str(device),
        "notes": notes,
        "splits": {name: score(faces, splits[name], mine[name], members, tagged) for name in names},
        "comparison": None,
    }
    if others:
        by_split = {}
        for name in compared:
            where = splits[name]
            unseen = ~seen(faces, where, [*members, *others])
            by_split[name] = {
                **difference(faces, where, mine[name], theirs[name]),
                "unseen": difference(faces, where[unseen], mine[name][unseen], theirs[name][unseen])
                if unseen.any()
                else None,
            }
        report["comparison"] = {**described(others[0]), "splits": by_split}
    report["seconds"] = round(time.perf_counter() - started, 1)
    write_json(folder / "evaluation.json", report)  # first: it marks predictions.csv as an evaluation's
    write_predictions(prediction_table(faces, splits, mine), folder / "predictions.csv")
    print(text(report))
    print(f"\n{report['seconds']} s; written: {folder / 'evaluation.json'}, predictions.csv")
    return report


# Checkpoints and data


def packaged_network() -> str:
    """The path of the network that comes with the package. UserError where none does."""
    path = packaged()
    if path is None:
        raise UserError("name a run's folder or a checkpoint: no network comes with this version of fer_lightning")
    return str(path)


def open_member(name: str) -> Member:
    """UserError where there is no checkpoint of ours."""
    checkpoint = find_checkpoint(Path(name)).absolute()
    classifier = load(checkpoint)
    run = checkpoint.parents[1] if checkpoint.parent.name == "checkpoints" else None
    config: dict[str, Any] = {}
    sources = []
    if run is not None and (run / "metrics.json").is_file():
        read = read_run(run)
        config = read.config
        sources.append(read.metrics.get("source"))
    elif run is not None and (run / "config.yaml").is_file():  # still training, or killed
        config = read_config(run / "config.yaml")
    sources.append(config.get("data", {}).get("root"))
    trainer = config.get("trainer", {})
    precision = trainer.get("precision", "32-true")
    if precision == "16-mixed" and not torch.cuda.is_available():
        precision = "32-true"  # few processors compute in float16
    return Member(
        name=name,
        checkpoint=checkpoint,
        run=run,
        classifier=classifier,
        precision=precision,
        accelerator=trainer.get("accelerator", "auto"),
        sources=tuple(source for source in sources if source),
    )


def find_checkpoint(path: Path) -> Path:
    """The file that a run's folder or a checkpoint's path means. UserError, with what is near, where there is none."""
    checkpoint = best_checkpoint(path)
    if checkpoint.is_file():
        return checkpoint
    if not path.exists():
        raise UserError(f"{path}: no such run or checkpoint{nearest(path)}")
    if holds_run(path):
        last = last_checkpoint(path)
        hint = f"; its newest state is {last}" if last.is_file() else ""
        raise UserError(f"{path}: it has no checkpoints/best.ckpt: the run ended before its first epoch did{hint}")
    folders = [path.parent] if (path / "best.ckpt").is_file() else []
    for depth in ("*", "*/*", "*/*/*"):
        folders += sorted((found.parents[1] for found in path.glob(f"{depth}/checkpoints/best.ckpt")), key=in_order)
    hint = f"; runs near it: {', '.join(map(str, folders[:3]))}" if folders else ""
    raise UserError(f"{path}: no run's folder (it holds no checkpoints/best.ckpt){hint}")


def open_data(wanted: str | None, member: Member) -> Faces:
    """The faces of --data, or else those that the checkpoint was trained on. UserError where they cannot be had."""
    if wanted == "synthetic" or (wanted is None and member.data["synthetic"]):
        return open_faces("synthetic", None)
    if wanted is not None:
        return open_faces("fer2013", wanted)
    for source in member.sources:
        if Path(source).exists():
            return open_faces("fer2013", source)
    if (found := fer2013.find(None)) is not None:
        return open_faces("fer2013", str(found))
    gone = f" ({member.sources[0]}, which is not there now)" if member.sources else ""
    raise UserError(
        f"{member.name}: it was trained on FER2013{gone}; name the file or folder with --data PATH, set the "
        "environment variable FER2013_ROOT, or put it into ./data"
    )


def choose_device(member: Member) -> torch.device:
    """The device that its run took where it is here: a score is repeated exactly only there."""
    if member.accelerator == "cpu" or not torch.accelerator.is_available():
        return torch.device("cpu")
    device = torch.accelerator.current_accelerator()
    assert device is not None
    return device


# Which splits are honest


def scorable(faces: Faces, members: Sequence[Member]) -> tuple[Splits, dict[str, str]]:
    """The positions of each split of SCORED that says something of all members, and why the others do not."""
    splits: Splits = {}
    refused: dict[str, str] = {}
    try:
        splits["val"] = validation_split(faces, members)
    except UserError as error:
        refused["val"] = str(error)
    for name, usage in TEST_USAGE.items():
        chosen_on = [member for member in members if usage == PUBLIC and member.data["val_split"] == "public"]
        if chosen_on:
            refused[name] = (
                f"{chosen_on[0].name} was trained with data.val_split=public: its checkpoint was chosen on PublicTest, "
                "so that is its validation split and no test"
            )
        elif not (faces.usage == usage).any():
            refused[name] = f"{faces.source} has no {USAGES[usage]} images"
        else:
            splits[name] = faces.where(usage)
    return splits, refused


def validation_split(faces: Faces, members: Sequence[Member]) -> np.ndarray:
    """The positions of the images that every member was validated on, int (N,).

    UserError where `faces` holds no such split, or where it would have images that a member was trained on.
    """
    first = members[0].data
    for member in members[1:]:
        same = member.data["val_split"] == first["val_split"] and (
            first["val_split"] == "public" or member.data["seed"] == first["seed"]
        )
        if not same:
            raise UserError(
                f"{members[0].name} held out data.val_split={first['val_split']} with seed={first['seed']} and "
                f"{member.name} data.val_split={member.data['val_split']} with seed={member.data['seed']}, so the "
                "validation split of one was not held out from the other"
            )
    digests = np.unique(faces.digests[faces.where(TRAINING)])
    for member in members:
        if not np.array_equal(digests, member.data["training_digests"].numpy()):
            raise UserError(
                f"the Training images of {faces.source} are not those that {member.name} was trained on, so another "
                "split would be held out of them than it was validated on"
            )
    splits = make_splits(faces, first["val_split"], first["seed"])
    held_out = fingerprint(faces, splits["val"])
    for member in members:  # other labels or repetitions of the same images change the stratified split
        if member.data.get("split", {}).get("val", held_out) != held_out:  # checkpoints of before 2026-11-24 lack it
            raise UserError(
                f"the images held out of {faces.source} are not those that {member.name} was validated on: its labels "
                "or repeated images differ, and with them the split"
            )
    return splits["val"]


def choose(split: str, splits: Splits, refused: dict[str, str]) -> list[str]:
    """The splits to score. UserError where the one asked for, or all of them, cannot be."""
    if split != "all" and split in refused:
        raise UserError(f"--split {split}: {refused[split]}")
    if not splits:
        reasons = "\n  ".join(f"{name}: {refused[name]}" for name in SCORED)
        raise UserError(f"nothing can be scored:\n  {reasons}")
    return [name for name in SCORED if name in splits and split in ("all", name)]


def comparable(names: list[str], refused: dict[str, str], other: Member, split: str) -> tuple[list[str], list[str]]:
    """The scored splits that --compare is fair on, and why the others are not. UserError where none of them is.

    refused: by `scorable`, of both sides together.
    """
    fair = [name for name in names if name not in refused]
    reasons = [f"{name} is not compared: {refused[name]}" for name in names if name in refused]
    if not fair:
        raise UserError("\n  ".join([f"--compare {other.name} --split {split}: no split is fair to both", *reasons]))
    return fair, reasons


def mismatch(member: Member, faces: Faces) -> str:
    words = {True: "synthetic faces", False: "real faces"}
    trained, scored = words[member.data["synthetic"]], words[faces.synthetic]
    return f"{member.name} was trained on {trained} and is scored on {scored}"


# Predictions and scores


def probabilities(
    members: Sequence[Member],
    faces: Faces,
    where: np.ndarray,
    tta: bool,
    device: torch.device,
    advance: Callable[[int], None],
) -> np.ndarray:
    """float32 (N, 7): the mean of the members' class probabilities for the images at `where`, int (N,)."""
    for member in members:
        member.classifier.model.to(device)
    blocks = [np.empty((0, len(CLASSES)), np.float32)]
    for start in range(0, len(where), BLOCK):
        pixels = faces.pixels[where[start : start + BLOCK]]
        each = []
        for member in members:
            each.append(member.classifier.probabilities(pixels, member.precision, tta))
            advance(len(pixels))
        blocks.append(np.mean(each, axis=0))
    return np.concatenate(blocks)


def score(
    faces: Faces, where: np.ndarray, predicted: np.ndarray, members: Sequence[Member], votes: np.ndarray | None
) -> dict[str, Any]:
    """What evaluation.json says of a split: of the images at `where`, int (N,), with probabilities float (N, 7).

    n, acc and acc_95 (the bounds of its 95 % Wilson interval); the same as unseen_n, acc_unseen and acc_unseen_95 of
    the images that do not also stand, exactly, among any member's Training rows; balanced_acc, log_loss (nats), ece
    (15 bins), per class precision, recall, f1 and support; confusion, rows = true class. Undefined figures are null.

    votes, int8 (N, 10), see `read_votes`: for each number of taggers, of ten, who named the majority emotion of FER+,
    n, acc and acc_95 of such images; apart, those where contempt, unknown or NF (not a face) has most votes. The label
    that counts as right is FER2013's in any case.
    """
    target = faces.labels[where].astype(np.int64)
    hits = predicted.argmax(axis=1) == target
    unseen = scores.accuracy(hits[~seen(faces, where, members)])
    matrix = scores.confusion(target, predicted.argmax(axis=1))
    columns = (scores.precision(matrix), scores.recall(matrix), scores.f1(matrix))
    found: dict[str, Any] = {
        **scores.accuracy(hits),
        "unseen_n": unseen["n"],
        "acc_unseen": unseen["acc"],
        "acc_unseen_95": unseen["acc_95"],
        "balanced_acc": scores.balanced_accuracy(matrix),
        "log_loss": scores.log_loss(predicted, target),
        "ece": scores.expected_calibration_error(predicted, target),
        "classes": {
            name: {
                **{key: defined(column[i]) for key, column in zip(("precision", "recall", "f1"), columns, strict=True)},
                "support": int(matrix[i].sum()),
            }
            for i, name in enumerate(CLASSES)
        },
        "confusion": matrix.tolist(),
    }
    if votes is not None:
        found["votes"] = by_votes(hits, votes[where])
    return found


def by_votes(hits: np.ndarray, votes: np.ndarray) -> dict[str, dict[str, Any]]:
    choice, count = majority(votes)
    emotion = choice < len(CLASSES)
    return {
        "agreeing": {str(n): scores.accuracy(hits[emotion & (count == n)]) for n in range(TAGGERS, 0, -1)},
        "apart": {name: scores.accuracy(hits[choice == CHOICES.index(name)]) for name in APART},
    }


def seen(faces: Faces, where: np.ndarray, members: Sequence[Member]) -> np.ndarray:
    """bool (N,): does each image at `where` stand, exactly, among the Training rows of a member?"""
    digests = np.concatenate([member.data["training_digests"].numpy() for member in members])
    return np.isin(faces.digests[where], digests)


def defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)


def difference(faces: Faces, where: np.ndarray, mine: np.ndarray, theirs: np.ndarray) -> dict[str, Any]:
    """McNemar's test on the images at `where`: what evaluation.json says of a split of --compare.

    acc is the other side's, points is this side's accuracy minus that, in percentage points. In evaluation.json the
    same again as `unseen`, of the images that stand in no Training row of either side: a network that knows its
    training images by heart is ahead on their copies.
    """
    target = faces.labels[where]
    right, other_right = mine.argmax(axis=1) == target, theirs.argmax(axis=1) == target
    test = scores.mcnemar(right, other_right)
    pairs = int(test["b"] + test["c"])
    return {
        "n": len(where),
        "acc": float(other_right.mean()),
        "points": 100 * float(right.mean() - other_right.mean()),
        "only_this_right": test["b"],
        "only_other_right": test["c"],
        "p": test["p"],
        "test": "McNemar, exact" if pairs <= scores.EXACT_LIMIT else "McNemar, chi-square with continuity correction",
        "more_than_chance": test["p"] < SIGNIFICANT,
    }


def described(member: Member) -> dict[str, Any]:
    """What evaluation.json says of a checkpoint."""
    return {
        "name": member.name,
        "checkpoint": str(member.checkpoint),
        "network": type(member.classifier.model).__name__,
        "trained_on": "synthetic" if member.data["synthetic"] else "fer2013",
        "val_split": member.data["val_split"],
        "seed": member.data["seed"],
        "precision": member.precision,
    }


# Files and text


def output_folder(members: Sequence[Member], split: str, tta: bool, out: Path | None) -> Path:
    """The folder for the files, made. UserError where they would stand among a run's own, or cannot be written.

    In RUN/evaluation for a run's best.ckpt; another checkpoint has a folder of its name there, one that stands in no
    run in `evaluation` beside it, the package's network in `evaluation` in the current folder.
    """
    folder = out
    if folder is None:
        first = members[0]
        home = Path() if first.checkpoint == packaged() else first.run or first.checkpoint.parent
        home /= "evaluation"
        if first.run is None or first.checkpoint.name != "best.ckpt":
            home /= first.checkpoint.stem
        folder = home / f"{split}{'-tta' if tta else ''}{'-ensemble' if len(members) > 1 else ''}"
    elif holds_run(folder):
        raise UserError(f"--out {folder}: it holds a run, whose own files are not overwritten; name another folder")
    elif (folder / "predictions.csv").exists() and not (folder / "evaluation.json").exists():
        raise UserError(
            f"--out {folder}: its predictions.csv is of no evaluation and not overwritten; name another folder"
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{folder}: cannot be made ({error.strerror}); name another folder with --out DIR") from None
    return folder


def text(report: dict[str, Any]) -> str:
    """evaluation.json for a person; tables of at most WIDTH columns."""
    marked = " on SYNTHETIC faces" if report["synthetic"] else ""
    splits: dict[str, dict[str, Any]] = report["splits"]
    parts = [head(report), overview(splits, marked)]
    if comparison := report["comparison"]:
        for name, found in comparison["splits"].items():
            words = in_words(found, splits[name]["acc"], comparison["name"])
            parts.append(wrapped(f"{name}{marked}: {words}", subsequent_indent="  "))
    if any("votes" in found for found in splits.values()):
        parts.append(votes_table(splits))
    parts += [class_table(name + marked, found) for name, found in splits.items()]
    return "\n\n".join(parts)


def head(report: dict[str, Any]) -> str:
    lines = [f"{each['network']} {each['checkpoint']} (in {each['precision']})" for each in report["checkpoints"]]
    if len(lines) > 1:
        lines.insert(0, f"ensemble of {len(lines)}, the mean of their probabilities:")
    lines.append(f"computed on {report['device']}")
    if report["tta"]:
        lines.append(wrapped(f"test-time augmentation: {report['tta']}"))
    lines += [wrapped(note, subsequent_indent="  ") for note in report["notes"]]
    return "\n".join(lines)


def overview(splits: dict[str, dict[str, Any]], marked: str) -> str:
    """A column a split."""
    rows: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("images", lambda found: f"{found['n']:,}"),
        ("accuracy", lambda found: figure(found["acc"])),
        ("  95 % Wilson interval", lambda found: interval(found["acc_95"])),
        ("images not in Training", lambda found: f"{found['unseen_n']:,}"),
        ("  accuracy", lambda found: figure(found["acc_unseen"])),
        ("  95 % Wilson interval", lambda found: interval(found["acc_unseen_95"])),
        ("balanced accuracy", lambda found: figure(found["balanced_acc"])),
        ("log loss", lambda found: figure(found["log_loss"])),
        ("expected calibration error", lambda found: figure(found["ece"])),
    ]
    lines = [f"{'scores' + marked:<30}" + "".join(f"{name:>18}" for name in splits)]
    lines += [f"{label:<30}" + "".join(f"{cell(found):>18}" for found in splits.values()) for label, cell in rows]
    return "\n".join(lines)


def votes_table(splits: dict[str, dict[str, Any]]) -> str:
    groups = {
        "agreeing": {str(n): f"{n} of {TAGGERS}" for n in range(TAGGERS, 0, -1)},
        "apart": {"contempt": "contempt", "unknown": "unknown", "NF": "not a face"},
    }
    titles = {
        "agreeing": "Accuracy (images) by how many FER+ taggers named the majority emotion:",
        "apart": "Apart, where most taggers saw none of the seven emotions:",
    }
    lines = []
    for group, labels in groups.items():
        lines.append(titles[group])
        for key, label in labels.items():
            found = [split["votes"][group][key] for split in splits.values()]
            if any(each["n"] for each in found):
                cells = (f"{figure(each['acc'])} ({each['n']:,})" for each in found)
                lines.append(f"  {label:<28}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


def class_table(title: str, found: dict[str, Any]) -> str:
    """A row a true class: its scores and how many of its images were taken for which class."""
    lines = [f"{title}: scores of each class, and what its images were taken for"]
    lines.append(f"{'':<8}{'prec.':>7}{'recall':>7}{'F1':>7}{'images':>7}" + "".join(f"{name:>9}" for name in CLASSES))
    for (name, own), counts in zip(found["classes"].items(), found["confusion"], strict=True):
        shares = "".join(f"{figure(own[key], 3):>7}" for key in ("precision", "recall", "f1"))
        lines.append(f"{name:<8}{shares}{own['support']:>7}" + "".join(f"{count:>9}" for count in counts))
    return "\n".join(lines)


def in_words(found: dict[str, Any], acc: float, other: str) -> str:
    """One comparison in a few sentences."""
    points = f"accuracy {acc:.4f}, {other} {found['acc']:.4f}: {found['points']:+.2f} points on {images(found['n'])}."
    unseen = found["unseen"]
    if unseen is None or unseen["n"] == found["n"]:
        return f"{points} {verdict(found)}"
    more = f"On the {images(unseen['n'])} that do not also stand in Training: {unseen['points']:+.2f} points."
    return f"{points} {verdict(found)} {more} {verdict(unseen)}"


def verdict(found: dict[str, Any]) -> str:
    b, c = found["only_this_right"], found["only_other_right"]
    if b == c == 0:
        return "Both are right on the same images."
    kind = "more than chance" if found["more_than_chance"] else "no more than chance may bring"
    sign = "<" if found["more_than_chance"] else "≥"
    return (
        f"Only this one is right on {images(b)}, only the other on {c:,}; {found['test']}: p = {found['p']:.2g}. "
        f"The difference is {kind} (p {sign} {SIGNIFICANT})."
    )


def images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"


def figure(value: float | None, digits: int = 4) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def interval(bounds: Sequence[float] | None) -> str:
    return "–" if bounds is None else f"{bounds[0]:.4f}–{bounds[1]:.4f}"


def wrapped(line: str, **options: Any) -> str:
    return textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False, **options)
