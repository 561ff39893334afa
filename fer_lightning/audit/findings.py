"""What an audit found, as JSON and in words."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from fer_lightning.audit.search import FLAT, KINDS, KNOWN, Audit, class_counts, verdict
from fer_lightning.data.faces import CLASSES, NO_LABEL, PRIVATE, PUBLIC, TRAINING, UNLABELLED, USAGES, Faces
from fer_lightning.results.words import count

GOOD = 0.65  # an accuracy on FER2013: that of people, as of a good network
TITLES = {"identical": "identical images", "mirrored": "mirror images", "near": "near duplicates"}
LEAKS = {"identical": "also in", "mirrored": "mirrored in", "near": "with a near duplicate in"}


def to_json(found: Audit) -> dict[str, Any]:
    """The content of audit.json.

    An image is {split, row, label} and, where its source names it, name; row is that of `Faces.rows`, label null for
    none. A link of near duplicates is [first, second, similarity, mirrored]: two indices into the images of its group,
    their correlation and whether the second had to be mirrored for it.
    """
    faces = found.faces
    content: dict[str, Any] = {
        "source": faces.source,
        "form": faces.form,
        "left_out": faces.left_out,
        "images": len(faces),
        "splits": {},
        "unlabelled": len(faces.where(UNLABELLED)),
        "constant": [image_of(faces, position) for position in found.constant],
        "flat": [image_of(faces, position) for position in found.flat],
    }
    for usage, known in KNOWN.items():
        counts = class_counts(faces, usage)
        content["splits"][USAGES[usage]] = {
            "images": sum(counts),
            "classes": dict(zip(CLASSES, counts, strict=True)),
            "known": dict(zip(CLASSES, known, strict=True)),
            "verdict": verdict(counts, usage),
        }
    for kind in KINDS:
        groups = found.groups(kind)
        content[kind] = {
            "groups": len(groups),
            "images": sum(map(len, groups)),
            "across_splits": sum(map(found.spans, groups)),
            "conflicting": sum(map(found.conflicting, groups)),
            "leaks": found.leaks(kind),
            "found": [_group(found, group, kind) for group in groups],
        }
    return content


def _group(found: Audit, group: np.ndarray, kind: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "images": [image_of(found.faces, position) for position in group],
        "labels": [CLASSES[label] for label in found.labels(group)],
    }
    if kind == "near":
        entry["links"] = [
            [*np.searchsorted(group, link[:2]).tolist(), round(link.similarity, 4), link.mirrored]
            for link in found.links_of[int(group[0])]
        ]
    return entry


def image_of(faces: Faces, position: int) -> dict[str, Any]:
    """An image as audit.json has it, see `to_json`."""
    label = faces.labels[position]
    image = {
        "split": USAGES[faces.usage[position]],
        "row": int(faces.rows[position]),
        "label": None if label == NO_LABEL else CLASSES[label],
    }
    if faces.names is not None and faces.names[position]:
        image["name"] = str(faces.names[position])
    return image


def to_text(content: dict[str, Any]) -> str:
    """The findings for the terminal, in 100 columns as far as the source's name allows."""
    tables = [_aligned(*counts_table(content)), _aligned(*findings_table(content))]
    head = f"{content['images']:,} images in {content['source']},\nread as {content['form']}"
    if content["left_out"]:
        head += f"\nleft out: {content['left_out']}"
    return "\n\n".join([head, *tables, "\n".join(sentences(content))])


