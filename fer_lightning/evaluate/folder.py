"""Where an evaluation's files go: a folder whose name says what was done, and in which no other evaluation stands."""

import itertools
import json
from pathlib import Path
from typing import Any

from fer_lightning.errors import UserError
from fer_lightning.results.files import make_folder
from fer_lightning.results.members import Member
from fer_lightning.results.paths import holds_run


def output_folder(report: dict[str, Any], first: Member, out: Path | None) -> Path:
    """The folder for the files of an evaluation with this evaluation.json, made.

    That is `out`, or else `usual_folder`, with a number behind its name where another evaluation stands there: the same
    one again replaces its own files. UserError where anything else in `out` would be replaced, or nothing can be
    written.
    """
    folder = usual = usual_folder(report, first) if out is None else out
    if (reason := occupied(folder, report)) and out is not None:
        raise UserError(f"--out {out}: {reason}; name another folder")
    if reason:
        numbered = (usual.with_name(f"{usual.name}-{number}") for number in itertools.count(2))
        folder = next(folder for folder in numbered if not occupied(folder, report))
        print(f"{usual}: {reason}; this evaluation goes to {folder}")
    make_folder(folder)
    return folder


def usual_folder(report: dict[str, Any], first: Member) -> Path:
    """`evaluation/<split>[-tta][-ensemble]`, see `Member.place`, named after what evaluation.json says."""
    tta, ensemble = report["tta"], len(report["checkpoints"]) > 1
    return first.place("evaluation") / f"{report['split']}{'-tta' if tta else ''}{'-ensemble' if ensemble else ''}"


def occupied(folder: Path, report: dict[str, Any]) -> str | None:
    """What an evaluation with this evaluation.json would wrongly replace in a folder; None where it may write."""
    folder = folder.resolve()  # RUN/new/.. is RUN, also while there is no RUN/new
    if holds_run(folder):
        return "it holds a run, whose own files are not overwritten"
    path = folder / "evaluation.json"
    if not path.exists():
        if (folder / "predictions.csv").exists():
            return "its predictions.csv is of no evaluation and not overwritten"
        return None
    try:
        there = identity(json.loads(path.read_text()))
    except (ValueError, KeyError, TypeError):
        return "its evaluation.json is none of this command's and not overwritten"
    here = identity(report)
    others = [name for name in here if here[name] != there[name]]
    return f"it holds another evaluation (other {', '.join(others)}), which is not overwritten" if others else None


def identity(report: dict[str, Any]) -> dict[str, Any]:
    """What makes two evaluations one, by the content of files and not by their names."""
    comparison, votes = report["comparison"], report["votes"]
    return {
        "checkpoints": sorted((each["sha256"], each["precision"]) for each in report["checkpoints"]),
        "data": report["fingerprint"],
        "split": report["split"],
        "tta": report["tta"],
        "comparison": comparison and (comparison["sha256"], comparison["precision"]),
        "votes": votes and votes["sha256"],
    }
