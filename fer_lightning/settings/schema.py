"""`Settings`: what every key of a configuration may hold, as pydantic models; `read_settings` makes one.

A field's description is what a message says of a value that does not fit: `optimizer.lr=-1: it must be a number …`.
Arguments of a `_target_` are typed by its signature (targets.py); here stand those whose range it does not tell.
"""

import difflib
import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from fer_lightning.data.faces import SIZE
from fer_lightning.errors import UserError

MAX_SEED = 2**32 - 1
SMALLEST_SIDE = 16  # pixels: the CNN halves an image four times

# Arguments of Lightning's Trainer that a run decides for itself.
RESERVED_TRAINER_ARGS = (
    *("logger", "callbacks", "default_root_dir", "num_sanity_val_steps", "enable_progress_bar"),
    *("enable_model_summary", "enable_checkpointing", "min_epochs", "plugins"),
)
# Those with which an epoch would not be trained and validated whole, once.
PARTIAL_EPOCH_TRAINER_ARGS = (
    *("check_val_every_n_epoch", "val_check_interval", "max_steps", "min_steps", "max_time", "overfit_batches"),
    *("fast_dev_run", "barebones"),
)


Real = int | float  # kept as it is given: 10 stays 10


def _not_empty(text: str) -> str:
    if not text:
        raise ValueError("empty")
    return text


def _not_zero(value: Real) -> Real:
    if value == 0:
        raise ValueError("zero")
    return value


Seed = Annotated[int, Field(ge=0, le=MAX_SEED, description=f"a whole number from 0 to {MAX_SEED}")]
OptionalPath = Annotated[
    Annotated[str, AfterValidator(_not_empty)] | None, Field(description="null or a path (a number as ./number)")
]
Truth = Annotated[bool, Field(description="true or false")]
Text = Annotated[str, Field(description="a text")]
Share = Annotated[Real, Field(ge=0, le=1, description="a share between 0 and 1")]
ShareOfEpochs = Annotated[Real, Field(ge=0, le=1, description="a share of the epochs between 0 and 1")]
BetaAlpha = Annotated[Real, Field(ge=0, description="0 (off) or the α of a Beta distribution, above 0")]
Number = Annotated[Real, Field(description="a number")]
Positive = Annotated[Real, Field(gt=0, description="a number above 0")]
PositiveInt = Annotated[int, Field(ge=1, description="a whole number of at least 1")]


class Section(BaseModel):
    """A group of keys. Nothing is converted: 1.0 is no whole number, "1" no number."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, frozen=True)


class Target(Section):
    """What a group's `_target_` names, and its arguments, which stay as they are: see `arguments`."""

    model_config = ConfigDict(extra="allow")

    target: str = Field(alias="_target_", description="the class or function that is made")
    partial: bool = Field(False, alias="_partial_", description="true or false")

    @property
    def name(self) -> str:
        """The class or function without its module: `Adam`."""
        return self.target.rpartition(".")[2]

    @property
    def arguments(self) -> dict[str, Any]:
        """What is given to it, by name."""
        return self.model_dump(exclude={"target", "partial"}, exclude_unset=True)


class Model(Target):
    synthetic_epochs: int = Field(6, ge=1, description="a whole number of at least 1")

    @property
    def arguments(self) -> dict[str, Any]:
        return {key: value for key, value in super().arguments.items() if key != "synthetic_epochs"}


class Optimizer(Target):
    lr: Real | None = Field(None, gt=0, description="a number above 0")


class Scheduler(Target):
    max_lr: Real | None = Field(None, gt=0, description="a number above 0")
    min_lr: Real | None = Field(None, ge=0, description="a number of at least 0")


class Averaging(Target):
    """`averaging=none` has a name alone."""

    target: str = Field("", alias="_target_")


