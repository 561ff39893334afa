"""A network as one ONNX file that is complete: from uint8 faces to calibrated probabilities, without this package."""

import json
import logging
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static

from fer_lightning import __version__
from fer_lightning.data.datamodule import EVAL_BATCH
from fer_lightning.data.faces import CLASSES, SIZE
from fer_lightning.models import CNN
from fer_lightning.results.calibration import Calibration
from fer_lightning.results.checkpoint import Classifier
from fer_lightning.results.onnx_networks import Complete, WithMaps

META = "fer_lightning"  # an entry of the metadata that every such file has: the version
OPSET = 18  # of onnxruntime 1.14 (2023) and later
FACES, PROBABILITIES, MAPS = "faces", "probabilities", "maps"


def network_to_onnx(
    classifier: Classifier, calibration: Calibration, about: dict[str, str], half: bool = True, maps: bool = False
) -> onnx.ModelProto:
    """The network in eval mode as a model of one input, `faces`, and one output, `probabilities`: see `Complete`.

    half: weights are stored as float16 and made float32 again when the model is loaded: half the size, and any
    processor computes with them. about: further entries of the metadata. maps: of a CNN a second output, `maps`, see
    `onnx_networks.WithMaps`; of other networks nothing.
    """
    maps = maps and isinstance(classifier.model, CNN)
    model = (WithMaps if maps else Complete)(classifier, calibration.temperature).eval()
    example = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.uint8)
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=[FACES],
        output_names=[PROBABILITIES, MAPS] if maps else [PROBABILITIES],
        dynamic_shapes=({0: torch.export.Dim("N")},),
    )
    assert program is not None
    made = program.model_proto
    forget_origin(made.graph)
    if half:
        store_half(made.graph)
    metadata = {
        META: __version__,
        "classes": json.dumps(CLASSES),
        "mean": repr(classifier.normalize.mean),
        "std": repr(classifier.normalize.std),
        "temperature": repr(calibration.temperature),
        "threshold": repr(calibration.threshold),
        **about,
    }
    onnx.helper.set_model_props(made, metadata)
    return made


def run(model: onnx.ModelProto, pixels: np.ndarray) -> np.ndarray:
    """Class probabilities, float32 (N, 7), of uint8 (N, 48, 48), by onnxruntime on as many threads as torch takes."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    batches = [pixels[i : i + EVAL_BATCH, None] for i in range(0, len(pixels), EVAL_BATCH)]
    return np.concatenate([session.run([PROBABILITIES], {FACES: batch})[0] for batch in batches])


class Typical(CalibrationDataReader):
    """Faces uint8 (N, 48, 48), one at a time, from which the quantizer takes the range of each activation."""

    def __init__(self, pixels: np.ndarray) -> None:
        self.faces = iter(pixels[:, None, None])

    def get_next(self) -> dict[str, np.ndarray] | None:
        face = next(self.faces, None)
        return None if face is None else {FACES: face}


def to_int8(model: onnx.ModelProto, typical: np.ndarray) -> onnx.ModelProto:
    """The model of float32 weights with convolutions and linear layers in integers of 8 bits; typical: see `Typical`.

    Static: the other kind, which takes the ranges anew from each batch, was seven times slower than float32. Batch
    normalization in integers too changed twice as many classes.
    """
    logging.disable(logging.WARNING)  # it advises to fold batch normalization, which no layer before it could take up
    try:
        with tempfile.TemporaryDirectory() as scratch:
            path = Path(scratch) / "int8.onnx"
            quantize_static(model, path, Typical(typical), op_types_to_quantize=["Conv", "Gemm"], per_channel=True)
            made = onnx.load(path)
    finally:
        logging.disable(logging.NOTSET)
    return made


def forget_origin(graph: onnx.GraphProto) -> None:
    """Remove what torch tells of where each node came from: files and lines on this machine."""
    for each in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        each.ClearField("metadata_props")
    graph.ClearField("metadata_props")


def store_half(graph: onnx.GraphProto) -> None:
    """Store matrices and kernels as float16, each with a node that makes it float32, but what lies beyond its range.

    Vectors stay as they are: less than a hundredth of the whole.
    """
    casts = []
    for constant in graph.initializer:
        if constant.data_type != onnx.TensorProto.FLOAT or len(constant.dims) < 2:
            continue
        with np.errstate(over="ignore"):
            half = numpy_helper.to_array(constant).astype(np.float16)
        if np.isfinite(half).all():
            name, stored = constant.name, f"{constant.name}.half"
            casts.append(onnx.helper.make_node("Cast", [stored], [name], to=onnx.TensorProto.FLOAT))
            constant.CopyFrom(numpy_helper.from_array(half, stored))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
