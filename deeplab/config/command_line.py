"""The command line that a config stands for: the inverse of what `deeplab.cli.settings` reads."""

import dataclasses
import re
import shlex
import sys
from pathlib import Path
from typing import Any

_PLAIN = re.compile(r"[A-Za-z_./][\w./-]*")
"""Text that is neither a number nor syntax."""

_WORDS = ("null", "true", "false", "inf", "nan")


def command_name(name: str) -> str:
    """Return how this process calls a command: "deeplab NAME" if it is itself called so, else "python NAME.py"."""
    return f"deeplab {name}" if Path(sys.argv[0]).name == "deeplab" else f"python {name}.py"


def command_line(program: str, config: Any, **changes: Any) -> str:
    """Return the shell command that gives a config, with the settings that differ from their defaults.

    Args:
        program: the call of the command, such as "python export.py"; see `command_name`.
        config: a config dataclass.
        changes: values that replace those of the config.
    """
    words = []
    for field in dataclasses.fields(config):
        value = changes.get(field.name, getattr(config, field.name))
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        if value == default:
            continue
        if field.name == "data" and isinstance(value, dict):
            # The source comes first: it selects configs/data/SOURCE.yaml, whose values the others replace.
            keys = sorted(value, key=lambda key: key != "source")
            words += [f"data{'' if key == 'source' else f'.{key}'}={argument_text(value[key])}" for key in keys]
        else:
            words.append(f"{field.name}={argument_text(value)}")
    return " ".join([program, *map(shlex.quote, words)])


def argument_text(value: Any, nested: bool = False) -> str:
    """Return a value as the argument parser reads it; text inside a list or mapping is quoted if it is not plain."""
    if value is None or isinstance(value, bool):
        return "null" if value is None else str(value).lower()
    if isinstance(value, (list, tuple)):
        return f"[{','.join(argument_text(element, True) for element in value)}]"
    if isinstance(value, dict):
        return (
            "{"
            + ",".join(f"{argument_text(key, True)}: {argument_text(element, True)}" for key, element in value.items())
            + "}"
        )
    if not isinstance(value, str):
        return repr(value)
    is_plain = bool(_PLAIN.fullmatch(value)) and value.lower() not in _WORDS
    # At the top level only brackets, quotes and words with a meaning of their own need quotes.
    if is_plain or (not nested and value[:1] not in ("", "[", "{", "'", '"') and not _is_scalar(value)):
        return value
    # Backslashes before a quote, or at the end, would escape it.
    return "'" + re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + "\\'" * bool(found[2]), value) + "'"


def _is_scalar(text: str) -> bool:
    """Return whether the argument parser reads text as something else than text."""
    return text.lower() in _WORDS or bool(re.fullmatch(r"[+-]?[\d._]+(e[+-]?\d+)?|[+-]?(inf|nan)", text, re.IGNORECASE))
