"""Converting scores before they are enlarged changes no score."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.reorder import move_conversion_before_resize


def _file(ending, output_type, size=33):
    kernel = tf.random.stateless_normal((3, 3, 3, 5), (1, 2))

    @tf.function
    def network(image):
        return ending(tf.nn.conv2d(image, kernel, 8, "SAME"))

    signature = network.get_concrete_function(tf.TensorSpec((1, size, size, 3), tf.float32, name="image"))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([signature])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    pictures = np.random.default_rng(0).uniform(-1, 1, (4, 1, size, size, 3)).astype(np.float32)
    converter.representative_dataset = lambda: ([p] for p in pictures)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type, converter.inference_output_type = tf.uint8, output_type
    return converter.convert()


def _enlarge(x, size=33):
    return tf.compat.v1.image.resize_bilinear(x, (size, size), align_corners=True)


def _kinds(content):
    return [op.name for op in read_graph(content).operators]


IMAGE = np.random.default_rng(1).integers(0, 256, (33, 33, 3), np.uint8)


def test_bytes_are_the_very_same():
    plain = _file(_enlarge, tf.uint8)
    found = move_conversion_before_resize(plain)
    assert _kinds(plain) == ["QUANTIZE", "CONV_2D", "RESIZE_BILINEAR", "QUANTIZE"]
    assert _kinds(found) == ["QUANTIZE", "CONV_2D", "QUANTIZE", "RESIZE_BILINEAR"]
    wanted = TfliteModel(plain)(IMAGE)
    assert wanted.std() > 0
    np.testing.assert_array_equal(TfliteModel(found)(IMAGE), wanted)
    # The builtin kernel rounds halves of int8 away from zero and those of uint8 upwards.
    step = read_graph(found).tensors[read_graph(found).outputs[0]].quantization.scale[0]
    np.testing.assert_allclose(
        TfliteModel(found, 1, "builtin")(IMAGE), TfliteModel(plain, 1, "builtin")(IMAGE), atol=1.01 * step
    )


def test_a_crop_stays_behind_the_resize():
    plain = _file(lambda x: _enlarge(x)[:, :30, :31], tf.uint8)
    found = move_conversion_before_resize(plain)
    assert _kinds(found)[-3:] == ["QUANTIZE", "RESIZE_BILINEAR", "STRIDED_SLICE"]
    np.testing.assert_array_equal(TfliteModel(found)(IMAGE), TfliteModel(plain)(IMAGE))


def test_float_scores_are_interpolated_without_steps():
    plain = _file(_enlarge, tf.float32)
    found = move_conversion_before_resize(plain)
    assert _kinds(found)[-2:] == ["DEQUANTIZE", "RESIZE_BILINEAR"]
    step = read_graph(plain).tensors[read_graph(plain).operators[-1].inputs[0]].quantization.scale[0]
    a, b = TfliteModel(found)(IMAGE), TfliteModel(plain)(IMAGE)
    # Corners aligned: every eighth pixel is a sample itself, and those between are rounded in one of the two only.
    np.testing.assert_allclose(a[::8, ::8], b[::8, ::8], atol=1e-5)
    assert 0 < np.abs(a - b).max() <= 1.01 * step


@pytest.mark.parametrize("ending", [lambda x: x, lambda x: tf.nn.softmax(_enlarge(x))])
def test_other_endings_are_left_alone(ending):
    plain = _file(ending, tf.uint8)
    assert move_conversion_before_resize(plain) == plain
