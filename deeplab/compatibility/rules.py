"""Reads rules.toml, which contains all rules of this package with their sources."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

Verdict = Literal["delegated", "falls back", "unknown"]
"""What a delegate does with an operator, by its rules. None of them says what happens on a device."""


@dataclass(frozen=True)
class SettingRule:
    """The values of one setting of an export that a target accepts.

    Attributes:
        because: the reason.
        allowed: accepted values, in the form of the config; None accepts all.
        default: the value that the target sets; None sets none.
        maximum: limit of an image size in pixels; None for none.
    """

    because: str
    allowed: list[Any] | None = None
    default: Any = None
    maximum: int | None = None


@dataclass(frozen=True)
class Target:
    """What an exported file is made for.

    Attributes:
        id: name.
        purpose: what it is for.
        rows: ids of the apps and delegates that it is about.
        setting: rules by the names of `ExportConfig`.
    """

    id: str
    purpose: str
    rows: tuple[str, ...]
    setting: Mapping[str, SettingRule]


@dataclass(frozen=True)
class AppRule:
    """A requirement of an app.

    Attributes:
        require: key and value, see `apps`.
        because: the reason.
        change: what to change in the app to lift it; empty if the app cannot be changed.
    """

    require: Mapping[str, Any]
    because: str
    change: str = ""


@dataclass(frozen=True)
class App:
    """A sample app, or a client that apps contain.

    Attributes:
        id, title: its names.
        source: the file that states the rules, with its version.
        rule: all must hold.
        client: id of the client in the app, whose rules hold too; empty for none.
    """

    id: str
    title: str
    source: str
    rule: tuple[AppRule, ...]
    client: str = ""


@dataclass(frozen=True)
class DelegateRule:
    """A condition on operators and the verdict if it holds.

    Attributes:
        when: conditions, see `delegates`; all must hold.
        verdict: what then happens to the operator.
        because: the reason.
        operators: names; empty for all operators.
    """

    when: Mapping[str, Any]
    verdict: Verdict
    because: str
    operators: tuple[str, ...] = ()


@dataclass(frozen=True)
class Delegate:
    """A delegate and its rules.

    Attributes:
        id, title: its names.
        source: the files that state the rules, with their version.
        remark: what else decides; empty for nothing.
        operators: names of operators that it takes if no rule says otherwise.
        unchecked: names of operators that it takes under conditions that are not listed; "*" for all.
        versions: maximum version of an operator.
        rule: the first that holds decides.
    """

    id: str
    title: str
    source: str
    remark: str = ""
    operators: tuple[str, ...] = ()
    unchecked: tuple[str, ...] = ()
    versions: Mapping[str, int] = field(default_factory=dict)
    rule: tuple[DelegateRule, ...] = ()


@cache
def targets() -> dict[str, Target]:
    """Return all targets by id."""
    found = {}
    for t in _rules()["target"]:
        setting = {name: SettingRule(**rule) for name, rule in t["setting"].items()}
        found[t["id"]] = Target(t["id"], t["purpose"], tuple(t["rows"]), setting)
    return found


@cache
def apps() -> dict[str, App]:
    """Return all sample apps and clients by id."""
    read = [App(**{**app, "rule": tuple(AppRule(**rule) for rule in app["rule"])}) for app in _rules()["app"]]
    return {app.id: app for app in read}


@cache
def delegates() -> dict[str, Delegate]:
    """Return all delegates by id."""
    sources = _rules()["sources"]
    read = [
        Delegate(
            **{
                **d,
                "source": d["source"].format(**sources),
                "rule": tuple(DelegateRule(**{"when": {}, **rule}) for rule in d["rule"]),
            }
        )
        for d in _rules()["delegate"]
    ]
    return {delegate.id: delegate for delegate in read}


@cache
def _rules() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("rules.toml").read_text(encoding="utf-8"))
