"""What was folded comes back as the same affine map."""

import keras
import numpy as np
import pytest

from deeplab.pretrained.folding import absorb_input, affine_norm


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
def test_a_norm_made_of_a_bias_only_adds_it(epsilon):
    bias = np.random.default_rng(0).normal(0, 3, 64).astype("float32")
    layer = keras.layers.BatchNormalization(epsilon=epsilon)
    layer.build((None, 4, 4, 64))
    layer.set_weights(affine_norm(bias, epsilon))
    x = np.random.default_rng(1).normal(0, 5, (2, 4, 4, 64)).astype("float32")
    np.testing.assert_allclose(np.asarray(layer(x, training=False)), x + bias, rtol=3e-7, atol=3e-6)


def test_another_input_normalization_goes_into_the_kernel():
    # The file wants (u - 128) / 128 of a byte u, ours gives it u / 127.5 - 1: with a 1x1 kernel there is no border.
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(1, 1, 3, 5)), rng.normal(size=5)
    u = np.arange(0, 255, 7, dtype=np.float64)[:, None] * np.ones(3)
    wanted = (u - 128) / 128 @ kernel[0, 0] + bias
    scale, offset = np.full(3, 127.5 / 128), np.full(3, -0.5 / 128)
    folded, shifted = absorb_input(kernel, bias, scale, offset)
    np.testing.assert_allclose((u / 127.5 - 1) @ folded[0, 0] + shifted, wanted, atol=1e-6)


def test_each_color_has_its_own_scale_and_every_tap_its_offset():
    kernel, bias = np.ones((3, 3, 3, 1)), np.zeros(1)
    folded, shifted = absorb_input(kernel, bias, np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.0, -0.3]))
    np.testing.assert_allclose(folded[1, 2, :, 0], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(shifted, [9 * (0.1 - 0.3)], rtol=1e-6)
