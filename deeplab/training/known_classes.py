"""Measures how well pretrained weights know the classes of the data, before a training."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from deeplab.datasets.source import IGNORE_LABEL


def explained_entropy(model: keras.Model, batches: Iterable[tuple[Any, Any]]) -> float:
    """Return the share of the entropy of the labels that the predicted classes explain, 0 to 1.

    This is Theil's uncertainty coefficient, the mutual information of both divided by the entropy of the labels: 1 if
    the predicted class determines the label, 0 if it says nothing about it. The classes of the model and of the data
    may differ. 0 for labels of one class.

    Args:
        model: from RGB `[b, h, w, 3]` float32 0..255 to logits `[b, h, w, classes]`.
        batches: image, and label `[b, h, w]`.
    """
    counts = np.zeros((model.output_shape[-1], IGNORE_LABEL + 1), np.int64)
    for image, label in batches:
        predicted = np.asarray(model(image, training=False)).argmax(axis=-1).reshape(-1)
        np.add.at(counts, (predicted, np.asarray(label).reshape(-1)), 1)
    joint = counts[:, :IGNORE_LABEL] / max(counts[:, :IGNORE_LABEL].sum(), 1)
    predictions, labels = joint.sum(axis=1), joint.sum(axis=0)
    entropy = _entropy(labels)
    return (_entropy(predictions) + entropy - _entropy(joint)) / entropy if entropy else 0.0


def _entropy(shares: np.ndarray) -> float:
    known = shares[shares > 0]
    return float(-(known * np.log(known)).sum())
