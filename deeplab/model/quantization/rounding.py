"""Values brought onto the grid of an 8 bit .tflite file, with gradients that look through the rounding.

Jacob et al., arXiv:1712.05877, sec. 3.1; the int8 specification of TFLite: activations have one scale and one zero
point for a tensor, kernels a scale for each output channel and none, symmetric over -127..127. On TensorFlow these are
its own fake-quant operators, which the .tflite converter takes for what they say.
"""

from typing import Any

import keras
import numpy as np
from keras import ops

LEAST = 1e-12
"""In place of a step of zero, where there is nothing to tell apart."""
STEPS = 255
"""From the lowest to the highest value of an activation."""
KERNEL_STEPS = 127
"""From zero to the largest value of a kernel."""
LEAST_SHARE = 2.0**-13
"""Of a kernel's largest value, the least that counts as the largest of one of its channels.

A channel without weights would have scale 0; with next to none, its bias would not fit into 32 bits at that scale.
"""


NO_HALVES = 1.0 + 2.0**-18
"""Factor on the steps of kernels.

Kernels imported from a quantized file are full of values half way between two steps, which the last bit of a float
would send to either. A little aside they are rounded alike wherever they are folded.
"""


def fake_quantize(x: Any, low: Any, high: Any) -> Any:
    """`x` of any shape on the nearest of 256 values between `low` and `high`, one of which is zero.

    The range is moved by less than half a step so that zero is exact. Gradients pass where `x` lies within it, and go
    to `low` or `high` where it lies below or above.

    Args:
        x: float32.
        low: scalar, at most 0.
        high: scalar, at least 0 and above `low`.
    """
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.quantization.fake_quant_with_min_max_vars(x, low, high, num_bits=8)
    return fake_quantize_plainly(x, low, high)


def fake_quantize_plainly(x: Any, low: Any, high: Any) -> Any:
    """`fake_quantize` in keras.ops alone."""
    step = (high - low) / STEPS
    # Half a step goes up, here and below, as in TensorFlow's operator; ops.round would take the even one.
    moved = ops.stop_gradient(-ops.clip(ops.floor(0.5 - low / step), 0, STEPS) * step - low)
    clipped = ops.maximum(ops.minimum(x, high + moved), low + moved)
    rounded = ops.floor((clipped - low - moved) / step + 0.5) * step + low + moved
    return clipped + ops.stop_gradient(rounded - clipped)


def kernel_steps(kernel: Any) -> Any:
    """The step `[c]` between two of the values that each channel of a kernel `[..., c]` can have; no gradients."""
    size = ops.max(ops.abs(kernel), axis=tuple(range(len(kernel.shape) - 1)))
    size = ops.maximum(ops.maximum(size, LEAST_SHARE * ops.max(size)), LEAST)
    return ops.stop_gradient(size * (NO_HALVES / KERNEL_STEPS))


def fake_quantize_kernel(kernel: Any, steps: Any) -> Any:
    """`kernel` `[..., c]` on -127..127 times `steps` `[c]`, those of `kernel_steps`. Gradients pass everywhere."""
    rounded = on_steps(kernel, steps)
    if keras.backend.backend() != "tensorflow":
        return rounded
    import tensorflow as tf

    # The operator is for the converter. It is given values that are rounded already, for it is less exact than that;
    # and room at the ends, where it would stop gradients.
    room = steps * (KERNEL_STEPS * (1.0 + 2.0**-20))
    return tf.quantization.fake_quant_with_min_max_vars_per_channel(rounded, -room, room, num_bits=8, narrow_range=True)


def on_steps(x: Any, steps: Any) -> Any:
    """`x` as the nearest multiple of `steps`, halves upwards. Gradients pass to `x` everywhere."""
    return x + ops.stop_gradient(ops.floor(x / steps + 0.5) * steps - x)


def round_twice(x: Any, steps: Any, step: Any) -> Any:
    """Sums as they leave the builtin kernels of TFLite, so that `fake_quantize` gives the step that those give.

    These kernels multiply a sum by a factor between 1/2 and 1, round it, and shift the rest of the scale out, rounding
    again; both times halves go up. Where one step of the result holds few steps of the sum, a hundredth of the values
    comes out a step higher than by rounding once, which is what XNNPACK does.

    Args:
        x: sums `[..., c]`, their bias included.
        steps: what a sum counts in, `[c]`: the step of the input times those of the kernel.
        step: of the result, scalar.
    """
    shift = ops.maximum(-ops.floor(ops.log2(steps / step)) - 1.0, 0.0)
    fine = step * 2.0**-shift
    twice = ops.floor(ops.floor(x / steps + 0.5) * (steps / fine) + 0.5)
    # A little above, so that the second rounding sends halves up whatever the last bit of a float says.
    return x + ops.stop_gradient((twice + 0.25) * fine - x)


def int8_grid(low: float, high: float) -> tuple[float, int]:
    """(scale, zero point) of an int8 tensor from `low` to `high`, as `fake_quantize` moves the range."""
    scale = (np.float64(high) - np.float64(low)) / STEPS
    return float(scale), int(np.clip(np.floor(0.5 - low / scale), 0, STEPS)) - 128
