"""From settings to what a training needs, checked."""

import logging
import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import torch._dynamo
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning import Trainer
from pytorch_lightning.plugins.environments import LightningEnvironment, SLURMEnvironment
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from fer_lightning.data.augment import Augment, Mix
from fer_lightning.data.datamodule import EVAL_BATCH, FERDataModule, balanced_weights
from fer_lightning.data.faces import CLASSES, SIZE, Faces, fingerprint
from fer_lightning.data.source import open_faces
from fer_lightning.errors import UserError
from fer_lightning.models import EmotionClassifier
from fer_lightning.settings import resume
from fer_lightning.settings.schema import Mixing, Phases, Settings, Warp, read_settings
from fer_lightning.settings.schema import Trainer as TrainerSettings
from fer_lightning.settings.targets import check_arguments, make, optimizer_of_one
from fer_lightning.training.averaging import Averaging
from fer_lightning.training.compilation import Compiled
from fer_lightning.training.distillation import Teachers, open_teachers
from fer_lightning.training.loggers import check_installed
from fer_lightning.training.pretrained import open_pretrained, start_from
from fer_lightning.training.processes import begins_alone, check_started, in_slurm
from fer_lightning.training.threads import default_threads

FER2013_EPOCHS = 300  # of `trainer.max_epochs=auto`: the study's length

# Images a step of `data.batch_size=auto`. The study leaves it open; of the 2,340 built-in faces, steps of 128 would be
# too few for the CNN's few epochs.
FER2013_BATCH = 128
SYNTHETIC_BATCH = 32


@dataclass
class Experiment:
    """Everything a training needs, made from checked settings."""

    settings: Settings  # every `auto` decided
    model: EmotionClassifier
    datamodule: FERDataModule
    averaging: Averaging | None
    teachers: Teachers | None
    compiled: list[Compiled]  # what of a training step goes through torch.compile, if anything
    processes: int
    decisive: dict[str, Any]  # see `resume.decisive_settings`
    data_fingerprint: str
    checkpoint: Path | None  # the one that it goes on from
    complete: bool  # its folder holds all of it already

    @property
    def epochs(self) -> int:
        return int(self.settings.trainer.max_epochs)

    @property
    def threads(self) -> int:
        return int(self.settings.trainer.threads)

    @property
    def params(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.model.parameters() if parameter.requires_grad)

    def state_in(self, folder: Path) -> tuple[Path | None, bool]:
        """Where it goes on in a folder, and whether all of it is there: `resume.state_of`."""
        return resume.state_of(self.settings, folder, self.decisive, self.data_fingerprint)

    def is_done_in(self, folder: Path) -> bool:
        settings = self.settings.model_copy(update={"resume": True, "ckpt_path": None})
        try:
            return replace(self, settings=settings).state_in(folder)[1]
        except UserError:
            return False


def check(cfg: DictConfig, folder: Path | None = None) -> Experiment:
    """Raise UserError unless the configuration can be trained; what would be, on the meta device. See `build`."""
    settings = resolve(cfg)
    return build(settings, faces_of(settings), folder, device="meta")


def resolve(cfg: DictConfig) -> Settings:
    """The settings of a configuration, every interpolation resolved; OmegaConf's errors for one that cannot be."""
    container = OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True)
    assert isinstance(container, dict)
    return read_settings({str(key): value for key, value in container.items()})


def faces_of(settings: Settings) -> Faces:
    """The faces of a run; those of data.crop=aligned are not cropped anew yet. UserError where they cannot be had."""
    return replace(open_faces(settings.data.name, settings.data.root), aligned=settings.data.crop is not None)


