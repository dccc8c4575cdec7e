"""Xception-41, -65 and -71 as modified for DeepLab (DeepLabv3+, arXiv:1802.02611, sec. 3.2 and fig. 4).

Compared with the original (arXiv:1610.02357) it is deeper, has strided separable convolutions instead of pooling, and a
batch norm after every depthwise convolution. The low-level features are the outputs of the second pointwise
convolution, before any ReLU, in the blocks that start at stride 4 and 8 and end at a larger one.
"""

from dataclasses import dataclass
from functools import partial
from typing import Literal

import keras
from keras import KerasTensor, layers

from deeplab.config import ModelConfig
from deeplab.model.atrous import Norm, StrideRate, conv_norm, stride_plan
from deeplab.model.backbones.features import Backbone, Features, scaled


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
EXIT = (Block((728, 1024, 1024), "conv", 2), Block((1536, 1536, 2048), "none", 1, relu_after=True))


def xception(
    blocks: tuple[Block, ...], image: KerasTensor, config: ModelConfig, output_stride: int, *, low: int, middle: int
) -> Features:
    """Build an Xception; `low` and `middle` are the numbers of the blocks that output the features at stride 4 and 8.

    The other arguments are those of `Backbone`.
    """
    init = keras.initializers.TruncatedNormal(stddev=0.09)
    conv = partial(conv_norm, norm=Norm(config.batch_norm_momentum or 0.9997, 1e-3), initializer=init)
    depthwise = partial(conv, filters=None, kernel_size=3)
    stem, *plan = stride_plan([2, *(block.stride for block in blocks)], output_stride)

    x = conv(image, scaled(32, config), 3, name="backbone_stem0", stride_rate=stem)
    x = conv(x, scaled(64, config), 3, name="backbone_stem1")
    low_level = {}
    for number, (block, planned) in enumerate(zip(blocks, plan, strict=True)):
        name, shortcut = f"backbone_block{number}", x
        activation = "relu" if block.relu_after else None
        # The last convolution has the stride of the block.
        rate = StrideRate(rate=planned.rate)
        for index, (channels, stride_rate) in enumerate(zip(block.channels, (rate, rate, planned), strict=True)):
            part = f"{name}_conv{index}"
            if not block.relu_after:
                x = layers.Activation("relu", name=f"{part}_relu")(x)
            x = depthwise(x, name=f"{part}_depthwise", stride_rate=stride_rate, activation=activation)
            x = conv(x, scaled(channels, config), 1, name=f"{part}_pointwise", activation=activation)
            if index == 1:
                low_level[number] = x
        if block.shortcut == "conv":
            stride = StrideRate(planned.stride)
            shortcut = conv(shortcut, x.shape[-1], 1, name=f"{name}_shortcut", stride_rate=stride, activation=None)
        if block.shortcut != "none":
            x = layers.Add(name=f"{name}_add")([shortcut, x])
    return Features(high=x, low=low_level[low], middle=low_level[middle])


VARIANTS: dict[str, Backbone] = {
    "xception41": partial(xception, ENTRY + 8 * MIDDLE + EXIT, low=1, middle=2),
    "xception65": partial(xception, ENTRY + 16 * MIDDLE + EXIT, low=1, middle=2),
    "xception71": partial(xception, ENTRY_71 + 16 * MIDDLE + EXIT, low=2, middle=4),
}
