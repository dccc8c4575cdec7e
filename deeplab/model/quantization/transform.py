"""Builds a quantization-aware model from a float one, and controls its ranges and rounding."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
from keras import layers

from deeplab.config import ImageSize, ModelConfig, checked
from deeplab.config.mapping import require
from deeplab.errors import UserError
from deeplab.model.backbones.features import Features
from deeplab.model.build import DeepLab, build_model
from deeplab.model.quantization.layers import PIXEL_RANGE, FoldedConvolution, PixelGrid, Range
from deeplab.model.quantization.plan import CONVOLUTIONS, IMAGE, MERGES, Plan, inputs_of, make_plan
from deeplab.model.quantization.rounding import int8_parameters
from deeplab.model.resize import Normalize, ResizeBilinear


def quantize_aware(model: DeepLab, per_tensor: bool = False) -> DeepLab:
    """Return the same network with the rounding of its int8 .tflite file in the forward pass.

    Batch norms are folded into their convolutions. Kernels have 8 bits with one scale per output channel or tensor,
    activations 8 bits in ranges that are observed (`measure_ranges`, or during training) and can be trained. The new
    model shares the weights of `model`. Its weights, ranges included, fit at every output stride and image size, as
    those of `model` do.

    Args:
        model: MobileNetV2, Xception, ResNet or VGG-16 with any head but Lite R-ASPP.
        per_tensor: whether each kernel has a single scale.

    Returns:
        A model from RGB `[b, h, w, 3]` float32 0..255 to logits `[b, h, w, classes]` float32. Its `features` are the
        tensors before they are rounded.

    Raises:
        UserError: int8 is not simulated for a layer, or `model` is no model that `build_model` returns.
    """
    require("model", type(model).__name__, isinstance(model, DeepLab), "a model of build_model or load_model")
    if any(isinstance(layer, FoldedConvolution) for layer in model.layers):
        raise UserError("model", "is quantization-aware already", "give the model of build_model or load_model")
    per_tensor = checked(bool, per_tensor, "per_tensor")
    plan = make_plan(model)
    norms = {name: model.get_layer(norm) for name, norm in plan.norms.items()}
    folded = set(plan.norms.values())
    ranges = {name: Range(len(sources), name=f"{name}_range") for name, sources in plan.sources.items()}
    ranges[IMAGE] = Range(fixed=PIXEL_RANGE, name=f"{IMAGE}_range")
    image = keras.Input(model.input_shape[1:], name=model.input.name)
    # The tensors of the new model and their scales, by the ids of the tensors of `model`.
    unrounded: dict[int, Any] = {id(model.input): image}
    rounded: dict[int, Any] = dict(unrounded)
    scales: dict[int, Any] = {}
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        inputs = [rounded[id(tensor)] for tensor in inputs_of(layer)]
        if layer.name in folded:
            x = inputs[0]
        else:
            if isinstance(layer, CONVOLUTIONS):
                inputs.append(scales[id(layer.input)])
            simulated = _simulated(layer, norms, per_tensor)
            x = simulated(inputs) if isinstance(layer, MERGES) else simulated(*inputs)
            if isinstance(simulated, FoldedConvolution):
                simulated.output_bounds = ranges[plan.range_of[plan.last[layer.name]]].bounds
        key = id(layer.output)
        unrounded[key] = x
        rounded[key], scales[key] = _apply_range(x, layer, plan, ranges, scales)
    features = Features(**{name: x if x is None else unrounded[id(x)] for name, x in vars(model.features).items()})
    return DeepLab.create(model.config, features, image, rounded[id(model.output)], f"{model.name}_int8")


def build_network(
    config: ModelConfig,
    output_stride: int,
    image_size: ImageSize = None,
    *,
    quantized: bool = False,
    per_tensor: bool = False,
) -> DeepLab:
    """Build the float network or, if `quantized`, the quantization-aware one, with per-tensor kernels if requested.

    Raises:
        UserError: as `build_model` and `quantize_aware`.
    """
    model = build_model(config, output_stride, image_size)
    return quantize_aware(model, per_tensor) if quantized else model


def activation_ranges(model: keras.Model) -> list[Range]:
    """Return the ranges of a quantization-aware model; empty for a float model."""
    return [layer for layer in model.layers if isinstance(layer, Range)]


def simulate(model: keras.Model, on: bool = True) -> None:
    """Enable or disable the rounding; without it a quantization-aware model computes what the float network does."""
    for layer in model.layers:
        if isinstance(layer, (PixelGrid, Range, FoldedConvolution)):
            layer.simulated = on


def round_as_builtin_kernels(model: keras.Model, on: bool = True) -> None:
    """Round as the builtin kernels of TFLite do, or, if `on` is False, as XNNPACK and the training do."""
    for layer in model.layers:
        if isinstance(layer, FoldedConvolution):
            layer.rounds_twice = on


def track_ranges(model: keras.Model, momentum: float | None) -> None:
    """Enable range and batch-norm updates; None freezes both.

    Args:
        model: a quantization-aware model.
        momentum: weight of the previous observations in the moving ranges, 0..1.
    """
    for layer in model.layers:
        if isinstance(layer, Range):
            layer.momentum = momentum
        elif isinstance(layer, FoldedConvolution):
            layer.uses_batch_statistics = momentum is not None


def measure_ranges(model: keras.Model, batches: Iterable[Any]) -> None:
    """Set every range to the mean lowest and mean highest value over the batches, without rounding.

    Args:
        model: a quantization-aware model. Changed in place.
        batches: images `[b, h, w, 3]`, float32 0..255.

    Raises:
        ValueError: `batches` is empty.
    """
    count = 0
    simulate(model, False)
    try:
        for count, batch in enumerate(batches, start=1):
            track_ranges(model, (count - 1) / count)
            model(batch, training=False)
    finally:
        track_ranges(model, None)
        simulate(model, True)
    if not count:
        raise ValueError("no batches to measure ranges on")


def quantization_parameters(model: keras.Model, logit_offset: float = 0.0) -> tuple[tuple[float, int], ...]:
    """Return (scale, zero point) of all tensors between the operators of the int8 file.

    Args:
        model: a quantization-aware model; for a float model the result is empty.
        logit_offset: constant added to all logits in the file, which changes their zero point.

    Raises:
        UserError: the ranges were never measured.
    """
    parameters = {x.name: x.parameters() for x in activation_ranges(model)}
    empty = [name for name, (scale, _) in parameters.items() if not (np.isfinite(scale) and scale > 0)]
    if empty:
        raise UserError("quantize_aware", f"{len(empty)} ranges are empty, first {empty[0]}", "train the model")
    if logit_offset and parameters:
        low, high = (float(bound) + logit_offset for bound in model.get_layer("logits_range").bounds())
        parameters["logits_range"] = int8_parameters(low, high)
    return tuple(parameters.values())


def _simulated(
    layer: keras.layers.Layer, norms: dict[str, layers.BatchNormalization], per_tensor: bool
) -> keras.layers.Layer:
    """Create the layer that replaces `layer` in the quantization-aware model."""
    if isinstance(layer, Normalize):
        return PixelGrid(name=layer.name)
    if isinstance(layer, CONVOLUTIONS):
        return FoldedConvolution(layer, norms.get(layer.name), per_tensor, name=layer.name)
    return type(layer).from_config(layer.get_config())


def _apply_range(
    x: Any, layer: keras.layers.Layer, plan: Plan, ranges: dict[str, Range], scales: dict[int, Any]
) -> tuple[Any, Any]:
    """Return the output `x` of a layer, rounded if necessary, and its scale, None if it has no range."""
    if layer.name not in plan.range_of:
        return x, None
    name = plan.range_of[layer.name]
    if name != IMAGE and layer.name in plan.sources[name]:
        return ranges[name](x, source=plan.sources[name].index(layer.name))
    # Interpolated values lie between multiples of the scale. The other layers that keep the range only move values.
    if isinstance(layer, (Normalize, ResizeBilinear)):
        return ranges[name](x)
    return x, scales[id(inputs_of(layer)[0])]
