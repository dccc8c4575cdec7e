"""Averaging over scales and flips against a NumPy implementation."""

import keras
import numpy as np
import pytest

from deeplab.errors import UserError
from deeplab.prediction.multi_scale import multi_scale_predictor, scaled_side


def model(size: int | None = None) -> keras.Model:
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
    network = model()
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
    predictor = multi_scale_predictor(model(), (1.0,), flip=True)
    image = np.random.default_rng(1).integers(0, 256, (9, 13, 3)).astype(np.uint8)
    np.testing.assert_allclose(predictor.scores(image[:, ::-1]), predictor.scores(image)[:, ::-1], atol=1e-6)


def test_model_of_fixed_size_is_refused():
    with pytest.raises(UserError, match="any size"):
        multi_scale_predictor(model(16))
