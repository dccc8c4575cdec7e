"""Batch norm and input normalization that were folded into a convolution."""

import numpy as np


def affine_norm(bias: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A batch norm that, in inference, only adds `bias` `[c]`.

    Returns:
        gamma, beta, moving mean and moving variance, each `[c]` float32, for a layer with this `epsilon`: the variance
        is 1 - epsilon, so that the divisor is 1.
    """
    ones = np.ones_like(bias, np.float32)
    return ones, bias.astype(np.float32), 0 * ones, (ones - np.float32(epsilon)).astype(np.float32)


def absorb_input(
    kernel: np.ndarray, bias: np.ndarray, scale: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The first convolution of a network that wants `scale * x + offset`, as one that takes `x`.

    Exact wherever the kernel lies within the picture. Where it reaches over the border it meets zeros, which stand for
    `-offset / scale` in the other normalization: for the official uint8 files half a gray level.

    Args:
        kernel: `[h, w, 3, c]`.
        bias: `[c]`.
        scale: `[3]`, for each color.
        offset: `[3]`.

    Returns:
        kernel and bias, float32.
    """
    wide = kernel.astype(np.float64)
    shift = np.tensordot(wide, np.asarray(offset, np.float64), axes=([2], [0])).sum(axis=(0, 1))
    scaled = wide * np.asarray(scale, np.float64)[:, None]
    return scaled.astype(np.float32), (bias + shift).astype(np.float32)
