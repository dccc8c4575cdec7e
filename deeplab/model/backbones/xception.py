"""Xception-41, -65 and -71 as modified for DeepLab (DeepLabv3+, arXiv:1802.02611, sec. 3.2 and fig. 4).

Against the original (arXiv:1610.02357) it is deeper, strides in separable convolutions instead of pooling, and has a
batch norm behind every depthwise convolution. Low-level features are the second pointwise convolution, before any ReLU,
of the blocks that still lie at stride 4 and 8.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import keras
from keras import layers

from deeplab.config import ModelConfig
from deeplab.model.atrous import Norm, StrideRate, conv_norm, depthwise_norm, stride_plan
from deeplab.model.backbones.features import Backbone, Features, scaled

STEM_CHANNELS = (32, 64)
INITIALIZER_STDDEV = 0.09


@dataclass(frozen=True)
class Block:
    """Three separable convolutions of these `channels`; the last of them strides.

    Attributes:
        channels: of the three.
        shortcut: a 1x1 convolution, the input itself, or none.
        stride: nominal.
        relu_behind: ReLU behind each half of a convolution; otherwise one before each convolution.
    """

    channels: tuple[int, int, int]
    shortcut: Literal["conv", "sum", "none"]
    stride: int
    relu_behind: bool = False


ENTRY = (
    Block((128, 128, 128), "conv", 2),
    Block((256, 256, 256), "conv", 2),
    Block((728, 728, 728), "conv", 2),
)
ENTRY_71 = (
    Block((128, 128, 128), "conv", 2),
    Block((256, 256, 256), "conv", 1),
    Block((256, 256, 256), "conv", 2),
    Block((728, 728, 728), "conv", 1),
    Block((728, 728, 728), "conv", 2),
)
MIDDLE = (Block((728, 728, 728), "sum", 1),)
EXIT = (
    Block((728, 1024, 1024), "conv", 2),
    Block((1536, 1536, 2048), "none", 1, relu_behind=True),
)


@dataclass(frozen=True)
class Variant:
    """The blocks in order, and which of them begin at stride 4 and 8 and end coarser."""

    blocks: tuple[Block, ...]
    low: int
    middle: int


def xception(variant: Variant, image: keras.KerasTensor, config: ModelConfig, output_stride: int) -> Features:
    """Features of a normalized image `[b, h, w, 3]` in -1..1; h and w are 32k+1 for exact strides.

    Raises:
        ValueError: an output stride that is none of 2, 4, 8, 16, 32.
    """
    norm = Norm(config.batch_norm_momentum or 0.9997, 1e-3)
    start = keras.initializers.TruncatedNormal(stddev=INITIALIZER_STDDEV)
    stem, *plan = stride_plan([2, *(block.stride for block in variant.blocks)], output_stride)

    for number, (channels, step) in enumerate(zip(STEM_CHANNELS, (stem, StrideRate(1, 1)), strict=True)):
        name = f"backbone_stem{number}"
        image = conv_norm(image, scaled(channels, config), 3, norm, name, stride_rate=step, initializer=start)
    x, taps = image, {}
    for number, (block, step) in enumerate(zip(variant.blocks, plan, strict=True)):
        x, taps[number] = _block(x, block, step, config, norm, start, f"backbone_block{number}")
    return Features(high=x, low=taps[variant.low], middle=taps[variant.middle])


def _block(
    x: keras.KerasTensor,
    block: Block,
    step: StrideRate,
    config: ModelConfig,
    norm: Norm,
    start: keras.initializers.Initializer,
    name: str,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """One block on `x` `[b, h, w, c]`; gives its output and what its second pointwise convolution gives."""
    entered, inner = x, []
    activation = "relu" if block.relu_behind else None
    for number, channels in enumerate(block.channels):
        conv = f"{name}_conv{number}"
        if not block.relu_behind:
            x = layers.Activation("relu", name=f"{conv}_relu")(x)
        move = StrideRate(step.stride if number == 2 else 1, step.rate)
        x = depthwise_norm(x, norm, f"{conv}_depthwise", stride_rate=move, activation=activation, initializer=start)
        wide = scaled(channels, config)
        x = conv_norm(x, wide, 1, norm, f"{conv}_pointwise", activation=activation, initializer=start)
        inner.append(x)
    if block.shortcut == "conv":
        move = StrideRate(step.stride, 1)
        entered = conv_norm(
            entered, x.shape[-1], 1, norm, f"{name}_shortcut", stride_rate=move, activation=None, initializer=start
        )
    if block.shortcut != "none":
        x = layers.Add(name=f"{name}_add")([entered, x])
    return x, inner[1]


VARIANTS: dict[str, Backbone] = {
    "xception41": partial(xception, Variant(ENTRY + 8 * MIDDLE + EXIT, low=1, middle=2)),
    "xception65": partial(xception, Variant(ENTRY + 16 * MIDDLE + EXIT, low=1, middle=2)),
    "xception71": partial(xception, Variant(ENTRY_71 + 16 * MIDDLE + EXIT, low=2, middle=4)),
}
