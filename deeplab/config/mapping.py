"""Conversion between plain mappings (YAML, JSON) and the frozen config dataclasses, with strict checks."""

import dataclasses
import difflib
import os
import types
import typing
from collections.abc import Iterable, Iterator, Mapping
from numbers import Integral, Real
from typing import Annotated, Any, Literal, TypeVar

from deeplab.config.ranges import MAY_BE_EMPTY, values_out_of_range
from deeplab.errors import UserError

T = TypeVar("T")


def build(cls: type[T], mapping: Mapping[str, Any], path: str = "") -> T:
    """Build the frozen dataclass `cls` from a plain mapping.

    Args:
        cls: a dataclass whose fields are bool, int, float, str, None, Literal, tuples, dicts, unions or dataclasses.
        mapping: the values; a missing key takes its default.
        path: the location of `mapping` in the whole config, for messages ("training.augment").

    Raises:
        UserError: an unknown key, a wrong type or a missing required key. The message names the path.
    """
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    hints = typing.get_type_hints(cls, include_extras=True)
    values = {}
    for key, value in mapping.items():
        where = f"{path}.{key}" if path else str(key)
        if key not in fields:
            near = _similar_key(str(key), cls, path)
            known = f"did you mean {near!r}?" if near else f"known keys: {', '.join(fields)}"
            raise UserError(where, "unknown key", known)
        values[key] = _convert(hints[key], value, where)
    for name, f in fields.items():
        if name not in values and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING:
            raise UserError(f"{path}.{name}" if path else name, "a value is required", f"set it with {name}=VALUE")
    return cls(**values)


def to_mapping(config: Any) -> dict[str, Any]:
    """Return a dataclass as JSON-ready mappings and lists: the inverse of `build`."""
    return dataclasses.asdict(config)


def record_given(config: T, keys: Iterable[str]) -> T:
    """Record the keys of the settings that the user gave by hand ("model.head"), for `is_given`; return the config."""
    object.__setattr__(config, "_given", frozenset(keys))
    return config


def is_given(config: Any, name: str) -> bool:
    """Return whether the user gave a setting, or a key below it, by hand; defaults and YAML files are not by hand.

    In a config made in Python, the settings that differ from their defaults count as given.

    Args:
        config: a config dataclass.
        name: a field of it, or of a config inside it ("training.crop_size"), or a config group ("experiment").
    """
    given = getattr(config, "_given", None)
    if given is not None:
        return any(key == name or key.startswith(f"{name}.") for key in given)
    name, _, inner = name.partition(".")
    value = getattr(config, name, None)
    if inner:
        return inner in value if isinstance(value, dict) else value is not None and is_given(value, inner)
    field = next((f for f in dataclasses.fields(config) if f.name == name), None)
    if field is None:
        return False
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    return bool(getattr(config, name) != default)


def with_values(config: T, values: Mapping[str, Any]) -> T:
    """Return a config with other values of some settings, by path ("training.steps"); what was given stays recorded.

    Raises:
        UserError: a value is out of range, or contradicts another one.
    """
    mapping = to_mapping(config)
    for path, value in values.items():
        *parents, last = path.split(".")
        inner = mapping
        for part in parents:
            inner = inner[part]
        inner[last] = value
    result = build(type(config), mapping)
    given = getattr(config, "_given", None)
    return result if given is None else record_given(result, given)


def check_fields(config: Any, path: str = "") -> None:
    """Check type and range of every field of a config dataclass, also of one that was made in Python.

    Integers of NumPy become int, lists become tuples, and paths become text, as the types of the fields state.

    Raises:
        UserError: a wrong type, or a number outside its declared range.
    """
    for name, hint in typing.get_type_hints(type(config), include_extras=True).items():
        object.__setattr__(config, name, checked(hint, getattr(config, name), f"{path}{name}"))


def require(where: str, value: Any, holds: bool, expected: str) -> None:
    """Raise UserError that names `where`, the expected values and `value`, unless `holds`."""
    if not holds:
        raise UserError(where, f"expected {expected}, got {value!r}")


def require_defaults(config: Any, path: str, needed: str) -> None:
    """Raise UserError for the first field of a config that has no effect because the setting `needed` is not set."""
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        require(f"{path}{field.name}", value, value == field.default, f"{field.default!r} without {needed}")


def check_list(where: str, value: Any, element: str) -> None:
    """Raise UserError if `value` is an empty list, or names the same `element` twice; other values pass."""
    if isinstance(value, tuple):
        require(where, list(value), bool(value), f"at least one {element}")
        require(where, list(value), len(set(value)) == len(value), f"each {element} once")


def checked(hint: Any, value: Any, where: str) -> Any:
    """Return an argument of a library function as the type `hint`; raises UserError as for a field of a config."""
    value = _convert(hint, value, where)
    for path, inner, number in values_out_of_range(hint, value, where):
        kind, limits = typing.get_args(inner)
        require(path, number, False, f"{type_name(kind)} {limits.expected(number)}")
    return value


