"""MobileNetV2 (arXiv:1801.04381, table 2) with atrous convolution.

As in the official DeepLab, the output is the last block with its 320 linear channels, without the convolution to 1280
channels after it. The low-level features at stride 4 are the expanded channels of the second block at that stride,
after its depthwise convolution; those at stride 8 are the expanded channels of the third block at stride 8.
"""

from functools import partial

import keras

from deeplab.config import ModelConfig
from deeplab.model.atrous import Norm, conv_norm, stride_plan
from deeplab.model.backbones.features import Backbone, Features, scaled

STEM_CHANNELS = 32
ROWS = (  # expansion t, channels c, repeats n, stride s of the first block, as in the paper's table
    (1, 16, 1, 1),
    (6, 24, 2, 2),
    (6, 32, 3, 2),
    (6, 64, 4, 2),
    (6, 96, 3, 1),
    (6, 160, 3, 2),
    (6, 320, 1, 1),
)
BLOCKS = tuple((t, c, s if i == 0 else 1) for t, c, n, s in ROWS for i in range(n))
LOW_BLOCK, MIDDLE_BLOCK = 2, 5


def mobilenet_v2(image: keras.KerasTensor, config: ModelConfig, output_stride: int) -> Features:
    """Build MobileNetV2; arguments as in `Backbone`."""
    norm = Norm(config.batch_norm_momentum or 0.997, 1e-3)
    init = keras.initializers.TruncatedNormal(stddev=0.09)
    conv = partial(conv_norm, norm=norm, initializer=init)
    depthwise = partial(conv, filters=None)
    stem, *plan = stride_plan([2, *(stride for _, _, stride in BLOCKS)], output_stride)

    x = conv(image, scaled(STEM_CHANNELS, config), 3, name="backbone_stem", stride_rate=stem, activation="relu6")
    expanded, pruned = {}, iter(config.expanded_channels or ())
    for number, ((expansion, channels, stride), planned) in enumerate(zip(BLOCKS, plan, strict=True)):
        name, shortcut = f"backbone_block{number}", x
        if expansion > 1:
            x = conv(x, next(pruned, expansion * x.shape[-1]), 1, name=f"{name}_expand", activation="relu6")
        x = depthwise(x, kernel_size=3, name=f"{name}_depthwise", stride_rate=planned, activation="relu6")
        expanded[number] = x
        x = conv(x, scaled(channels, config), 1, name=f"{name}_project", activation=None)
        # The nominal stride decides, so that a block has a shortcut at every output stride or at none.
        if stride == 1 and shortcut.shape[-1] == x.shape[-1]:
            x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return Features(high=x, low=expanded[LOW_BLOCK], middle=expanded[MIDDLE_BLOCK])


VARIANTS: dict[str, Backbone] = {"mobilenet_v2": mobilenet_v2}
