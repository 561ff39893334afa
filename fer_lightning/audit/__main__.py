"""What is wrong with a copy of FER2013, before anyone trains on it: python -m fer_lightning.audit PATH [--out DIR]

Prints a table and writes audit.json (all groups, with all their images) and audit.html (the worst of them, to look at).
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_lightning.audit.search import FLAT, KINDS, KNOWN, SAME, SHIFT, Audit, class_counts, examine, seconds, verdict
from fer_lightning.data.faces import CLASSES, NO_LABEL, UNLABELLED, USAGES, Faces
from fer_lightning.errors import UserError, run_command
from fer_lightning.results import page
from fer_lightning.results.files import write_file, write_json

GROUPS_SHOWN = 30  # in each section of the page, which stays below 4 MB
FACES_SHOWN = 12  # of each group
TITLES = {"identical": "identical images", "mirrored": "mirror images", "near": "near duplicates"}
LEAKS = {"identical": "also in", "mirrored": "mirrored in", "near": "with a near duplicate in"}
NEAR = (
    f"The same photograph once more, mirrored or not: the pixels correlate by {SAME} or more, shifted by up to {SHIFT} "
    "pixels if that fits better. Found are other compression, brightness, contrast and watermarks; other crops mostly "
    "not. Images of one group are linked, directly or through others; identical copies of them are shown too."
)
CSS = """
.groups { display: flex; flex-wrap: wrap; gap: .75rem; margin: .75rem 0; }
.group { border: 1px solid var(--line); border-radius: 4px; padding: .4rem .6rem; break-inside: avoid; }
.group p { margin: 0; }
"""


def main() -> None:
    """The command: exit status 0 done, whatever it found; 1 failed, 2 nothing to audit, 130 interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m fer_lightning.audit",
        description="What is wrong with a copy of FER2013: counts, duplicates, conflicting labels, constant images.",
    )
    parser.add_argument("path", metavar="PATH", help="file or folder of FER2013, in any form that training reads")
    parser.add_argument("--out", metavar="DIR", type=Path, default=Path("audit"), help="for the results (./audit)")
    arguments = parser.parse_args()
    run_command(lambda: audit(arguments.path, arguments.out))


def audit(path: str, out: Path) -> None:
    """Audit the copy at `path`, print what is wrong and write audit.json and audit.html into the folder `out`.

    Those of an earlier audit are replaced, each in one step. UserError where `path` or `out` cannot be used.
    """
    from fer_lightning.data import fer2013

    faces = fer2013.load(path)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--out {out}: the folder cannot be made ({error.strerror}); right: a folder") from None
    if (expected := seconds(len(faces))) > 60:
        print(f"Comparing {len(faces):,} images with each other: about {expected / 60:.0f} minutes", flush=True)
    found = examine(faces)
    content = to_json(found)
    write_json(out / "audit.json", content)
    write_file(out / "audit.html", to_html(found, content).encode())
    text = f"{to_text(content)}\n\nThe faces: {out / 'audit.html'}\nAll groups: {out / 'audit.json'}"
    print(text.encode(errors="backslashreplace").decode())  # file names need not be text


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
        "images": len(faces),
        "splits": {},
        "unlabelled": len(faces.where(UNLABELLED)),
        "constant": [_image(faces, position) for position in found.constant],
        "flat": [_image(faces, position) for position in found.flat],
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
            "leaks": [
                {"split": USAGES[leak.usage], "within": USAGES[leak.within], "images": leak.images}
                for leak in found.leaks(kind)
            ],
            "found": [_group(found, group, kind) for group in groups],
        }
    return content


def _group(found: Audit, group: np.ndarray, kind: str) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "images": [_image(found.faces, position) for position in group],
        "labels": [CLASSES[label] for label in found.labels(group)],
    }
    if kind == "near":
        entry["links"] = [
            [*np.searchsorted(group, link[:2]).tolist(), round(link.similarity, 4), link.mirrored]
            for link in found.links_within(group)
        ]
    return entry


def _image(faces: Faces, position: int) -> dict[str, Any]:
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


def sentences(content: dict[str, Any]) -> list[str]:
    """What there is to say beyond the tables."""
    found = []
    told = set()
    for kind in KINDS:
        for leak in content[kind]["leaks"]:
            split, within = leak["split"], leak["within"]
            more = "more " if (split, within) in told else ""
            told.add((split, within))
            found.append(f"{_images(leak['images'], f'{more}{split} ')} {LEAKS[kind]} {within}.")
    if not told:
        found.append("No image of one split is also in another.")
    splits = [image["split"] for image in content["constant"]]
    where = ", ".join(f"{splits.count(split):,} in {split}" for split in USAGES if split in splits)
    found.append(f"{_images(len(splits))} of one gray level: {where}." if splits else "No image of one gray level.")
    if flat := content["flat"]:
        found.append(f"{_images(len(flat))} too flat to be searched for near duplicates (deviation below {FLAT:g}).")
    if unlabelled := content["unlabelled"]:
        found.append(f"{_images(unlabelled)} without a label.")
    return found


