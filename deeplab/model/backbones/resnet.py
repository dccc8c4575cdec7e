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

import keras
from keras import layers

from deeplab.config import ModelConfig
from deeplab.model.atrous import Norm, StrideRate, conv_norm, rate_after, stride_plan
from deeplab.model.backbones.features import Backbone, Features, scaled
from deeplab.pixels import PIXEL_MEAN, PIXEL_STD

STEM_CHANNELS = 64
CHANNELS = (64, 128, 256, 512)
"""Channels of the 3x3 convolutions of the four stages; the outputs of the units have four times as many."""
UNITS_50, UNITS_101 = (3, 4, 6, 3), (3, 4, 23, 3)
LOW_UNIT, MIDDLE_UNIT = (0, 1), (1, 2)
"""(stage, unit) of the low-level features at stride 4 and 8, counted from 0."""
IMAGENET_MEAN = (123.68, 116.779, 103.939)
"""Mean pixel of ImageNet in 0..255: red, green, blue."""


def resnet(
    units: tuple[int, ...], beta: bool, image: keras.KerasTensor, config: ModelConfig, output_stride: int
) -> Features:
    """Build a ResNet with `units` units per stage; the other arguments are those of `Backbone`."""
    conv = partial(conv_norm, norm=Norm(config.batch_norm_momentum or 0.95, 1e-5), initializer="he_normal")
    strides = [stride for stage, count in enumerate(units) for stride in _strides(stage, count, beta)]
    stem, pool, *plan = stride_plan([2, 2, *strides], output_stride)

    stem_channels = scaled(STEM_CHANNELS, config)
    if beta:
        x = conv(image, stem_channels, 3, name="backbone_stem0", stride_rate=stem)
        x = conv(x, stem_channels, 3, name="backbone_stem1")
        x = conv(x, 2 * stem_channels, 3, name="backbone_stem2")
    else:
        offsets = [PIXEL_MEAN - mean for mean in IMAGENET_MEAN]
        x = layers.Rescaling(PIXEL_STD, offsets, name="backbone_minus_mean")(image)
        x = conv(x, stem_channels, 7, name="backbone_stem", stride_rate=stem)
    x = layers.MaxPooling2D(3, pool.stride, padding="same", name="backbone_pool")(x)

    residuals, stages, remaining = {}, [], iter(zip(plan, strides, strict=True))
    for stage, count in enumerate(units):
        for unit in range(count):
            stride_rate, nominal_stride = next(remaining)
            grid = config.multi_grid[unit] if stage == len(units) - 1 else 1
            width, name = scaled(CHANNELS[stage], config), f"backbone_stage{stage}_unit{unit}"
            x, residuals[stage, unit] = _bottleneck(x, width, stride_rate, nominal_stride, grid, beta, conv, name)
        stages.append(x)
    return Features(high=x, low=residuals[LOW_UNIT], middle=residuals[MIDDLE_UNIT], auxiliary=stages[-2])


def _strides(stage: int, units: int, beta: bool) -> list[int]:
    """Return the nominal strides of the units of `stage`. The pooling before stage 0 already has a stride."""
    if beta:
        return [1] * (units - 1) + [2 if stage < len(CHANNELS) - 1 else 1]
    return [2 if stage else 1] + [1] * (units - 1)


def _bottleneck(
    x: keras.KerasTensor,
    width: int,
    stride_rate: StrideRate,
    nominal_stride: int,
    grid: int,
    beta: bool,
    conv: partial,
    name: str,
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """Build one unit: convolutions 1x1, atrous 3x3 and 1x1, with a shortcut.

    Args:
        x: `[b, h, w, c]`.
        width: channels of the 3x3 convolution; the output has four times as many.
        stride_rate: stride and rate of the unit.
        nominal_stride: stride of the unit without atrous convolution.
        grid: factor on the rate of this unit (multi-grid).
        beta: whether the 3x3 convolution has the stride, instead of the first 1x1.
        conv: builds convolution, batch norm and ReLU.
        name: prefix of the layer names.

    Returns:
        The output of the unit and its residual branch, both `[b, h / stride, w / stride, 4 * width]`.
    """
    stride = StrideRate(stride_rate.stride)
    if beta:
        first, second = StrideRate(), StrideRate(stride_rate.stride, stride_rate.rate * grid)
    else:
        # If the 1x1 convolution lost its stride, the 3x3 convolution after it already needs the larger rate.
        first, second = stride, StrideRate(rate=rate_after(stride_rate, nominal_stride) * grid)
    if x.shape[-1] != 4 * width:
        shortcut = conv(x, 4 * width, 1, name=f"{name}_shortcut", stride_rate=stride, activation=None)
    elif nominal_stride > 1:
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
