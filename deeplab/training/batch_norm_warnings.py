"""Warns about unreliable batch-norm statistics, and about frozen batch norms that nothing has trained."""

import warnings

import keras
import numpy as np

from deeplab.config import TrainingConfig
from deeplab.model.backbones.features import BACKBONE_PREFIX
from deeplab.model.batch_norm import BatchNorm
from deeplab.model.batch_norm_statistics import batch_norms, updated_batch_norms
from deeplab.plan.plan import Plan

MAX_INITIAL_SHARE = 0.05
"""Share of the initial values in the final moving statistics above which a warning is shown."""

SHORT_MOMENTUM = 0.95
"""Momentum that suits trainings of a few hundred updates."""

MIN_BATCH = 12
"""Images per replica below which the statistics should be frozen (DeepLabv3, arXiv:1706.05587, sec. 4.1 and 4.2)."""


def warn_about_batch_norm(model: keras.Model, config: TrainingConfig, replicas: int, plan: Plan | None = None) -> None:
    """Warn if batch norms will be unreliable: small batches, too few updates, or frozen at their initial values.

    A model with statistics close to their initial values has a low loss in training, but predicts one class for
    almost every pixel in inference.

    Args:
        model: the network that is trained.
        config: the training recipe.
        replicas: number of replicas that share a batch.
        plan: the plan that the training follows; None without one. A plan takes small batches on purpose, for more
            updates in its time. If it chooses the number of updates, it warns itself of too few for its momentum,
            `SHORT_MOMENTUM`.
    """
    norms = updated_batch_norms(model)
    sharing = config.accumulation * (1 if config.batch_norm == "sync" else replicas)
    size = config.batch_size // sharing
    if norms and plan is None and size < MIN_BATCH:
        sync = " or training.batch_norm=sync" if sharing > config.accumulation else ""
        _warn(
            f"batch norm is trained on {size} images at a time, which makes its statistics unreliable (below "
            f"{MIN_BATCH}); with pretrained weights set training.batch_norm=frozen_statistics, from random weights "
            f"training.batch_size={MIN_BATCH * sharing}{sync}"
        )
    if norms and config.linear_probe_images and size < MIN_BATCH:
        _warn(
            "training.linear_probe_images fits the classifier with pretrained statistics, but batch norm normalizes by "
            f"{size} images, which loses the fit at once; set training.batch_norm=frozen_statistics"
        )
    share = max((layer.momentum**config.steps for layer in norms), default=0.0)
    chosen_by_plan = plan is not None and plan.trial is not None
    long = any(layer.momentum > SHORT_MOMENTUM for layer in norms)
    if share > MAX_INITIAL_SHARE and not config.recalibration_batches and (long or not chosen_by_plan):
        remedy = f"model.batch_norm_momentum={SHORT_MOMENTUM} for short trainings, or " if long else ""
        _warn(
            f"after {config.steps} steps the moving means and variances of batch norm, which inference uses, still "
            f"contain {share:.0%} of their values from before the training; train for more steps, or set {remedy}"
            "training.recalibration_batches=50, which measures them on 50 batches after the training"
        )
    initial = [layer.name for layer in batch_norms(model) if _is_initial(layer)]
    if config.batch_norm == "frozen" and initial:
        _warn(
            f"{len(initial)} batch norms have no pretrained values, first {initial[0]}: frozen, they neither normalize "
            "nor add a bias; set training.batch_norm=frozen_statistics, which trains gamma and beta"
        )
    in_backbone = [name for name in initial if name.startswith(BACKBONE_PREFIX)]
    if config.batch_norm == "frozen_statistics" and in_backbone:
        _warn(
            f"{len(in_backbone)} batch norms of the backbone have no pretrained statistics, first {in_backbone[0]}, so "
            "they do not normalize; add pretrained weights, or set training.batch_norm=train"
        )


def _is_initial(layer: BatchNorm) -> bool:
    """Return whether a batch norm neither shifts nor has a measured mean: its values are initial, or the identity."""
    return not (np.any(layer.beta) or np.any(layer.moving_mean))


def _warn(message: str) -> None:
    warnings.warn(message, stacklevel=3)
