"""Fits the classifier to features of the pretrained network before the first update.

A random classifier sends large gradients into the network, which change the pretrained features before the classifier
can use them. Linear probing, then fine-tuning (arXiv:2202.10054, sec. 3.4) avoids that.
"""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np

from deeplab.datasets.source import IGNORE_LABEL
from deeplab.errors import UserError
from deeplab.model.resize import padded_size

PIXELS = 250_000
"""Largest number of pixels that the classifier is fitted to; their features take 256 MB, twice while collected."""

SETTING = "training.linear_probe_images"

UPDATES, BATCH_SIZE, LEARNING_RATE, L2 = 600, 4096, 0.01, 0.01
"""Number of updates of the fit, pixels per update, initial learning rate of Adam and factor of the L2 penalty."""


def fit_classifier(model: keras.Model, batches: Iterable[tuple[Any, Any]], pixels: int, seed: int) -> None:
    """Set kernel and bias of the layer "logits" by multinomial logistic regression on its inputs in inference mode.

    Args:
        model: from `build_model`, with a head of `SINGLE_CLASSIFIER_HEADS`. Changed in place.
        batches: image `[b, h, w, 3]` float32 0..255 and label `[b, h, w]`.
        pixels: largest number of pixels of each batch; they are drawn at random.
        seed: of the pixels and of the fit.

    Raises:
        UserError: no pixel is labeled, or features are not finite.
    """
    classifier = model.get_layer("logits")
    features, labels = _features(model, batches, pixels, np.random.default_rng(seed))
    if not len(labels):
        raise UserError(SETTING, "no pixel of the training images is labeled", "check the masks")
    mean = features.mean(axis=0, dtype=np.float64)
    # In place and in float32: a copy would take another 256 MB.
    features -= mean.astype(np.float32)
    deviation = np.sqrt(np.einsum("nc,nc->c", features, features, dtype=np.float64) / len(labels)) + 1e-6
    features /= deviation.astype(np.float32)
    if not np.isfinite(deviation).all():
        remedy = "use other weights, or training.precision=float32"
        raise UserError(SETTING, "the pretrained features are not finite", remedy)
    kernel, bias = _regression(features, labels, classifier.filters, seed)
    kernel /= deviation[:, None]
    classifier.set_weights([kernel[None, None], bias - mean @ kernel])


def _features(
    model: keras.Model, batches: Iterable[tuple[Any, Any]], pixels: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Return the inputs of the logits `[n, channels]` and the labels `[n]` at random labeled pixels."""
    encoder = keras.Model(model.inputs, model.get_layer("logits").input)
    features, labels = [], []
    for image, label in batches:
        encoded, ids = np.asarray(encoder(image, training=False), np.float32), np.asarray(label)
        stride = (padded_size(ids.shape[1]) - 1) // (encoded.shape[1] - 1)
        # Feature i lies on pixel stride * i; features beyond the image lie on its padding.
        ids = ids[:, ::stride, ::stride]
        encoded = encoded[:, : ids.shape[1], : ids.shape[2]]
        labeled = np.flatnonzero(ids != IGNORE_LABEL)
        chosen = rng.permutation(labeled)[:pixels]
        features.append(encoded.reshape(-1, encoded.shape[-1])[chosen])
        labels.append(ids.reshape(-1)[chosen])
    return np.concatenate(features), np.concatenate(labels)


def _regression(features: np.ndarray, labels: np.ndarray, classes: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel `[channels, classes]` and bias `[classes]`, float64, of a logistic regression."""
    layer = keras.layers.Dense(classes, kernel_initializer="zeros", kernel_regularizer=keras.regularizers.L2(L2))
    regression = keras.Sequential([keras.Input(features.shape[1:]), layer])
    schedule = keras.optimizers.schedules.CosineDecay(LEARNING_RATE, UPDATES)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    regression.compile(keras.optimizers.Adam(schedule), loss, jit_compile=False)
    rng = np.random.default_rng(seed)
    for _ in range(UPDATES):
        batch = rng.integers(len(labels), size=min(BATCH_SIZE, len(labels)))
        regression.train_on_batch(features[batch], labels[batch])
    kernel, bias = (np.asarray(value, np.float64) for value in layer.get_weights())
    return kernel, bias
