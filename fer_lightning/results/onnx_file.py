"""A network as one ONNX file that is complete: from uint8 faces to calibrated probabilities, without this package."""

import json
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import torch.nn.functional as F
from onnx import numpy_helper
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from torch import Tensor, nn

from fer_lightning import __version__
from fer_lightning.data.datamodule import EVAL_BATCH
from fer_lightning.data.faces import CLASSES, SIZE
from fer_lightning.models import CNN
from fer_lightning.results.calibration import Calibration
from fer_lightning.results.checkpoint import Classifier

META = "fer_lightning"  # an entry of the metadata that every such file has: the version
OPSET = 18  # of onnxruntime 1.14 (2023) and later
FACES, PROBABILITIES, MAPS = "faces", "probabilities", "maps"


def network_to_onnx(
    classifier: Classifier, calibration: Calibration, about: dict[str, str], half: bool = True, maps: bool = False
) -> onnx.ModelProto:
    """The network in eval mode as a model of one input, `faces`, and one output, `probabilities`: see `Complete`.

    half: weights are stored as float16 and made float32 again when the model is loaded: half the size, and any
    processor computes with them. about: further entries of the metadata. maps: of a CNN a second output, `maps`, see
    `WithMaps`; of other networks nothing.
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


# --- the networks, with what stands around them there


class Complete(nn.Module):
    """uint8 (N, 1, 48, 48), gray, 0 black, to class probabilities float32 (N, 7)."""

    def __init__(self, classifier: Classifier, temperature: float) -> None:
        super().__init__()
        self.model, self.normalize, self.temperature = classifier.model, classifier.normalize, temperature

    def forward(self, faces: Tensor) -> Tensor:
        return (self.model(self.normalize(faces.float() / 255)) / self.temperature).softmax(1)


class WithMaps(Complete):
    """A CNN from uint8 (N, 1, 48, 48) to class probabilities (N, 7) and maps (N, 7, 48, 48), float32.

    A map is `maps.grad_cam` of a class's logit at conv3. torch exports no gradients, so that of the CNN's last layers,
    which stand in a row, is written by hand.
    """

    def forward(self, faces: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        model = self.model
        assert isinstance(model, CNN)
        x = self.normalize(faces.float() / 255)
        for block in (model.conv0, model.conv1, model.conv2, model.conv3):
            x = block(x)
        channels = x
        layers: list[Any] = [*model.conv4, nn.Flatten(), *model.fc1, *model.fc2, model.fc3]
        conv, *after = layers
        x = conv(x)
        inputs = []
        for layer in after:
            inputs.append(x)
            x = layer(x)
        gradient = torch.eye(x.shape[1]).expand(x.shape[0], -1, -1)  # (N, 7, …): of each logit; len(x) would fix N
        for layer, before in zip(reversed(after), reversed(inputs), strict=True):
            gradient = backward(layer, before, gradient)
        # Of a shift of a whole channel before `conv`: each weight times the gradient where it meets a pixel of the map
        meets = F.unfold(torch.ones(1, 1, *channels.shape[2:]), conv.kernel_size, padding=conv.padding)[0]
        weights = conv.weight.permute(0, 2, 3, 1).flatten(0, 2)  # (outputs of conv · 9, its inputs)
        means = (gradient.flatten(3) @ meets.T).flatten(2) @ weights / meets.shape[1]  # (N, 7, inputs)
        maps = (means @ channels.flatten(2)).relu().unflatten(2, channels.shape[2:])
        return (x / self.temperature).softmax(1), F.interpolate(maps, (SIZE, SIZE), mode="bilinear")


def backward(layer: nn.Module, before: Tensor, gradient: Tensor) -> Tensor:
    """The gradients (N, 7, …) with respect to what a layer was given, (N, …), of those with respect to its output."""
    match layer:
        case nn.Linear():
            return gradient @ layer.weight
        case nn.ReLU() | nn.LeakyReLU():
            return gradient * torch.where(before > 0, 1.0, getattr(layer, "negative_slope", 0.0))[:, None]
        case nn.BatchNorm1d() | nn.BatchNorm2d():
            assert layer.running_var is not None
            factor = layer.weight * (layer.running_var + layer.eps).rsqrt()
            return gradient * factor.reshape(-1, *[1] * (before.ndim - 2))
        case nn.MaxPool2d():
            largest = before == F.interpolate(layer(before), scale_factor=2)
            spread = F.interpolate(gradient.flatten(0, 1), scale_factor=2)
            return spread.unflatten(0, gradient.shape[:2]) * largest[:, None]
        case nn.Flatten():
            return gradient.unflatten(2, before.shape[1:])
        case nn.Dropout() | nn.Dropout2d():
            return gradient
    raise TypeError(f"no gradient is known of {layer}")
