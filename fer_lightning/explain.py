"""Where a network's answers come from, as maps over the faces: python -m fer_lightning.explain PICTURE…|--split val"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fer_lightning import __version__
from fer_lightning.data.faces import CLASSES
from fer_lightning.errors import UserError, run_command, say_loading
from fer_lightning.photographs import LIMITS

if TYPE_CHECKING:
    import numpy as np

    from fer_lightning.data.faces import Faces
    from fer_lightning.photographs.faces import Face
    from fer_lightning.results.calibration import Calibration
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
MADE_BY, OF = "fer_lightning.explain", "Source"  # in a sheet's metadata, so that the next one knows it
ERRORS = 12  # the surest ones of a split
SPLIT_SAMPLES = 4  # SmoothGrad's noisy copies of each face: a mean over hundreds of faces needs no more

Box = tuple[float, float, float, float]


def main() -> None:
    """The command; exit status: see EPILOG."""
    run_command(work)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m fer_lightning.explain",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("pictures", metavar="PICTURE", nargs="*", help="files, folders, or patterns such as '*.jpg'")
    made.add_argument("--split", choices=("val", "public", "private"), help="a split of the data instead of pictures")
    made.add_argument(
        "--run",
        metavar="RUN|CKPT",
        help="a run's folder, a checkpoint or a safetensors file (default: the network that comes with the package)",
    )
    made.add_argument(
        "--class", dest="target", choices=CLASSES, metavar="NAME", help="maps for this class, not for the predicted one"
    )
    made.add_argument("--no-detect", action="store_true", help="each picture is a face, cropped as FER2013's are")
    made.add_argument(
        "--boxes",
        metavar="LEFT,TOP,WIDTH,HEIGHT",
        nargs="+",
        type=box,
        default=[],
        help="where the faces of the one picture are, in pixels",
    )
    made.add_argument(
        "--data", metavar="PATH", help="with --split: FER2013 in any form, or `synthetic` (default: the run's)"
    )
    made.add_argument("--out", metavar="DIR", type=Path, help="write into this folder")
    made.add_argument("--version", action="version", version=f"fer_lightning {__version__}")
    return made


def box(text: str) -> Box:
    """The numbers of an argument of --boxes."""
    try:
        left, top, width, height = map(float, text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text}: right: LEFT,TOP,WIDTH,HEIGHT, four numbers of pixels") from None
    if not (width > 0 and height > 0):
        raise argparse.ArgumentTypeError(f"{text}: width and height must be above 0")
    return left, top, width, height


def work() -> None:
    options = parser().parse_args()
    if bool(options.pictures) == bool(options.split):
        raise UserError("name pictures, or a split with --split val; one of both")
    if options.split and (options.boxes or options.no_detect or options.target):
        raise UserError("--boxes, --no-detect and --class are for pictures, not for --split")
    if options.boxes and options.no_detect:
        raise UserError("--boxes and --no-detect: name one of both")
    if options.data and not options.split:
        raise UserError("--data is for --split")
    say_loading()
    from fer_lightning.results.members import choose_device, open_member, packaged_network
    from fer_lightning.training.memory import keep_freed_memory
    from fer_lightning.training.threads import sharing_cores

    keep_freed_memory()
    member = open_member(options.run or packaged_network())
    member.classifier.model.to(choose_device(member))
    with sharing_cores():
        if options.split:
            explain_split(member, options.split, options.data, options.out)
            return
        unread = explain_pictures(
            member, options.pictures, options.out or Path(HOME), options.target, options.no_detect, options.boxes
        )
    if unread:
        sys.exit(1)


# --- pictures


def explain_pictures(
    member: "Member",
    names: Sequence[str],
    out: Path,
    target: str | None = None,
    no_detect: bool = False,
    boxes: Sequence[Box] = (),
) -> int:
    """Write a sheet for each picture with a face into `out`, and print a line a picture; how many could not be read."""
    from fer_lightning.photographs.faces import boxed, find_faces, whole
    from fer_lightning.photographs.pictures import find_pictures, read_picture
    from fer_lightning.results import calibration, explanation, figures
    from fer_lightning.results.files import write_file

    paths = find_pictures(names)
    if boxes and len(paths) > 1:
        raise UserError(f"--boxes: they are of one picture, and {len(paths)} are named")
    calibrated = calibration.of(member.checkpoint)
    make_folder(out)
    print(f"{member.name}: {calibrated}")
    unread = 0
    for path in paths:
        try:
            picture = read_picture(path)
        except UserError as error:
            unread += 1
            print(f"skipped: {error}", file=sys.stderr)
            continue
        if boxes:
            faces = [boxed(picture, each) for each in boxes]
        else:
            faces = [whole(picture)] if no_detect else find_faces(picture)
        if not faces:
            print(f"{path}: no face found (a picture that is a face already: --no-detect)")
            continue
        answers = answers_of(member, calibrated, faces, target)
        sheet = explanation.picture_sheet(picture, answers, title=path.name, limits=LIMITS)
        about = {"Software": MADE_BY, OF: source(path), "Description": LIMITS}
        place = free_name(out, path)
        write_file(place, figures.png(sheet, about))
        print(f"{path}: {', '.join(answer.word for answer in answers)} → {place}")
    if unread:
        print(f"{unread} of {len(paths)} pictures could not be read", file=sys.stderr)
    return unread


def answers_of(
    member: "Member", calibrated: "Calibration", faces: Sequence["Face"], target: str | None
) -> list["Answer"]:
    """An `explanation.Answer` for each face: what `predict` says of it, and the maps of its upright crop."""
    import numpy as np

    from fer_lightning.data.faces import SIZE
    from fer_lightning.results.calibration import at_temperature
    from fer_lightning.results.explanation import Answer
    from fer_lightning.results.maps import maps_of

    crops = [face.variants() for face in faces]
    each = member.classifier.probabilities(np.concatenate(crops), member.precision)
    means = [part.mean(0) for part in np.split(each, np.cumsum([len(crop) for crop in crops])[:-1])]
    probabilities = at_temperature(np.stack(means), calibrated.temperature)
    targets = probabilities.argmax(1) if target is None else np.full(len(faces), CLASSES.index(target))
    maps = maps_of(member.classifier, np.stack([face.pixels for face in faces]), targets)
    corners = np.array([[0, 0], [SIZE, 0], [SIZE, SIZE], [0, SIZE]], np.float64)
    return [
        Answer(
            face.to_picture(corners),
            face.pixels,
            {kind: found[i] for kind, found in maps.items()},
            int(targets[i]),
            chances,
            CLASSES[chances.argmax()] if chances.max() >= calibrated.threshold else "unsure",
        )
        for i, (face, chances) in enumerate(zip(faces, probabilities, strict=True))
    ]


def source(path: Path) -> str:
    from fer_lightning.results.members import sha256

    return f"sha256 {sha256(path)}"


def free_name(out: Path, picture: Path) -> Path:
    """`<picture>.png`, with a number behind it where anything stands that is no sheet of this very picture."""
    from itertools import count

    from PIL import Image

    for number in count(1):
        place = out / f"{picture.stem}{'' if number == 1 else f'-{number}'}.png"
        if not place.exists():
            return place
        try:
            with Image.open(place) as there:
                if (there.info.get("Software"), there.info.get(OF)) == (MADE_BY, source(picture)):
                    return place
        except OSError:  # no picture, or a folder
            continue
    raise AssertionError


def make_folder(out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{out}: it cannot be made ({error.strerror}); name another folder with --out DIR") from None


# --- a split


def explain_split(member: "Member", split: str, data: str | None = None, out: Path | None = None) -> None:
    """Write a split's `Explanation` into `out`, or where it belongs; print where its mean maps lie."""
    from fer_lightning.data.source import describe
    from fer_lightning.results import explanation
    from fer_lightning.results.fairness import select
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
    found = explained(member, faces, selection.scored[split], split)
    network = type(member.classifier.model).__name__
    explanation.write(found, folder, title=f"{network}, {SPLIT_TITLES[split]}")
    print(explanation.to_text(found))
    print(f"written: {', '.join(str(folder / name) for name in explanation.FILES)}")


