"""The outputs of a backbone, and the scaling of its channels."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from deeplab.config import ModelConfig

BACKBONE_PREFIX = "backbone_"
"""Prefix of the names of all backbone layers."""


@dataclass(frozen=True)
class Features:
    """The outputs of a backbone. None has a larger stride than the output stride: at 4, `middle` has stride 4 too.

    Attributes:
        high: `[b, h, w, c]` at the output stride.
        low: `[b, h', w', c']` at stride 4, for the decoder of DeepLabv3+.
        middle: `[b, h'', w'', c'']` at stride 8, for LR-ASPP.
        auxiliary: output of the second-to-last stage of a ResNet, `[b, h, w, c]`, for the auxiliary head; None for
            other backbones.
    """

    high: keras.KerasTensor
    low: keras.KerasTensor
    middle: keras.KerasTensor
    auxiliary: keras.KerasTensor | None = None


Backbone = Callable[[keras.KerasTensor, ModelConfig, int], Features]
"""Maps a normalized image `[b, h, w, 3]`, the architecture and an output stride to features.

The image is in -1..1, or in 0..255 minus the mean if the backbone has another `pixels.mean_pixel`.

The features lie exactly on the strides of the image if its sides have 32k+1 pixels. Raises ValueError if the strides
of the backbone do not multiply to the output stride.
"""


def scaled(channels: int, config: ModelConfig) -> int:
    """Multiply `channels` by the depth multiplier; round to a multiple of 8 or to an integer as `config` requires."""
    return rounded(channels * config.depth_multiplier, 8 if config.round_channels else 1)


def rounded(channels: float, divisor: int) -> int:
    """Round `channels` to a multiple of `divisor` that is at least 90 % of it (MobileNet, arXiv:1704.04861, code)."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest
