"""The parsed graphs of official files, content that cannot be parsed, and files in compact form."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from deeplab.errors import UserError
from deeplab.tflite.flatbuffer import QuantizationParameters, Tensor, read_graph, serialize
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.tflite_file import open_tflite
from tests.tflite.small_files import two_convolutions


def test_the_starter_file_has_the_operators_of_mobilenet_v2_with_the_mobile_head(official_models):
    graph = open_tflite(official_models / "starter_deeplabv3_257_float.tflite").graph
    # 17 blocks with one depthwise convolution each, 10 with a skip connection.
    # 1 + 16 + 17 + 4 other convolutions: stem, expand, project, head.
    assert graph.operator_counts() == {
        "CONV_2D": 38,
        "DEPTHWISE_CONV_2D": 17,
        "ADD": 10,
        "RESIZE_BILINEAR": 3,
        "AVERAGE_POOL_2D": 1,
        "CONCATENATION": 1,
    }
    assert all(op.options["align_corners"] for op in graph.operators if op.name == "RESIZE_BILINEAR")


def test_dilations_and_strides_of_output_stride_8(official_models):
    graph = open_tflite(official_models / "starter_deeplabv3_257_float.tflite").graph
    depthwise = [op.options for op in graph.operators if op.name == "DEPTHWISE_CONV_2D"]
    assert [o["stride_h"] for o in depthwise] == [1, 2, 1, 2] + [1] * 13
    # The layer that loses its stride keeps the previous rate: block 7 has rate 1, block 14 rate 2 (its own stage).
    assert [o["dilation_h_factor"] for o in depthwise] == [1] * 7 + [2] * 7 + [4] * 3
    assert {o["fused_activation_function"] for o in depthwise} == {"RELU6"}
    assert {o["padding"] for o in depthwise} == {"SAME"}


def test_shapes_dtypes_and_constants(official_models):
    graph = open_tflite(official_models / "starter_deeplabv3_257_float.tflite").graph
    assert graph.tensors[graph.inputs[0]].shape == (1, 257, 257, 3)
    assert graph.tensors[graph.outputs[0]].shape == (1, 257, 257, 21)
    # 688,357 folded parameters at depth 0.5, without the target sizes (int32) of resizes.
    constants = [t for t in graph.tensors if t.data is not None and t.dtype == "float32"]
    assert sum(t.data.size for t in constants) == 688_357
    assert len([t for t in constants if t.data.ndim == 4]) == 55


def test_a_quantized_file_has_scale_and_zero_point(official_models):
    graph = open_tflite(official_models / "deeplabv3_mnv2_pascal_quant.tflite").graph
    assert graph.tensors[graph.inputs[0]].quantization == QuantizationParameters((0.0078125,), (128,), 0)
    assert graph.tensors[graph.outputs[0]].dtype == "int64"
    argmax = graph.producer(graph.outputs[0])
    assert argmax is not None
    assert argmax.name == "ARG_MAX"


def test_constants_are_dequantized_along_their_axis():
    data = np.array([[1, 3], [-2, 5]], np.int8)
    tensor = Tensor(0, "w", (2, 2), (2, 2), "int8", QuantizationParameters((0.5, 2.0), (1, 0), 0), data)
    np.testing.assert_array_equal(tensor.values(), [[0.0, 1.0], [-4.0, 10.0]])


@pytest.mark.parametrize("kept", [9, 1000, 400_000, 760_000])
def test_truncated_content_is_rejected(official_models, kept):
    content = (official_models / "deeplabv3_mnv2_dm05_pascal_quant.tflite").read_bytes()
    assert len(content) > kept
    with pytest.raises(UserError, match="the model: is damaged or truncated"):
        read_graph(content[:kept])


@pytest.mark.parametrize("damage", ["inputs", "outputs"])
@pytest.mark.parametrize("index", [-2, 5000])
def test_a_reference_to_a_missing_tensor_is_rejected(plain, damage, index):
    model = schema.ModelT.InitFromPackedBuf(plain, 0)
    for part in (model.subgraphs[0].operators[0], model.subgraphs[0]):
        kept = getattr(part, damage)
        setattr(part, damage, [index])
        with pytest.raises(UserError, match="the model: is damaged or truncated"):
            read_graph(serialize(model))
        setattr(part, damage, kept)


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
