"""ResNet-50 and -101, version 1 (arXiv:1512.03385, table 1), with atrous convolution and multi-grid.

Two layouts of the same units. The plain one is that of the original weights and of keras.applications: a 7x7 stem,
the stride on the first 1x1 of a stage, and pixels 0..255 minus the mean of ImageNet. The beta one is the official
DeepLab's: three 3x3 as stem, the stride on the 3x3 of a stage's last unit, and pixels in -1..1. Low-level features are
the residual branch of a unit at stride 4 and of one at 8, before its sum, as the official decoder takes them.
"""

from functools import partial

import keras
from keras import layers

from deeplab.config import ModelConfig
from deeplab.model.atrous import Norm, Step, conv_norm, rate_after, stride_plan
from deeplab.model.backbones.features import Backbone, Features, scaled

STEM_CHANNELS = 64
CHANNELS = (64, 128, 256, 512)
"""Of the 3x3 convolutions of the four stages; the units give four times as many."""
UNITS_50, UNITS_101 = (3, 4, 6, 3), (3, 4, 23, 3)
LOW_UNIT, MIDDLE_UNIT = (0, 1), (1, 2)
"""(stage, unit), counted from 0."""
MEAN_PIXEL = (123.68, 116.779, 103.939)
"""Of ImageNet, red, green, blue."""


def resnet(
    units: tuple[int, ...], beta: bool, image: keras.KerasTensor, config: ModelConfig, output_stride: int
) -> Features:
    """Features of a normalized image `[b, h, w, 3]` in -1..1; h and w are 32k+1 for exact strides.

    Raises:
        ValueError: an output stride that is none of 4, 8, 16, 32.
    """
    conv = partial(conv_norm, norm=Norm(config.batch_norm_momentum or 0.95, 1e-5), initializer="he_normal")
    strides = [stride for stage, count in enumerate(units) for stride in _strides(stage, count, beta)]
    stem, pool, *plan = stride_plan([2, 2, *strides], output_stride)

    stem_channels = scaled(STEM_CHANNELS, config)
    if beta:
        x = conv(image, stem_channels, 3, name="backbone_stem0", step=stem)
        x = conv(x, stem_channels, 3, name="backbone_stem1")
        x = conv(x, 2 * stem_channels, 3, name="backbone_stem2")
    else:
        mean = layers.Rescaling(127.5, [127.5 - value for value in MEAN_PIXEL], name="backbone_minus_mean")
        x = conv(mean(image), stem_channels, 7, name="backbone_stem", step=stem)
    x = layers.MaxPooling2D(3, pool.stride, padding="same", name="backbone_pool")(x)

    taps, moves = {}, iter(zip(plan, strides, strict=True))
    for stage, count in enumerate(units):
        for unit in range(count):
            step, stride = next(moves)
            grid = config.multi_grid[unit] if stage == len(units) - 1 else 1
            width, name = scaled(CHANNELS[stage], config), f"backbone_stage{stage}_unit{unit}"
            x, taps[stage, unit] = _bottleneck(x, width, step, stride, grid, beta, conv, name)
    return Features(high=x, low=taps[LOW_UNIT], middle=taps[MIDDLE_UNIT])


def auxiliary_features(network: keras.Model, backbone: str) -> keras.KerasTensor | None:
    """What the last stage but one of the ResNet within `network` gives, `[b, h, w, c]`; None for other backbones."""
    if backbone not in VARIANTS:
        return None
    sums = f"backbone_stage{len(CHANNELS) - 2}_unit"
    last = [layer.name for layer in network.layers if layer.name.startswith(sums) and layer.name.endswith("_add")][-1]
    return network.get_layer(last.replace("_add", "_relu")).output


def _strides(stage: int, units: int, beta: bool) -> list[int]:
    """Nominal strides of the units of `stage`. The pooling before stage 0 strides already."""
    if beta:
        return [1] * (units - 1) + [2 if stage < len(CHANNELS) - 1 else 1]
    return [2 if stage else 1] + [1] * (units - 1)


def _bottleneck(
    x: keras.KerasTensor, width: int, step: Step, stride: int, grid: int, beta: bool, conv: partial, name: str
) -> tuple[keras.KerasTensor, keras.KerasTensor]:
    """One unit: 1x1, atrous 3x3, 1x1 with a shortcut; gives its output and the residual branch.

    Args:
        x: `[b, h, w, c]`.
        width: channels of the 3x3; the output has four times as many.
        step: how the unit moves over `x`.
        stride: its nominal stride.
        grid: the unit's own factor on the rate, the multi-grid.
        beta: whether the 3x3 strides, and not the first 1x1.
        conv: convolution, batch norm and ReLU.
        name: of the unit.
    """
    # Behind a 1x1 that should have strided, the 3x3 sees the denser grid already.
    first, second = (Step(1, 1), step) if beta else (Step(step.stride, 1), Step(1, rate_after(step, stride)))
    second = Step(second.stride, second.rate * grid)
    if x.shape[-1] != 4 * width:
        shortcut = conv(x, 4 * width, 1, name=f"{name}_shortcut", step=Step(step.stride, 1), activation=None)
    elif stride > 1:
        shortcut = layers.MaxPooling2D(1, step.stride, name=f"{name}_shortcut")(x)
    else:
        shortcut = x
    x = conv(x, width, 1, name=f"{name}_conv0", step=first)
    x = conv(x, width, 3, name=f"{name}_conv1", step=second)
    residual = conv(x, 4 * width, 1, name=f"{name}_conv2", activation=None)
    x = layers.Add(name=f"{name}_add")([shortcut, residual])
    return layers.Activation("relu", name=f"{name}_relu")(x), residual


VARIANTS: dict[str, Backbone] = {
    "resnet50": partial(resnet, UNITS_50, False),
    "resnet101": partial(resnet, UNITS_101, False),
    "resnet50_beta": partial(resnet, UNITS_50, True),
    "resnet101_beta": partial(resnet, UNITS_101, True),
}
