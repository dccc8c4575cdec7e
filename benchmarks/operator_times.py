"""Measures the time of each operator of a .tflite file."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from deeplab.conversion.float_layers import layer_of
from deeplab.quiet import quiet
from deeplab.tflite.flatbuffer import serialize
from deeplab.tflite.interpreter import TfliteModel


@dataclass(frozen=True)
class OperatorTime:
    """The time of one operator.

    Attributes:
        name: "CONV_2D", ...
        layer: the Keras layer, or the name of the output tensor if there is none.
        shape: of the output.
        milliseconds: median time when run alone.
    """

    name: str
    layer: str
    shape: tuple[int, ...]
    milliseconds: float


@dataclass(frozen=True)
class Profile:
    """The times of a file.

    Attributes:
        total: median milliseconds per image of the whole file.
        operators: in execution order.
    """

    total: float
    operators: tuple[OperatorTime, ...]

    @property
    def by_name(self) -> list[tuple[str, float, int]]:
        """(operator name, milliseconds, count), slowest first."""
        times: dict[str, float] = {}
        for op in self.operators:
            times[op.name] = times.get(op.name, 0.0) + op.milliseconds
        counts = Counter(op.name for op in self.operators)
        return [(name, times[name], counts[name]) for name in sorted(times, key=lambda name: -times[name])]

    @property
    def slowest(self) -> list[OperatorTime]:
        """All operators, slowest first."""
        return sorted(self.operators, key=lambda op: -op.milliseconds)


def profile(content: bytes, threads: int = 1, rounds: int = 15) -> Profile:
    """Measure each operator of a file with XNNPACK kernels.

    LiteRT's Python interpreter has no profiler. Each operator is therefore extracted into a separate model, and every
    round runs the whole file and each of these models once. This misses what kernels gain by running in sequence:
    compare the sum of the operators with the total. TensorFlow's benchmark tool profiles inside the runtime
    (`--enable_op_profiling`).

    Args:
        content: the bytes of the file.
        threads: threads of each interpreter.
        rounds: measured runs, whose median is taken, after one warm-up run.

    Raises:
        UserError: the content is not a .tflite file, or is damaged.
    """
    rng = np.random.default_rng(0)
    model = TfliteModel(content, threads)
    graph = model.graph
    image = model.prepare(rng.integers(0, 256, (*model.image_size, 3), np.uint8))
    parts = [_OperatorRun(_extract(content, i), threads, rng) for i in range(len(graph.operators))]
    times = np.zeros((rounds + 1, len(parts) + 1))
    for i in range(rounds + 1):
        start = time.perf_counter()
        model.run(image)
        times[i, -1] = time.perf_counter() - start
        for j, part in enumerate(parts):
            times[i, j] = part.seconds()
    medians = 1000 * np.median(times[1:], axis=0)
    return Profile(
        float(medians[-1]),
        tuple(
            OperatorTime(op.name, layer_of(graph, op), graph.tensors[op.outputs[0]].shape, float(ms))
            for op, ms in zip(graph.operators, medians[:-1], strict=True)
        ),
    )


class _OperatorRun:
    """An interpreter with one operator and random inputs."""

    def __init__(self, content: bytes, threads: int, rng: np.random.Generator) -> None:
        with quiet():
            self._interpreter: Any = litert.Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        for detail in self._interpreter.get_input_details():
            self._interpreter.set_tensor(detail["index"], _random(tuple(detail["shape"]), detail["dtype"], rng))

    def seconds(self) -> float:
        start = time.perf_counter()
        self._interpreter.invoke()
        return time.perf_counter() - start


def _random(shape: tuple[int, ...], dtype: type, rng: np.random.Generator) -> np.ndarray:
    """Return random values of any dtype; floats are in 0..1."""
    if dtype == np.float32:
        return rng.uniform(0, 1, shape).astype(np.float32)
    limits = np.iinfo(dtype)
    return rng.integers(limits.min, limits.max, shape).astype(dtype)


def _extract(content: bytes, index: int) -> bytes:
    """Return a model with one operator and its constants; its computed inputs become the inputs of the model."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    subgraph = model.subgraphs[0]
    op = subgraph.operators[index]
    used = list(dict.fromkeys(int(i) for i in (*op.inputs, *op.outputs) if i >= 0))
    tensors = [subgraph.tensors[i] for i in used]
    buffers = [schema.BufferT(), *(model.buffers[t.buffer] for t in tensors)]
    is_constant = [b.data is not None and len(b.data) > 0 for b in buffers[1:]]
    for i, tensor in enumerate(tensors):
        tensor.buffer = i + 1
    op.inputs = [used.index(int(i)) if i >= 0 else -1 for i in op.inputs]
    op.outputs = [used.index(int(i)) for i in op.outputs]
    subgraph.inputs = list(dict.fromkeys(i for i in op.inputs if i >= 0 and not is_constant[i]))
    subgraph.outputs = op.outputs
    subgraph.operators, subgraph.tensors = [op], tensors
    model.buffers, model.metadata, model.metadataBuffer, model.signatureDefs = buffers, None, None, None
    return serialize(model)
