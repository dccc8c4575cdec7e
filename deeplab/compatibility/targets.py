"""The targets of an export: settings that belong together, so that an app, a delegate or a browser takes the file."""

import dataclasses
import textwrap
from typing import Any

from deeplab.compatibility.rules import SettingRule, Target, targets
from deeplab.config import ExportConfig, TargetListConfig, fixed_height_width, is_given, record_given
from deeplab.errors import UserError, did_you_mean


def find_target(name: str) -> Target:
    """Return a target; raises UserError with a suggestion if its name is unknown."""
    if name in targets():
        return targets()[name]
    known = did_you_mean(name, [*targets(), "list"], f"use one of {', '.join(targets())};")
    raise UserError("target", f"unknown target {name!r}", f"{known} target=list describes all")


def with_target(config: ExportConfig) -> ExportConfig:
    """Return the config with the settings of its target; settings that the user gave by hand are kept.

    Settings that the target leaves open are kept too. Without a target the config is returned as it is.

    Raises:
        UserError: an unknown target, or a setting that contradicts it; the message states the reason.
    """
    if config.target is None:
        return config
    target, changes = find_target(config.target), {}
    size = fixed_height_width(config.image_size)
    if size is not None:
        check_image_size(config, size)
    for name, rule in target.setting.items():
        value = getattr(config, name)
        if not is_given(config, name) or value is None:
            changes[name] = value if rule.default is None else rule.default
        elif not _accepts(rule, value):
            problem = f"{_text(value)} contradicts target={target.id}, because {rule.because}"
            raise UserError(name, problem, f"use {_accepted(rule)}, or omit it")
    given = {field.name for field in dataclasses.fields(config) if is_given(config, field.name)}
    return record_given(dataclasses.replace(config, **changes), given | set(changes))


def target_rows(name: str) -> tuple[str, ...]:
    """Return the ids of the apps and delegates that a target is about."""
    return find_target(name).rows


def check_image_size(config: ExportConfig, size: tuple[int, int]) -> None:
    """Raise UserError if an image size, which can come from the run, exceeds the limit of the target."""
    rule = _size_rule(config)
    if rule is not None and rule.maximum is not None and max(size) > rule.maximum:
        problem = f"{_text(size)} contradicts target={config.target}, because {rule.because}"
        raise UserError("image_size", problem, f"use image_size={rule.maximum} or a smaller size")


def largest_side(config: ExportConfig) -> int | None:
    """Return the limit of the target on the sides of the input in pixels; None if it has none."""
    rule = _size_rule(config)
    return None if rule is None else rule.maximum


def required_size(config: ExportConfig) -> Any:
    """Return the input size that the target requires; None if it leaves the size open."""
    rule = _size_rule(config)
    return None if rule is None else rule.default


def _size_rule(config: ExportConfig) -> SettingRule | None:
    return None if config.target is None else find_target(config.target).setting.get("image_size")


def describe_targets() -> str:
    """Return a table of all targets: name, what it is for, and the settings that it makes or demands."""
    lines = []
    for target in targets().values():
        settings = ", ".join(_described(name, rule) for name, rule in target.setting.items())
        lines += [f"{target.id:19} {target.purpose}"]
        lines += textwrap.wrap(settings, 110, initial_indent=" " * 20, subsequent_indent=" " * 20)
    lines += ["", "NAME=VALUE is set by the target; values in brackets are accepted too, others are refused."]
    return "\n".join(lines)


def print_targets(config: TargetListConfig) -> None:
    """Print the table of all targets; `config` only selects this job."""
    print(describe_targets())


def _accepts(rule: SettingRule, value: Any) -> bool:
    """Return whether a target accepts the value of a setting; of several quantizations it must accept each."""
    if rule.maximum is not None:
        # Checked by `check_image_size` together with the size of the run.
        return True
    if rule.allowed is None:
        return True
    allowed = [tuple(v) if isinstance(v, list) else v for v in rule.allowed]
    if isinstance(value, tuple) and value and not any(isinstance(v, tuple) for v in allowed):
        return all(v in allowed for v in value)
    return value in allowed


def _accepted(rule: SettingRule) -> str:
    values = [_text(v) for v in rule.allowed or ()]
    return " or ".join([", ".join(values[:-1]), values[-1]]) if len(values) > 1 else "".join(values)


def _described(name: str, rule: SettingRule) -> str:
    """Return a setting with the value that the target sets and those that it accepts."""
    if rule.maximum is not None:
        return f"{name} up to {rule.maximum}"
    others = "|".join(_text(value) for value in rule.allowed or () if value != rule.default)
    if rule.default is None:
        return f"{name} [{others}]"
    return f"{name}={_text(rule.default)}" + f" [{others}]" * bool(others)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (tuple, list)):
        return f"[{','.join(map(str, value))}]"
    return str(value)
