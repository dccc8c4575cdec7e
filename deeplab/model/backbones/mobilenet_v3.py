"""MobileNetV3 Large and Small (arXiv:1905.02244, tables 1 and 2) with atrous convolution.

Features are the last 1x1 convolution's, before the classifier; low-level features are what the depthwise convolutions
give at strides 4 and 8, as the official DeepLab takes them. `ModelConfig.reduced_tail` halves the last block.
"""

from dataclasses import dataclass
from functools import partial

import keras
from keras import layers

from deeplab.config import ModelConfig
from deeplab.model.activations import hard_sigmoid
from deeplab.model.atrous import Norm, conv_norm, depthwise_norm, clone_initializer, rate_after, stride_plan
from deeplab.model.backbones.features import Backbone, Features, rounded, scaled

STEM_CHANNELS = 16
INITIALIZER_STDDEV = 0.09
LARGE = (  # kernel, expanded channels, channels, squeeze-and-excite, non-linearity, stride: the paper's table 1
    (3, 16, 16, False, "relu", 1),
    (3, 64, 24, False, "relu", 2),
    (3, 72, 24, False, "relu", 1),
    (5, 72, 40, True, "relu", 2),
    (5, 120, 40, True, "relu", 1),
    (5, 120, 40, True, "relu", 1),
    (3, 240, 80, False, "hard_swish", 2),
    (3, 200, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 184, 80, False, "hard_swish", 1),
    (3, 480, 112, True, "hard_swish", 1),
    (3, 672, 112, True, "hard_swish", 1),
    (5, 672, 160, True, "hard_swish", 2),
    (5, 960, 160, True, "hard_swish", 1),
    (5, 960, 160, True, "hard_swish", 1),
)
SMALL = (  # table 2
    (3, 16, 16, True, "relu", 2),
    (3, 72, 24, False, "relu", 2),
    (3, 88, 24, False, "relu", 1),
    (5, 96, 40, True, "hard_swish", 2),
    (5, 240, 40, True, "hard_swish", 1),
    (5, 240, 40, True, "hard_swish", 1),
    (5, 120, 48, True, "hard_swish", 1),
    (5, 144, 48, True, "hard_swish", 1),
    (5, 288, 96, True, "hard_swish", 2),
    (5, 576, 96, True, "hard_swish", 1),
    (5, 576, 96, True, "hard_swish", 1),
)
TAIL_BLOCKS = 3
"""How many blocks at the end, with the 1x1 convolution behind them, the reduced tail halves."""


@dataclass(frozen=True)
class Variant:
    """Rows, channels of the last convolution, and the blocks whose depthwise output is at stride 4 and 8."""

    rows: tuple[tuple[int, int, int, bool, str, int], ...]
    last: int
    low: int
    middle: int


@keras.saving.register_keras_serializable(package="deeplab")
class GridMean(layers.Layer):
    """Mean over the pixels that the nominal strides keep: every `every`-th one in both directions.

    Squeeze-and-excite looks at the whole picture. Over every pixel of the denser grid it would see another mean than
    the one its weights know, and the network would be another function at each output stride.

    Args:
        every: pixels of this grid for one of the nominal grid.
    """

    def __init__(self, every: int = 1, **arguments: object) -> None:
        super().__init__(**arguments)
        self.every = every

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """`[b, h, w, c]` to `[b, 1, 1, c]`."""
        kept = x[:, :: self.every, :: self.every, :] if self.every > 1 else x
        return keras.ops.mean(kept, axis=(1, 2), keepdims=True)

    def compute_output_spec(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Batch and channels of `x`."""
        return keras.KerasTensor((x.shape[0], 1, 1, x.shape[3]), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, object]:
        """What the constructor takes."""
        return {**super().get_config(), "every": self.every}


def mobilenet_v3(variant: Variant, image: keras.KerasTensor, config: ModelConfig, output_stride: int) -> Features:
    """Features of a normalized image `[b, h, w, 3]` in -1..1; h and w are 32k+1 for exact strides.

    Raises:
        ValueError: an output stride that is none of 2, 4, 8, 16, 32.
    """
    norm = Norm(config.batch_norm_momentum or 0.997, 1e-3)
    start = keras.initializers.TruncatedNormal(stddev=INITIALIZER_STDDEV)
    conv = partial(conv_norm, norm=norm, initializer=start)
    stem, *plan = stride_plan([2, *(row[-1] for row in variant.rows)], output_stride)

    x = conv(image, scaled(STEM_CHANNELS, config), 3, name="backbone_stem", stride_rate=stem, activation="hard_swish")
    taps, before = {}, STEM_CHANNELS
    for number, (row, step) in enumerate(zip(_rows(variant, config), plan, strict=True)):
        kernel, expanded, channels, excited, activation, stride = row
        name, shortcut = f"backbone_block{number}", x
        if number:
            # The factor is the paper's; the channels it multiplies may have been rounded.
            wide = rounded(x.shape[-1] * expanded / before, 8 if config.round_channels else 1)
            x = conv(x, wide, 1, name=f"{name}_expand", activation=activation)
        x = depthwise_norm(
            x, norm, f"{name}_depthwise", kernel_size=kernel, stride_rate=step, activation=activation, initializer=start
        )
        taps[number] = x
        if excited:
            x = _squeeze_and_excite(x, rate_after(step, stride), start, name)
        x = conv(x, scaled(channels, config), 1, name=f"{name}_project", activation=None)
        # The nominal stride decides, not the plan's: a block has its shortcut at every output stride or at none.
        if stride == 1 and before == channels:
            x = layers.Add(name=f"{name}_add")([shortcut, x])
        before = channels
    last = scaled(variant.last // (2 if config.reduced_tail else 1), config)
    x = conv(x, last, 1, name="backbone_last", activation="hard_swish")
    return Features(high=x, low=taps[variant.low], middle=taps[variant.middle])


def _rows(variant: Variant, config: ModelConfig) -> tuple[tuple[int, int, int, bool, str, int], ...]:
    """The rows, those of the tail with half the channels where `config` asks for it."""
    if not config.reduced_tail:
        return variant.rows
    tail = ((k, e // 2, c // 2, s, a, stride) for k, e, c, s, a, stride in variant.rows[-TAIL_BLOCKS:])
    return (*variant.rows[:-TAIL_BLOCKS], *tail)


def _squeeze_and_excite(
    x: keras.KerasTensor, every: int, start: keras.initializers.Initializer, name: str
) -> keras.KerasTensor:
    """Gates the channels of `x` by the mean of the picture (sec. 5.3); a quarter of them, in eights, lies between."""
    gate = GridMean(every, name=f"{name}_mean")(x)
    squeezed, channels = rounded(x.shape[-1] / 4, 8), x.shape[-1]
    for filters, activation, part in ((squeezed, "relu", "squeeze"), (channels, hard_sigmoid, "excite")):
        gate = layers.Conv2D(filters, 1, activation=activation, kernel_initializer=clone_initializer(start), name=f"{name}_{part}")(
            gate
        )
    return layers.Multiply(name=f"{name}_gated")([x, gate])


VARIANTS: dict[str, Backbone] = {
    "mobilenet_v3_large": partial(mobilenet_v3, Variant(LARGE, 960, low=2, middle=5)),
    "mobilenet_v3_small": partial(mobilenet_v3, Variant(SMALL, 576, low=0, middle=2)),
}
