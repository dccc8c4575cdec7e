"""Which layers become one in an int8 file, and which tensors share a range there."""

from collections.abc import Callable
from dataclasses import dataclass, field

import keras
from keras import layers

from deeplab.errors import UserError
from deeplab.model.activations import hard_swish
from deeplab.model.resize import CropTo, Normalize, PadToGrid, ResizeBilinear

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D)
MERGES = (layers.Add, layers.Multiply, layers.Concatenate)
"""Those that take one list of tensors."""
_FUSED: tuple[Callable, ...] = (keras.activations.relu, keras.activations.relu6)
"""What an operator of a file does to its own output."""
_ALONE: tuple[Callable, ...] = (hard_swish,)
_COMPUTE = (*CONVOLUTIONS, layers.BatchNormalization, layers.Activation, layers.Add, layers.Multiply,
            layers.GlobalAveragePooling2D)  # fmt: skip
_KEEP = (layers.Concatenate, layers.MaxPooling2D, layers.Dropout, ResizeBilinear, PadToGrid, CropTo)
IMAGE = "image"
"""The group of the input's range, which is fixed."""


@dataclass
class Plan:
    """What becomes of the layers of a model, by their names.

    Attributes:
        norms: the batch norm that each convolution takes in.
        group: of the layers whose output has a range, what that range is called.
        sources: of each range, the layers that it is observed on, in the model's order.
        last: of the layer that an operator of the file begins with, the one that it ends with.
    """

    norms: dict[str, str] = field(default_factory=dict)
    group: dict[str, str] = field(default_factory=dict)
    sources: dict[str, list[str]] = field(default_factory=dict)
    last: dict[str, str] = field(default_factory=dict)


def inputs_of(layer: keras.layers.Layer) -> list[keras.KerasTensor]:
    """The tensors that a layer takes, in the order of its arguments."""
    return layer.input if isinstance(layer.input, list) else [layer.input]


def make_plan(model: keras.Model) -> Plan:
    """Plans a functional model from `build_model`.

    An operator and the relu behind it are one in the file, so what lies between them has no range. Operators that keep
    the scale of what they take (concatenation, resize, pooling by the maximum, padding) put all of it into one range.

    Raises:
        UserError: a layer whose int8 operators are not simulated.
    """
    producer = {id(layer.output): layer for layer in model.layers}
    consumers: dict[str, list[keras.layers.Layer]] = {layer.name: [] for layer in model.layers}
    for layer in model.layers:
        for tensor in inputs_of(layer) if not isinstance(layer, layers.InputLayer) else []:
            consumers[producer[id(tensor)].name].append(layer)
    plan = Plan()
    head: dict[str, str] = {}
    for layer in model.layers:
        if isinstance(layer, layers.InputLayer):
            continue
        _check(layer)
        before = [producer[id(tensor)] for tensor in inputs_of(layer)]
        within = before[0].name in head and _becomes_one(before[0], consumers[before[0].name])
        head[layer.name] = head[before[0].name] if within else layer.name
        if isinstance(layer, layers.BatchNormalization):
            if not (within and isinstance(before[0], CONVOLUTIONS)):
                raise _unknown(layer)
            plan.norms[before[0].name] = layer.name
        if isinstance(layer, Normalize):
            plan.group[layer.name] = IMAGE
        elif isinstance(layer, _KEEP):
            _join(plan, layer, before)
        elif not _becomes_one(layer, consumers[layer.name]):
            group = head[layer.name]
            plan.group[layer.name], plan.sources[group] = group, [layer.name]
            plan.last[group] = layer.name
    return plan


def _becomes_one(layer: keras.layers.Layer, consumers: list[keras.layers.Layer]) -> bool:
    """Whether `layer` and the only layer behind it are one operator in the file."""
    if len(consumers) != 1:
        return False
    (behind,) = consumers
    linear = not isinstance(layer, CONVOLUTIONS) or layer.activation is keras.activations.linear
    if isinstance(behind, layers.BatchNormalization):
        return isinstance(layer, CONVOLUTIONS) and linear
    takes = (*CONVOLUTIONS, layers.BatchNormalization, layers.Add)
    fused = isinstance(behind, layers.Activation) and behind.activation in _FUSED
    return fused and isinstance(layer, takes) and linear


def _join(plan: Plan, layer: keras.layers.Layer, before: list[keras.layers.Layer]) -> None:
    """Puts the output of a layer that keeps the scale into the range of what it takes, which becomes one range."""
    taken = before if isinstance(layer, layers.Concatenate) else before[:1]
    if not all(b.name in plan.group for b in taken):
        raise _unknown(layer)
    names = [plan.group[b.name] for b in taken]
    joined = names[0]
    plan.group[layer.name] = joined
    for other in dict.fromkeys(names):
        if other != joined:
            plan.sources[joined] += plan.sources.pop(other)
            plan.group.update({name: joined for name, group in plan.group.items() if group == other})


def _check(layer: keras.layers.Layer) -> None:
    """Raises UserError for a layer that is not simulated."""
    known = isinstance(layer, (Normalize, *_COMPUTE, *_KEEP))
    activation = getattr(layer, "activation", None)
    if isinstance(layer, CONVOLUTIONS):
        known = activation in (keras.activations.linear, *_FUSED)
    elif isinstance(layer, layers.Activation):
        known = activation in (*_FUSED, *_ALONE)
    if not known:
        raise _unknown(layer)


def _unknown(layer: keras.layers.Layer) -> UserError:
    kind = type(layer).__name__
    remedy = "use mobilenet_v2, xception or resnet50_beta with head v1, v2, v3 or v3plus"
    return UserError("quantize_aware", f"the int8 form of layer {layer.name!r} ({kind}) is not simulated", remedy)
