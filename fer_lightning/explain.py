"""Where a network's answers come from, as maps over the faces: python -m fer_lightning.explain PICTURE…|--split val"""

import argparse
import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from fer_lightning.data.faces import CLASSES
from fer_lightning.errors import UserError, command_parser, printable, progress, run_command, say_loading
from fer_lightning.photographs import LIMITS, add_arguments
from fer_lightning.results.paths import expanded

if TYPE_CHECKING:
    import numpy as np

    from fer_lightning.data.faces import Faces
    from fer_lightning.photographs.answers import Network, Seen
    from fer_lightning.results.explanation import Answer, Explanation
    from fer_lightning.results.members import Member

DESCRIPTION = f"""\
Show which pixels of a face a network's answer depends on, by two maps: Grad-CAM (networks with convolutions)
and SmoothGrad (all). Of pictures: a sheet for each in which a face is found, with the face as the network sees
it, the maps over it and the probabilities. Of a split: the mean map of each class and the surest errors, in
RUN/explanation/<split>/ (the package's network: ./explanation/<split>/); the report shows those of validation.

A map is no proof that an answer is right, and no sign of what a person feels. It tells of this network alone,
and roughly: where two maps disagree, trust neither.

{LIMITS}"""

EPILOG = """\
examples:
  python -m fer_lightning.explain holiday.jpg
  python -m fer_lightning.explain photographs/ --run RUN --out maps
  python -m fer_lightning.explain --split val --run RUN

exit status: 0 done, also where no face is found; 1 some picture could not be read; 2 a mistake; 130 interrupted"""

HOME = "explanation"
MADE_BY = "python -m fer_lightning.explain"  # in a sheet's metadata, by which it is known
ERRORS = 12  # the surest ones of a split
SPLIT_SAMPLES = 4  # SmoothGrad's noisy copies of each face: a mean over hundreds of faces needs no more


def main() -> None:
    """The command; exit status: see EPILOG."""
    made = command_parser("explain", DESCRIPTION, EPILOG)
    made.add_argument("pictures", metavar="PICTURE", nargs="*", help="files, folders, or patterns such as '*.jpg'")
    made.add_argument("--split", choices=("val", "public", "private"), help="a split of the data instead of pictures")
    made.add_argument(
        "--class", dest="target", choices=CLASSES, metavar="NAME", help="maps for this class, not for the predicted one"
    )
    made.add_argument(
        "--data", metavar="PATH", help="with --split: FER2013 in any form, or `synthetic` (default: the run's)"
    )
    made.add_argument("--out", metavar="DIR", type=expanded, help="write into this folder")
    add_arguments(made)
    run_command(lambda: work(made.parse_args()))


def work(options: argparse.Namespace) -> None:
    if bool(options.pictures) == bool(options.split):
        raise UserError("name pictures, or a split with --split val; one of both")
    if options.split and (options.boxes or options.no_detect or options.target):
        raise UserError("--boxes, --no-detect and --class are for pictures, not for --split")
    if options.data and not options.split:
        raise UserError("--data is for --split")
    say_loading()
    from fer_lightning.photographs.answers import open_network
    from fer_lightning.training.memory import keep_freed_memory
    from fer_lightning.training.threads import sharing_cores

    keep_freed_memory()
    with sharing_cores():
        network = open_network(options.run)
        if options.split:
            explain_split(network.member, options.split, options.data, options.out)
        else:
            explain_pictures(network, options)


# --- pictures


def explain_pictures(network: "Network", options: argparse.Namespace) -> None:
    """Write a sheet for each picture with a face, and print a line a picture; exit status 1 where one can't be read."""
    from fer_lightning.photographs.answers import see
    from fer_lightning.photographs.boxes import finder
    from fer_lightning.photographs.pictures import find_pictures
    from fer_lightning.results import explanation, figures
    from fer_lightning.results.files import make_folder, write_file

    names, out = options.pictures, options.out or Path(HOME)
    paths = [path for path in find_pictures(names) if not about(path)]
    if not paths:
        raise UserError(f"{' '.join(names)}: sheets of this command alone; name the pictures themselves")
    find = finder(paths, not options.no_detect, options.boxes)
    make_folder(out)
    unread = 0
    for path in paths:
        try:
            seen = see(path, find, network)
        except UserError as error:
            unread += 1
            print(f"skipped: {printable(str(error))}", file=sys.stderr)
            continue
        if not seen.faces:
            print(f"{printable(str(path))}: no face found (where it is a ready face: --no-detect)")
            continue
        answers = answers_of(network, seen, options.target)
        title = printable(path.name) + " · network trained on synthetic faces" * network.synthetic
        sheet = explanation.picture_sheet(seen.picture, answers, title=title, limits=LIMITS)
        place = free_name(out, path)
        write_file(place, figures.png(sheet, about_sheet(path)))
        words = ", ".join(answer.word for answer in answers)
        print(printable(f"{path}: {words} → {place}"), flush=True)
    print(f"{network}\n{LIMITS}")
    if unread:
        print(f"{unread} of {len(paths)} pictures could not be read", file=sys.stderr)
        sys.exit(1)


