"""From configuration to objects, checked: the only file that instantiates what `conf/` names."""

import importlib
import inspect
import logging
import math
import warnings
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Any

import torch
import torch._dynamo
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from fer_lightning.data.augment import Augment, Mix
from fer_lightning.data.datamodule import EVAL_BATCH, FERDataModule
from fer_lightning.data.faces import CLASSES, SIZE, Faces
from fer_lightning.data.source import open_faces
from fer_lightning.errors import UserError
from fer_lightning.models import EmotionClassifier
from fer_lightning.settings.resume import check_resumable, resumed_checkpoint
from fer_lightning.settings.schema import check_values, plain_keys, refuse_unknown
from fer_lightning.settings.signatures import check_arguments
from fer_lightning.training.averaging import Averaging
from fer_lightning.training.compilation import Compiled
from fer_lightning.training.distillation import Teachers, open_teachers

# Epochs of `trainer.max_epochs=auto`: the study's length on FER2013; on the built-in faces what two CPU cores end in
# about two minutes (the CNN sees 120 of them a second there; the DNN overfits after some 20 epochs).
FER2013_EPOCHS = 300
SYNTHETIC_EPOCHS = {"DNN": 20}
SYNTHETIC_EPOCHS_OTHER = 6  # the CNN's

# Images a step of `data.batch_size=auto`. The study leaves it open; of the 2,340 built-in faces, steps of 128 would be
# too few for the CNN's few epochs.
FER2013_BATCH = 128
SYNTHETIC_BATCH = 32


@dataclass
class Experiment:
    """Everything a training needs, made from one checked configuration."""

    config: dict[str, Any]  # resolved, `auto` values included
    model: EmotionClassifier
    datamodule: FERDataModule
    trainer_arguments: dict[str, Any]  # of Lightning's Trainer
    compiled: list[Compiled]  # what of a training step goes through torch.compile, if anything
    averaging: Averaging | None
    teachers: Teachers | None


def resolve(cfg: DictConfig) -> dict[str, Any]:
    """The configuration as plain containers, every interpolation resolved; OmegaConf's errors for what cannot be."""
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def check(cfg: DictConfig) -> int:
    """Raise UserError unless `build(cfg)` would work, without making the network; how many processes would train it."""
    config = resolve(cfg)
    quiet_lightning()
    check_values(config)
    faces = open_faces(config["data"]["name"], config["data"]["root"])
    decide_batch_size(config, faces)
    with torch.device("meta"):
        model = make_model(config)
    datamodule = make_datamodule(config, faces)
    check_low_res(config, model)
    check_limits(config["trainer"], datamodule)
    averaging = make_averaging(config)
    teachers = open_distillation(config, datamodule)
    arguments = trainer_arguments(config, model, faces)
    factories = make_factories(config)
    scratch = factories["optimizer"]([torch.nn.Parameter(torch.zeros(1))])
    factories["scheduler"](scratch, arguments["max_epochs"], 10)
    try:
        trainer = Trainer(**arguments, logger=False, enable_checkpointing=False, enable_progress_bar=False)
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        remedy = "; take trainer=cpu or trainer=auto" if "gpu backend" in str(error) else ""
        raise UserError(f"trainer: {error}{remedy}") from None
    checkpoint = resumed_checkpoint(config)
    if checkpoint is not None:
        config["trainer"] = arguments
        groups = 2 if scratch.defaults.get("weight_decay") else 1
        digests = [] if teachers is None else teachers.digests
        check_resumable(checkpoint, model, datamodule, averaging, digests, groups, trainer.world_size, config)
    if trainer.gradient_clip_val and trainer.precision != "32-true" and fused(scratch):
        raise UserError(
            f"trainer.gradient_clip_val: in {trainer.precision} Lightning clips no gradients of a fused optimizer; "
            "add optimizer.fused=false"
        )
    return trainer.world_size


def fused(optimizer: torch.optim.Optimizer) -> bool:
    """As Lightning asks it."""
    return getattr(optimizer, "_step_supports_amp_scaling", False)


