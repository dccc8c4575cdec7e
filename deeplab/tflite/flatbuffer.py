"""What a .tflite file is made of: operators, tensors and constants."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from deeplab.errors import UserError


def _enum_names(enum: type) -> dict[int, str]:
    """Names of a schema enumeration by value."""
    return {value: name for name, value in vars(enum).items() if isinstance(value, int)}


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
    """real = scale * (stored - zero_point).

    Attributes:
        scale: one value, or one for each index of `axis`.
        zero_point: as many.
        axis: the quantized dimension where there are several.
    """

    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    axis: int = 0

    @property
    def per_channel(self) -> bool:
        """Whether each channel has a scale of its own."""
        return len(self.scale) > 1


@dataclass(frozen=True, eq=False)
class Tensor:
    """A tensor of the file.

    Attributes:
        index: its number in the file.
        name: as the converter left it.
        shape: as stored, 1 where a size is free.
        signature: the shape with -1 where a size is free.
        dtype: "float32", "uint8", "int8", ..., "int4".
        quantization: None where there is none.
        data: the constant's stored values `[shape]`, read-only; None where the tensor is computed.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: str
    quantization: QuantizationParameters | None
    data: np.ndarray | None

    def values(self) -> np.ndarray:
        """The constant as real numbers, `[shape]` float32; scale and zero point applied where it is quantized.

        Raises:
            ValueError: the tensor is no constant.
        """
        if self.data is None:
            raise ValueError(f"tensor {self.index} ({self.name}) is no constant")
        if self.quantization is None:
            return self.data.astype(np.float32)
        shape = [1] * self.data.ndim
        if self.quantization.per_channel:
            shape[self.quantization.axis] = -1
        scale, zero_point = (
            np.reshape(v, shape) if self.data.ndim else np.float64(v[0])
            for v in (self.quantization.scale, self.quantization.zero_point)
        )
        return np.asarray((self.data.astype(np.float64) - zero_point) * scale, np.float32)


