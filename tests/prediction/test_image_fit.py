"""Padding, stretching and their inverses against values computed by hand."""

import numpy as np
import pytest

from deeplab.errors import UserError
from deeplab.prediction.image_fit import (
    class_ids_at_image_size,
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
    assert fitted.content == fitted.size == (3, 4)


def test_padding_with_an_integer_keeps_uint8():
    fitted = fit_image(random_image(3, 4), (5, 6), padding_value=128)
    assert fitted.image.dtype == np.uint8
    assert (fitted.image[3:] == 128).all()


@pytest.mark.parametrize("size", [(6, 4), (3, 7), (9, 9)])
def test_large_image_is_stretched(size):
    fitted = fit_image(random_image(*size), (5, 6))
    assert fitted.image.shape == (5, 6, 3)
    assert fitted.content == (5, 6)
    assert needs_stretching(size, (5, 6), "auto")


def test_image_is_unchanged_at_the_input_size_or_for_a_model_of_any_size():
    image = random_image(5, 6)
    for size, fit in [((5, 6), "auto"), ((5, 6), "stretch"), ((5, 6), "letterbox"), (None, "stretch"), (None, "pad")]:
        fitted = fit_image(image, size, fit)
        assert fitted.image is image
        assert fitted.content == fitted.size == (5, 6)


def test_stretch_enlarges_a_small_image():
    assert fit_image(random_image(3, 3), (5, 6), "stretch").content == (5, 6)


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


@pytest.mark.parametrize("fit", ["stretch", "letterbox"])
def test_scores_return_to_the_centers_of_the_original_pixels(fit):
    """9 rows become 3 rows with centers at 1, 4 and 7: rows 0 and 8 are beyond the outer centers."""
    fitted = fit_image(random_image(9, 9), (3, 3), fit)
    ramp = np.broadcast_to(np.arange(3.0)[:, None, None], (3, 3, 2))
    expected = [0, 0, 1 / 3, 2 / 3, 1, 4 / 3, 5 / 3, 2, 2]
    np.testing.assert_allclose(scores_at_image_size(ramp, fitted)[:, 0, 0], expected, atol=1e-6)


@pytest.mark.parametrize(
    ("size", "target", "content"),
    [
        # 100 * 65 / 211 = 30.8, 60 * 65 / 170 = 22.9, 20 * 65 / 50 = 26: rounded to whole pixels.
        ((100, 211), (65, 65), (31, 65)),
        ((170, 60), (65, 65), (65, 23)),
        ((20, 50), (65, 65), (26, 65)),
        ((65, 65), (65, 65), (65, 65)),
        # 3000x4000 into 257x513: the height limits, 4000 * 257 / 3000 = 342.7.
        ((3000, 4000), (257, 513), (257, 343)),
        # A half is rounded up: 3 * 5 / 6 = 2.5.
        ((3, 6), (5, 5), (3, 5)),
        # At least one pixel remains.
        ((2, 4000), (65, 65), (1, 65)),
    ],
)
def test_a_letterboxed_image_has_the_largest_size_of_its_aspect(size, target, content):
    fitted = fit_image(random_image(*size), target, "letterbox", 99)
    assert (fitted.image.shape, fitted.content, fitted.size) == ((*target, 3), content, size)
    assert (fitted.image[content[0] :] == 99).all()
    assert (fitted.image[:, content[1] :] == 99).all()
    inside = fitted.image[: content[0], : content[1]]
    expected = pass_of_the_bilinear_filter(random_image(*size), content[1], 1)
    np.testing.assert_array_equal(inside, pass_of_the_bilinear_filter(expected, content[0], 0))


@pytest.mark.parametrize("outputs", [(65, 65), (17, 17)])
@pytest.mark.parametrize(
    ("size", "fit"), [((150, 400), "letterbox"), ((400, 150), "letterbox"), ((150, 400), "stretch")]
)
def test_an_edge_returns_to_its_place_within_half_an_input_pixel(size, fit, outputs):
    """Scores that equal the brightness of the fitted image, at full size or at mask_stride=4, return at every edge."""
    for axis, side in enumerate(size):
        # At mask_stride=4 the last score of a short side can lie in the padding.
        for edge in (side // 7, side // 2, side - side // 7)[: 3 if outputs == (65, 65) else 2]:
            image = np.zeros((*size, 3), np.uint8)
            image[(slice(edge, None), slice(None))[:: 1 - 2 * axis]] = 255
            fitted = fit_image(image, (65, 65), fit, 0)
            stride = 64 // (outputs[0] - 1)
            bright = fitted.image[::stride, ::stride, 0].astype(np.float32)
            found = class_ids_at_image_size(np.stack([255 - bright, bright], axis=-1), fitted)
            line = found.take(found.shape[1 - axis] // 3, 1 - axis)
            pixel = side / fitted.content[axis]
            assert abs(np.count_nonzero(line == 0) - edge) <= 0.5 * pixel * stride + 0.5


@pytest.mark.parametrize("fit", ["stretch", "letterbox", "pad"])
@pytest.mark.parametrize("outputs", [(65, 65), (17, 17)])
def test_class_ids_equal_the_argmax_of_all_scores(fit, outputs):
    """Smooth scores, of which few classes can win in a strip of rows, scores of noise, and tied scores."""
    rng = np.random.default_rng(3)
    smooth = np.kron(rng.normal(size=(4, 4, 21)), np.ones((17, 17, 1)))[: outputs[0], : outputs[1]]
    for scores in (smooth, rng.normal(size=(*outputs, 21)), rng.integers(0, 2, (*outputs, 21))):
        fitted = fit_image(random_image(*((60, 40) if fit == "pad" else (301, 200))), (65, 65), fit)
        scores = scores.astype(np.float32)
        expected = scores_at_image_size(scores, fitted).argmax(-1)
        found = class_ids_at_image_size(scores, fitted)
        assert found.dtype == np.uint8
        np.testing.assert_array_equal(found, expected)


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
