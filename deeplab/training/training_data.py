"""The training batches of a training."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from deeplab.config import TrainConfig
from deeplab.datasets.open import limited, open_source
from deeplab.datasets.pipeline import iterate, training_batches
from deeplab.datasets.source import Source
from deeplab.pixels import mean_pixel


def make_batches(config: TrainConfig, source: Source, **arguments: Any) -> tf.data.Dataset:
    """Return the training batches, padded with the pixel that the backbone maps to zero.

    Args:
        config: settings of the training.
        source: the training split.
        arguments: further ones of `training_batches`.
    """
    padding = mean_pixel(config.network.backbone)
    return training_batches(source, config.training, config.seed, padding=padding, **arguments)


def labeled_batches(config: TrainConfig, source: Source) -> tf.data.Dataset:
    """Return the training batches of the images with masks, which precede those of `data.unlabelled` in `source`."""
    if config.data.unlabelled is not None:
        labeled = open_source(config.data, config.data.train_split, config.seed)
        assert labeled.size is not None
        source = limited(source, labeled.size)
    return make_batches(config, source)


def first_images(config: TrainConfig, source: Source, batches: int) -> Iterator[np.ndarray]:
    """Return the images `[b, h, w, 3]` float32 0..255 of the first training batches."""
    return (image.numpy() for image, _ in itertools.islice(iterate(make_batches(config, source)), batches))
