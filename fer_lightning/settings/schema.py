"""What the plain keys of a configuration may hold: those that no constructor's annotations tell."""

import difflib
import math
from collections.abc import Callable, Collection
from typing import Any

from fer_lightning.data.faces import SIZE
from fer_lightning.data.source import NAMES
from fer_lightning.errors import UserError
from fer_lightning.settings.signatures import is_a

MADE = ("model", "optimizer", "scheduler")  # groups that name what they make as `_target_`
GROUPS = (*MADE, "averaging", "aug", "data", "trainer", "logger", "distill")
TOP = (*GROUPS, "seed", "ckpt_path")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
SMALLEST_SIDE = 16  # pixels a side: the CNN halves a picture four times
MAX_SEED = 2**32 - 1

# Arguments of Lightning's Trainer that a run decides for itself, and those with which an epoch would not be validated
# whole, once, at its end.
OWNED = (
    *("logger", "callbacks", "default_root_dir", "num_sanity_val_steps", "enable_progress_bar"),
    *("enable_model_summary", "enable_checkpointing"),
)
CUTTING = (
    *("check_val_every_n_epoch", "val_check_interval", "max_steps", "min_steps", "max_time", "overfit_batches"),
    *("fast_dev_run", "barebones"),
)

Rule = tuple[Callable[[Any], bool], str]  # whether a value fits; what fits, in words


def whole(low: int, high: float = float("inf")) -> Callable[[Any], bool]:
    return lambda value: is_a(value, int) and low <= value <= high


def share(value: Any) -> bool:
    return is_a(value, float) and 0 <= value <= 1


def positive(value: Any) -> bool:
    return is_a(value, float) and value > 0


def at_least_0(value: Any) -> bool:
    return is_a(value, float) and value >= 0


def one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(value is known or (isinstance(value, str) and value == known) for known in values)


def a(hint: Any) -> Callable[[Any], bool]:
    return lambda value: is_a(value, hint)


def either(*kinds: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: any(fits(value) for fits in kinds)


PATH: Rule = (
    lambda value: value is None or (is_a(value, str) and value != ""),
    "null or a path (a number as ./number)",
)
TRUTH: Rule = (a(bool), "true or false")
SHARE_OF_EPOCHS: Rule = (share, "a share of the epochs between 0 and 1")

RULES: dict[str, Rule] = {
    "seed": (whole(0, MAX_SEED), f"a whole number from 0 to {MAX_SEED}"),
    "ckpt_path": PATH,
    "data.name": (one_of(*NAMES), f"one of {', '.join(NAMES)}"),
    "data.root": PATH,
    "data.batch_size": (
        either(one_of("auto"), whole(2)),
        "a whole number of at least 2, for batch normalization, or auto",
    ),
    "data.val_split": (
        either(one_of("public"), lambda value: is_a(value, float) and 0 < value < 1),
        "a share between 0 and 1, such as 0.1, or public",
    ),
    "data.split_seed": (either(one_of(None), whole(0, MAX_SEED)), f"null or a whole number from 0 to {MAX_SEED}"),
    "aug.name": (a(str), "a text"),
    "aug.normalize": TRUTH,
    "aug.mixup": (at_least_0, "0 (off) or the α of a Beta distribution, above 0"),
    "aug.cutmix": (at_least_0, "0 (off) or the α of a Beta distribution, above 0"),
    "aug.mix_until": SHARE_OF_EPOCHS,
    "aug.low_res_until": SHARE_OF_EPOCHS,
    "aug.low_res": (whole(SMALLEST_SIDE, SIZE), f"a whole number of pixels from {SMALLEST_SIDE} to {SIZE}"),
    "distill.teachers": (a(list[str]), "a list of runs or checkpoints, such as [RUN1,RUN2]"),
    "distill.weight": (share, "a share between 0 and 1"),
    "distill.temperature": (positive, "a number above 0"),
    "distill.once": TRUTH,
    "trainer.accelerator": (a(str), "a text, such as auto, cpu or gpu"),
    "trainer.devices": (a(list[int] | str | int), "a number of devices, a list of their numbers, or auto"),
    "trainer.max_epochs": (either(one_of("auto"), whole(1)), "a whole number of at least 1, or auto"),
    "trainer.compile": (either(one_of("auto"), a(bool)), "true, false or auto"),
    "trainer.precision": (one_of("auto", *PRECISIONS), f"auto, {', '.join(PRECISIONS[:-1])} or {PRECISIONS[-1]}"),
    "logger.tensorboard": TRUTH,
}
# Of keys that may be left out
OPTIONAL: dict[str, Rule] = {
    "optimizer.lr": (positive, "a number above 0"),
    "scheduler.max_lr": (positive, "a number above 0"),
    "scheduler.min_lr": (at_least_0, "a number of at least 0"),
    "trainer.accumulate_grad_batches": (whole(1), "a whole number of at least 1"),
    "trainer.gradient_clip_val": (either(one_of(None), at_least_0), "null or a number of at least 0"),
    "trainer.limit_train_batches": (lambda value: value != 0, "above 0: every epoch needs some to train"),
    "trainer.limit_val_batches": (lambda value: value != 0, "above 0: every epoch needs some to validate"),
}
MISSING = object()


def check_values(config: dict[str, Any]) -> None:
    """Raise UserError for a plain key that is missing, unknown or holds what it cannot."""
    for key in GROUPS:
        if not isinstance(config.get(key), dict):
            choose = "" if key == "distill" else f", or choose one: {key}=NAME"
            raise UserError(f"{key}={config.get(key)!r}: it must be a group of settings; leave it out{choose}")
    refuse_infinite("", config)
    for key in MADE:
        if "_target_" not in config[key]:
            raise UserError(f"{key}._target_: it is missing; it names what {key} makes")
    for key, (fits, words) in {**RULES, **OPTIONAL}.items():
        group, _, name = key.rpartition(".")
        value = (config[group] if group else config).get(name, MISSING)
        if value is MISSING and key in RULES:
            raise UserError(f"{key}: it is missing; it must be {words}")
        if value is not MISSING and not fits(value):
            raise UserError(f"{key}={value!r}: it must be {words}")
    refuse_unknown("", config, TOP)
    for group in ("data", "logger", "distill"):
        refuse_unknown(f"{group}.", config[group], plain_keys(group))
    if "_target_" not in config["averaging"]:
        refuse_unknown("averaging.", config["averaging"], ["name"])
    for key in OWNED:
        if key in config["trainer"]:
            raise UserError(f"trainer.{key}: a run decides it by itself; leave it out")
    for key in CUTTING:
        if key in config["trainer"]:
            raise UserError(f"trainer.{key}: every epoch is trained and validated whole; leave it out")


def refuse_infinite(prefix: str, node: Any) -> None:
    """No setting is a number without end; most checks of constructors let a nan pass."""
    parts = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in parts:
        refuse_infinite(f"{prefix}{key}.", value)
    if isinstance(node, float) and not math.isfinite(node):
        raise UserError(f"{prefix.rstrip('.')}={node}: it must be a finite number")


def plain_keys(group: str) -> list[str]:
    return [key.removeprefix(f"{group}.") for key in RULES if key.startswith(f"{group}.")]


def refuse_unknown(prefix: str, node: dict[str, Any], known: Collection[str]) -> None:
    for key in node:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=3)
            hint = f"nearest: {', '.join(prefix + name for name in near)}" if near else f"known: {', '.join(known)}"
            raise UserError(f"{prefix}{key}: there is no such key; {hint}")
