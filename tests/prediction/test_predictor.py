"""Predictors of functions, tiny Keras models and official files; averages over scales and flips against NumPy."""

import inspect
import json
from functools import partial
from unittest import mock

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.prediction.predictor import (
    Predictor,
    keras_predictor,
    multi_scale_predictor,
    scaled_side,
    tflite_predictor,
)
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.metadata import write_metadata


def red_green_blue(image: np.ndarray) -> np.ndarray:
    """Return the three channels as the scores of three classes."""
    return image.astype(np.float32)


def random_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height + 31 * width).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_padding_does_not_change_the_prediction():
    image = random_image(5, 7)
    expected = image.argmax(-1)
    for predictor in (Predictor(red_green_blue), Predictor(red_green_blue, (9, 9)), Predictor(red_green_blue, (5, 7))):
        ids = predictor(image)
        assert ids.dtype == np.uint8
        np.testing.assert_array_equal(ids, expected)
        np.testing.assert_array_equal(predictor.scores(image), image)


def test_scores_are_enlarged_before_the_argmax():
    image = random_image(5, 9)
    coarse = np.zeros((3, 3, 2), np.float32)
    coarse[:, 0, 0] = coarse[:, 2, 1] = 1
    ids = Predictor(lambda _: coarse, (9, 9))(image)
    # The scores are equal in the middle of the nine columns, where argmax takes the first class.
    np.testing.assert_array_equal(ids, np.tile([0, 0, 0, 0, 0, 1, 1, 1, 1], (5, 1)))


def test_ids_are_cropped_and_offer_no_scores():
    predictor = Predictor(lambda image: image[..., 0].astype(np.int64) % 3, (9, 9), padding_value=(128, 128, 128))
    image = random_image(5, 7)
    np.testing.assert_array_equal(predictor(image), image[..., 0] % 3)
    with pytest.raises(UserError, match="class ids, not scores"):
        predictor.scores(image)


def test_model_of_any_size_runs_a_larger_image_at_its_own_size():
    sizes = []

    def run(image: np.ndarray) -> np.ndarray:
        sizes.append(image.shape[:2])
        return red_green_blue(image)

    predictor = Predictor(run, (6, 6), accepts_larger=True)
    for size in [(5, 7), (4, 4), (8, 2)]:
        predictor(random_image(*size))
        assert not predictor.stretches(random_image(*size))
    assert sizes == [(5, 7), (6, 6), (8, 2)]
    assert Predictor(run, (6, 6), "stretch", accepts_larger=True).stretches(random_image(8, 8))


@pytest.mark.parametrize("predictor", [keras_predictor, partial(multi_scale_predictor, scales=[1.0], flip=False)])
def test_images_for_a_resnet_are_padded_with_its_mean(predictor):
    """The mean is that of keras.applications; networks with pixels in -1..1 have gray."""
    means = {"resnet50": (123.68, 116.779, 103.939), "mobilenet_v2": 127.5}
    for backbone, mean in means.items():
        config = ModelConfig(backbone=backbone, depth_multiplier=0.1, head="v3", aspp_rates=(), aspp_channels=8)
        padding = predictor(build_model(config), image_size=65).padding_value
        np.testing.assert_array_equal(np.broadcast_to(padding, 3), np.broadcast_to(mean, 3))


@pytest.mark.parametrize("name", ["starter_deeplabv3_257_float.tflite", "deeplabv3_mnv2_dm05_pascal_quant.tflite"])
def test_padding_of_a_file_is_zero_after_its_own_normalization(official_models, name):
    model = TfliteModel(official_models / name, kernels="builtin")
    image = random_image(201, 150)
    # The input of the float file is x / 127.5 - 1, so zero; that of the uint8 file has zero point 128.
    tensor = np.full((1, *model.image_size, 3), 0 if model.input.dtype == "float32" else 128, model.input.dtype)
    tensor[0, :201, :150] = image / np.float32(127.5) - 1 if model.input.dtype == "float32" else image
    expected = model.run(tensor)[0, :201, :150]
    predictor = tflite_predictor(model)
    if model.returns_labels:
        np.testing.assert_array_equal(predictor(image), expected)
    else:
        np.testing.assert_allclose(predictor.scores(image), expected, atol=1e-4)
    assert not predictor.stretches(image)
    assert predictor.stretches(random_image(514, 20))
    assert predictor(random_image(514, 20)).shape == (514, 20)


def test_padding_of_a_file_is_the_mean_pixel_of_the_backbone_that_it_states(official_models):
    """(123.68 - 127.5) / 127.5 = -0.02996 in red; in steps of 1/128 (this input) from zero point 128, that is 124."""
    content = (official_models / "deeplabv3_mnv2_dm05_pascal_quant.tflite").read_bytes()
    origin = json.dumps({"model": {"backbone": "resnet50"}}).encode()
    model = TfliteModel(write_metadata(content, (), files={"origin.json": origin}), kernels="builtin")
    image = random_image(201, 150)
    tensor = np.empty((1, *model.image_size, 3), np.uint8)
    tensor[:] = (124, 117, 104)
    tensor[0, :201, :150] = image
    received = []
    with mock.patch.object(model, "run", lambda stored: received.append(stored) or np.zeros((1, 513, 513), np.int64)):
        tflite_predictor(model)(image)
    np.testing.assert_array_equal(received[0], tensor)
    assert received[0].dtype == np.uint8
    assert TfliteModel(content).mean_pixel == (127.5, 127.5, 127.5)


