"""The text of `--help`, generated from the docstrings of the config dataclasses."""

import dataclasses
import inspect
import re
import shutil
import textwrap
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from deeplab.cli.commands import COMMANDS, Command
from deeplab.config import DataConfig, nested_config, type_name

_ATTRIBUTE = re.compile(r"^    (\w+): (.*)$")


def overview() -> str:
    """Return the help of `deeplab` itself: the list of commands."""
    lines = ["usage: deeplab COMMAND key=value ...", ""]
    for command in COMMANDS.values():
        lines += _wrapped(command.summary.split(". ")[0].rstrip(".") + ".", f"  {command.name:<12}")
    return "\n".join([*lines, "", "deeplab COMMAND --help lists the settings of a command."])


def command_help(command: Command, folder: Path, program: str) -> str:
    """Return the help of one command.

    Args:
        command: the command.
        folder: the folder of YAML files, for the choices of the config groups.
        program: how the command is called ("python train.py").
    """
    lines = [f"usage: {program} key=value ...", "", *_wrapped(command.summary), "", "examples:"]
    for arguments, comment in command.examples:
        lines.append(f"  {program} {arguments}   # {comment}")
    groups = _groups(command, folder)
    if groups:
        lines += ["", "config groups (files in configs/; GROUP=NAME selects one):"]
        for group, choices in groups.items():
            lines += _wrapped(", ".join(choices), f"  {group:<12}")
    for key, job in command.jobs.items():
        title = f"settings with {key if '=' in key else f'{key}=FILE'}" if key else "settings"
        lines += ["", f"{title} (name: type = default):", *_settings(job.config)]
    return "\n".join(lines)


def attribute_docs(cls: type) -> dict[str, str]:
    """Return the description of each attribute in the "Attributes:" section of a docstring."""
    docs: dict[str, str] = {}
    _, _, section = (inspect.getdoc(cls) or "").partition("Attributes:\n")
    name = None
    for line in section.splitlines():
        found = _ATTRIBUTE.match(line)
        if found:
            name = found[1]
            docs[name] = found[2]
        elif name and line.startswith("        "):
            docs[name] += f" {line.strip()}"
        elif line.strip():
            break
    return docs


def _groups(command: Command, folder: Path) -> dict[str, list[str]]:
    """The choices of each config group that the command uses: those with a key of the same name, and `experiment`."""
    keys = {field.name for job in command.jobs.values() for field in dataclasses.fields(job.config)}
    used = {*keys, *(("experiment",) if command.name == "train" else ())}
    found = {}
    for group in sorted(path for path in folder.iterdir() if path.is_dir() and path.name in used):
        found[group.name] = sorted(path.stem for path in group.glob("*.yaml"))
    return found


def _settings(cls: type, path: str = "") -> Iterator[str]:
    """The lines of all settings of a config dataclass, those of nested dataclasses by their full path."""
    docs, hints = attribute_docs(cls), typing.get_type_hints(cls, include_extras=True)
    nested = []
    for field in dataclasses.fields(cls):
        hint = hints[field.name]
        if (config := nested_config(hint)) is not None:
            nested.append((f"{path}{field.name}.", config))
            continue
        yield f"  {path}{field.name}: {type_name(hint)}{_default(field)}"
        yield from _wrapped(docs.get(field.name, ""), "      ")
        if field.name == "data":
            # Its keys change single values of the data of a run, so that its type is a mapping.
            nested.append((f"{path}data.", DataConfig))
    for inner, config in nested:
        yield ""
        yield from _settings(config, inner)


def _default(field: "dataclasses.Field[Any]") -> str:
    """The default of a setting as it would be written."""
    if field.default is not dataclasses.MISSING:
        value = field.default
    elif field.default_factory is not dataclasses.MISSING:
        value = field.default_factory()
    else:
        return " (required)"
    if value is None:
        return " = null"
    if isinstance(value, bool):
        return f" = {str(value).lower()}"
    if isinstance(value, (tuple, list)):
        return f" = [{','.join(map(str, value))}]"
    return f" = {value!r}" if value == "" else f" = {value}"


def _wrapped(text: str, first: str = "") -> list[str]:
    """`text` in lines that fit the terminal, indented like the width of `first`."""
    width = min(shutil.get_terminal_size().columns, 110)
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * len(first), break_long_words=False)
