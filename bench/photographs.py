"""How `predict` does on faces whose label is known: python -m bench.photographs [PATH] [--every N] [--run RUN]

Every N-th validation and PublicTest image of FER2013 is made a photograph with the face in its middle, and answered;
then those of validation are spoilt: tilted, small, in bad light, half hidden. Prints a table for docs/photographs.md.
PATH: FER2013 in any form (default: where it is found).
"""

import argparse
from collections.abc import Callable
from functools import partial

import numpy as np
from PIL import Image, ImageFilter
from rich.progress import track

from fer_lightning.data.faces import SIZE
from fer_lightning.data.source import open_faces
from fer_lightning.data.splits import make_splits
from fer_lightning.errors import run_command
from fer_lightning.photographs.answers import Network, open_network
from fer_lightning.photographs.faces import find_faces
from fer_lightning.results.calibration import answered
from fer_lightning.results.scores import expected_calibration_error

SCALE = 4  # of a photograph's face to FER2013's
MARGIN = SIZE // 2  # around it, its mirror image


def photograph(image: np.ndarray, face: int = SCALE * SIZE) -> Image.Image:
    """A gray photograph in which the image, uint8 (48, 48), has `face` pixels a side, in the middle."""
    padded = Image.fromarray(np.pad(image, MARGIN, mode="reflect"))
    return padded.resize((2 * face, 2 * face), Image.Resampling.BICUBIC)


def tilted(image: np.ndarray, degrees: float) -> Image.Image:
    return photograph(image).rotate(degrees, Image.Resampling.BICUBIC)


def noisy(pixels: np.ndarray) -> Image.Image:
    """With the noise of a sensor."""
    noise = np.random.default_rng(0).normal(0, 3, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def dark(image: np.ndarray, share: float) -> Image.Image:
    """With so much of the light."""
    return noisy(np.asarray(photograph(image)) * share)


def hazy(image: np.ndarray, share: float) -> Image.Image:
    """With so much of the contrast."""
    return noisy(128 + (np.asarray(photograph(image)) - 128.0) * share)


def backlit(image: np.ndarray, share: float) -> Image.Image:
    """The face with so much of the light, and bright around it."""
    pixels = np.asarray(photograph(image)).astype(float)
    at = (np.arange(len(pixels)) + 0.5) / len(pixels) - 0.5
    beyond = 1 / (1 + np.exp(20 * (1 - np.hypot(at[None, :] / 0.27, at[:, None] / 0.33))))  # of an ellipse, softly
    return noisy((1 - beyond) * pixels * share + beyond * (200 + 0.2 * pixels))


def hidden(image: np.ndarray, rows: slice, columns: slice) -> Image.Image:
    covered = image.copy()
    covered[rows, columns] = 128
    return photograph(covered)


def blurred(image: np.ndarray, pixels: float) -> Image.Image:
    return photograph(image).filter(ImageFilter.GaussianBlur(SCALE * pixels))


ALL, HALF = slice(None), SIZE // 2
SPOILT: dict[str, Callable[[np.ndarray], Image.Image]] = {
    "tilted by 20°": partial(tilted, degrees=20),
    "tilted by 45°": partial(tilted, degrees=45),
    "lying on its side": partial(tilted, degrees=90),
    "upside down": partial(tilted, degrees=180),
    "24 pixels large": partial(photograph, face=24),
    "12 pixels large": partial(photograph, face=12),
    "out of focus (2 of its 48 pixels)": partial(blurred, pixels=2),
    "dim, three tenths of the light": partial(dark, share=0.3),
    "dark, a tenth of the light": partial(dark, share=0.1),
    "hazy, a fifth of the contrast": partial(hazy, share=0.2),
    "against the light, the face at 0.15 of it": partial(backlit, share=0.15),
    "mouth hidden": partial(hidden, rows=slice(30, None), columns=ALL),
    "eyes hidden": partial(hidden, rows=slice(10, 24), columns=ALL),
    "left half hidden": partial(hidden, rows=ALL, columns=slice(0, HALF)),
}


def answers(network: Network, images: np.ndarray, make: Callable[[np.ndarray], Image.Image], what: str) -> np.ndarray:
    """float (N, 7) of uint8 (N, 48, 48): the answer for the largest face of each as a photograph; NaN without one."""
    found = np.full((len(images), 7), np.nan)
    for index, image in enumerate(track(images, what)):
        if faces := find_faces(np.asarray(make(image).convert("RGB"))):
            found[index] = network.probabilities(faces[0].variants()[None])[0]
    return found


def row(name: str, probabilities: np.ndarray, target: np.ndarray, threshold: float) -> str:
    seen = ~np.isnan(probabilities[:, 0])
    probabilities, target = probabilities[seen], target[seen]
    right = probabilities.argmax(1) == target
    coverage, accuracy = answered(probabilities, target, threshold)
    error = expected_calibration_error(probabilities, target)
    cells = [name, f"{len(seen):,}", f"{seen.mean():.1%}", f"{right.mean():.3f}", f"{coverage:.1%}", f"{accuracy:.3f}"]
    return f"| {' | '.join([*cells, f'{error:.3f}'])} |"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.photographs", description=__doc__)
    parser.add_argument("path", nargs="?", help="FER2013 in any form")
    parser.add_argument("--every", type=int, default=1, help="of the images (default: 1, all of them, an hour)")
    parser.add_argument("--run", help="another network than the package's")
    options = parser.parse_args()

    def work() -> None:
        faces = open_faces("fer2013", options.path)
        network = open_network(options.run)
        data = network.member.data
        splits = make_splits(faces, data["val_split"], data["split_seed"])
        print(network)
        print("| | images | face found | right | answered | right of these | calibration error |")
        print("|---|---|---|---|---|---|---|", flush=True)
        for name, split in {"validation": "val", "PublicTest": "public"}.items():
            where = splits[split][:: options.every]
            found = answers(network, faces.pixels[where], photograph, name)
            print(row(name, found, faces.labels[where], network.calibration.threshold), flush=True)
        where = splits["val"][:: options.every]
        for name, make in SPOILT.items():
            found = answers(network, faces.pixels[where], make, name)
            print(row(name, found, faces.labels[where], network.calibration.threshold), flush=True)

    run_command(work)


if __name__ == "__main__":
    main()
