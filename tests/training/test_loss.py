import numpy as np
import pytest
import tensorflow as tf

from deeplab.training.loss import cross_entropy, weight_decay


def by_hand(labels: np.ndarray, logits: np.ndarray) -> tuple[float, int]:
    """Sum and number over the pixels that are not 255, one at a time."""
    total, number = 0.0, 0
    for index in np.ndindex(labels.shape):
        if labels[index] != 255:
            row = logits[index].astype(np.float64)
            total += np.log(np.exp(row - row.max()).sum()) + row.max() - row[labels[index]]
            number += 1
    return total, number


@pytest.mark.parametrize("compiled", [False, True])
def test_cross_entropy_equals_numpy_with_ignored_pixels(compiled):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (2, 7, 6)).astype("int32")
    labels[0, :3] = 255
    logits = rng.normal(0, 4, (2, 7, 6, 5)).astype("float32")
    function = tf.function(cross_entropy) if compiled else cross_entropy
    total, number = function(tf.constant(labels), tf.constant(logits))
    expected = by_hand(labels, logits)
    assert float(number) == expected[1] == 2 * 7 * 6 - 3 * 6
    np.testing.assert_allclose(float(total), expected[0], rtol=1e-5)


def test_two_classes_that_are_equally_likely_cost_log_two():
    total, number = cross_entropy(tf.zeros((1, 2, 2), tf.int32), tf.zeros((1, 2, 2, 2)))
    np.testing.assert_allclose(float(total) / float(number), np.log(2), rtol=1e-6)


def test_a_picture_of_nothing_but_ignore_costs_nothing():
    total, number = cross_entropy(tf.fill((1, 4, 4), 255), tf.random.normal((1, 4, 4, 3)))
    assert (float(total), float(number)) == (0.0, 0.0)


def test_ignored_pixels_have_no_gradient():
    labels = tf.constant([[[0, 255]]])
    logits = tf.Variable(tf.ones((1, 1, 2, 3)))
    with tf.GradientTape() as tape:
        total, _ = cross_entropy(labels, logits)
    gradient = tape.gradient(total, logits).numpy()
    assert not gradient[0, 0, 1].any()
    np.testing.assert_allclose(gradient[0, 0, 0], [1 / 3 - 1, 1 / 3, 1 / 3], rtol=1e-5)


def test_weight_decay_is_half_the_sum_of_squares():
    assert float(weight_decay([np.array([3.0, 4.0]), np.array([[1.0]])], 0.1)) == pytest.approx(0.1 / 2 * 26)


def test_no_kernels_no_decay():
    assert float(weight_decay([], 1.0)) == 0.0