def _images(count: int, which: str = "") -> str:
    return f"{count:,} {which}image{'s'[: count != 1]}"


def _aligned(headers: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table as text: columns of numbers flush right, others left."""
    columns = list(zip(headers, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    right = [all(cell[:1].isdigit() for cell in column[1:]) for column in columns]
    forms = [f"{'>' if flush else '<'}{width}" for flush, width in zip(right, widths, strict=True)]
    lines = ["  ".join(map(format, row, forms)).rstrip() for row in (headers, *rows)]
    return "\n".join(lines)


def to_html(found: Audit, content: dict[str, Any]) -> str:
    """The page: the terminal's tables, then the faces of the worst groups of each kind, and of the constant images."""
    body = [
        f"<p>{content['images']:,} images in <code>{page.escape(content['source'])}</code>, "
        f"read as {page.escape(content['form'])}</p>",
        page.table(*counts_table(content)),
        page.table(*findings_table(content)),
        "<ul>" + "".join(f"<li>{page.escape(sentence)}</li>" for sentence in sentences(content)) + "</ul>",
        '<p class="soft">Rows count from 0, the first row of data. In each section those groups come first that are '
        "across splits, then those of most labels, then the largest. audit.json holds all of them.</p>",
    ]
    sections = []
    for kind in KINDS:
        groups, name = found.groups(kind), TITLES[kind].capitalize()
        sorts = {
            f"{name} across splits": [group for group in groups if found.spans(group)],
            f"{name} in one split": [group for group in groups if not found.spans(group)],
            f"{name} with conflicting labels": [group for group in groups if found.conflicting(group)],
        }
        sections += [(title, len(chosen), _groups(found, kind, chosen)) for title, chosen in sorts.items() if chosen]
    if len(found.constant):
        about = _soft(_images(len(found.constant)) + _cut(found.constant, FACES_SHOWN))
        sections.append(("Images of one gray level", len(found.constant), about + _faces(found.faces, found.constant)))
    places = [f'<li><a href="#s{n}">{title}</a> ({total:,})</li>' for n, (title, total, _) in enumerate(sections)]
    body.append(f"<ul>{''.join(places)}</ul>")
    body += [f'<h2 id="s{n}">{title}</h2>\n{markup}' for n, (title, _, markup) in enumerate(sections)]
    return page.document("Audit of FER2013", "\n".join(body), CSS)


def _groups(found: Audit, kind: str, groups: list[np.ndarray]) -> str:
    """A section: the first of these groups."""
    about = f"<p>{NEAR}</p>\n" if kind == "near" else ""
    count = _soft(f"{len(groups):,} group{'s'[: len(groups) != 1]}{_cut(groups, GROUPS_SHOWN)}")
    cards = "\n".join(_card(found, kind, group) for group in groups[:GROUPS_SHOWN])
    return f'{about}{count}<div class="groups">\n{cards}</div>'


def _card(found: Audit, kind: str, group: np.ndarray) -> str:
    """One group: how many images, their labels, how alike they are, and their faces."""
    about = f"{len(group)} images: {', '.join(CLASSES[label] for label in found.labels(group)) or 'no label'}"
    if kind == "near":
        links = found.links_within(group)
        about += f"; correlation from {min(link.similarity for link in links):.3f}"
        about += "; mirrored" if any(link.mirrored for link in links) else ""
    return f'<div class="group">{_soft(about + _cut(group, FACES_SHOWN))}{_faces(found.faces, group)}</div>'


def _soft(text: str) -> str:
    return f'<p class="soft">{text}</p>\n'


def _cut(items: Sequence | np.ndarray, most: int) -> str:
    return f"; {most} of them shown" if len(items) > most else ""


def _faces(faces: Faces, positions: np.ndarray) -> str:
    """Faces with split, row and label; of a long list the first and the last, which may be of different splits."""
    if len(positions) > FACES_SHOWN:
        half = FACES_SHOWN // 2
        positions = np.concatenate([positions[:half], positions[-half:]])
    return page.faces((faces.pixels[position], _caption(_image(faces, position))) for position in positions)


def _caption(image: dict[str, Any]) -> str:
    file = [image["name"].rpartition("/")[2]] if "name" in image else []
    return "\n".join([image["split"], f"row {image['row']}", image["label"] or "no label", *file])


if __name__ == "__main__":
    main()