def counts_table(content: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: the images of each split and class and, where they are not the known ones, the known."""
    rows = []
    for split, entry in content["splits"].items():
        counts = entry["classes"].values()
        rows.append([split, *(f"{count:,}" for count in (entry["images"], *counts)), entry["verdict"]])
        if entry["verdict"] not in ("match", "missing"):
            known = entry["known"].values()
            rows.append(["  known", *(f"{count:,}" for count in (sum(known), *known)), ""])
    return ["", "images", *CLASSES, "known counts"], rows


def findings_table(content: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Headers and rows: the groups of each kind, the images in them, and how many groups are of the worse sorts."""
    columns = ("groups", "images", "across_splits", "conflicting")
    rows = [[TITLES[kind], *(f"{content[kind][column]:,}" for column in columns)] for kind in KINDS]
    return ["", "groups", "images", "groups across splits", "groups with conflicting labels"], rows


def conclusions(content: dict[str, Any]) -> dict[str, str]:
    """The audit in three lines: what each is about, and what was found."""
    verdicts = {split: entry["verdict"] for split, entry in content["splits"].items()}
    splits = {kind: " and ".join(split for split in verdicts if verdicts[split] == kind) for kind in verdicts.values()}
    if "differ" in splits:
        told = f"not FER2013 as it is known: other counts of the classes in {splits['differ']}"
    elif "both test splits" in splits:
        told = f"FER2013 by the counts of the classes, both test splits in {splits['both test splits']}"
    else:
        told = "FER2013 by the counts of the classes, "
        told += f"without {splits['missing']}" if "missing" in splits else "complete"
    data = f"{count(content['images'], 'image')}; {told}."
    return {"Data": data, "Leaks": _leaks(content), "Labels": _conflicts(content)}


def _leaks(content: dict[str, Any]) -> str:
    told, worst = [], 0.0
    for split in (USAGES[PUBLIC], USAGES[PRIVATE]):
        leaks = [(kind, leak) for kind in KINDS for leak in content[kind]["leaks"] if leak["split"] == split]
        copies = {kind: leak["images"] for kind, leak in leaks if leak["within"] == USAGES[TRAINING]}
        if copies:
            images, exact = sum(copies.values()), copies.get("identical", 0)
            share = images / content["splits"][split]["images"]
            worst = max(worst, share)
            told.append(f"{images:,} {split} images ({share:.1%}) are also in Training, {exact:,} pixel for pixel.")
    if not told:
        return "No test image is also in Training."
    told.append(f"Known by heart, they turn a score of {GOOD:.0%} into up to {GOOD + (1 - GOOD) * worst:.0%}.")
    return " ".join(told)


def _conflicts(content: dict[str, Any]) -> str:
    groups = [group["images"] for group in content["identical"]["found"] if len(group["labels"]) > 1]
    counts = [Counter(image["label"] for image in images if image["label"]).values() for images in groups]
    images, right = sum(map(sum, counts)), sum(map(max, counts))
    others = sum(content[kind]["conflicting"] for kind in KINDS[1:])
    told = f"Of {images:,} identical images with several labels any network gets at least {images - right:,} wrong."
    told = told if groups else "No identical images have several labels."
    return f"{told} Groups of near duplicates and mirror images with several labels: {others:,}."


def sentences(content: dict[str, Any]) -> list[str]:
    """What there is to say beyond the tables."""
    found = []
    told = set()
    for kind in KINDS:
        for leak in content[kind]["leaks"]:
            split, within = leak["split"], leak["within"]
            more = "more " if (split, within) in told else ""
            told.add((split, within))
            found.append(f"{count(leak['images'], f'{more}{split} image')} {LEAKS[kind]} {within}.")
    if not told:
        found.append("No image of one split is also in another.")
    splits = [image["split"] for image in content["constant"]]
    where = ", ".join(f"{splits.count(split):,} in {split}" for split in USAGES if split in splits)
    found.append(
        f"{count(len(splits), 'image')} of one gray level: {where}." if splits else "No image of one gray level."
    )
    if flat := content["flat"]:
        found.append(
            f"{count(len(flat), 'image')} too flat to be searched for near duplicates (deviation below {FLAT:g})."
        )
    if unlabelled := content["unlabelled"]:
        found.append(f"{count(unlabelled, 'image')} without a label.")
    return found


def _aligned(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as text: columns of numbers flush right, others left."""
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(cell[:1].isdigit() for cell in column[1:]) for column in columns]
    forms = [f"{'>' if flush else '<'}{width}" for flush, width in zip(right, widths, strict=True)]
    lines = ["  ".join(map(format, row, forms)).rstrip() for row in (headers, *rows)]
    return "\n".join(lines)
