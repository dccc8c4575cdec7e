"""Xception-41, -65 and -71 as modified for DeepLab (DeepLabv3+, arXiv:1802.02611, sec. 3.2 and fig. 4).

Compared with the original (arXiv:1610.02357) it is deeper, has strided separable convolutions instead of pooling, and a
batch norm after every depthwise convolution. The low-level features are the outputs of the second pointwise
convolution, before any ReLU, in the blocks that start at stride 4 and 8 and end at a larger one.
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
    """Three separable convolutions; the last one has the stride.

    Attributes:
        channels: output channels of the three convolutions.
        shortcut: "conv" adds a 1x1 convolution of the input, "sum" adds the input, "none" adds nothing.
        stride: nominal stride.
        relu_after: whether a ReLU follows each depthwise and each pointwise convolution, instead of one ReLU before
            each separable convolution.
    """

    channels: tuple[int, int, int]
    shortcut: Literal["conv", "sum", "none"]
    stride: int
    relu_after: bool = False


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
    Block((1536, 1536, 2048), "none", 1, relu_after=True),
)


@dataclass(frozen=True)
class Variant:
    """One size of the network.

    Attributes:
        blocks: the blocks in order.
        low: number of the block that outputs the low-level features at stride 4.
        middle: number of the block that outputs those at stride 8.
    """

    blocks: tuple[Block, ...]
    low: int
    middle: int


def xception(variant: Variant, image: keras.KerasTensor, config: ModelConfig, output_stride: int) -> Features:
    """Build the Xception `variant`; the other arguments are those of `Backbone`."""
    norm = Norm(config.batch_norm_momentum or 0.9997, 1e-3)
    init = keras.initializers.TruncatedNormal(stddev=INITIALIZER_STDDEV)
    conv = partial(conv_norm, norm=norm, initializer=init)
    depthwise = partial(depthwise_norm, norm=norm, initializer=init)
    stem, *plan = stride_plan([2, *(block.stride for block in variant.blocks)], output_stride)

    x, low_level = image, {}
    for number, (channels, planned) in enumerate(zip(STEM_CHANNELS, (stem, StrideRate()), strict=True)):
        x = conv(x, scaled(channels, config), 3, name=f"backbone_stem{number}", stride_rate=planned)
    for number, (block, planned) in enumerate(zip(variant.blocks, plan, strict=True)):
        filters = tuple(scaled(channels, config) for channels in block.channels)
        x, low_level[number] = _block(x, block, filters, planned, conv, depthwise, f"backbone_block{number}")
    return Features(high=x, low=low_level[variant.low], middle=low_level[variant.middle])


def _block(
    x: keras.KerasTensor,
    block: Block,
    filters: tuple[int, ...],
    stride_rate: StrideRate,
    conv: partial,
    depthwise: partial,
    name: str,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Build one block with the scaled channels `filters`; return its output and its second pointwise convolution."""
    shortcut, pointwise = x, []
    activation = "relu" if block.relu_after else None
    for number, channels in enumerate(filters):
        part = f"{name}_conv{number}"
        if not block.relu_after:
            x = layers.Activation("relu", name=f"{part}_relu")(x)
        last = number == len(filters) - 1
        planned = stride_rate if last else StrideRate(rate=stride_rate.rate)
        x = depthwise(x, name=f"{part}_depthwise", stride_rate=planned, activation=activation)
        x = conv(x, channels, 1, name=f"{part}_pointwise", activation=activation)
        pointwise.append(x)
    if block.shortcut == "conv":
        stride = StrideRate(stride_rate.stride)
        shortcut = conv(shortcut, x.shape[-1], 1, name=f"{name}_shortcut", stride_rate=stride, activation=None)
    if block.shortcut != "none":
        x = layers.Add(name=f"{name}_add")([shortcut, x])
    return x, pointwise[1]


VARIANTS: dict[str, Backbone] = {
    "xception41": partial(xception, Variant(ENTRY + 8 * MIDDLE + EXIT, low=1, middle=2)),
    "xception65": partial(xception, Variant(ENTRY + 16 * MIDDLE + EXIT, low=1, middle=2)),
    "xception71": partial(xception, Variant(ENTRY_71 + 16 * MIDDLE + EXIT, low=2, middle=4)),
}
