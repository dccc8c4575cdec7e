"""From `key=value` arguments to a plain mapping, composed by hydra."""

import difflib
import re
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deeplab.errors import UserError

_PLAIN_VALUE = re.compile(r"[\w/\-\\+.$%*@?|:,~]*|[\[{'\"].*", re.DOTALL)
"""Values that hydra accepts without quotes: plain words and paths, and explicit lists, mappings and strings."""


def config_folder() -> Path:
    """Return the folder of the YAML files: inside the installed package, or configs/ of a checkout."""
    package = Path(__file__).parents[1]
    installed = package / "configs"
    return installed if installed.is_dir() else package.parent / "configs"


def compose_settings(name: str, arguments: Sequence[str], folder: Path) -> dict[str, Any] | None:
    """Compose the settings of a command.

    Args:
        name: the command, which is the name of its YAML file.
        arguments: `key=value` settings. `--cfg job` among them prints the composed settings.
        folder: the folder of YAML files; its sub-folders are the config groups.

    Returns:
        The settings as plain values; None if they were printed.

    Raises:
        UserError: an argument that is not a setting, or an unknown choice of a config group.
    """
    show = "--cfg" in arguments
    overrides = [_override(a, folder) for a in arguments if not (show and a in ("--cfg", "job"))]
    GlobalHydra.instance().clear()
    try:
        with warnings.catch_warnings(), initialize_config_dir(str(folder.absolute()), version_base="1.3"):
            warnings.simplefilter("ignore")
            composed = compose(name, overrides)
        settings = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError("settings", _reason(error), "write key=value") from error
    if show:
        print(OmegaConf.to_yaml(composed, resolve=True), end="")
        return None
    return {str(key): value for key, value in settings.items()} if isinstance(settings, dict) else {}


def given_keys(arguments: Sequence[str]) -> set[str]:
    """Return the keys of `key=value` arguments, which the user gave by hand; config groups count by their name."""
    return {argument.partition("=")[0].lstrip("+~") for argument in arguments if "=" in argument}


def _override(argument: str, folder: Path) -> str:
    """Rewrite one argument for hydra.

    `key=value` becomes `++key=value`, so that hydra accepts keys that are not in the YAML; `deeplab.config.build`,
    which knows all keys, refuses the unknown ones.
    """
    key, equals, value = argument.partition("=")
    if not equals or not key or argument.startswith("-"):
        raise UserError(argument, "not a setting", "write key=value, such as data=voc, or --help")
    if key.lstrip("+~").startswith("hydra"):
        raise UserError(argument, "hydra's own settings are not used", "leave it out")
    if argument.startswith(("+", "~")):
        return argument
    if (folder / key).is_dir():
        choices = sorted(path.stem for path in (folder / key).glob("*.yaml"))
        if value not in (*choices, "null"):
            near = difflib.get_close_matches(value, choices, n=1)
            known = f"did you mean {near[0]!r}?" if near else f"use one of {', '.join(choices)}"
            raise UserError(f"{key}={value}", "unknown choice", known)
        return argument
    if not _PLAIN_VALUE.fullmatch(value):
        # Spaces and brackets of a path are not syntax here.
        value = "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    override = f"++{key}={value}"
    try:
        OverridesParser.create().parse_override(override)
    except HydraException as error:
        raise UserError(argument, f"cannot be parsed ({_reason(error)})", "check the brackets and quotes") from error
    return override


def _reason(error: Exception) -> str:
    """The first line of an error of hydra or omegaconf."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
