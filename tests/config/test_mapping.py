import math
import typing
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest

from deeplab.config import (
    AugmentConfig,
    DataConfig,
    EvaluateConfig,
    ExportConfig,
    ModelConfig,
    PredictConfig,
    QuantizationAwareConfig,
    SummarizeConfig,
    TrainConfig,
    TrainingConfig,
    VerifyConfig,
    build,
    is_given,
    record_given,
    to_mapping,
    type_name,
    with_values,
)
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
        ({"name": "x", "inner": {"rat": 1}}, "inner.rat: unknown key; did you mean 'inner.rate'?"),
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
    ("cls", "mapping", "line"),
    [
        (ModelConfig, {"depth_multiplier": 0.0}, "model.depth_multiplier: expected a number from 0.05 to 10, got 0.0"),
        (ModelConfig, {"classes": 256}, "model.classes: expected an integer from 2 to 255, got 256"),
        (ModelConfig, {"dropout": 1.0}, "model.dropout: expected a number from 0 to below 1, got 1.0"),
        (ModelConfig, {"aspp_rates": [6, 0]}, "model.aspp_rates[1]: expected an integer from 1 to 1,000, got 0"),
        (TrainConfig, {"seed": 2**32}, "seed: expected an integer from 0 to 2^32 - 1, got 4294967296"),
        (TrainConfig, {"image_size": [0, 65]}, "image_size[0]: expected an integer from 33 to 1,000,000, got 0"),
        (TrainConfig, {"image_size": -5}, "image_size: expected an integer from 33 to 1,000,000, got -5"),
        (DataConfig, {"val_fraction": 7}, "data.val_fraction: expected a number above 0 and below 1, got 7.0"),
        (
            TrainingConfig,
            {"learning_rate": math.inf},
            "training.learning_rate: expected a number above 0 and at most 100, got inf",
        ),
        (TrainingConfig, {"class_weights": [1, math.nan]}, "training.class_weights[1]: expected a number {}, got nan"),
        (TrainingConfig, {"layer_multipliers": {"a": -1}},
         "training.layer_multipliers.a: expected a number {}, got -1.0"),
        (TrainingConfig, {"layer_multipliers": {"a": "x"}}, "layer_multipliers.a: expected a number, got 'x'"),
        (
            TrainConfig,
            {"model": {"head": "lraspp"}, "training": {"linear_probe_images": 5}},
            "training.linear_probe_images: expected 0 with model.head=lraspp, got 5",
        ),
        (TrainConfig, {"output_stride": []}, "output_stride: expected at least one output stride, got []"),
        (AugmentConfig, {"flip": 1.5}, "training.augment.flip: expected a number from 0 to 1, got 1.5"),
        (QuantizationAwareConfig, {"delay": -1}, "training.quantization.delay: expected an integer {}, got -1"),
    ],
)  # fmt: skip
def test_a_value_out_of_range_is_named(cls, mapping, line):
    with pytest.raises(UserError) as raised:
        build(cls, mapping)
    assert str(raised.value) == line.format("of 0 or more")


def test_every_number_of_every_config_has_a_range():
    configs = (
        TrainConfig,
        TrainingConfig,
        AugmentConfig,
        QuantizationAwareConfig,
        DataConfig,
        ModelConfig,
        EvaluateConfig,
    )
    configs += (PredictConfig, ExportConfig, VerifyConfig, SummarizeConfig)
    without = [
        f"{cls.__name__}.{name}"
        for cls in configs
        for name, hint in typing.get_type_hints(cls, include_extras=True).items()
        if {int, float} & set(_unranged(hint))
    ]
    assert without == []


def _unranged(hint):
    """The plain types in a hint that no range surrounds."""
    if typing.get_origin(hint) is typing.Annotated:
        return []
    return [hint, *(inner for option in typing.get_args(hint) for inner in _unranged(option))]


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
        (Literal["a", "b"] | tuple[Literal["a", "b"], ...], "a, b or a list of these"),
    ],
)
def test_types_are_described_in_words(hint, name):
    assert type_name(hint) == name


def test_only_keys_of_the_user_count_as_given_by_hand():
    config = record_given(build(ExportConfig, {"run": "r", "quantization": "int8", "seed": 3}), {"run", "quantization"})
    assert [is_given(config, name) for name in ("run", "quantization", "seed")] == [True, True, False]
    assert is_given(record_given(TrainConfig(), {"model.depth_multiplier"}), "model")
    assert not is_given(record_given(TrainConfig(), {"model_name"}), "model")


def test_in_a_config_made_in_python_the_settings_that_differ_from_the_defaults_are_given():
    config = ExportConfig("r", mask_stride=4, quantization="int8")
    assert is_given(config, "mask_stride")
    assert not is_given(config, "quantization")
    assert not is_given(TrainConfig(), "model")


def test_settings_inside_another_config_or_a_mapping_are_given():
    config = TrainConfig(model={"dropout": 0.2}, training=TrainingConfig(steps=5))
    assert is_given(config, "model.dropout")
    assert is_given(config, "training.steps")
    assert not is_given(config, "model.head")
    assert not is_given(config, "training.batch_size")
    assert not is_given(config, "experiment")
    assert is_given(record_given(TrainConfig(), {"experiment"}), "experiment")


def test_values_are_replaced_by_their_paths_and_what_was_given_stays_recorded():
    config = record_given(TrainConfig(model={"dropout": 0.2}), {"model.dropout"})
    changed = with_values(config, {"training.steps": 7, "model.head": "v3", "output_stride": [8], "pretrained": "run"})
    assert (changed.training.steps, changed.output_stride, changed.pretrained) == (7, (8,), "run")
    assert changed.model == {"dropout": 0.2, "head": "v3"}
    assert changed.training.batch_size == config.training.batch_size
    assert is_given(changed, "model.dropout")
    assert not is_given(changed, "training.steps")
    assert config.training.steps != 7
    with pytest.raises(UserError, match=r"training.steps: expected an integer above 0, got 0"):
        with_values(config, {"training.steps": 0})
