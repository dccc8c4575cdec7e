"""From `key=value` arguments to a plain mapping; hydra composes the YAML files, and the arguments are parsed here."""

import re
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from deeplab.errors import CONTROL, UserError, did_you_mean

_KEY = re.compile(r"[A-Za-z_]\w*(\.[\w-]+)*")
_INTEGER = re.compile(r"[+-]?(0|[1-9]\d*(_\d+)*)")
_NUMBER = re.compile(r"[+-]?((\d+\.\d*|\.\d+)(e[+-]?\d+)?|\d+e[+-]?\d+|inf|nan)", re.IGNORECASE)
_MAX_DIGITS = 1000
_WORDS = {"null": None, "true": True, "false": False}
_SHELL = re.compile(r"\$\{|\$\w+/|~(/|$)")
"""What a shell would have replaced. Without quotes it does; here it would become a folder of this name."""


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
    groups = {path.name for path in folder.iterdir() if path.is_dir()}
    choices: dict[str, str] = {}
    values: dict[str, Any] = {}
    for argument in arguments:
        if show and argument in ("--cfg", "job"):
            continue
        key, value = _split(argument)
        if key in choices or key in values:
            # As in hydra, so that scripts can append settings; but not silently.
            warnings.warn(f"{key} is given twice; {argument} counts", stacklevel=2)
        if key in groups:
            choices[key] = _choice(key, value, folder)
        else:
            values[key] = _parse(argument, value)
    settings = _compose(name, choices, folder, values.get("pretrained") is not None)
    # Hydra takes `data=null` as "no data chosen", and the default would then be used silently.
    settings |= {key: None for key, choice in choices.items() if choice == "null" and key != "experiment"}
    for key, value in values.items():
        _merge(settings, key.split("."), value)
    if show:
        print(yaml.safe_dump(settings, sort_keys=False, allow_unicode=True), end="")
        return None
    return settings


def given_keys(arguments: Sequence[str]) -> set[str]:
    """Return the keys of `key=value` arguments, which the user gave by hand; config groups count by their name.

    A mapping counts by the keys in it: `training={steps: 5}` gives training.steps.
    """
    keys: set[str] = set()
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if equals:
            keys.update(_leaves(key, _parse(argument, text) if text.startswith("{") else text))
    return keys


def _leaves(key: str, value: Any) -> Iterator[str]:
    """Yield the keys of the values in nested mappings below `key`, or `key` itself."""
    if isinstance(value, dict) and value:
        for inner, element in value.items():
            yield from _leaves(f"{key}.{inner}", element)
    else:
        yield key


def _split(argument: str) -> tuple[str, str]:
    """Return key and value of an argument."""
    key, equals, value = argument.partition("=")
    if CONTROL.search(argument):
        raise UserError(argument, "has a character that cannot be printed", "rename the file, or correct the value")
    if equals and key.lstrip("+~").startswith("hydra"):
        raise UserError(argument, "hydra's own settings are not used", "leave it out")
    plain = key.lstrip("+~")
    if plain != key and _KEY.fullmatch(plain):
        raise UserError(argument, "not a setting", f"write {plain}=VALUE; {plain}=null where a setting may be absent")
    if not equals or not _KEY.fullmatch(key):
        subject = argument if argument.strip() else repr(argument)
        raise UserError(subject, "not a setting", "write key=value, such as data=voc, or --help")
    shell = _SHELL.search(value)
    if shell and (shell[0].startswith("${") or shell.start() == 0):
        raise UserError(argument, f"{shell[0].rstrip('/')} is not expanded here", "write the whole path or value")
    return key, value


def _choice(key: str, value: str, folder: Path) -> str:
    """Return the choice of a config group after checking that it exists."""
    known = sorted(path.stem for path in (folder / key).glob("*.yaml"))
    if value not in (*known, "null"):
        remedy = did_you_mean(value, known, f"use one of {', '.join(known)}")
        raise UserError(f"{key}={value}", "unknown choice", remedy)
    return value


def _parse(argument: str, text: str) -> Any:
    """Return the value of an argument: a number, true, false, null, text, or a list or mapping of these.

    Only `[`, `{` and quotes at the start are syntax; every other value that is no number or word of YAML is text as it
    stands, so that paths need no quotes beyond those of the shell.
    """
    if text[:1] not in ("[", "{", "'", '"') or text == "'":
        return _scalar(text)
    try:
        # The whole value must be one list, mapping or quoted text: the rule for a key and its value checks this.
        override = OverridesParser.create().parse_override(f"key={text}")
        return _plain(override.value())
    except (HydraException, ValueError) as error:
        remedy = "close every bracket and quote, and quote text with special characters: \"'[a] b.png'\""
        raise UserError(argument, "is no list, mapping or quoted text", remedy) from error


def _scalar(text: str) -> Any:
    """Return a plain word as null, true, false, an integer, a number, or the text itself."""
    if text.lower() in _WORDS:
        return _WORDS[text.lower()]
    # Python converts no longer ones; as text they are refused by the setting.
    if len(text) < _MAX_DIGITS and _INTEGER.fullmatch(text):
        return int(text)
    return float(text) if _NUMBER.fullmatch(text) else text


def _plain(value: Any) -> Any:
    """Return a value of hydra's parser as plain Python values."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(element) for element in value]
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(element) for key, element in value.items()}
    if value is not None and not isinstance(value, (int, float, str)):
        raise ValueError(f"{value} is a sweep or a function of hydra")
    return value


def _merge(settings: dict[str, Any], path: list[str], value: Any) -> None:
    """Set `value` at a path of nested mappings; a mapping changes only the keys that it has."""
    *parents, last = path
    for part in parents:
        if not isinstance(settings.get(part), dict):
            settings[part] = {}
        settings = settings[part]
    if isinstance(value, dict) and isinstance(settings.get(last), dict):
        for key, inner in value.items():
            _merge(settings[last], [key], inner)
    else:
        settings[last] = value


def _compose(name: str, choices: dict[str, str], folder: Path, describes_network: bool) -> dict[str, Any]:
    """Compose the YAML files of a command with the chosen files of its groups.

    The model that the data select by themselves is left out if pretrained weights may describe another one.
    """
    GlobalHydra.instance().clear()
    try:
        with warnings.catch_warnings(), initialize_config_dir(str(folder.absolute()), version_base="1.3"):
            warnings.simplefilter("ignore")
            overrides = [f"{key}={choice}" for key, choice in choices.items() if choice != "null"]
            overrides += ["~experiment"] * (choices.get("experiment") == "null")
            if describes_network and "model" not in choices:
                chosen = compose(name, overrides, return_hydra_config=True).hydra.runtime.choices
                overrides += ["~model"] * (chosen.get("model") == f"{chosen.get('data')}_demo")
            composed = compose(name, overrides)
        settings = OmegaConf.to_container(composed, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        given = " ".join(f"{key}={choice}" for key, choice in choices.items()) or f"{name}.yaml"
        raise UserError(given, f"cannot be used with {name}", "see --help") from error
    return {str(key): value for key, value in settings.items()} if isinstance(settings, dict) else {}
