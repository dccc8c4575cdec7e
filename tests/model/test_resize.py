import keras
import numpy as np
import pytest

from deeplab.model import resize
from deeplab.model.resize import (
    CropTo,
    Normalize,
    PadToGrid,
    ResizeBilinear,
    SubtractMean,
    feature_size,
    padded_size,
    resize_bilinear,
)


def bilinear_align_corners(x: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize `x` `[h, w]` in NumPy: sample it at `i * (h - 1) / (height - 1)`."""
    rows = np.linspace(0, x.shape[0] - 1, height)
    columns = np.linspace(0, x.shape[1] - 1, width)
    horizontal = np.stack([np.interp(columns, np.arange(x.shape[1]), row) for row in x])
    return np.stack([np.interp(rows, np.arange(x.shape[0]), column) for column in horizontal.T], axis=1)


@pytest.mark.parametrize("size", [(9, 9), (33, 65), (4, 7), (1, 1)])
@pytest.mark.parametrize("implementation", ["tensorflow", "keras.ops"])
def test_resize_matches_numpy(size, implementation, monkeypatch):
    if implementation == "keras.ops":
        monkeypatch.setattr(resize.keras.backend, "backend", lambda: "other")
    x = np.random.default_rng(0).normal(size=(2, 5, 9, 3)).astype("float32")
    y = np.asarray(resize_bilinear(x, size))
    expected = np.empty((2, *size, 3))
    for b in range(2):
        for c in range(3):
            expected[b, :, :, c] = bilinear_align_corners(x[b, :, :, c], *size)
    np.testing.assert_allclose(y, expected, atol=1e-5)


def test_a_feature_is_resized_to_its_own_pixel():
    features = np.zeros((1, 3, 3, 1), "float32")
    features[0, 1, 2, 0] = 1.0
    y = np.asarray(resize_bilinear(features, (33, 33)))[0, :, :, 0]
    assert np.unravel_index(y.argmax(), y.shape) == (16, 32)
    assert y[16, 32] == 1.0


@pytest.mark.parametrize(
    ("size", "padded"), [(1, 1), (2, 33), (224, 225), (225, 225), (256, 257), (257, 257), (500, 513)]
)
def test_padded_size(size, padded):
    assert padded_size(size) == padded


@pytest.mark.parametrize(("stride", "features"), [(16, 33), (8, 65), (4, 129)])
def test_feature_size_of_513(stride, features):
    assert feature_size(513, stride) == features


@pytest.mark.parametrize("static", [True, False])
def test_padding_adds_zeros_and_cropping_removes_them(static):
    image = keras.Input((40, 33, 2) if static else (None, None, 2))
    padded = PadToGrid()(image)
    model = keras.Model(image, [padded, CropTo()(padded, image)])
    x = np.random.default_rng(0).normal(size=(1, 40, 33, 2)).astype("float32")
    enlarged, cropped = (np.asarray(y) for y in model(x))
    assert enlarged.shape == (1, 65, 33, 2)
    np.testing.assert_array_equal(enlarged[:, :40], x)
    assert not enlarged[:, 40:].any()
    np.testing.assert_array_equal(cropped, x)


def test_normalize_maps_pixels_to_minus_1_to_1():
    np.testing.assert_allclose(np.asarray(Normalize()(np.array([0.0, 127.5, 255.0], "float32"))), [-1, 0, 1])


def test_the_mean_pixel_becomes_zero_and_the_scale_is_that_of_bytes():
    pixels = np.array([[[[100.0, 110.0, 120.0], [255.0, 0.0, 127.5]]]], "float32")
    actual = np.asarray(SubtractMean((100.0, 110.0, 120.0))(Normalize()(pixels)))
    np.testing.assert_allclose(actual, [[[[0, 0, 0], [155, -110, 7.5]]]], atol=1e-4)


def test_layers_can_be_restored_from_their_config():
    image, like = keras.Input((None, None, 2)), keras.Input((None, None, 1))
    model = keras.Model([image, like], CropTo()(ResizeBilinear()(PadToGrid()(Normalize()(image)), like), like))
    restored = keras.Model.from_config(model.get_config())
    x, y = np.ones((1, 5, 5, 2), "float32"), np.ones((1, 9, 9, 1), "float32")
    np.testing.assert_array_equal(np.asarray(model([x, y])), np.asarray(restored([x, y])))