def keras_model(size):
    inputs = keras.Input((size, size, 3))
    layer = keras.layers.Conv2D(4, 3, padding="same", bias_initializer="random_normal", name="logits")
    return keras.Model(inputs, layer(inputs * (2 / 255) - 1.0))


def test_keras_model_of_any_size_is_traced_once():
    model = keras_model(None)
    predictor = keras_predictor(model)
    for size in [(8, 8), (9, 5), (12, 3)]:
        image = random_image(*size)
        expected = model(image[None].astype(np.float32), training=False)[0]
        np.testing.assert_allclose(predictor.scores(image), expected, atol=1e-5)
    forward = inspect.getclosurevars(predictor.run).nonlocals["forward"]
    assert forward.experimental_get_tracing_count() == 1


def test_keras_model_receives_zeros_in_the_padding():
    model = keras_model(16)
    image = random_image(9, 11)
    # The convolution of the unpadded image pads with zeros too, so both agree at the border only if the padding is
    # normalized to zero.
    kernel, bias = (np.asarray(w) for w in model.get_layer("logits").weights)
    normal = np.pad(image * (2 / 255) - 1.0, [(1, 1), (1, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(normal, (3, 3), axis=(0, 1))
    expected = np.tensordot(windows, kernel, axes=[(2, 3, 4), (2, 0, 1)]) + bias
    np.testing.assert_allclose(keras_predictor(model).scores(image), expected, atol=1e-4)
    np.testing.assert_array_equal(keras_predictor(model)(image), expected.argmax(-1))


def test_other_size_for_a_keras_model_of_fixed_size_is_refused():
    with pytest.raises(UserError, match="fixed size"):
        keras_predictor(keras_model(16), image_size=32)


def linear_model(size: int | None = None) -> keras.Model:
    inputs = keras.Input((size, size, 3))
    keras.utils.set_random_seed(1)
    return keras.Model(inputs, keras.layers.Conv2D(4, (1, 3), padding="same")(inputs * (2 / 255) - 1.0))


def logits(network: keras.Model, image: np.ndarray) -> np.ndarray:
    kernel, bias = (np.asarray(w, np.float64) for w in network.weights)
    normal = np.pad(image * (2 / 255) - 1.0, [(0, 0), (1, 1), (0, 0)])
    return sum(normal[:, i : i + image.shape[1]] @ kernel[0, i] for i in range(3)) + bias


def resized(x: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize with aligned corners, one axis after the other, with np.interp."""
    for axis in (0, 1):
        at = np.linspace(0, x.shape[axis] - 1, size[axis])
        x = np.apply_along_axis(lambda line, at=at: np.interp(at, np.arange(len(line)), line), axis, x)
    return x


def softmax(x: np.ndarray) -> np.ndarray:
    return np.exp(x) / np.exp(x).sum(-1, keepdims=True)


def test_scaled_sizes_equal_those_of_the_papers():
    assert [scaled_side(513, s) for s in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)] == [257, 385, 513, 641, 769, 897]


@pytest.mark.parametrize("flip", [False, True])
def test_scores_are_the_mean_softmax_over_scales_and_flips(flip):
    network = linear_model()
    image = np.random.default_rng(0).integers(0, 256, (17, 25, 3)).astype(np.uint8)
    views = []
    for scale in (0.5, 1.0, 1.5):
        size = (int(16 * scale + 1), int(24 * scale + 1))
        scaled = resized(image.astype(np.float64), size)
        views.append(softmax(resized(logits(network, scaled), (17, 25))))
        if flip:
            views.append(softmax(resized(logits(network, scaled[:, ::-1])[:, ::-1], (17, 25))))
    expected = np.mean(views, axis=0)
    predictor = multi_scale_predictor(network, (0.5, 1.0, 1.5), flip)
    np.testing.assert_allclose(predictor.scores(image), expected, atol=1e-5)
    np.testing.assert_array_equal(predictor(image), expected.argmax(-1))


def test_prediction_with_flip_is_flipped_with_the_image():
    predictor = multi_scale_predictor(linear_model(), (1.0,), flip=True)
    image = np.random.default_rng(1).integers(0, 256, (9, 13, 3)).astype(np.uint8)
    np.testing.assert_allclose(predictor.scores(image[:, ::-1]), predictor.scores(image)[:, ::-1], atol=1e-6)


def test_several_scales_require_a_model_of_any_size():
    with pytest.raises(UserError, match="any size"):
        multi_scale_predictor(linear_model(16), (0.5, 1.0), flip=True)
