"""The classifier that is fitted to pretrained features before the first update."""

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.datasets.source import IGNORE_LABEL
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.training import linear_probe
from deeplab.training.linear_probe import fit_classifier

SIZE, STRIDE, CHANNELS, CLASSES = 65, 16, 3, 3


def network() -> keras.Model:
    """Return a network whose features are the pixels at multiples of the stride."""
    image = keras.Input((SIZE, SIZE, CHANNELS))
    features = keras.layers.MaxPooling2D(1, STRIDE, name="features")(image)
    return keras.Model(image, keras.layers.Conv2D(CLASSES, 1, name="logits")(features))


def random_batch(rng: np.random.Generator, size: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Return images whose channels have different means and scales, and the channel with the largest deviation."""
    noise = rng.normal(size=(size, SIZE, SIZE, CHANNELS))
    images = noise * [1.0, 20.0, 100.0] + [0.0, 128.0, -40.0]
    return images.astype(np.float32), noise.argmax(axis=-1).astype(np.int32)


def test_the_classifier_finds_classes_that_are_linear_in_the_features():
    rng, model = np.random.default_rng(0), network()
    fit_classifier(model, [random_batch(rng) for _ in range(20)], 1000, seed=0)
    images, labels = random_batch(rng, 50)
    found = np.asarray(model(images)).argmax(axis=-1)
    assert np.mean(found == labels[:, ::STRIDE, ::STRIDE]) > 0.97


def test_the_fit_is_a_minimum_of_the_penalized_cross_entropy():
    """At the minimum, the gradient of the mean cross entropy is minus that of the penalty, in standardized features."""
    rng = np.random.default_rng(1)
    features = rng.normal(size=(4000, CHANNELS))
    labels = (features + rng.normal(size=features.shape)).argmax(axis=-1)
    kernel, bias = linear_probe._regression(features, labels, CLASSES, seed=0)
    scores = np.exp(features @ kernel + bias)
    error = scores / scores.sum(axis=-1, keepdims=True) - np.eye(CLASSES)[labels]
    np.testing.assert_allclose(features.T @ error / len(labels), -2 * linear_probe.L2 * kernel, atol=0.004)
    np.testing.assert_allclose(error.mean(axis=0), 0, atol=0.004)


def test_a_feature_belongs_to_the_pixel_below_it():
    """All pixels between the features have another label, which must not be learned."""
    rng = np.random.default_rng(2)
    model, batches = network(), []
    for _ in range(20):
        images, labels = random_batch(rng)
        wrong = (labels + 1) % CLASSES
        wrong[:, ::STRIDE, ::STRIDE] = labels[:, ::STRIDE, ::STRIDE]
        batches.append((images, wrong))
    fit_classifier(model, batches, 1000, seed=0)
    images, labels = random_batch(rng, 50)
    assert np.mean(np.asarray(model(images)).argmax(axis=-1) == labels[:, ::STRIDE, ::STRIDE]) > 0.97


def test_ignored_pixels_do_not_count():
    rng, model = np.random.default_rng(3), network()
    images, labels = random_batch(rng, 50)
    labels[:, :33] = IGNORE_LABEL
    features, ids = linear_probe._features(model, [(images, labels)], 10_000, rng)
    assert len(features) == len(ids) == 50 * 2 * 5  # Rows 48 and 64 of the five rows of features.
    assert set(ids) == {0, 1, 2}


@pytest.mark.parametrize("stride", [4, 16])
def test_features_of_the_padding_do_not_count(stride):
    """Images of 70x100 pixels are padded to 97x129; the features up to row 69 and column 99 count."""
    image = keras.Input((70, 100, 1))
    padded = keras.layers.ZeroPadding2D(((0, 27), (0, 29)))(image)
    features = keras.layers.MaxPooling2D(1, stride)(padded)
    model = keras.Model(image, keras.layers.Conv2D(CLASSES, 1, name="logits")(features))
    ids = np.arange(70 * 100).reshape(1, 70, 100) % 251
    found, labels = linear_probe._features(
        model, [(ids[..., None].astype(np.float32), ids)], 10**6, np.random.default_rng(0)
    )
    assert len(labels) == (69 // stride + 1) * (99 // stride + 1)
    np.testing.assert_array_equal(found[:, 0], labels)


def test_features_that_are_not_finite_are_refused():
    images, labels = random_batch(np.random.default_rng(7))
    images[0, 0, 0] = np.inf
    with pytest.raises(UserError, match="features are not finite"), np.errstate(invalid="ignore"):
        fit_classifier(network(), [(images, labels)], 10**6, seed=0)


def test_a_batch_contributes_a_limited_number_of_pixels():
    rng = np.random.default_rng(4)
    features, ids = linear_probe._features(network(), [random_batch(rng), random_batch(rng)], 7, rng)
    assert features.shape == (14, CHANNELS)
    assert ids.shape == (14,)


def test_only_the_classifier_changes():
    model = build_model(ModelConfig(classes=3, depth_multiplier=0.35), 16, SIZE)
    before = {layer.name: layer.get_weights() for layer in model.layers}
    rng = np.random.default_rng(5)
    images = rng.uniform(0, 255, (2, SIZE, SIZE, 3)).astype(np.float32)
    fit_classifier(model, [(images, rng.integers(0, 3, (2, SIZE, SIZE)))], 1000, seed=0)
    changed = {
        layer.name
        for layer in model.layers
        if any((a != b).any() for a, b in zip(before[layer.name], layer.get_weights(), strict=True))
    }
    assert changed == {"logits"}


def test_images_without_labels_are_refused():
    images, labels = random_batch(np.random.default_rng(6))
    with pytest.raises(UserError, match="no pixel of the training images is labeled"):
        fit_classifier(network(), [(images, np.full_like(labels, IGNORE_LABEL))], 10, seed=0)
