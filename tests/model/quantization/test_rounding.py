"""The grid of int8 values, and gradients through it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.model.quantization import rounding
from deeplab.model.quantization.rounding import (
    fake_quantize,
    fake_quantize_kernel,
    fake_quantize_plainly,
    int8_grid,
    kernel_steps,
    on_steps,
    round_twice,
)


def test_values_are_brought_to_the_nearest_of_256_one_of_which_is_zero():
    # From -1 to 4: a step of 5/255 = 1/51; zero is step 51 exactly, -1 step 0 and 4 step 255.
    x = np.array([-3.0, -1.0, -0.5, 0.0, 0.4 / 51, 0.6 / 51, 1.0, 3.99, 9.0], np.float32)
    wanted = np.array([-51, -51, -26, 0, 0, 1, 51, 203, 204]) / 51
    # -0.5 is 25.5 steps above -1, a half; either neighbor will do.
    found = np.asarray(fake_quantize(x, -1.0, 4.0))
    np.testing.assert_allclose(np.delete(found, 2), np.delete(wanted, 2), atol=1e-6)
    assert int8_grid(-1.0, 4.0) == pytest.approx((1 / 51, 51 - 128))


def test_the_range_moves_so_that_zero_is_exact():
    # A step of 1/255; the lowest end is 0.3 steps off, and the range moves there by as much.
    low, high = -100.3 / 255, 154.7 / 255
    x = np.array([-1.0, 0.0, 1.0], np.float32)
    np.testing.assert_allclose(np.asarray(fake_quantize(x, low, high)), [-100 / 255, 0, 155 / 255], atol=1e-6)
    assert int8_grid(low, high) == pytest.approx((1 / 255, 100 - 128))
    assert int8_grid(-100.7 / 255, 154.3 / 255) == pytest.approx((1 / 255, 101 - 128))


def test_the_plain_operators_are_the_fused_one():
    x = np.random.default_rng(0).normal(0, 2, 500).astype(np.float32)
    for low, high in ((-1.37, 2.9), (0.0, 6.0), (-5.0, 0.0)):
        found, wanted = (np.asarray(f(x, low, high)) for f in (fake_quantize_plainly, fake_quantize))
        np.testing.assert_allclose(found, wanted, atol=1e-6)


@pytest.mark.parametrize("quantize", [fake_quantize, fake_quantize_plainly])
def test_gradients_of_the_ends_are_those_of_finite_differences(quantize):
    # What is learned is where values are cut off: the rounding is looked through. A step of 0.01, zero on step 100.
    rng = np.random.default_rng(1)
    x, weight = rng.normal(0, 2, 400), rng.normal(0, 1, 400)
    low, high = tf.Variable(-1.0), tf.Variable(1.55)
    given = tf.Variable(x.astype(np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(quantize(given, low, high) * weight.astype(np.float32))
    of_x, of_low, of_high = (g.numpy() for g in tape.gradient(loss, [given, low, high]))

    def cut(a, b):
        return float(np.sum(np.clip(x, a, b) * weight))

    small = 1e-6
    assert of_low == pytest.approx((cut(-1 + small, 1.55) - cut(-1 - small, 1.55)) / (2 * small), rel=1e-3)
    assert of_high == pytest.approx((cut(-1, 1.55 + small) - cut(-1, 1.55 - small)) / (2 * small), rel=1e-3)
    assert abs(of_low) > 1
    assert abs(of_high) > 1
    inside = (x > -0.99) & (x < 1.54)
    np.testing.assert_allclose(of_x[inside], weight[inside], rtol=1e-5)
    assert np.all(of_x[(x < -1.01) | (x > 1.56)] == 0)


def test_a_kernel_has_a_symmetric_grid_of_its_own_in_each_channel():
    kernel = np.array([[1.27, 0.0127], [-0.634, -0.0042], [0.306, 0.0]], np.float32)
    steps = np.asarray(kernel_steps(kernel))
    np.testing.assert_allclose(steps, [0.01, 0.0001], rtol=1e-5)
    wanted = [[1.27, 0.0127], [-0.63, -0.0042], [0.31, 0.0]]
    np.testing.assert_allclose(np.asarray(fake_quantize_kernel(kernel, steps)), wanted, rtol=1e-4)


def test_gradients_pass_through_the_whole_kernel():
    # Its largest values lie on the end of the range, where an operator that clips would stop them.
    kernel = tf.Variable(np.random.default_rng(2).normal(0, 1, (3, 3, 4, 8)).astype(np.float32))
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(fake_quantize_kernel(kernel, kernel_steps(kernel)))
    np.testing.assert_array_equal(tape.gradient(loss, kernel).numpy(), 1)


def test_a_channel_without_weights_has_a_step():
    kernel = np.array([[2.0, 0.0]], np.float32)
    assert np.asarray(kernel_steps(kernel))[1] == pytest.approx(2 * 2.0**-13 / 127, rel=1e-4)
    assert np.all(np.asarray(kernel_steps(0 * kernel)) > 0)


def test_values_become_multiples_of_a_step():
    x = tf.Variable([0.24, 0.26, -0.3])
    with tf.GradientTape() as tape:
        y = on_steps(x, 0.5)
    np.testing.assert_allclose(y.numpy(), [0, 0.5, -0.5], atol=1e-7)
    np.testing.assert_array_equal(tape.gradient(y, x).numpy(), 1)


def test_the_builtin_kernels_round_twice():
    # 0.3 is 0.6 / 2: a sum is multiplied by 0.6, rounded, halved and rounded, halves upwards. 2 needs no shift.
    sums = np.array([4, 5, 6, 8, -2, -8])
    #        times 0.6: 2.4 3 3.6 4.8 -1.2 -4.8, so 2 3 4 5 -1 -5, and halves of that
    twice, once = [1, 2, 2, 3, 0, -2], [1, 2, 2, 2, -1, -2]
    x = np.stack([0.3 * sums, 2.0 * sums], -1).astype(np.float32)
    found = fake_quantize(round_twice(x, np.array([0.3, 2.0], np.float32), 1.0), -128.0, 127.0)
    np.testing.assert_allclose(found, np.stack([twice, 2 * sums], -1), atol=1e-5)
    np.testing.assert_allclose(np.delete(fake_quantize(x[:, 0], -128.0, 127.0), 1), np.delete(once, 1), atol=1e-5)


def test_gradients_pass_through_both_roundings():
    x = tf.Variable([[0.7, 1.9]])
    with tf.GradientTape() as tape:
        y = round_twice(x, np.array([0.3, 2.0], np.float32), 1.0)
    np.testing.assert_array_equal(tape.gradient(y, x).numpy(), 1)


def test_without_tensorflow_kernels_are_the_same(monkeypatch):
    kernel = np.random.default_rng(3).normal(0, 1, (1, 1, 5, 6)).astype(np.float32)
    steps = kernel_steps(kernel)
    wanted = np.asarray(fake_quantize_kernel(kernel, steps))
    monkeypatch.setattr(rounding.keras.backend, "backend", lambda: "jax")
    assert keras.backend.backend() == "jax"
    np.testing.assert_allclose(np.asarray(fake_quantize_kernel(kernel, steps)), wanted, atol=1e-5)
