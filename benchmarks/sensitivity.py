"""Which layers lose most by int8: what to name in `float_layers`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert

from deeplab.conversion.convert import quantize
from deeplab.conversion.float_layers import CONVERSIONS, layer_of
from deeplab.quiet import quiet
from deeplab.tflite.flatbuffer import Operator, TfliteGraph, read_graph
from deeplab.tflite.interpreter import TfliteModel, dequantize
from deeplab.tflite.packing import layer_name, rename_tensors


@dataclass(frozen=True)
class Sensitivity:
    """What int8 does to one operator.

    Attributes:
        layer: its Keras layer.
        kind: "CONV_2D", ...
        error: rms(int8 - float) / standard deviation of what it gives, with all before it in int8 too.
        remaining: the same for the scores of the file where this operator alone stays float; None where not tried.
    """

    layer: str
    kind: str
    error: float
    remaining: float | None = None


def sensitivities(
    calibrated: bytes, pictures: Sequence[np.ndarray], tried: int = 12
) -> tuple[float, list[Sensitivity]]:
    """Measures each operator of a network that computes in int8.

    Args:
        calibrated: from `convert.calibrate`.
        pictures: `[h, w, 3]` uint8 at the model's size.
        tried: how many operators are kept float in turn, to see what that brings: those that add most to the error of
            what they take.

    Returns:
        The error of the scores in int8; and the operators in the order of execution.
    """
    files = {"float": rename_tensors(calibrated, layer_name), "int8": quantize(calibrated)}
    graph = read_graph(files["float"])
    values = {kind: [_activations(content, p) for p in pictures] for kind, content in files.items()}
    found = []
    for op in graph.operators:
        name = graph.tensors[op.outputs[0]].name
        if op.name not in CONVERSIONS and all(name in v for v in values["int8"]):
            errors = [_error(a[name], b[name]) for a, b in zip(values["int8"], values["float"], strict=True)]
            found.append((op, Sensitivity(layer_of(graph, op), op.name, float(np.mean(errors)))))
    wanted = [TfliteModel(files["float"])(p) for p in pictures]
    whole = _score_error(files["int8"], pictures, wanted)
    steps = _added(graph, found)
    worst = sorted(range(len(found)), key=lambda i: -steps[i])[:tried]
    names = {layer_name(t.name): t.name for t in read_graph(calibrated).tensors}
    result = []
    for i, (op, entry) in enumerate(found):
        remaining = None
        if i in worst:
            original = names[graph.tensors[op.outputs[0]].name]
            remaining = _score_error(quantize(calibrated, float_operators=[original]), pictures, wanted)
        result.append(Sensitivity(entry.layer, entry.kind, entry.error, remaining))
    return whole, result


def _added(graph: TfliteGraph, found: list[tuple[Operator, Sensitivity]]) -> list[float]:
    """By how much the error of each operator exceeds the largest one of what it takes."""
    errors = {op.outputs[0]: entry.error for op, entry in found}
    return [entry.error - max((errors.get(i, 0.0) for i in op.inputs), default=0.0) for op, entry in found]


def _score_error(content: bytes, pictures: Sequence[np.ndarray], wanted: Sequence[np.ndarray]) -> float:
    model = TfliteModel(content)
    return float(np.mean([_error(model(p), w) for p, w in zip(pictures, wanted, strict=True)]))


def _error(found: np.ndarray, wanted: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.square(found - wanted))) / max(float(wanted.std()), 1e-12))


def _activations(content: bytes, picture: np.ndarray) -> dict[str, np.ndarray]:
    """What each operator of a file gives for a picture, as real numbers, by the name of the tensor."""
    model, graph = TfliteModel(content), read_graph(content)
    with quiet():
        # The delegate keeps what is between operators to itself.
        interpreter: Any = litert.Interpreter(
            model_content=content,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        interpreter.set_tensor(graph.inputs[0], model.prepare(picture))
        interpreter.invoke()
    tensors = [graph.tensors[i] for op in graph.operators for i in op.outputs]
    return {t.name: dequantize(interpreter.get_tensor(t.index), t.quantization) for t in tensors}