def build(settings: Settings, faces: Faces, folder: Path | None = None, device: str = "cpu") -> Experiment:
    """Make everything. UserError for whatever is wrong, and where it can't go on as `ckpt_path` or `resume` say.

    folder: the run's, in which `resume` goes on; None: it is not known yet. device: where the network is made. On
    "meta", which allocates nothing, this is the check before a run.
    """
    quiet_lightning()
    check_installed(settings.logger.names)
    settings = decide(settings, faces)
    datamodule = make_datamodule(settings, faces)
    with torch.device(device):
        model = make_model(settings)
    if settings.data.class_weights:
        model.weigh_classes(balanced_weights(faces.labels[datamodule.splits["train"]]))
    averaging = make_averaging(settings)
    initial = None
    if settings.init_from is not None:
        initial = open_pretrained("init_from", settings.init_from, datamodule)
        start_from(model, initial, settings.init_from)
    teachers = None  # after the model: a network that is loaded draws random weights first
    if settings.distill.teachers:
        teachers = open_teachers(settings.distill.teachers, datamodule, settings.distill.temperature)
    trainer = make_trainer(settings.trainer.arguments)
    check_together(settings, model, datamodule, trainer)
    decisive = resume.decisive_settings(settings, datamodule, initial, teachers, trainer.world_size)
    data_fingerprint = fingerprint(faces)
    checkpoint, complete = resume.state_of(settings, folder, decisive, data_fingerprint)
    compiled = []
    if settings.trainer.compile and device != "meta":
        compiled = compile_steps(settings, model, datamodule)
    if teachers is not None:
        probabilities: Callable[[torch.Tensor], torch.Tensor] | None = None
        if not settings.distill.once:
            probabilities = teachers.probabilities
            if compiled:
                compiled.append(probabilities := Compiled(probabilities, datamodule.batch_size))
        model.distill_from(probabilities, settings.distill.weight, settings.distill.temperature)
    return Experiment(
        settings=settings,
        model=model,
        datamodule=datamodule,
        averaging=averaging,
        teachers=teachers,
        compiled=compiled,
        processes=trainer.world_size,
        decisive=decisive,
        data_fingerprint=data_fingerprint,
        checkpoint=checkpoint,
        complete=complete,
    )


def decide(settings: Settings, faces: Faces) -> Settings:
    """The settings with a value in the place of every `auto`. UserError for one that this machine can't have."""
    data, trainer = settings.data, settings.trainer
    if data.batch_size == "auto":
        data = data.model_copy(update={"batch_size": SYNTHETIC_BATCH if faces.synthetic else FER2013_BATCH})
    decided: dict[str, Any] = {}
    if trainer.max_epochs == "auto":
        decided["max_epochs"] = settings.model.synthetic_epochs if faces.synthetic else FER2013_EPOCHS
    if trainer.precision == "auto":
        decided["precision"] = best_precision(trainer.accelerator)
    if trainer.precision == "16-mixed" and not on_cuda(trainer.accelerator):
        raise UserError("trainer.precision=16-mixed: it needs a CUDA GPU; take bf16-mixed, 32-true or auto")
    if trainer.threads == "auto":
        processes = make_trainer(trainer.model_copy(update=decided).arguments).num_devices  # of this machine
        decided["threads"] = default_threads(processes)
    if trainer.compile == "auto":
        decided["compile"] = pays_to_compile(trainer)
    return settings.model_copy(update={"data": data, "trainer": trainer.model_copy(update=decided)})


def make_datamodule(settings: Settings, faces: Faces) -> FERDataModule:
    aug, data = settings.aug, settings.data
    try:
        augment, mix = Augment(**aug.part(Warp)), Mix(len(CLASSES), **aug.part(Mixing))
    except ValueError as error:
        raise UserError(f"aug.{error}") from None
    assert isinstance(data.batch_size, int)
    return FERDataModule(
        faces,
        batch_size=data.batch_size,
        val_split=data.val_split,
        augment=augment,
        normalize=aug.normalize,
        seed=settings.seed,
        split_seed=data.split_seed,
        balanced=data.sampling == "balanced",
        mix=mix if mix.alphas else None,
        **aug.part(Phases),
    )


def make_model(settings: Settings) -> EmotionClassifier:
    factories = {
        "optimizer": make("optimizer", settings.optimizer, ["params"]),
        "scheduler": make("scheduler", settings.scheduler, ["optimizer", "epochs", "steps_per_epoch"]),
    }
    model = make("model", settings.model, list(factories), **factories)
    if not isinstance(model, EmotionClassifier):
        raise UserError(f"model._target_: {type(model).__name__} is no EmotionClassifier")
    return model


def make_averaging(settings: Settings) -> Averaging | None:
    if not settings.averaging.target:
        return None
    averaging = make("averaging", settings.averaging)
    if not isinstance(averaging, Averaging):
        raise UserError(f"averaging._target_: {type(averaging).__name__} is no Averaging")
    return averaging


