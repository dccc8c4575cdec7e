"""Compares the cost of the architectures with the published numbers: `python -m benchmarks.model_table`.

The published numbers come from TensorFlow 1's profiler. There an atrous convolution ran between SPACE_TO_BATCH and
BATCH_TO_SPACE, which round both sides of a feature map up to a multiple of the rate, and the profiler counted the
rounded map: at rate 18 a map of 33x33 counts as one of 36x36. The column "as profiled" counts in the same way and is
the one compared; the column before it counts the actual features, which is what a kernel with dilation computes.

The profiler counts float operations, half of which are the multiply-adds, and not only those of convolutions
(tensorflow/python/profiler/internal/flops_registry.py): also sums, products, means, pooling and the argmax over the
classes. "As profiled" includes them. They matter where layers are cheap: hard-swish takes three per value, and
squeeze-and-excite two. LR-ASPP is counted in the order of the paper, which resizes before its last 1x1 convolution.
"""

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml
from keras import layers

from deeplab.config import ImageSize, ModelConfig, build
from deeplab.model.activations import hard_swish
from deeplab.model.backbones.mobilenet_v3 import GridMean
from deeplab.model.build import DeepLab, build_model
from deeplab.model.cost import cost, multiply_adds

CONFIGS = Path(__file__).parents[1] / "configs" / "model"


@dataclass(frozen=True)
class Published:
    """Published numbers of one architecture.

    Attributes:
        name: file in configs/model, without its ending.
        output_stride: output stride of the published numbers.
        parameters: in millions; None if not published.
        multiply_adds: in billions; None if not published.
        image_size: input size in pixels.
        classes: number of classes.
        changes: changed keys of the architecture and their values.
    """

    name: str
    output_stride: int
    parameters: float | None
    multiply_adds: float | None
    image_size: ImageSize = 513
    classes: int = 21
    changes: tuple[tuple[str, Any], ...] = ()


PLAIN_DECODER = (("head", "v3plus"), ("decoder_separable", False))
CITYSCAPES = {"image_size": (1025, 2049), "classes": 19}
ROWS = (
    # The papers of v1 and v2 state the parameters of VGG-16 with LargeFOV only (arXiv:1606.00915, table 1).
    Published("deeplabv1_vgg16", 8, 20.5, None),
    Published("deeplabv2_vgg16", 8, None, None),
    Published("deeplabv1_resnet101", 8, None, None),
    Published("deeplabv2_resnet101", 8, None, None),
    Published("deeplabv3_mobilenet_v2", 16, 2.11, 2.75),
    Published("deeplabv3_mobilenet_v2_050", 16, None, 0.88),
    Published("deeplabv3_mobilenet_v2_050", 8, None, 2.84),
    Published("deeplabv3_mobilenet_v2_aspp", 16, 4.52, 5.8),
    Published("deeplabv3_resnet101", 16, 58.16, 81.02),
    Published("deeplabv3_resnet101", 8, None, 276.18),
    Published("deeplabv3plus_resnet101", 16, None, 101.28),
    Published("deeplabv3plus_resnet101", 8, None, 297.92),
    Published("deeplabv3_xception65", 16, None, 68.00),
    Published("deeplabv3_xception65", 8, None, 240.85),
    Published("deeplabv3_xception65", 16, None, 89.76, changes=PLAIN_DECODER),
    Published("deeplabv3_xception65", 8, None, 262.59, changes=PLAIN_DECODER),
    Published("deeplabv3plus_xception65", 16, 41.06, 54.17),
    Published("deeplabv3plus_xception65", 8, None, 177.10),
    Published("lraspp_mobilenet_v3_large", 16, 1.51, 9.74, **CITYSCAPES),
    Published("lraspp_mobilenet_v3_large", 16, 1.63, 10.33, changes=(("aspp_channels", 256),), **CITYSCAPES),
    Published("lraspp_mobilenet_v3_small", 16, 0.47, 2.90, **CITYSCAPES),
)


def as_profiled(model: DeepLab) -> float:
    """Return the multiply-adds that the profiler of TensorFlow 1 reports for a network and its argmax."""
    rounded = sum(convolution_as_profiled(layer) for layer in model.layers)
    if model.config.head == "lraspp":
        high, low = (model.get_layer(name) for name in ("logits_high", "logits_low"))
        resized = math.prod(low.output.shape[1:3]) / math.prod(high.output.shape[1:3])
        rounded += multiply_adds(high) * (resized - 1)
    return rounded + (math.prod(model.output.shape[1:]) + sum(map(other_operations, model.layers))) / 2


def convolution_as_profiled(layer: layers.Layer) -> int:
    """Return the multiply-adds of `layer` on a map whose sides are rounded up to multiples of its rate."""
    counted = multiply_adds(layer)
    if not isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
        return counted
    sides = layer.output.shape[1:3]
    rounded = [math.ceil(side / rate) * rate for side, rate in zip(sides, layer.dilation_rate, strict=True)]
    return counted * math.prod(rounded) // math.prod(sides)


def other_operations(layer: layers.Layer) -> int:
    """Return the float operations that the profiler counts for a layer that is not a convolution."""
    values = math.prod(layer.output.shape[1:])
    if isinstance(layer, (layers.Add, layers.Multiply)):
        return values * (len(layer.input) - 1)
    if isinstance(layer, (layers.GlobalAveragePooling2D, GridMean)):
        return math.prod(layer.input.shape[1:])
    if isinstance(layer, layers.MaxPooling2D):
        return values * math.prod(layer.pool_size)
    # x + 3, times x, times 1/6.
    return 3 * values if isinstance(layer, layers.Activation) and layer.activation is hard_swish else 0


def difference(actual: float, published: float | None) -> str:
    return "-" if published is None else f"{100 * (actual / published - 1):+.1f} %"


def main() -> None:
    print("| model | size | OS | parameters, M | published | | multiply-adds, B | as profiled | published | |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in ROWS:
        config = build(ModelConfig, yaml.safe_load((CONFIGS / f"{row.name}.yaml").read_text()))
        config = replace(config, classes=row.classes, **dict(row.changes))
        model = build_model(config, row.output_stride, row.image_size)
        counted = cost(model)
        profiled = as_profiled(model) / 1e9
        changes = "".join(f" {key}={value}" for key, value in row.changes)
        size = "x".join(map(str, row.image_size)) if isinstance(row.image_size, tuple) else row.image_size
        millions, billions = counted.parameters / 1e6, counted.multiply_adds / 1e9
        print(
            f"| {row.name}{changes} | {size} | {row.output_stride} | {millions:.2f} | {row.parameters or '-'} "
            f"| {difference(millions, row.parameters)} | {billions:.2f} | {profiled:.2f} | {row.multiply_adds or '-'} "
            f"| {difference(profiled, row.multiply_adds)} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
