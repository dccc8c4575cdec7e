"""MobileNetV3 Large and Small (arXiv:1905.02244, tables 1 and 2) with atrous convolution.

As in the official DeepLab, the output is that of the last 1x1 convolution before the classifier, and the low-level
features are outputs of the depthwise convolutions at strides 4 and 8.
"""

from functools import partial
from typing import TypeAlias

import keras
from keras import KerasTensor, layers

from deeplab.config import ModelConfig
from deeplab.model.activations import hard_sigmoid
from deeplab.model.atrous import Norm, conv_norm, rate_after, stride_plan
from deeplab.model.backbones.features import Backbone, Features, rounded, scaled

Rows: TypeAlias = tuple[tuple[int, int, int, bool, str, int], ...]
STEM_CHANNELS = 16
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

    def call(self, x: KerasTensor) -> KerasTensor:
        """Reduce `[b, h, w, c]` to `[b, 1, 1, c]`."""
        kept = x[:, :: self.every, :: self.every, :] if self.every > 1 else x
        return keras.ops.mean(kept, axis=(1, 2), keepdims=True)

    def compute_output_spec(self, x: KerasTensor) -> KerasTensor:
        """Return `[b, 1, 1, c]`."""
        return KerasTensor((x.shape[0], 1, 1, x.shape[3]), dtype=self.compute_dtype)

    def get_config(self) -> dict[str, object]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "every": self.every}


def mobilenet_v3(
    rows: Rows, last: int, image: KerasTensor, config: ModelConfig, output_stride: int, *, low: int, middle: int
) -> Features:
    """Build a MobileNetV3 with one block for each of `rows` and `last` channels of the last 1x1 convolution.

    `low` and `middle` are the numbers of the blocks whose depthwise convolutions output the features at stride 4 and 8.
    The other arguments are those of `Backbone`.
    """
    if config.reduced_tail:
        # The last three blocks and the last convolution have half the channels.
        tail = [(row[0], row[1] // 2, row[2] // 2, *row[3:]) for row in rows[-3:]]
        rows, last = (*rows[:-3], *tail), last // 2
    init = keras.initializers.TruncatedNormal(stddev=0.09)
    conv = partial(conv_norm, norm=Norm(config.batch_norm_momentum or 0.997, 1e-3), initializer=init)
    depthwise = partial(conv, filters=None)
    stem, *plan = stride_plan([2, *(row[-1] for row in rows)], output_stride)

    x = conv(image, scaled(STEM_CHANNELS, config), 3, name="backbone_stem", stride_rate=stem, activation="hard_swish")
    expanded, previous = {}, STEM_CHANNELS
    for number, (row, planned) in enumerate(zip(rows, plan, strict=True)):
        kernel_size, nominal, channels, excited, activation, stride = row
        name, shortcut = f"backbone_block{number}", x
        if number:
            # The paper's table lists expanded channels; their ratio to the input is applied to the rounded input.
            filters = rounded(x.shape[-1] * nominal / previous, 8 if config.round_channels else 1)
            x = conv(x, filters, 1, name=f"{name}_expand", activation=activation)
        x = depthwise(x, kernel_size=kernel_size, name=f"{name}_depthwise", stride_rate=planned, activation=activation)
        expanded[number] = x
        if excited:
            x = _squeeze_and_excite(x, rate_after(planned, stride), init, name)
        x = conv(x, scaled(channels, config), 1, name=f"{name}_project", activation=None)
        # The nominal stride decides, so that a block has a shortcut at every output stride or at none.
        if stride == 1 and previous == channels:
            x = layers.Add(name=f"{name}_add")([shortcut, x])
        previous = channels
    x = conv(x, scaled(last, config), 1, name="backbone_last", activation="hard_swish")
    return Features(high=x, low=expanded[low], middle=expanded[middle])


def _squeeze_and_excite(x: KerasTensor, every: int, init: keras.Initializer, name: str) -> KerasTensor:
    """Scale the channels of `x` `[b, h, w, c]` by a gate computed from their means (sec. 5.3)."""
    gate = GridMean(every, name=f"{name}_mean")(x)
    squeezed = rounded(x.shape[-1] / 4, 8)
    for part, filters, activation in (("squeeze", squeezed, "relu"), ("excite", x.shape[-1], hard_sigmoid)):
        kernel = init.clone()
        conv = layers.Conv2D(filters, 1, activation=activation, kernel_initializer=kernel, name=f"{name}_{part}")
        gate = conv(gate)
    return layers.Multiply(name=f"{name}_gated")([x, gate])


VARIANTS: dict[str, Backbone] = {
    "mobilenet_v3_large": partial(mobilenet_v3, LARGE, 960, low=2, middle=5),
    "mobilenet_v3_small": partial(mobilenet_v3, SMALL, 576, low=0, middle=2),
}