def make_trainer(arguments: dict[str, Any]) -> Trainer:
    """A Trainer that shows nothing and writes nothing; UserError for arguments that it does not take.

    It knows of no launcher. UserError where one has started other processes than the arguments ask for.
    """
    check_arguments("trainer", Trainer, arguments)
    environment = LightningEnvironment()
    try:
        trainer = Trainer(
            **arguments, logger=False, enable_checkpointing=False, enable_progress_bar=False, plugins=[environment]
        )
        check_started(trainer.world_size)
        if trainer.world_size > 1 and in_slurm() and not begins_alone(trainer.world_size):
            SLURMEnvironment().validate_settings(trainer.num_devices, trainer.num_nodes)
    except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
        remedy = "; take trainer=cpu or trainer=auto" if "gpu backend" in str(error) else ""
        raise UserError(f"trainer: {error}{remedy}") from None
    return trainer


def check_together(settings: Settings, model: EmotionClassifier, datamodule: FERDataModule, trainer: Trainer) -> None:
    """Raise UserError for settings of which each is right by itself."""
    epochs = settings.trainer.max_epochs
    assert isinstance(epochs, int)
    optimizer, _ = optimizer_of_one(settings, epochs)
    fused = getattr(optimizer, "_step_supports_amp_scaling", False)  # as Lightning asks it
    if trainer.gradient_clip_val and trainer.precision != "32-true" and fused:
        raise UserError(
            f"trainer.gradient_clip_val: in {trainer.precision} Lightning clips no gradients of a fused optimizer; "
            "add optimizer.fused=false"
        )
    if any(way in settings.trainer.strategy for way in ("spawn", "fork")):
        raise UserError(f"trainer.strategy={settings.trainer.strategy}: a run starts its processes; take trainer=ddp")
    if settings.trainer.arguments.get("sync_batchnorm") and not on_cuda(settings.trainer.accelerator):
        raise UserError("trainer.sync_batchnorm: torch synchronizes batch normalization on GPUs only; leave it out")
    if settings.aug.low_res_until and not model.any_size:
        raise UserError(
            f"aug.low_res_until: a {type(model).__name__} takes no images but of {SIZE} pixels; set it to 0"
        )
    if settings.aug.low_res_until and settings.distill.teachers and not settings.distill.once:
        raise UserError("aug.low_res_until with distill.teachers: teachers know no small images; add distill.once=true")
    if settings.data.class_weights and settings.data.sampling:
        raise UserError("data.class_weights with data.sampling: either makes all classes count alike; take one of them")
    limits = {
        "train": (settings.trainer.limit_train_batches, datamodule.batch_size),
        "val": (settings.trainer.limit_val_batches, EVAL_BATCH),
    }
    for split, (limit, images) in limits.items():
        batches = math.ceil(len(datamodule.splits[split]) / images)
        if isinstance(limit, float) and int(limit * batches) < 1:
            raise UserError(f"trainer.limit_{split}_batches={limit}: it leaves none of {batches}; take more")


def compile_steps(settings: Settings, model: EmotionClassifier, datamodule: FERDataModule) -> list[Compiled]:
    """Put what makes a training batch, and the forward and backward pass on it, through torch.compile."""
    torch._dynamo.reset()  # what a sweep's earlier jobs compiled, each with its mean: after eight, it gives up
    # A replayed graph writes each batch's gradients to the same place: nothing may be added up there.
    mode = "reduce-overhead" if settings.trainer.accumulate_grad_batches == 1 else "default"
    train_faces = Compiled(datamodule.train_faces, datamodule.batch_size)
    train_loss = Compiled(model.train_loss, datamodule.batch_size, mode)
    datamodule.train_faces, model.train_loss = train_faces, train_loss  # type: ignore[assignment, method-assign]
    return [train_faces, train_loss]


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


def pays_to_compile(trainer: TrainerSettings) -> bool:
    """Whether `trainer.compile=auto` compiles: on one GPU that PyTorch's compiler knows.

    On two CPU cores the compiled networks were no faster. Of several processes, each would compile; untried.
    """
    on_gpu = on_cuda(trainer.accelerator) and torch.cuda.is_available()
    alone = trainer.devices in (1, "1") and trainer.strategy == "auto"
    # Triton, which the compiler writes its kernels in, needs compute capability 7.0.
    return on_gpu and alone and torch.cuda.get_device_capability() >= (7, 0)


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