class Warp(Section):
    """Arguments of `Augment`, which knows their ranges."""

    degrees: Number
    translate: Number
    scale: list[Real] = Field(description="a list of two factors, the smaller first")
    shear: Number
    flip: Number
    contrast: Number
    erase: Number
    image_by_image: Truth


class Mixing(Section):
    """Arguments of `Mix`."""

    mixup: BetaAlpha
    cutmix: BetaAlpha


class Phases(Section):
    """Arguments of `FERDataModule`: what only the first epochs have."""

    mix_until: ShareOfEpochs
    low_res: int = Field(
        ge=SMALLEST_SIDE, le=SIZE, description=f"a whole number of pixels from {SMALLEST_SIDE} to {SIZE}"
    )
    low_res_until: ShareOfEpochs


class Aug(Warp, Mixing, Phases):
    name: Text
    normalize: Truth

    def part(self, kind: type[Section]) -> dict[str, Any]:
        """The keys of one kind (`Warp`, `Mixing`, `Phases`) with their values."""
        return {key: getattr(self, key) for key in kind.model_fields}


class Data(Section):
    name: Literal["auto", "fer2013", "synthetic"] = Field(description="one of auto, fer2013, synthetic")
    root: OptionalPath
    batch_size: Literal["auto"] | Annotated[int, Field(ge=2)] = Field(
        description="a whole number of at least 2, for batch normalization, or auto"
    )
    val_split: Literal["public"] | Annotated[Real, Field(gt=0, lt=1)] = Field(
        description="a share between 0 and 1, such as 0.1, or public"
    )
    split_seed: Annotated[int, Field(ge=0, le=MAX_SEED)] | None = Field(
        description=f"null or a whole number from 0 to {MAX_SEED}"
    )
    crop: Literal["aligned"] | None = Field(None, description="null or aligned")
    class_weights: Literal["balanced"] | None = Field(None, description="null or balanced")
    sampling: Literal["balanced"] | None = Field(None, description="null or balanced")


class Distill(Section):
    teachers: list[str] = Field(description="a list of runs or checkpoints, such as [RUN1,RUN2]")
    weight: Share
    temperature: Positive
    once: Truth


class Trainer(Section):
    """Arguments of Lightning's Trainer, others than these included, and OURS, which it does not know."""

    OURS: ClassVar = ("compile", "threads", "patience")
    model_config = ConfigDict(extra="allow")

    accelerator: str = Field(description="a text, such as auto, cpu or gpu")
    devices: int | str | list[int] = Field(description="a number of devices, a list of their numbers, or auto")
    max_epochs: Literal["auto"] | PositiveInt = Field(description="a whole number of at least 1, or auto")
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = Field(
        description="auto, 32-true, bf16-mixed or 16-mixed"
    )
    compile: Literal["auto"] | bool = Field(description="true, false or auto")
    threads: Literal["auto"] | PositiveInt = Field(description="a whole number of at least 1, or auto")
    patience: PositiveInt | None = Field(None, description="null or a whole number of at least 1")
    strategy: str = "auto"
    accumulate_grad_batches: PositiveInt = 1
    gradient_clip_val: Real | None = Field(None, ge=0, description="null or a number of at least 0")
    limit_train_batches: Annotated[Real | None, AfterValidator(_not_zero)] = Field(
        None, description="above 0: every epoch needs some to train"
    )
    limit_val_batches: Annotated[Real | None, AfterValidator(_not_zero)] = Field(
        None, description="above 0: every epoch needs some to validate"
    )

    @property
    def arguments(self) -> dict[str, Any]:
        """What is given to Lightning's Trainer, by name."""
        return self.model_dump(exclude=set(self.OURS), exclude_unset=True)


class Logger(Section):
    tensorboard: Truth
    csv: Truth = False
    wandb: Truth = False
    mlflow: Truth = False

    @property
    def names(self) -> list[str]:
        return [name for name in type(self).model_fields if getattr(self, name)]


