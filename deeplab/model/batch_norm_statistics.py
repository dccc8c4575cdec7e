"""Batch norms with statistics measured on pictures, and the same output as before."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops


def unfold_batch_norm(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Gives every batch norm of `model` the statistics of its input, and re-expresses gamma and beta in them.

    The output in inference stays what it was, to rounding. What changes is training: a batch norm that was folded in a
    file comes back with mean 0 and variance 1, which have nothing to do with what it normalizes; afterwards the first
    training step on such pictures starts from the function that was imported.

    Args:
        model: a functional model, from pixels to logits. Changed in place.
        batches: of pictures `[b, h, w, 3]` float32 0..255; every picture counts alike, whatever its size.

    Raises:
        ValueError: there is no picture.
    """
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    moments = keras.Model(model.input, [moment for layer in norms for moment in _moments(layer.input)])
    pictures = 0
    mean = [np.zeros(layer.gamma.shape) for layer in norms]
    square = [np.zeros(layer.gamma.shape) for layer in norms]
    for batch in batches:
        pictures += len(batch)
        found = [np.asarray(ops.convert_to_numpy(v), np.float64) for v in moments(batch, training=False)]
        for i, (batch_mean, batch_variance) in enumerate(zip(found[::2], found[1::2], strict=True)):
            mean[i] += len(batch) * batch_mean
            square[i] += len(batch) * (batch_variance + batch_mean**2)
    if not pictures:
        raise ValueError("no pictures to measure batch norm on")
    # The outputs do not change, so neither do the inputs of later norms: one pass measures them all.
    for i, layer in enumerate(norms):
        mean[i] /= pictures
        _restate(layer, mean[i], np.maximum(square[i] / pictures - mean[i] ** 2, 0))


def _moments(x: keras.KerasTensor) -> tuple[Any, Any]:
    """Mean and variance of each channel of `[b, h, w, c]`; two passes, for float32 would lose a small variance."""
    mean = ops.mean(x, axis=(0, 1, 2))
    return mean, ops.mean(ops.square(x - mean), axis=(0, 1, 2))


def _restate(layer: keras.layers.BatchNormalization, mean: np.ndarray, variance: np.ndarray) -> None:
    """The same affine map with another mean and variance."""
    gamma, beta, old_mean, old_variance = (np.asarray(w, np.float64) for w in layer.get_weights())
    slope = gamma / np.sqrt(old_variance + layer.epsilon)
    layer.set_weights([slope * np.sqrt(variance + layer.epsilon), beta + slope * (mean - old_mean), mean, variance])
