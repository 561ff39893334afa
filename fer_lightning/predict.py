"""The classes of faces in pictures, or of the rows of a csv: python -m fer_lightning.predict PICTURE|FOLDER|CSV …"""

import argparse
import csv
import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fer_lightning import __version__
from fer_lightning.data.faces import CLASSES, SIZE
from fer_lightning.errors import UserError, command_parser, printable, progress, run_command, say_loading
from fer_lightning.photographs import LIMITS, add_arguments
from fer_lightning.results.files import check_out, keep, naming, write_file, write_json
from fer_lightning.results.paths import expanded
from fer_lightning.results.words import count

if TYPE_CHECKING:
    from fer_lightning.photographs.answers import Network, Seen

DESCRIPTION = f"""\
Find the faces in pictures and tell of each which of seven classes the network gives it, and how probable
that is; below a threshold it is "unsure". A picture without a face is an answer too.

{LIMITS}"""

EPILOG = """\
columns of --out FILE.csv, a row a face:
  picture                   its path
  face                      1, 2, … from the largest on (--boxes: as given); 0: no face, all else empty or False
  left,top,width,height     its box in pixels of the upright picture
  roll                      degrees by which it is turned clockwise
  predicted,probability     the class and how probable it is, at a temperature that fits validation data:
                            the mean over the face and variants such as its mirror image. (The shares of validation
                            images that are printed are of single crops; over the variants, of the package's network,
                            72.6% are answered and 79.7% of these are right.)
  unsure                    True where the probability is below the threshold; `predicted` is a guess then
  angry … neutral           the probabilities of all seven classes
FILE.json holds the same as a list, `faces`, below what is known of the network and the limits.

A csv of FER2013's form (id,feature or pixels, or with labels, which are not looked at) is answered as
--out FILE.csv with the columns id,label: a submission, each row's most probable class without variants.
A file of that form and other content is kept, as FILE-1.csv.

examples:
  python -m fer_lightning.predict me.jpg
  python -m fer_lightning.predict holidays/ 'more/*.png' --out answers.csv --annotate marked/
  python -m fer_lightning.predict crop.png --no-detect --run outputs/2026-01-31/12-00-00-cnn-norm_aug
  python -m fer_lightning.predict group.jpg --boxes 40,60,120,120 300,52,118,118
  python -m fer_lightning.predict test.csv --out submission.csv

exit status: 0 done, with faces or without; 1 a picture could not be read (all others are answered);
2 a mistake in the arguments, or nothing to look at; 130 interrupted"""

COLUMNS = (
    *("picture", "face", "left", "top", "width", "height", "roll", "predicted", "probability", "unsure"),
    *CLASSES,
)
MADE_BY = "python -m fer_lightning.predict"
TABLE = f"{'face':>4}  {'left':>6}{'top':>6}{'width':>6}{'height':>7}  answer"
ANSWER = len("unsure (surprise 0.49)")
NARROWEST = 16  # columns of the pictures' names
SMALL = 64  # pixels; a picture of this size may be a ready face


def main() -> None:
    """The command: exit status as EPILOG says."""
    parser = command_parser("predict", DESCRIPTION, EPILOG)
    parser.add_argument(
        "names", metavar="PICTURE|FOLDER|GLOB|CSV", nargs="+", help="pictures, folders of them, patterns; or one csv"
    )
    parser.add_argument(
        "--out", metavar="FILE", type=expanded, help="FILE.csv or FILE.json; an earlier one of this command is replaced"
    )
    parser.add_argument(
        "--annotate",
        metavar="DIR",
        type=expanded,
        help="write copies of the pictures with boxes, classes and bars here",
    )
    parser.add_argument(
        "--unsure",
        metavar="P",
        type=float,
        help="the threshold below which an answer is unsure, from 0 to 1 (default: 0.5, more likely wrong than right)",
    )
    add_arguments(parser)
    run_command(lambda: sys.exit(predict(parser.parse_args())))


def predict(options: argparse.Namespace) -> int:
    """Answer for pictures, or for one csv, in print and as files; return the exit status.

    UserError for a mistake in the arguments, before any picture is looked at.
    """
    if options.unsure is not None and not 0 <= options.unsure <= 1:
        raise UserError(f"--unsure {options.unsure}: right: a probability from 0 to 1")
    table = next((name for name in options.names if name.lower().endswith(".csv")), None)
    if table is not None:
        if len(options.names) > 1:
            raise UserError(f"{table}: a csv is answered by itself, not with other csv files or pictures beside it")
        for option in ("annotate", "no_detect", "boxes"):
            if getattr(options, option):
                raise UserError(f"--{option.replace('_', '-')}: it is for pictures; the faces of a csv are ready ones")
        if options.unsure is not None:
            raise UserError("--unsure: it is for pictures; a submission has a class for each row of the csv")
        if options.out is None:
            raise UserError(f"{table}: name the file for its classes: --out submission.csv")
        check_out(options.out, (".csv",), "id,label", "submission")
    elif options.out is not None:
        marker = f'"made_by": "{MADE_BY}"' if options.out.suffix == ".json" else f"{','.join(COLUMNS)}\n"
        check_out(options.out, (".csv", ".json"), marker, "answers of this command")
    say_loading()
    from fer_lightning.training.memory import keep_freed_memory
    from fer_lightning.training.threads import sharing_cores

    keep_freed_memory()
    with sharing_cores():
        if table is None:
            return answer_pictures(options)
        answer_csv(expanded(table), options.out, options.run)
        return 0


