"""Confusion matrix and scores against hand-worked values, plain loops and scikit-learn."""

import numpy as np
import pytest

from deeplab.errors import UserError
from deeplab.evaluation.confusion import Scores, class_counts, confusion_matrix, scores_of

NAMES = ("background", "cat", "dog")
# A 4x4 picture worked by hand; 255 is the border.
LABEL = np.array([[0, 0, 1, 1], [0, 0, 1, 255], [2, 2, 2, 255], [0, 2, 2, 0]], np.uint8)
PREDICTION = np.array([[0, 0, 1, 0], [1, 0, 1, 2], [2, 2, 0, 1], [0, 2, 2, 2]], np.uint8)
MATRIX = np.array([[4, 1, 1], [1, 2, 0], [1, 0, 4]])


def hand_scores() -> Scores:
    return scores_of([confusion_matrix(LABEL, PREDICTION, 3)], NAMES, ["one"])


def test_hand_worked_matrix():
    matrix = confusion_matrix(LABEL, PREDICTION, 3)
    assert matrix.dtype == np.int64
    np.testing.assert_array_equal(matrix, MATRIX)


def test_hand_worked_scores():
    scores = hand_scores()
    # unions: 6 + 6 - 4, 3 + 3 - 2, 5 + 5 - 4
    np.testing.assert_allclose(scores.iou, [4 / 8, 2 / 4, 4 / 6], rtol=1e-12)
    assert scores.miou == pytest.approx((1 / 2 + 1 / 2 + 2 / 3) / 3, abs=1e-12)
    assert scores.pixel_accuracy == pytest.approx(10 / 14, abs=1e-12)
    assert scores.mean_accuracy == pytest.approx((4 / 6 + 2 / 3 + 4 / 5) / 3, abs=1e-12)
    assert scores.frequency_weighted_iou == pytest.approx(6 / 14 * 1 / 2 + 3 / 14 * 1 / 2 + 5 / 14 * 2 / 3, abs=1e-12)
    np.testing.assert_array_equal(scores.counts, [[[4, 2, 4], [6, 3, 5], [6, 3, 5]]])


@pytest.mark.parametrize("dtype", [np.uint8, np.int32, np.int64])
@pytest.mark.parametrize("block", [1, 2, 9])
def test_random_matrix_equals_a_plain_loop(dtype, block):
    rng = np.random.default_rng(3)
    label = rng.integers(0, 7, (5, 7)).astype(dtype)
    label[rng.random(label.shape) < 0.2] = 255
    prediction = rng.integers(0, 7, label.shape).astype(dtype)
    # Blocks make runs of equal pixels, as real masks do.
    label, prediction = (np.kron(x, np.ones((block, block), dtype)) for x in (label, prediction))
    expected = np.zeros((7, 7), np.int64)
    for truth, guess in zip(label.ravel(), prediction.ravel(), strict=True):
        if truth != 255:
            expected[truth, guess] += 1
    np.testing.assert_array_equal(confusion_matrix(label, prediction, 7), expected)


def test_random_matrix_and_scores_equal_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(4)
    label = rng.integers(0, 21, (65, 97)).astype(np.uint8)
    label[rng.random(label.shape) < 0.1] = 255
    prediction = np.where(rng.random(label.shape) < 0.6, label % 21, rng.integers(0, 21, label.shape)).astype(np.uint8)
    kept = label != 255
    matrix = confusion_matrix(label, prediction, 21)
    np.testing.assert_array_equal(
        matrix, metrics.confusion_matrix(label[kept], prediction[kept], labels=list(range(21)))
    )
    scores = scores_of([matrix], [str(i) for i in range(21)], ["random"])
    truth, guess = label[kept], prediction[kept]
    assert scores.miou == pytest.approx(metrics.jaccard_score(truth, guess, average="macro"), abs=1e-12)
    assert scores.pixel_accuracy == pytest.approx(metrics.accuracy_score(truth, guess), abs=1e-12)
    assert scores.mean_accuracy == pytest.approx(metrics.balanced_accuracy_score(truth, guess), abs=1e-12)
    assert scores.frequency_weighted_iou == pytest.approx(
        metrics.jaccard_score(truth, guess, average="weighted"), abs=1e-12
    )


