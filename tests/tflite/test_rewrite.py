"""Tensor names, and the position of the last dtype conversion."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.rewrite import layer_name, move_conversion_before_resize, rename_tensors
from tests.tflite.small_files import convolution_and, two_convolutions


def _resize(x, size=33):
    return tf.compat.v1.image.resize_bilinear(x, (size, size), align_corners=True)


def _names(content):
    return [op.name for op in read_graph(content).operators]


IMAGE = np.random.default_rng(1).integers(0, 256, (33, 33, 3), np.uint8)


def test_conversion_before_the_resize_returns_the_same_bytes():
    plain = convolution_and(_resize, tf.uint8)
    moved = move_conversion_before_resize(plain)
    assert _names(plain) == ["QUANTIZE", "CONV_2D", "RESIZE_BILINEAR", "QUANTIZE"]
    assert _names(moved) == ["QUANTIZE", "CONV_2D", "QUANTIZE", "RESIZE_BILINEAR"]
    expected = TfliteModel(plain)(IMAGE)
    assert expected.std() > 0
    np.testing.assert_array_equal(TfliteModel(moved)(IMAGE), expected)
    # The builtin kernel rounds halves of int8 away from zero and halves of uint8 up.
    scale = read_graph(moved).tensors[read_graph(moved).outputs[0]].quantization.scale[0]
    np.testing.assert_allclose(
        TfliteModel(moved, 1, "builtin")(IMAGE), TfliteModel(plain, 1, "builtin")(IMAGE), atol=1.01 * scale
    )


def test_a_crop_stays_after_the_resize():
    plain = convolution_and(lambda x: _resize(x)[:, :30, :31], tf.uint8)
    moved = move_conversion_before_resize(plain)
    assert _names(moved)[-3:] == ["QUANTIZE", "RESIZE_BILINEAR", "STRIDED_SLICE"]
    np.testing.assert_array_equal(TfliteModel(moved)(IMAGE), TfliteModel(plain)(IMAGE))


def test_float_scores_are_interpolated_in_float():
    plain = convolution_and(_resize, tf.float32)
    moved = move_conversion_before_resize(plain)
    assert _names(moved)[-2:] == ["DEQUANTIZE", "RESIZE_BILINEAR"]
    scale = read_graph(plain).tensors[read_graph(plain).operators[-1].inputs[0]].quantization.scale[0]
    a, b = TfliteModel(moved)(IMAGE), TfliteModel(plain)(IMAGE)
    # With aligned corners every eighth pixel is an input of the resize. Only `plain` rounds the pixels between them.
    np.testing.assert_allclose(a[::8, ::8], b[::8, ::8], atol=1e-5)
    assert 0 < np.abs(a - b).max() <= 1.01 * scale


@pytest.mark.parametrize("ending", [lambda x: x, lambda x: tf.nn.softmax(_resize(x))])
def test_a_file_with_another_ending_is_returned_unchanged(ending):
    plain = convolution_and(ending, tf.uint8)
    assert move_conversion_before_resize(plain) == plain


@pytest.fixture(scope="module")
def plain():
    return two_convolutions()


def test_new_names_are_unique_and_inputs_and_outputs_keep_theirs(plain):
    before, after = read_graph(plain), read_graph(rename_tensors(plain, lambda _: "x"))
    names = [t.name for t in after.tensors]
    assert len(set(names)) == len(names)
    kept = [*before.inputs, *before.outputs]
    assert [names[i] for i in kept] == [before.tensors[i].name for i in kept]
    assert {name.split(":")[0] for i, name in enumerate(names) if i not in kept} == {"x"}


def test_computed_tensors_are_named_before_constants(plain):
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
def test_an_operator_has_the_name_of_its_layer(tensor, layer):
    assert layer_name(tensor) == layer
