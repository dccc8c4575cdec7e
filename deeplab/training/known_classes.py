"""Measures how well pretrained weights know the classes of the data, before a training."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from deeplab.datasets.source import IGNORE_LABEL


def explained_entropy(model: keras.Model, batches: Iterable[tuple[Any, Any]]) -> float | None:
    """Return the share of the entropy of the labels that the predicted classes explain, 0 to 1.

    This is Theil's uncertainty coefficient, the mutual information of both divided by the entropy of the labels: 1 if
    the predicted class determines the label, 0 if it says nothing about it. The classes of the model and of the data
    may differ. None if the labels have fewer than two classes.

    Args:
        model: from RGB `[b, h, w, 3]` float32 0..255 to logits `[b, h, w, classes]`.
        batches: image, and label `[b, h, w]`.
    """
    values = IGNORE_LABEL + 1
    counts = np.zeros((model.output_shape[-1], values), np.int64)
    for images, labels in batches:
        # One image at a time: the logits of a large batch would need more memory than its training.
        for image, label in zip(images, np.asarray(labels), strict=True):
            predicted = np.asarray(keras.ops.argmax(model(image[None], training=False), axis=-1))
            pairs = values * predicted.reshape(-1).astype(np.int64) + label.reshape(-1)
            counts += np.bincount(pairs, minlength=counts.size).reshape(counts.shape)
    joint = counts[:, :IGNORE_LABEL] / max(counts[:, :IGNORE_LABEL].sum(), 1)
    predictions, known = joint.sum(axis=1), joint.sum(axis=0)
    entropy = _entropy(known)
    return max(_entropy(predictions) + entropy - _entropy(joint), 0.0) / entropy if entropy else None


def _entropy(shares: np.ndarray) -> float:
    positive = shares[shares > 0]
    return float(-(positive * np.log(positive)).sum())
