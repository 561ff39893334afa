"""The audit's page: three lines, the terminal's tables, then the faces of the worst groups and of constant images."""

from typing import Any

import numpy as np

from fer_lightning.audit.findings import TITLES, conclusions, counts_table, findings_table, sentences
from fer_lightning.audit.search import SAME, SHIFT
from fer_lightning.data.faces import USAGES, Faces
from fer_lightning.results.page import render

GROUPS_SHOWN = 30  # in each section of the page, which stays below 4 MB
FACES_SHOWN = 12  # of each group
SORTS = ("across splits", "in one split, with several labels", "in one split, with one label")  # the worst first


def to_html(faces: Faces, content: dict[str, Any]) -> str:
    """The page on what was found in `faces`; `content` is that of audit.json."""
    positions = {(USAGES[usage], row): i for i, (usage, row) in enumerate(zip(faces.usage, faces.rows, strict=True))}

    def shown(images: list[dict[str, Any]]) -> list[tuple[np.ndarray, str]]:
        """Of many images the first and the last, which may be of different splits."""
        chosen = images if len(images) <= FACES_SHOWN else [*images[: FACES_SHOWN // 2], *images[-FACES_SHOWN // 2 :]]
        return [(faces.pixels[positions[image["split"], image["row"]]], _caption(image)) for image in chosen]

    sections = [
        (f"{title.capitalize()} {which}", kind, groups)
        for which in SORTS
        for kind, title in TITLES.items()
        if (groups := [group for group in content[kind]["found"] if _sort(group) == which])
    ]
    return render(
        "audit.html.j2",
        title="Audit of FER2013",
        content=content,
        conclusions=conclusions(content),
        tables=[counts_table(content), findings_table(content)],
        sentences=sentences(content),
        sections=sections,
        shown=shown,
        near=f"correlate by {SAME} or more, shifted by up to {SHIFT} pixels",
        most=(GROUPS_SHOWN, FACES_SHOWN),
    )


def _sort(group: dict[str, Any]) -> str:
    across = len({image["split"] for image in group["images"]}) > 1
    return SORTS[0] if across else SORTS[1] if len(group["labels"]) > 1 else SORTS[2]


def _caption(image: dict[str, Any]) -> str:
    file = [image["name"].rpartition("/")[2]] if "name" in image else []
    return "\n".join([image["split"], f"row {image['row']}", image["label"] or "no label", *file])
