"""Packed files are shorter and compute the same."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.packing import attached_files, layer_name, pack, rename_tensors, with_files


@pytest.fixture(scope="module")
def plain():
    """Two int8 convolutions of 40 channels, as the converter writes them."""
    kernels = [tf.random.stateless_normal((3, 3, n, 40), (n, 1)) for n in (3, 40)]
    biases = tf.random.stateless_normal((40,), (1, 1))

    @tf.function
    def convolve(image):
        x = tf.nn.relu(tf.nn.conv2d(image, kernels[0], 2, "SAME") + biases)
        return tf.nn.conv2d(x, kernels[1], 1, "SAME") + biases

    signature = convolve.get_concrete_function(tf.TensorSpec((1, 33, 33, 3), tf.float32, name="image"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([signature])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, 1, 33, 33, 3)).astype(np.float32)
    converter.representative_dataset = lambda: ([p] for p in pictures)
    return converter.convert()


def test_a_packed_file_holds_the_very_same_values(plain):
    content = pack(plain)
    # 2 layers x (kernel, bias) x 40 channels x 8 bytes of zero points were there, one list of 40 is left.
    assert len(plain) - len(content) >= 3 * 40 * 8
    for one, other in zip(read_graph(plain).tensors, read_graph(content).tensors, strict=True):
        assert (one.name, one.shape, one.dtype, one.quantization) == (
            other.name,
            other.shape,
            other.dtype,
            other.quantization,
        )
        np.testing.assert_array_equal(one.data, other.data)
    image = np.random.default_rng(1).integers(0, 256, (33, 33, 3), np.uint8)
    np.testing.assert_array_equal(TfliteModel(content)(image), TfliteModel(plain)(image))


def test_constants_lie_where_kernels_may_read_them(plain):
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


def test_packing_twice_changes_nothing(plain):
    assert pack(pack(plain)) == pack(plain)


def test_attached_files_stay(plain):
    content = pack(with_files(plain, {"a.txt": b"one", "b.txt": b"two"}))
    assert attached_files(content) == {"a.txt": b"one", "b.txt": b"two"}
    assert attached_files(plain) == {}


def test_new_names_are_unique_and_the_ends_keep_theirs(plain):
    names = [t.name for t in read_graph(rename_tensors(plain, lambda _: "x")).tensors]
    assert len(set(names)) == len(names)
    before, after = read_graph(plain), read_graph(rename_tensors(plain, lambda _: "x"))
    ends = [*before.inputs, *before.outputs]
    assert [after.tensors[i].name for i in ends] == [before.tensors[i].name for i in ends]
    assert {n.split(":")[0] for i, n in enumerate(names) if i not in ends} == {"x"}


def test_what_is_computed_is_named_before_constants(plain):
    graph = read_graph(rename_tensors(plain, lambda _: "x"))
    first = next(t for t in graph.tensors if t.name == "x")
    assert first.data is None


@pytest.mark.parametrize(
    ("tensor", "layer"),
    [
        (
            "functional_1/aspp0_relu_1/Relu;functional_1/aspp0_bn_1/batchnorm/add_1;functional_1/aspp0_1/convolution",
            "aspp0",
        ),
        (
            "functional_1/stem_1/convolution1;functional_1/stem_relu6_1/Relu6;functional_1/stem_bn_1/batchnorm/add",
            "stem",
        ),
        ("functional_3_1/image_pooling_mean_1/Mean", "image_pooling_mean"),
        ("tfl.quantize1", "tfl.quantize1"),
        ("ResizeBilinear/size", "ResizeBilinear/size"),
    ],
)
def test_an_operator_is_named_like_its_layer(tensor, layer):
    assert layer_name(tensor) == layer
