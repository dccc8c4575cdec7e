"""Statistics of batch norms that are set from images."""

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.model.batch_norm import BatchNorm
from deeplab.model.batch_norm_statistics import batch_norms, reestimate_batch_norm, unfold_batch_norm
from deeplab.model.build import build_model
from deeplab.pretrained import import_weights
from tests.networks import random_image, randomize

SMALL = ModelConfig(depth_multiplier=0.25, aspp_channels=16, head="v3", aspp_rates=(), classes=5, dropout=0.0)


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build_model(SMALL)


def four_images() -> np.ndarray:
    return np.concatenate([random_image(65, 65, seed) for seed in (1, 2, 3, 4)])


def test_unfolding_one_batch_norm_gives_the_statistics_and_affine_map_worked_out_by_hand():
    image = keras.Input((None, None, 2))
    layer = BatchNorm(epsilon=0.5)
    model = keras.Model(image, layer(image))
    # gamma / sqrt(variance + epsilon) = 2 / sqrt(3.5 + 0.5) = 1, so the layer computes x - 1 + 3 and x + 7 - 3.
    layer.set_weights([np.float32([2, 2]), np.float32([3, -3]), np.float32([1, -7]), np.float32([3.5, 3.5])])
    first = np.zeros((1, 1, 2, 2), "float32")
    first[0, 0, :, 0], first[0, 0, :, 1] = (2, 4), (10, 10)
    second = np.zeros((1, 2, 2, 2), "float32")
    second[0, ..., 0] = [[7, 7], [7, 7]]
    unfold_batch_norm(model, [first, second])
    gamma, beta, mean, variance = layer.get_weights()
    # Channel 0: each image has the same weight, so the mean is (3 + 7) / 2 and the mean square (10 + 49) / 2.
    np.testing.assert_allclose(mean, [5.0, 5.0])
    np.testing.assert_allclose(variance, [29.5 - 25, 50 - 25], rtol=1e-6)
    np.testing.assert_allclose(gamma, np.sqrt([5.0, 25.5]), rtol=1e-6)
    np.testing.assert_allclose(beta, [5 + 2, 5 + 4], rtol=1e-6)


def test_unfolding_keeps_inference_and_brings_training_close_to_it(model):
    randomize(model)
    images = four_images()
    before = np.asarray(model(images, training=False))
    far = np.abs(np.asarray(model(images, training=True)) - before).max()
    # A training step changes the moving statistics, so the weights are assigned again.
    randomize(model)
    unfold_batch_norm(model, [images])
    after = np.asarray(model(images, training=False))
    assert np.abs(after - before).max() <= 1e-4 * before.std()
    close = np.abs(np.asarray(model(images, training=True)) - after).max()
    assert close <= 1e-2 * before.std()
    assert far > before.std(), "training was close to inference before, so the test proves nothing"


