"""Fits the kernels of uint8 files into the integers -127..127 of a per-tensor int8 kernel.

A uint8 kernel has any zero point, so its largest values can lie more than 127 scales from zero; an int8 kernel has zero
point 0. All other values keep their integers. Larger scales instead would round every value of the kernel again, which
costs far more accuracy (docs/export.md).
"""

from collections.abc import Mapping

import keras
import numpy as np
from keras import layers

from deeplab.model.quantization.equalization import shrink_large_channels
from deeplab.model.quantization.rounding import KERNEL_LIMIT


def fit_kernels(model: keras.Model, scales: Mapping[str, float]) -> None:
    """Fit large kernel values into 127 times the scale of their kernel, as far as the function of the model allows.

    - A channel that passes no ReLU6 is scaled down, and up again in the next kernels, which is exact.
    - In a depthwise kernel, the excess moves to the neighboring taps. Its sum stays, and so does its output where
      neighboring values are equal.
    - Other values stay too large. They are clipped when they are rounded.

    Args:
        model: a float model with the weights of the file, batch norms folded. Changed in place.
        scales: the scale of each kernel, by the name of the convolution.
    """
    limits = {name: KERNEL_LIMIT * scale for name, scale in scales.items()}
    shrink_large_channels(model, limits)
    for name, limit in limits.items():
        conv = model.get_layer(name)
        if isinstance(conv, layers.DepthwiseConv2D):
            conv.kernel.assign(move_excess(np.asarray(conv.kernel), limit))


def move_excess(kernel: np.ndarray, limit: float) -> np.ndarray:
    """Return a depthwise kernel `[h, w, c, 1]` with the part of each value above `limit` moved to the other taps.

    Each tap gets a share proportional to exp(-d^2), with d its distance to the large value in taps.
    """
    excess = kernel - np.clip(kernel, -limit, limit)
    result = kernel - excess
    rows, columns = np.mgrid[: kernel.shape[0], : kernel.shape[1]]
    for row, column, channel, _ in zip(*np.nonzero(excess), strict=True):
        weights = np.exp(-np.square(rows - row) - np.square(columns - column))
        weights[row, column] = 0.0
        result[:, :, channel, 0] += excess[row, column, channel, 0] * weights / weights.sum()
    return result.astype(kernel.dtype)
