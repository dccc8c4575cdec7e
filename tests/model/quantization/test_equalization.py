"""Equalization keeps the function of a network and brings the channels of its kernels closer together."""

import keras
import numpy as np
import pytest
from keras import layers

from deeplab.config import ModelConfig
from deeplab.model.build import build_model
from deeplab.model.quantization.equalization import equalized, shrink_large_channels
from tests.networks import random_image, randomize

TINY = ModelConfig(
    depth_multiplier=0.1, aspp_rates=(2,), aspp_channels=8, decoder_channels=8, low_level_channels=8, classes=5
)
BETA = ModelConfig(backbone="resnet50_beta", depth_multiplier=0.05, head="v3", aspp_rates=(), aspp_channels=8)
XCEPTION = ModelConfig(
    backbone="xception41", depth_multiplier=0.05, head="v3", aspp_rates=(2,), aspp_channels=8, classes=5
)
V3_SMALL = ModelConfig(backbone="mobilenet_v3_small", head="lraspp", aspp_channels=8, classes=5)
SLOW = [pytest.param(config, marks=pytest.mark.slow) for config in (BETA, XCEPTION, V3_SMALL)]


def two_layers(activation: str) -> keras.Model:
    """A 1x1 and another 1x1 convolution of 2 channels, with an activation in between."""
    image = keras.Input((3, 3, 2))
    x = layers.Activation(activation)(layers.Conv2D(2, 1, name="first")(image))
    model = keras.Model(image, layers.Conv2D(2, 1, name="second")(x))
    # The kernels are [in, out]: the ranges of the hidden channels are 8 and 1, then 1 and 8.
    model.get_layer("first").set_weights([np.reshape([[8.0, 0.5], [4.0, 1.0]], (1, 1, 2, 2)), np.array([0.1, 0.2])])
    model.get_layer("second").set_weights([np.reshape([[1.0, 0.5], [2.0, 8.0]], (1, 1, 2, 2)), np.zeros(2)])
    return model


def images(high: float) -> list[np.ndarray]:
    return list(np.random.default_rng(0).uniform(0, high, (4, 3, 3, 2)).astype("float32"))


@pytest.mark.parametrize("config", [TINY, *SLOW], ids=lambda config: f"{config.backbone}-{config.head}")
def test_the_function_of_the_network_stays(config):
    model = randomize(build_model(config, 16, 65))
    calibration = [random_image(65, 65, seed)[0] for seed in (1, 2)]
    result = equalized(model, calibration)
    kernels = [np.abs(np.asarray(a) - np.asarray(b)).max() for a, b in zip(model.weights, result.weights, strict=True)]
    assert max(kernels) > 1e-2
    for image in calibration:
        expected = np.asarray(model(image[None], training=False))
        actual = np.asarray(result(image[None], training=False))
        np.testing.assert_allclose(actual, expected, atol=2e-4 * np.abs(expected).max())


def test_channels_get_equal_shares_of_both_kernels():
    # The shares of the first hidden channel are 1 and 1/8, those of the second 1/8 and 1: its activation cannot grow
    # by more than the ratio of the activations, which the bounds of this test's images leave open.
    model = two_layers("relu")
    model.get_layer("first").set_weights([np.reshape([[8.0, 0.0], [0.0, 1.0]], (1, 1, 2, 2)), np.zeros(2)])
    result = equalized(model, [np.array([[[1.0, 1.0]]], np.float32).repeat(3, 0).repeat(3, 1)])
    first, second = (np.abs(np.asarray(result.get_layer(name).kernel)) for name in ("first", "second"))
    # Scales sqrt(1 / (1/8)) and sqrt((1/8) / 1) would equalize both; the activations 8 and 1 allow a scale of 1/8.
    shares = first.max((0, 1, 2)) / first.max(), second.max((0, 1, 3)) / second.max()
    np.testing.assert_allclose(shares, np.ones((2, 2)), rtol=1e-3)


def test_a_chain_of_three_kernels_ends_with_the_geometric_mean_of_their_shares():
    """Equal shares of both kernels of each pair (eq. 11 of arXiv:1906.04721), which takes several rounds."""
    image = x = keras.Input((1, 1, 2))
    # A share of a kernel does not depend on the largest value of the kernel.
    names = {"first": (0.01, 1 / 64), "second": (1.0, 1.0), "third": (1.0, 1.0)}
    for name, (largest, share) in names.items():
        conv = layers.Conv2D(2, 1, use_bias=False, name=name)
        x = layers.Activation("relu")(conv(x)) if name != "third" else conv(x)
        conv.set_weights([np.reshape(np.diag([largest, largest * share]), (1, 1, 2, 2))])
    result = equalized(keras.Model(image, x), [np.array([[[1.0, 0.1]]], np.float32)])
    kernels = [np.asarray(result.get_layer(name).kernel)[0, 0] for name in names]
    np.testing.assert_allclose([k[1, 1] / k[0, 0] for k in kernels], (1 / 64 * 1 * 1) ** (1 / 3), rtol=1e-3)


def test_channels_that_are_added_to_the_image_keep_their_scale():
    image = keras.Input((3, 3, 2))
    x = layers.Add()([layers.Conv2D(2, 1, name="added")(image), image])
    x = layers.Activation("relu")(layers.Conv2D(2, 1, name="first")(x))
    model = keras.Model(image, layers.Conv2D(2, 1, name="second")(x))
    weights = two_layers("relu").get_weights()
    model.set_weights([*weights[:2], *weights])
    result = equalized(model, images(2.0))
    for name, stays in (("added", True), ("first", False)):
        assert np.array_equal(result.get_layer(name).kernel, model.get_layer(name).kernel) == stays


def test_a_channel_that_relu6_clips_keeps_its_scale_and_the_other_one_stays_below_6():
    model = two_layers("relu6")
    result = equalized(model, images(2.0))
    first = np.asarray(result.get_layer("first").kernel)[0, 0]
    # The first hidden channel reaches 24, the second 3: it is scaled up, at most to 6 / 1.25.
    np.testing.assert_allclose(first[:, 0], [8.0, 4.0], rtol=1e-6)
    hidden = keras.Model(result.input, result.layers[2].output)
    measured = np.max([hidden(image[None])[0, ..., 1] for image in images(2.0)])
    assert 3.5 < measured <= 6 / 1.25 + 1e-3


def test_a_large_value_is_scaled_to_the_limit_and_the_function_stays():
    model = two_layers("relu")
    image = images(2.0)[0][None]
    expected = np.asarray(model(image))
    shrink_large_channels(model, {"first": 6.0, "second": 100.0})
    np.testing.assert_allclose(np.asarray(model.get_layer("first").kernel)[0, 0], [[6.0, 0.5], [3.0, 1.0]], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(model.get_layer("second").kernel)[0, 0, 0], [8 / 6, 4 / 6], rtol=1e-6)
    np.testing.assert_allclose(np.asarray(model(image)), expected, rtol=1e-5)


def test_a_large_value_before_relu6_stays():
    model = two_layers("relu6")
    before = model.get_weights()
    shrink_large_channels(model, {"first": 6.0, "second": 100.0})
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