def test_unfolding_does_not_depend_on_the_batch_size(model):
    randomize(model)
    images = four_images()
    unfold_batch_norm(model, [images])
    whole = model.get_weights()
    randomize(model)
    unfold_batch_norm(model, (images[i : i + 3] for i in (0, 3)))
    for a, b in zip(whole, model.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_unfolding_without_images_is_an_error(model):
    with pytest.raises(ValueError, match="no images"):
        unfold_batch_norm(model, [])


@pytest.mark.slow
def test_an_official_model_keeps_its_labels_in_training_after_unfolding(official_models, voc_root):
    from deeplab.datasets.voc import voc_source
    from deeplab.prediction.image_fit import fit_image

    source = voc_source(voc_root, "train")
    images = np.stack([fit_image(e.image, (257, 257), "stretch").image for e in source.examples(8)])
    images = images.astype("float32")
    path = official_models / "deeplabv3_mnv2_dm05_pascal_quant.tflite"
    model = build_model(ModelConfig(depth_multiplier=0.5, head="v3", aspp_rates=(), dropout=0.0), output_stride=16)
    assert import_weights(model, path).folded
    before = np.asarray(model(images, training=False))
    agreement_before = (np.asarray(model(images, training=True)).argmax(-1) == before.argmax(-1)).mean()
    import_weights(model, path)
    unfold_batch_norm(model, [images])
    after = np.asarray(model(images, training=False))
    assert np.abs(after - before).max() <= 1e-4 * np.abs(before).max()
    agreement_after = (np.asarray(model(images, training=True)).argmax(-1) == before.argmax(-1)).mean()
    assert agreement_after > 0.995 > agreement_before


def two_batch_norms() -> keras.Model:
    """Build two batch norms with a dropout between them, so that the input of the second depends on the first."""
    image = keras.Input((None, None, 3))
    x = BatchNorm(momentum=0.9, epsilon=1e-3)(image)
    x = keras.layers.Dropout(0.5)(keras.layers.ReLU()(x))
    return keras.Model(image, BatchNorm(momentum=0.9)(x))


def test_reestimated_statistics_are_those_of_all_pixels_computed_with_numpy():
    model = randomize(two_batch_norms())
    first, second = (layer for layer in model.layers if isinstance(layer, BatchNorm))
    rng = np.random.default_rng(0)
    batches = [rng.normal(shift, 2.0, (2, 5, 4, 3)).astype("float32") for shift in (1.0, 3.0, -4.0)]
    gamma, beta = np.array(first.gamma), np.array(first.beta)
    reestimate_batch_norm(model, batches)
    pixels = np.stack(batches).astype(np.float64)
    np.testing.assert_allclose(first.moving_mean, pixels.mean((0, 1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(first.moving_variance, pixels.var((0, 1, 2, 3)), rtol=1e-4)
    # The input of the second is normalized by the statistics of each batch, without dropout.
    mean, variance = pixels.mean((1, 2, 3), keepdims=True), pixels.var((1, 2, 3), keepdims=True)
    inputs = np.maximum(gamma * (pixels - mean) / np.sqrt(variance + 1e-3) + beta, 0)
    np.testing.assert_allclose(second.moving_mean, inputs.mean((0, 1, 2, 3)), rtol=1e-4)
    np.testing.assert_allclose(second.moving_variance, inputs.var((0, 1, 2, 3)), rtol=1e-3)
    assert (first.momentum, model.layers[3].rate) == (0.9, 0.5)


def test_after_reestimation_on_one_batch_inference_equals_training_on_it(model):
    randomize(model)
    images = four_images()
    in_training = np.asarray(model(images, training=True))
    before = np.asarray(model(images, training=False))
    reestimate_batch_norm(model, [images])
    after = np.asarray(model(images, training=False))
    np.testing.assert_allclose(after, in_training, atol=1e-3 * in_training.std())
    assert np.abs(before - in_training).max() > 0.1 * in_training.std()


@pytest.mark.parametrize(("attribute", "value"), [("trainable", False), ("frozen_statistics", True)])
def test_reestimation_does_not_change_frozen_statistics(attribute, value):
    model = randomize(two_batch_norms())
    setattr(model.layers[1], attribute, value)
    before = np.array(model.layers[1].moving_mean)
    reestimate_batch_norm(model, [np.full((1, 4, 4, 3), 9.0, "float32")])
    np.testing.assert_array_equal(model.layers[1].moving_mean, before)


def test_reestimation_without_batches_is_an_error():
    with pytest.raises(ValueError, match="no batches"):
        reestimate_batch_norm(two_batch_norms(), [])


def test_batch_norm_of_keras_whose_statistics_cannot_be_frozen_alone_is_refused():
    image = keras.Input((None, None, 3))
    model = keras.Model(image, keras.layers.BatchNormalization(name="plain")(image))
    with pytest.raises(
        TypeError, match=r"layer plain is a BatchNormalization; use deeplab\.model\.batch_norm\.BatchNorm"
    ):
        batch_norms(model)
