"""The .tflite format (a FlatBuffer): operators, tensors and constants are parsed; files are written in compact form."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from deeplab.errors import UserError


def _enum_names(enum: type) -> dict[int, str]:
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
DTYPE_CONVERSIONS = ("QUANTIZE", "DEQUANTIZE")
"""Names of the operators that only change the dtype, or the scale and zero point, of a tensor."""
CROPS = ("STRIDED_SLICE", "SLICE")
_OPERATORS = _enum_names(schema.BuiltinOperator)
_TYPES = {value: name.lower() for value, name in _enum_names(schema.TensorType).items()}
_ENUM_OPTIONS = {
    "padding": _enum_names(schema.Padding),
    "fused_activation_function": _enum_names(schema.ActivationFunctionType),
    "output_type": _TYPES,
    "in_data_type": _TYPES,
    "out_data_type": _TYPES,
}


@dataclass(frozen=True)
class QuantizationParameters:
    """Scale and zero point of a quantized tensor: real = scale * (stored - zero_point).

    Attributes:
        scale: one value for the tensor, or one per index along `axis`.
        zero_point: as many values as `scale`.
        axis: the dimension along which scales differ, if there are several.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0

    @property
    def per_channel(self) -> bool:
        """Whether each channel has its own scale."""
        return len(self.scale) > 1


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of the graph.

    Attributes:
        index: the position in `TfliteGraph.tensors`.
        name: the name in the file.
        shape: the stored shape; dynamic dimensions are 1.
        signature: the shape with -1 for dynamic dimensions.
        dtype: "float32", "uint8", "int8", ..., "int4".
        quantization: scale and zero point; None if the tensor is not quantized.
        data: the stored values of a constant, `[shape]`, read-only; None for a computed tensor.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str
    quantization: QuantizationParameters | None
    data: np.ndarray | None

    def values(self) -> np.ndarray:
        """Return the constant as real numbers, `[shape]` float32; scale and zero point are applied.

        Raises:
            ValueError: the tensor is not a constant.
        """
        if self.data is None:
            raise ValueError(f"tensor {self.index} ({self.name}) is not a constant")
        if self.quantization is None:
            return self.data.astype(np.float32)
        shape = [1] * self.data.ndim
        if self.quantization.per_channel:
            shape[self.quantization.axis] = -1
        scale, zero_point = (np.reshape(v, shape) for v in (self.quantization.scale, self.quantization.zero_point))
        return np.asarray((self.data.astype(np.float64) - zero_point) * scale, np.float32)


