"""Small .tflite files with one operator, written object by object, without a converter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from deeplab.tflite.flatbuffer import serialize

OPTIONS = {
    "ADD": "Add",
    "ARG_MAX": "ArgMax",
    "AVERAGE_POOL_2D": "Pool2D",
    "CONCATENATION": "Concatenation",
    "CONV_2D": "Conv2D",
    "MAX_POOL_2D": "Pool2D",
    "MUL": "Mul",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2D",
    "MEAN": "Reducer",
    "RESIZE_BILINEAR": "ResizeBilinear",
    "RESIZE_NEAREST_NEIGHBOR": "ResizeNearestNeighbor",
    "SOFTMAX": "Softmax",
    "STRIDED_SLICE": "StridedSlice",
    "SUB": "Sub",
}
"""The schema's names of the options of an operator."""


@dataclass(frozen=True)
class Spec:
    """A tensor: dtype, shape, constant values or None, scales (several: per channel along `axis`), free batch size.

    Without scales, integers of 8 and 16 bits get 0.1.
    """

    dtype: str
    shape: tuple[int, ...]
    data: np.ndarray | None = None
    scale: Sequence[float] = ()
    zero_point: int = 0
    axis: int = 0
    dynamic: bool = False


def floats(*shape: int) -> Spec:
    return Spec("float32", shape)


def bytes8(*shape: int, dtype: str = "int8", **values: Any) -> Spec:
    return Spec(dtype, shape, **values)


def constant(values: Any, dtype: str = "int32", **settings: Any) -> Spec:
    data = np.asarray(values, dtype)
    return Spec(dtype, data.shape, data, **settings)


def operator_file(name: str, inputs: Sequence[Spec | None], output: Spec, version: int = 1, **options: Any) -> bytes:
    """Return a file with one operator; `options` have the schema's names (strideH); None is an omitted input."""
    model, graph, op, code = schema.ModelT(), schema.SubGraphT(), schema.OperatorT(), schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, name)
    code.deprecatedBuiltinCode, code.version = min(code.builtinCode, 127), version
    if name in OPTIONS:
        op.builtinOptionsType = getattr(schema.BuiltinOptions, f"{OPTIONS[name]}Options")
        op.builtinOptions = getattr(schema, f"{OPTIONS[name]}OptionsT")()
        for key, value in options.items():
            assert hasattr(op.builtinOptions, key), key
            setattr(op.builtinOptions, key, value)
    model.buffers, graph.tensors, op.inputs = [schema.BufferT()], [], []
    for spec in inputs:
        op.inputs.append(-1 if spec is None else len(graph.tensors))
        if spec is not None:
            graph.tensors.append(_tensor(spec, model.buffers))
    graph.inputs = [i for i in op.inputs if i >= 0 and graph.tensors[i].buffer == 0]
    op.outputs = graph.outputs = [len(graph.tensors)]
    graph.tensors.append(_tensor(output, model.buffers))
    op.opcodeIndex, graph.operators = 0, [op]
    model.version, model.operatorCodes, model.subgraphs = 3, [code], [graph]
    return serialize(model)


def _tensor(spec: Spec, buffers: list[Any]) -> Any:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.buffer = f"tensor{len(buffers)}", list(spec.shape), 0
    tensor.type = getattr(schema.TensorType, spec.dtype.upper())
    if spec.dynamic:
        tensor.shapeSignature = [-1, *spec.shape[1:]]
    if spec.data is not None:
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(spec.data.tobytes(), np.uint8)
        buffers.append(buffer)
        tensor.buffer = len(buffers) - 1
    scale = spec.scale or ((0.1,) if spec.dtype in ("int8", "uint8", "int16") else ())
    if scale:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.asarray(scale, np.float32)
        tensor.quantization.zeroPoint = np.full(len(scale), spec.zero_point, np.int64)
        tensor.quantization.quantizedDimension = spec.axis
    return tensor
