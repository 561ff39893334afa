"""Faces in a person's own pictures: found, brought to 48×48 as FER2013's are, and read."""

import argparse

LIMITS = """\
It guesses the label that FER2013's taggers would have given to a picture of a face, one of seven. That is
not what a person feels. It must not be used to judge anyone: not in hiring, teaching, policing or medicine.
No identity, no tracking; nothing is kept."""
NETWORK = (
    "a run's folder (its best.ckpt is meant), a checkpoint file or a safetensors file of ours "
    "(default: the network that comes with the package)"
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What all commands about pictures take beside the pictures."""
    parser.add_argument("--run", metavar="RUN|CKPT", help=NETWORK)
    parser.add_argument(
        "--no-detect", action="store_true", help="take each picture as a ready face, cropped as FER2013's are"
    )
    parser.add_argument(
        "--boxes",
        metavar="BOX",
        nargs="+",
        help="where the faces are: LEFT,TOP,WIDTH,HEIGHT in pixels, several of one picture, or a csv with the columns "
        "picture,left,top,width,height",
    )
