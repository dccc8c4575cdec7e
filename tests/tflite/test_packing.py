"""Packed files are smaller and compute the same output."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.packing import serialize
from tests.tflite.small_files import two_convolutions


def pack(content: bytes) -> bytes:
    return serialize(schema.ModelT.InitFromPackedBuf(content, 0))


@pytest.fixture(scope="module")
def plain():
    return two_convolutions()


def test_packing_keeps_all_values(plain):
    content = pack(plain)
    # 2 layers x (kernel, bias) x 40 channels x 8 bytes of zero points become one list of 40.
    assert len(plain) - len(content) >= 3 * 40 * 8
    for old, new in zip(read_graph(plain).tensors, read_graph(content).tensors, strict=True):
        assert (new.name, new.shape, new.dtype, new.quantization) == (old.name, old.shape, old.dtype, old.quantization)
        np.testing.assert_array_equal(new.data, old.data)
    image = np.random.default_rng(1).integers(0, 256, (33, 33, 3), np.uint8)
    np.testing.assert_array_equal(TfliteModel(content)(image), TfliteModel(plain)(image))


def test_constants_are_aligned_for_kernels(plain):
    content = pack(plain)
    model = schema.Model.GetRootAs(content, 0)
    starts = []
    for i in range(model.BuffersLength()):
        buffer = model.Buffers(i)
        if buffer.DataLength():
            field = buffer._tab.Offset(4)
            starts.append(buffer._tab.Vector(field))
    assert len(starts) >= 4
    assert [s % 16 for s in starts] == [0] * len(starts)


def test_packing_twice_equals_packing_once(plain):
    assert pack(pack(plain)) == pack(plain)
