"""Bias correction: compensates for the mean error that the rounding of kernels causes in a quantized file."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from deeplab.tflite.flatbuffer import CONVOLUTIONS, read_graph, serialize


def with_corrected_biases(content: bytes, reference: bytes, inputs: Iterable[np.ndarray]) -> bytes:
    """Return a quantized file whose convolutions have, on average, the output of the float file.

    Rounding changes a kernel by dW and the mean output by dW * E[x], which is subtracted from the bias (Nagel et al.,
    arXiv:1906.04721, sec. 4.2). E[x] is the mean of each input channel over images in the float network; padding at the
    borders is neglected.

    Args:
        content: int8 or int16x8, without attached files.
        reference: the same network in float.
        inputs: inputs of the float file, `[1, h, w, 3]` float32 each.

    Raises:
        ValueError: the files have different convolutions.
    """
    float_graph, graph = read_graph(reference), read_graph(content)
    before, after = ([op for op in each.operators if op.name in CONVOLUTIONS] for each in (float_graph, graph))
    if [op.name for op in before] != [op.name for op in after]:
        raise ValueError(f"{len(before)} convolutions in the float file, {len(after)} in the quantized one")
    means = _channel_means(reference, {op.inputs[0] for op in before}, inputs)
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    for old, new in zip(before, after, strict=True):
        bias = graph.tensors[new.inputs[2]] if len(new.inputs) > 2 else None
        if bias is None or bias.data is None or bias.quantization is None:
            continue  # The layer stayed float.
        change = graph.tensors[new.inputs[1]].values() - float_graph.tensors[old.inputs[1]].values()
        shift = _output_shift(old.name, change, means[old.inputs[0]])
        scale = np.asarray(bias.quantization.scale, np.float64)
        limits = np.iinfo(bias.data.dtype)
        corrected = bias.data.astype(np.int64) - np.round(shift / scale).astype(np.int64)
        _set_constant(model, new.inputs[2], np.clip(corrected, limits.min, limits.max).astype(bias.data.dtype))
    return serialize(model)


def _set_constant(model: Any, tensor: int, values: np.ndarray) -> None:
    """Set the values of a constant; a buffer that several tensors share is left unchanged and a new one is added."""
    tensors = model.subgraphs[0].tensors
    if sum(other.buffer == tensors[tensor].buffer for other in tensors) > 1:
        model.buffers.append(schema.BufferT())
        tensors[tensor].buffer = len(model.buffers) - 1
    model.buffers[tensors[tensor].buffer].data = np.frombuffer(values.tobytes(), np.uint8)


def _output_shift(operator: str, change: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Return the mean change of each output channel, `[out]`, for a change of the kernel and the mean input `[in]`."""
    if operator == "CONV_2D":  # Kernel [out, h, w, in].
        return np.asarray((change * mean).sum((1, 2, 3)))
    # Kernel [1, h, w, out], with out / in output channels per input channel.
    return np.asarray(change.sum((0, 1, 2)) * np.repeat(mean, change.shape[-1] // mean.size))


def _channel_means(content: bytes, tensors: set[int], inputs: Iterable[np.ndarray]) -> dict[int, np.ndarray]:
    """Return the mean of each channel over all inputs, for some tensors of a float file."""
    interpreter = litert.Interpreter(
        model_content=content,
        # XNNPACK does not preserve intermediate tensors.
        experimental_op_resolver_type=litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
        experimental_preserve_all_tensors=True,
        num_threads=2,
    )
    interpreter.allocate_tensors()
    image = interpreter.get_input_details()[0]["index"]
    means: dict[int, list[np.ndarray]] = {tensor: [] for tensor in tensors}
    for values in inputs:
        interpreter.set_tensor(image, values)
        interpreter.invoke()
        for tensor in tensors:
            means[tensor].append(interpreter.get_tensor(tensor).mean((0, 1, 2), dtype=np.float64))
    return {tensor: np.sum(of_images, axis=0) / len(of_images) for tensor, of_images in means.items()}