def answer_csv(path: Path, out: Path, run: str | None) -> None:
    """Write the classes of all rows of a csv of FER2013's form. UserError where it is none."""
    import numpy as np

    from fer_lightning.data import cache
    from fer_lightning.data.read_csv import recognize
    from fer_lightning.data.source import describe
    from fer_lightning.photographs.aligned import seen_by
    from fer_lightning.photographs.answers import open_network
    from fer_lightning.results.outputs import submission
    from fer_lightning.results.paths import nearest

    if not path.is_file():
        raise UserError(f"{path}: no such file{nearest(path)}")
    source = recognize(path.absolute())
    network = open_network(run)
    faces = cache.load(source)
    print(describe(faces))
    faces = seen_by(network.member.classifier, faces, np.arange(len(faces)))
    with progress() as bar:
        task = bar.add_task("predicting", total=len(faces))
        probabilities = network.member.classifier.probabilities(
            faces.pixels, network.member.precision, after_batch=lambda images: bar.advance(task, images)
        )
    content = submission(faces, np.arange(len(faces)), probabilities)
    if out.exists() and out.read_bytes() != content:
        keep(out)  # it may be somebody else's
    write_file(out, content)
    print(f"{network.name}\n{LIMITS}\nwritten: {out}, {len(faces):,} rows")


def answer_pictures(options: argparse.Namespace) -> int:
    from fer_lightning.photographs.answers import open_network, see
    from fer_lightning.photographs.boxes import finder
    from fer_lightning.photographs.pictures import find_pictures

    out = options.out
    paths = find_pictures(options.names)
    copies: dict[Path, Path] = {}
    if options.annotate is not None:
        from fer_lightning.photographs import annotate

        copies = annotate.copies(paths, options.annotate)
        paths = list(copies)
    find = finder(paths, not options.no_detect, options.boxes)
    network = open_network(options.run, options.unsure)
    threshold = network.calibration.threshold
    note = "network trained on synthetic faces" if network.synthetic else ""

    width = name_width(paths)
    print(f"{'picture':<{width}}  {TABLE}")
    answers: list[dict[str, Any]] = []
    faults = without = small = 0
    ended = False
    try:
        with progress() as bar:
            for path in bar.track(paths, description="pictures"):
                try:
                    seen = see(path, find, network)
                except UserError as error:
                    faults += 1
                    print(f"skipped: {printable(str(error))}", file=sys.stderr)
                    continue
                without += not seen.faces
                small += not seen.faces and max(seen.picture.shape) <= SMALL
                found = rows(seen, threshold)
                answers += found
                print("\n".join(line(row, width) for row in found), flush=True)
                if copies:
                    copy = annotate.annotated(seen.picture, seen.faces, seen.probabilities, threshold, note)
                    target = copies[path]
                    with naming(target):
                        target.parent.mkdir(parents=True, exist_ok=True)
                    write_file(target, annotate.encoded(copy, target, str(network)))
        ended = True
    finally:
        if out is not None and (ended or not out.exists()):  # of those cut off, an earlier file says more
            write_answers(out, answers, network)
    shown = len(answers) - without
    print(
        f"\n{count(len(paths), 'picture')}: {count(shown, 'face')}, {without:,} without a face"
        + (f", {faults:,} that could not be read" if faults else "")
    )
    if small and not options.no_detect:
        print(f"ready faces, as FER2013's of {SIZE}×{SIZE} pixels, are taken with --no-detect")
    print(f"{network}\n{LIMITS}")
    if written := [str(path) for path in (out, options.annotate) if path is not None]:
        print(f"written: {', '.join(written)}")
    return int(faults > 0)


def write_answers(out: Path, answers: list[dict[str, Any]], network: "Network") -> None:
    """Rows of COLUMNS as csv, or as json with what is said of them."""
    from dataclasses import asdict

    if out.suffix == ".json":
        head = {"made_by": MADE_BY, "version": __version__, "limits": LIMITS, "network": network.member.summary()}
        write_json(out, {**head, "calibration": asdict(network.calibration), "faces": answers})
        return
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(answers)
    write_file(out, text.getvalue().encode(errors="backslashreplace"))  # names may be no UTF-8


def rows(seen: "Seen", threshold: float) -> list[dict[str, Any]]:
    """What COLUMNS hold of each face of a picture; of one without, a row whose face is 0."""
    if not seen.faces:
        return [{**dict.fromkeys(COLUMNS), "picture": str(seen.path), "face": 0, "unsure": False}]
    found = []
    for number, (face, chances) in enumerate(zip(seen.faces, seen.probabilities, strict=True), 1):
        best = int(chances.argmax())
        values = (
            *(str(seen.path), number, *(round(value, 1) for value in (*face.box, face.roll)), CLASSES[best]),
            *(round(float(chances[best]), 6), bool(chances[best] < threshold), *chances.round(6).tolist()),
        )
        found.append(dict(zip(COLUMNS, values, strict=True)))
    return found


def name_width(paths: Sequence[Path]) -> int:
    """Of the table's first column: on a terminal no more than what leaves room for the others."""
    widest = max(NARROWEST, *(len(str(path)) for path in paths))
    if not sys.stdout.isatty():
        return widest
    return min(widest, max(NARROWEST, shutil.get_terminal_size().columns - len(TABLE) - ANSWER + 4))


def line(row: dict[str, Any], width: int) -> str:
    """A row in print; a long path without its beginning."""
    name = printable(row["picture"])
    name = name if len(name) <= width else f"…{name[1 - width :]}"
    if not row["face"]:
        return f"{name:<{width}}  {'–':>4}  no face"
    answer = f"{row['predicted']} {row['probability']:.2f}"
    if row["unsure"]:
        answer = f"unsure ({answer})"
    return (
        f"{name:<{width}}  {row['face']:>4}  {row['left']:>6.0f}{row['top']:>6.0f}{row['width']:>6.0f}"
        f"{row['height']:>7.0f}  {answer}"
    )


if __name__ == "__main__":
    main()
