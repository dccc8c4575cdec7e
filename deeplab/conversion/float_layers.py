"""Which layers of an int8 file stay float, and which operators that makes."""

import difflib
import fnmatch
from collections.abc import Sequence

from deeplab.errors import UserError
from deeplab.tflite.flatbuffer import Operator, TfliteGraph
from deeplab.tflite.packing import layer_name

CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
_TAIL = ("RESIZE_BILINEAR", "STRIDED_SLICE", "SLICE")
_LAST_LAYERS = ("CONV_2D", "ADD")


def chosen_layers(patterns: Sequence[str], layers: Sequence[str]) -> tuple[str, ...]:
    """The layers that patterns mean, in the model's order.

    Args:
        patterns: names of Keras layers; `*` and `?` stand for several letters and for one.
        layers: names of all layers of the model.

    Raises:
        UserError: a pattern that fits no layer; names like it are listed.
    """
    for pattern in patterns:
        if not fnmatch.filter(layers, pattern):
            near = difflib.get_close_matches(pattern, layers, n=5, cutoff=0.4)
            known = f"close to it: {', '.join(near)}" if near else f"there are {', '.join(layers[:3])}, ..."
            raise UserError("float_layers", f"the model has no layer {pattern!r}", known)
    return tuple(name for name in layers if any(fnmatch.fnmatchcase(name, p) for p in patterns))


def operators_of(calibrated: TfliteGraph, layers: Sequence[str]) -> tuple[str, ...]:
    """Names of the tensors computed by the operators that layers became.

    A convolution with its batch norm and activation is one operator, which bears the name of the convolution.

    Raises:
        UserError: none of the layers has an operator of its own.
    """
    found = [op for op in calibrated.operators if layer_of(calibrated, op) in set(layers)]
    if not found:
        near = difflib.get_close_matches(layers[0], [layer_of(calibrated, op) for op in calibrated.operators], n=3)
        known = f"name its convolution, such as {', '.join(near)}" if near else "name a convolution, such as logits"
        raise UserError("float_layers", f"{', '.join(layers)}: not an operator of its own in the file", known)
    return tuple(calibrated.tensors[op.outputs[0]].name for op in found)


def layer_of(graph: TfliteGraph, op: Operator) -> str:
    """The Keras layer that an operator was made from; the name of what it computes, where it is from none."""
    name = layer_name(graph.tensors[op.outputs[0]].name).split(":")[0]
    # What is last in a graph has lost its layer's name, and each network ends with the layer "logits".
    return "logits" if name.startswith("Identity") and op.name in _LAST_LAYERS else name


def float_operators(graph: TfliteGraph) -> tuple[str, ...]:
    """Names of the layers whose operators compute in float, in the order of execution.

    Conversions are none, nor are the resize and the crop that scores of type float32 go through at the end.
    """
    found = []
    for op in graph.operators[: len(graph.operators) - _tail_length(graph)]:
        tensors = [graph.tensors[i] for i in (*op.inputs, *op.outputs) if i >= 0]
        if op.name not in CONVERSIONS and any(t.dtype == "float32" for t in tensors):
            found.append(layer_of(graph, op))
    return tuple(found)


def _tail_length(graph: TfliteGraph) -> int:
    """How many operators behind the network enlarge and crop what it gives."""
    kinds = [op.name in _TAIL for op in reversed(graph.operators)]
    return kinds.index(False) if False in kinds else len(kinds)
