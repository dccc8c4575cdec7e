"""Warns about unreliable batch-norm statistics."""

import warnings

import keras

from deeplab.config import TrainingConfig
from deeplab.model.batch_norm_statistics import trainable_batch_norms

MAX_INITIAL_SHARE = 0.05
"""Share of the initial values in the final moving statistics above which a warning is shown."""

SHORT_MOMENTUM = 0.95
"""Momentum that suits trainings of a few hundred updates."""

MIN_BATCH = 12
"""Images per replica below which batch norm should be frozen (DeepLabv3, arXiv:1706.05587, sec. 4.1 and 4.2)."""


def warn_about_statistics(model: keras.Model, config: TrainingConfig, replicas: int) -> None:
    """Warn if the statistics of trained batch norms will be unreliable: small batches, or too few updates.

    A model with statistics close to their initial values has a low loss in training, but predicts one class for
    almost every pixel in inference.
    """
    norms = trainable_batch_norms(model)
    size = config.batch_size // config.accumulation // (1 if config.batch_norm == "sync" else replicas)
    if norms and size < MIN_BATCH:
        warnings.warn(
            f"batch norm is trained on {size} images at a time, which makes its statistics unreliable (below "
            f"{MIN_BATCH}); set training.batch_norm=frozen with pretrained weights, or sync with several devices",
            stacklevel=2,
        )
    share = max((layer.momentum**config.steps for layer in norms), default=0.0)
    if share > MAX_INITIAL_SHARE and not config.recalibration_batches:
        long = max(layer.momentum for layer in norms) > SHORT_MOMENTUM
        remedy = f"model.batch_norm_momentum={SHORT_MOMENTUM} for short trainings, or " if long else ""
        warnings.warn(
            f"after {config.steps} steps the batch-norm statistics still contain {share:.0%} of their initial "
            f"values; set {remedy}training.recalibration_batches=50",
            stacklevel=2,
        )
