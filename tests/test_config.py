from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from deeplab.config import ExportConfig, ModelConfig, TrainConfig, build, to_mapping
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


def test_a_mapping_as_yaml_gives_it_becomes_a_dataclass():
    mapping = {"name": "x", "size": [3, 4], "rates": [6, 12], "inner": {"rate": 1}, "free": {"any": [1]}}
    assert build(Outer, mapping) == Outer("x", (3, 4), (6, 12), False, Inner(1.0), {"any": [1]})
    assert isinstance(build(Outer, mapping).inner.rate, float)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, r"^name: a value is needed"),
        ({"name": "x", "inner": {"rat": 1}}, r"^inner\.rat: no such key; did you mean 'rate'\?"),
        ({"name": "x", "zzz": 1}, r"^zzz: no such key; known keys: name, size, rates"),
        ({"name": "x", "inner": {"kind": "c"}}, r"^inner\.kind: 'c' is not a choice; one of a, b"),
        ({"name": "x", "rates": [6, "12"]}, r"^rates\[1\]: '12' is no whole number"),
        ({"name": 3}, r"^name: 3 is no text"),
        ({"name": "x", "flag": 1}, r"^flag: 1 is no true or false"),
        ({"name": "x", "size": True}, r"^size: True is no whole number or list of"),
        ({"name": "x", "size": 1.5}, r"^size: 1\.5 is no whole number"),
        ({"name": "x", "inner": 3}, r"^inner: 3 is no Inner"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(mapping, message):
    with pytest.raises(UserError, match=message):
        build(Outer, mapping)


def test_a_configuration_survives_the_way_through_json():
    config = build(TrainConfig, {"model": {"aspp_rates": [3]}, "image_size": [65, 97], "output_stride": [32]})
    assert build(TrainConfig, to_mapping(config)) == config


@pytest.mark.parametrize(
    ("key", "value"),
    [("depth_multiplier", 0), ("classes", 1), ("classes", 257), ("dropout", 1.0), ("aspp_channels", 0)],
)
def test_a_value_out_of_range_is_named(key, value):
    with pytest.raises(UserError, match=rf"model\.{key}: .*will not do; it must be"):
        build(ModelConfig, {key: float(value) if key == "dropout" else value})


def test_a_message_names_the_choices():
    with pytest.raises(UserError, match=r"'int7' is no choice of float32, float16, .*, int16x8 or list of such"):
        build(ExportConfig, {"quantization": "int7"})
