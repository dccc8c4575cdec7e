"""Padding, stretching and their inverses against values worked by hand."""

import numpy as np
import pytest

from deeplab.errors import UserError
from deeplab.prediction.image_fit import (
    crop_of_resized,
    fit_image,
    rescales,
    resize_scores,
    undo_ids,
    undo_scores,
)


def picture(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3)).astype(np.uint8)


def test_smaller_picture_is_padded_at_the_bottom_and_right_with_gray():
    image = picture(3, 4)
    fitted = fit_image(image, (5, 6))
    assert fitted.image.dtype == np.float32
    np.testing.assert_array_equal(fitted.image[:3, :4], image)
    assert (fitted.image[3:] == 127.5).all()
    assert (fitted.image[:, 4:] == 127.5).all()
    assert not fitted.rescaled


def test_padding_of_a_byte_model_stays_bytes():
    fitted = fit_image(picture(3, 4), (5, 6), gray=128)
    assert fitted.image.dtype == np.uint8
    assert (fitted.image[3:] == 128).all()


@pytest.mark.parametrize("size", [(6, 4), (3, 7), (9, 9)])
def test_larger_picture_is_stretched(size):
    fitted = fit_image(picture(*size), (5, 6))
    assert fitted.image.shape == (5, 6, 3)
    assert fitted.rescaled
    assert rescales(size, (5, 6), "auto")


def test_picture_of_the_right_size_and_model_of_any_size_change_nothing():
    image = picture(5, 6)
    for size, fit in [((5, 6), "auto"), ((5, 6), "resize"), (None, "resize"), (None, "pad")]:
        fitted = fit_image(image, size, fit)
        assert fitted.image is image
        assert not fitted.rescaled


def test_resize_stretches_a_smaller_picture_too():
    assert fit_image(picture(3, 3), (5, 6), "resize").rescaled


def test_pad_refuses_a_larger_picture():
    with pytest.raises(UserError, match="6x4 pixels do not fit the model's 5x6"):
        fit_image(picture(6, 4), (5, 6), "pad")


@pytest.mark.parametrize("image", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3))])
def test_what_is_no_rgb_picture_is_refused(image):
    with pytest.raises(UserError, match="is no"):
        fit_image(image, (5, 5))


def test_padding_is_cropped_off_ids_and_scores():
    fitted = fit_image(picture(2, 3), (4, 4))
    ids = np.arange(16).reshape(4, 4)
    np.testing.assert_array_equal(undo_ids(ids, fitted), [[0, 1, 2], [4, 5, 6]])
    scores = np.random.default_rng(0).normal(size=(4, 4, 5)).astype(np.float32)
    np.testing.assert_array_equal(undo_scores(scores, fitted), scores[:2, :3])


def test_stretched_ids_come_back_by_the_nearest_pixel():
    fitted = fit_image(picture(4, 6), (2, 3))
    np.testing.assert_array_equal(
        undo_ids(np.array([[1, 2, 3], [4, 5, 6]]), fitted), np.kron([[1, 2, 3], [4, 5, 6]], np.ones((2, 2)))
    )


def test_enlarging_aligns_the_corners():
    scores = np.array([[0.0, 4.0], [8.0, 12.0]], np.float32)[..., None]
    # Five samples over two corner pixels: quarters of the way; rows add 8, columns 4.
    expected = np.arange(5)[:, None] * 2.0 + np.arange(5)
    np.testing.assert_allclose(resize_scores(scores, (5, 5))[..., 0], expected, atol=1e-6)


@pytest.mark.parametrize(("old", "new"), [((9, 9), (33, 33)), ((7, 5), (20, 3)), ((1, 1), (4, 3)), ((3, 4), (1, 1))])
def test_resize_equals_a_plain_loop(old, new):
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
    np.testing.assert_allclose(resize_scores(scores, new), expected, atol=1e-5)


def test_crop_of_resized_is_the_corner_of_the_whole():
    scores = np.random.default_rng(2).normal(size=(9, 9, 3)).astype(np.float32)
    np.testing.assert_array_equal(
        crop_of_resized(scores, (33, 33), (20, 11)), resize_scores(scores, (33, 33))[:20, :11]
    )


def test_scores_of_a_stretched_picture_come_back_to_its_size():
    fitted = fit_image(picture(9, 5), (3, 3))
    ramp = np.broadcast_to(np.arange(3.0)[:, None, None], (3, 3, 2))
    np.testing.assert_allclose(undo_scores(ramp, fitted)[:, 0, 0], np.arange(9) / 4, atol=1e-6)
