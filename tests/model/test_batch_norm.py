"""The fused operator against Keras' own batch norm, and against numpy."""

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


NEAR, FAR = X * 0.01 + 3000.0, X[:2, ::-1] * 0.02 + 3000.0
"""What two replicas see; the mean of the squares less the square of the mean has no digit left of it in float32."""


class Replica:
    """The first of two, which is told what the other adds."""

    num_replicas_in_sync = 2

    def __init__(self) -> None:
        number, far = FAR[..., 0].size, FAR.astype(np.float64)
        share, of_all = number / (number + NEAR[..., 0].size), ALL.mean(0)
        spread = far.var((0, 1, 2)) + (far.mean((0, 1, 2)) - of_all) ** 2
        self.told = iter([number, share * far.mean((0, 1, 2)), share * spread])

    def all_reduce(self, _: tf.distribute.ReduceOp, value: tf.Tensor) -> tf.Tensor:
        return value + tf.cast(next(self.told), value.dtype)


ALL = np.concatenate([x.reshape(-1, 6) for x in (NEAR, FAR)]).astype(np.float64)


def test_moments_over_replicas_of_unequal_size_are_those_of_all_pixels(monkeypatch):
    monkeypatch.setattr(tf.distribute, "get_replica_context", Replica)
    mean, variance = batch_moments(NEAR, synchronized=True)
    np.testing.assert_allclose(mean, ALL.mean(0), rtol=1e-6)
    np.testing.assert_allclose(variance, ALL.var(0), rtol=0.02)
