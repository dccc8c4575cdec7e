"""Random settings: `build` refuses them with one line that names one, or every number of the config is in range."""

import dataclasses
import math

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deeplab.cli.settings import compose_settings, config_folder
from deeplab.config import (
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    SummarizeConfig,
    TrainConfig,
    VerifyConfig,
    build,
    nested_config,
    to_mapping,
)
from deeplab.errors import CONTROL, UserError

LARGEST = 2**32
"""Seeds end below it, and no other setting needs a number as large."""

REQUIRED = {
    EvaluateConfig: ("run",),
    ExportConfig: ("run",),
    PredictConfig: ("run", "images"),
    VerifyConfig: ("verify",),
}

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-3, 600),
    st.floats(),
    st.floats(-2, 3),
    st.text(max_size=8),
    st.sampled_from(["", " ", "int8", "v3", "auto", "voc", "nan", "16", "\0", "a\nb"]),
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def keys(cls: type, prefix: str = "") -> list[str]:
    """The paths of all settings of a config, with those of nested ones."""
    found = []
    for field in dataclasses.fields(cls):
        inner = nested_config(field.type)
        found.append(f"{prefix}{field.name}")
        found += keys(inner, f"{prefix}{field.name}.") if inner else []
    return found


def nested(changes: dict[str, object]) -> dict[str, object]:
    """Turn {"a.b": 1} into {"a": {"b": 1}}; a value that is no mapping gives way to the keys below it."""
    mapping: dict[str, object] = {}
    for key, value in sorted(changes.items()):
        *parents, last = key.split(".")
        inner = mapping
        for parent in parents:
            if not isinstance(inner.get(parent), dict):
                inner[parent] = {}
            inner = inner[parent]
        inner[last] = value
    return mapping


def check_line(error: UserError) -> None:
    """Check that an error is one printable line with a subject and a problem."""
    assert error.subject
    assert error.problem
    assert not CONTROL.search(str(error))


def numbers(value: object) -> list[float]:
    """All numbers in nested mappings and lists."""
    if isinstance(value, dict):
        return [n for inner in value.values() for n in numbers(inner)]
    if isinstance(value, (list, tuple)):
        return [n for inner in value for n in numbers(inner)]
    return [value] if isinstance(value, (int, float)) and not isinstance(value, bool) else []


@pytest.mark.parametrize(
    "cls", [TrainConfig, EvaluateConfig, ExportConfig, PredictConfig, VerifyConfig, SummarizeConfig]
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_settings_are_refused_in_one_line_or_in_range(cls, data):
    changes = data.draw(st.dictionaries(st.sampled_from(keys(cls)), values, min_size=1, max_size=3))
    required = dict.fromkeys(REQUIRED.get(cls, ()), "run")
    try:
        config = build(cls, nested(required | changes))
    except UserError as error:
        check_line(error)
        return
    mapping = to_mapping(config)
    # These mappings are built, and so checked, together with the settings of the run that they change.
    free = {"first_stage"} if cls is TrainConfig else {"data"}
    for number in numbers({key: value for key, value in mapping.items() if key not in free}):
        assert math.isfinite(number)
        assert abs(number) < LARGEST
    if all(number == number for number in numbers(mapping)):
        assert build(cls, mapping) == config


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=20))
def test_any_value_is_text_a_number_or_refused_in_one_line(text):
    try:
        composed = compose_settings("summarize", [f"value={text}"], config_folder())
    except UserError as error:
        check_line(error)
        return
    assert composed is not None
    value = composed["value"]
    assert isinstance(value, (str, int, float, list, dict, type(None)))
    if isinstance(value, str) and text[:1] not in ("'", '"'):
        assert value == text


@settings(max_examples=200, deadline=None)
@given(st.lists(st.text(alphabet="abc.=~+[]{}'\",:$ -_/0123", max_size=12), max_size=3))
def test_any_arguments_are_composed_or_refused_in_one_line(arguments):
    try:
        assert isinstance(compose_settings("summarize", arguments, config_folder()), dict)
    except UserError as error:
        check_line(error)
