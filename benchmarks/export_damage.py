"""Ways to damage a good .tflite file, each of which its checks must refuse.

A damage takes the file, what it was meant to be, and a random generator; None says that the file has no such part.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder

from deeplab.conversion.structure import Expected, activation_for
from deeplab.tflite.metadata import write_metadata

Damage = Callable[[bytes, Expected, np.random.Generator], bytes | None]


def _changed(content: bytes, expected: Expected, change: Callable[[Any], bool]) -> bytes | None:
    """The file with `change(model)` applied to the schema's own objects, and its metadata; None where it says False."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    model.metadata = None
    if not change(model):
        return None
    builder = Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return _described(bytes(builder.Output()), expected)


def _described(content: bytes, expected: Expected, **others: Any) -> bytes:
    settings = {"labels": expected.labels, "activation": activation_for(expected.output), **others}
    return write_metadata(content, settings.pop("labels"), **settings)


def _kernels(model: Any) -> list[tuple[Any, Any]]:
    """(kernel tensor, its buffer) of each convolution and depthwise convolution whose kernel lies in the file."""
    graph = model.subgraphs[0]
    kinds = (schema.Conv2DOptionsT, schema.DepthwiseConv2DOptionsT)
    found = [graph.tensors[op.inputs[1]] for op in graph.operators if isinstance(op.builtinOptions, kinds)]
    return [(t, model.buffers[t.buffer]) for t in found if model.buffers[t.buffer].data is not None]


def zeroed_layer(content: bytes, expected: Expected, rng: np.random.Generator) -> bytes | None:
    def change(model: Any) -> bool:
        kernels = _kernels(model)
        if not kernels:
            return False
        # The first layers and the last one: each picture goes through them, whatever the branches do.
        _, buffer = kernels[int(rng.choice([0, 1, -1]))]
        buffer.data = np.zeros_like(buffer.data)
        return True

    return _changed(content, expected, change)


def swapped_channels(content: bytes, expected: Expected, rng: np.random.Generator) -> bytes | None:
    def change(model: Any) -> bool:
        graph = model.subgraphs[0]
        for tensor, buffer in reversed(_kernels(model)):
            if tensor.shape[0] == len(expected.labels) and graph.tensors:
                data = np.array(buffer.data).reshape(len(expected.labels), -1)
                buffer.data = np.roll(data, 1, axis=0).ravel()
                return True
        return False

    return _changed(content, expected, change)


def moved_kernel(content: bytes, expected: Expected, rng: np.random.Generator) -> bytes | None:
    """Every feature, and so the mask, lies beside its place."""

    def change(model: Any) -> bool:
        for tensor, buffer in _kernels(model)[:1]:
            shape = tuple(map(int, tensor.shape))
            width = buffer.data.size // int(np.prod(shape))
            data = np.array(buffer.data).reshape(*shape, width)
            buffer.data = np.roll(data, 1, axis=2).ravel()
            return True
        return False

    return _changed(content, expected, change)


def other_resize(content: bytes, expected: Expected, rng: np.random.Generator) -> bytes | None:
    def change(model: Any) -> bool:
        found = False
        for op in model.subgraphs[0].operators:
            if isinstance(op.builtinOptions, schema.ResizeBilinearOptionsT) and op.builtinOptions.alignCorners:
                # From a single pixel every resize is the same.
                source = model.subgraphs[0].tensors[op.inputs[0]]
                if min(source.shape[1:3]) > 1 and tuple(source.shape[1:3]) != tuple(
                    model.subgraphs[0].tensors[op.outputs[0]].shape[1:3]
                ):
                    op.builtinOptions.alignCorners, found = False, True
        return found

    return _changed(content, expected, change)


def other_rate(content: bytes, expected: Expected, rng: np.random.Generator) -> bytes | None:
    def change(model: Any) -> bool:
        found = False
        for op in model.subgraphs[0].operators:
            options = op.builtinOptions
            if getattr(options, "dilationHFactor", 1) > 1 and options.padding == schema.Padding.SAME:
                options.dilationHFactor = options.dilationWFactor = 1
                found = True
        return found

    return _changed(content, expected, change)


def wrong_scale_of_the_input(content: bytes, expected: Expected, rng: np.random.Generator) -> bytes | None:
    return _rescaled(content, expected, True, 0.8)


def wrong_scale_of_the_output(content: bytes, expected: Expected, rng: np.random.Generator) -> bytes | None:
    return _rescaled(content, expected, False, 0.25)


def _rescaled(content: bytes, expected: Expected, at_input: bool, factor: float) -> bytes | None:
    def change(model: Any) -> bool:
        graph = model.subgraphs[0]
        quantization = graph.tensors[(graph.inputs if at_input else graph.outputs)[0]].quantization
        if quantization is None or quantization.scale is None or not len(quantization.scale):
            return False
        quantization.scale = quantization.scale * np.float32(factor)
        return True

    return _changed(content, expected, change)


def noise(content: bytes, expected: Expected, rng: np.random.Generator) -> bytes | None:
    """A tenth of all bytes of the kernels are random."""

    def change(model: Any) -> bool:
        for tensor, buffer in _kernels(model):
            if tensor.type == schema.TensorType.INT8:
                data = np.array(buffer.data)
                hit = rng.random(data.size) < 0.1
                data[hit] = rng.integers(0, 256, int(hit.sum()))
                buffer.data = data
        return any(t.type == schema.TensorType.INT8 for t, _ in _kernels(model))

    return _changed(content, expected, change)


def cut_short(content: bytes, expected: Expected, rng: np.random.Generator) -> bytes | None:
    return content[: int(len(content) * rng.uniform(0.05, 0.8))]


def metadata_lost(content: bytes, expected: Expected, rng: np.random.Generator) -> bytes | None:
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    model.metadata = None
    builder = Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


DAMAGES: dict[str, Damage] = {
    "a zeroed layer": zeroed_layer,
    "swapped channels": swapped_channels,
    "a kernel moved by a pixel": moved_kernel,
    "another resize": other_resize,
    "another atrous rate": other_rate,
    "the input's scale": wrong_scale_of_the_input,
    "the output's scale": wrong_scale_of_the_output,
    "noise in the kernels": noise,
    "cut short": cut_short,
    "no metadata": metadata_lost,
    "swapped labels": lambda c, e, _: _described(c, e, labels=(*e.labels[1:], e.labels[0])),
    "a label too few": lambda c, e, _: _described(c, e, labels=e.labels[:-1]),
    "a wrong mean": lambda c, e, rng: _described(c, e, mean=float(rng.choice([0, 128, 123.7]))),
    "a wrong std": lambda c, e, rng: _described(c, e, std=float(rng.choice([1, 128, 255]))),
    "another activation": lambda c, e, _: _described(c, e, activation="sigmoid"),
}
