"""What the runtimes of this machine themselves say about delegates: XNNPACK in LiteRT, and the GPU check of TFLite."""

import contextlib
import importlib.metadata
import io
import re
import sys
from functools import cache
from typing import Any

from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from deeplab.quiet import quiet
from deeplab.tflite.flatbuffer import TfliteGraph, serialize
from deeplab.tflite.tflite_file import TfliteFile

_REFUSED = "SHAPE"
"""An operator that no GPU delegate has (LiteRT, tflite/tools/versioning/gpu_compatibility.cc)."""


def xnnpack_operators(file: TfliteFile) -> frozenset[int] | None:
    """Return the indices of the operators that LiteRT gives to XNNPACK on this machine; None if it does not say.

    LiteRT replaces connected operators by a node DELEGATE. They are those on the way back from its outputs to its
    inputs.
    """
    with quiet():
        interpreter: Any = litert.Interpreter(model_content=file.content, num_threads=1)
        interpreter.allocate_tensors()
    # Not part of the public interface.
    details = getattr(interpreter, "_get_ops_details", None)
    if details is None:
        return None
    nodes = [op for op in details() if op["op_name"] == "DELEGATE"]
    return frozenset(i for n in nodes for i in _between(file.graph, set(n["inputs"]), [*n["outputs"]]))


def gpu_analysis(content: bytes) -> tuple[str, str]:
    """Return the verdict of TFLite's model analyzer on the classic GPU delegate, and its text.

    It is `tf.lite.experimental.Analyzer` if TensorFlow is loaded, and else the same function in LiteRT, because loading
    TensorFlow takes seconds. The releases of 2025 and 2026 call every file compatible: the check was removed from
    tflite/python/analyzer_wrapper/model_analyzer.cc. A file with an operator that no GPU delegate has shows whether the
    installed one checks anything.

    Args:
        content: of a .tflite file.
    """
    text = _analyze(content)
    issues = re.findall(r"GPU COMPATIBILITY WARNING: (Subgraph.*)", text)
    if issues:
        verdict = issues[0]
    elif _analyzer_checks():
        verdict = "compatible"
    else:
        verdict = f"no verdict: it calls {_REFUSED} compatible too, which no GPU delegate has"
    return f"{_analyzer_name()}: {verdict}", text


def _between(graph: TfliteGraph, inputs: set[int], outputs: list[int]) -> set[int]:
    """Return the indices of the operators on the way from `outputs` back to `inputs`."""
    found, reached = set(), set(outputs)
    for i, op in reversed([*enumerate(graph.operators)]):
        if reached & set(op.outputs):
            found.add(i)
            reached |= set(op.inputs) - inputs
    return found


def _analyzer_name() -> str:
    package, title = ("tensorflow", "TensorFlow") if "tensorflow" in sys.modules else ("ai-edge-litert", "LiteRT")
    return f"Analyzer of {title} {importlib.metadata.version(package)}"


def _analyze(content: bytes) -> str:
    if "tensorflow" in sys.modules:
        import tensorflow as tf

        # It prints its result.
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            tf.lite.experimental.Analyzer.analyze(model_content=content, gpu_compatibility=True)
        return printed.getvalue()
    from ai_edge_litert import _pywrap_analyzer_wrapper

    return str(_pywrap_analyzer_wrapper.ModelAnalyzer(content, False, True))


@cache
def _analyzer_checks() -> bool:
    """Return whether the analyzer objects to an operator that no GPU delegate has."""
    return "COMPATIBILITY WARNING" in _analyze(_refused_file())


def _refused_file() -> bytes:
    """Return a file with the single operator `_REFUSED`."""
    code, op, graph, model = schema.OperatorCodeT(), schema.OperatorT(), schema.SubGraphT(), schema.ModelT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, _REFUSED)
    code.version = 1
    op.opcodeIndex, op.inputs, op.outputs = 0, [0], [1]
    op.builtinOptionsType, op.builtinOptions = schema.BuiltinOptions.ShapeOptions, schema.ShapeOptionsT()
    op.builtinOptions.outType = schema.TensorType.INT32
    graph.tensors = [schema.TensorT(), schema.TensorT()]
    for tensor, shape, dtype in zip(graph.tensors, ([1, 3], [2]), ("FLOAT32", "INT32"), strict=True):
        tensor.name, tensor.shape, tensor.buffer = dtype, shape, 0
        tensor.type = getattr(schema.TensorType, dtype)
    graph.inputs, graph.outputs, graph.operators = [0], [1], [op]
    model.version, model.operatorCodes, model.subgraphs, model.buffers = 3, [code], [graph], [schema.BufferT()]
    return serialize(model)
