"""From a checkpoint to class probabilities: what training, evaluation and every later command share.

A checkpoint may come from anywhere: no code in it runs, and it does not decide what is imported, see `find_network`.
"""

import importlib
import os
import zipfile
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from fer_lightning import models
from fer_lightning.data.augment import Normalize
from fer_lightning.data.datamodule import DATA_STATE, EVAL_BATCH, Batches, shared_tensor, unit
from fer_lightning.data.faces import CLASSES
from fer_lightning.data.faults import in_a_line, shown
from fer_lightning.errors import UserError
from fer_lightning.models import EmotionClassifier
from fer_lightning.results.paths import best_checkpoint, holds_run, in_order, last_checkpoint, nearest
from fer_lightning.results.weights import SUFFIX, read_weights

TTA_SHIFT = 2  # pixels
TTA_COPIES = 10
MANY = 10_000  # values of hyper_parameters, which messages may show
MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


class Checked(BaseModel):
    """No type is converted into another; keys that are not named may hold anything."""

    model_config = ConfigDict(strict=True, arbitrary_types_allowed=True, allow_inf_nan=False)


def _int64_row(digests: Tensor) -> Tensor:
    if digests.dtype != torch.int64 or digests.ndim != 1 or digests.layout != torch.strided or digests.is_meta:
        raise ValueError(f"{digests.dtype} of shape {tuple(digests.shape)}; right: int64 (N,)")
    return digests


def _primitives(arguments: dict[str, Any]) -> dict[str, Any]:
    """Numbers, texts, truth values, nulls, and lists and dictionaries of them: MANY at most, those seen twice included.

    A list that holds one list twice, which holds one list twice, and so on, would take for ever to print.
    """
    waiting: list[Any] = [arguments]
    for _ in range(MANY):
        if not waiting:
            return arguments
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += [*value, *value.values()]
        elif isinstance(value, list | tuple):
            waiting += value
        elif not isinstance(value, str | int | float | None):
            raise ValueError(f"a {type(value).__name__}; right: primitives")
    raise ValueError(f"more than {MANY:,} values")


class Split(Checked):
    """Fingerprints of the images that a network was trained and validated on."""

    train: str
    val: str


class DataState(Checked):
    """`FERDataModule.state_dict()`."""

    classes: list[str] = Field(max_length=99)
    mean: float = Field(ge=0, le=1)
    std: float = Field(gt=0, le=1)
    val_split: Annotated[float, Field(gt=0, lt=1)] | Literal["public"]
    split_seed: int = Field(ge=0)
    seed: int
    synthetic: bool
    aligned: bool = False  # earlier ones lack it
    split: Split
    training_digests: Annotated[Tensor, AfterValidator(_int64_row)]


class Contents(Checked):
    """What of a checkpoint makes its network again and scores it; best.ckpt, last.ckpt and safetensors all have it."""

    network: str
    hyper_parameters: Annotated[dict[str, Any], AfterValidator(_primitives)]
    state_dict: dict[str, Tensor]
    data: DataState = Field(validation_alias=DATA_STATE)


