"""ResNet-50 and -101, version 1 (arXiv:1512.03385, table 1), with atrous convolution and multi-grid.

There are two layouts of the same units:

- The plain layout is that of the original weights and of keras.applications: the stem is one 7x7 convolution, the first
  1x1 convolution of a stage has the stride, and the pixels are 0..255 minus the mean of ImageNet.
- The beta layout is that of the official DeepLab models: the stem is three 3x3 convolutions, the 3x3 convolution of a
  stage's last unit has the stride, and the pixels are in -1..1.

The low-level features are the residual branches of a unit at stride 4 and of one at stride 8, before the sum, as in the
official decoder.
"""

from functools import partial

from keras import KerasTensor, layers

from deeplab.config import ModelConfig
from deeplab.model.atrous import Norm, StrideRate, conv_norm, rate_after, stride_plan
from deeplab.model.backbones.features import Backbone, Features, scaled

STEM_CHANNELS = 64
CHANNELS = (64, 128, 256, 512)
"""Channels of the 3x3 convolutions of the four stages; the outputs of the units have four times as many."""
UNITS_50, UNITS_101 = (3, 4, 6, 3), (3, 4, 23, 3)
LOW_UNIT, MIDDLE_UNIT = (0, 1), (1, 2)
"""(stage, unit) of the low-level features at stride 4 and 8, counted from 0."""


def resnet(units: tuple[int, ...], beta: bool, image: KerasTensor, config: ModelConfig, output_stride: int) -> Features:
    """Build a ResNet with `units` units per stage; the other arguments are those of `Backbone`."""
    conv = partial(conv_norm, norm=Norm(config.batch_norm_momentum or 0.95, 1e-5), initializer="he_normal")
    numbers = [(stage, unit) for stage, count in enumerate(units) for unit in range(count)]
    # In the plain layout the pooling has the stride of stage 0; in the beta layout the last stage has none.
    strided = [(stage, units[stage] - 1) for stage in (0, 1, 2)] if beta else [(stage, 0) for stage in (1, 2, 3)]
    strides = [2 if number in strided else 1 for number in numbers]
    stem, pool, *plan = stride_plan([2, 2, *strides], output_stride)

    stem_channels = scaled(STEM_CHANNELS, config)
    if beta:
        x = conv(image, stem_channels, 3, name="backbone_stem0", stride_rate=stem)
        x = conv(x, stem_channels, 3, name="backbone_stem1")
        x = conv(x, 2 * stem_channels, 3, name="backbone_stem2")
    else:
        x = conv(image, stem_channels, 7, name="backbone_stem", stride_rate=stem)
    x = layers.MaxPooling2D(3, pool.stride, padding="same", name="backbone_pool")(x)

    residuals, outputs = {}, {}
    for (stage, unit), planned, nominal in zip(numbers, plan, strides, strict=True):
        grid = config.multi_grid[unit] if stage == 3 else 1
        width, name = scaled(CHANNELS[stage], config), f"backbone_stage{stage}_unit{unit}"
        x, residuals[stage, unit] = _bottleneck(x, width, planned, nominal, grid, beta, conv, name)
        outputs[stage] = x
    return Features(high=x, low=residuals[LOW_UNIT], middle=residuals[MIDDLE_UNIT], auxiliary=outputs[2])


def _bottleneck(
    x: KerasTensor, width: int, planned: StrideRate, nominal: int, grid: int, beta: bool, conv: partial, name: str
) -> tuple[KerasTensor, KerasTensor]:
    """Build a unit with `width` channels in its 3x3 convolution, whose rate is multiplied by `grid` (multi-grid).

    Returns:
        The output of the unit and its residual branch, both `[b, h / stride, w / stride, 4 * width]`.
    """
    stride = StrideRate(planned.stride)
    if beta:
        first, second = StrideRate(), StrideRate(planned.stride, planned.rate * grid)
    else:
        # If the 1x1 convolution lost its stride, the 3x3 convolution after it already needs the larger rate.
        first, second = stride, StrideRate(rate=rate_after(planned, nominal) * grid)
    if x.shape[-1] != 4 * width:
        shortcut = conv(x, 4 * width, 1, name=f"{name}_shortcut", stride_rate=stride, activation=None)
    elif nominal > 1:
        shortcut = layers.MaxPooling2D(1, stride.stride, name=f"{name}_shortcut")(x)
    else:
        shortcut = x
    x = conv(x, width, 1, name=f"{name}_conv0", stride_rate=first)
    x = conv(x, width, 3, name=f"{name}_conv1", stride_rate=second)
    residual = conv(x, 4 * width, 1, name=f"{name}_conv2", activation=None)
    x = layers.Add(name=f"{name}_add")([shortcut, residual])
    return layers.Activation("relu", name=f"{name}_relu")(x), residual


VARIANTS: dict[str, Backbone] = {
    "resnet50": partial(resnet, UNITS_50, False),
    "resnet101": partial(resnet, UNITS_101, False),
    "resnet50_beta": partial(resnet, UNITS_50, True),
    "resnet101_beta": partial(resnet, UNITS_101, True),
}
