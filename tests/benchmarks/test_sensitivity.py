"""The layer that int8 ruins is found."""

import numpy as np
import tensorflow as tf

from benchmarks.sensitivity import sensitivities
from deeplab.conversion.convert import calibrate


def test_a_layer_whose_kernel_is_out_of_line_is_found():
    rng = np.random.default_rng(0)
    kernels = [rng.normal(0, 0.3, shape).astype(np.float32) for shape in ((3, 3, 3, 8), (1, 1, 8, 8), (1, 1, 8, 4))]
    # What the first layer never gives has weights in the second that leave one step of int8 to all others.
    kernels[0][..., 5] = 0.0
    kernels[1][:, :, 5] = 1000.0

    def network(image):
        x = tf.nn.relu(tf.nn.conv2d(image, kernels[0], 2, "SAME"))
        x = tf.nn.relu(tf.nn.conv2d(x, kernels[1], 1, "SAME"))
        return tf.nn.conv2d(x, kernels[2], 1, "SAME")

    pictures = [rng.integers(0, 256, (33, 33, 3), np.uint8) for _ in range(3)]
    pictures[0][0, 0], pictures[0][-1, -1] = 0, 255
    calibrated = calibrate(network, (33, 33), [p.astype(np.float32) for p in pictures])
    whole, found = sensitivities(calibrated, pictures[:2], tried=3)
    assert [entry.kind for entry in found] == ["CONV_2D"] * 3
    first, middle, last = (entry.remaining for entry in found)
    assert whole > 0.5
    assert first > 0.5
    assert middle < 0.1 * whole
    assert last > 0.5
