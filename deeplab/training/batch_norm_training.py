"""Batch norm in training: statistics measured anew, and warnings of those that will be worth nothing."""

import warnings
from collections.abc import Iterable

import keras
import numpy as np

from deeplab.config import TrainingConfig
from deeplab.model.quantization.layers import unfolded_layers

UNSETTLED = 0.05
"""Beyond this share of their first values in a batch norm's statistics a warning is due."""

SHORT_MEMORY = 0.95
"""Momentum that suits trainings of some hundred updates."""

SMALL_BATCH = 12
"""Pictures a replica below which batch norm is better frozen (DeepLabv3, arXiv:1706.05587, sec. 4.1 and 4.2)."""


def norms_of(model: keras.Model) -> list[keras.layers.BatchNormalization]:
    """The batch norms of a model that learn."""
    norms = [layer for layer in unfolded_layers(model) if isinstance(layer, keras.layers.BatchNormalization)]
    return [layer for layer in norms if layer.trainable]


def recalibrate(model: keras.Model, batches: Iterable[np.ndarray]) -> None:
    """Gives every batch norm the mean and variance of its input over all `batches` together (arXiv:2105.07576, sec. 3).

    Each batch goes through the network as in training, every batch norm dividing by the statistics of that batch, but
    without dropout. gamma and beta stay, so the output changes, to that which training has seen.

    Args:
        model: a functional model, from pixels to logits. Changed in place; batch norms that do not learn are left.
        batches: of pictures `[b, h, w, 3]` float32 0..255, of one size.

    Raises:
        ValueError: there is no batch.
    """
    norms = norms_of(model)
    dropouts = [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    momenta, rates = [layer.momentum for layer in norms], [layer.rate for layer in dropouts]
    means: list[list[np.ndarray]] = []
    squares: list[list[np.ndarray]] = []
    try:
        for layer in norms:
            layer.momentum = 0.0  # The moving statistics are then those of the batch alone.
        for dropout in dropouts:
            dropout.rate = 0.0
        for batch in batches:
            model(batch, training=True)
            mean = [np.asarray(layer.moving_mean, np.float64) for layer in norms]
            means.append(mean)
            squares.append([layer.moving_variance + m**2 for layer, m in zip(norms, mean, strict=True)])
    finally:
        for layer, momentum in zip(norms, momenta, strict=True):
            layer.momentum = momentum
        for dropout, rate in zip(dropouts, rates, strict=True):
            dropout.rate = rate
    if not means:
        raise ValueError("no batches to measure batch norm on")
    for place, layer in enumerate(norms):
        mean_of_all = np.mean([batch[place] for batch in means], axis=0)
        square_of_all = np.mean([np.asarray(batch[place], np.float64) for batch in squares], axis=0)
        layer.moving_mean.assign(mean_of_all)
        layer.moving_variance.assign(np.maximum(square_of_all - mean_of_all**2, 0.0))


def warn_of_statistics(model: keras.Model, config: TrainingConfig, replicas: int) -> None:
    """Warns where the statistics of trained batch norms will be poor.

    Either the batches are small; or the updates so few that much of the first statistics stays. Such a model trains
    well and labels everything alike once it is measured.
    """
    norms = norms_of(model)
    size = config.batch_size // config.accumulation // (1 if config.batch_norm == "sync" else replicas)
    if norms and size < SMALL_BATCH:
        warnings.warn(
            f"batch norm is trained on {size} pictures at a time, and its statistics are poor below {SMALL_BATCH}; "
            "set training.batch_norm=frozen where there are pretrained weights, or sync over several devices",
            stacklevel=2,
        )
    left = max((layer.momentum**config.steps for layer in norms), default=0.0)
    if left > UNSETTLED and not config.recalibration_batches:
        shorter = max(layer.momentum for layer in norms) > SHORT_MEMORY
        remedy = f"model.batch_norm_momentum={SHORT_MEMORY} for short trainings, or " if shorter else ""
        warnings.warn(
            f"after {config.steps} steps the batch norms' statistics are still {left:.0%} what they began with; "
            f"set {remedy}training.recalibration_batches=50",
            stacklevel=2,
        )
