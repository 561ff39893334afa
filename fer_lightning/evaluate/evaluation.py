"""What the command `evaluate` does: from checkpoints and data to honest scores, in words and as files.

members.py      names of runs and checkpoints → networks, with what their runs tell
fairness.py     which splits of the data say something of them, and why the others do not
prediction.py   networks and images → probabilities
scoring.py      probabilities → evaluation.json
text.py         evaluation.json → words and tables
"""

import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_lightning.data.source import describe
from fer_lightning.errors import UserError
from fer_lightning.evaluate import text
from fer_lightning.evaluate.fairness import choose
from fer_lightning.evaluate.members import Member, choose_device, described, open_data, open_member
from fer_lightning.evaluate.prediction import predict
from fer_lightning.evaluate.scoring import comparison, score
from fer_lightning.evaluate.votes import read_votes
from fer_lightning.results import weights
from fer_lightning.results.checkpoint import TTA_COPIES, TTA_SHIFT
from fer_lightning.results.files import write_json
from fer_lightning.results.outputs import prediction_table, write_predictions
from fer_lightning.results.paths import holds_run
from fer_lightning.training.memory import keep_freed_memory

TTA = (
    f"mean over {TTA_COPIES} copies of each image: as it is and mirrored, each in place and shifted by {TTA_SHIFT} "
    "pixels left, right, up and down"
)


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
    chosen = choose(faces, members, others, split)
    tagged = None if votes is None else read_votes(votes, faces)
    folder = output_folder(members, split, tta, out)

    device = choose_device(members[0])
    mine, theirs = predict(faces, [(members, chosen.scored), (others, chosen.compared)], tta, device)
    report: dict[str, Any] = {
        "checkpoints": [described(member) for member in members],
        "data": "synthetic" if faces.synthetic else "fer2013",
        "synthetic": faces.synthetic,
        "source": faces.source,
        "form": faces.form,
        "tta": TTA if tta else None,
        "device": str(device),
        "notes": chosen.notes,
        "splits": {name: score(faces, where, mine[name], members, tagged) for name, where in chosen.scored.items()},
        "comparison": None,
    }
    if others:
        by_split = comparison(faces, chosen.compared, mine, theirs, [*members, *others])
        report["comparison"] = {**described(others[0]), "splits": by_split}
    report["seconds"] = round(time.perf_counter() - started, 1)
    write_json(folder / "evaluation.json", report)  # first: it marks predictions.csv as an evaluation's
    write_predictions(prediction_table(faces, chosen.scored, mine), folder / "predictions.csv")
    print(text.render(report))
    print(f"\n{report['seconds']} s; written: {folder / 'evaluation.json'}, predictions.csv")
    return report


def output_folder(members: Sequence[Member], split: str, tta: bool, out: Path | None) -> Path:
    """The folder for the files, made. UserError where they would stand among a run's own, or cannot be written."""
    folder = usual_folder(members, split, tta) if out is None else out
    try:
        if out is not None:
            check_out(out)
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):  # a folder that is there may still take no files
            pass
    except OSError as error:
        raise UserError(
            f"{folder}: it cannot be made or written into ({error.strerror}); name another folder with --out DIR"
        ) from None
    return folder


def usual_folder(members: Sequence[Member], split: str, tta: bool) -> Path:
    """The folder without --out.

    In RUN/evaluation for a run's best.ckpt; another checkpoint has a folder of its name there, one that stands in no
    run in `evaluation` beside it, the package's network in `evaluation` in the current folder.
    """
    first = members[0]
    home = Path() if first.checkpoint == weights.packaged() else first.run or first.checkpoint.parent
    home /= "evaluation"
    if first.run is None or first.checkpoint.name != "best.ckpt":
        home /= first.checkpoint.stem
    return home / f"{split}{'-tta' if tta else ''}{'-ensemble' if len(members) > 1 else ''}"


def check_out(folder: Path) -> None:
    """UserError where files of a run, or predictions that are no evaluation's, would be overwritten."""
    there = folder.resolve()  # RUN/new/.. is RUN, also while there is no RUN/new
    if holds_run(there):
        raise UserError(f"--out {folder}: it holds a run, whose own files are not overwritten; name another folder")
    if (there / "predictions.csv").exists() and not (there / "evaluation.json").exists():
        raise UserError(
            f"--out {folder}: its predictions.csv is of no evaluation and not overwritten; name another folder"
        )
