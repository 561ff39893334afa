"""Ratios to a plain baseline and to a hand-written loop, measured by turns: python -m bench [ROW …] [--quick]"""

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.rows import FULL, QUICK, ROWS, Bench
from bench.table import HEADS, in_columns, markdown, verdicts
from fer_lightning.data.faces import Faces
from fer_lightning.data.source import open_faces

PAIRS, QUICK_PAIRS = 5, 3


def main() -> None:
    rows = "\n".join(f"  {name:<8} {function.__doc__ or 'epochs and validation'}" for name, function in ROWS.items())
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        epilog=f"rows:\n{rows}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("rows", nargs="*", metavar="ROW", help="single rows (default: all)")
    parser.add_argument("--quick", action="store_true", help="small sizes, too small to judge a bar by")
    parser.add_argument("--pairs", type=int, help=f"pairs or runs of each (default: {PAIRS}, quick {QUICK_PAIRS})")
    parser.add_argument("--images", type=int, help=f"training images of a CNN epoch (default: {FULL.cnn[0]:,})")
    parser.add_argument("--against", choices=("baseline", "handwritten"), help="only one opponent in cnn and dnn")
    parser.add_argument("--gpu", action="store_true", help="cnn and dnn against the baseline there, a loader a core")
    parser.add_argument("--data", metavar="PATH", help="real rows (default: $FER2013_ROOT, ./data, else drawn faces)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write all single figures")
    parser.add_argument("--markdown", action="store_true", help="print the table once more, for a document")
    arguments = parser.parse_args()
    if unknown := set(arguments.rows) - set(ROWS):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(ROWS)}")

    faces = open_faces("auto", arguments.data)
    sizes = QUICK if arguments.quick else FULL
    if arguments.images:
        sizes = replace(sizes, cnn=(arguments.images, sizes.cnn[1]))
    head = header(faces, arguments.gpu)
    print("\n".join(f"{key:<9} {value}" for key, value in head.items()))
    if arguments.quick:
        print("quick     sizes are too small to judge a bar by")
    print(f"\n{in_columns(HEADS)}")
    lines, started = [], time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fer-bench-") as folder:
        os.environ["FER_LIGHTNING_CACHE"] = str(Path(folder) / "cache")  # of the workers too; the user's stays as it is
        bench = Bench(faces, Path(folder), arguments.pairs or (QUICK_PAIRS if arguments.quick else PAIRS), sizes)
        if arguments.gpu:
            bench = replace(bench, gpu=True, against=("baseline",))
        elif arguments.against:
            bench = replace(bench, against=(arguments.against,))
        for name in arguments.rows or ROWS:
            for line in ROWS[name](bench):
                lines.append(line)
                print(in_columns(line.cells()), flush=True)
    print("\n" + "\n".join(verdicts(lines)))
    print(f"{time.perf_counter() - started:.0f} s in all", file=sys.stderr)
    if arguments.markdown:
        print(f"\n{markdown(lines)}")
    if arguments.json:
        record = {"header": head, "quick": arguments.quick, "lines": [line.record() for line in lines]}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")


def header(faces: Faces, gpu: bool = False) -> dict[str, Any]:
    """What a reader must know to compare the figures with others."""
    import pandas
    import PIL
    import pytorch_lightning
    import torch
    import torchvision

    from fer_lightning import __version__
    from fer_lightning.settings.build import best_precision
    from fer_lightning.training.provenance import processor

    machine = f"{processor()}, {os.cpu_count()} cores"
    if gpu:
        machine = f"{torch.cuda.get_device_name()}; {machine}"
    rows = "drawn faces" if faces.synthetic else f"{len(faces):,} real rows of FER2013"
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    return {
        "machine": f"{machine}; {best_precision('gpu' if gpu else 'cpu')}",
        "threads": f"{torch.get_num_threads()} (OMP_NUM_THREADS {threads})",
        "versions": f"fer_lightning {__version__}, Python {platform.python_version()}, torch {torch.__version__}, "
        f"Lightning {pytorch_lightning.__version__},",
        "": f"torchvision {torchvision.__version__}, pandas {pandas.__version__}, Pillow {PIL.__version__}",
        "data": f"{rows}; where more are needed, they are repeated with noise",
    }


if __name__ == "__main__":
    main()