@dataclass(frozen=True)
class Operator:
    """An operator of the file, in the order of execution.

    Attributes:
        name: the builtin name ("DEPTHWISE_CONV_2D"), or "CUSTOM:NAME".
        inputs: tensor numbers, -1 where an optional one is left out.
        outputs: tensor numbers.
        options: by the schema's names in snake case: stride_h, stride_w, dilation_h_factor, dilation_w_factor, padding
            ("SAME", "VALID"), fused_activation_function ("NONE", "RELU6", ...), align_corners, ...
    """

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class TfliteGraph:
    """All of a file with one subgraph.

    Attributes:
        operators: in the order of execution.
        tensors: by number.
        inputs: tensor numbers.
        outputs: tensor numbers.
        description: who converted it.
    """

    operators: tuple[Operator, ...]
    tensors: tuple[Tensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    description: str

    def operator_counts(self) -> dict[str, int]:
        """How often each operator occurs, most frequent first."""
        return dict(Counter(op.name for op in self.operators).most_common())

    def producer(self, tensor: int) -> Operator | None:
        """The operator that computes tensor number `tensor`; None for constants and inputs."""
        return next((op for op in self.operators if tensor in op.outputs), None)


def read_file(source: str | Path | bytes) -> tuple[str, bytes]:
    """(name for messages, content) of a .tflite file or of its bytes.

    Raises:
        UserError: there is no such file, or it does not begin like a .tflite file.
    """
    if isinstance(source, (bytes, bytearray)):
        name, content = "the model", bytes(source)
    else:
        name = str(source)
        try:
            content = Path(source).read_bytes()
        except OSError as e:
            raise UserError(name, f"cannot be read: {e.strerror}", "give the path of a .tflite file") from e
    if content[4:8] != b"TFL3":
        raise UserError(name, f"{len(content)} bytes that are no .tflite file", "give a .tflite file")
    return name, content


CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
"""Names of the convolution operators."""


def read_graph(content: bytes, name: str = "the model") -> TfliteGraph:
    """Parse the operators, tensors and constants of a .tflite file.

    Args:
        content: the bytes of the file.
        name: the file, for messages.

    Raises:
        UserError: the file is damaged, or has more than one subgraph.
    """
    try:
        return _graph(schema.ModelT.InitFromPackedBuf(content, 0), content, name)
    except UserError:
        raise
    except Exception as e:
        # The generated reader checks nothing: bad offsets surface as whatever they happen to hit.
        raise UserError(name, "damaged or cut short", "copy or export it again") from e


def _graph(model: Any, content: bytes, name: str) -> TfliteGraph:
    """The frozen form of the schema's own objects."""
    if len(model.subgraphs) != 1:
        raise UserError(name, f"has {len(model.subgraphs)} subgraphs", "only files with one are understood")
    subgraph = model.subgraphs[0]
    names = [_operator_name(code) for code in model.operatorCodes]
    return TfliteGraph(
        operators=tuple(
            Operator(names[op.opcodeIndex], _numbers(op.inputs), _numbers(op.outputs), _options(op.builtinOptions))
            for op in subgraph.operators
        ),
        tensors=tuple(_tensor(i, t, model.buffers, content) for i, t in enumerate(subgraph.tensors)),
        inputs=_numbers(subgraph.inputs),
        outputs=_numbers(subgraph.outputs),
        description=_text(model.description),
    )


def _operator_name(code: Any) -> str:
    """Builtin name of an operator code; old files keep it in a field of its own."""
    name = _OPERATORS[max(code.builtinCode, code.deprecatedBuiltinCode)]
    return f"CUSTOM:{_text(code.customCode)}" if name == "CUSTOM" else name


def _options(options: Any) -> Mapping[str, Any]:
    """The options by snake-case names, enumerations by their names."""
    found = {}
    for name, value in vars(options).items() if options is not None else ():
        key = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
        if key in _ENUM_OPTIONS:
            value = _ENUM_OPTIONS[key].get(value, value)
        found[key] = tuple(np.asarray(value).tolist()) if isinstance(value, (list, np.ndarray)) else value
    return MappingProxyType(found)


def _tensor(index: int, tensor: Any, buffers: list[Any], content: bytes) -> Tensor:
    """One tensor with its constant, if any."""
    shape = _numbers(tensor.shape)
    quantization = tensor.quantization
    found = None
    if quantization is not None and quantization.scale is not None and len(quantization.scale):
        scale = tuple(float(s) for s in quantization.scale)
        zero_point = _numbers(quantization.zeroPoint) or (0,) * len(scale)
        found = QuantizationParameters(scale, zero_point, int(quantization.quantizedDimension))
    dtype = _TYPES[tensor.type]
    return Tensor(
        index=index,
        name=_text(tensor.name),
        shape=shape,
        signature=_numbers(tensor.shapeSignature) or shape,
        dtype=dtype,
        quantization=found,
        data=_constant(buffers[tensor.buffer], dtype, shape, content),
    )


def _constant(buffer: Any, dtype: str, shape: tuple[int, ...], content: bytes) -> np.ndarray | None:
    """The stored values of a constant."""
    if buffer.size:
        raw = content[buffer.offset : buffer.offset + buffer.size]
    elif buffer.data is not None and len(buffer.data):
        raw = np.asarray(buffer.data, np.uint8).tobytes()
    else:
        return None
    if dtype in ("int4", "string", "resource", "variant"):
        return np.frombuffer(raw, np.uint8)
    return np.frombuffer(raw, np.dtype(dtype)).reshape(shape)


def _numbers(values: Any) -> tuple[int, ...]:
    """A schema vector as a tuple."""
    return () if values is None else tuple(int(v) for v in values)


def _text(value: bytes | str | None) -> str:
    """A schema string."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value or ""
