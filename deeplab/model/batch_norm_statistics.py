"""Sets the moving statistics of batch norms from images, either keeping the network's output or changing it.

`unfold_batch_norm` keeps the output: it prepares imported networks, in which batch norm was folded, for training.
`reestimate_batch_norm` changes it: it replaces poor statistics after training.
"""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from deeplab.model.quantization.layers import unfolded_layers


def unfold_batch_norm(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Give every batch norm the statistics of its input and adjust gamma and beta so that the output stays the same.

    A batch norm that was folded in a file is imported with mean 0 and variance 1, which are unrelated to its input, so
    the first training step would start from another function than the imported one. The output in inference changes
    only by rounding.

    Args:
        model: a functional model, from pixels to logits. Changed in place.
        batches: images `[b, h, w, 3]`, float32 0..255. Each image has the same weight, whatever its size.

    Raises:
        ValueError: `batches` contains no image.
    """
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    moments = keras.Model(model.input, [moment for layer in norms for moment in _moments(layer.input)])
    images = 0
    means = [np.zeros(layer.gamma.shape) for layer in norms]
    squares = [np.zeros(layer.gamma.shape) for layer in norms]
    for batch in batches:
        images += len(batch)
        measured = [np.asarray(ops.convert_to_numpy(v), np.float64) for v in moments(batch, training=False)]
        for i, (mean, variance) in enumerate(zip(measured[::2], measured[1::2], strict=True)):
            means[i] += len(batch) * mean
            squares[i] += len(batch) * (variance + mean**2)
    if not images:
        raise ValueError("no images to measure batch norm on")
    # The outputs do not change, so neither do the inputs of later batch norms: one pass measures all of them.
    for layer, mean_sum, square_sum in zip(norms, means, squares, strict=True):
        mean = mean_sum / images
        _set_statistics(layer, mean, np.maximum(square_sum / images - mean**2, 0))


def reestimate_batch_norm(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Set the statistics of every trainable batch norm to those of its input over all `batches`.

    This is the "precise batch norm" of arXiv:2105.07576, sec. 3. Each batch passes through the network as in training,
    normalized by its own statistics, but without dropout. gamma and beta stay, so the output in inference changes.

    Args:
        model: a functional model, from pixels to logits. Changed in place, except for frozen batch norms.
        batches: images `[b, h, w, 3]`, float32 0..255, all of one size.

    Raises:
        ValueError: `batches` is empty.
    """
    norms = trainable_batch_norms(model)
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    settings = [(x, "momentum", x.momentum) for x in norms] + [(x, "rate", x.rate) for x in dropouts]
    means: list[list[np.ndarray]] = []
    squares: list[list[np.ndarray]] = []
    try:
        for layer, name, _ in settings:
            setattr(layer, name, 0.0)  # With momentum 0, the moving statistics are those of the last batch alone.
        for batch in batches:
            model(batch, training=True)
            mean = [np.asarray(layer.moving_mean, np.float64) for layer in norms]
            means.append(mean)
            squares.append([layer.moving_variance + m**2 for layer, m in zip(norms, mean, strict=True)])
    finally:
        for layer, name, value in settings:
            setattr(layer, name, value)
    if not means:
        raise ValueError("no batches to re-estimate batch norm on")
    for i, layer in enumerate(norms):
        mean_of_all = np.mean([batch[i] for batch in means], axis=0)
        square_of_all = np.mean([np.asarray(batch[i], np.float64) for batch in squares], axis=0)
        layer.moving_mean.assign(mean_of_all)
        layer.moving_variance.assign(np.maximum(square_of_all - mean_of_all**2, 0.0))


def trainable_batch_norms(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """Return the batch norms of a model, folded ones included, that are trainable."""
    norms = [layer for layer in unfolded_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    return [layer for layer in norms if layer.trainable]


def _moments(x: keras.KerasTensor) -> tuple[Any, Any]:
    """Return mean and variance per channel of `x` `[b, h, w, c]`, in two passes: one would lose small variances."""
    mean = ops.mean(x, axis=(0, 1, 2))
    return mean, ops.mean(ops.square(x - mean), axis=(0, 1, 2))


def _set_statistics(layer: keras.layers.BatchNormalization, mean: np.ndarray, variance: np.ndarray) -> None:
    """Change mean and variance of `layer`, and gamma and beta so that it computes the same function."""
    gamma, beta, old_mean, old_variance = (np.asarray(w, np.float64) for w in layer.get_weights())
    slope = gamma / np.sqrt(old_variance + layer.epsilon)
    layer.set_weights([slope * np.sqrt(variance + layer.epsilon), beta + slope * (mean - old_mean), mean, variance])
