"""MobileNetV2 (arXiv:1801.04381, table 2) with atrous convolution.

Features are the last block's 320 linear channels, not the 1280 convolution behind them, as the official DeepLab takes
them. Low-level features are the expanded channels of the second block at stride 4, after its depthwise convolution;
those at stride 8 likewise are of the third block there.
"""

import keras

from deeplab.config import ModelConfig
from deeplab.model.atrous import Norm, conv_norm, depthwise_norm, stride_plan
from deeplab.model.backbones.features import Backbone, Features, scaled

STEM_CHANNELS = 32
ROWS = (  # expansion t, channels c, repeats n, stride s of the first: the letters of the paper's table
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
INITIALIZER_STDDEV = 0.09


def mobilenet_v2(image: keras.KerasTensor, config: ModelConfig, output_stride: int) -> Features:
    """Features of a normalized image `[b, h, w, 3]` in -1..1; h and w are 32k+1 for exact strides.

    Raises:
        ValueError: an output stride that is none of 2, 4, 8, 16, 32.
    """
    norm = Norm(config.batch_norm_momentum or 0.997, 1e-3)
    start = keras.initializers.TruncatedNormal(stddev=INITIALIZER_STDDEV)
    stem, *plan = stride_plan([2, *(stride for _, _, stride in BLOCKS)], output_stride)
    stem_channels = scaled(STEM_CHANNELS, config)

    x = conv_norm(image, stem_channels, 3, norm, "backbone_stem", stride_rate=stem, activation="relu6", initializer=start)
    taps = {}
    for number, ((expansion, channels, stride), step) in enumerate(zip(BLOCKS, plan, strict=True)):
        name, shortcut = f"backbone_block{number}", x
        if expansion > 1:
            wide = expansion * x.shape[-1]
            x = conv_norm(x, wide, 1, norm, f"{name}_expand", activation="relu6", initializer=start)
        x = depthwise_norm(x, norm, f"{name}_depthwise", stride_rate=step, activation="relu6", initializer=start)
        taps[number] = x
        x = conv_norm(x, scaled(channels, config), 1, norm, f"{name}_project", activation=None, initializer=start)
        # The nominal stride decides, not the plan's: a block has its shortcut at every output stride or at none.
        if stride == 1 and shortcut.shape[-1] == x.shape[-1]:
            x = keras.layers.Add(name=f"{name}_add")([shortcut, x])
    return Features(high=x, low=taps[LOW_BLOCK], middle=taps[MIDDLE_BLOCK])


VARIANTS: dict[str, Backbone] = {"mobilenet_v2": mobilenet_v2}
