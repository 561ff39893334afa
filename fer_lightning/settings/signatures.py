"""Values of a configuration held against the annotations of what they go to."""

import difflib
import inspect
import types
from collections.abc import Collection, Sequence
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from fer_lightning.errors import UserError


def check_arguments(group: str, target: Any, arguments: dict[str, Any], given: Collection[str] = ()) -> None:
    """Raise UserError for a key that `target` does not take, or a value that its annotations rule out.

    given: names of what `target` takes from this package, so not from a configuration.
    """
    function = target.__init__ if inspect.isclass(target) else target
    parameters = [name for name in inspect.signature(target).parameters if name not in given]
    hints = get_type_hints(function)
    for key, value in arguments.items():
        if key not in parameters:
            near = difflib.get_close_matches(key, parameters, n=3)
            known = f"nearest: {', '.join(near)}" if near else f"it takes {', '.join(parameters) or 'none'}"
            raise UserError(f"{group}.{key}: {target.__name__} has no such argument; {known}")
        if key in hints and not is_a(value, hints[key]):
            raise UserError(f"{group}.{key}={value!r}: it must be {in_words(hints[key])}")


def is_a(value: Any, hint: Any) -> bool:
    """Whether a plain YAML value fits a type annotation."""
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if hint is None or hint is type(None):
        return value is None
    if origin in (Union, types.UnionType):
        return any(is_a(value, option) for option in arguments)
    if origin is Literal:
        return value in arguments
    if origin in (list, tuple, Sequence) or (inspect.isclass(origin) and issubclass(origin, Sequence)):
        kinds = [kind for kind in arguments if kind is not Ellipsis] or [Any]
        fixed = origin is tuple and Ellipsis not in arguments
        return (
            isinstance(value, list)
            and (not fixed or len(value) == len(kinds))
            and all(is_a(item, kinds[i % len(kinds)]) for i, item in enumerate(value))
        )
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    if hint in (bool, str):
        return isinstance(value, hint)
    return inspect.isclass(hint) and isinstance(value, hint)


def in_words(hint: Any) -> str:
    """A type annotation for a person: "a whole number", "a list of numbers", …"""
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
