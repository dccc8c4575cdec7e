"""Importance of channels and the choice of those to keep."""

import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.model.build import build_model
from deeplab.pruning.blocks import expanded_blocks
from deeplab.pruning.importance import Importance, NoLabelsError, choose_channels, measure_importance, removable
from tests.networks import random_image, randomize

TINY = ModelConfig(depth_multiplier=0.1, head="v3", aspp_rates=(), aspp_channels=8, classes=3, dropout=0.0)

pytestmark = pytest.mark.usefixtures("uncompiled")


def mean_cross_entropy(network, image: np.ndarray, label: np.ndarray) -> float:
    logits = np.asarray(network(image[None]))[0].astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    valid = label != 255
    return float(-np.take_along_axis(log_p[valid], label[valid][:, None], -1).mean())


def test_importance_is_the_squared_first_order_change_of_the_loss():
    """Scaling the kernel rows of a channel by 1 - e changes the loss by -e * sum(w * dL/dw)."""
    network = build_model(TINY, 16)
    randomize(network)
    images = np.concatenate([random_image(33, 33, seed) for seed in (1, 2)])
    labels = np.digitize(images.mean(-1), [110, 145]).astype(np.int32)
    labels[0, :5] = 255
    measured = measure_importance(network, [(images, labels)])

    index, channel, step = 15, 3, 1e-2
    block = expanded_blocks(network)[index]
    layer = network.get_layer(block.consumers[0])
    (kernel,) = layer.get_weights()
    changes = []
    for image, label in zip(images, labels, strict=True):
        losses = []
        for factor in (1 - step, 1 + step):
            scaled = kernel.copy()
            scaled[:, :, channel] *= factor
            layer.set_weights([scaled])
            losses.append(mean_cross_entropy(network, image, label))
        changes.append((losses[1] - losses[0]) / (2 * step))
    layer.set_weights([kernel])
    assert measured.values[index][channel] == pytest.approx(np.mean(np.square(changes)), rel=0.02)


def test_images_without_labels_are_left_out():
    network = build_model(TINY, 16)
    randomize(network)
    image = random_image(33, 33)
    label = np.digitize(image.mean(-1), [110, 145]).astype(np.int32)
    ignored = np.full_like(label, 255)
    single = measure_importance(network, [(image, label)])
    both = measure_importance(network, [(image, label), (2 * image, ignored)])
    np.testing.assert_array_equal(np.concatenate(single.values), np.concatenate(both.values))
    with pytest.raises(NoLabelsError):
        measure_importance(network, [(image, ignored)])


def test_the_least_important_channels_per_cost_are_removed():
    """Ratios: block 0 has 1, 2, 3, 4 (times 10 for the last 12), block 1, twice as expensive, 0.5 ... 8."""
    first, second = np.arange(1.0, 17), 2 * np.arange(0.5, 8.5, 0.5)
    importance = Importance((first, second), (first, second))
    # Removing 8 of the second block (ratios 0.5 to 4) gives 16; then 8 of the first block are below the limit too
    # only if their ratios are: 1 to 4 are, 4 channels, which leave 12, rounded up to 16.
    kept = choose_channels(importance, [1.0, 2.0], 16)
    np.testing.assert_array_equal(kept[0], np.arange(16))
    np.testing.assert_array_equal(kept[1], np.arange(8, 16))
    both = choose_channels(importance, [1.0, 2.0], 17)
    assert [list(x) for x in both] == [list(range(8, 16))] * 2
    # Each block keeps 8 channels.
    assert removable(importance, [1.0, 2.0]) == 8 + 16
