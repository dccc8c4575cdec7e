"""What a backbone gives to the heads."""

from dataclasses import dataclass

import keras


@dataclass(frozen=True)
class Features:
    """Features of one image.

    Attributes:
        high: `[b, h, w, c]` at the output stride.
        low: `[b, h', w', c']` at stride 4, for the decoder.
    """

    high: keras.KerasTensor
    low: keras.KerasTensor
