from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from deeplab.config import ExportConfig, ModelConfig, TrainConfig, build, to_mapping, type_name
from deeplab.errors import UserError


@dataclass(frozen=True)
class Inner:
    rate: float = 0.5
    kind: Literal["a", "b"] = "a"


@dataclass(frozen=True)
class Outer:
    name: str
    size: int | tuple[int, int] | None = None
    rates: tuple[int, ...] = ()
    flag: bool = False
    inner: Inner = field(default_factory=Inner)
    free: dict[str, Any] | None = None


def test_a_mapping_from_yaml_becomes_a_dataclass():
    mapping = {"name": "x", "size": [3, 4], "rates": [6, 12], "inner": {"rate": 1}, "free": {"any": [1]}}
    assert build(Outer, mapping) == Outer("x", (3, 4), (6, 12), False, Inner(1.0), {"any": [1]})
    assert isinstance(build(Outer, mapping).inner.rate, float)


@pytest.mark.parametrize(
    ("mapping", "line"),
    [
        ({}, "name: a value is required; set it with name=VALUE"),
        ({"name": "x", "inner": {"rat": 1}}, "inner.rat: unknown key; did you mean 'rate'?"),
        ({"name": "x", "zzz": 1}, "zzz: unknown key; known keys: name, size, rates, flag, inner, free"),
        ({"name": "x", "inner": {"kind": "c"}}, "inner.kind: expected one of a, b, got 'c'"),
        ({"name": "x", "rates": [6, "12"]}, "rates[1]: expected an integer, got '12'"),
        ({"name": 3}, "name: expected text, got 3"),
        ({"name": "x", "flag": 1}, "flag: expected true or false, got 1"),
        ({"name": "x", "size": True}, "size: expected an integer, a list of 2 integers or null, got True"),
        ({"name": "x", "size": 1.5}, "size: expected an integer, a list of 2 integers or null, got 1.5"),
        ({"name": "x", "inner": 3}, "inner: expected a mapping, got 3"),
    ],
)
def test_the_message_names_the_path_the_expected_type_and_the_value(mapping, line):
    with pytest.raises(UserError) as raised:
        build(Outer, mapping)
    assert str(raised.value) == line


def test_a_config_survives_json():
    config = build(TrainConfig, {"model": {"aspp_rates": [3]}, "image_size": [65, 97], "output_stride": [32]})
    assert build(TrainConfig, to_mapping(config)) == config


@pytest.mark.parametrize(
    ("key", "value"),
    [("depth_multiplier", 0.0), ("classes", 1), ("classes", 257), ("dropout", 1.0), ("aspp_channels", 0)],
)
def test_a_value_out_of_range_is_named(key, value):
    with pytest.raises(UserError, match=rf"^model\.{key}: expected .*, got {value}$"):
        build(ModelConfig, {key: value})


def test_one_value_or_a_list_is_read_as_a_tuple():
    assert ExportConfig("run", quantization="int8").quantizations == ("int8",)
    assert ExportConfig("run", quantization=("int8", "float16")).quantizations == ("int8", "float16")


@pytest.mark.parametrize(
    ("hint", "name"),
    [
        (int, "an integer"),
        (tuple[float, ...], "a list of numbers"),
        (tuple[int, int], "a list of 2 integers"),
        (tuple[str, ...] | None, "a list of text or null"),
        (dict[str, float], "a mapping"),
        (Literal["a", "b"] | tuple[Literal["a", "b"], ...], "one of a, b or a list of one of a, b"),
    ],
)
def test_types_are_described_in_words(hint, name):
    assert type_name(hint) == name
