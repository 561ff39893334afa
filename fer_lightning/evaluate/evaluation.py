"""What the command `evaluate` does: from checkpoints and data to honest scores, in words and as files.

folder.py       where the files go
scoring.py      probabilities → evaluation.json
text.py         evaluation.json → words and tables
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from fer_lightning.data.faces import Faces, fingerprint
from fer_lightning.data.source import describe
from fer_lightning.data.splits import Splits
from fer_lightning.errors import UserError, progress
from fer_lightning.evaluate import text
from fer_lightning.evaluate.folder import occupied, output_folder
from fer_lightning.evaluate.scoring import comparison, score
from fer_lightning.evaluate.votes import read_votes
from fer_lightning.photographs.aligned import aligned
from fer_lightning.results.checkpoint import TTA_COPIES, TTA_SHIFT, import_network
from fer_lightning.results.fairness import select
from fer_lightning.results.files import write_json
from fer_lightning.results.members import Member, choose_device, open_data, open_member, sha256
from fer_lightning.results.outputs import prediction_table, write_confusions, write_predictions
from fer_lightning.training.memory import keep_freed_memory
from fer_lightning.training.threads import sharing_cores

Chances = dict[str, np.ndarray]  # of each split, float32 (N, 7)
TTA = {
    "shifted": f"mean over {TTA_COPIES} copies of each image: as it is and mirrored, each in place and shifted by "
    f"{TTA_SHIFT} pixels left, right, up and down",
    "aligned": "mean over each image and its face, found and cropped as of a photograph; over the image alone where no "
    "face is found. The detector was trained on other pictures than FER2013's",
}


@sharing_cores()
def evaluate(
    checkpoints: Sequence[str | None],
    data: str | None = None,
    split: str = "all",
    tta: str | None = None,
    compare: str | None = None,
    votes: Path | None = None,
    networks: Sequence[str] = (),
    out: Path | None = None,
) -> dict[str, Any]:
    """Score the mean of the checkpoints' probabilities, print it, write it; return evaluation.json as a dictionary.

    The arguments are those of the command, see __main__.py; None is the network that comes with the package. UserError
    for a mistake in any of them, before any prediction is made.
    """
    started = time.perf_counter()
    keep_freed_memory()
    for network in networks:
        try:
            import_network(network)
        except UserError as error:
            raise UserError(f"--network {error}") from None
    members = [open_member(name) for name in checkpoints]
    others = [] if compare is None else [open_member(compare)]
    faces = open_data(data, members[0])
    print(describe(faces))
    selection = select(faces, members, others, split)
    counts = None if votes is None else read_votes(votes, faces)
    device = choose_device(members[0])
    report: dict[str, Any] = {
        "checkpoints": [member.summary() for member in members],
        "data": "synthetic" if faces.synthetic else "fer2013",
        "synthetic": faces.synthetic,
        "source": faces.source,
        "form": faces.form,
        "left_out": faces.left_out,
        "fingerprint": fingerprint(faces),
        "split": split,
        "tta": TTA[tta] if tta else None,
        "votes": None if votes is None else {"file": str(votes.absolute()), "sha256": sha256(votes)},
        "device": str(device),
        "notes": selection.notes,
        "splits": {},
        "comparison": {**others[0].summary(), "splits": {}} if others else None,
    }
    folder = output_folder(report, members[0], out)

    (mine, plain), (theirs, _) = predict(
        faces, [(members, selection.scored), (others, selection.compared)], tta, device
    )
    for name, where in selection.scored.items():
        report["splits"][name] = score(faces, where, mine[name], members, counts)
    if tta:
        for name, found in comparison(faces, selection.scored, mine, plain, members).items():
            report["splits"][name]["without_tta"] = found
    if others:
        both = [*members, *others]
        report["comparison"]["splits"] = comparison(faces, selection.compared, mine, theirs, both)
    report["seconds"] = round(time.perf_counter() - started, 1)
    if occupied(folder, report):  # by another evaluation that ran meanwhile
        folder = output_folder(report, members[0], out)
    write_json(folder / "evaluation.json", report)  # first: it marks predictions.csv as an evaluation's
    table = prediction_table(faces, selection.scored, mine)
    write_predictions(table, folder / "predictions.csv")
    write_confusions(
        table, folder, title=" + ".join(each["network"] for each in report["checkpoints"]), synthetic=faces.synthetic
    )
    print(text.render(report))
    print(f"\n{report['seconds']} s; written: {folder / 'evaluation.json'}, predictions.csv, confusion matrices")
    return report


def predict(
    faces: Faces, sides: Sequence[tuple[Sequence[Member], Splits]], tta: str | None, device: torch.device
) -> list[tuple[Chances, Chances]]:
    """For each side the mean of its members' class probabilities for each of its splits: with `tta`, and without.

    faces: as they are in the data; a network that is trained on aligned ones sees those. tta: "shifted" or "aligned",
    see TTA; None: both are the same. A terminal is shown how far they are.
    """
    crops = faces
    if tta == "aligned" or any(member.classifier.aligned for members, _ in sides for member in members):
        crops = aligned(faces, np.unique(np.concatenate([where for _, splits in sides for where in splits.values()])))
    with progress() as bar:
        images = sum(len(members) * len(where) for members, splits in sides for where in splits.values())
        task = bar.add_task("scoring", total=2 * images if tta else images)

        def mean(
            members: Sequence[Member], where: np.ndarray, shifted: bool = False, other: bool = False
        ) -> np.ndarray:
            """other: of the crops that they are not trained on."""
            each = []
            for member in members:
                member.classifier.model.to(device)
                classifier, precision = member.classifier, member.precision
                pixels = (crops if classifier.aligned != other else faces).pixels
                each.append(classifier.probabilities(pixels, precision, shifted, where, lambda n: bar.advance(task, n)))
            return np.mean(each, axis=0)

        found = []
        for members, splits in sides:
            plain = {name: mean(members, where) for name, where in splits.items()}
            better = plain
            if tta == "shifted":
                better = {name: mean(members, where, shifted=True) for name, where in splits.items()}
            elif tta == "aligned":
                better = {name: (plain[name] + mean(members, where, other=True)) / 2 for name, where in splits.items()}
            found.append((better, plain))
        return found
