"""Convolutions into which a batch norm or an input normalization was folded."""

import numpy as np


def bias_only_batch_norm(bias: np.ndarray, epsilon: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Return the weights of a batch norm that only adds `bias` `[c]` in inference.

    Args:
        bias: `[c]`.
        epsilon: epsilon of the layer. The variance is 1 - epsilon, so that the divisor is 1.

    Returns:
        gamma, beta, moving mean and moving variance, each `[c]` float32.
    """
    ones = np.ones_like(bias, np.float32)
    return ones, bias.astype(np.float32), 0 * ones, (ones - np.float32(epsilon)).astype(np.float32)


def fold_input_normalization(
    kernel: np.ndarray, bias: np.ndarray, scale: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Fold the normalization `scale * x + offset` into the convolution that follows it.

    The result is exact where the kernel lies within the image. At the border the convolution pads `x` with zeros
    instead of the normalized image; for the official uint8 files the difference is half a gray level.

    Args:
        kernel: `[h, w, 3, c]`.
        bias: `[c]`.
        scale: `[3]`, per color.
        offset: `[3]`, per color.

    Returns:
        Kernel and bias of a convolution on `x`, float32.
    """
    kernel = kernel.astype(np.float64)
    shift = np.tensordot(kernel, np.asarray(offset, np.float64), axes=([2], [0])).sum(axis=(0, 1))
    scaled = kernel * np.asarray(scale, np.float64)[:, None]
    return scaled.astype(np.float32), (bias + shift).astype(np.float32)
