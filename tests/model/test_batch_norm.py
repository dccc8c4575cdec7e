"""The fused batch norm against the layer of Keras and against NumPy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.model.batch_norm import BatchNorm, batch_moments

X = np.random.default_rng(0).normal(2.0, 3.0, (3, 5, 4, 6)).astype("float32")


def with_weights(kind: type[keras.layers.BatchNormalization]) -> keras.layers.BatchNormalization:
    layer = kind(momentum=0.75, epsilon=1e-2)
    layer.build(X.shape)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.uniform(0.5, 2.0, 6), rng.normal(size=6), rng.normal(size=6), rng.uniform(0.5, 2.0, 6)])
    return layer


def outputs_and_gradients(layer: keras.layers.BatchNormalization, training: bool) -> list[np.ndarray]:
    """Return output, gradients of a weighted sum of squares, and moving statistics."""
    x, weight = tf.Variable(X), tf.constant(np.random.default_rng(2).normal(size=X.shape), tf.float32)
    with tf.GradientTape() as tape:
        output = layer(x, training=training)
        loss = tf.reduce_sum(weight * tf.square(output))
    gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
    return [np.asarray(v) for v in (output, *gradients, layer.moving_mean, layer.moving_variance)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("trainable", [True, False])
def test_outputs_and_gradients_equal_those_of_keras(training, trainable):
    ours, keras_layer = with_weights(BatchNorm), with_weights(keras.layers.BatchNormalization)
    ours.trainable = keras_layer.trainable = trainable
    actual, expected = (outputs_and_gradients(layer, training) for layer in (ours, keras_layer))
    for a, b in zip(actual, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_moving_statistics_move_towards_those_of_the_pixels():
    layer = with_weights(BatchNorm)
    mean, variance = np.copy(layer.moving_mean), np.copy(layer.moving_variance)
    layer(X, training=True)
    np.testing.assert_allclose(layer.moving_mean, 0.75 * mean + 0.25 * X.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, 0.75 * variance + 0.25 * X.var((0, 1, 2)), rtol=1e-4)


def test_frozen_statistics_normalize_and_stay_while_gamma_and_beta_have_the_gradients_of_numpy():
    """y = gamma * n + beta, n = (x - mean) / sqrt(variance + epsilon): d/dgamma = sum(dy * n), d/dbeta = sum(dy)."""
    layer = with_weights(BatchNorm)
    layer.frozen_statistics = True
    gamma, beta, mean, variance = (np.array(weight, np.float64) for weight in layer.get_weights())
    output, d_x, d_gamma, d_beta, mean_after, variance_after = outputs_and_gradients(layer, training=True)
    slope = gamma / np.sqrt(variance + 1e-2)
    normalized = (X - mean) / np.sqrt(variance + 1e-2)
    expected = gamma * normalized + beta
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)
    d_output = np.random.default_rng(2).normal(size=X.shape) * 2 * expected
    np.testing.assert_allclose(d_x, d_output * slope, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(d_gamma, (d_output * normalized).sum((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(d_beta, d_output.sum((0, 1, 2)), rtol=1e-4)
    np.testing.assert_array_equal(mean_after, mean.astype(np.float32))
    np.testing.assert_array_equal(variance_after, variance.astype(np.float32))


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_frozen_statistics_in_mixed_precision_equal_inference(kind):
    layer = BatchNorm(dtype=f"mixed_{kind}")
    layer.build(X.shape)
    layer.set_weights(with_weights(BatchNorm).get_weights())
    layer.frozen_statistics = True
    training, inference = (layer(tf.cast(X, kind), training=mode) for mode in (True, False))
    assert training.dtype == kind
    np.testing.assert_allclose(
        *(np.asarray(tf.cast(y, tf.float32)) for y in (training, inference)), rtol=0.02, atol=0.02
    )


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_moving_statistics_are_float32_in_mixed_precision(kind):
    layer = BatchNorm(momentum=0.0, dtype=f"mixed_{kind}")
    output = layer(tf.cast(X, kind), training=True)
    assert output.dtype == kind
    assert layer.moving_mean.dtype == "float32"
    np.testing.assert_allclose(layer.moving_mean, X.mean((0, 1, 2)), rtol=0.02)
    np.testing.assert_allclose(layer.moving_variance, X.var((0, 1, 2)), rtol=0.02)


FIRST, SECOND = X * 0.01 + 3000.0, X[:2, ::-1] * 0.02 + 3000.0
"""Inputs of two replicas; in float32 the mean of the squares minus the square of the mean has no correct digit."""
BOTH = np.concatenate([x.reshape(-1, 6) for x in (FIRST, SECOND)]).astype(np.float64)


class FirstReplica:
    """The context of the first of two replicas; `all_reduce` adds the values of the second, computed with NumPy."""

    num_replicas_in_sync = 2

    def __init__(self) -> None:
        pixels, second = SECOND[..., 0].size, SECOND.astype(np.float64)
        share, mean = pixels / (pixels + FIRST[..., 0].size), BOTH.mean(0)
        spread = second.var((0, 1, 2)) + (second.mean((0, 1, 2)) - mean) ** 2
        self.values = iter([pixels, share * second.mean((0, 1, 2)), share * spread])

    def all_reduce(self, _: tf.distribute.ReduceOp, value: tf.Tensor) -> tf.Tensor:
        return value + tf.cast(next(self.values), value.dtype)


def test_synchronized_moments_of_replicas_of_different_size_are_those_of_all_pixels(monkeypatch):
    monkeypatch.setattr(tf.distribute, "get_replica_context", FirstReplica)
    mean, variance = batch_moments(FIRST, synchronized=True)
    np.testing.assert_allclose(mean, BOTH.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, BOTH.var(0), rtol=0.02)
