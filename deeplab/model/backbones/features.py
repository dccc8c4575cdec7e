"""What a backbone gives to the heads, and how it scales its channels."""

from collections.abc import Callable
from dataclasses import dataclass

import keras

from deeplab.config import ModelConfig

BACKBONE_PREFIX = "backbone_"
"""Prefix of the names of all backbone layers."""


@dataclass(frozen=True)
class Features:
    """Features of one image; none lies on a coarser grid than the output stride's.

    Attributes:
        high: `[b, h, w, c]` at the output stride.
        low: `[b, h', w', c']` at stride 4, for the decoder of DeepLabv3+.
        middle: `[b, h'', w'', c'']` at stride 8, for LR-ASPP.
    """

    high: keras.KerasTensor
    low: keras.KerasTensor
    middle: keras.KerasTensor


Backbone = Callable[[keras.KerasTensor, ModelConfig, int], Features]
"""Maps a normalized image `[b, h, w, 3]`, the configuration and an output stride to features."""


def scaled(channels: int, config: ModelConfig) -> int:
    """`channels` times the depth multiplier, rounded to a multiple of 8 or to a whole number as `config` says."""
    return rounded(channels * config.depth_multiplier, 8 if config.round_channels else 1)


def rounded(channels: float, divisor: int) -> int:
    """`channels` as a multiple of `divisor` that loses at most a tenth of them (arXiv:1704.04861's code)."""
    nearest = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return nearest + divisor if nearest < 0.9 * channels else nearest
