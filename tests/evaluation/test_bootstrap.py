"""Intervals against cases that can be worked out, and their coverage in a simulation."""

import numpy as np
import pytest

from deeplab.evaluation.bootstrap import comparable, difference_interval, miou_interval
from deeplab.evaluation.confusion import Scores, scores_of


def scored(matrices: list[np.ndarray], names: list[str] | None = None) -> Scores:
    return scores_of(matrices, ("a", "b"), names or [str(i) for i in range(len(matrices))])


def test_pictures_all_alike_leave_no_doubt():
    interval = miou_interval(scored([np.array([[3, 1], [1, 3]])] * 5), 100)
    assert interval.value == interval.low == interval.high == pytest.approx(3 / 5)


def test_two_pictures_have_three_possible_draws():
    good, bad = np.array([[10, 0], [0, 10]]), np.array([[0, 10], [10, 0]])
    interval = miou_interval(scored([good, bad]), 1000)
    # Both good with probability 1/4, both bad with 1/4; together each class has 10 of 30.
    assert (interval.low, interval.high) == (0, 1)
    assert interval.value == pytest.approx(1 / 3)


def test_same_seed_gives_the_same_interval_and_another_a_close_one():
    rng = np.random.default_rng(0)
    scores = scored([rng.integers(1, 50, (2, 2)) for _ in range(40)])
    assert miou_interval(scores, 500, seed=1) == miou_interval(scores, 500, seed=1)
    one, other = miou_interval(scores, 500, seed=1), miou_interval(scores, 500, seed=2)
    assert one.low != other.low
    assert one.low == pytest.approx(other.low, abs=0.02)


def test_interval_equals_resampling_by_a_plain_loop():
    rng = np.random.default_rng(1)
    matrices = [rng.integers(1, 50, (2, 2)) for _ in range(12)]
    drawn = []
    for _ in range(4000):
        m = sum(matrices[i] for i in rng.integers(0, 12, 12))
        drawn.append(np.mean([m[c, c] / (m[c].sum() + m[:, c].sum() - m[c, c]) for c in (0, 1)]))
    interval = miou_interval(scored(matrices), 4000)
    assert interval.low == pytest.approx(np.quantile(drawn, 0.025), abs=0.006)
    assert interval.high == pytest.approx(np.quantile(drawn, 0.975), abs=0.006)


def test_interval_covers_the_true_value_about_as_often_as_it_says():
    rng = np.random.default_rng(2)
    covered = 0
    for trial in range(200):
        # Each picture has its own error rate, 0.2 on average, in two classes of equal size: the true mIoU is 0.8 / 1.2.
        wrong = rng.binomial(100, rng.beta(4, 16, size=(60, 1)), size=(60, 2))
        matrices = [np.array([[100 - a, a], [b, 100 - b]]) for a, b in wrong]
        interval = miou_interval(scored(matrices), 300, seed=trial)
        covered += interval.low <= 0.8 / 1.2 <= interval.high
    assert 0.90 <= covered / 200 <= 0.985


def test_difference_on_the_same_pictures_is_narrower_than_either():
    rng = np.random.default_rng(3)
    hard = rng.integers(0, 90, 50)
    one = scored([np.array([[100 - h, h], [h, 100 - h]]) for h in hard])
    other = scored([np.array([[99 - h, h + 1], [h + 1, 99 - h]]) for h in hard])
    difference = difference_interval(one, other, 500)
    assert difference.value == pytest.approx(one.miou - other.miou)
    assert 0 < difference.low < difference.value < difference.high < 0.03
    assert difference.settled
    assert not difference_interval(one, one, 100).settled
    whole = miou_interval(one, 500)
    assert difference.high - difference.low < 0.1 * (whole.high - whole.low)


def test_other_pictures_have_no_difference():
    matrix = np.array([[1, 0], [0, 1]])
    one, other = scored([matrix], ["x"]), scored([matrix], ["y"])
    assert comparable(one, other) == 0
    with pytest.raises(ValueError, match="same pictures"):
        difference_interval(one, other, 10)


def test_shorter_list_is_compared_with_the_start_of_the_longer():
    rng = np.random.default_rng(4)
    matrices = [rng.integers(1, 50, (2, 2)) for _ in range(9)]
    better = [m + 20 * np.eye(2, dtype=int) for m in matrices[:4]]
    difference = difference_interval(scored(better), scored(matrices), 200)
    assert comparable(scored(better), scored(matrices)) == 4
    assert difference == difference_interval(scored(better), scored(matrices[:4]), 200)
    assert difference.value == pytest.approx(scored(better).miou - scored(matrices[:4]).miou)
