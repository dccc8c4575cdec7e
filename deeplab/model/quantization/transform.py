"""From a float network to one that simulates its int8 file, and what may be done to such a one."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import layers

from deeplab.config import ImageSize, ModelConfig
from deeplab.errors import UserError
from deeplab.model.backbones.features import Features
from deeplab.model.build import DeepLab, build_model
from deeplab.model.quantization.layers import PIXEL_RANGE, FoldedConvolution, PixelGrid, Range
from deeplab.model.quantization.plan import CONVOLUTIONS, IMAGE, MERGES, Plan, inputs_of, make_plan
from deeplab.model.quantization.rounding import int8_grid
from deeplab.model.resize import Normalize, ResizeBilinear


def quantize_aware(model: DeepLab) -> DeepLab:
    """The same network with the rounding of its int8 .tflite file in the forward pass, to be trained under it.

    Batch norms are folded into their convolutions, kernels have 8 bits for each output channel, activations 8 bits in
    ranges that are observed (`measure_ranges`, or while training) and may be learned. The weights are those of `model`,
    not copies. Its own weights, ranges included, fit at every output stride and image size, as those of `model` do.

    Args:
        model: from `build_model`: MobileNetV2, Xception or ResNet-beta, with any head but Lite R-ASPP.

    Returns:
        A model from RGB `[b, h, w, 3]` float32 0..255 to logits `[b, h, w, classes]` float32.

    Raises:
        UserError: the int8 form of a layer is not simulated.
    """
    plan = make_plan(model)
    norms = {name: model.get_layer(norm) for name, norm in plan.norms.items()}
    taken_in = set(plan.norms.values())
    ranges = {group: Range(len(sources), name=f"{group}_range") for group, sources in plan.sources.items()}
    ranges[IMAGE] = Range(fixed=PIXEL_RANGE, name=f"{IMAGE}_range")
    image = keras.Input(model.input_shape[1:], name=model.input.name)
    made: dict[int, Any] = {id(model.input): image}
    steps: dict[int, Any] = {}
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        given = [made[id(tensor)] for tensor in inputs_of(layer)]
        if layer.name in taken_in:
            x = given[0]
        else:
            if isinstance(layer, CONVOLUTIONS):
                given.append(steps[id(layer.input)])
            stand_in = _stand_in(layer, norms)
            x = stand_in(given) if isinstance(layer, MERGES) else stand_in(*given)
            if isinstance(stand_in, FoldedConvolution):
                stand_in.behind = ranges[plan.group[plan.last[layer.name]]].ends
        made[id(layer.output)], steps[id(layer.output)] = _ranged(x, layer, plan, ranges, steps)
    features = Features(**{name: x if x is None else made[id(x)] for name, x in vars(model.features).items()})
    return DeepLab(image, made[id(model.output)], model.config, features, name=f"{model.name}_int8")


def build_network(
    config: ModelConfig, output_stride: int, image_size: ImageSize = None, *, quantized: bool = False
) -> keras.Model:
    """`build_model`, made quantization-aware if asked for.

    Raises:
        UserError: as `build_model` and `quantize_aware`.
    """
    model = build_model(config, output_stride, image_size)
    return quantize_aware(model) if quantized else model


def activation_ranges(model: keras.Model) -> list[Range]:
    """The ranges of a quantization-aware model; none of any other."""
    return [layer for layer in model.layers if isinstance(layer, Range)]


def simulate(model: keras.Model, on: bool = True) -> None:
    """Switches the simulation: off, a quantization-aware model is the float network that it was made from."""
    for layer in model.layers:
        if isinstance(layer, (PixelGrid, Range, FoldedConvolution)):
            layer.simulated = on


def round_as_builtin_kernels(model: keras.Model, on: bool = True) -> None:
    """Lets a quantization-aware model round as the builtin kernels of TFLite do, or as XNNPACK, as it was trained."""
    for layer in model.layers:
        if isinstance(layer, FoldedConvolution):
            layer.rounds_twice = on


def track_ranges(model: keras.Model, momentum: float | None) -> None:
    """Lets ranges follow what they see, and trained batch norms the statistics of the batch; None lets both stay.

    Args:
        model: quantization-aware.
        momentum: how much of the observed ends an observation leaves, 0..1.
    """
    for layer in model.layers:
        if isinstance(layer, Range):
            layer.momentum = momentum
        elif isinstance(layer, FoldedConvolution):
            layer.batch_statistics = momentum is not None


def measure_ranges(model: keras.Model, batches: Iterable[Any]) -> None:
    """Sets every range to the mean of the lowest and of the highest values in batches, seen by the float network.

    Args:
        model: quantization-aware. Changed in place.
        batches: of pictures `[b, h, w, 3]` float32 0..255.

    Raises:
        ValueError: there is no batch.
    """
    seen = 0
    simulate(model, False)
    try:
        for batch in batches:
            track_ranges(model, seen / (seen + 1))
            model(batch, training=False)
            seen += 1
    finally:
        track_ranges(model, None)
        simulate(model, True)
    if not seen:
        raise ValueError("no batches to measure ranges on")


def quantization_parameters(model: keras.Model, logit_offset: float = 0.0) -> tuple[tuple[float, int], ...]:
    """(scale, zero point) of all tensors between the operators of the int8 file; none of any other model.

    Args:
        model: quantization-aware.
        logit_offset: what is added to all logits in the file, which moves their zero point.

    Raises:
        UserError: ranges that hold nothing, for the model has seen no pictures yet.
    """
    grids = {r.name: r.grid() for r in activation_ranges(model)}
    empty = [name for name, (scale, _) in grids.items() if not (np.isfinite(scale) and scale > 0)]
    if empty:
        raise UserError("quantize_aware", f"{len(empty)} ranges hold nothing, first {empty[0]}", "train the model")
    if logit_offset and grids:
        low, high = (float(end) + logit_offset for end in model.get_layer("logits_range").ends())
        grids["logits_range"] = int8_grid(low, high)
    return tuple(grids.values())


def _stand_in(layer: keras.layers.Layer, norms: dict[str, layers.BatchNormalization]) -> keras.layers.Layer:
    """What does the work of a layer in the simulation."""
    if isinstance(layer, Normalize):
        return PixelGrid(name=layer.name)
    if isinstance(layer, CONVOLUTIONS):
        return FoldedConvolution(layer, norms.get(layer.name), name=layer.name)
    return type(layer).from_config(layer.get_config())


def _ranged(
    x: Any, layer: keras.layers.Layer, plan: Plan, ranges: dict[str, Range], steps: dict[int, Any]
) -> tuple[Any, Any]:
    """The output of a layer, on the grid of its range where it has left it, and the step of that grid if it has one."""
    if layer.name not in plan.group:
        return x, None
    group = plan.group[layer.name]
    if group != IMAGE and layer.name in plan.sources[group]:
        return ranges[group](x, source=plan.sources[group].index(layer.name))
    # Interpolated values lie between the steps; what else keeps the range keeps the steps too.
    if isinstance(layer, (Normalize, ResizeBilinear)):
        return ranges[group](x)
    return x, steps[id(inputs_of(layer)[0])]
