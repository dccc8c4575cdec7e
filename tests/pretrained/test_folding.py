"""Folded batch norms and input normalizations compute the same affine function as the originals."""

import keras
import numpy as np
import pytest

from deeplab.pretrained.folding import bias_only_batch_norm, fold_input_normalization


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
def test_bias_only_batch_norm_only_adds_the_bias(epsilon):
    bias = np.random.default_rng(0).normal(0, 3, 64).astype("float32")
    layer = keras.layers.BatchNormalization(epsilon=epsilon)
    layer.build((None, 4, 4, 64))
    layer.set_weights(bias_only_batch_norm(bias, epsilon))
    x = np.random.default_rng(1).normal(0, 5, (2, 4, 4, 64)).astype("float32")
    np.testing.assert_allclose(np.asarray(layer(x, training=False)), x + bias, rtol=3e-7, atol=3e-6)


def test_input_normalization_is_folded_into_the_kernel():
    # The file normalizes a byte u to (u - 128) / 128, our model to u / 127.5 - 1. A 1x1 kernel has no border.
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(1, 1, 3, 5)), rng.normal(size=5)
    u = np.arange(0, 255, 7, dtype=np.float64)[:, None] * np.ones(3)
    expected = (u - 128) / 128 @ kernel[0, 0] + bias
    scale, offset = np.full(3, 127.5 / 128), np.full(3, -0.5 / 128)
    folded_kernel, folded_bias = fold_input_normalization(kernel, bias, scale, offset)
    np.testing.assert_allclose((u / 127.5 - 1) @ folded_kernel[0, 0] + folded_bias, expected, atol=1e-6)


def test_scale_is_per_color_and_the_offset_applies_to_every_kernel_element():
    kernel, bias = np.ones((3, 3, 3, 1)), np.zeros(1)
    folded_kernel, folded_bias = fold_input_normalization(
        kernel, bias, np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.0, -0.3])
    )
    np.testing.assert_allclose(folded_kernel[1, 2, :, 0], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(folded_bias, [9 * (0.1 - 0.3)], rtol=1e-6)