def test_class_that_does_not_occur_is_left_out_of_the_mean():
    label = np.array([[0, 0, 1, 1]], np.uint8)
    prediction = np.array([[0, 1, 1, 1]], np.uint8)
    scores = scores_of([confusion_matrix(label, prediction, 4)], ("a", "b", "c", "d"), ["one"])
    np.testing.assert_allclose(scores.iou, [1 / 2, 2 / 3, np.nan, np.nan])
    assert scores.miou == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert scores.to_mapping()["per_class"] == {"a": 0.5, "b": pytest.approx(2 / 3), "c": None, "d": None}


def test_class_that_is_predicted_but_never_true_counts_as_zero():
    label = np.array([[0, 0, 0, 0]], np.uint8)
    prediction = np.array([[0, 0, 0, 2]], np.uint8)
    scores = scores_of([confusion_matrix(label, prediction, 3)], NAMES, ["one"])
    np.testing.assert_allclose(scores.iou, [3 / 4, np.nan, 0])
    assert scores.miou == pytest.approx(3 / 8)
    assert scores.mean_accuracy == pytest.approx(3 / 4)


def test_ignored_pixels_never_count_whatever_was_predicted_there():
    label = np.array([[255, 0], [255, 1]], np.uint8)
    for there in (0, 1, 20, 255):
        prediction = np.array([[there, 0], [there, 1]], np.uint8)
        np.testing.assert_array_equal(confusion_matrix(label, prediction, 2), [[1, 0], [0, 1]])


def test_256_classes_leave_the_last_label_to_ignore():
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
        ([[300]], [[0]], "ids from 300 to 300"),
        ([[-1]], [[0]], "ids from -1"),
        ([[0]], [[21]], "class 21 was predicted"),
        ([[0, 0]], [[0]], "pixels"),
    ],
)
def test_what_cannot_be_counted_is_named(label, prediction, message):
    with pytest.raises(UserError, match=message):
        confusion_matrix(np.array(label), np.array(prediction), 21, "cat.png")


@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (1, 9)])
def test_tiny_pictures_count_every_pixel(shape):
    label = np.zeros(shape, np.uint8)
    np.testing.assert_array_equal(confusion_matrix(label, label, 2), [[shape[0] * shape[1], 0], [0, 0]])


def test_no_picture_is_an_error():
    with pytest.raises(UserError, match="no picture"):
        scores_of([], NAMES, [])


def test_nothing_but_ignored_pixels_is_an_error():
    label = np.full((3, 3), 255, np.uint8)
    with pytest.raises(UserError, match="no pixel of the 1 pictures"):
        scores_of([confusion_matrix(label, np.zeros_like(label), 3)], NAMES, ["blank"])


def test_scores_of_two_shares_add_up():
    rng = np.random.default_rng(5)
    matrices = [rng.integers(0, 100, (3, 3)) for _ in range(5)]
    names = list("abcde")
    whole = scores_of(matrices, NAMES, names, resized=3)
    parts = scores_of(matrices[:2], NAMES, names[:2], resized=1) + scores_of(matrices[2:], NAMES, names[2:], resized=2)
    np.testing.assert_array_equal(parts.matrix, sum(matrices))
    np.testing.assert_array_equal(parts.counts, whole.counts)
    assert (parts.names, parts.resized) == (tuple(names), 3)


def test_counts_beyond_32_bits_stay_exact():
    huge = np.array([[2**40, 1], [2, 2**41]])
    scores = scores_of([huge, huge], ("a", "b"), ["x", "y"])
    assert scores.matrix[1, 1] == 2**42
    np.testing.assert_array_equal(
        class_counts(scores.matrix), [[2**41, 2**42], [2**41 + 2, 2**42 + 4], [2**41 + 4, 2**42 + 2]]
    )
