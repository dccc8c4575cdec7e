"""Where the time of a .tflite file goes, operator by operator."""

import time
from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np
from ai_edge_litert import interpreter as litert
from ai_edge_litert import schema_py_generated as schema

from deeplab.conversion.float_layers import layer_of
from deeplab.quiet import quiet
from deeplab.tflite.flatbuffer import Tensor, TfliteGraph, read_graph
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.packing import serialize


@dataclass(frozen=True)
class OperatorTime:
    """One operator.

    Attributes:
        kind: "CONV_2D", ...
        layer: the Keras layer, or what the converter called its result.
        shape: of its result.
        milliseconds: median, on its own.
    """

    kind: str
    layer: str
    shape: tuple[int, ...]
    milliseconds: float


@dataclass(frozen=True)
class Profile:
    """A file's operators and the whole of it.

    Attributes:
        whole: median milliseconds of a picture.
        operators: in the order of execution.
    """

    whole: float
    operators: tuple[OperatorTime, ...]

    @property
    def kinds(self) -> list[tuple[str, float, int]]:
        """(kind, milliseconds, how many) with the dearest first."""
        times: Counter[str] = Counter()
        for op in self.operators:
            times[op.kind] += op.milliseconds  # type: ignore[assignment]
        numbers = Counter(op.kind for op in self.operators)
        return [(kind, float(ms), numbers[kind]) for kind, ms in times.most_common()]

    @property
    def top(self) -> list[OperatorTime]:
        """The dearest operators first."""
        return sorted(self.operators, key=lambda op: -op.milliseconds)


def profile(content: bytes, threads: int = 1, rounds: int = 15) -> Profile:
    """Times each operator of a file, XNNPACK kernels.

    LiteRT's Python interpreter has no profiler, so each operator is cut out into a model of its own and run in turns
    with the others and with the whole file. What kernels gain by following one another is left out: compare the sum of
    the parts with the whole. TensorFlow's benchmark tool profiles inside the runtime (`--enable_op_profiling`).

    Args:
        content: of the file.
        threads: of each interpreter.
        rounds: of which medians are taken; one more warms up.

    Raises:
        UserError: no .tflite file, or damaged.
    """
    graph, rng = read_graph(content), np.random.default_rng(0)
    whole = TfliteModel(content, threads)
    picture = whole.prepare(rng.integers(0, 256, (*whole.image_size, 3), np.uint8))
    parts = [_Part(_cut_out(content, i), graph, i, threads, rng) for i in range(len(graph.operators))]
    times = np.zeros((rounds + 1, len(parts) + 1))
    for turn in range(rounds + 1):
        start = time.perf_counter()
        whole.run(picture)
        times[turn, -1] = time.perf_counter() - start
        for i, part in enumerate(parts):
            times[turn, i] = part.seconds()
    medians = 1000 * np.median(times[1:], axis=0)
    return Profile(
        float(medians[-1]),
        tuple(
            OperatorTime(op.name, layer_of(graph, op), graph.tensors[op.outputs[0]].shape, float(ms))
            for op, ms in zip(graph.operators, medians[:-1], strict=True)
        ),
    )


class _Part:
    """One operator in an interpreter, with random values to work on."""

    def __init__(self, content: bytes, graph: TfliteGraph, index: int, threads: int, rng: np.random.Generator) -> None:
        with quiet():
            self._interpreter: Any = litert.Interpreter(model_content=content, num_threads=threads)
            self._interpreter.allocate_tensors()
        for detail, tensor in zip(self._interpreter.get_input_details(), _computed(graph, index), strict=True):
            self._interpreter.set_tensor(detail["index"], _random(tensor, rng))

    def seconds(self) -> float:
        start = time.perf_counter()
        self._interpreter.invoke()
        return time.perf_counter() - start


def _computed(graph: TfliteGraph, index: int) -> list[Tensor]:
    """What an operator takes, its constants left out, each once."""
    inputs = dict.fromkeys(i for i in graph.operators[index].inputs if i >= 0)
    return [graph.tensors[i] for i in inputs if graph.tensors[i].data is None]


def _random(tensor: Tensor, rng: np.random.Generator) -> np.ndarray:
    """Values of any tensor."""
    if tensor.dtype == "float32":
        return rng.uniform(0, 1, tensor.shape).astype(np.float32)
    limits = np.iinfo(tensor.dtype)
    return rng.integers(limits.min, limits.max, tensor.shape).astype(tensor.dtype)


def _cut_out(content: bytes, index: int) -> bytes:
    """A model of one operator, with its constants."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    op = graph.operators[index]
    used = list(dict.fromkeys(int(i) for i in (*op.inputs, *op.outputs) if i >= 0))
    tensors = [graph.tensors[i] for i in used]
    empty = schema.BufferT()
    buffers = [empty, *(model.buffers[t.buffer] for t in tensors)]
    is_constant = [b.data is not None and len(b.data) > 0 for b in buffers[1:]]
    for number, tensor in enumerate(tensors):
        tensor.buffer = number + 1
    given = [int(i) for i in op.inputs]
    op.inputs = [used.index(i) if i >= 0 else -1 for i in given]
    op.outputs = [used.index(int(i)) for i in op.outputs]
    graph.inputs = list(dict.fromkeys(i for i in op.inputs if i >= 0 and not is_constant[i]))
    graph.outputs = op.outputs
    graph.operators, graph.tensors = [op], tensors
    model.buffers, model.metadata, model.metadataBuffer, model.signatureDefs = buffers, None, None, None
    return serialize(model)
