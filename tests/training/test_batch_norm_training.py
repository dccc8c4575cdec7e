import warnings

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig, TrainingConfig
from deeplab.model.build import build_model
from deeplab.training.batch_norm_training import recalibrate, warn_of_statistics
from tests.networks import picture, randomize


def normed(momentum: float = 0.9) -> keras.Model:
    """Two batch norms with a dropout before the second, so that what the second sees depends on the first."""
    image = keras.Input((None, None, 3))
    x = keras.layers.BatchNormalization(momentum=momentum, epsilon=1e-3)(image)
    x = keras.layers.Dropout(0.5)(keras.layers.ReLU()(x))
    return keras.Model(image, keras.layers.BatchNormalization(momentum=momentum)(x))


def test_recalibrated_statistics_are_those_of_all_pixels_worked_out_with_numpy():
    model = randomize(normed())
    first, second = (layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization))
    rng = np.random.default_rng(0)
    batches = [rng.normal(shift, 2.0, (2, 5, 4, 3)).astype("float32") for shift in (1.0, 3.0, -4.0)]
    gamma, beta = np.array(first.gamma), np.array(first.beta)
    recalibrate(model, batches)
    pixels = np.stack(batches).astype(np.float64)
    np.testing.assert_allclose(first.moving_mean, pixels.mean((0, 1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(first.moving_variance, pixels.var((0, 1, 2, 3)), rtol=1e-4)
    # The second sees each batch normalized by that batch's own statistics, and no dropout.
    mean, variance = pixels.mean((1, 2, 3), keepdims=True), pixels.var((1, 2, 3), keepdims=True)
    seen = np.maximum(gamma * (pixels - mean) / np.sqrt(variance + 1e-3) + beta, 0)
    np.testing.assert_allclose(second.moving_mean, seen.mean((0, 1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(second.moving_variance, seen.var((0, 1, 2, 3)), rtol=1e-3)
    assert (first.momentum, model.layers[3].rate) == (0.9, 0.5)


def test_over_one_batch_inference_is_then_what_training_computes():
    config = ModelConfig(depth_multiplier=0.1, head="v3", aspp_channels=8, aspp_rates=(), classes=4, dropout=0.0)
    model = randomize(build_model(config))
    images = np.concatenate([picture(65, 65, seed) for seed in range(4)])
    in_training = np.asarray(model(images, training=True))
    before = np.asarray(model(images, training=False))
    recalibrate(model, [images])
    after = np.asarray(model(images, training=False))
    np.testing.assert_allclose(after, in_training, atol=1e-3 * in_training.std())
    assert np.abs(before - in_training).max() > 0.1 * in_training.std()


def test_statistics_that_are_frozen_are_left(tmp_path):
    model = randomize(normed())
    model.layers[1].trainable = False
    before = np.array(model.layers[1].moving_mean)
    recalibrate(model, [np.full((1, 4, 4, 3), 9.0, "float32")])
    np.testing.assert_array_equal(model.layers[1].moving_mean, before)


def test_no_batches_are_refused():
    with pytest.raises(ValueError, match="no batches"):
        recalibrate(normed(), [])


def warned(model: keras.Model, replicas: int = 1, **settings: object) -> list[str]:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warn_of_statistics(model, TrainingConfig(**settings), replicas)
    return [str(w.message) for w in caught]


@pytest.mark.parametrize(("momentum", "steps", "found"), [(0.9, 28, True), (0.9, 30, False), (0.9997, 9000, True)])
def test_statistics_that_will_not_settle_are_warned_of(momentum, steps, found):
    """0.9 to the 28 is 0.0523, to the 30 is 0.0424; 0.9997 to the 9000 is 0.0672."""
    lines = warned(normed(momentum), steps=steps)
    assert [("still" in line) for line in lines] == [True] * found
    assert not warned(normed(momentum), steps=steps, recalibration_batches=10)


@pytest.mark.parametrize(
    ("settings", "replicas", "found"),
    [
        ({"batch_size": 11}, 1, "on 11 pictures"),
        ({"batch_size": 12}, 1, None),
        ({"batch_size": 16}, 2, "on 8 pictures"),
        ({"batch_size": 16, "batch_norm": "sync"}, 2, None),
        ({"batch_size": 16, "accumulation": 2}, 1, "on 8 pictures"),
    ],
)
def test_small_batches_are_warned_of(settings, replicas, found):
    lines = warned(normed(), replicas, **settings)
    assert [found in line for line in lines] == [True] if found else not lines


def test_frozen_batch_norm_needs_no_warning():
    model = normed(0.9997)
    for layer in model.layers:
        layer.trainable = False
    assert not warned(model, steps=1, batch_size=1)
