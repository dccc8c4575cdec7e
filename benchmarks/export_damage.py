"""Ways to damage a good .tflite file; the checks must fail for each of them.

A damage takes the file, the properties that it must have, and a random generator. It returns the damaged file, or None
if the file has no such part.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder

from deeplab.conversion.structure import ExpectedFile
from deeplab.tflite.metadata import write_metadata

Damage = Callable[[bytes, ExpectedFile, np.random.Generator], bytes | None]


def _changed(content: bytes, expected: ExpectedFile, change: Callable[[Any], bool]) -> bytes | None:
    """Apply `change` to the objects of the schema and write the metadata again; None if `change` returns False."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    model.metadata = None
    if not change(model):
        return None
    builder = Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return _with_metadata(bytes(builder.Output()), expected)


def _with_metadata(content: bytes, expected: ExpectedFile, **changes: Any) -> bytes:
    settings = {"labels": expected.labels, "activation": expected.activation, **changes}
    return write_metadata(content, settings.pop("labels"), **settings)


def _kernels(model: Any) -> list[tuple[Any, Any]]:
    """Return (kernel tensor, its buffer) of each convolution whose kernel is a constant."""
    graph = model.subgraphs[0]
    kinds = (schema.Conv2DOptionsT, schema.DepthwiseConv2DOptionsT)
    found = [graph.tensors[op.inputs[1]] for op in graph.operators if isinstance(op.builtinOptions, kinds)]
    return [(t, model.buffers[t.buffer]) for t in found if model.buffers[t.buffer].data is not None]


def zeroed_layer(content: bytes, expected: ExpectedFile, rng: np.random.Generator) -> bytes | None:
    def change(model: Any) -> bool:
        kernels = _kernels(model)
        if not kernels:
            return False
        # The first layers and the last one, which are never in a parallel branch.
        _, buffer = kernels[int(rng.choice([0, 1, -1]))]
        buffer.data = np.zeros_like(buffer.data)
        return True

    return _changed(content, expected, change)


def swapped_channels(content: bytes, expected: ExpectedFile, rng: np.random.Generator) -> bytes | None:
    def change(model: Any) -> bool:
        graph = model.subgraphs[0]
        for tensor, buffer in reversed(_kernels(model)):
            if tensor.shape[0] == len(expected.labels) and graph.tensors:
                data = np.array(buffer.data).reshape(len(expected.labels), -1)
                buffer.data = np.roll(data, 1, axis=0).ravel()
                return True
        return False

    return _changed(content, expected, change)


def shifted_kernel(content: bytes, expected: ExpectedFile, rng: np.random.Generator) -> bytes | None:
    """Shift every feature, and so the mask, by a pixel of the first convolution."""

    def change(model: Any) -> bool:
        for tensor, buffer in _kernels(model)[:1]:
            shape = tuple(map(int, tensor.shape))
            itemsize = buffer.data.size // int(np.prod(shape))
            data = np.array(buffer.data).reshape(*shape, itemsize)
            buffer.data = np.roll(data, 1, axis=2).ravel()
            return True
        return False

    return _changed(content, expected, change)


def other_resize(content: bytes, expected: ExpectedFile, rng: np.random.Generator) -> bytes | None:
    def change(model: Any) -> bool:
        found = False
        for op in model.subgraphs[0].operators:
            if isinstance(op.builtinOptions, schema.ResizeBilinearOptionsT) and op.builtinOptions.alignCorners:
                # All resizes from a single pixel are equal.
                tensors = model.subgraphs[0].tensors
                before, after = (tuple(tensors[i].shape[1:3]) for i in (op.inputs[0], op.outputs[0]))
                if min(before) > 1 and before != after:
                    op.builtinOptions.alignCorners, found = False, True
        return found

    return _changed(content, expected, change)


def other_rate(content: bytes, expected: ExpectedFile, rng: np.random.Generator) -> bytes | None:
    def change(model: Any) -> bool:
        found = False
        for op in model.subgraphs[0].operators:
            options = op.builtinOptions
            if getattr(options, "dilationHFactor", 1) > 1 and options.padding == schema.Padding.SAME:
                options.dilationHFactor = options.dilationWFactor = 1
                found = True
        return found

    return _changed(content, expected, change)


def wrong_scale_of_the_input(content: bytes, expected: ExpectedFile, rng: np.random.Generator) -> bytes | None:
    return _rescaled(content, expected, True, 0.8)


def wrong_scale_of_the_output(content: bytes, expected: ExpectedFile, rng: np.random.Generator) -> bytes | None:
    return _rescaled(content, expected, False, 0.25)


def _rescaled(content: bytes, expected: ExpectedFile, at_input: bool, factor: float) -> bytes | None:
    def change(model: Any) -> bool:
        graph = model.subgraphs[0]
        quantization = graph.tensors[(graph.inputs if at_input else graph.outputs)[0]].quantization
        if quantization is None or quantization.scale is None or not len(quantization.scale):
            return False
        quantization.scale = quantization.scale * np.float32(factor)
        return True

    return _changed(content, expected, change)


def noise(content: bytes, expected: ExpectedFile, rng: np.random.Generator) -> bytes | None:
    """Replace a tenth of all int8 kernel weights by random ones."""

    def change(model: Any) -> bool:
        for tensor, buffer in _kernels(model):
            if tensor.type == schema.TensorType.INT8:
                data = np.array(buffer.data)
                hit = rng.random(data.size) < 0.1
                data[hit] = rng.integers(0, 256, int(hit.sum()))
                buffer.data = data
        return any(t.type == schema.TensorType.INT8 for t, _ in _kernels(model))

    return _changed(content, expected, change)


def truncated(content: bytes, expected: ExpectedFile, rng: np.random.Generator) -> bytes | None:
    return content[: int(len(content) * rng.uniform(0.05, 0.8))]


def without_metadata(content: bytes, expected: ExpectedFile, rng: np.random.Generator) -> bytes | None:
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    model.metadata = None
    builder = Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


DAMAGES: dict[str, Damage] = {
    "a zeroed layer": zeroed_layer,
    "swapped channels": swapped_channels,
    "a kernel shifted by a pixel": shifted_kernel,
    "another resize": other_resize,
    "another atrous rate": other_rate,
    "scale of the input": wrong_scale_of_the_input,
    "scale of the output": wrong_scale_of_the_output,
    "noise in the kernels": noise,
    "truncated": truncated,
    "no metadata": without_metadata,
    "swapped labels": lambda c, e, _: _with_metadata(c, e, labels=(*e.labels[1:], e.labels[0])),
    "a missing label": lambda c, e, _: _with_metadata(c, e, labels=e.labels[:-1]),
    "a wrong mean": lambda c, e, rng: _with_metadata(c, e, mean=float(rng.choice([0, 128, 123.7]))),
    "a wrong std": lambda c, e, rng: _with_metadata(c, e, std=float(rng.choice([1, 128, 255]))),
    "another activation": lambda c, e, _: _with_metadata(c, e, activation="sigmoid"),
}
