"""Padding, stretching and their inverses against values computed by hand."""

import numpy as np
import pytest

from deeplab.errors import UserError
from deeplab.prediction.image_fit import (
    fit_image,
    ids_at_image_size,
    needs_stretching,
    resize_and_crop,
    scores_at_image_size,
)


def random_image(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_small_image_is_padded_with_gray_at_the_bottom_and_on_the_right():
    image = random_image(3, 4)
    fitted = fit_image(image, (5, 6))
    assert fitted.image.dtype == np.float32
    np.testing.assert_array_equal(fitted.image[:3, :4], image)
    assert (fitted.image[3:] == 127.5).all()
    assert (fitted.image[:, 4:] == 127.5).all()
    assert not fitted.stretched


def test_padding_with_an_integer_keeps_uint8():
    fitted = fit_image(random_image(3, 4), (5, 6), padding_value=128)
    assert fitted.image.dtype == np.uint8
    assert (fitted.image[3:] == 128).all()


@pytest.mark.parametrize("size", [(6, 4), (3, 7), (9, 9)])
def test_large_image_is_stretched(size):
    fitted = fit_image(random_image(*size), (5, 6))
    assert fitted.image.shape == (5, 6, 3)
    assert fitted.stretched
    assert needs_stretching(size, (5, 6), "auto")


def test_image_is_unchanged_at_the_input_size_or_for_a_model_of_any_size():
    image = random_image(5, 6)
    for size, fit in [((5, 6), "auto"), ((5, 6), "stretch"), (None, "stretch"), (None, "pad")]:
        fitted = fit_image(image, size, fit)
        assert fitted.image is image
        assert not fitted.stretched


def test_stretch_enlarges_a_small_image():
    assert fit_image(random_image(3, 3), (5, 6), "stretch").stretched


def test_pad_refuses_a_large_image():
    with pytest.raises(UserError, match="6x4 pixels exceed the model's input of 5x6"):
        fit_image(random_image(6, 4), (5, 6), "pad")


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_only_uint8_rgb_images_are_accepted(image):
    with pytest.raises(UserError, match=r"expected \[h, w, 3\] uint8, got \[4, 4"):
        fit_image(image, (5, 5))


def test_padding_is_cropped_from_ids_and_scores():
    fitted = fit_image(random_image(2, 3), (4, 4))
    ids = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(ids_at_image_size(ids, fitted), [[0, 1, 2], [4, 5, 6]])
    scores = np.random.default_rng(0).normal(size=(4, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(scores_at_image_size(scores, fitted), scores[:2, :3])


def test_ids_of_a_stretched_image_are_resized_by_nearest_neighbor():
    fitted = fit_image(random_image(4, 6), (2, 3))
    np.testing.assert_array_equal(
        ids_at_image_size(np.array([[1, 2, 3], [4, 5, 6]]), fitted), np.kron([[1, 2, 3], [4, 5, 6]], np.ones((2, 2)))
    )


def test_enlarged_scores_have_aligned_corners():
    scores = np.array([[0.0, 4.0], [8.0, 12.0]], np.float32)[..., None]
    # Five samples between two corner pixels are quarters of the distance: 8 / 4 per row, 4 / 4 per column.
    expected = np.arange(5)[:, None] * 2.0 + np.arange(5)
    np.testing.assert_allclose(resize_and_crop(scores, (5, 5), (5, 5))[..., 0], expected, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [((9, 9), (33, 33)), ((7, 5), (20, 3)), ((1, 1), (4, 3)), ((3, 4), (1, 1))])
def test_resize_equals_a_loop_over_pixels(old, new):
    scores = np.random.default_rng(1).normal(size=(*old, 2))
    expected = np.zeros((*new, 2))
    for y in range(new[0]):
        for x in range(new[1]):
            v = y * (old[0] - 1) / max(new[0] - 1, 1)
            u = x * (old[1] - 1) / max(new[1] - 1, 1)
            top, left = int(v), int(u)
            bottom, right = min(top + 1, old[0] - 1), min(left + 1, old[1] - 1)
            for row, share_y in ((top, 1 - (v - top)), (bottom, v - top)):
                for column, share_x in ((left, 1 - (u - left)), (right, u - left)):
                    expected[y, x] += share_y * share_x * scores[row, column]
    np.testing.assert_allclose(resize_and_crop(scores, new, new), expected, atol=1e-5)


def test_resize_and_crop_equals_the_corner_of_the_full_resize():
    scores = np.random.default_rng(2).normal(size=(9, 9, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        resize_and_crop(scores, (33, 33), (20, 11)), resize_and_crop(scores, (33, 33), (33, 33))[:20, :11]
    )


def test_scores_of_a_stretched_image_are_resized_to_its_size():
    fitted = fit_image(random_image(9, 5), (3, 3))
    ramp = np.broadcast_to(np.arange(3.0)[:, None, None], (3, 3, 2))
    np.testing.assert_allclose(scores_at_image_size(ramp, fitted)[:, 0, 0], np.arange(9) / 4, atol=1e-6)


def test_ids_of_a_padded_image_are_enlarged_with_aligned_corners():
    # Of 5 pixels, those at 0, 2 and 4 have the ids; the nearest of those at 1 and 3 is the following one.
    ids = np.array([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    fitted = fit_image(np.zeros((4, 5, 3), np.uint8), (5, 5), "pad")
    expected = [[1, 2, 2, 3, 3], [4, 5, 5, 6, 6], [4, 5, 5, 6, 6], [7, 8, 8, 9, 9]]
    np.testing.assert_array_equal(ids_at_image_size(ids, fitted), expected)


def pass_of_the_bilinear_filter(image: np.ndarray, new: int, axis: int) -> np.ndarray:
    """Resize one axis of an image: weighted means in fixed point with 22 bits, rounded to bytes, as Pillow computes."""
    scale = image.shape[axis] / new
    reach = max(scale, 1)
    centers = (np.arange(new) + 0.5) * scale
    weights = np.maximum(0, 1 - np.abs(np.arange(image.shape[axis]) + 0.5 - centers[:, None]) / reach)
    fixed = np.floor(weights / weights.sum(axis=1, keepdims=True) * 2**22 + 0.5).astype(np.int64)
    return np.moveaxis((np.tensordot(fixed, image.astype(np.int64), (1, axis)) + 2**21) >> 22, 0, axis)


@pytest.mark.parametrize("size", [(186, 21), (21, 186), (60, 60)])
def test_stretching_rounds_after_the_columns_and_then_after_the_rows(size):
    image = random_image(*size)
    expected = pass_of_the_bilinear_filter(pass_of_the_bilinear_filter(image, 67, 1), 47, 0)
    fitted = fit_image(image, (47, 67), "stretch")
    np.testing.assert_array_equal(fitted.image, expected)
