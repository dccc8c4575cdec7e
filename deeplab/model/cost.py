"""Computes parameters, multiply-adds, output size and receptive field of every layer, from the graph at a fixed size.

- One multiply-add is one multiplication and one addition in a convolution (1x1, 3x3 or atrous, padded pixels included),
  a depthwise convolution or a dense layer.
- Biases, batch norms (they are folded into the convolutions), activations, sums, pooling and resizing are not counted.
- Parameters are kernels, biases, gammas and betas, without moving statistics.
"""

import math
from dataclasses import dataclass
from pathlib import Path

import keras
from keras import layers

from deeplab.config import ImageSize, ModelConfig, SummarizeConfig, is_given
from deeplab.config.description import read_description
from deeplab.errors import UserError
from deeplab.files import MODEL_FILE
from deeplab.model.build import build_model
from deeplab.model.quantization.plan import inputs_of
from deeplab.model.resize import ResizeBilinear


@dataclass(frozen=True)
class LayerCost:
    """The cost of one layer.

    Attributes:
        name: name of the layer.
        output: output shape without the batch, usually (height, width, channels).
        parameters: number of trainable values.
        multiply_adds: number for one image.
        receptive_field: side in pixels of the input region that one output value depends on, not cropped at the border
            of the image; infinite after a global mean.
    """

    name: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: float


@dataclass(frozen=True)
class Cost:
    """The cost of a network at one output stride and image size; the totals are the sums of `layers`."""

    parameters: int
    multiply_adds: int
    layers: tuple[LayerCost, ...]


def cost(model: keras.Model | ModelConfig, output_stride: int = 16, image_size: ImageSize = 513) -> Cost:
    """Return the cost of a network.

    Args:
        model: an architecture, or a model of fixed input size.
        output_stride: output stride at which an architecture is built; ignored for a model.
        image_size: input size in pixels at which an architecture is built; ignored for a model.

    Raises:
        UserError: the model has no fixed input size, or the output stride is not offered.
    """
    if isinstance(model, ModelConfig):
        model = build_model(model, output_stride, image_size)
    if any(None in tensor.shape[1:] for tensor in model.inputs):
        raise UserError("image_size", "the cost depends on the image size", "set image_size=513 or another size")
    fields: dict[int, tuple[float, float]] = {id(tensor): (1, 1) for tensor in model.inputs}
    rows = []
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        fields[id(layer.output)] = field, _ = _receptive_field(layer, fields)
        weights = [w for w in layer.weights if not w.path.split("/")[-1].startswith("moving_")]
        parameters = sum(math.prod(w.shape) for w in weights)
        rows.append(LayerCost(layer.name, tuple(layer.output.shape[1:]), parameters, multiply_adds(layer), field))
    return Cost(sum(r.parameters for r in rows), sum(r.multiply_adds for r in rows), tuple(rows))


def multiply_adds(layer: layers.Layer) -> int:
    """Return the multiply-adds of `layer` for one image: output values times kernel values per output value."""
    values = math.prod(layer.output.shape[1:])
    # DepthwiseConv2D comes first: the last axis of its kernel is a multiplier, not a sum over input channels.
    if isinstance(layer, layers.DepthwiseConv2D):
        return values * math.prod(layer.kernel_size)
    if isinstance(layer, (layers.Conv2D, layers.Dense)):
        return values * math.prod(layer.kernel.shape[:-1])
    return 0


def _receptive_field(layer: layers.Layer, fields: dict[int, tuple[float, float]]) -> tuple[float, float]:
    """Return receptive field and stride of the output in pixels of the image; `fields` has those of the inputs."""
    inputs = inputs_of(layer)
    sizes, strides = zip(*(fields[id(x)] for x in inputs), strict=True)
    if isinstance(layer, ResizeBilinear):
        # An output value mixes two neighbors of the first input; its stride is that of the second input.
        return sizes[0] + strides[0], strides[1]
    # All inputs have the same stride, except for a gate of 1x1 values, whose stride is infinite.
    size, stride = max(sizes), min(strides)
    if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
        reach = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
        # Zero times an infinite stride is not a number.
        return size + reach * stride if reach else size, stride * layer.strides[0]
    if isinstance(layer, layers.MaxPooling2D):
        reach = (layer.pool_size[0] - 1) * getattr(layer, "dilation_rate", 1)
        return size + reach * stride, stride * layer.strides[0]
    input_is_point, output_is_point = (tuple(x.shape[1:-1]) in ((), (1, 1)) for x in (inputs[0], layer.output))
    return (math.inf, math.inf) if output_is_point and not input_is_point else (size, stride)


def table(counted: Cost, every_layer: bool = False) -> str:
    """Format `counted` as text: one line for each layer with multiply-adds, or for every layer, and the totals."""
    lines = [f"{'layer':<40} {'output':>16} {'parameters':>12} {'multiply-adds':>15} {'sees':>6}"]
    for row in counted.layers:
        if every_layer or row.multiply_adds:
            output = "x".join(map(str, row.output))
            field = "all" if math.isinf(row.receptive_field) else f"{row.receptive_field:.0f}"
            lines.append(f"{row.name:<40} {output:>16} {row.parameters:>12,} {row.multiply_adds:>15,} {field:>6}")
    lines.append(f"{'total':<40} {'':>16} {counted.parameters:>12,} {counted.multiply_adds:>15,}")
    lines.append(f"{counted.parameters / 1e6:.2f} M parameters, {counted.multiply_adds / 1e9:.2f} B multiply-adds")
    return "\n".join(lines)


def run_summarize(config: SummarizeConfig) -> None:
    """Print the cost of a network.

    Raises:
        UserError: `run` has no network, or both `run` and `model` are given.
    """
    network = config.model
    if config.run is not None:
        if is_given(config, "model"):
            raise UserError("model", f"run={config.run} has its own network", "remove model or run")
        network = read_description(Path(config.run) / MODEL_FILE).config
    print(table(cost(network, config.output_stride, config.image_size), config.every_layer))
