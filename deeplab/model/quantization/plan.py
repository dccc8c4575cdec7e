"""Decides which layers are one operator in an int8 file, and which tensors share a range."""

from collections.abc import Callable
from dataclasses import dataclass, field

import keras
from keras import layers

from deeplab.errors import UserError
from deeplab.model.activations import hard_swish
from deeplab.model.resize import CropTo, Normalize, PadToGrid, ResizeBilinear, SubtractMean

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D)
MERGES = (layers.Add, layers.Multiply, layers.Concatenate)
"""Layers that are called with a list of tensors."""
_FUSED_ACTIVATIONS: tuple[Callable, ...] = (keras.activations.relu, keras.activations.relu6)
"""Activations that belong to the operator before them."""
_FUSIBLE = (*CONVOLUTIONS, layers.BatchNormalization, layers.Add)
_NEW_RANGE = (*_FUSIBLE, SubtractMean, layers.Activation, layers.Multiply, layers.GlobalAveragePooling2D)
_SAME_RANGE = (layers.Concatenate, layers.MaxPooling2D, layers.Dropout, ResizeBilinear, PadToGrid, CropTo)
IMAGE = "image"
"""Name of the range of the input, which is fixed."""


@dataclass
class Plan:
    """Operators and ranges of the file, by the names of the layers.

    Attributes:
        norms: the batch norm that is folded into each convolution.
        range_of: the name of the range of a layer's output, for the layers whose output has one.
        sources: the layers that each range is observed on, in the order of the model.
        last: the last layer of each operator, by the first one.
    """

    norms: dict[str, str] = field(default_factory=dict)
    range_of: dict[str, str] = field(default_factory=dict)
    sources: dict[str, list[str]] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)


def inputs_of(layer: keras.layers.Layer) -> list[keras.KerasTensor]:
    """Return the input tensors of a layer, in the order of its arguments."""
    return layer.input if isinstance(layer.input, list) else [layer.input]


def make_plan(model: keras.Model) -> Plan:
    """Plan the operators and ranges of a functional model from `build_model`.

    An operator and the activation fused with it have one range, after the activation. Operators that keep the scale of
    their inputs (concatenation, resize, max pooling, padding) put all of them into one range.

    Raises:
        UserError: a layer whose int8 operators are not simulated.
    """
    producer = {id(layer.output): layer for layer in model.layers}
    model_layers = [layer for layer in model.layers if not isinstance(layer, layers.InputLayer)]
    consumers: dict[str, list[keras.layers.Layer]] = {layer.name: [] for layer in model.layers}
    for layer in model_layers:
        for tensor in inputs_of(layer):
            consumers[producer[id(tensor)].name].append(layer)
    plan = Plan()
    first: dict[str, str] = {}  # The first layer of the operator that each layer belongs to.
    for layer in model_layers:
        _check(layer)
        producers = [producer[id(tensor)] for tensor in inputs_of(layer)]
        previous = producers[0]
        fused = previous.name in first and fused_with_next(previous, consumers[previous.name])
        first[layer.name] = first[previous.name] if fused else layer.name
        if isinstance(layer, layers.BatchNormalization):
            if not (fused and isinstance(previous, CONVOLUTIONS)):
                raise _unsupported(layer)
            plan.norms[previous.name] = layer.name
        if isinstance(layer, Normalize):
            plan.range_of[layer.name] = IMAGE
        elif isinstance(layer, _SAME_RANGE):
            _merge_ranges(plan, layer, producers)
        elif not fused_with_next(layer, consumers[layer.name]):
            name = first[layer.name]
            plan.range_of[layer.name], plan.sources[name], plan.last[name] = name, [layer.name], layer.name
    return plan


def fused_with_next(layer: keras.layers.Layer, consumers: list[keras.layers.Layer]) -> bool:
    """Return whether `layer` and its only consumer are one operator in the file."""
    if len(consumers) != 1:
        return False
    (consumer,) = consumers
    linear = not isinstance(layer, CONVOLUTIONS) or layer.activation is keras.activations.linear
    if isinstance(consumer, layers.BatchNormalization):
        return isinstance(layer, CONVOLUTIONS) and linear
    fused = isinstance(consumer, layers.Activation) and consumer.activation in _FUSED_ACTIVATIONS
    return fused and isinstance(layer, _FUSIBLE) and linear


def _merge_ranges(plan: Plan, layer: keras.layers.Layer, producers: list[keras.layers.Layer]) -> None:
    """Put the output of a layer that keeps the scale into the range of its inputs, which become one range."""
    merged = producers if isinstance(layer, layers.Concatenate) else producers[:1]
    if not all(x.name in plan.range_of for x in merged):
        raise _unsupported(layer)
    target, *others = dict.fromkeys(plan.range_of[x.name] for x in merged)
    plan.range_of[layer.name] = target
    for other in others:
        plan.sources[target] += plan.sources.pop(other)
        plan.range_of.update({name: target for name, current in plan.range_of.items() if current == other})


def _check(layer: keras.layers.Layer) -> None:
    """Raise UserError if `layer` is not simulated."""
    supported = isinstance(layer, (Normalize, *_NEW_RANGE, *_SAME_RANGE))
    if isinstance(layer, CONVOLUTIONS):
        supported = layer.activation in (keras.activations.linear, *_FUSED_ACTIVATIONS)
    elif isinstance(layer, layers.Activation):
        supported = layer.activation in (*_FUSED_ACTIVATIONS, hard_swish)
    if not supported:
        raise _unsupported(layer)


def _unsupported(layer: keras.layers.Layer) -> UserError:
    kind = type(layer).__name__
    remedy = "use mobilenet_v2, xception, resnet or vgg16 with head v1, v2, v3 or v3plus"
    return UserError("quantize_aware", f"int8 is not simulated for layer {layer.name!r} ({kind})", remedy)
