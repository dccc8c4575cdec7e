"""The piecewise linear activations of MobileNetV3 (arXiv:1905.02244, sec. 5.2).

They are written as in the paper, because the .tflite converter turns `x * relu6(x + 3) / 6` into one HARD_SWISH
operator, but not `keras.activations.hard_silu`, which clips `x / 6 + 0.5`.
"""

from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="deeplab")
def hard_sigmoid(x: Any) -> Any:
    """Return the gate `relu6(x + 3) / 6` in 0..1 for `x` of any shape."""
    return ops.relu6(x + 3.0) * (1.0 / 6.0)


@keras.saving.register_keras_serializable(package="deeplab")
def hard_swish(x: Any) -> Any:
    """Return `x * relu6(x + 3) / 6` for `x` of any shape."""
    return x * ops.relu6(x + 3.0) * (1.0 / 6.0)
