"""From a plain mapping to a frozen dataclass and back; a wrong key or value is named by its path."""

import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

from deeplab.errors import UserError

T = TypeVar("T")


def build(cls: type[T], mapping: Mapping[str, Any], path: str = "") -> T:
    """Makes the frozen dataclass `cls` from a plain mapping, as read from YAML or JSON.

    Args:
        cls: a dataclass whose fields are bool, int, float, str, None, Literal, tuples, unions or dataclasses.
        mapping: its values; a key that is left out takes the default.
        path: the place of `mapping` in the whole configuration, for messages ("training.augment").

    Raises:
        UserError: an unknown key, a wrong type, a missing required key; the message names the path.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls)
    values = {}
    for key, value in mapping.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in fields:
            near = difflib.get_close_matches(str(key), fields, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"known keys: {', '.join(fields)}"
            raise UserError(where, "no such key", known)
        values[key] = _convert(hints[key], value, where)
    for name, f in fields.items():
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise UserError(f"{path}.{name}" if path else name, "a value is needed", f"set it with {name}=...")
    return cls(**values)


def to_mapping(config: Any) -> dict[str, Any]:
    """The inverse of `build`: a dataclass as JSON-ready mappings and lists."""
    return dataclasses.asdict(config)


def require(where: str, value: Any, holds: bool, wanted: str) -> None:
    """Raises UserError naming `where` and `value` unless `holds`."""
    if not holds:
        raise UserError(where, f"{value!r} will not do", f"it must be {wanted}")


def _convert(hint: Any, value: Any, where: str) -> Any:
    """`value` as the type `hint`, or a UserError that names `where`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        for option in args:
            try:
                return _convert(option, value, where)
            except UserError:
                continue
    elif origin is Literal:
        if value in args:
            return value
        raise UserError(where, f"{value!r} is not a choice", f"one of {', '.join(map(str, args))}")
    elif origin is tuple:
        if isinstance(value, (list, tuple)):
            if len(args) == 2 and args[1] is Ellipsis:
                return tuple(_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
            if len(value) == len(args):
                return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))
    elif origin is dict:
        if isinstance(value, Mapping):
            return dict(value)
    elif dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return build(typing.cast(type, hint), value, where)
        if isinstance(value, typing.cast(type, hint)):
            return value
    elif hint is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        return float(value)
    elif hint is int and isinstance(value, bool):
        pass
    elif isinstance(hint, type) and isinstance(value, hint):
        return value
    raise UserError(where, f"{value!r} is no {_type_name(hint)}", f"give a {_type_name(hint)}")


def _type_name(hint: Any) -> str:
    """How a message calls a type."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join("list of such" if typing.get_args(a)[:1] == args[:1] else _type_name(a) for a in args)
    if origin is Literal:
        return f"choice of {', '.join(map(str, args))}"
    if origin is tuple:
        return "list of " + " and ".join(_type_name(a) for a in args if a is not Ellipsis)
    return {type(None): "null", int: "whole number", float: "number", str: "text", bool: "true or false"}.get(
        hint, getattr(hint, "__name__", str(hint))
    )