def find_checkpoint(path: Path) -> Path:
    """The file that a run's folder or a checkpoint's path means. UserError, with what is near, where there is none."""
    checkpoint = best_checkpoint(path)
    if os.path.isfile(checkpoint):
        return checkpoint
    if not os.path.exists(path):
        raise UserError(f"{path}: no such run or checkpoint{nearest(path)}; `python -m fer_lightning.runs` lists runs")
    if holds_run(path):
        last = last_checkpoint(path)
        hint = f"; its newest state is {last}" if last.is_file() else ""
        raise UserError(
            f"{path}: checkpoints/best.ckpt is not there: no epoch has ended, or it was not copied with the run{hint}"
        )
    folders = [path.parent] if (path / "best.ckpt").is_file() else []
    for depth in ("*", "*/*", "*/*/*"):
        folders += sorted((found.parents[1] for found in path.glob(f"{depth}/checkpoints/best.ckpt")), key=in_order)
    hint = f"; runs near it: {', '.join(map(str, folders[:3]))}" if folders else ""
    raise UserError(f"{path}: no run's folder (it holds no checkpoints/best.ckpt){hint}")


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The dictionary of a checkpoint or safetensors file, on the CPU, with all that `Contents` names.

    No code in the file runs. UserError where it is none of ours, or damaged.
    """
    try:
        if not path.is_file():
            raise UserError(f"{path}: no such checkpoint")
        checkpoint = read_weights(path) if path.suffix == SUFFIX else _read_pickle(path)
        Contents.model_validate(checkpoint)
    except ValidationError as error:
        first = error.errors()[0]
        reason = f"{'.'.join(map(str, first['loc']))}: {first['msg']}".lstrip(": ")
    except (ValueError, OSError) as error:
        reason = str(error)
    else:
        return checkpoint
    raise UserError(f"{path}: not a checkpoint of fer_lightning, or a damaged one: {in_a_line(reason)}")


def _read_pickle(path: Path) -> Any:
    try:
        # torch packs no part, compares no checksum, and of a part marked as a folder it takes what was in the memory
        with zipfile.ZipFile(path) as archive:
            parts = archive.infolist()
            if sum(part.file_size for part in parts) > path.stat().st_size:
                raise ValueError("its parts are larger than the file")
            if archive.testzip() or any(part.external_attr for part in parts):
                raise ValueError("it is not what was written")
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler stumbles over files of another kind in some ten ways
        # its message would tell to load the file without weights_only
        reason = str(error) if isinstance(error, ValueError) else type(error).__name__
        raise ValueError(f"torch.load cannot read it ({reason})") from None


@dataclass
class Classifier:
    """A trained network with what it must know of its data."""

    model: EmotionClassifier
    normalize: Normalize
    data: dict[str, Any]  # FERDataModule.state_dict() of its training

    @property
    def aligned(self) -> bool:
        """Whether it was trained on faces that were cropped anew by their landmarks."""
        return self.data.get("aligned", False)

    @torch.inference_mode()
    def probabilities(
        self,
        pixels: np.ndarray,
        precision: str = "32-true",
        tta: bool = False,
        where: np.ndarray | None = None,
        after_batch: Callable[[int], None] = lambda images: None,
    ) -> np.ndarray:
        """Class probabilities, float32 (N, 7), of uint8 (N, 48, 48), on the model's device; it stays in eval mode.

        precision: Lightning's name of it, one of MIXED to compute as such a training does; float32 is everything else.
        tta: the mean over the copies of each image that `tta_copies` makes, at as many times the cost.
        where: int64 (N,) into `pixels`, if not all are meant. after_batch: called with the number of images done.

        The figures are those of `trainer.predict` on a FERDataModule: the same batches through the same step. Only the
        trainer is missing, which a single picture has no need of, nor one process of several at the end of a training.
        """
        self.model.eval()
        device = self.model.device
        positions = torch.arange(len(pixels)) if where is None else torch.from_numpy(where)
        results = [np.empty((0, len(CLASSES)), np.float32)]
        with torch.autocast(device.type, MIXED[precision]) if precision in MIXED else nullcontext():
            for (batch,) in Batches([shared_tensor(np.ascontiguousarray(pixels))], positions, EVAL_BATCH):
                faces = self.normalize(unit(batch.to(device)))  # (B, 1, 48, 48)
                copies = tta_copies(faces) if tta else [faces]
                # one copy at a time: no more memory for activations than without
                each = [self.model.predict_step((copy,)) for copy in copies]
                results.append(torch.stack(each).mean(0).cpu().numpy())
                after_batch(len(batch))
        return np.concatenate(results)


def load(path: Path) -> Classifier:
    """The network of a checkpoint file or run folder, in eval mode on the CPU. UserError where it cannot be had."""
    checkpoint = read_checkpoint(find_checkpoint(path))
    data = checkpoint[DATA_STATE]
    if tuple(data["classes"]) != CLASSES:
        raise UserError(f"{path}: its classes are {data['classes']}; this version knows {list(CLASSES)}")
    network = find_network(checkpoint["network"])
    if network is None:
        name = shown(checkpoint["network"])
        raise UserError(
            f"{path}: its network {name} is not known here, and loading a file imports no module but those of "
            "fer_lightning.models; right: a network of the package, or one that your own code has imported (if you "
            f"trust its module: evaluate --network {name})"
        )
    try:
        _check_fit(network, checkpoint)
        model = network(**checkpoint["hyper_parameters"])
        model.load_state_dict(checkpoint["state_dict"])
    except Exception as error:  # a constructor may stumble over another's arguments in any way
        reason = in_a_line(str(error)) or type(error).__name__
        raise UserError(
            f"{path}: its {network.__name__} is another than the one installed here, or damaged: {reason}"
        ) from None
    return Classifier(model.eval(), Normalize(data["mean"], data["std"]), data)


def _check_fit(network: type[EmotionClassifier], checkpoint: dict[str, Any]) -> None:
    """Raise an error unless the weights are those of a network of these arguments, before it takes any memory."""
    with torch.device("meta"):
        model = network(**checkpoint["hyper_parameters"])
    own, given = model.state_dict(), checkpoint["state_dict"]
    for name in own.keys() & given.keys():
        if own[name].is_floating_point() != given[name].is_floating_point():
            raise ValueError(f"{name} is {given[name].dtype}, not {own[name].dtype}")
    model.load_state_dict(given, assign=True)
    for name, tensor in given.items():
        if not tensor.isfinite().all():
            raise ValueError(f"{name} has values that are no finite numbers")


def find_network(name: str) -> type[EmotionClassifier] | None:
    """The class of the full name `module.Class`, if it is in this program or in `fer_lightning.models`; else None.

    Importing runs code, and a file must not choose which: not a checkpoint, whose `network` is such a name, nor a
    config.yaml beside it, which comes from the same place. A network of one's own is in this program where a training
    has just made it, where the user's code has imported it, or after `import_network`.
    """
    module = name.rpartition(".")[0]
    if module.startswith(f"{models.__name__}."):
        try:
            importlib.import_module(module)
        except (ImportError, ValueError):  # ValueError: no file can have such a name
            return None
    found, bases = None, [EmotionClassifier]
    while bases:
        for network in bases.pop().__subclasses__():
            if f"{network.__module__}.{network.__qualname__}" == name:
                found = network  # the last one: a module that is loaded again defines its classes again
            bases.append(network)
    return found


def import_network(name: str) -> None:
    """Import the class `module.Class`, which the user names, so that `load` knows it. UserError if it is no network."""
    module, _, attribute = name.rpartition(".")
    try:
        network = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:  # ValueError: no module is named
        raise UserError(f"{name}: it cannot be imported ({error}); right: MODULE.CLASS, as model._target_") from None
    if not (isinstance(network, type) and issubclass(network, EmotionClassifier)):
        raise UserError(f"{name}: it is no EmotionClassifier; right: the class of a network, as model._target_")


def tta_copies(faces: Tensor) -> list[Tensor]:
    """The faces and their mirror images, each in place and shifted: TTA_COPIES times float (B, 1, H, W).

    A shift moves by TTA_SHIFT pixels to the left, right, top or bottom; the border's pixels fill what it opens. A
    network must know such changes from training: the DNN with aug=none lost 0.7 points of validation accuracy by it.
    """
    p = TTA_SHIFT
    height, width = faces.shape[-2:]
    padded = F.pad(faces, (p, p, p, p), mode="replicate")
    corners = ((p, p), (p, 0), (p, 2 * p), (0, p), (2 * p, p))  # of the windows, (p, p) being the image in place
    shifted = [padded[..., y : y + height, x : x + width] for y, x in corners]
    return [copy for image in shifted for copy in (image, image.flip(-1))]
