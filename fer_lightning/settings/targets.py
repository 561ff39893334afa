"""What a group's `_target_` names, checked and made: the only file that instantiates what `conf/` names."""

import difflib
import importlib
import inspect
import types
from collections.abc import Collection, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from hydra.utils import instantiate
from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_json

from fer_lightning.errors import UserError
from fer_lightning.settings.schema import Settings, Target

STEPS = 10  # of an epoch, where only its learning rates are wanted


def make(group: str, section: Target, given: Collection[str] = (), **more: Any) -> Any:
    """Instantiate a group's `_target_` after checking its arguments; its ValueErrors become the user's.

    given: names of arguments that are no setting: those in `more`, and those that a partial is called with.
    """
    try:
        module, _, name = section.target.rpartition(".")
        target = getattr(importlib.import_module(module), name)
        inspect.signature(target)
    except (ImportError, AttributeError, ValueError, TypeError):
        raise UserError(f"{group}._target_={section.target}: there is no such class or function") from None
    check_arguments(group, target, section.arguments, given)
    node = {**section.arguments, "_target_": section.target, "_partial_": section.partial}
    try:
        made = instantiate(node, **more, _convert_="all", _recursive_=False)
    except Exception as error:
        cause = error.__cause__ or error
        if isinstance(cause, ValueError | TypeError):
            raise UserError(f"{group}.{cause}") from None
        raise
    return _with_user_errors(group, made) if section.partial else made


def _with_user_errors(group: str, factory: Any) -> Any:
    """`factory` with its ValueErrors turned into the user's: a partial's arguments are checked when it is called."""

    def made(*arguments: Any) -> Any:
        try:
            return factory(*arguments)
        except (ValueError, TypeError, RuntimeError) as error:  # RuntimeError: torch's, of fused with foreach
            raise UserError(f"{group}: {error}") from None

    return made


def check_arguments(group: str, target: Any, arguments: dict[str, Any], given: Collection[str] = ()) -> None:
    """Raise UserError for a key that `target` does not take, or a value that its annotations rule out.

    given: names of what `target` takes from this package, so not from a configuration.
    """
    taken = inspect.signature(target).parameters
    parameters = [name for name in taken if name not in given]
    takes_any = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in taken.values())
    try:
        hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    except NameError:  # of a name that its module imports for a type checker alone
        hints = {}
    for key, value in arguments.items():
        if key not in parameters and not takes_any:
            near = difflib.get_close_matches(key, parameters, n=3)
            known = f"nearest: {', '.join(near)}" if near else f"it takes {', '.join(parameters) or 'none'}"
            raise UserError(f"{group}.{key}: {target.__name__} has no such argument; {known}")
        hint = hints.get(key, Any)
        accepted = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))
        try:
            accepted.validate_json(to_json(value), strict=True)  # JSON: there a list stands for a tuple as well
        except PydanticSerializationError:  # a text that is not UTF-8: whoever takes it will tell
            continue
        except ValidationError:
            raise UserError(f"{group}.{key}={value!r}: it must be {in_words(hint)}") from None


def in_words(hint: Any) -> str:
    """A type annotation for a person: "a whole number", "a list, each a number", …"""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(in_words(option) for option in arguments))
    if origin is Literal:
        return " or ".join(str(option) for option in arguments)
    if origin is not None and inspect.isclass(origin) and issubclass(origin, Sequence):
        kinds = " and ".join(dict.fromkeys(in_words(kind) for kind in arguments if kind is not Ellipsis))
        return f"a list, each {kinds}" if kinds else "a list"
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", type(None): "null"}
    return words.get(hint, getattr(hint, "__name__", str(hint)))


def optimizer_of_one(settings: Settings, epochs: int) -> tuple[torch.optim.Optimizer, dict[str, Any]]:
    """The optimizer, of one parameter, and the scheduler, see schedules.py, of so many epochs of STEPS steps."""
    optimizer = make("optimizer", settings.optimizer, ["params"])([torch.nn.Parameter(torch.zeros(1))])
    scheduler = make("scheduler", settings.scheduler, ["optimizer", "epochs", "steps_per_epoch"])
    return optimizer, scheduler(optimizer, epochs, STEPS)


def learning_rates(settings: Settings, epochs: int, first: int) -> list[float]:
    """The learning rates of the first epochs of a training of `epochs`, in STEPS steps each."""
    optimizer, made = optimizer_of_one(settings, epochs)
    scheduler, by_step = made["scheduler"], made.get("interval") == "step"
    rates = []
    for step in range(1, STEPS * first + 1):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        if by_step or step % STEPS == 0:
            scheduler.step(*([1.0] if "monitor" in made else []))
    return rates
