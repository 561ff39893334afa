"""Where the answers come from: mean maps of the classes and the surest errors, of runs that have an explanation."""

from typing import Any

from fer_lightning.data.faces import CLASSES
from fer_lightning.report.study import Study
from fer_lightning.results.explanation import AREAS, MEANING, REGIONS, Explanation, mean_overlays, overlay, read
from fer_lightning.results.words import percent


def section(study: Study) -> list[dict[str, Any]]:
    """One for each network; of what stands for it the first seed with an explanation of validation data."""
    found = []
    for condition in study.mains.values():
        made = ((run, read(run.folder / "explanation" / "val")) for run in condition.runs)
        explained = [{"title": condition.title, "seed": run.metrics["seed"], **_maps(one)} for run, one in made if one]
        found += explained[:1]
    return found


def _maps(found: Explanation) -> dict[str, Any]:
    """kinds: (name, mean maps, headers, rows) of each kind. errors: its face and its maps with their captions."""
    captions = [f"{name}\n{count:,} images" for name, count in zip(CLASSES, found.counts, strict=True)]
    headers = ("class", "images", *REGIONS)
    kinds = []
    for i, kind in enumerate(found.kinds):
        rows = [
            (name, f"{count:,}", *(percent(share, 0) for share in shares))
            for name, count, shares in zip(CLASSES, found.counts, found.shares(i), strict=True)
        ]
        rows.append(("an even map", "", *(percent(share, 0) for share in AREAS)))
        kinds.append((kind, [*zip(mean_overlays(found, i), captions, strict=True)], headers, rows))
    errors = [
        [(face, caption), *((overlay(face, map_), kind) for map_, kind in zip(maps, found.kinds, strict=True))]
        for face, caption, *maps in zip(found.faces, found.error_captions(), *found.maps, strict=True)
    ]
    return {"meaning": MEANING, "kinds": kinds, "errors": errors}