def type_name(hint: Any) -> str:
    """Describe a type to a user: "an integer", "a list of numbers", "one of a, b"."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return f"{type_name(args[0])} {args[1].text}".strip()
    if origin in (typing.Union, types.UnionType):
        *names, last = dict.fromkeys(_option_name(option, args) for option in args)
        return f"{', '.join(names)} or {last}" if names else last
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}"
    if origin is tuple:
        element, _, extent = type_name(args[0]).removeprefix("an ").removeprefix("a ").partition(" ")
        plural = f"{element}s" if element in ("integer", "number") else element
        plural += f" {extent}" * bool(extent)
        return f"a list of {plural}" if args[-1] is Ellipsis else f"a list of {len(args)} {plural}"
    if origin is dict or dataclasses.is_dataclass(hint):
        return "a mapping"
    plain = {type(None): "null", int: "an integer", float: "a number", str: "text", bool: "true or false"}
    return plain.get(hint, getattr(hint, "__name__", str(hint)))


def _similar_key(key: str, cls: type, path: str) -> str | None:
    """Return the path of the setting, at any depth below `cls`, whose last part is `key` or similar to it."""
    paths = list(_all_paths(cls, f"{path}." if path else ""))
    names = [name.rpartition(".")[2] for name in paths]
    near = difflib.get_close_matches(key, names, n=1, cutoff=0.85)
    near = near or [name for name in names if name.startswith(f"{key}_")]
    near = near or difflib.get_close_matches(key, names, n=1)
    return paths[names.index(near[0])] if near else None


def _all_paths(cls: type, prefix: str) -> Iterator[str]:
    """Yield the paths of all settings, those of `cls` itself first."""
    hints = typing.get_type_hints(cls)
    yield from (f"{prefix}{name}" for name in hints)
    for name, hint in hints.items():
        if (inner := nested_config(hint)) is not None:
            yield from _all_paths(inner, f"{prefix}{name}.")


def nested_config(hint: Any) -> type | None:
    """Return the config dataclass that a setting holds, alone or as an alternative; None if it holds none."""
    options = (hint, *typing.get_args(hint))
    return next((option for option in options if isinstance(option, type) and dataclasses.is_dataclass(option)), None)


def _option_name(option: Any, options: tuple[Any, ...]) -> str:
    """Describe one option of a union; a list of another option is "a list of these"."""
    origin, args = typing.get_origin(option), typing.get_args(option)
    if origin is tuple and args[0] in options and args[-1] is Ellipsis:
        return "a list of these"
    return ", ".join(map(str, args)) if origin is Literal else type_name(option)


def _convert(hint: Any, value: Any, where: str) -> Any:
    """Convert `value` to the type `hint`, or raise UserError about `where`."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        # The range is checked by the dataclass itself, for configs made in Python too.
        return value if args[1] is MAY_BE_EMPTY and value == "" else _convert(args[0], value, where)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        for option in args:
            try:
                return _convert(option, value, where)
            except UserError:
                continue
    elif hint is Any:
        return value
    elif origin is Literal:
        # 16.0 and True equal integers, but are none.
        if isinstance(value, (str, Integral)) and not isinstance(value, bool) and value in args:
            return args[args.index(value)]
    elif origin is tuple:
        if isinstance(value, (list, tuple)):
            if len(args) == 2 and args[1] is Ellipsis:
                return tuple(_convert(args[0], v, f"{where}[{i}]") for i, v in enumerate(value))
            if len(value) == len(args):
                return tuple(_convert(a, v, f"{where}[{i}]") for i, (a, v) in enumerate(zip(args, value, strict=True)))
    elif origin is dict:
        if isinstance(value, Mapping):
            return {key: _convert(args[1], v, f"{where}.{key}") for key, v in value.items()}
    elif dataclasses.is_dataclass(hint):
        if isinstance(value, Mapping):
            return build(typing.cast(type, hint), value, where)
        if isinstance(value, typing.cast(type, hint)):
            return value
    elif hint is float and isinstance(value, Real) and not isinstance(value, bool):
        return float(value)
    elif hint is int and isinstance(value, Integral) and not isinstance(value, bool):
        return int(value)
    elif hint is str:
        text = os.fspath(value) if isinstance(value, os.PathLike) else value
        if isinstance(text, str) and text.strip() and "\0" not in text:
            return text
        if isinstance(text, str):
            raise UserError(where, f"expected text, got {value!r}", "leave the setting out, or give it a value")
    elif hint is int:
        pass
    elif isinstance(hint, type) and isinstance(value, hint):
        return value
    raise UserError(where, f"expected {type_name(hint)}, got {value!r}")
