"""Score a checkpoint: python -m fer_lightning.evaluate RUN [--split public] [--tta] [--compare OTHER] …"""

import argparse
import os
from pathlib import Path
from typing import NoReturn

from fer_lightning.errors import command_parser, run_command, say_loading

DESCRIPTION = """\
Score a run's best checkpoint, any checkpoint, or the network that comes with the package:
accuracy with its 95 % Wilson interval, the same on the images that do not also stand among its
Training rows (pixel for pixel), balanced accuracy, log loss, expected calibration error, precision,
recall and F1 of each class. Writes evaluation.json, predictions.csv and each split's confusion matrix into
RUN/evaluation/<split>[-tta][-ensemble]/ (the package's network: into ./evaluation/). The same evaluation
again replaces its files; another one gets a folder with a number, and a run's own files are never touched."""

EPILOG = """\
examples:
  python -m fer_lightning.evaluate outputs/2026-01-31/12-00-00-cnn-norm_aug
  python -m fer_lightning.evaluate RUN --split public --votes fer2013new.csv
  python -m fer_lightning.evaluate RUN --tta --compare OTHER_RUN
  python -m fer_lightning.evaluate RUN --ensemble RUN2 RUN3 --split private"""


def name(argument: str) -> str:
    """An argument with `~` resolved, as the shell leaves it in --out=~/x; ArgumentTypeError where it is empty."""
    if not argument:  # a script whose variable is not set does not mean the default
        raise argparse.ArgumentTypeError("it is empty (a variable that is not set?)")
    return os.path.expanduser(argument)


def path(argument: str) -> Path:
    return Path(name(argument))


def parser() -> argparse.ArgumentParser:
    made = command_parser("evaluate", DESCRIPTION, EPILOG)
    made.add_argument(
        "run",
        metavar="RUN|CKPT",
        nargs="?",
        type=name,
        help="a run's folder (its best.ckpt is meant), a checkpoint file or a safetensors file of ours "
        "(default: the network that comes with the package)",
    )
    made.add_argument(
        "--data",
        metavar="PATH",
        type=name,
        help="FER2013 in any form, or `synthetic` (default: what the run was trained on)",
    )
    made.add_argument(
        "--split",
        choices=("val", "public", "private", "all"),
        default="all",
        help="the run's validation split, PublicTest, PrivateTest, or all of them that there are (default: all)",
    )
    made.add_argument(
        "--tta",
        nargs="?",
        const="shifted",
        choices=("shifted", "aligned"),
        help="average over ten copies of each image, mirrored and shifted by 2 pixels (shifted, also meant by --tta "
        "alone), or over the image and its face cropped as `predict` does it (aligned); tested against plain answers",
    )
    made.add_argument(
        "--ensemble",
        nargs="+",
        metavar="CKPT",
        type=name,
        default=[],
        help="average the probabilities with these checkpoints or runs",
    )
    made.add_argument(
        "--compare", metavar="OTHER", type=name, help="test the difference to this run or checkpoint (McNemar)"
    )
    made.add_argument(
        "--votes", metavar="CSV", type=path, help="FER+ votes (fer2013new.csv): accuracy by how many taggers agree"
    )
    made.add_argument(
        "--network",
        metavar="MODULE.CLASS",
        dest="networks",
        type=name,
        action="append",
        default=[],
        help="a network of your own that a checkpoint holds: its module is imported, so it runs (may be repeated)",
    )
    made.add_argument("--out", metavar="DIR", type=path, help="write into this folder instead")
    return made


def main() -> NoReturn:
    """The command: exit status 0 done, 1 failed, 2 a mistake in the input, 130 interrupted."""
    run_command(work)


def work() -> None:
    options = vars(parser().parse_args())
    run, others = options.pop("run"), options.pop("ensemble")
    say_loading()
    from fer_lightning.evaluate.evaluation import evaluate  # torch and Lightning: not before --help

    evaluate([run, *others], **options)


if __name__ == "__main__":
    main()
