"""Converted files against the Keras model they were made from."""

import numpy as np
import pytest
import tensorflow as tf

from deeplab.config import ModelConfig
from deeplab.conversion.convert import convert, io_type
from deeplab.conversion.export_graph import export_graph
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.interpreter import TfliteModel, accepts_raw_pixels
from tests.networks import random_image, randomize

NETWORK = ModelConfig(depth_multiplier=0.25, aspp_channels=16, decoder_channels=16, low_level_channels=8, classes=5)


@pytest.mark.parametrize("size", [(257, 257), pytest.param((200, 300), marks=pytest.mark.slow)])
def test_a_float_file_computes_the_output_of_keras(size):
    model = randomize(build_model(NETWORK, 16, size), seed=1)
    content = convert(export_graph(model), size)
    image = np.round(random_image(*size)[0]).astype(np.uint8)
    actual = TfliteModel(content)(image)
    expected = np.asarray(model(image[None].astype(np.float32), training=False))[0]
    assert expected.std() > 0.1
    np.testing.assert_allclose(actual, expected, atol=1e-4 * max(1.0, float(np.abs(expected).max())))
    counts = read_graph(content).operator_counts()
    if size == (257, 257):
        # Depthwise: 17 blocks, 3 branches of ASPP, 2 in the decoder. Other convolutions: stem, 16 expansions, 17
        # projections; in ASPP image pooling, 1x1, 3 branches and the projection; low level, 2 in the decoder, logits.
        assert counts == {
            "CONV_2D": 1 + 16 + 17 + 6 + 4,
            "DEPTHWISE_CONV_2D": 17 + 3 + 2,
            "ADD": 10,
            "RESIZE_BILINEAR": 3,
            "CONCATENATION": 2,
            "MEAN": 1,
        }
    else:
        assert set(counts) == {
            "CONV_2D", "DEPTHWISE_CONV_2D", "ADD", "RESIZE_BILINEAR", "CONCATENATION", "MEAN", "PAD", "STRIDED_SLICE"
        }  # fmt: skip


def test_all_operators_of_an_int8_file_are_int8(workshop):
    graph = read_graph(workshop.bare("int8"))
    counts = graph.operator_counts()
    assert counts["QUANTIZE"] == 2
    assert not set(counts) & {"DEQUANTIZE", "SPACE_TO_BATCH_ND", "BATCH_TO_SPACE_ND", "MUL", "SUB"}
    assert {t.dtype for t in graph.tensors} <= {"uint8", "int8", "int32"}
    image, scores = graph.tensors[graph.inputs[0]], graph.tensors[graph.outputs[0]]
    assert (image.dtype, scores.dtype) == ("uint8", "uint8")
    assert accepts_raw_pixels(image)
    assert image.quantization is not None
    np.testing.assert_allclose(image.quantization.scale[0], 2 / 255, rtol=1e-4)
    kernels = [graph.tensors[op.inputs[1]] for op in graph.operators if op.name == "CONV_2D"]
    assert all(k.quantization is not None and k.quantization.per_channel for k in kernels if k.shape[0] > 1)


@pytest.mark.slow
def test_a_logit_offset_adds_no_operator(workshop):
    content = convert(export_graph(workshop.model, logit_offset=3.0), (129, 129))
    assert read_graph(content).operator_counts() == read_graph(workshop.bare("float32")).operator_counts()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("quantization", "kernel", "activation"),
    [("float16", "float16", "float32"), ("dynamic", "int8", "float32"), ("int16x8", "int8", "int16")],
)
def test_dtypes_of_kernels_and_activations(workshop, quantization, kernel, activation):
    content = workshop.bare(quantization)
    graph = read_graph(content)
    dtypes = {t.dtype for t in graph.tensors if t.data is not None and t.data.ndim == 4}
    assert kernel in dtypes
    assert activation in {graph.tensors[op.outputs[0]].dtype for op in graph.operators if op.name == "CONV_2D"}
    assert len(content) < 0.75 * len(workshop.bare("float32"))
    assert graph.tensors[graph.inputs[0]].dtype == "float32"


@pytest.mark.parametrize("float_layers", [(), ("logits",)])
def test_a_per_tensor_file_has_one_scale_per_tensor(workshop, float_layers):
    graph, images = export_graph(workshop.model), [image.astype("float32") for image in workshop.images]
    content = convert(graph, (129, 129), "int8", images, float_layers=float_layers, per_tensor=True)
    kernels = [t for t in read_graph(content).tensors if t.dtype == "int8" and t.data is not None and t.data.ndim == 4]
    assert len(kernels) > 20
    assert all(len(t.quantization.scale) == 1 for t in read_graph(content).tensors if t.quantization is not None)
    assert all(np.abs(t.data.astype(int)).max() == 127 and t.quantization.zero_point == (0,) for t in kernels)


def test_an_operator_that_the_converter_does_not_support_is_named():
    def network(image):
        return image * tf.nn.relu6(image + 3.0) * (1.0 / 6.0)

    images = [np.random.default_rng(0).uniform(0, 255, (33, 33, 3))]
    with pytest.raises(UserError, match="quantization: the converter does not support HARD_SWISH in int16x8"):
        convert(network, (33, 33), "int16x8", images)


def test_default_dtypes_of_input_and_output():
    assert io_type("int8", None) == "uint8"
    assert io_type("int8", "float32") == "float32"
    assert io_type("int16x8", None) == "float32"
