"""evaluation.json in words and tables."""

import textwrap
from collections.abc import Callable
from typing import Any

from fer_lightning.data.faces import CLASSES
from fer_lightning.evaluate.votes import TAGGERS
from fer_lightning.results.scores import SIGNIFICANCE_LEVEL
from fer_lightning.results.words import count, interval, number

WIDTH = 100  # columns of the printed tables


def render(report: dict[str, Any]) -> str:
    """The text that the command prints, at most WIDTH columns wide but for paths."""
    synthetic = " on SYNTHETIC faces" if report["synthetic"] else ""
    splits: dict[str, dict[str, Any]] = report["splits"]
    parts = [head(report), overview(splits, synthetic)]
    if report["tta"]:
        for name, found in splits.items():
            words = difference_in_words(found["without_tta"], found["acc"], "without test-time augmentation")
            parts.append(wrapped(f"{name}{synthetic}: {words}", subsequent_indent="  "))
    if comparison := report["comparison"]:
        for name, found in comparison["splits"].items():
            words = difference_in_words(found, splits[name]["acc"], comparison["name"])
            parts.append(wrapped(f"{name}{synthetic}: {words}", subsequent_indent="  "))
    if any("votes" in found for found in splits.values()):
        parts.append(votes_table(splits))
    parts += [class_table(name + synthetic, found) for name, found in splits.items()]
    return "\n\n".join(parts)


def head(report: dict[str, Any]) -> str:
    """What was scored, how and with what reservations."""
    lines = [
        f"{each['network']} {each['checkpoint']} (in {each['precision']}{', on aligned faces' * each['aligned']})"
        for each in report["checkpoints"]
    ]
    if len(lines) > 1:
        lines.insert(0, f"ensemble of {len(lines)}, the mean of their probabilities:")
    lines.append(f"computed on {report['device']}")
    if report["tta"]:
        lines.append(wrapped(f"test-time augmentation: {report['tta']}"))
    lines += [wrapped(note, subsequent_indent="  ") for note in report["notes"]]
    return "\n".join(lines)


def overview(splits: dict[str, dict[str, Any]], synthetic: str) -> str:
    """All scores but those of classes and votes, a column a split."""
    rows: list[tuple[str, Callable[[dict[str, Any]], str]]] = [
        ("images", lambda found: f"{found['n']:,}"),
        ("accuracy", lambda found: number(found["acc"], ".4f")),
        ("  95 % Wilson interval", lambda found: interval(found["acc_95"], ".4f")),
        ("images not in Training", lambda found: f"{found['unseen_n']:,}"),
        ("  accuracy", lambda found: number(found["acc_unseen"], ".4f")),
        ("  95 % Wilson interval", lambda found: interval(found["acc_unseen_95"], ".4f")),
        ("balanced accuracy", lambda found: number(found["balanced_acc"], ".4f")),
        ("log loss", lambda found: number(found["log_loss"], ".4f")),
        ("expected calibration error", lambda found: number(found["ece"], ".4f")),
    ]
    lines = [f"{'scores' + synthetic:<30}" + "".join(f"{name:>18}" for name in splits)]
    lines += [
        f"{label:<30}" + "".join(f"{cell(found) or '–':>18}" for found in splits.values()) for label, cell in rows
    ]
    return "\n".join(lines)


def votes_table(splits: dict[str, dict[str, Any]]) -> str:
    """Accuracies by FER+'s votes, a column a split."""
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
                cells = (f"{number(each['acc'], '.4f') or '–'} ({each['n']:,})" for each in found)
                lines.append(f"  {label:<28}" + "".join(f"{cell:>18}" for cell in cells))
    return "\n".join(lines)


def class_table(title: str, found: dict[str, Any]) -> str:
    """A row a true class: its scores and how many of its images were taken for which class."""
    lines = [f"{title}: scores of each class, and what its images were taken for"]
    lines.append(f"{'':<8}{'prec.':>7}{'recall':>7}{'F1':>7}{'images':>7}" + "".join(f"{name:>9}" for name in CLASSES))
    for (name, own), counts in zip(found["classes"].items(), found["confusion"], strict=True):
        shares = "".join(f"{number(own[key]) or '–':>7}" for key in ("precision", "recall", "f1"))
        lines.append(f"{name:<8}{shares}{own['support']:>7}" + "".join(f"{count:>9}" for count in counts))
    return "\n".join(lines)


def difference_in_words(found: dict[str, Any], acc: float, other: str) -> str:
    """A split's comparison with the network `other`, in a few sentences."""
    both = f"accuracy {acc:.4f}, {other} {found['acc']:.4f}"
    points = f"{both}: {found['points']:+.2f} points on {count(found['n'], 'image')}."
    unseen = found["unseen"]
    if unseen is None or unseen["n"] == found["n"]:
        return f"{points} {significance(found)}"
    more = f"On the {count(unseen['n'], 'image')} that do not also stand in Training: {unseen['points']:+.2f} points."
    return f"{points} {significance(found)} {more} {significance(unseen)}"


def significance(found: dict[str, Any]) -> str:
    """The outcome of McNemar's test."""
    b, c = found["only_this_right"], found["only_other_right"]
    if b == c == 0:
        return "Both are right on the same images."
    kind = "more than chance" if found["more_than_chance"] else "no more than chance may bring"
    sign = "<" if found["more_than_chance"] else "≥"
    return (
        f"Only this one is right on {count(b, 'image')}, only the other on {c:,}; {found['test']}: "
        f"p = {found['p']:.2g}. The difference is {kind} (p {sign} {SIGNIFICANCE_LEVEL})."
    )


def wrapped(line: str, **options: Any) -> str:
    return textwrap.fill(line, WIDTH, break_long_words=False, break_on_hyphens=False, **options)