def explained(member: "Member", faces: "Faces", where: "np.ndarray", split: str) -> "Explanation":
    """The explanation of a split's images, at the positions int (N,). A terminal is shown how far it is."""
    import numpy as np
    from rich.console import Console
    from rich.progress import Progress

    from fer_lightning.data.faces import fingerprint
    from fer_lightning.results.explanation import Explanation
    from fer_lightning.results.maps import NOISE, SAMPLES, maps_of

    probabilities = member.classifier.probabilities(faces.pixels, member.precision, where=where)
    predicted, targets = probabilities.argmax(1), faces.labels[where].astype(np.int64)
    right = np.flatnonzero(predicted == targets)
    errors = surest(probabilities, targets, faces.digests[where])
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
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


def surest(probabilities: "np.ndarray", targets: "np.ndarray", digests: "np.ndarray") -> "np.ndarray":
    """int (E,): the most confident errors, identical photographs once."""
    import numpy as np

    predicted = probabilities.argmax(1)
    wrong = np.flatnonzero(predicted != targets)
    wrong = wrong[np.argsort(-probabilities[wrong, predicted[wrong]], kind="stable")]
    _, first = np.unique(digests[wrong], return_index=True)
    return wrong[np.sort(first)[:ERRORS]]


if __name__ == "__main__":
    main()