def answers_of(network: "Network", seen: "Seen", target: str | None) -> list["Answer"]:
    """What the network says of each face, and the maps of its plain crop."""
    import numpy as np

    from fer_lightning.results.explanation import Answer
    from fer_lightning.results.maps import maps_of

    best = seen.probabilities.argmax(1)
    targets = best if target is None else np.full_like(best, CLASSES.index(target))
    maps = maps_of(network.member.classifier, np.stack([face.pixels for face in seen.faces]), targets)
    return [
        Answer(
            face.corners,
            face.pixels,
            {kind: found[i] for kind, found in maps.items()},
            int(targets[i]),
            chances,
            CLASSES[best[i]] if chances[best[i]] >= network.calibration.threshold else "unsure",
        )
        for i, (face, chances) in enumerate(zip(seen.faces, seen.probabilities, strict=True))
    ]


def about_sheet(picture: Path) -> dict[str, str]:
    """What stands in the metadata of a picture's sheet. The picture is known by its content, not by its path."""
    from fer_lightning.results.members import sha256

    return {"Software": MADE_BY, "Source": f"sha256 {sha256(picture)}", "Description": LIMITS}


def about(path: Path) -> dict[str, str]:
    """`about_sheet` of a file that is a sheet; nothing of another."""
    from fer_lightning.photographs.pictures import read_texts

    texts = read_texts(path)
    return texts if texts.get("Software") == MADE_BY else {}


def free_name(out: Path, picture: Path) -> Path:
    """`<picture>.png`, with a number behind it where anything stands that is no sheet of this very picture."""
    source = about_sheet(picture)["Source"]
    names = (out / f"{picture.stem}{'' if number == 1 else f'-{number}'}.png" for number in count(1))
    return next(place for place in names if not place.exists() or about(place).get("Source") == source)


# --- a split


def explain_split(member: "Member", split: str, data: str | None, out: Path | None) -> None:
    """Write a split's `Explanation` into `out`, or where it belongs; print where its mean maps lie."""
    from fer_lightning.data.source import describe
    from fer_lightning.photographs.aligned import seen_by
    from fer_lightning.results import explanation
    from fer_lightning.results.fairness import select
    from fer_lightning.results.files import make_folder
    from fer_lightning.results.members import open_data
    from fer_lightning.results.outputs import SPLIT_TITLES
    from fer_lightning.results.paths import refuse_foreign

    faces = open_data(data, member)
    print(describe(faces))
    selection = select(faces, [member], [], split)
    for note in selection.notes:
        print(note)
    folder = member.place(HOME) / split if out is None else out
    if not (folder / explanation.FACTS).is_file():
        refuse_foreign(folder, explanation.FILES)
    make_folder(folder)
    where = selection.scored[split]
    found = explained(member, seen_by(member.classifier, faces, where), where, split)
    network = type(member.classifier.model).__name__
    explanation.write(found, folder, title=f"{network}, {SPLIT_TITLES[split]}")
    print(explanation.to_text(found))
    print(f"written: {', '.join(str(folder / name) for name in explanation.FILES)}")


def explained(member: "Member", faces: "Faces", where: "np.ndarray", split: str) -> "Explanation":
    """The explanation of a split's images, as the network sees them, at the positions int (N,).

    A terminal is shown how far it is.
    """
    import numpy as np

    from fer_lightning.data.faces import fingerprint
    from fer_lightning.results.explanation import Explanation
    from fer_lightning.results.maps import NOISE, SAMPLES, maps_of
    from fer_lightning.results.scores import surest_errors

    with progress() as bar:
        task = bar.add_task("scoring", total=len(where))
        probabilities = member.classifier.probabilities(
            faces.pixels, member.precision, where=where, after_batch=lambda done: bar.advance(task, done)
        )
    predicted, targets = probabilities.argmax(1), faces.labels[where].astype(np.int64)
    right = np.flatnonzero(predicted == targets)
    errors = surest_errors(targets, predicted, probabilities, faces.digests[where])[:ERRORS]
    with progress() as bar:
        task = bar.add_task("maps", total=len(right) + len(errors))

        def made(chosen: np.ndarray, samples: int) -> dict[str, np.ndarray]:
            pixels = faces.pixels[where[chosen]]
            return maps_of(member.classifier, pixels, predicted[chosen], samples, lambda done: bar.advance(task, done))

        of_right, of_errors = made(right, SPLIT_SAMPLES), made(errors, SAMPLES)
    classes = [right[targets[right] == i] for i in range(len(CLASSES))]

    def mean(images: np.ndarray, positions: np.ndarray) -> np.ndarray:
        return images[positions].mean(0, dtype=np.float32) if len(positions) else np.zeros((48, 48), np.float32)

    return Explanation(
        facts={
            "split": split,
            "images": len(where),
            "recognized": len(right),
            "checkpoint": member.summary(),
            "fingerprint": fingerprint(faces),
            "synthetic": faces.synthetic,
            "maps": list(of_right),
            "smooth_grad": {"noise": NOISE, "samples": SPLIT_SAMPLES, "samples_of_errors": SAMPLES},
            "limits": LIMITS,
        },
        counts=np.array([len(each) for each in classes]),
        mean_faces=np.stack([mean(faces.pixels, where[each]) for each in classes]),
        means=np.stack([[mean(maps, np.searchsorted(right, each)) for each in classes] for maps in of_right.values()]),
        faces=faces.pixels[where[errors]],
        maps=np.stack(list(of_errors.values())),
        rows=faces.rows[where[errors]],
        targets=targets[errors],
        predicted=predicted[errors],
        confidence=probabilities[errors, predicted[errors]],
    )


if __name__ == "__main__":
    main()
