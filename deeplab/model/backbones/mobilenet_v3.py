"""MobileNetV3 Large and Small (arXiv:1905.02244, tables 1 and 2) with atrous convolution.

As in the official DeepLab, the output is that of the last 1x1 convolution before the classifier, and the low-level
features are outputs of the depthwise convolutions at strides 4 and 8.
"""

from dataclasses import dataclass
from functools import partial

import keras
from keras import layers

from deeplab.config import ModelConfig
from deeplab.model.activations import hard_sigmoid
from deeplab.model.atrous import Norm, clone_initializer, conv_norm, depthwise_norm, rate_after, stride_plan
from deeplab.model.backbones.features import Backbone, Features, rounded, scaled

STEM_CHANNELS = 16
INITIALIZER_STDDEV = 0.09
LARGE = (  # kernel, expanded channels, channels, squeeze-and-excite, non-linearity, stride, as in the paper's table 1
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
"""Number of last blocks whose channels `ModelConfig.reduced_tail` halves, as those of the last convolution."""


@dataclass(frozen=True)
class Variant:
    """One size of the network.

    Attributes:
        rows: the rows of the paper's table, one per block.
        last: channels of the last 1x1 convolution.
        low: number of the block whose depthwise convolution outputs the low-level features at stride 4.
        middle: number of the block that outputs those at stride 8.
    """

    rows: tuple[tuple[int, int, int, bool, str, int], ...]
    last: int
    low: int
    middle: int


@keras.saving.register_keras_serializable(package="deeplab")
class GridMean(layers.Layer):
    """Mean over the pixels that also exist at the nominal stride: every `every`-th one in both directions.

    Squeeze-and-excite averages over the whole image. At a smaller output stride the mean over all pixels would differ
    from the mean that the weights were trained with, and the network would be another function.

    Args:
        every: nominal stride divided by the actual stride.
    """

    def __init__(self, every: int = 1, **arguments: object) -> None:
        super().__init__(**arguments)
        self.every = every

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Reduce `[b, h, w, c]` to `[b, 1, 1, c]`."""
        kept = x[:, :: self.every, :: self.every, :] if self.every > 1 else x
        return keras.ops.mean(kept, axis=(1, 2), keepdims=True)

    def compute_output_spec(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Return `[b, 1, 1, c]`."""
        return keras.KerasTensor((x.shape[0], 1, 1, x.shape[3]), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, object]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "every": self.every}


def mobilenet_v3(variant: Variant, image: keras.KerasTensor, config: ModelConfig, output_stride: int) -> Features:
    """Build the MobileNetV3 `variant`; the other arguments are those of `Backbone`."""
    norm = Norm(config.batch_norm_momentum or 0.997, 1e-3)
    init = keras.initializers.TruncatedNormal(stddev=INITIALIZER_STDDEV)
    conv = partial(conv_norm, norm=norm, initializer=init)
    depthwise = partial(depthwise_norm, norm=norm, initializer=init)
    stem, *plan = stride_plan([2, *(row[-1] for row in variant.rows)], output_stride)

    x = conv(image, scaled(STEM_CHANNELS, config), 3, name="backbone_stem", stride_rate=stem, activation="hard_swish")
    expanded, previous = {}, STEM_CHANNELS
    for number, (row, planned) in enumerate(zip(_rows(variant, config), plan, strict=True)):
        kernel_size, nominal, channels, excited, activation, stride = row
        name, shortcut = f"backbone_block{number}", x
        if number:
            # The paper's table lists expanded channels; their ratio to the input is applied to the rounded input.
            filters = rounded(x.shape[-1] * nominal / previous, 8 if config.round_channels else 1)
            x = conv(x, filters, 1, name=f"{name}_expand", activation=activation)
        x = depthwise(x, name=f"{name}_depthwise", kernel_size=kernel_size, stride_rate=planned, activation=activation)
        expanded[number] = x
        if excited:
            x = _squeeze_and_excite(x, rate_after(planned, stride), init, name)
        x = conv(x, scaled(channels, config), 1, name=f"{name}_project", activation=None)
        # The nominal stride decides, so that a block has a shortcut at every output stride or at none.
        if stride == 1 and previous == channels:
            x = layers.Add(name=f"{name}_add")([shortcut, x])
        previous = channels
    last = scaled(variant.last // (2 if config.reduced_tail else 1), config)
    x = conv(x, last, 1, name="backbone_last", activation="hard_swish")
    return Features(high=x, low=expanded[variant.low], middle=expanded[variant.middle])


def _rows(variant: Variant, config: ModelConfig) -> tuple[tuple[int, int, int, bool, str, int], ...]:
    """Return the rows, with halved channels in the tail if `config` requests it."""
    if not config.reduced_tail:
        return variant.rows
    tail = ((k, e // 2, c // 2, s, a, stride) for k, e, c, s, a, stride in variant.rows[-TAIL_BLOCKS:])
    return (*variant.rows[:-TAIL_BLOCKS], *tail)


def _squeeze_and_excite(
    x: keras.KerasTensor, every: int, init: keras.initializers.Initializer, name: str
) -> keras.KerasTensor:
    """Scale the channels of `x` `[b, h, w, c]` by a gate computed from their means (sec. 5.3).

    The hidden layer has a quarter of the channels, rounded to a multiple of 8.
    """
    gate = GridMean(every, name=f"{name}_mean")(x)
    hidden, channels = rounded(x.shape[-1] / 4, 8), x.shape[-1]
    for filters, activation, part in ((hidden, "relu", "squeeze"), (channels, hard_sigmoid, "excite")):
        kernel = clone_initializer(init)
        conv = layers.Conv2D(filters, 1, activation=activation, kernel_initializer=kernel, name=f"{name}_{part}")
        gate = conv(gate)
    return layers.Multiply(name=f"{name}_gated")([x, gate])


VARIANTS: dict[str, Backbone] = {
    "mobilenet_v3_large": partial(mobilenet_v3, Variant(LARGE, 960, low=2, middle=5)),
    "mobilenet_v3_small": partial(mobilenet_v3, Variant(SMALL, 576, low=0, middle=2)),
}
