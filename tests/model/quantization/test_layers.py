"""Folded convolutions and ranges as single layers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.model.batch_norm import BatchNorm
from deeplab.model.quantization.layers import PIXEL_RANGE, FoldedConvolution, PixelGrid, Range


def pair(depthwise: bool, seed: int = 0) -> tuple[keras.layers.Layer, BatchNorm]:
    """Build a convolution of 3 channels and a batch norm with random weights."""
    rng = np.random.default_rng(seed)
    make = keras.layers.DepthwiseConv2D if depthwise else lambda *a, **k: keras.layers.Conv2D(4, *a, **k)
    conv = make(3, padding="same", use_bias=False)
    norm = BatchNorm(epsilon=1e-3, momentum=0.8)
    norm(conv(np.zeros((1, 5, 5, 3), np.float32)))
    conv.set_weights([rng.normal(0, 0.2, conv.kernel.shape)])
    norm.set_weights([rng.uniform(low, high, norm.gamma.shape) for low, high in ((0.5, 2), (-1, 1), (-1, 1), (0.2, 3))])
    return conv, norm


@pytest.mark.parametrize("depthwise", [False, True])
def test_without_rounding_the_folded_layer_gives_the_output_of_both_layers(depthwise):
    conv, norm = pair(depthwise)
    layer = FoldedConvolution(conv, norm)
    layer.simulated = False
    x = np.random.default_rng(1).normal(0, 1, (2, 7, 7, 3)).astype(np.float32)
    actual, expected = layer(x, np.float32(0.01)), norm(conv(x), training=False)
    np.testing.assert_allclose(np.asarray(actual), np.asarray(expected), atol=1e-5)


@pytest.mark.parametrize("depthwise", [False, True])
def test_kernel_and_bias_are_rounded_per_output_channel(depthwise):
    conv, norm = pair(depthwise)
    input_scale = np.float32(2.0)  # Large, so that the rounding of the bias is visible.
    gamma, beta, mean, variance = norm.get_weights()
    slope = gamma / np.sqrt(variance + 1e-3)
    kernel = np.asarray(conv.kernel)
    folded = kernel * (slope[:, None] if depthwise else slope)
    channel_last = folded[..., 0] if depthwise else folded
    scales = np.abs(channel_last).reshape(-1, channel_last.shape[-1]).max(0) / 127
    rounded = np.round(channel_last / scales) * scales
    bias_scales = input_scale * scales
    bias = np.round((beta - mean * slope) / bias_scales) * bias_scales
    plain = type(conv).from_config(conv.get_config())
    plain.build((None, None, None, 3))
    plain.set_weights([rounded[..., None] if depthwise else rounded])
    x = np.random.default_rng(2).normal(0, 1, (1, 6, 6, 3)).astype(np.float32)
    actual = np.asarray(FoldedConvolution(conv, norm)(x, input_scale))
    np.testing.assert_allclose(actual, np.asarray(plain(x)) + bias, atol=1e-4)
    # The rounding is visible: the output without it differs by more.
    assert np.abs(actual - np.asarray(norm(conv(x), training=False))).max() > 1e-3


@pytest.mark.parametrize("depthwise", [False, True])
def test_a_per_tensor_kernel_is_rounded_with_one_scale(depthwise):
    conv, _ = pair(depthwise)
    x = np.random.default_rng(2).normal(0, 1, (1, 6, 6, 3)).astype(np.float32)
    actual = np.asarray(FoldedConvolution(conv, per_tensor=True)(x, np.float32(0.01)))
    kernel = np.asarray(conv.kernel)
    scale = np.abs(kernel).max() / 127
    conv.set_weights([np.round(kernel / scale) * scale, *conv.get_weights()[1:]])
    np.testing.assert_allclose(actual, np.asarray(conv(x)), atol=1e-4)
    conv.set_weights([kernel, *conv.get_weights()[1:]])
    assert np.abs(actual - np.asarray(FoldedConvolution(conv)(x, np.float32(0.01)))).max() > 1e-3


@pytest.mark.parametrize("depthwise", [False, True])
def test_values_beyond_127_imported_scales_are_clipped(depthwise):
    conv, _ = pair(depthwise)
    layer = FoldedConvolution(conv, per_tensor=True)
    layer.imported_scales = np.full(3 if depthwise else 4, 0.001, np.float32)
    x = np.random.default_rng(2).normal(0, 1, (1, 6, 6, 3)).astype(np.float32)
    actual = np.asarray(layer(x, np.float32(0.01)))
    kernel = np.asarray(conv.kernel)
    conv.set_weights([np.clip(np.round(kernel / 0.001), -127, 127) * 0.001, *conv.get_weights()[1:]])
    np.testing.assert_allclose(actual, np.asarray(conv(x)), atol=1e-4)


@pytest.mark.parametrize("depthwise", [False, True])
def test_imported_scales_replace_those_of_the_kernel(depthwise):
    conv, _ = pair(depthwise)
    imported = np.float32([0.03, 0.05, 0.02] if depthwise else [0.03, 0.05, 0.02, 0.04])
    layer = FoldedConvolution(conv)
    layer.imported_scales = imported
    x = np.random.default_rng(2).normal(0, 1, (1, 6, 6, 3)).astype(np.float32)
    actual = np.asarray(layer(x, np.float32(0.01)))
    scales = imported[:, None] if depthwise else imported
    conv.set_weights([np.round(np.asarray(conv.kernel) / scales) * scales, *conv.get_weights()[1:]])
    np.testing.assert_allclose(actual, np.asarray(conv(x)), atol=1e-4)


def test_in_training_the_batch_statistics_normalize_and_update_the_moving_ones():
    conv, norm = pair(False)
    layer = FoldedConvolution(conv, norm)
    layer.simulated = False
    x = np.random.default_rng(3).normal(0, 1, (4, 8, 8, 3)).astype(np.float32)
    gamma, beta, mean, variance = norm.get_weights()
    plain = np.asarray(conv(x), np.float64)
    expected = (plain - plain.mean((0, 1, 2))) / np.sqrt(plain.var((0, 1, 2)) + 1e-3) * gamma + beta
    np.testing.assert_allclose(np.asarray(layer(x, np.float32(0.01), training=True)), expected, atol=1e-4)
    np.testing.assert_allclose(norm.moving_mean, 0.8 * mean + 0.2 * plain.mean((0, 1, 2)), atol=1e-5)
    np.testing.assert_allclose(norm.moving_variance, 0.8 * variance + 0.2 * plain.var((0, 1, 2)), atol=1e-5)


def test_in_training_the_kernel_is_rounded_after_folding_the_moving_statistics():
    conv, norm = pair(False)
    layer = FoldedConvolution(conv, norm)
    x = np.random.default_rng(4).normal(0, 1, (4, 8, 8, 3)).astype(np.float32)
    gamma, beta, _, variance = norm.get_weights()
    slope = gamma / np.sqrt(variance + 1e-3)
    scales = np.abs(np.asarray(conv.kernel) * slope).max((0, 1, 2)) / 127
    rounded = np.round(np.asarray(conv.kernel) * slope / scales) * scales / slope
    plain = np.asarray(conv(x), np.float64)
    other = keras.layers.Conv2D.from_config(conv.get_config())
    other.build((None, None, None, 3))
    other.set_weights([rounded])
    deviation = np.sqrt(plain.var((0, 1, 2)) + 1e-3)
    expected = (np.asarray(other(x)) - plain.mean((0, 1, 2))) / deviation * gamma + beta
    np.testing.assert_allclose(np.asarray(layer(x, np.float32(0.01), training=True)), expected, atol=1e-4)


@pytest.mark.parametrize("reason", ["frozen", "frozen statistics", "after the delay"])
def test_moving_statistics_stay_if_frozen_or_after_the_delay(reason):
    conv, norm = pair(False)
    layer = FoldedConvolution(conv, norm)
    norm.trainable = reason != "frozen"
    norm.frozen_statistics = reason == "frozen statistics"
    layer.uses_batch_statistics = reason != "after the delay"
    before = [w.copy() for w in norm.get_weights()]
    x = np.random.default_rng(5).normal(2, 1, (2, 5, 5, 3)).astype(np.float32)
    actual = np.asarray(layer(x, np.float32(0.01), training=True))
    np.testing.assert_allclose(actual, np.asarray(layer(x, np.float32(0.01), training=False)), atol=1e-6)
    for old, new in zip(before, norm.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_a_range_spans_all_its_sources_and_moves_with_momentum():
    layer = Range(2)
    layer.momentum = 0.0
    layer(np.array([[-1.0, 2.0]], np.float32), source=0)
    layer(np.array([[0.5, 3.0]], np.float32), source=1)
    assert [float(bound) for bound in layer.bounds()] == [-1.0, 3.0]
    layer.momentum = 0.75
    layer(np.array([[0.0, 7.0]], np.float32), source=1)
    assert [float(bound) for bound in layer.bounds()] == [-1.0, 4.0]
    layer.momentum = None
    actual, scale = layer(np.array([[-9.0, 9.0, 0.0]], np.float32), source=0)
    # Zero lies 51 scales of 5/255 above the lowest value.
    np.testing.assert_allclose(np.asarray(actual)[0], [-1.0, 4.0, 0.0], atol=1e-6)
    assert float(scale) == pytest.approx(5 / 255)
    assert layer.parameters() == pytest.approx((5 / 255, 51 - 128))


def test_every_range_contains_zero():
    layer = Range()
    layer.momentum = 0.0
    layer(np.array([2.0, 3.0], np.float32), source=0)
    assert [float(bound) for bound in layer.bounds()] == [0.0, 3.0]


def test_a_tensor_that_is_no_source_is_not_observed():
    layer = Range()
    layer.momentum = 0.0
    layer(np.array([-1.0, 1.0], np.float32), source=0)
    layer(np.array([-5.0, 5.0], np.float32))
    assert [float(bound) for bound in layer.bounds()] == [-1.0, 1.0]


def test_every_byte_is_represented_exactly():
    # The input of the file has scale 2/255 and zero point 127 (uint8).
    pixels = np.arange(256, dtype=np.float32).reshape(1, 16, 16, 1)
    actual, _ = Range(fixed=PIXEL_RANGE)(PixelGrid()(pixels))
    np.testing.assert_allclose(np.asarray(actual), (pixels - 127) * 2 / 255, atol=1e-6)
    assert Range(fixed=PIXEL_RANGE).parameters() == pytest.approx((2 / 255, -1))
    plain = PixelGrid()
    plain.simulated = False
    np.testing.assert_allclose(np.asarray(plain(pixels)), pixels * 2 / 255 - 1, atol=1e-6)


def test_trained_bounds_receive_the_gradients_of_clipped_values():
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
