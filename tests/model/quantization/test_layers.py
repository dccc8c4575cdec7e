"""Folded convolutions and ranges, one layer at a time."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.model.quantization.layers import PIXEL_RANGE, FoldedConvolution, PixelGrid, Range


def pair(depthwise: bool, seed: int = 0) -> tuple[keras.layers.Layer, keras.layers.BatchNormalization]:
    """A convolution over 3 channels and a batch norm with statistics far from 0 and 1, built."""
    rng = np.random.default_rng(seed)
    make = keras.layers.DepthwiseConv2D if depthwise else lambda *a, **k: keras.layers.Conv2D(4, *a, **k)
    conv = make(3, padding="same", use_bias=False)
    norm = keras.layers.BatchNormalization(epsilon=1e-3, momentum=0.8)
    norm(conv(np.zeros((1, 5, 5, 3), np.float32)))
    conv.set_weights([rng.normal(0, 0.2, conv.kernel.shape)])
    norm.set_weights([rng.uniform(low, high, norm.gamma.shape) for low, high in ((0.5, 2), (-1, 1), (-1, 1), (0.2, 3))])
    return conv, norm


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_folded_pair_computes_what_the_two_do(depthwise):
    conv, norm = pair(depthwise)
    layer = FoldedConvolution(conv, norm)
    layer.simulated = False
    x = np.random.default_rng(1).normal(0, 1, (2, 7, 7, 3)).astype(np.float32)
    found, wanted = layer(x, np.float32(0.01)), norm(conv(x), training=False)
    np.testing.assert_allclose(np.asarray(found), np.asarray(wanted), atol=1e-5)


@pytest.mark.parametrize("depthwise", [False, True])
def test_kernel_and_bias_are_rounded_for_each_output_channel(depthwise):
    conv, norm = pair(depthwise)
    step = np.float32(2.0)  # Coarse, so that the rounding of the bias is seen as well.
    gamma, beta, mean, variance = norm.get_weights()
    slope = gamma / np.sqrt(variance + 1e-3)
    kernel = np.asarray(conv.kernel)
    folded = kernel * (slope[:, None] if depthwise else slope)
    channel_last = folded[..., 0] if depthwise else folded
    steps = np.abs(channel_last).reshape(-1, channel_last.shape[-1]).max(0) / 127
    rounded = np.round(channel_last / steps) * steps
    bias = np.round((beta - mean * slope) / (step * steps)) * (step * steps)
    plain = type(conv).from_config(conv.get_config())
    plain.build((None, None, None, 3))
    plain.set_weights([rounded[..., None] if depthwise else rounded])
    x = np.random.default_rng(2).normal(0, 1, (1, 6, 6, 3)).astype(np.float32)
    found = np.asarray(FoldedConvolution(conv, norm)(x, step))
    np.testing.assert_allclose(found, np.asarray(plain(x)) + bias, atol=1e-4)
    # Rounding is seen: without it the two are further apart.
    assert np.abs(found - np.asarray(norm(conv(x), training=False))).max() > 1e-3


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_kernel_is_rounded_to_the_steps_that_it_is_given(depthwise):
    conv, _ = pair(depthwise)
    given = np.float32([0.03, 0.05, 0.02] if depthwise else [0.03, 0.05, 0.02, 0.04])
    layer = FoldedConvolution(conv)
    layer.steps = given
    x = np.random.default_rng(2).normal(0, 1, (1, 6, 6, 3)).astype(np.float32)
    found = np.asarray(layer(x, np.float32(0.01)))
    steps = given[:, None] if depthwise else given
    conv.set_weights([np.round(np.asarray(conv.kernel) / steps) * steps, *conv.get_weights()[1:]])
    np.testing.assert_allclose(found, np.asarray(conv(x)), atol=1e-4)


def test_batch_statistics_normalize_in_training_and_move():
    conv, norm = pair(False)
    layer = FoldedConvolution(conv, norm)
    layer.simulated = False
    x = np.random.default_rng(3).normal(0, 1, (4, 8, 8, 3)).astype(np.float32)
    gamma, beta, mean, variance = norm.get_weights()
    plain = np.asarray(conv(x), np.float64)
    wanted = (plain - plain.mean((0, 1, 2))) / np.sqrt(plain.var((0, 1, 2)) + 1e-3) * gamma + beta
    np.testing.assert_allclose(np.asarray(layer(x, np.float32(0.01), training=True)), wanted, atol=1e-4)
    np.testing.assert_allclose(norm.moving_mean, 0.8 * mean + 0.2 * plain.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, 0.8 * variance + 0.2 * plain.var((0, 1, 2)), atol=1e-5)


def test_the_kernel_is_rounded_as_the_moving_statistics_fold_it():
    conv, norm = pair(False)
    layer = FoldedConvolution(conv, norm)
    x = np.random.default_rng(4).normal(0, 1, (4, 8, 8, 3)).astype(np.float32)
    gamma, beta, _, variance = norm.get_weights()
    slope = gamma / np.sqrt(variance + 1e-3)
    steps = np.abs(np.asarray(conv.kernel) * slope).max((0, 1, 2)) / 127
    rounded = np.round(np.asarray(conv.kernel) * slope / steps) * steps / slope
    plain = np.asarray(conv(x), np.float64)
    other = keras.layers.Conv2D.from_config(conv.get_config())
    other.build((None, None, None, 3))
    other.set_weights([rounded])
    deviation = np.sqrt(plain.var((0, 1, 2)) + 1e-3)
    wanted = (np.asarray(other(x)) - plain.mean((0, 1, 2))) / deviation * gamma + beta
    np.testing.assert_allclose(np.asarray(layer(x, np.float32(0.01), training=True)), wanted, atol=1e-4)


@pytest.mark.parametrize("how", ["frozen", "after the delay"])
def test_statistics_stay_when_they_should(how):
    conv, norm = pair(False)
    layer = FoldedConvolution(conv, norm)
    norm.trainable = how != "frozen"
    layer.batch_statistics = how == "frozen"
    before = [w.copy() for w in norm.get_weights()]
    x = np.random.default_rng(5).normal(2, 1, (2, 5, 5, 3)).astype(np.float32)
    found = np.asarray(layer(x, np.float32(0.01), training=True))
    np.testing.assert_allclose(found, np.asarray(layer(x, np.float32(0.01), training=False)), atol=1e-6)
    for old, new in zip(before, norm.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_range_spans_all_its_sources_and_follows_them():
    layer = Range(2)
    layer.momentum = 0.0
    layer(np.array([[-1.0, 2.0]], np.float32), source=0)
    layer(np.array([[0.5, 3.0]], np.float32), source=1)
    assert [float(end) for end in layer.ends()] == [-1.0, 3.0]
    layer.momentum = 0.75
    layer(np.array([[0.0, 7.0]], np.float32), source=1)
    assert [float(end) for end in layer.ends()] == [-1.0, 4.0]
    layer.momentum = None
    found, step = layer(np.array([[-9.0, 9.0, 0.0]], np.float32), source=0)
    # Zero is 51 steps of 5/255 above the lowest end.
    np.testing.assert_allclose(np.asarray(found)[0], [-1.0, 4.0, 0.0], atol=1e-6)
    assert float(step) == pytest.approx(5 / 255)
    assert layer.grid() == pytest.approx((5 / 255, 51 - 128))


def test_zero_lies_in_every_range():
    layer = Range()
    layer.momentum = 0.0
    layer(np.array([2.0, 3.0], np.float32), source=0)
    assert [float(end) for end in layer.ends()] == [0.0, 3.0]


def test_what_is_only_moved_is_not_observed():
    layer = Range()
    layer.momentum = 0.0
    layer(np.array([-1.0, 1.0], np.float32), source=0)
    layer(np.array([-5.0, 5.0], np.float32))
    assert [float(end) for end in layer.ends()] == [-1.0, 1.0]


def test_bytes_are_pixels():
    # The file has scale 2/255 and zero point 127 of uint8; every byte must come through as it is.
    pixels = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)
    found, _ = Range(fixed=PIXEL_RANGE)(PixelGrid()(pixels))
    np.testing.assert_allclose(np.asarray(found), (pixels - 127) * 2 / 255, atol=1e-6)
    assert Range(fixed=PIXEL_RANGE).grid() == pytest.approx((2 / 255, -1))
    plain = PixelGrid()
    plain.simulated = False
    np.testing.assert_allclose(np.asarray(plain(pixels)), pixels * 2 / 255 - 1, atol=1e-6)


def test_learned_ends_get_the_gradient_of_what_is_cut_off():
    layer = Range(2)
    layer.build(None)
    layer.low.assign([-1.0, -0.5])
    layer.high.assign([1.0, 2.0])
    with tf.GradientTape() as tape:
        y, _ = layer(tf.constant([-3.0, -0.2, 2.5, 5.0]))
        loss = tf.reduce_sum(y * tf.constant([10.0, 20.0, 30.0, 40.0]))
    low, high = tape.gradient(loss, [layer.low.value, layer.high.value])
    np.testing.assert_allclose(low, [10, 0])
    np.testing.assert_allclose(high, [0, 70])