class Settings(Section):
    """A whole configuration, every interpolation resolved. After `settings.build.decide` no value is `auto`."""

    seed: Seed
    trial: Truth
    distill: Distill
    init_from: OptionalPath = None
    ckpt_path: OptionalPath
    resume: Truth = False
    model: Model
    aug: Aug
    optimizer: Optimizer
    scheduler: Scheduler
    averaging: Averaging
    data: Data
    trainer: Trainer
    logger: Logger

    @property
    def split_seed(self) -> int:
        return self.seed if self.data.split_seed is None else self.data.split_seed

    @property
    def fixed_length(self) -> str | None:
        """The key, if any, for which a training depends on how many epochs it has in all (its schedule aside)."""
        aug = self.aug
        if (aug.mixup or aug.cutmix) and aug.mix_until < 1:
            return "aug.mix_until"
        if 0 < aug.low_res_until < 1:
            return "aug.low_res_until"
        return "averaging.start" if self.averaging.arguments.get("start") else None

    def dump(self) -> dict[str, Any]:
        """config.yaml: group → key → value."""
        return self.model_dump(by_alias=True, exclude_unset=True)


def read_settings(config: Mapping[str, Any]) -> Settings:
    """The settings of a resolved configuration. UserError for a key that is unknown, missing or of a wrong value."""
    refuse_infinite("", config)
    try:
        settings = Settings.model_validate(config)
    except ValidationError as errors:
        raise UserError(in_words(errors.errors(include_url=False), config)) from None
    if not settings.averaging.target:
        for key in settings.averaging.arguments:
            if key != "name":
                raise UserError(unknown_key("averaging.", key, ["name"]))
    for key in settings.trainer.model_extra or {}:
        if key in RESERVED_TRAINER_ARGS:
            raise UserError(f"trainer.{key}: a run decides it by itself; leave it out")
        if key in PARTIAL_EPOCH_TRAINER_ARGS:
            raise UserError(f"trainer.{key}: every epoch is trained and validated whole; leave it out")
    return settings


def refuse_infinite(prefix: str, node: Any) -> None:
    """No setting is infinite, arguments of a `_target_` included; a nan passes most constructors' checks."""
    parts = node.items() if isinstance(node, Mapping) else enumerate(node) if isinstance(node, list) else ()
    for key, value in parts:
        refuse_infinite(f"{prefix}{key}.", value)
    if isinstance(node, float) and not math.isfinite(node):
        raise UserError(f"{prefix.rstrip('.')}={node}: it must be a finite number")


def in_words(errors: list[Any], config: Mapping[str, Any]) -> str:
    """What is wrong, of pydantic's errors, with the group before its keys and each key once: the first."""
    error = min(errors, key=lambda each: len(each["loc"][:2]))
    group, *rest = map(str, error["loc"][:2])
    top = Settings.model_fields
    if not rest:
        if error["type"] == "extra_forbidden":
            return unknown_key("", group, top)
        annotation = top[group].annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            choose = "" if group == "distill" else f", or choose one: {group}=NAME"
            return f"{group}={config.get(group)!r}: it must be a group of settings; leave it out{choose}"
        return wrong_value(group, top[group].description, config, group)
    section = top[group].annotation
    assert isinstance(section, type)
    assert issubclass(section, Section)
    fields = {field.alias or name: field for name, field in section.model_fields.items()}
    key = rest[0]
    if error["type"] == "extra_forbidden":
        return unknown_key(f"{group}.", key, fields)
    return wrong_value(f"{group}.{key}", fields[key].description, config[group], key)


def wrong_value(name: str, right: str | None, values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return f"{name}: it is missing; it must be {right}"
    return f"{name}={values[key]!r}: it must be {right}"


def unknown_key(prefix: str, key: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(key, known, n=3)
    hint = f"nearest: {', '.join(prefix + name for name in near)}" if near else f"known: {', '.join(known)}"
    return f"{prefix}{key}: there is no such key; {hint}"
