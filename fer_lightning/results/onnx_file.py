"""A network as one ONNX file that is complete: from uint8 faces to calibrated probabilities, without this package."""

import json

import onnx
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from fer_lightning import __version__
from fer_lightning.data.faces import CLASSES, SIZE
from fer_lightning.results.calibration import Calibration
from fer_lightning.results.checkpoint import Classifier

META = "fer_lightning"  # an entry of the metadata that every such file has: the version
OPSET = 18  # of onnxruntime 1.14 (2023) and later
FACES, PROBABILITIES = "faces", "probabilities"


class Complete(nn.Module):
    """uint8 (N, 1, 48, 48), gray, 0 black, to class probabilities float32 (N, 7)."""

    def __init__(self, classifier: Classifier, temperature: float) -> None:
        super().__init__()
        self.model, self.normalize, self.temperature = classifier.model, classifier.normalize, temperature

    def forward(self, faces: Tensor) -> Tensor:
        return (self.model(self.normalize(faces.float() / 255)) / self.temperature).softmax(1)


def network_to_onnx(classifier: Classifier, calibration: Calibration, about: dict[str, str]) -> onnx.ModelProto:
    """The network in eval mode as a model of one input, `faces`, and one output, `probabilities`: see `Complete`.

    Weights whose values float16 can hold, such as those that `in_half` has rounded, are stored as float16 and made
    float32 again when the model is loaded: half the size, and any processor computes with them. about: further entries
    of the metadata.
    """
    model = Complete(classifier, calibration.temperature).eval()
    example = torch.zeros(2, 1, SIZE, SIZE, dtype=torch.uint8)
    program = torch.onnx.export(
        model,
        (example,),
        dynamo=True,
        verbose=False,
        opset_version=OPSET,
        input_names=[FACES],
        output_names=[PROBABILITIES],
        dynamic_shapes=({0: torch.export.Dim("N")},),
    )
    assert program is not None
    made = program.model_proto
    forget_origin(made.graph)
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


def in_half(classifier: Classifier) -> bool:
    """Round the network's weights to float16, in place, and leave them float32; whether that changed any.

    A tensor with a value beyond float16's range stays as it is.
    """
    changed = False
    for tensor in classifier.model.state_dict().values():
        if tensor.is_floating_point() and (half := tensor.half().float()).isfinite().all():
            changed |= not torch.equal(half, tensor)
            tensor.copy_(half)
    return changed


def forget_origin(graph: onnx.GraphProto) -> None:
    """Remove what torch tells of where each node came from: files and lines on this machine."""
    for each in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        each.ClearField("metadata_props")
    graph.ClearField("metadata_props")


def store_half(graph: onnx.GraphProto) -> None:
    """Store the float32 constants whose values float16 can hold as such, each with a node that makes it float32."""
    casts = []
    for constant in graph.initializer:
        values = numpy_helper.to_array(constant)
        if values.ndim and values.dtype == "float32" and (values == (half := values.astype("float16"))).all():
            name = constant.name
            constant.CopyFrom(numpy_helper.from_array(half, f"{name}.half"))
            casts.append(onnx.helper.make_node("Cast", [constant.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
