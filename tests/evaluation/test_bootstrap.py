"""Intervals against cases solved by hand, and their coverage in a simulation."""

import numpy as np
import pytest

from deeplab.evaluation.bootstrap import difference_interval, miou_interval, shared_images
from deeplab.evaluation.scores import Scores, scores_from_matrices


def make_scores(matrices: list[np.ndarray], names: list[str] | None = None) -> Scores:
    return scores_from_matrices(matrices, ("a", "b"), names or [str(i) for i in range(len(matrices))])


def test_interval_of_identical_images_has_no_width():
    interval = miou_interval(make_scores([np.array([[3, 1], [1, 3]])] * 5), 100)
    assert interval.value == interval.low == interval.high == pytest.approx(3 / 5)


def test_interval_of_two_images_spans_their_three_possible_resamples():
    good, bad = np.array([[10, 0], [0, 10]]), np.array([[0, 10], [10, 0]])
    interval = miou_interval(make_scores([good, bad]), 1000)
    # Twice the good image with probability 1/4, twice the bad one with 1/4. Together the IoU of each class is 10 / 30.
    assert (interval.low, interval.high) == (0, 1)
    assert interval.value == pytest.approx(1 / 3)


def test_seed_determines_the_interval_and_another_seed_changes_it_little():
    rng = np.random.default_rng(0)
    scores = make_scores([rng.integers(1, 50, (2, 2)) for _ in range(40)])
    assert miou_interval(scores, 500, seed=1) == miou_interval(scores, 500, seed=1)
    first, second = miou_interval(scores, 500, seed=1), miou_interval(scores, 500, seed=2)
    assert first.low != second.low
    assert first.low == pytest.approx(second.low, abs=0.02)


def test_interval_equals_resampling_in_a_loop():
    rng = np.random.default_rng(1)
    matrices = [rng.integers(1, 50, (2, 2)) for _ in range(12)]
    mious = []
    for _ in range(4000):
        m = sum(matrices[i] for i in rng.integers(0, 12, 12))
        mious.append(np.mean([m[c, c] / (m[c].sum() + m[:, c].sum() - m[c, c]) for c in (0, 1)]))
    interval = miou_interval(make_scores(matrices), 4000)
    assert interval.low == pytest.approx(np.quantile(mious, 0.025), abs=0.006)
    assert interval.high == pytest.approx(np.quantile(mious, 0.975), abs=0.006)


def test_interval_covers_the_true_value_about_as_often_as_its_level():
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        # Each image has its own error rate, 0.2 on average, in two classes of equal size: the true mIoU is 0.8 / 1.2.
        wrong = rng.binomial(100, rng.beta(4, 16, size=(60, 1)), size=(60, 2))
        matrices = [np.array([[100 - a, a], [b, 100 - b]]) for a, b in wrong]
        interval = miou_interval(make_scores(matrices), 300, seed=trial)
        covered += interval.low <= 0.8 / 1.2 <= interval.high
    assert 0.90 <= covered / 200 <= 0.985


def test_paired_difference_has_a_narrower_interval_than_each_model():
    rng = np.random.default_rng(3)
    hard = rng.integers(0, 90, 50)
    first = make_scores([np.array([[100 - h, h], [h, 100 - h]]) for h in hard])
    second = make_scores([np.array([[99 - h, h + 1], [h + 1, 99 - h]]) for h in hard])
    difference = difference_interval(first, second, 500)
    assert difference.value == pytest.approx(first.miou - second.miou)
    assert 0 < difference.low < difference.value < difference.high < 0.03
    assert difference.excludes_zero
    assert not difference_interval(first, first, 100).excludes_zero
    whole = miou_interval(first, 500)
    assert difference.high - difference.low < 0.1 * (whole.high - whole.low)


def test_difference_requires_shared_images():
    matrix = np.array([[1, 0], [0, 1]])
    first, second = make_scores([matrix], ["x"]), make_scores([matrix], ["y"])
    assert shared_images(first, second) == 0
    with pytest.raises(ValueError, match="same images"):
        difference_interval(first, second, 10)


def test_shorter_list_is_compared_with_the_start_of_the_longer_one():
    rng = np.random.default_rng(4)
    matrices = [rng.integers(1, 50, (2, 2)) for _ in range(9)]
    better = [m + 20 * np.eye(2, dtype=int) for m in matrices[:4]]
    difference = difference_interval(make_scores(better), make_scores(matrices), 200)
    assert shared_images(make_scores(better), make_scores(matrices)) == 4
    assert difference == difference_interval(make_scores(better), make_scores(matrices[:4]), 200)
    assert difference.value == pytest.approx(make_scores(better).miou - make_scores(matrices[:4]).miou)


def test_a_class_that_one_model_predicts_and_no_label_contains_does_not_change_the_difference():
    clean, stray = np.array([[60, 40, 0], [0, 100, 0], [0, 0, 0]]), np.array([[60, 39, 1], [0, 100, 0], [0, 0, 0]])
    first, second = (scores_from_matrices([m] * 4, ("a", "b", "c"), list("wxyz")) for m in (clean, stray))
    difference = difference_interval(first, second, 100)
    # The IoUs are 60 / 100 and 100 / 140 against 60 / 100 and 100 / 139; the third class would add 22 points.
    expected = (100 / 140 - 100 / 139) / 2
    assert difference.value == pytest.approx(expected)
    assert (difference.low, difference.high) == (pytest.approx(expected), pytest.approx(expected))
    assert first.miou - second.miou == pytest.approx((0.6 + 100 / 140) / 2 - (0.6 + 100 / 139) / 3)


def test_the_interval_for_comparisons_leaves_out_classes_without_labels():
    # Class c is predicted in one pixel of each image: IoU 60 / 100, 100 / 139 and 0.
    stray = np.array([[60, 39, 1], [0, 100, 0], [0, 0, 0]])
    scores = scores_from_matrices([stray] * 4, ("a", "b", "c"), list("wxyz"))
    labeled, whole = miou_interval(scores, 50, labeled=True), miou_interval(scores, 50)
    expected = (0.6 + 100 / 139) / 2
    assert (labeled.value, labeled.low, labeled.high) == pytest.approx((expected, expected, expected))
    assert whole.value == pytest.approx(expected * 2 / 3)
