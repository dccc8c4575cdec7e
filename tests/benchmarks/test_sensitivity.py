"""The layer that int8 damages most is found."""

import numpy as np
import tensorflow as tf

from benchmarks.sensitivity import sensitivities
from deeplab.conversion.convert import calibrate


def test_a_layer_with_an_outlier_in_its_kernel_is_found():
    rng = np.random.default_rng(0)
    kernels = [rng.normal(0, 0.3, shape).astype(np.float32) for shape in ((3, 3, 3, 8), (1, 1, 8, 8), (1, 1, 8, 4))]
    # A channel that is always zero has weights of 1000 in the second layer: int8 rounds all other weights to zero.
    kernels[0][..., 5] = 0.0
    kernels[1][:, :, 5] = 1000.0

    def network(image):
        x = tf.nn.relu(tf.nn.conv2d(image, kernels[0], 2, "SAME"))
        x = tf.nn.relu(tf.nn.conv2d(x, kernels[1], 1, "SAME"))
        return tf.nn.conv2d(x, kernels[2], 1, "SAME")

    images = [rng.integers(0, 256, (33, 33, 3), np.uint8) for _ in range(3)]
    images[0][0, 0], images[0][-1, -1] = 0, 255
    calibrated = calibrate(network, (33, 33), [image.astype(np.float32) for image in images])
    score_error, operators = sensitivities(calibrated, images[:2], measured=3)
    assert [entry.operator for entry in operators] == ["CONV_2D"] * 3
    first, middle, last = (entry.score_error for entry in operators)
    assert score_error > 0.5
    assert first > 0.5
    assert middle < 0.1 * score_error
    assert last > 0.5
