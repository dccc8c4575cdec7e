"""Sets the moving statistics of batch norms from images, either keeping the network's output or changing it.

`unfold_batch_norm` keeps the output: it prepares imported networks, in which batch norm was folded, for training.
`reestimate_batch_norm` changes it: it replaces poor statistics after training.
"""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import ops

from deeplab.model.batch_norm import BatchNorm
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
    norms = batch_norms(model)
    moments = keras.Model(model.input, [moment for layer in norms for moment in _moments(layer.input)])
    # The outputs do not change, so neither do the inputs of later batch norms: one pass measures all of them.
    pooled = _pool((len(batch), moments(batch, training=False)) for batch in batches)
    if not pooled:
        raise ValueError("no images to measure batch norm on")
    for layer, new_mean, new_variance in zip(norms, *pooled, strict=True):
        gamma, beta, mean, variance = (np.asarray(w, np.float64) for w in layer.get_weights())
        slope = gamma / np.sqrt(variance + layer.epsilon)
        new_gamma, new_beta = slope * np.sqrt(new_variance + layer.epsilon), beta + slope * (new_mean - mean)
        layer.set_weights([new_gamma, new_beta, new_mean, new_variance])


def reestimate_batch_norm(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Set the statistics of every batch norm that updates them to those of its input over all `batches`.

    This is the "precise batch norm" of arXiv:2105.07576, sec. 3. Each batch passes through the network as in training,
    normalized by its own statistics, but without dropout. gamma and beta stay, so the output in inference changes.

    Args:
        model: a functional model, from pixels to logits. Changed in place, except for frozen statistics.
        batches: images `[b, h, w, 3]`, float32 0..255, all of one size.

    Raises:
        ValueError: `batches` is empty.
    """
    norms = updated_batch_norms(model)
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    settings = [(x, "momentum", x.momentum) for x in norms] + [(x, "rate", x.rate) for x in dropouts]

    def moments(batch: np.ndarray) -> tuple[int, list[Any]]:
        model(batch, training=True)
        return 1, [moment for layer in norms for moment in (layer.moving_mean, layer.moving_variance)]

    try:
        for layer, name, _ in settings:
            setattr(layer, name, 0.0)  # With momentum 0, the moving statistics are those of the last batch alone.
        pooled = _pool(map(moments, batches))
    finally:
        for layer, name, value in settings:
            setattr(layer, name, value)
    if not pooled:
        raise ValueError("no batches to re-estimate batch norm on")
    for layer, mean, variance in zip(norms, *pooled, strict=True):
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(variance)


def batch_norms(model: keras.Model) -> list[BatchNorm]:
    """Return the batch norms of a model, folded ones included.

    Raises:
        TypeError: one is not a `BatchNorm`, so its statistics cannot be frozen alone.
    """
    norms = [layer for layer in unfolded_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    for layer in norms:
        if not isinstance(layer, BatchNorm):
            raise TypeError(f"layer {layer.name} is a {type(layer).__name__}; use deeplab.model.batch_norm.BatchNorm")
    return norms


def updated_batch_norms(model: keras.Model) -> list[BatchNorm]:
    """Return the batch norms of a model, folded ones included, whose moving statistics change in training."""
    return [layer for layer in batch_norms(model) if layer.uses_batch_statistics]


def _moments(x: keras.KerasTensor) -> tuple[Any, Any]:
    """Return mean and variance per channel of `x` `[b, h, w, c]`, in two passes: one would lose small variances."""
    mean = ops.mean(x, axis=(0, 1, 2))
    return mean, ops.mean(ops.square(x - mean), axis=(0, 1, 2))


def _pool(measured: Iterable[tuple[int, list[Any]]]) -> list[list[np.ndarray]]:
    """Return the means and the variances of all batch norms over batches; empty without batches.

    Args:
        measured: for each batch its weight, and mean and variance of each batch norm in turn.
    """
    total = 0
    sums: list[np.ndarray] = []
    for weight, moments in measured:
        arrays = [np.asarray(ops.convert_to_numpy(moment), np.float64) for moment in moments]
        pairs = zip(arrays[::2], arrays[1::2], strict=True)
        added = [weight * np.stack([mean, variance + mean**2]) for mean, variance in pairs]
        sums = [old + new for old, new in zip(sums, added, strict=True)] if total else added
        total += weight
    if not total:
        return []
    means, squares = [x[0] / total for x in sums], [x[1] / total for x in sums]
    return [means, [np.maximum(square - mean**2, 0) for mean, square in zip(means, squares, strict=True)]]
