"""`Settings`: what every key of a configuration may hold, as pydantic models; `read_settings` makes one.

What is wrong with a value is told in pydantic's words: `optimizer.lr=-1: it should be greater than 0`.
Arguments of a `_target_` are typed by its signature (targets.py); here stand those whose range it does not tell.
"""

import difflib
import math
from collections.abc import Collection, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

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
Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
OptionalPath = Annotated[str, Field(min_length=1)] | None
Share = Annotated[Real, Field(ge=0, le=1)]
NotNegative = Annotated[Real, Field(ge=0)]
Positive = Annotated[Real, Field(gt=0)]
PositiveInt = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    """A group of keys. Nothing is converted: 1.0 is no whole number, "1" no number."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Target(Section):
    """What a group's `_target_` names, and its arguments, which stay as they are: see `arguments`."""

    model_config = ConfigDict(extra="allow")

    target: str = Field(alias="_target_")
    partial: bool = Field(False, alias="_partial_")

    @property
    def arguments(self) -> dict[str, Any]:
        """What is given to it, by name."""
        return self.model_dump(exclude={"target", "partial"}, exclude_unset=True)


class Model(Target):
    synthetic_epochs: int = Field(6, ge=1)

    @property
    def arguments(self) -> dict[str, Any]:
        return {key: value for key, value in super().arguments.items() if key != "synthetic_epochs"}


class Optimizer(Target):
    lr: Real | None = Field(None, gt=0)


class Scheduler(Target):
    max_lr: Real | None = Field(None, gt=0)
    min_lr: Real | None = Field(None, ge=0)


class Averaging(Target):
    """`averaging=none` has a name alone."""

    target: str = Field("", alias="_target_")


class Warp(Section):
    """Arguments of `Augment`, which knows their ranges."""

    degrees: Real
    translate: Real
    scale: list[Real]
    shear: Real
    flip: Real
    contrast: Real
    erase: Real
    image_by_image: bool


class Mixing(Section):
    """Arguments of `Mix`."""

    mixup: NotNegative
    cutmix: NotNegative


class Phases(Section):
    """Arguments of `FERDataModule`: what only the first epochs have."""

    mix_until: Share
    low_res: int = Field(ge=SMALLEST_SIDE, le=SIZE)
    low_res_until: Share


class Aug(Warp, Mixing, Phases):
    name: str
    normalize: bool

    def part(self, kind: type[Section]) -> dict[str, Any]:
        """The keys of one kind (`Warp`, `Mixing`, `Phases`) with their values."""
        return {key: getattr(self, key) for key in kind.model_fields}


class Data(Section):
    name: Literal["auto", "fer2013", "synthetic"]
    root: OptionalPath
    batch_size: Literal["auto"] | Annotated[int, Field(ge=2)]  # for batch normalization
    val_split: Literal["public"] | Annotated[Real, Field(gt=0, lt=1)]
    split_seed: Seed | None
    crop: Literal["aligned"] | None = None
    class_weights: Literal["balanced"] | None = None
    sampling: Literal["balanced"] | None = None


class Distill(Section):
    teachers: list[str]
    weight: Share
    temperature: Positive
    once: bool


class Trainer(Section):
    """Arguments of Lightning's Trainer, others than these included, and OURS, which it does not know."""

    OURS: ClassVar = ("compile", "threads", "patience")
    model_config = ConfigDict(extra="allow")

    accelerator: str
    devices: int | str | list[int]
    max_epochs: Literal["auto"] | PositiveInt
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"]
    compile: Literal["auto"] | bool
    threads: Literal["auto"] | PositiveInt
    patience: PositiveInt | None = None
    strategy: str = "auto"
    accumulate_grad_batches: PositiveInt = 1
    gradient_clip_val: Real | None = Field(None, ge=0)
    limit_train_batches: Positive | None = None
    limit_val_batches: Positive | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """What is given to Lightning's Trainer, by name."""
        return self.model_dump(exclude=set(self.OURS), exclude_unset=True)


class Logger(Section):
    tensorboard: bool
    csv: bool = False
    wandb: bool = False
    mlflow: bool = False

    @property
    def names(self) -> list[str]:
        return [name for name in type(self).model_fields if getattr(self, name)]


class Settings(Section):
    """A whole configuration, every interpolation resolved. After `settings.build.decide` no value is `auto`."""

    seed: Seed
    trial: bool
    distill: Distill
    init_from: OptionalPath = None
    ckpt_path: OptionalPath
    resume: bool = False
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
    """What is wrong, of pydantic's errors, of one key: the first, a group before its keys."""
    at = min((each["loc"][:2] for each in errors), key=len)
    here = [each for each in errors if each["loc"][:2] == at]
    name, *group = map(str, at[::-1])
    key = ".".join(map(str, at))
    if here[0]["type"] == "extra_forbidden":
        section = Settings.model_fields[group[0]].annotation if group else Settings
        return unknown_key(f"{group[0]}." if group else "", name, section.model_fields)  # type: ignore[union-attr]
    given = config.get(group[0], {}) if group else config
    if name not in given:
        return f"{key}: it is missing; choose or set it: {key}=…"
    said = dict.fromkeys(each["msg"].removeprefix("Input ").removeprefix("String ") for each in here)
    if "should be a valid number" in said:
        said.pop("should be a valid integer", None)  # which a number may be
    return f"{key}={given[name]!r}: it {', or '.join(said)}"


def unknown_key(prefix: str, key: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(key, known, n=3)
    hint = f"nearest: {', '.join(prefix + name for name in near)}" if near else f"known: {', '.join(known)}"
    return f"{prefix}{key}: there is no such key; {hint}"
