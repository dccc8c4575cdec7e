"""Selects the Keras layers that stay float in an int8 file, and finds their operators."""

import difflib
import fnmatch
from collections.abc import Sequence

from deeplab.errors import UserError, did_you_mean
from deeplab.tflite.flatbuffer import CROPS, DTYPE_CONVERSIONS, Operator, TfliteGraph
from deeplab.tflite.rewrite import layer_name


def chosen_layers(patterns: Sequence[str], layers: Sequence[str]) -> tuple[str, ...]:
    """Return the layers that match any pattern, in the model's order.

    Args:
        patterns: names of Keras layers; `*` matches any characters, `?` one character.
        layers: names of all layers of the model.

    Raises:
        UserError: a pattern matches no layer; the most similar name is suggested.
    """
    for pattern in patterns:
        if not fnmatch.filter(layers, pattern):
            remedy = did_you_mean(pattern, layers, f"its layers are {', '.join(layers[:3])}, ...", 0.4)
            raise UserError("float_layers", f"the model has no layer {pattern!r}", remedy)
    return tuple(name for name in layers if any(fnmatch.fnmatchcase(name, p) for p in patterns))


def operators_of(calibrated: TfliteGraph, layers: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the output tensors of the operators made from `layers`.

    A convolution with its batch norm and activation is one operator, which has the name of the convolution.

    Raises:
        UserError: no operator was made from any of the layers.
    """
    found = [op for op in calibrated.operators if layer_of(calibrated, op) in set(layers)]
    if not found:
        near = difflib.get_close_matches(layers[0], [layer_of(calibrated, op) for op in calibrated.operators], n=3)
        remedy = f"name the convolution, such as {', '.join(near)}" if near else "name a convolution, such as logits"
        raise UserError("float_layers", f"{', '.join(layers)}: not a separate operator in the file", remedy)
    return tuple(calibrated.tensors[op.outputs[0]].name for op in found)


def layer_of(graph: TfliteGraph, op: Operator) -> str:
    """Return the Keras layer that an operator was made from, or the name of its output if there is none."""
    name = layer_name(graph.tensors[op.outputs[0]].name).split(":")[0]
    # The output of a graph loses its layer's name; every network ends with the layer "logits".
    return "logits" if name.startswith("Identity") and op.name in ("CONV_2D", "ADD") else name


def float_operators(graph: TfliteGraph) -> tuple[str, ...]:
    """Return the layers whose operators compute in float, in execution order.

    Excludes dtype conversions and the resize and crop of float32 scores at the end.
    """
    operators = list(graph.operators)
    while operators and operators[-1].name in ("RESIZE_BILINEAR", *CROPS):
        operators.pop()
    computing = [op for op in operators if op.name not in DTYPE_CONVERSIONS]
    dtypes = [{graph.tensors[i].dtype for i in (*op.inputs, *op.outputs) if i >= 0} for op in computing]
    return tuple(layer_of(graph, op) for op, used in zip(computing, dtypes, strict=True) if "float32" in used)
