"""What a network costs: parameters, multiply-adds, feature sizes and receptive field of every layer.

Counted from the graph at a fixed size, so that the figures do not hang on a profiler's habits. One multiply-add is one
multiplication and one addition in a convolution (1x1, 3x3, atrous: padding counts as any pixel), a depthwise
convolution or a dense layer. Biases, batch norms (they fold into the convolutions), activations, sums, pooling and
bilinear resizes are not counted. Parameters are what training changes: kernels, biases, gamma and beta, but no moving
statistics.
"""

import math
from dataclasses import dataclass

import keras
from keras import layers

from deeplab.config import ImageSize, ModelConfig, SummarizeConfig
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.model.resize import ResizeBilinear


@dataclass(frozen=True)
class LayerCost:
    """One layer.

    Attributes:
        name: of the layer.
        kind: its class.
        output: (height, width, channels) of what it gives.
        parameters: that training changes.
        multiply_adds: for one picture.
        receptive_field: side in pixels of what one output value can see, not cut at the picture's border; infinite
            behind a global mean.
    """

    name: str
    kind: str
    output: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: float


@dataclass(frozen=True)
class Cost:
    """A network at one output stride and size; the totals are the sums of `layers`."""

    parameters: int
    multiply_adds: int
    layers: tuple[LayerCost, ...]


def cost(model: keras.Model | ModelConfig, output_stride: int = 16, image_size: ImageSize = 513) -> Cost:
    """Counts `model`, or the network of a configuration at `output_stride` and `image_size` (pixels).

    A model that is built already is counted as it is, and the other two arguments say nothing.

    Raises:
        UserError: a model of free size, or an output stride that cannot be had.
    """
    if isinstance(model, ModelConfig):
        model = build_model(model, output_stride, image_size)
    if any(None in tensor.shape[1:] for tensor in model.inputs):
        raise UserError("image_size", "a model of free size has no cost", "build it with image_size=513 or another")
    field: dict[int, tuple[float, float]] = {id(tensor): (1, 1) for tensor in model.inputs}
    rows = []
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        field[id(layer.output)] = _receptive_field(layer, field)
        rows.append(
            LayerCost(
                layer.name,
                type(layer).__name__,
                tuple(layer.output.shape[1:]),
                sum(math.prod(w.shape) for w in layer.weights if not w.path.split("/")[-1].startswith("moving_")),
                multiply_adds(layer),
                field[id(layer.output)][0],
            )
        )
    return Cost(sum(r.parameters for r in rows), sum(r.multiply_adds for r in rows), tuple(rows))


def multiply_adds(layer: layers.Layer) -> int:
    """Multiply-adds of `layer` for one picture: each output value costs the kernel values it is made of."""
    values = math.prod(layer.output.shape[1:])
    # A depthwise convolution is asked first: its kernel's last axis is a multiplier, not a sum over input channels.
    if isinstance(layer, layers.DepthwiseConv2D):
        return values * math.prod(layer.kernel_size)
    if isinstance(layer, (layers.Conv2D, layers.Dense)):
        return values * math.prod(layer.kernel.shape[:-1])
    return 0


def _receptive_field(layer: layers.Layer, field: dict[int, tuple[float, float]]) -> tuple[float, float]:
    """(receptive field, pixels from one output value to the next) behind `layer`, from those of its inputs."""
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    seen = max(field[id(x)][0] for x in inputs)
    # A resize gives the grid of its second input; elsewhere all inputs share one, but for a gate that sees all.
    pixels = field[id(inputs[-1])][1] if isinstance(layer, ResizeBilinear) else min(field[id(x)][1] for x in inputs)
    if isinstance(layer, ResizeBilinear):
        # One output value mixes two neighbors of the input, which lie one of its steps apart.
        return field[id(inputs[0])][0] + field[id(inputs[0])][1], pixels
    if isinstance(layer, (layers.Conv2D, layers.DepthwiseConv2D)):
        reach = (layer.kernel_size[0] - 1) * layer.dilation_rate[0]
        return seen + reach * pixels if reach else seen, pixels * layer.strides[0]
    if isinstance(layer, layers.MaxPooling2D):
        return seen + (layer.pool_size[0] - 1) * pixels, pixels * layer.strides[0]
    points = [tuple(x.shape[1:-1]) in ((), (1, 1)) for x in (inputs[0], layer.output)]
    return (seen, pixels) if points[0] or not points[1] else (math.inf, math.inf)


def table(counted: Cost, every_layer: bool = False) -> str:
    """`counted` as text: one line for each layer with a kernel (or for every layer), and the totals."""
    lines = [f"{'layer':<40} {'output':>16} {'parameters':>12} {'multiply-adds':>15} {'sees':>6}"]
    for row in counted.layers:
        if every_layer or row.multiply_adds:
            output = "x".join(map(str, row.output))
            sees = "all" if math.isinf(row.receptive_field) else f"{row.receptive_field:.0f}"
            lines.append(f"{row.name:<40} {output:>16} {row.parameters:>12,} {row.multiply_adds:>15,} {sees:>6}")
    lines.append(f"{'total':<40} {'':>16} {counted.parameters:>12,} {counted.multiply_adds:>15,}")
    lines.append(f"{counted.parameters / 1e6:.2f} M parameters, {counted.multiply_adds / 1e9:.2f} B multiply-adds")
    return "\n".join(lines)


def run_summarize(config: SummarizeConfig) -> None:
    """Print the cost of a network."""
    print(table(cost(config.model, config.output_stride, config.image_size), config.every_layer))
