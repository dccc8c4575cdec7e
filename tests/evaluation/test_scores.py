"""Scores against values computed by hand and scikit-learn."""

import numpy as np
import pytest

from deeplab.errors import UserError
from deeplab.evaluation.scores import Scores, scores_from_matrices

NAMES = ("background", "cat", "dog")


def scores_of(*matrix: list[int]) -> Scores:
    return scores_from_matrices([np.array(matrix)], [f"class {i}" for i in range(len(matrix))], ["one"])


def test_scores_equal_those_computed_by_hand():
    scores = scores_of([4, 1, 1], [1, 2, 0], [1, 0, 4])
    # The unions are 6 + 6 - 4, 3 + 3 - 2 and 5 + 5 - 4.
    np.testing.assert_allclose(scores.iou, [4 / 8, 2 / 4, 4 / 6], rtol=1e-12)
    assert scores.miou == pytest.approx((1 / 2 + 1 / 2 + 2 / 3) / 3, abs=1e-12)
    assert scores.pixel_accuracy == pytest.approx(10 / 14, abs=1e-12)
    assert scores.mean_accuracy == pytest.approx((4 / 6 + 2 / 3 + 4 / 5) / 3, abs=1e-12)
    assert scores.frequency_weighted_iou == pytest.approx(6 / 14 * 1 / 2 + 3 / 14 * 1 / 2 + 5 / 14 * 2 / 3, abs=1e-12)
    np.testing.assert_array_equal(scores.counts, [[[4, 2, 4], [6, 3, 5], [6, 3, 5]]])


def test_scores_equal_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics", reason="scikit-learn is not installed")
    rng = np.random.default_rng(4)
    label = rng.integers(0, 21, 6000)
    predicted = np.where(rng.random(label.shape) < 0.6, label, rng.integers(0, 21, label.shape))
    scores = scores_of(*metrics.confusion_matrix(label, predicted, labels=list(range(21))))
    assert scores.miou == pytest.approx(metrics.jaccard_score(label, predicted, average="macro"), abs=1e-12)
    assert scores.pixel_accuracy == pytest.approx(metrics.accuracy_score(label, predicted), abs=1e-12)
    assert scores.mean_accuracy == pytest.approx(metrics.balanced_accuracy_score(label, predicted), abs=1e-12)
    weighted = metrics.jaccard_score(label, predicted, average="weighted")
    assert scores.frequency_weighted_iou == pytest.approx(weighted, abs=1e-12)


def test_class_that_does_not_occur_is_excluded_from_the_mean():
    scores = scores_of([1, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0])
    np.testing.assert_allclose(scores.iou, [1 / 2, 2 / 3, np.nan, np.nan])
    assert scores.miou == pytest.approx((1 / 2 + 2 / 3) / 2)
    per_class = {"class 0": 0.5, "class 1": pytest.approx(2 / 3), "class 2": None, "class 3": None}
    assert scores.to_mapping()["per_class"] == per_class


def test_iou_of_a_class_that_is_predicted_but_never_labeled_is_0():
    scores = scores_of([3, 0, 1], [0, 0, 0], [0, 0, 0])
    np.testing.assert_allclose(scores.iou, [3 / 4, np.nan, 0])
    assert scores.miou == pytest.approx(3 / 8)
    assert scores.mean_accuracy == pytest.approx(3 / 4)


def test_miou_for_comparisons_is_over_the_labeled_classes():
    scores = scores_of([3, 0, 1], [0, 0, 0], [0, 0, 0])
    assert scores.labeled_miou == pytest.approx(3 / 4)
    assert scores.labeled_classes == scores.to_mapping()["labeled_classes"] == 1
    scores = scores_of([4, 1, 1], [1, 2, 0], [1, 0, 4])
    assert scores.labeled_miou == scores.miou
    assert scores.labeled_classes == 3


def test_no_images_are_an_error():
    with pytest.raises(UserError, match="no labeled images"):
        scores_from_matrices([], NAMES, [])


def test_only_ignored_pixels_are_an_error():
    with pytest.raises(UserError, match="all pixels of the 1 images are labeled 255"):
        scores_from_matrices([np.zeros((3, 3), np.int64)], NAMES, ["blank"])


def test_scores_of_two_subsets_can_be_added():
    rng = np.random.default_rng(5)
    matrices = [rng.integers(0, 100, (3, 3)) for _ in range(5)]
    names = list("abcde")
    whole = scores_from_matrices(matrices, NAMES, names, stretched=3)
    first = scores_from_matrices(matrices[:2], NAMES, names[:2], stretched=1)
    total = first + scores_from_matrices(matrices[2:], NAMES, names[2:], stretched=2)
    np.testing.assert_array_equal(total.matrix, sum(matrices))
    np.testing.assert_array_equal(total.counts, whole.counts)
    assert (total.names, total.stretched) == (tuple(names), 3)


def test_sum_of_matrices_beyond_32_bits_is_exact():
    large = np.array([[2**40, 1], [2, 2**41]])
    scores = scores_from_matrices([large, large], ("a", "b"), ["x", "y"])
    assert scores.matrix[1, 1] == 2**42
