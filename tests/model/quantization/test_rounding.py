"""Rounding to int8, and its gradients."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.model.quantization import rounding
from deeplab.model.quantization.rounding import (
    fake_quantize,
    fake_quantize_keras,
    fake_quantize_kernel,
    int8_parameters,
    kernel_scales,
    round_to_scale,
    round_twice,
)


def test_values_are_rounded_to_the_nearest_of_256_one_of_which_is_zero():
    # From -1 to 4 the scale is 5/255 = 1/51: -1 is integer 0, zero is integer 51 exactly, 4 is integer 255.
    x = np.array([-3.0, -1.0, -0.5, 0.0, 0.4 / 51, 0.6 / 51, 1.0, 3.99, 9.0], np.float32)
    expected = np.array([-51, -51, -26, 0, 0, 1, 51, 203, 204]) / 51
    # -0.5 is 25.5 scales above -1, a tie; either neighbor is correct.
    actual = np.asarray(fake_quantize(x, -1.0, 4.0))
    np.testing.assert_allclose(np.delete(actual, 2), np.delete(expected, 2), atol=1e-6)
    assert int8_parameters(-1.0, 4.0) == pytest.approx((1 / 51, 51 - 128))


def test_the_range_is_shifted_so_that_zero_is_exact():
    # The scale is 1/255; the lowest value is 0.3 scales off, and the range is shifted by that much.
    low, high = -100.3 / 255, 154.7 / 255
    x = np.array([-1.0, 0.0, 1.0], np.float32)
    np.testing.assert_allclose(np.asarray(fake_quantize(x, low, high)), [-100 / 255, 0, 155 / 255], atol=1e-6)
    assert int8_parameters(low, high) == pytest.approx((1 / 255, 100 - 128))
    assert int8_parameters(-100.7 / 255, 154.3 / 255) == pytest.approx((1 / 255, 101 - 128))


def test_keras_ops_give_the_values_of_the_fused_operator():
    x = np.random.default_rng(0).normal(0, 2, 500).astype(np.float32)
    for low, high in ((-1.37, 2.9), (0.0, 6.0), (-5.0, 0.0)):
        actual, expected = (np.asarray(f(x, low, high)) for f in (fake_quantize_keras, fake_quantize))
        np.testing.assert_allclose(actual, expected, atol=1e-6)


@pytest.mark.parametrize("quantize", [fake_quantize, fake_quantize_keras])
def test_gradients_of_the_bounds_equal_finite_differences_of_clipping(quantize):
    # The scale is 0.01 and zero is integer 100, so that the range is not shifted. Gradients ignore the rounding.
    rng = np.random.default_rng(1)
    x, weight = rng.normal(0, 2, 400), rng.normal(0, 1, 400)
    low, high = tf.Variable(-1.0), tf.Variable(1.55)
    variable = tf.Variable(x.astype(np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(quantize(variable, low, high) * weight.astype(np.float32))
    of_x, of_low, of_high = (g.numpy() for g in tape.gradient(loss, [variable, low, high]))

    def clipped_loss(a, b):
        return float(np.sum(np.clip(x, a, b) * weight))

    h = 1e-6
    low_difference = clipped_loss(-1 + h, 1.55) - clipped_loss(-1 - h, 1.55)
    high_difference = clipped_loss(-1, 1.55 + h) - clipped_loss(-1, 1.55 - h)
    assert of_low == pytest.approx(low_difference / (2 * h), rel=1e-3)
    assert of_high == pytest.approx(high_difference / (2 * h), rel=1e-3)
    assert abs(of_low) > 1
    assert abs(of_high) > 1
    inside = (x > -0.99) & (x < 1.54)
    np.testing.assert_allclose(of_x[inside], weight[inside], rtol=1e-5)
    assert np.all(of_x[(x < -1.01) | (x > 1.56)] == 0)


def test_a_kernel_has_one_symmetric_scale_per_output_channel():
    kernel = np.array([[1.27, 0.0127], [-0.634, -0.0042], [0.306, 0.0]], np.float32)
    scales = np.asarray(kernel_scales(kernel))
    np.testing.assert_allclose(scales, [0.01, 0.0001], rtol=1e-5)
    expected = [[1.27, 0.0127], [-0.63, -0.0042], [0.31, 0.0]]
    np.testing.assert_allclose(np.asarray(fake_quantize_kernel(kernel, scales)), expected, rtol=1e-4)


def test_gradients_reach_the_whole_kernel():
    # The largest values lie on the limits of the range, where an operator that clips would block the gradients.
    kernel = tf.Variable(np.random.default_rng(2).normal(0, 1, (3, 3, 4, 8)).astype(np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(fake_quantize_kernel(kernel, kernel_scales(kernel)))
    np.testing.assert_array_equal(tape.gradient(loss, kernel).numpy(), 1)


def test_a_channel_of_zeros_has_a_positive_scale():
    kernel = np.array([[2.0, 0.0]], np.float32)
    assert np.asarray(kernel_scales(kernel))[1] == pytest.approx(2 * 2.0**-13 / 127, rel=1e-4)
    assert np.all(np.asarray(kernel_scales(0 * kernel)) > 0)


def test_values_are_rounded_to_multiples_of_the_scale():
    x = tf.Variable([0.24, 0.26, -0.3])
    with tf.GradientTape() as tape:
        y = round_to_scale(x, 0.5)
    np.testing.assert_allclose(y.numpy(), [0, 0.5, -0.5], atol=1e-7)
    np.testing.assert_array_equal(tape.gradient(y, x).numpy(), 1)


def test_rounding_twice_gives_the_integers_of_the_builtin_kernels():
    # 0.3 is 0.6 / 2: a sum is multiplied by 0.6, rounded, halved and rounded, halves up. 2 needs no division.
    sums = np.array([4, 5, 6, 8, -2, -8])
    # Times 0.6: 2.4 3 3.6 4.8 -1.2 -4.8; rounded: 2 3 4 5 -1 -5; then halved and rounded:
    twice, once = [1, 2, 2, 3, 0, -2], [1, 2, 2, 2, -1, -2]
    x = np.stack([0.3 * sums, 2.0 * sums], -1).astype(np.float32)
    actual = fake_quantize(round_twice(x, np.array([0.3, 2.0], np.float32), 1.0), -128.0, 127.0)
    np.testing.assert_allclose(actual, np.stack([twice, 2 * sums], -1), atol=1e-5)
    np.testing.assert_allclose(np.delete(fake_quantize(x[:, 0], -128.0, 127.0), 1), np.delete(once, 1), atol=1e-5)


def test_gradients_pass_through_rounding_twice():
    x = tf.Variable([[0.7, 1.9]])
    with tf.GradientTape() as tape:
        y = round_twice(x, np.array([0.3, 2.0], np.float32), 1.0)
    np.testing.assert_array_equal(tape.gradient(y, x).numpy(), 1)


def test_kernels_are_rounded_equally_without_tensorflow(monkeypatch):
    kernel = np.random.default_rng(3).normal(0, 1, (1, 1, 5, 6)).astype(np.float32)
    scales = kernel_scales(kernel)
    expected = np.asarray(fake_quantize_kernel(kernel, scales))
    monkeypatch.setattr(rounding.keras.backend, "backend", lambda: "jax")
    assert keras.backend.backend() == "jax"
    np.testing.assert_allclose(np.asarray(fake_quantize_kernel(kernel, scales)), expected, atol=1e-5)
