"""A network as one file that needs nothing of this package: python -m fer_lightning.export [RUN] --out FILE

FILE.onnx is for other programs, FILE.html for people: a page to try the network on one's own pictures.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from fer_lightning.errors import Failure, UserError, command_parser, run_command, say_loading
from fer_lightning.photographs import LIMITS, NETWORK
from fer_lightning.results.files import check_out, write_file
from fer_lightning.results.paths import expanded

if TYPE_CHECKING:
    import numpy as np
    import onnx

    from fer_lightning.results.calibration import Calibration
    from fer_lightning.results.members import Member

DESCRIPTION = f"""\
Write a network as one ONNX file: from gray faces (`faces`, uint8 N×1×48×48) to the probabilities of the
seven classes (`probabilities`, float32 N×7), at the temperature that fits validation data. Weights are
stored as float16, computed with as float32. Class names, normalization, temperature, threshold and source
stand in the metadata. Before the file is left, onnxruntime's answers are compared with PyTorch's: on
validation images where the network's data is here, else on built-in faces.

Or, with a name that ends in .html, as a page to try it: one file that finds the faces of pictures or of the
camera and answers as `predict` does, in any current browser, from disk and without a network connection.

{LIMITS}"""

MARKER = "python -m fer_lightning.export"  # in each file, by which the next export knows it
EXTRA = ("onnx", "onnxscript", "onnxruntime")
CHECKED = 256  # faces on which the two are compared
TOLERANCE = 0.01  # of a probability; 1e-4 was measured of weights that float16 rounds, 6e-7 of others
AGREEMENT = 0.9  # the least share of classes that int8 must leave as they are; 0.98 was measured


def main() -> None:
    """The command: exit status 0 done, 1 failed, 2 a mistake in the input, 130 interrupted."""
    parser = command_parser("export", DESCRIPTION)
    parser.add_argument(
        "run",
        metavar="RUN|CKPT",
        nargs="?",
        help=NETWORK,
    )
    parser.add_argument(
        "--out",
        metavar="FILE",
        type=expanded,
        required=True,
        help="FILE.onnx or FILE.html; an earlier export is replaced",
    )
    parser.add_argument(
        "--int8", action="store_true", help="compute with integers of 8 bits; what that costs is measured and printed"
    )
    parser.add_argument(
        "--data", metavar="PATH", help="FER2013 in any form, to compare on (default: what the run was trained on)"
    )
    run_command(lambda: export(**vars(parser.parse_args())))


def export(run: str | None, out: Path, int8: bool = False, data: str | None = None) -> None:
    """Write the network of a run, of a checkpoint or of the package (None), and print what it is and was found.

    UserError for a mistake in the arguments; Failure, and no file, where it answers otherwise than PyTorch.
    """
    check_out(out, (".onnx", ".html"), f"<code>{MARKER}</code>" if out.suffix == ".html" else MARKER, "export")
    if missing := [name for name in EXTRA if importlib.util.find_spec(name) is None]:
        raise UserError(f"export needs {', '.join(missing)}: pip install -e '.[export]'")
    say_loading()
    from fer_lightning.results.members import open_member
    from fer_lightning.training.threads import sharing_cores

    with sharing_cores():
        member = open_member(run)
        model, fitted = to_onnx(member, int8, data, maps=out.suffix == ".html")
        if out.suffix == ".html":
            from fer_lightning.photographs.web_page import web_page

            content = web_page(model, fitted, synthetic=member.data["synthetic"]).encode()
        else:
            content = model.SerializeToString()
    write_file(out, content)
    print(f"{out}: {len(content) / 1e6:.1f} MB\n\n{LIMITS}")


def to_onnx(member: "Member", int8: bool, data: str | None, maps: bool) -> "tuple[onnx.ModelProto, Calibration]":
    """The network as a model that was compared with PyTorch; what was found is printed. Failure: too different."""
    from fer_lightning.results import calibration, onnx_file

    trial = faces_to_try(member, data)
    few = trial.pixels[:CHECKED]
    classifier, fitted = member.classifier, calibration.of(member.checkpoint)
    name = type(classifier.model).__name__
    synthetic = ", trained on SYNTHETIC FACES: what it says of real ones means nothing" * member.data["synthetic"]
    print(f"{name} of {member.name}{synthetic}\n{fitted}")

    expected = calibration.at_temperature(classifier.probabilities(few), fitted.temperature)
    about = {
        "made_by": MARKER,
        "network": name,
        "checkpoint": member.checkpoint.name if member.run is None else f"{member.run.name}/{member.checkpoint.name}",
        "checkpoint_sha256": member.sha256,
        "trained_on": member.summary()["trained_on"],
        "crop": "by the face's landmarks, as `predict` does it" if classifier.aligned else "FER2013's",
        "limits": LIMITS,
    }
    model = onnx_file.network_to_onnx(classifier, fitted, about, maps=maps)
    found = onnx_file.run(model, few)
    print(f"onnxruntime beside PyTorch on {len(few)} {trial.name}: {difference(expected, found)}")
    if not abs(found - expected).max() <= TOLERANCE:
        raise Failure(f"the file's probabilities differ from PyTorch's by more than {TOLERANCE}: it is not written")
    if int8:
        float32 = model
        model = onnx_file.to_int8(onnx_file.network_to_onnx(classifier, fitted, about, half=False), trial.typical)
        before, after = (onnx_file.run(each, trial.pixels) for each in (float32, model))
        print(f"int8 beside float32 on {len(before):,} {trial.name}: {difference(before, after)}")
        if trial.target is not None:
            print(f"accuracy on them: {right(before, trial.target):.4f} → {right(after, trial.target):.4f}")
        if same(before, after) < AGREEMENT:
            raise Failure(f"int8 changes more than {1 - AGREEMENT:.0%} of the classes: the file is not written")
    return model, fitted


class Trial(NamedTuple):
    """Faces uint8 (N, 48, 48) to compare answers on, and others, `typical`, that show which values are usual.

    target: int (N,), None where they say nothing of the network. name: which faces they are.
    """

    pixels: "np.ndarray"
    typical: "np.ndarray"
    target: "np.ndarray | None"
    name: str


def faces_to_try(member: "Member", data: str | None) -> Trial:
    """The validation images of the network in its data, or in that of --data; built-in faces where that is not here.

    UserError where --data names something else.
    """
    import numpy as np

    from fer_lightning.data.source import built_in_faces
    from fer_lightning.data.splits import make_splits
    from fer_lightning.photographs.aligned import seen_by
    from fer_lightning.results.fairness import validation_split
    from fer_lightning.results.members import open_data

    try:
        faces = open_data(data, member)
        val = validation_split(faces, [member])
    except UserError as error:
        if data is not None:
            raise
        print(f"its validation images are not here ({error}), so it is compared on built-in faces")
        built_in = built_in_faces().pixels
        return Trial(built_in[CHECKED:], built_in[:CHECKED], None, "built-in faces")
    train = make_splits(faces, member.data["val_split"], member.split_seed)["train"][:CHECKED]
    faces = seen_by(member.classifier, faces, np.concatenate([val, train]))
    return Trial(faces.pixels[val], faces.pixels[train], faces.labels[val], f"validation images of {faces.source}")


def difference(before: "np.ndarray", after: "np.ndarray") -> str:
    """In words, how far two times class probabilities (N, 7) are apart."""
    largest = float(abs(before - after).max())
    return f"probabilities differ by up to {largest:.2g}, {same(before, after):.2%} of the classes are the same"


def same(before: "np.ndarray", after: "np.ndarray") -> float:
    return right(after, before.argmax(axis=1))


def right(probabilities: "np.ndarray", target: "np.ndarray") -> float:
    return float((probabilities.argmax(axis=1) == target).mean())


if __name__ == "__main__":
    main()
