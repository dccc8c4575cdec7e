"""Fake quantization: rounds values as an int8 .tflite file does, with gradients that ignore the rounding.

The scheme is that of Jacob et al., arXiv:1712.05877, sec. 3.1, and of the int8 specification of TFLite: an activation
has one scale and one zero point per tensor; a kernel is symmetric in -127..127 and has one scale per output channel, or
one for the tensor. On TensorFlow these functions use its fake-quant operators, which the .tflite converter recognizes.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

MINIMUM_SCALE = 1e-12
"""Replaces a scale of zero, which a constant tensor would have."""
INTERVALS = 255
"""Number of scales between the lowest and the highest value of an activation."""
KERNEL_LIMIT = 127
"""Largest integer of a kernel."""
MINIMUM_CHANNEL_SHARE = 2.0**-13
"""Lower limit for the largest value of a kernel channel, as a share of the largest value of the kernel.

A channel of zeros would have scale 0; with a very small scale, its bias would not fit into 32 bits.
"""
TIE_BREAKER = 1.0 + 2.0**-18
"""Factor on the scales of kernels.

Many values of kernels imported from a quantized file lie halfway between two integers, where the last bit of a float
would decide. The factor moves them off the tie, so that they are rounded equally wherever batch norm is folded.
"""


def fake_quantize(x: Any, low: Any, high: Any) -> Any:
    """Round `x` to the nearest of 256 values from `low` to `high`, one of which is zero.

    The range is shifted by less than half a scale so that zero is exact. Gradients reach `x` inside the range, `low`
    below it and `high` above it.

    Args:
        x: float32 of any shape.
        low: scalar, at most 0.
        high: scalar, at least 0 and above `low`.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.quantization.fake_quant_with_min_max_vars(x, low, high, num_bits=8)
    return fake_quantize_keras(x, low, high)


def fake_quantize_keras(x: Any, low: Any, high: Any) -> Any:
    """Compute `fake_quantize` with keras.ops alone."""
    scale = (high - low) / INTERVALS
    # Halves are rounded up, here and below, as in TensorFlow's operator; ops.round would round to the even integer.
    shift = ops.stop_gradient(-ops.clip(ops.floor(0.5 - low / scale), 0, INTERVALS) * scale - low)
    clipped = ops.maximum(ops.minimum(x, high + shift), low + shift)
    rounded = ops.floor((clipped - low - shift) / scale + 0.5) * scale + low + shift
    return clipped + ops.stop_gradient(rounded - clipped)


def kernel_scales(kernel: Any, per_tensor: bool = False) -> Any:
    """Return the scale `[c]` of each output channel of a kernel `[..., c]`, all equal if `per_tensor`; no gradients."""
    largest = ops.max(ops.abs(kernel), axis=tuple(range(len(kernel.shape) - 1)))
    if per_tensor:
        largest = ops.broadcast_to(ops.max(largest), ops.shape(largest))
    largest = ops.maximum(ops.maximum(largest, MINIMUM_CHANNEL_SHARE * ops.max(largest)), MINIMUM_SCALE)
    return ops.stop_gradient(largest * (TIE_BREAKER / KERNEL_LIMIT))


def fake_quantize_kernel(kernel: Any, scales: Any, per_tensor: bool = False) -> Any:
    """Round a kernel `[..., c]` to multiples of `scales` `[c]` from `kernel_scales`, at most 127 of them.

    Gradients pass up to this limit. If `per_tensor`, the converter is informed of a single scale, and all are equal.
    """
    rounded = round_to_scale(kernel, scales)
    if keras.backend.backend() != "tensorflow":
        return ops.clip(rounded, -KERNEL_LIMIT * scales, KERNEL_LIMIT * scales)
    import tensorflow as tf

    # The operator only informs the converter. It receives rounded values, because its own rounding is less exact, and
    # a slightly larger range, because it blocks the gradients of values at the limits.
    limit = scales * (KERNEL_LIMIT * (1.0 + 2.0**-20))
    if per_tensor:
        return tf.quantization.fake_quant_with_min_max_vars(rounded, -limit[0], limit[0], num_bits=8, narrow_range=True)
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(
        rounded, -limit, limit, num_bits=8, narrow_range=True
    )


def round_to_scale(x: Any, scale: Any) -> Any:
    """Round `x` to the nearest multiple of `scale`, halves up. Gradients pass to `x` everywhere."""
    return x + ops.stop_gradient(ops.floor(x / scale + 0.5) * scale - x)


def round_twice(x: Any, sum_scales: Any, output_scale: Any) -> Any:
    """Change sums so that `fake_quantize` rounds them as the builtin kernels of TFLite do.

    The builtin kernels multiply a sum by a factor between 1/2 and 1, round, divide by a power of two and round again,
    both times halves up. If `output_scale` is only a few times `sum_scales`, about 1 % of the values come out one
    integer higher than after a single rounding, which XNNPACK does.

    Args:
        x: sums `[..., c]` of a convolution, including the bias.
        sum_scales: scales `[c]` of the integer sums: the scale of the input times those of the kernel.
        output_scale: scalar, the scale of the output.
    """
    shift = ops.maximum(-ops.floor(ops.log2(sum_scales / output_scale)) - 1.0, 0.0)
    fine_scale = output_scale * 2.0**-shift
    rounded = ops.floor(ops.floor(x / sum_scales + 0.5) * (sum_scales / fine_scale) + 0.5)
    # The quarter makes the second rounding, in `fake_quantize`, round halves up whatever the last bit of a float is.
    return x + ops.stop_gradient((rounded + 0.25) * fine_scale - x)


def int8_parameters(low: float, high: float) -> tuple[float, int]:
    """Return (scale, zero point) of an int8 tensor from `low` to `high`, shifted as by `fake_quantize`."""
    scale = (np.float64(high) - np.float64(low)) / INTERVALS
    return float(scale), int(np.clip(np.floor(0.5 - low / scale), 0, INTERVALS)) - 128
