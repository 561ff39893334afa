"""A page to try a network on one's own pictures: one HTML file that computes everything itself.

What it is made of: `web/` (worker.js, which does what the modules beside this one do; page.js, what a person sees; and
what `bench/web.py` has put there), and results/templates/try.html.j2.
"""

import base64
import gzip
import hashlib
from pathlib import Path

from markupsafe import Markup

from fer_lightning import __version__
from fer_lightning.data.faces import CLASSES, SIZE
from fer_lightning.photographs import LIMITS, align, detector, faces
from fer_lightning.results import onnx_file
from fer_lightning.results.calibration import Calibration
from fer_lightning.results.page import render

WEB = Path(__file__).parent / "web"
PACKAGE = Path(__file__).parents[1]
NOTICE = next(path for path in (PACKAGE / "NOTICE", PACKAGE.parent / "NOTICE") if path.is_file())  # wheel, checkout
RUNTIME, WASM, DETECTOR = "onnxruntime-web.mjs.gz", "onnxruntime-web.wasm.gz", "yunet.onnx.gz"
# What worker.js computes with, under the names that it has here
CONSTANTS = {
    faces: ("LEAST_SCORE", "SHORTEST", "USUAL", "LARGER", "SMALL", "SURE", "TURNS", "LEAST_TURNED", "AHEAD"),
    detector: ("MULTIPLE", "OVERLAP"),
    align: ("MOST_SAMPLES",),
    onnx_file: ("FACES", "PROBABILITIES"),
}


def constants(threshold: float) -> dict[str, object]:
    """What both scripts compute with, as JSON can hold it; a complex number is a pair."""
    return {
        **{name: getattr(module, name) for module, names in CONSTANTS.items() for name in names},
        "CLASSES": CLASSES,
        "SIZE": SIZE,
        "THRESHOLD": threshold,
        "TRAINING_LANDMARKS": align.TRAINING_LANDMARKS.tolist(),
        "VARIANTS": [
            {name: [complex(z).real, complex(z).imag] for name, z in each._asdict().items()} for each in align.VARIANTS
        ],
    }


def web_page(network: str, classifier: bytes, calibration: Calibration, synthetic: bool) -> str:
    """The page as HTML.

    network: its name for a person. classifier: it, as the ONNX file that `onnx_file.network_to_onnx` makes.
    synthetic: whether it was trained on the built-in faces.
    """
    script = (WEB / "page.js").read_text(encoding="utf-8")
    packed = {
        **{
            name: (WEB / file).read_bytes()
            for name, file in {"runtime": RUNTIME, "wasm": WASM, "detector": DETECTOR}.items()
        },
        "classifier": gzip.compress(classifier, mtime=0),
    }
    return render(
        "try.html.j2",
        title="Try the network",
        network=network,
        classes=CLASSES,
        synthetic=synthetic,
        uncalibrated=calibration.n is None,
        calibration=calibration,
        views=2 * len(align.VARIANTS),
        limits=LIMITS,
        version=__version__,
        constants=constants(calibration.threshold),
        worker=Markup((WEB / "worker.js").read_text(encoding="utf-8")),
        packed={name: Markup(base64.b64encode(content).decode()) for name, content in packed.items()},
        script=Markup(script),
        script_digest=f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}",
        notice=NOTICE.read_text(encoding="utf-8"),
    )
