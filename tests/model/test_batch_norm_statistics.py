"""Batch norm statistics are measured without changing what the network gives."""

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.model.build import build_model
from deeplab.pretrained import import_weights, unfold_batch_norm
from tests.networks import picture, randomize

SMALL = ModelConfig(depth_multiplier=0.25, aspp_channels=16, head="v3", aspp_rates=(), classes=5, dropout=0.0)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build_model(SMALL)


def pictures() -> np.ndarray:
    return np.concatenate([picture(65, 65, seed) for seed in (1, 2, 3, 4)])


def test_one_norm_by_hand():
    image = keras.Input((None, None, 2))
    layer = keras.layers.BatchNormalization(epsilon=0.5)
    model = keras.Model(image, layer(image))
    # gamma / sqrt(variance + epsilon) = 2 / sqrt(3.5 + 0.5) = 1, so the map is x - 1 + 3 and x + 7 - 3.
    layer.set_weights([np.float32([2, 2]), np.float32([3, -3]), np.float32([1, -7]), np.float32([3.5, 3.5])])
    first = np.zeros((1, 1, 2, 2), "float32")
    first[0, 0, :, 0], first[0, 0, :, 1] = (2, 4), (10, 10)
    second = np.zeros((1, 2, 2, 2), "float32")
    second[0, ..., 0] = [[7, 7], [7, 7]]
    unfold_batch_norm(model, [first, second])
    gamma, beta, mean, variance = layer.get_weights()
    # Channel 0: each picture counts alike, so the mean is (3 + 7) / 2 and the mean square (10 + 49) / 2.
    np.testing.assert_allclose(mean, [5.0, 5.0])
    np.testing.assert_allclose(variance, [29.5 - 25, 50 - 25], rtol=1e-6)
    np.testing.assert_allclose(gamma, np.sqrt([5.0, 25.5]), rtol=1e-6)
    np.testing.assert_allclose(beta, [5 + 2, 5 + 4], rtol=1e-6)


def test_inference_stays_and_training_starts_from_it(model):
    randomize(model)
    images = pictures()
    before = np.asarray(model(images, training=False))
    strange = np.abs(np.asarray(model(images, training=True)) - before).max()
    # A training step moves the statistics: back to the start.
    randomize(model)
    unfold_batch_norm(model, [images])
    after = np.asarray(model(images, training=False))
    assert np.abs(after - before).max() <= 1e-4 * before.std()
    near = np.abs(np.asarray(model(images, training=True)) - after).max()
    assert near <= 1e-2 * before.std()
    assert strange > before.std(), "training was near inference before; the test shows nothing"


def test_batches_are_combined(model):
    randomize(model)
    images = pictures()
    unfold_batch_norm(model, [images])
    whole = model.get_weights()
    randomize(model)
    unfold_batch_norm(model, (images[i : i + 3] for i in (0, 3)))
    for a, b in zip(whole, model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_nothing_to_measure_on_is_an_error(model):
    with pytest.raises(ValueError, match="no pictures"):
        unfold_batch_norm(model, [])


@pytest.mark.slow
def test_an_official_model_with_measured_statistics(official_models, voc_root):
    from deeplab.datasets.voc import voc_source
    from deeplab.prediction.image_fit import fit_image

    source = voc_source(voc_root, "train")
    images = np.stack([fit_image(e.image, (257, 257), "resize").image for e in source.examples(8)])
    images = images.astype("float32")
    path = official_models / "deeplabv3_mnv2_dm05_pascal_quant.tflite"
    model = build_model(ModelConfig(depth_multiplier=0.5, head="v3", aspp_rates=(), dropout=0.0), output_stride=16)
    assert import_weights(model, path).folded
    before = np.asarray(model(images, training=False))
    lost = (np.asarray(model(images, training=True)).argmax(-1) == before.argmax(-1)).mean()
    import_weights(model, path)
    unfold_batch_norm(model, [images])
    after = np.asarray(model(images, training=False))
    assert np.abs(after - before).max() <= 1e-4 * np.abs(before).max()
    kept = (np.asarray(model(images, training=True)).argmax(-1) == before.argmax(-1)).mean()
    assert kept > 0.995 > lost