def build(cfg: DictConfig, faces: Faces) -> Experiment:
    """Make model, data module and Trainer arguments. Raises UserError for whatever is wrong with them."""
    config = resolve(cfg)
    quiet_lightning()
    check_values(config)
    decide_batch_size(config, faces)
    datamodule = make_datamodule(config, faces)
    model = make_model(config)
    arguments = trainer_arguments(config, model, faces)
    wanted = config["trainer"]["compile"]
    compile_steps = pays_to_compile(arguments) if wanted == "auto" else wanted
    config["trainer"] = {**arguments, "compile": compile_steps}
    compiled = []
    if compile_steps:
        torch._dynamo.reset()  # what a sweep's earlier jobs compiled, each with its mean: after eight, it gives up
        # A replayed graph writes each batch's gradients to the same place: nothing may be added up there.
        graphs = arguments.get("accumulate_grad_batches", 1) == 1
        mode = "reduce-overhead" if graphs else "default"
        train_faces = Compiled(datamodule.train_faces, datamodule.batch_size)
        train_loss = Compiled(model.train_loss, datamodule.batch_size, mode)
        datamodule.train_faces, model.train_loss = train_faces, train_loss  # type: ignore[assignment, method-assign]
        compiled = [train_faces, train_loss]
    teachers = open_distillation(config, datamodule)  # after the model: to load a network draws random weights first
    if teachers is not None:
        teacher_probabilities: Callable[[torch.Tensor], torch.Tensor] | None = None
        if not config["distill"]["once"]:
            teacher_probabilities = teachers.probabilities
            if compile_steps:
                compiled.append(teacher_probabilities := Compiled(teachers.probabilities, datamodule.batch_size))
        model.distill_from(
            teacher_probabilities, config["distill"]["weight"], config["distill"]["temperature"], teachers.digests
        )
    return Experiment(config, model, datamodule, arguments, compiled, make_averaging(config), teachers)


def make_factories(config: dict[str, Any]) -> dict[str, Callable[..., Any]]:
    """What makes the optimizer, from parameters, and the schedule, from it and the numbers of epochs and steps."""
    return {
        "optimizer": make("optimizer", config, ["params"]),
        "scheduler": make("scheduler", config, ["optimizer", "epochs", "steps_per_epoch"]),
    }


def make_model(config: dict[str, Any]) -> EmotionClassifier:
    factories = make_factories(config)
    model = make("model", config, list(factories), **factories)
    if not isinstance(model, EmotionClassifier):
        raise UserError(f"model._target_: {type(model).__name__} is no EmotionClassifier")
    return model


def make_averaging(config: dict[str, Any]) -> Averaging | None:
    if "_target_" not in config["averaging"]:
        return None
    averaging = make("averaging", config)
    if not isinstance(averaging, Averaging):
        raise UserError(f"averaging._target_: {type(averaging).__name__} is no Averaging")
    return averaging


def open_distillation(config: dict[str, Any], datamodule: FERDataModule) -> Teachers | None:
    distill = config["distill"]
    if not distill["teachers"]:
        return None
    return open_teachers(distill["teachers"], datamodule, distill["temperature"])


def check_low_res(config: dict[str, Any], model: EmotionClassifier) -> None:
    """Whether the network and its teachers, if any, take the pictures of the first epochs."""
    if not config["aug"]["low_res_until"]:
        return
    if not model.any_size:
        raise UserError(
            f"aug.low_res_until: a {type(model).__name__} takes no pictures but of {SIZE} pixels; set it to 0"
        )
    if config["distill"]["teachers"] and not config["distill"]["once"]:
        raise UserError(
            "aug.low_res_until with distill.teachers: teachers know no small pictures; add distill.once=true"
        )


def check_limits(trainer: dict[str, Any], datamodule: FERDataModule) -> None:
    """Whether a share of the batches is one at least."""
    per_step = {"train": datamodule.batch_size, "val": EVAL_BATCH}
    for name, images in per_step.items():
        limit = trainer.get(f"limit_{name}_batches")
        batches = math.ceil(len(datamodule.splits[name]) / images)
        if isinstance(limit, float) and int(limit * batches) < 1:
            raise UserError(f"trainer.limit_{name}_batches={limit}: it leaves none of {batches}; take more")


def augment_arguments(aug: dict[str, Any]) -> dict[str, Any]:
    """The arguments of `Augment` among the keys of the aug group."""
    return {key: value for key, value in aug.items() if key not in plain_keys("aug")}


def decide_batch_size(config: dict[str, Any], faces: Faces) -> None:
    """Put a number in the place of `data.batch_size=auto`."""
    if config["data"]["batch_size"] == "auto":
        config["data"]["batch_size"] = SYNTHETIC_BATCH if faces.synthetic else FER2013_BATCH


def make_datamodule(config: dict[str, Any], faces: Faces) -> FERDataModule:
    aug, data = config["aug"], config["data"]
    strengths = augment_arguments(aug)
    mixing = {key: aug[key] for key in ("mixup", "cutmix")}
    refuse_unknown("aug.", aug, [*plain_keys("aug"), *inspect.signature(Augment).parameters])
    check_arguments("aug", Augment, strengths)
    try:
        augment, mix = Augment(**strengths), Mix(len(CLASSES), **mixing)
    except ValueError as error:
        raise UserError(f"aug.{error}") from None
    try:
        return FERDataModule(
            faces,
            batch_size=data["batch_size"],
            val_split=data["val_split"],
            augment=augment,
            normalize=aug["normalize"],
            seed=config["seed"],
            split_seed=data["split_seed"],
            mix=mix if mix.betas else None,
            mix_until=aug["mix_until"],
            low_res=aug["low_res"],
            low_res_until=aug["low_res_until"],
        )
    except ValueError as error:
        raise UserError(f"data.{error}") from None


