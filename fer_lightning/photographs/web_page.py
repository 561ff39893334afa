"""A page to try a network on one's own pictures: one HTML file that computes everything itself.

What it is made of: `web/` (worker.js, which does what the modules beside this one do; page.js, what a person sees; and
what `bench/web.py` has put there), and results/templates/try.html.j2.
"""

import base64
import gzip
import hashlib
from pathlib import Path

import onnx
from markupsafe import Markup

from fer_lightning import __version__
from fer_lightning.data.faces import CLASSES, SIZE
from fer_lightning.photographs import LIMITS, align, detector, faces, light
from fer_lightning.results import onnx_file
from fer_lightning.results.calibration import Calibration
from fer_lightning.results.page import render

WEB = Path(__file__).parent / "web"
PACKAGE = Path(__file__).parents[1]
NOTICE = next(path for path in (PACKAGE / "NOTICE", PACKAGE.parent / "NOTICE") if path.is_file())  # wheel, checkout
RUNTIME, WASM, DETECTOR = "onnxruntime-web.mjs.gz", "onnxruntime-web.wasm.gz", "yunet.onnx.gz"
NOTICES = "onnxruntime-web.notices.txt.gz"  # of what is in the wasm: Protobuf, Eigen, XNNPACK and others
# What worker.js computes with, under the names that it has here
CONSTANTS = {
    faces: ("LEAST_SCORE", "SHORTEST", "USUAL", "LARGER", "SMALL", "SURE", "TURNS", "LOOKS", "LEAST_CHANGED", "AHEAD"),
    detector: ("MULTIPLE", "OVERLAP"),
    align: ("MOST_SAMPLES",),
    light: ("TRAINING_LEVELS", "DARKEST", "BRIGHTEST", "FEW", "ENOUGH", "NOISE", "SMOOTHED"),
    onnx_file: ("FACES", "PROBABILITIES", "MAPS"),
}


def constants(threshold: float) -> dict[str, object]:
    """What both scripts compute with, as JSON can hold it; a complex number is a pair."""
    return {
        **{name: getattr(module, name) for module, names in CONSTANTS.items() for name in names},
        "MIDDLE": [light.MIDDLE.start, light.MIDDLE.stop],
        "CLASSES": CLASSES,
        "SIZE": SIZE,
        "THRESHOLD": threshold,
        "TRAINING_LANDMARKS": align.TRAINING_LANDMARKS.tolist(),
        "VARIANTS": [
            {name: [complex(z).real, complex(z).imag] for name, z in each._asdict().items()} for each in align.VARIANTS
        ],
    }


def web_page(classifier: onnx.ModelProto, calibration: Calibration, synthetic: bool) -> str:
    """The page as HTML, with a network that `onnx_file.network_to_onnx` made.

    synthetic: whether it was trained on the built-in faces.
    """
    about = {entry.key: entry.value for entry in classifier.metadata_props}
    script = (WEB / "page.js").read_text(encoding="utf-8")
    packed = {
        "runtime": (WEB / RUNTIME).read_bytes(),
        "wasm": (WEB / WASM).read_bytes(),
        "detector": (WEB / DETECTOR).read_bytes(),
        "classifier": gzip.compress(classifier.SerializeToString(), mtime=0),
    }
    return render(
        "try.html.j2",
        title="Try the network",
        about=about,
        maps=len(classifier.graph.output) > 1,
        synthetic=synthetic,
        calibration=calibration,
        crops=2 * len(align.VARIANTS),
        limits=LIMITS,
        version=__version__,
        constants=constants(calibration.threshold),
        worker=Markup((WEB / "worker.js").read_text(encoding="utf-8")),
        packed={name: Markup(base64.b64encode(content).decode()) for name, content in packed.items()},
        script=Markup(script),
        digest=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
        notice=NOTICE.read_text(encoding="utf-8") + gzip.decompress((WEB / NOTICES).read_bytes()).decode(),
    )
