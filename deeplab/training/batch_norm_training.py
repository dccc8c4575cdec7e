"""Warns about unreliable batch-norm statistics."""

import warnings

import keras

from deeplab.config import TrainingConfig
from deeplab.model.batch_norm_statistics import trainable_batch_norms

UNSETTLED = 0.05
"""Beyond this share of their first values in a batch norm's statistics a warning is due."""

SHORT_MEMORY = 0.95
"""Momentum that suits trainings of some hundred updates."""

SMALL_BATCH = 12
"""Pictures a replica below which batch norm is better frozen (DeepLabv3, arXiv:1706.05587, sec. 4.1 and 4.2)."""


def warn_of_statistics(model: keras.Model, config: TrainingConfig, replicas: int) -> None:
    """Warns where the statistics of trained batch norms will be poor.

    Either the batches are small; or the updates so few that much of the first statistics stays. Such a model trains
    well and labels everything alike once it is measured.
    """
    norms = trainable_batch_norms(model)
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
