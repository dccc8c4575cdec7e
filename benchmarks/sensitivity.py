"""Measures the error that int8 causes in each layer, to choose `float_layers`."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert

from deeplab.conversion.agreement import relative_error
from deeplab.conversion.convert import quantize
from deeplab.conversion.float_layers import layer_of
from deeplab.quiet import quiet
from deeplab.tflite.flatbuffer import DTYPE_CONVERSIONS, Operator, read_graph
from deeplab.tflite.interpreter import TfliteModel, dequantize
from deeplab.tflite.rewrite import layer_name, rename_tensors


@dataclass(frozen=True)
class Sensitivity:
    """The error that int8 causes in one operator.

    Attributes:
        layer: its Keras layer.
        operator: "CONV_2D", ...
        error: relative error of its output (see `relative_error`); all earlier operators are int8 as well.
        score_error: relative error of the scores if only this operator stays float; None if not measured.
    """

    layer: str
    operator: str
    error: float
    score_error: float | None = None


def sensitivities(
    calibrated: bytes, images: Sequence[np.ndarray], measured: int = 12
) -> tuple[float, list[Sensitivity]]:
    """Measure the error of each operator of a network in int8.

    Args:
        calibrated: from `convert.calibrate`.
        images: `[h, w, 3]` uint8 at the model's size.
        measured: for how many operators `score_error` is measured: those that add most to the error of their inputs.

    Returns:
        The relative error of the scores in int8, and the operators in execution order.
    """
    float_file, int8_file = rename_tensors(calibrated, layer_name), quantize(calibrated)
    graph = read_graph(float_file)
    float_values = [_activations(float_file, image) for image in images]
    int8_values = [_activations(int8_file, image) for image in images]
    found: list[tuple[Operator, Sensitivity]] = []
    for op in graph.operators:
        name = graph.tensors[op.outputs[0]].name
        if op.name not in DTYPE_CONVERSIONS and all(name in values for values in int8_values):
            errors = [relative_error(a[name], b[name]) for a, b in zip(int8_values, float_values, strict=True)]
            found.append((op, Sensitivity(layer_of(graph, op), op.name, float(np.mean(errors)))))
    float_model = TfliteModel(float_file)
    expected = [float_model(image) for image in images]
    added = _added_errors(found)
    worst = sorted(range(len(found)), key=lambda i: -added[i])[:measured]
    original_names = {layer_name(t.name): t.name for t in read_graph(calibrated).tensors}
    result = [entry for _, entry in found]
    for i in worst:
        original = original_names[graph.tensors[found[i][0].outputs[0]].name]
        content = quantize(calibrated, float_operators=[original])
        result[i] = replace(result[i], score_error=_score_error(content, images, expected))
    return _score_error(int8_file, images, expected), result


def _added_errors(found: list[tuple[Operator, Sensitivity]]) -> list[float]:
    """Return by how much the error of each operator exceeds the largest error of its inputs."""
    errors = {op.outputs[0]: entry.error for op, entry in found}
    return [entry.error - max((errors.get(i, 0.0) for i in op.inputs), default=0.0) for op, entry in found]


def _score_error(content: bytes, images: Sequence[np.ndarray], expected: Sequence[np.ndarray]) -> float:
    """Return the mean relative error of the scores of a file."""
    model = TfliteModel(content)
    return float(np.mean([relative_error(model(image), e) for image, e in zip(images, expected, strict=True)]))


def _activations(content: bytes, image: np.ndarray) -> dict[str, np.ndarray]:
    """Return the outputs of all operators for an image, as real numbers by tensor name."""
    model = TfliteModel(content)
    graph = model.graph
    with quiet():
        # XNNPACK does not preserve intermediate tensors.
        interpreter: Any = litert.Interpreter(
            model_content=content,
            experimental_preserve_all_tensors=True,
            experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        )
        interpreter.allocate_tensors()
        interpreter.set_tensor(graph.inputs[0], model.prepare(image))
        interpreter.invoke()
    tensors = [graph.tensors[i] for op in graph.operators for i in op.outputs]
    return {t.name: dequantize(interpreter.get_tensor(t.index), t.quantization) for t in tensors}
