"""MobileNetV3's piecewise linear activations (arXiv:1905.02244, sec. 5.2).

Written as the paper writes them: the .tflite converter knows `x * relu6(x + 3) / 6` as one HARD_SWISH, and not Keras'
own hard_silu, whose gate is clipped `x / 6 + 0.5`.
"""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="deeplab")
def hard_sigmoid(x: Any) -> Any:
    """A gate 0..1: `relu6(x + 3) / 6`, any shape."""
    return ops.relu6(x + 3.0) * (1.0 / 6.0)


@keras.saving.register_keras_serializable(package="deeplab")
def hard_swish(x: Any) -> Any:
    """`x * relu6(x + 3) / 6`, any shape."""
    return x * ops.relu6(x + 3.0) * (1.0 / 6.0)


ACTIVATIONS: dict[str, Callable[[Any], Any]] = {"hard_swish": hard_swish}
"""By the names that layers take."""
