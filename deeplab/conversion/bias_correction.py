"""Biases of a quantized file that make up for what the rounding of its kernels does on average."""

from collections.abc import Mapping, Sequence, Set
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from deeplab.tflite.flatbuffer import Graph, Operator, read_graph
from deeplab.tflite.packing import serialized

CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def with_corrected_biases(content: bytes, reference: bytes, inputs: Sequence[np.ndarray]) -> bytes:
    """The quantized file with biases by which each convolution gives, on average, what that of the float file gives.

    Rounding changes a kernel by dW, and so the mean of what it gives by dW * E[x], a bias, which subtracts (Nagel et
    al., arXiv:1906.04721, sec. 4.2). E[x] is taken over pictures, in the float network, one number a channel; that the
    borders see padding is left out of account.

    In an int8 file activations are rounded and cut off as well. What that adds up to shows in the convolutions without
    an activation, whose means are compared one after the other, each behind the correction of those before it
    (appendix D there).

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
    linear = [op.outputs[0] for op in before if op.options["fused_activation_function"] == "NONE"]
    means = _means(reference, {op.inputs[0] for op in before} | set(linear), inputs)
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for old, new in zip(before, after, strict=True):
        change = graph.tensors[new.inputs[1]].values() - float_graph.tensors[old.inputs[1]].values()
        _subtract(model, graph, new, _shift(old.name, change, means[old.inputs[0]]))
    if any(tensor.dtype == "int16" for tensor in graph.tensors):
        return serialized(model)  # Steps too small to matter, and kernels too slow to look at each layer.
    for old, new in zip(before, after, strict=True):
        if old.outputs[0] in linear and graph.tensors[new.outputs[0]].dtype == "int8":
            found = _means(serialized(model), {new.outputs[0]}, inputs)[new.outputs[0]]
            _subtract(model, graph, new, found - means[old.outputs[0]])
    return serialized(model)


def _subtract(model: Any, graph: Graph, operator: Operator, shift: np.ndarray) -> None:
    """Takes `shift` `[out]` off the bias of a quantized convolution; one that stayed float keeps its own."""
    bias = graph.tensors[operator.inputs[2]] if len(operator.inputs) > 2 else None
    if bias is None or bias.data is None or bias.quantization is None:
        return
    place = model.subgraphs[0].tensors[bias.index].buffer
    values = np.frombuffer(bytes(model.buffers[place].data), bias.data.dtype).astype(np.int64)
    limits = np.iinfo(bias.data.dtype)
    moved = values - np.round(shift / np.asarray(bias.quantization.scale, np.float64)).astype(np.int64)
    _set_constant(model, bias.index, np.clip(moved, limits.min, limits.max).astype(bias.data.dtype))


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


def _means(content: bytes, tensors: Set[int], inputs: Sequence[np.ndarray]) -> Mapping[int, np.ndarray]:
    """The mean of each channel of some tensors of a file, as XNNPACK computes them, which apps run it by."""
    # XNNPACK keeps no tensor that is not an output; the input cannot be one.
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    (given,) = model.subgraphs[0].inputs
    computed = sorted(tensors - {given})
    model.subgraphs[0].outputs, model.signatureDefs, model.metadata = computed, None, None
    interpreter = litert.Interpreter(model_content=serialized(model), num_threads=2)
    interpreter.allocate_tensors()
    (entry,), found = interpreter.get_input_details(), interpreter.get_output_details()
    totals: dict[int, Any] = dict.fromkeys(tensors, 0.0)
    for values in inputs:
        interpreter.set_tensor(entry["index"], _stored(values, entry))
        interpreter.invoke()
        if given in totals:
            totals[given] += values.mean((0, 1, 2), dtype=np.float64)
        for tensor, detail in zip(computed, found, strict=True):
            scale, zero_point = detail["quantization"]
            mean = interpreter.get_tensor(detail["index"]).mean((0, 1, 2), dtype=np.float64)
            totals[tensor] += scale * (mean - zero_point) if scale else mean
    return {tensor: total / max(len(inputs), 1) for tensor, total in totals.items()}


def _stored(values: np.ndarray, entry: Mapping[str, Any]) -> np.ndarray:
    """Pixels -1..1 as an input stores them; the byte of each, which lies half a step off in a file for raw bytes."""
    scale, zero_point = entry["quantization"]
    if not scale:
        return values
    limits = np.iinfo(entry["dtype"])
    steps = np.floor(values / scale + zero_point + 0.501)
    return np.asarray(np.clip(steps, limits.min, limits.max), entry["dtype"])


def _convolutions(graph: Graph) -> list[Operator]:
    return [op for op in graph.operators if op.name in CONVOLUTIONS]
