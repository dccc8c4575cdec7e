"""Which layers are loaded, what the report says, and which sources are refused."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.pretrained.assignment import SourceWeights, assign_weights
from tests.networks import randomize

SMALL = ModelConfig(depth_multiplier=0.25, aspp_rates=(), aspp_channels=16, head="v3", classes=5)


def weights_of(model: keras.Model) -> dict[str, tuple[np.ndarray, ...]]:
    return {layer.name: tuple(layer.get_weights()) for layer in model.layers if layer.weights}


@pytest.fixture(scope="module")
def built() -> keras.Model:
    return build_model(SMALL)


@pytest.fixture
def model(built) -> Iterator[keras.Model]:
    """A model whose weights a test may change."""
    initial = built.get_weights()
    yield built
    built.set_weights(initial)


@pytest.fixture(scope="module")
def other() -> keras.Model:
    return randomize(build_model(SMALL), seed=3)


def test_all_variables_are_loaded(model, other):
    report = assign_weights(model, SourceWeights("source", weights_of(other)))
    for actual, expected in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(actual, expected)
    # 55 kernels, 54 batch norms of 4 and one bias.
    assert len(report.loaded) == 55 + 54 * 4 + 1
    assert report.reinitialized == report.missing == report.unused == ()


def test_logits_of_other_classes_keep_their_initial_weights_and_are_reported(other):
    model = build_model(ModelConfig(**{**vars(SMALL), "classes": 7}))
    initial = model.get_layer("logits").get_weights()
    report = assign_weights(model, SourceWeights("source", weights_of(other)))
    assert report.reinitialized == ("logits/kernel", "logits/bias")
    for actual, expected in zip(model.get_layer("logits").get_weights(), initial, strict=True):
        np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(
        model.get_layer("concat_projection").get_weights()[0], other.get_layer("concat_projection").get_weights()[0]
    )
    lines = str(report).splitlines()
    assert lines[0] == "weights from source"
    assert [line.split() for line in lines[1:5]] == [
        ["variables", "loaded", "re-initialized", "missing"],
        # Stem, 16 expand, 17 depthwise, 17 project: 51 convolutions of one kernel and four batch-norm variables.
        ["backbone", "255", "0", "0"],
        ["aspp", "15", "0", "0"],
        ["logits", "0", "2", "0"],
    ]
    assert lines[5] == "re-initialized: logits/kernel, logits/bias"


def test_a_batch_norm_is_loaded_only_with_its_convolution(model, other):
    weights = weights_of(other)
    weights["aspp0"] = (np.zeros((1, 1, 99, 16), "float32"),)
    report = assign_weights(model, SourceWeights("source", weights))
    batch_norm = {f"aspp0_bn/{name}" for name in ("gamma", "beta", "moving_mean", "moving_variance")}
    assert set(report.reinitialized) == {"aspp0/kernel", *batch_norm}


def test_logits_after_another_head_keep_their_initial_weights(other):
    """The shapes match, but the logits follow the decoder here and ASPP in the source."""
    model = build_model(ModelConfig(**{**vars(SMALL), "head": "v3plus", "decoder_channels": 16}))
    assert model.get_layer("logits").kernel.shape == other.get_layer("logits").kernel.shape
    report = assign_weights(model, SourceWeights("source", weights_of(other)))
    assert report.reinitialized == ("logits/kernel", "logits/bias")
    assert "concat_projection/kernel" in report.loaded
    assert {name.split("_")[0] for name in report.missing} == {"decoder"}


def test_a_source_without_a_backbone_layer_is_refused_and_changes_nothing(model, other):
    weights, initial = weights_of(other), model.get_weights()
    del weights["backbone_block7_expand"]
    problem = r"source: has no weights for 1 variables of the backbone; the first are of backbone_block7_expand: "
    with pytest.raises(UserError, match=problem + r"expected shapes \[\(1, 1, 16, 96\)\], got no such layer"):
        assign_weights(model, SourceWeights("source", weights))
    for actual, expected in zip(model.get_weights(), initial, strict=True):
        np.testing.assert_array_equal(actual, expected)
    report = assign_weights(model, SourceWeights("source", weights), allow_missing=True)
    assert report.missing == ("backbone_block7_expand/kernel",)


def test_the_message_about_another_width_states_both_shapes(other):
    wide = build_model(ModelConfig(**{**vars(SMALL), "depth_multiplier": 0.5}))
    problem = r"backbone_stem: expected shapes \[\(3, 3, 3, 16\)\], got shapes \[\(3, 3, 3, 8\)\]"
    with pytest.raises(UserError, match=problem):
        assign_weights(wide, SourceWeights("source", weights_of(other)))


def test_a_missing_head_is_reported(model, other):
    weights = {name: values for name, values in weights_of(other).items() if name.startswith("backbone_")}
    weights["fc"] = (np.zeros(3),)
    report = assign_weights(model, SourceWeights("source", weights, unused=("global_pool",)))
    layers = {name.partition("/")[0] for name in report.missing}
    assert {layer for layer in layers if not layer.endswith("_bn")} == {
        "image_pooling", "aspp0", "concat_projection", "logits",
    }  # fmt: skip
    assert report.unused == ("global_pool", "fc")
    assert "unused: global_pool, fc" in str(report).splitlines()


def test_a_source_without_any_matching_layer_is_refused_even_with_allow_missing(model):
    with pytest.raises(UserError, match="none of its weights matches deeplab_v3_mobilenet_v2"):
        assign_weights(model, SourceWeights("source", {"fc": (np.zeros(3),)}), allow_missing=True)


def test_weights_that_are_not_finite_are_refused(model, other):
    weights = weights_of(other)
    weights["aspp0"] = (np.full_like(weights["aspp0"][0], np.nan),)
    with pytest.raises(UserError, match="weights of layer aspp0 are not finite"):
        assign_weights(model, SourceWeights("source", weights))
