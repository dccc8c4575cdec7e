import numpy as np
import pytest
import tensorflow as tf

from deeplab.training.loss import cross_entropy, mining_share, weight_decay


def expected_cross_entropy(labels: np.ndarray, logits: np.ndarray) -> tuple[float, int]:
    """Return the sum and the number over the pixels that are not 255, computed one pixel at a time."""
    total, number = 0.0, 0
    for index in np.ndindex(labels.shape):
        if labels[index] != 255:
            row = logits[index].astype(np.float64)
            total += np.log(np.exp(row - row.max()).sum()) + row.max() - row[labels[index]]
            number += 1
    return total, number


@pytest.mark.parametrize("compiled", [False, True])
def test_cross_entropy_matches_numpy_with_ignored_pixels(compiled):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 5, (2, 7, 6)).astype("int32")
    labels[0, :3] = 255
    logits = rng.normal(0, 4, (2, 7, 6, 5)).astype("float32")
    function = tf.function(cross_entropy) if compiled else cross_entropy
    total, number = function(tf.constant(labels), tf.constant(logits))
    expected = expected_cross_entropy(labels, logits)
    assert float(number) == expected[1] == 2 * 7 * 6 - 3 * 6
    np.testing.assert_allclose(float(total), expected[0], rtol=1e-5)


def test_equal_logits_of_two_classes_have_loss_log_2():
    total, number = cross_entropy(tf.zeros((1, 2, 2), tf.int32), tf.zeros((1, 2, 2, 2)))
    np.testing.assert_allclose(float(total) / float(number), np.log(2), rtol=1e-6)


def test_image_with_only_ignored_pixels_has_loss_0():
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


def test_weight_decay_is_factor_times_half_the_sum_of_squares():
    assert float(weight_decay([np.array([3.0, 4.0]), np.array([[1.0]])], 0.1)) == pytest.approx(0.1 / 2 * 26)


def test_weight_decay_without_kernels_is_0():
    assert float(weight_decay([], 1.0)) == 0.0


LOGITS = np.array([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5], [-1.0, 3.0, 0.0], [1.0, 1.0, 4.0]])
IDS = np.array([0, 2, 1, 255])


def loss_and_number(**settings: object) -> tuple[float, float]:
    """Compute the loss of the four pixels above as an image of 2x2."""
    labels, logits = IDS.reshape(1, 2, 2).astype("int32"), LOGITS.reshape(1, 2, 2, 3).astype("float32")
    total, number = cross_entropy(tf.constant(labels), tf.constant(logits), **settings)
    return float(total), float(number)


def log_probabilities() -> np.ndarray:
    return LOGITS - np.log(np.exp(LOGITS).sum(1, keepdims=True))


def test_class_weights_scale_the_sum_but_not_the_number():
    losses = -log_probabilities()[[0, 1, 2], [0, 2, 1]]
    total, number = loss_and_number(class_weights=(0.5, 2.0, 0.0))
    assert total == pytest.approx(0.5 * losses[0] + 0.0 * losses[1] + 2.0 * losses[2], rel=1e-5)
    assert number == 3


def test_label_smoothing_is_cross_entropy_with_a_smoothed_label():
    target = 0.7 * np.eye(3)[IDS[:3]] + 0.3 / 3
    assert loss_and_number(label_smoothing=0.3) == (
        pytest.approx(-(target * log_probabilities()[:3]).sum(), rel=1e-5),
        3,
    )


@pytest.mark.parametrize(("share", "count"), [(1.0, 3), (0.75, 3), (0.74, 2), (0.5, 2), (0.25, 1), (0.2, 0)])
def test_mining_keeps_the_pixels_with_the_highest_loss(share, count):
    """The pixel with equal logits has loss log 3. The share is that of all four pixels, including the ignored one."""
    losses = sorted(-log_probabilities()[[0, 1, 2], [0, 2, 1]], reverse=True)
    assert losses[0] == pytest.approx(np.log(3))
    total, number = loss_and_number(kept=share)
    assert (total, number) == (pytest.approx(sum(losses[:count]), rel=1e-5), count)


def test_mining_share_decreases_from_1_to_the_setting():
    shares = [float(mining_share(step, 0.2, 100)) for step in (0, 25, 50, 100, 1000)]
    np.testing.assert_allclose(shares, [1.0, 0.8, 0.6, 0.2, 0.2], rtol=1e-6)
    assert float(mining_share(0, 0.2, 0)) == pytest.approx(0.2)
