"""Measures how much the loss depends on each expanded channel, and chooses the channels to keep."""

from collections.abc import Iterable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf
from keras import ops

from deeplab.datasets.source import IGNORE_LABEL
from deeplab.model.build import DeepLab
from deeplab.pruning.blocks import expanded_blocks

MULTIPLE = 8
"""Each block keeps a multiple of this number of channels, at which kernels are fast, or all of them."""


class NoLabelsError(ValueError):
    """No image has a label."""


@dataclass(frozen=True)
class Importance:
    """What was measured on images, for each of `expanded_blocks(network)`.

    Attributes:
        values: importance of each channel, `[channels]`, 0 or more.
        means: mean of each channel, `[channels]`.
    """

    values: tuple[np.ndarray, ...]
    means: tuple[np.ndarray, ...]


def measure_importance(network: DeepLab, batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> Importance:
    """Measure the importance of each expanded channel: the squared change of the loss if it was zero, to first order.

    It is the mean over images of (sum of w * dL/dw)^2, over the weights w by which the channel enters the next layers
    (Molchanov et al., arXiv:1906.10771, sec. 3.1, eq. 8, with the group of weights of a channel).

    Args:
        network: the trained network, from pixels to logits.
        batches: images `[b, h, w, 3]` float32 0..255 and labels `[b, h, w]`. Images without labels are left out.

    Raises:
        NoLabelsError: no image has a label.
    """
    blocks = expanded_blocks(network)
    kernels = [[network.get_layer(name).kernel.value for name in block.consumers] for block in blocks]
    outputs = [network.output, *(ops.mean(block.output, axis=(0, 1, 2)) for block in blocks)]
    measured = keras.Model(network.input, outputs)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=IGNORE_LABEL)

    @tf.function(autograph=False, reduce_retracing=True)
    def of_image(image: tf.Tensor, label: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            tape.watch(kernels)
            logits, *means = measured(image, training=False)
            loss = cross_entropy(label, logits)
        gradients = tape.gradient(loss, kernels)
        changes = [
            tf.add_n([tf.reduce_sum(k * g, axis=(0, 1, 3)) for k, g in zip(*pair, strict=True)])
            for pair in zip(kernels, gradients, strict=True)
        ]
        return [tf.square(change) for change in changes], means

    total: list[np.ndarray] = []
    count = 0
    for images, labels in batches:
        for image, label in zip(images, labels, strict=True):
            if (label == IGNORE_LABEL).all():
                continue
            result = [x.numpy().astype(np.float64) for part in of_image(image[None], label[None]) for x in part]
            total = [a + b for a, b in zip(total, result, strict=True)] if count else result
            count += 1
    if not count:
        raise NoLabelsError("the training crops have no labels to measure importance on")
    values, means = total[: len(blocks)], total[len(blocks) :]
    return Importance(tuple(x / count for x in values), tuple(x / count for x in means))


def removable(importance: Importance, costs: list[float]) -> float:
    """Return the multiply-adds that can be removed at most: each block keeps `MULTIPLE` channels."""
    return sum(max(len(values) - MULTIPLE, 0) * cost for values, cost in zip(importance.values, costs, strict=True))


def choose_channels(importance: Importance, costs: list[float], excess: float) -> list[np.ndarray]:
    """Choose the channels to keep, so that the removed ones cost at least `excess` multiply-adds.

    The channels with the least importance per multiply-add are removed.

    Args:
        importance: of all blocks.
        costs: multiply-adds per channel of each block.
        excess: multiply-adds to remove, at most `removable(importance, costs)`.

    Returns:
        The indices of the kept channels of each block, ascending.
    """
    ratios = [values / cost for values, cost in zip(importance.values, costs, strict=True)]
    lengths = np.array([len(ratio) for ratio in ratios])
    # The block of each channel, from the least to the most important channel; ties keep their order.
    owners = np.repeat(np.arange(len(ratios)), lengths)[np.argsort(np.concatenate(ratios), kind="stable")]

    def kept_without(number: int) -> np.ndarray:
        left = lengths - np.bincount(owners[:number], minlength=len(ratios))
        return np.minimum(np.maximum(-(-left // MULTIPLE), 1) * MULTIPLE, lengths)

    # What is removed grows with the number of channels, hence the bisection.
    low, high = 0, len(owners)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if (lengths - kept_without(middle)) @ costs >= excess else (middle + 1, high)
    numbers = kept_without(low)
    return [np.sort(np.argsort(-ratio, kind="stable")[:n]) for ratio, n in zip(ratios, numbers, strict=True)]
