"""The median landmarks of FER2013's Training faces, as align.py has them: python -m bench.landmarks [PATH]

By the detector, on each image as `find_faces` looks at a picture of 48×48 pixels. PATH: FER2013 in any form (default:
where it is found).
"""

import argparse

import numpy as np
from rich.progress import track

from fer_lightning.data.faces import TRAINING
from fer_lightning.data.source import open_faces
from fer_lightning.errors import run_command
from fer_lightning.photographs.faces import BATCH, detections


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.landmarks", description=__doc__)
    parser.add_argument("path", nargs="?", help="FER2013 in any form")
    path = parser.parse_args().path

    def work() -> None:
        faces = open_faces("fer2013", path)
        where = faces.where(TRAINING)
        found: list[np.ndarray] = []
        for start in track(range(0, len(where), BATCH), "looking"):
            batch = faces.pixels[where[start : start + BATCH]]
            rows = detections(np.repeat(batch[..., None], 3, axis=3))
            found += [each[0, 5:].reshape(-1, 2) for each in rows if len(each)]
        points = np.stack(found)
        quartiles = np.quantile(points, (0.25, 0.75), axis=0)
        print(f"{len(found):,} of {len(where):,} Training images: a face found")
        print(f"median landmarks (x, y): {np.median(points, 0).round(2).tolist()}")
        print(f"quartiles apart: {(quartiles[1] - quartiles[0]).round(2).tolist()}")

    run_command(work)


if __name__ == "__main__":
    main()
