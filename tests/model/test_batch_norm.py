"""The fused operator against Keras' own batch norm, and against numpy."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.model.batch_norm import BatchNorm

X = np.random.default_rng(0).normal(2.0, 3.0, (3, 5, 4, 6)).astype("float32")


def with_weights(kind: type[keras.layers.BatchNormalization]) -> keras.layers.BatchNormalization:
    layer = kind(momentum=0.75, epsilon=1e-2)
    layer.build(X.shape)
    rng = np.random.default_rng(1)
    layer.set_weights([rng.uniform(0.5, 2.0, 6), rng.normal(size=6), rng.normal(size=6), rng.uniform(0.5, 2.0, 6)])
    return layer


def outcome(layer: keras.layers.BatchNormalization, training: bool) -> list[np.ndarray]:
    """Output, gradients of a loss that is no mean, and moving statistics."""
    x, weight = tf.Variable(X), tf.constant(np.random.default_rng(2).normal(size=X.shape), tf.float32)
    with tf.GradientTape() as tape:
        output = layer(x, training=training)
        loss = tf.reduce_sum(weight * tf.square(output))
    gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
    return [np.asarray(v) for v in (output, *gradients, layer.moving_mean, layer.moving_variance)]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("trainable", [True, False])
def test_it_is_keras_own_layer(training, trainable):
    found, expected = with_weights(BatchNorm), with_weights(keras.layers.BatchNormalization)
    found.trainable = expected.trainable = trainable
    for a, b in zip(outcome(found, training), outcome(expected, training), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_moving_statistics_are_those_of_the_pixels():
    layer = with_weights(BatchNorm)
    mean, variance = np.copy(layer.moving_mean), np.copy(layer.moving_variance)
    layer(X, training=True)
    np.testing.assert_allclose(layer.moving_mean, 0.75 * mean + 0.25 * X.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(layer.moving_variance, 0.75 * variance + 0.25 * X.var((0, 1, 2)), rtol=1e-4)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_half_precision_keeps_its_statistics_whole(kind):
    layer = BatchNorm(momentum=0.0, dtype=f"mixed_{kind}")
    output = layer(tf.cast(X, kind), training=True)
    assert output.dtype == kind
    assert layer.moving_mean.dtype == "float32"
    np.testing.assert_allclose(layer.moving_mean, X.mean((0, 1, 2)), rtol=0.02)
    np.testing.assert_allclose(layer.moving_variance, X.var((0, 1, 2)), rtol=0.02)