def trainer_arguments(config: dict[str, Any], model: EmotionClassifier, faces: Faces) -> dict[str, Any]:
    """The arguments of Lightning's Trainer from the `trainer` group, its `auto` values decided."""
    arguments = {key: value for key, value in config["trainer"].items() if key != "compile"}
    if arguments["max_epochs"] == "auto":
        network = type(model).__name__
        synthetic = SYNTHETIC_EPOCHS.get(network, SYNTHETIC_EPOCHS_OTHER)
        arguments["max_epochs"] = synthetic if faces.synthetic else FER2013_EPOCHS
    if arguments["precision"] == "auto":
        arguments["precision"] = best_precision(arguments["accelerator"])
    if arguments["precision"] == "16-mixed" and not on_cuda(arguments["accelerator"]):
        raise UserError("trainer.precision=16-mixed: it needs a CUDA GPU; take bf16-mixed, 32-true or auto")
    check_arguments("trainer", Trainer, arguments)
    return arguments


def on_cuda(accelerator: str) -> bool:
    return accelerator in ("gpu", "cuda") or (accelerator == "auto" and torch.cuda.is_available())


def best_precision(accelerator: str) -> str:
    """bf16-mixed where the device computes in it, else 32-true (bf16 emulated in software is slower than float32)."""
    if on_cuda(accelerator):
        fast = torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    elif accelerator == "cpu" or not torch.backends.mps.is_available():
        fast = torch.backends.mkldnn.is_available() and _cpu_computes_in_bf16()
    else:
        fast = False
    return "bf16-mixed" if fast else "32-true"


def _cpu_computes_in_bf16() -> bool:
    if hasattr(torch.cpu, "get_capabilities"):
        return bool(torch.cpu.get_capabilities().get("avx512_bf16", False))
    return torch.cpu._is_avx512_bf16_supported()  # torch 2.11


def pays_to_compile(arguments: dict[str, Any]) -> bool:
    """Whether `trainer.compile=auto` compiles: on one GPU that PyTorch's compiler knows.

    On two CPU cores the compiled networks were no faster. Of several processes, each would compile; untried.
    """
    on_gpu = on_cuda(arguments["accelerator"]) and torch.cuda.is_available()
    alone = arguments["devices"] in (1, "1") and arguments.get("strategy", "auto") == "auto"
    # Triton, which the compiler writes its kernels in, needs compute capability 7.0.
    return on_gpu and alone and torch.cuda.get_device_capability() >= (7, 0)


def make(group: str, config: dict[str, Any], given: Collection[str] = (), **more: Any) -> Any:
    """Instantiate a group's `_target_` after checking its arguments; its ValueErrors become the user's.

    given: names of arguments that are no setting: those in `more`, and those that a partial is called with.
    """
    node = config[group]
    path = node.get("_target_")
    try:
        module, _, name = str(path).rpartition(".")
        target = getattr(importlib.import_module(module), name)
        inspect.signature(target)
    except (ImportError, AttributeError, ValueError, TypeError):
        raise UserError(f"{group}._target_={path}: there is no such class or function") from None
    check_arguments(group, target, {k: v for k, v in node.items() if k not in ("_target_", "_partial_")}, given)
    try:
        made = instantiate(node, **more, _convert_="all", _recursive_=False)
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, ValueError | TypeError):
            raise UserError(f"{group}.{cause}") from None
        raise
    return _user_errors(group, made) if node.get("_partial_") else made


def _user_errors(group: str, factory: Any) -> Any:
    """`factory` with its ValueErrors turned into the user's: a partial's arguments are judged when it is called."""

    def made(*arguments: Any) -> Any:
        try:
            return factory(*arguments)
        except (ValueError, TypeError, RuntimeError) as error:  # RuntimeError: torch's, of fused with foreach
            raise UserError(f"{group}: {error}") from None

    return made


def quiet_lightning() -> None:
    """Keep Lightning's greetings and tips out of the output: what matters is logged by this package, once."""
    for name in ("pytorch_lightning", "lightning.pytorch", "lightning_fabric"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.WARNING)
        logger.handlers.clear()  # Hydra's root handlers print its warnings already
        logger.propagate = True
    # It logs nothing by the step here.
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    # Lightning 2.6.6 on torch 2.15, once in every fit, from torch's own pytree
    warnings.filterwarnings("ignore", message=".*LeafSpec.*", category=FutureWarning)
