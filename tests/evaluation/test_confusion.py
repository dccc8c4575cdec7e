"""The confusion matrix against values counted by hand, loops over pixels and scikit-learn."""

import numpy as np
import pytest

from deeplab.errors import UserError
from deeplab.evaluation.confusion import class_counts, confusion_matrix


def test_matrix_equals_the_one_counted_by_hand():
    label = np.array([[0, 0, 1, 1], [0, 0, 1, 255], [2, 2, 2, 255], [0, 2, 2, 0]], np.uint8)
    prediction = np.array([[0, 0, 1, 0], [1, 0, 1, 2], [2, 2, 0, 1], [0, 2, 2, 2]], np.uint8)
    matrix = confusion_matrix(label, prediction, 3)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, [[4, 1, 1], [1, 2, 0], [1, 0, 4]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("block", [1, 2, 9])
def test_matrix_equals_a_loop_over_pixels(dtype, block):
    rng = np.random.default_rng(3)
    label = rng.integers(0, 7, (5, 7)).astype(dtype)
    label[rng.random(label.shape) < 0.2] = 255
    prediction = rng.integers(0, 7, label.shape).astype(dtype)
    # Blocks form runs of equal pixels, as in real masks.
    label, prediction = (np.kron(x, np.ones((block, block), dtype)) for x in (label, prediction))
    expected = np.zeros((7, 7), np.int64)
    for labeled, predicted in zip(label.ravel(), prediction.ravel(), strict=True):
        if labeled != 255:
            expected[labeled, predicted] += 1
    np.testing.assert_array_equal(confusion_matrix(label, prediction, 7), expected)


def test_matrix_equals_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(4)
    label = rng.integers(0, 21, (65, 97)).astype(np.uint8)
    label[rng.random(label.shape) < 0.1] = 255
    prediction = np.where(rng.random(label.shape) < 0.6, label % 21, rng.integers(0, 21, label.shape)).astype(np.uint8)
    kept = label != 255
    np.testing.assert_array_equal(
        confusion_matrix(label, prediction, 21),
        metrics.confusion_matrix(label[kept], prediction[kept], labels=list(range(21))),
    )


def test_ignored_pixels_are_not_counted_whatever_is_predicted():
    label = np.array([[255, 0], [255, 1]], np.uint8)
    for predicted in (0, 1, 20, 255):
        prediction = np.array([[predicted, 0], [predicted, 1]], np.uint8)
        np.testing.assert_array_equal(confusion_matrix(label, prediction, 2), [[1, 0], [0, 1]])


def test_label_255_is_ignored_even_with_256_classes():
    matrix = confusion_matrix(np.array([[255, 254, 7]], np.uint8), np.array([[1, 255, 7]], np.uint8), 256)
    assert matrix.shape == (256, 256)
    assert matrix.sum() == 2
    assert matrix[254, 255] == 1
    assert matrix[7, 7] == 1


@pytest.mark.parametrize(
    ("label", "prediction", "message"),
    [
        ([[37]], [[0]], "cat.png: label 37 with 21 classes"),
        ([[21]], [[0]], "label 21"),
        ([[300]], [[0]], "got 300 to 300"),
        ([[-1]], [[0]], "got -1"),
        ([[0]], [[21]], "class 21 was predicted"),
        ([[0, 0]], [[0]], r"the mask has shape \(1, 2\), the prediction \(1, 1\)"),
    ],
)
def test_error_names_the_image_and_the_invalid_id(label, prediction, message):
    with pytest.raises(UserError, match=message):
        confusion_matrix(np.array(label), np.array(prediction), 21, "cat.png")


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (1, 9)])
def test_every_pixel_of_a_tiny_image_is_counted(shape):
    label = np.zeros(shape, np.uint8)
    np.testing.assert_array_equal(confusion_matrix(label, label, 2), [[shape[0] * shape[1], 0], [0, 0]])


def test_class_counts_beyond_32_bits_are_exact():
    matrix = np.array([[2**41, 2], [4, 2**42]])
    np.testing.assert_array_equal(
        class_counts(matrix), [[2**41, 2**42], [2**41 + 2, 2**42 + 4], [2**41 + 4, 2**42 + 2]]
    )