@dataclass(frozen=True)
class Operator:
    """An operator of the graph.

    Attributes:
        name: the builtin name ("DEPTHWISE_CONV_2D"), or "CUSTOM:NAME".
        inputs: tensor indices, -1 for an omitted optional input.
        outputs: tensor indices.
        options: values by the schema's names in snake case: stride_h, stride_w, dilation_h_factor, dilation_w_factor,
            padding ("SAME", "VALID"), fused_activation_function ("NONE", "RELU6", ...), align_corners, ...
        version: of the operator; delegates refuse versions that they do not know.
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]
    version: int = 1


@dataclass(frozen=True, eq=False)
class TfliteGraph:
    """The parsed content of a file with one subgraph.

    Attributes:
        operators: in execution order.
        tensors: by index.
        inputs: tensor indices.
        outputs: tensor indices.
        description: text of the converter.
    """

    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    description: str

    def operator_counts(self) -> dict[str, int]:
        """Return how often each operator occurs, most frequent first."""
        return dict(Counter(op.name for op in self.operators).most_common())

    def producer(self, tensor: int) -> Operator | None:
        """Return the operator that computes a tensor; None for constants and graph inputs."""
        return next((op for op in self.operators if tensor in op.outputs), None)


def read_graph(content: bytes, name: str = "the model") -> TfliteGraph:
    """Parse the operators, tensors and constants of a .tflite file, which messages call `name`.

    Raises:
        UserError: the file is damaged, or has more than one subgraph.
    """
    try:
        model = schema.ModelT.InitFromPackedBuf(content, 0)
        if len(model.subgraphs) != 1:
            raise UserError(name, f"expected one subgraph, got {len(model.subgraphs)}", "give a file with one subgraph")
        subgraph = model.subgraphs[0]
        codes = [(operator_name(code), code.version) for code in model.operatorCodes]
        graph = TfliteGraph(
            operators=tuple(
                Operator(name, _numbers(op.inputs), _numbers(op.outputs), _options(op.builtinOptions), version)
                for op in subgraph.operators
                for name, version in (codes[op.opcodeIndex],)
            ),
            tensors=tuple(_tensor(i, t, model.buffers, content) for i, t in enumerate(subgraph.tensors)),
            inputs=_numbers(subgraph.inputs),
            outputs=_numbers(subgraph.outputs),
            description=_text(model.description),
        )
        _check_indices(graph)
        return graph
    except UserError:
        raise
    except Exception as error:
        # The generated parser does not validate the file: a wrong offset can raise any exception.
        raise UserError(name, "is damaged or truncated", "copy or export it again") from error


def serialize(model: Any) -> bytes:
    """Return the bytes of a ModelT of the schema in compact form; all values stay equal.

    The converter writes a scale and a zero point for each channel of each kernel and of each bias, 24 bytes per channel
    in total. All zero points are 0, so one list of them serves all tensors with the same number of channels. Equal
    shapes, strings and constants are written once in the same way.
    """
    builder = _SharingBuilder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def operator_name(code: Any) -> str:
    """Return the builtin name of an OperatorCodeT, or "CUSTOM:NAME".

    The code is the larger of two fields: files written before the one-byte field was deprecated use only that field.
    """
    name = _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
    return f"CUSTOM:{_text(code.customCode)}" if name == "CUSTOM" else name


def _check_indices(graph: TfliteGraph) -> None:
    """Raise ValueError if an operator or the graph refers to a tensor that does not exist."""
    count = len(graph.tensors)
    used = [i for op in graph.operators for i in op.inputs if i != -1]
    used += [i for op in graph.operators for i in op.outputs] + [*graph.inputs, *graph.outputs]
    if not all(0 <= i < count for i in used):
        raise ValueError(f"expected indices of {count} tensors")


def _options(options: Any) -> Mapping[str, Any]:
    """Return the options of an operator by snake-case name, enumerations as names."""
    result = {}
    for name, value in vars(options).items() if options is not None else ():
        key = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        is_list = isinstance(value, (list, np.ndarray))
        result[key] = tuple(np.asarray(value).tolist()) if is_list else _ENUM_OPTIONS.get(key, {}).get(value, value)
    return MappingProxyType(result)


def _tensor(index: int, tensor: Any, buffers: list[Any], content: bytes) -> Tensor:
    """Return the tensor at `index`, with its data if it is a constant."""
    shape = _numbers(tensor.shape)
    stored, quantization = tensor.quantization, None
    if stored is not None and stored.scale is not None and len(stored.scale):
        scale = tuple(float(s) for s in stored.scale)
        zero_point = _numbers(stored.zeroPoint) or (0,) * len(scale)
        quantization = QuantizationParameters(scale, zero_point, int(stored.quantizedDimension))
    signature, dtype = _numbers(tensor.shapeSignature) or shape, _TYPES[tensor.type]
    data = _constant(buffers[tensor.buffer], dtype, shape, content)
    return Tensor(index, _text(tensor.name), shape, signature, dtype, quantization, data)


def _constant(buffer: Any, dtype: str, shape: tuple[int, ...], content: bytes) -> np.ndarray | None:
    """Return the stored values of a buffer; None if it is empty, because the tensor is computed."""
    raw = content[buffer.offset : buffer.offset + buffer.size]
    if not buffer.size:
        raw = b"" if buffer.data is None else np.asarray(buffer.data, np.uint8).tobytes()
    if not raw:
        return None
    if dtype in ("int4", "string", "resource", "variant"):
        return np.frombuffer(raw, np.uint8)
    return np.frombuffer(raw, np.dtype(dtype)).reshape(shape)


def _numbers(values: Any) -> tuple[int, ...]:
    return () if values is None else tuple(int(v) for v in values)


def _text(value: bytes | str | None) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""


class _SharingBuilder(flatbuffers.Builder):
    """Writes each distinct vector and string once, and aligns byte vectors for kernels."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def CreateNumpyVector(self, x: np.ndarray) -> int:  # noqa: N802
        """Write a vector, or return the offset of an equal one that is written already."""
        key = (x.dtype.str, x.tobytes())
        if key not in self._written:
            if x.dtype == np.uint8:
                # The schema requires an alignment of 16 bytes, because kernels read constants in place.
                self.StartVector(1, x.size, 16)
                self.head -= x.size
                self.Bytes[self.head : self.head + x.size] = key[1]
                self.vectorNumElems = x.size
                self._written[key] = self.EndVector()
            else:
                self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]

    def CreateString(self, s: Any, *settings: Any) -> int:  # noqa: N802
        key = ("string", s if isinstance(s, bytes) else s.encode())
        if key not in self._written:
            self._written[key] = super().CreateString(s, *settings)
        return self._written[key]
