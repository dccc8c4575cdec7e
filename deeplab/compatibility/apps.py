"""Whether sample apps and clients open a file, by the rules of rules.toml."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from deeplab.compatibility.rules import App, AppRule, apps
from deeplab.tflite.interpreter import TfliteModel


@dataclass(frozen=True)
class AppVerdict:
    """Whether an app opens a file and shows its mask, by rule.

    Attributes:
        app: id.
        title: name in words.
        opens: whether all rules of the app, and of the client in it, hold.
        because: the reasons of the rules that do not hold, with the actual value.
        change: what to change in the app so that it opens the file; empty if `opens`, or if no change helps.
        source: the file that states the rules, with its version.
    """

    app: str
    title: str
    opens: bool
    because: tuple[str, ...]
    change: str
    source: str

    @property
    def summary(self) -> str:
        """The verdict in one line, with the reasons and the change of the app."""
        if self.opens:
            return "opens"
        text = f"does not open: {'; '.join(self.because)}"
        return f"{text}; opens after a change of the app: {self.change}" if self.change else text


def app_verdicts(model: TfliteModel) -> tuple[AppVerdict, ...]:
    """Return the verdicts of all sample apps and clients on a file."""
    return tuple(_verdict(app, model) for app in apps().values())


def _verdict(app: App, model: TfliteModel) -> AppVerdict:
    rules = (*(apps()[app.client].rule if app.client else ()), *app.rule)
    broken = [rule for rule in rules if not _holds(rule, model)]
    because = tuple(dict.fromkeys(f"{rule.because} ({_actual(rule, model)})" for rule in broken))
    changes = [rule.change for rule in broken]
    change = "; ".join(dict.fromkeys(changes)) if all(changes) else ""
    return AppVerdict(app.id, app.title, not broken, because, change, app.source)


def _holds(rule: AppRule, model: TfliteModel) -> bool:
    return all(_REQUIREMENTS[key][1](_REQUIREMENTS[key][0](model), value) for key, value in rule.require.items())


def _actual(rule: AppRule, model: TfliteModel) -> str:
    """Return the actual values of the required properties, as "the file has 7 classes"."""
    return ", ".join(_REQUIREMENTS[key][2].format(_text(_REQUIREMENTS[key][0](model))) for key in rule.require)


def _text(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    names = {None: "an unknown number of", True: "yes", False: "no"}
    return names[value] if value is None or isinstance(value, bool) else str(value)


def _is_normalized(model: TfliteModel) -> bool:
    """Return whether clients know how pixels become the input: by scale and zero point, or by mean and std."""
    metadata = model.metadata
    return model.input.dtype != "float32" or (metadata is not None and metadata.mean is not None)


def _has_labels(model: TfliteModel) -> bool:
    return model.labels is not None and len(model.labels) == model.classes


def _one_of(value: Any, allowed: list[Any]) -> bool:
    return value in allowed


def _equal(value: Any, expected: Any) -> bool:
    return bool(value == (tuple(expected) if isinstance(expected, list) else expected))


def _at_most(value: int | None, limit: int) -> bool:
    return value is not None and value <= limit


def _at_least(value: int | None, limit: int) -> bool:
    return value is not None and value >= limit


_REQUIREMENTS: Mapping[str, tuple[Callable[[TfliteModel], Any], Callable[[Any, Any], bool], str]] = {
    "input_dtype": (lambda m: m.input.dtype, _one_of, "the input is {}"),
    "output_dtype": (lambda m: m.output.dtype, _one_of, "the output is {}"),
    "input_size": (lambda m: m.image_size, _equal, "the input has {} pixels"),
    "output_size": (lambda m: m.mask_size, _equal, "the output has {} pixels"),
    "same_size": (lambda m: m.mask_size == m.image_size, _equal, "input and output of one size: {}"),
    "square_output": (lambda m: m.mask_size[0] == m.mask_size[1], _equal, "square output: {}"),
    "scores": (lambda m: not m.returns_labels, _equal, "scores: {}"),
    "classes": (lambda m: m.classes, _equal, "the file has {} classes"),
    "maximum_classes": (lambda m: m.classes, _at_most, "the file has {} classes"),
    "minimum_classes": (lambda m: m.classes, _at_least, "the file has {} classes"),
    "labels": (_has_labels, _equal, "labels of all classes: {}"),
    "normalization": (_is_normalized, _equal, "normalization: {}"),
}
"""The requirements of rules.toml: the property of a file, the comparison with the value in the rule, its text."""
