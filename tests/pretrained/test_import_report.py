"""What is filled, what is told and what is refused."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.pretrained.import_report import Found, fill
from tests.networks import randomize

SMALL = ModelConfig(depth_multiplier=0.25, aspp_rates=(), aspp_channels=16, head="v3", classes=5)


def weights_of(model: keras.Model) -> dict[str, tuple[np.ndarray, ...]]:
    return {layer.name: tuple(layer.get_weights()) for layer in model.layers if layer.weights}


@pytest.fixture(scope="module")
def built() -> keras.Model:
    return build_model(SMALL)


@pytest.fixture
def model(built) -> Iterator[keras.Model]:
    """A model of which a test may change the weights."""
    fresh = built.get_weights()
    yield built
    built.set_weights(fresh)


@pytest.fixture(scope="module")
def other() -> keras.Model:
    return randomize(build_model(SMALL), seed=3)


def test_all_variables_are_loaded(model, other):
    report = fill(model, Found("there", weights_of(other)))
    for a, b in zip(model.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    # 55 kernels, 54 batch norms of 4 and one bias.
    assert len(report.loaded) == 55 + 54 * 4 + 1
    assert report.reinitialized == report.missing == report.unused == ()


def test_logits_of_other_classes_stay_fresh_and_the_table_says_so(other):
    model = build_model(ModelConfig(**{**vars(SMALL), "classes": 7}))
    fresh = model.get_layer("logits").get_weights()
    report = fill(model, Found("there", weights_of(other)))
    assert report.reinitialized == ("logits/kernel", "logits/bias")
    for a, b in zip(model.get_layer("logits").get_weights(), fresh, strict=True):
        np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(
        model.get_layer("concat_projection").get_weights()[0], other.get_layer("concat_projection").get_weights()[0]
    )
    lines = str(report).splitlines()
    assert lines[0] == "weights from there"
    assert [line.split() for line in lines[1:5]] == [
        ["variables", "loaded", "re-initialized", "missing"],
        ["backbone", "255", "0", "0"],  # stem, 16 expand, 17 depthwise, 17 project: 51 convolutions, each with its norm
        ["aspp", "15", "0", "0"],
        ["logits", "0", "2", "0"],
    ]
    assert lines[5] == "re-initialized: logits/kernel, logits/bias"


def test_a_norm_goes_with_its_convolution(model, other):
    weights = weights_of(other)
    weights["aspp0"] = (np.zeros((1, 1, 99, 16), "float32"),)
    report = fill(model, Found("there", weights))
    assert set(report.reinitialized) == {"aspp0/kernel", *(f"aspp0_bn/{n}" for n in
                                         ("gamma", "beta", "moving_mean", "moving_variance"))}  # fmt: skip


def test_logits_behind_another_head_stay_fresh(other):
    """Of the same shape, but they would read the decoder instead of ASPP."""
    model = build_model(ModelConfig(**{**vars(SMALL), "head": "v3plus", "decoder_channels": 16}))
    assert model.get_layer("logits").kernel.shape == other.get_layer("logits").kernel.shape
    report = fill(model, Found("there", weights_of(other)))
    assert report.reinitialized == ("logits/kernel", "logits/bias")
    assert "concat_projection/kernel" in report.loaded
    assert {v.split("_")[0] for v in report.missing} == {"decoder"}


def test_part_of_the_backbone_is_refused_and_nothing_is_touched(model, other):
    weights, before = weights_of(other), model.get_weights()
    del weights["backbone_block7_expand"]
    with pytest.raises(
        UserError, match=r"there: would leave 1 variables of the backbone random, first backbone_block7_exp"
    ):
        fill(model, Found("there", weights))
    for a, b in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(a, b)
    report = fill(model, Found("there", weights), allow_missing=True)
    assert report.missing == ("backbone_block7_expand/kernel",)


def test_another_width_is_named_with_both_shapes(other):
    wide = build_model(ModelConfig(**{**vars(SMALL), "depth_multiplier": 0.5}))
    with pytest.raises(UserError, match=r"backbone_stem: \[\(3, 3, 3, 16\)\] here, \[\(3, 3, 3, 8\)\] there"):
        fill(wide, Found("there", weights_of(other)))


def test_a_head_that_the_source_lacks_is_missing_not_an_error(model, other):
    weights = {name: values for name, values in weights_of(other).items() if name.startswith("backbone_")}
    weights["fc"] = (np.zeros(3),)
    report = fill(model, Found("there", weights, unused=("global_pool",)))
    assert {v.partition("/")[0] for v in report.missing if not v.partition("/")[0].endswith("_bn")} == {
        "image_pooling", "aspp0", "concat_projection", "logits",
    }  # fmt: skip
    assert report.unused == ("global_pool", "fc")
    assert "not used of the source: global_pool, fc" in str(report)


def test_nothing_that_fits_is_an_error_even_if_missing_is_allowed(model):
    with pytest.raises(UserError, match="none of its weights fits deeplab_v3_mobilenet_v2"):
        fill(model, Found("there", {"fc": (np.zeros(3),)}), allow_missing=True)


def test_weights_that_are_not_finite_are_refused(model, other):
    weights = weights_of(other)
    weights["aspp0"] = (np.full_like(weights["aspp0"][0], np.nan),)
    with pytest.raises(UserError, match="not finite in aspp0"):
        fill(model, Found("there", weights))
