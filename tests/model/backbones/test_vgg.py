"""The atrous pooling of VGG-16, and its layers against the paper."""

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.model.backbones.vgg import AtrousMaxPooling
from deeplab.model.build import build_model
from deeplab.model.cost import cost


@pytest.mark.parametrize("rate", [1, 2, 4])
def test_the_maximum_is_over_nine_pixels_that_are_a_rate_apart(rate):
    x = np.random.default_rng(0).uniform(0, 1, (1, 9, 7, 2)).astype("float32")
    expected = np.zeros_like(x)
    for row, column in np.ndindex(9, 7):
        rows = [i for i in (row - rate, row, row + rate) if 0 <= i < 9]
        columns = [j for j in (column - rate, column, column + rate) if 0 <= j < 7]
        expected[0, row, column] = x[0][np.ix_(rows, columns)].max(axis=(0, 1))
    np.testing.assert_array_equal(np.asarray(AtrousMaxPooling(3, 1, rate)(x)), expected)


def test_a_stride_with_a_rate_is_a_mistake():
    with pytest.raises(ValueError, match="expected stride 1 at dilation rate 2"):
        AtrousMaxPooling(3, 2, 2)


def test_a_pooling_is_restored_from_its_config():
    restored = AtrousMaxPooling.from_config(AtrousMaxPooling(3, 1, 2).get_config())
    x = np.random.default_rng(0).uniform(0, 1, (1, 9, 9, 1)).astype("float32")
    np.testing.assert_array_equal(np.asarray(restored(x)), np.asarray(AtrousMaxPooling(3, 1, 2)(x)))


def test_the_thirteen_convolutions_have_the_channels_of_the_paper():
    model = build_model(ModelConfig(backbone="vgg16", head="v3", aspp_rates=(), aspp_channels=8), 8)
    convolutions = [x for x in model.layers if isinstance(x, keras.layers.Conv2D) and x.name.startswith("backbone_")]
    # arXiv:1409.1556, table 1, column D.
    assert [x.filters for x in convolutions] == [64, 64, 128, 128, 256, 256, 256, 512, 512, 512, 512, 512, 512]
    # The published network of DeepLabv1 has hole 2 in its fifth stage, and strides 2, 2, 2, 1, 1 in its poolings.
    assert [x.dilation_rate[0] for x in convolutions] == [1] * 10 + [2] * 3
    assert [model.get_layer(f"backbone_pool{n}").strides[0] for n in (1, 2, 3, 4, 5)] == [2, 2, 2, 1, 1]
    assert model.features.low.shape[-1] == 256
    assert model.features.middle.shape[-1] == 512


def test_the_field_of_view_of_large_fov_is_the_one_worked_out_by_hand():
    # Reach in pixels of the image: the convolutions of stage k have stride 2 ** (k - 1), up to 8, and two pixels each;
    # so have the poolings. Stage 5 and the last pooling have rate 2; fc6 has rate 12 at stride 8.
    stages = 2 * 2 * 1 + 2 * 2 * 2 + 3 * 2 * 4 + 3 * 2 * 8 + 3 * 2 * 2 * 8
    poolings = 2 * 1 + 2 * 2 + 2 * 4 + 2 * 8 + 2 * 2 * 8
    config = ModelConfig(backbone="vgg16", depth_multiplier=0.125, head="v1", aspp_rates=(6,), aspp_channels=8)
    rows = {row.name: row for row in cost(config, 8, 65).layers}
    assert rows["logits"].receptive_field == 1 + stages + poolings + 2 * 12 * 8


def test_the_initial_features_have_the_magnitude_of_normalized_pixels():
    """Pixels of 0..255 without batch norm would otherwise start with logits of hundreds."""
    model = build_model(ModelConfig(backbone="vgg16", depth_multiplier=0.5, head="v3", aspp_rates=(), aspp_channels=8))
    image = np.random.default_rng(0).uniform(0, 255, (1, 65, 65, 3)).astype("float32")
    features = np.asarray(keras.Model(model.input, model.features.high)(image))
    assert 0.1 < features.mean() < 10
