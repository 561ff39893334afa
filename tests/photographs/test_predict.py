"""The command `predict`: what it prints and writes for pictures and csv files, and what it refuses."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from commands import Ended, run_command
from PIL import Image

from fer_lightning.data.faces import CLASSES, Faces
from fer_lightning.photographs import LIMITS, annotate, answers
from fer_lightning.photographs.faces import boxed, find_faces, whole
from fer_lightning.predict import COLUMNS, main
from fer_lightning.results.calibration import UNSURE, Calibration, at_temperature, of
from fer_lightning.results.checkpoint import load
from fer_lightning.results.weights import packaged

pytest_plugins = ["photographs.conftest"]


def predict(*arguments: object) -> Ended:
    return run_command(main, *arguments)


def refusal(*arguments: object) -> str:
    ended = predict(*arguments)
    assert (ended.status, ended.out) == (2, "")
    return ended.err.removeprefix("fer_lightning: ")
