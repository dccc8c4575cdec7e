"""Predictors over hand-made models and tiny Keras ones."""

import numpy as np
import pytest

from deeplab.errors import UserError
from deeplab.prediction.predictor import Predictor, keras_predictor, tflite_predictor
from deeplab.tflite.interpreter import TfliteModel


def red_green_blue(image: np.ndarray) -> np.ndarray:
    """Scores of three classes: the three channels."""
    return image.astype(np.float32)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height + 31 * width).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_padded_prediction_is_that_of_the_picture_alone():
    image = picture(5, 7)
    expected = image.argmax(-1)
    for predictor in (Predictor(red_green_blue), Predictor(red_green_blue, (9, 9)), Predictor(red_green_blue, (5, 7))):
        ids = predictor(image)
        assert ids.dtype == np.uint8
        np.testing.assert_array_equal(ids, expected)
        np.testing.assert_array_equal(predictor.scores(image), image)


def test_quarter_size_scores_are_enlarged_before_the_best_is_taken():
    image = picture(5, 9)
    coarse = np.zeros((3, 3, 2), np.float32)
    coarse[:, 0, 0] = coarse[:, 2, 1] = 1
    ids = Predictor(lambda _: coarse, (9, 9))(image)
    # Scores cross in the middle of the nine columns; the tie there goes to the first class.
    np.testing.assert_array_equal(ids, np.tile([0, 0, 0, 0, 0, 1, 1, 1, 1], (5, 1)))


def test_model_that_gives_ids_is_cropped_and_has_no_scores():
    predictor = Predictor(lambda image: image[..., 0].astype(np.int64) % 3, (9, 9), gray=128)
    image = picture(5, 7)
    np.testing.assert_array_equal(predictor(image), image[..., 0] % 3)
    with pytest.raises(UserError, match="no scores"):
        predictor.scores(image)


def test_model_of_any_size_takes_a_larger_picture_at_its_own_size():
    seen = []

    def run(image: np.ndarray) -> np.ndarray:
        seen.append(image.shape[:2])
        return red_green_blue(image)

    predictor = Predictor(run, (6, 6), grows=True)
    for size in [(5, 7), (4, 4), (8, 2)]:
        predictor(picture(*size))
        assert not predictor.rescales(picture(*size))
    assert seen == [(5, 7), (6, 6), (8, 2)]
    assert Predictor(run, (6, 6), "resize", grows=True).rescales(picture(8, 8))


@pytest.mark.parametrize("name", ["starter_deeplabv3_257_float.tflite", "deeplabv3_mnv2_dm05_pascal_quant.tflite"])
def test_padding_of_a_file_is_zero_behind_its_own_normalization(official_models, name):
    model = TfliteModel(official_models / name, kernels="builtin")
    image = picture(201, 150)
    # By hand: the float file takes x / 127.5 - 1, so zeros; the uint8 file takes bytes with zero point 128.
    tensor = np.full((1, *model.image_size, 3), 0 if model.input.dtype == "float32" else 128, model.input.dtype)
    tensor[0, :201, :150] = image / np.float32(127.5) - 1 if model.input.dtype == "float32" else image
    expected = model.run(tensor)[0, :201, :150]
    predictor = tflite_predictor(model)
    if model.returns_labels:
        np.testing.assert_array_equal(predictor(image), expected)
    else:
        np.testing.assert_allclose(predictor.scores(image), expected, atol=1e-4)
    assert not predictor.rescales(image)
    assert predictor.rescales(picture(514, 20))
    assert predictor(picture(514, 20)).shape == (514, 20)


def keras_model(size):
    keras = pytest.importorskip("keras")
    inputs = keras.Input((size, size, 3))
    layer = keras.layers.Conv2D(4, 3, padding="same", bias_initializer="random_normal", name="logits")
    return keras.Model(inputs, layer(inputs * (2 / 255) - 1.0))


def test_keras_model_of_any_size_is_traced_once():
    model = keras_model(None)
    predictor = keras_predictor(model)
    for size in [(8, 8), (9, 5), (12, 3)]:
        image = picture(*size)
        expected = model(image[None].astype(np.float32), training=False)[0]
        np.testing.assert_allclose(predictor.scores(image), expected, atol=1e-5)
    forward = predictor.run.__closure__[0].cell_contents
    assert forward.experimental_get_tracing_count() == 1


def test_keras_model_sees_zeros_beyond_the_picture():
    model = keras_model(16)
    image = picture(9, 11)
    # Convolving the picture alone pads it with zeros too, so only a gray that normalizes to zero agrees at the border.
    kernel, bias = (np.asarray(w) for w in model.get_layer("logits").weights)
    normal = np.pad(image * (2 / 255) - 1.0, [(1, 1), (1, 1), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(normal, (3, 3), axis=(0, 1))
    expected = np.tensordot(windows, kernel, axes=[(2, 3, 4), (2, 0, 1)]) + bias
    np.testing.assert_allclose(keras_predictor(model).scores(image), expected, atol=1e-4)
    np.testing.assert_array_equal(keras_predictor(model)(image), expected.argmax(-1))


def test_keras_model_of_one_size_takes_no_other():
    with pytest.raises(UserError, match="built for"):
        keras_predictor(keras_model(16), image_size=32)
