"""Biases of a quantized file that make up for what the rounding of its kernels does on average."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from deeplab.tflite.flatbuffer import Operator, TfliteGraph, read_graph
from deeplab.tflite.packing import serialize

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def with_corrected_biases(content: bytes, reference: bytes, inputs: Iterable[np.ndarray]) -> bytes:
    """The quantized file with biases by which each convolution gives, on average, what that of the float file gives.

    Rounding changes a kernel by dW, and so the mean of what it gives by dW * E[x], a bias, which subtracts (Nagel et
    al., arXiv:1906.04721, sec. 4.2). E[x] is taken over pictures, in the float network, one number a channel; that the
    borders see padding is left out of account.

    Args:
        content: int8 or int16x8, without attached files.
        reference: the same network in float.
        inputs: `[1, h, w, 3]` float32, what the float file takes.

    Raises:
        ValueError: the files have not the same convolutions.
    """
    float_graph, graph = read_graph(reference), read_graph(content)
    before, after = _convolutions(float_graph), _convolutions(graph)
    if [op.name for op in before] != [op.name for op in after]:
        raise ValueError(f"{len(before)} convolutions in the float file, {len(after)} in the quantized one")
    means = _means(reference, float_graph, {op.inputs[0] for op in before}, inputs)
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for old, new in zip(before, after, strict=True):
        bias = graph.tensors[new.inputs[2]] if len(new.inputs) > 2 else None
        if bias is None or bias.data is None or bias.quantization is None:
            continue  # A layer that stayed float.
        change = graph.tensors[new.inputs[1]].values() - float_graph.tensors[old.inputs[1]].values()
        shift = _shift(old.name, change, means[old.inputs[0]])
        scale = np.asarray(bias.quantization.scale, np.float64)
        limits = np.iinfo(bias.data.dtype)
        corrected = np.clip(
            bias.data.astype(np.int64) - np.round(shift / scale).astype(np.int64), limits.min, limits.max
        )
        _set_constant(model, new.inputs[2], corrected.astype(bias.data.dtype))
    return serialize(model)


def _set_constant(model: Any, tensor: int, values: np.ndarray) -> None:
    """Gives a tensor other values, and a buffer of its own where several tensors share one."""
    tensors = model.subgraphs[0].tensors
    if sum(other.buffer == tensors[tensor].buffer for other in tensors) > 1:
        model.buffers.append(schema.BufferT())
        tensors[tensor].buffer = len(model.buffers) - 1
    model.buffers[tensors[tensor].buffer].data = np.frombuffer(values.tobytes(), np.uint8)


def _shift(kind: str, change: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """The mean change of each output channel, `[out]`, by a change of the kernel and the mean input `[in]`."""
    if kind == "CONV_2D":  # [out, h, w, in]
        return np.asarray((change * mean).sum((1, 2, 3)))
    # [1, h, w, out], each input channel having out / in of them.
    return np.asarray(change.sum((0, 1, 2)) * np.repeat(mean, change.shape[-1] // mean.size))


def _means(
    content: bytes, graph: TfliteGraph, tensors: set[int], inputs: Iterable[np.ndarray]
) -> Mapping[int, np.ndarray]:
    """The mean of each channel of some tensors of a float file."""
    interpreter = litert.Interpreter(
        model_content=content,
        # XNNPACK keeps no tensor that is not an output.
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
        num_threads=2,
    )
    interpreter.allocate_tensors()
    sums = {tensor: np.zeros(graph.tensors[tensor].shape[-1]) for tensor in tensors}
    number = 0
    for values in inputs:
        interpreter.set_tensor(graph.inputs[0], values)
        interpreter.invoke()
        number += 1
        for tensor in tensors:
            sums[tensor] += interpreter.get_tensor(tensor).mean((0, 1, 2), dtype=np.float64)
    return {tensor: total / max(number, 1) for tensor, total in sums.items()}


def _convolutions(graph: TfliteGraph) -> list[Operator]:
    return [op for op in graph.operators if op.name in CONVOLUTIONS]
