"""A graph is matched operator by operator; the first difference from our network is reported."""

from dataclasses import replace

import numpy as np
import pytest

from deeplab.pretrained.tflite_layers import UnsupportedNetworkError, match_layers
from deeplab.tflite.flatbuffer import Operator, TfliteGraph
from deeplab.tflite.tflite_file import open_tflite


@pytest.fixture(scope="module")
def graph(official_models) -> TfliteGraph:
    return open_tflite(official_models / "starter_deeplabv3_257_float.tflite").graph


def with_options(graph: TfliteGraph, kind: str, number: int, **options) -> TfliteGraph:
    """Return the graph with other options in operator `number` of its kind."""
    operators = list(graph.operators)
    index = [i for i, op in enumerate(operators) if op.name == kind][number]
    operators[index] = replace(operators[index], options={**operators[index].options, **options})
    return replace(graph, operators=tuple(operators))


def test_every_layer_has_the_kernel_of_that_name(graph):
    """The tensors of the starter model have the names of its checkpoint, which the code under test does not read."""
    convolutions = match_layers(graph).convolutions
    named = {t.name: t.values() for t in graph.tensors if t.data is not None and t.data.ndim == 4}

    def assert_kernel(layer: str, name: str) -> None:
        np.testing.assert_array_equal(convolutions[layer].kernel.transpose(3, 0, 1, 2), named[name])

    assert len(convolutions) == len(named) == 55
    assert_kernel("backbone_stem", "MobilenetV2/Conv/weights")
    assert_kernel("backbone_block0_project", "MobilenetV2/expanded_conv/project/weights")
    for number in range(1, 17):
        layer, scope = f"backbone_block{number}", f"MobilenetV2/expanded_conv_{number}"
        assert_kernel(f"{layer}_expand", f"{scope}/expand/weights")
        assert_kernel(f"{layer}_project", f"{scope}/project/weights")
        assert_kernel(f"{layer}_depthwise", f"{scope}/depthwise/depthwise_weights")
    for layer in ("image_pooling", "aspp0", "concat_projection"):
        assert_kernel(layer, f"{layer}/weights")
    assert_kernel("logits", "logits/semantic/weights")


def test_the_order_of_operators_does_not_matter(graph):
    """The quantized files have the two branches of the head in the other order."""
    expected = match_layers(graph).convolutions
    operators = list(graph.operators)
    pool = next(i for i, op in enumerate(operators) if op.name == "AVERAGE_POOL_2D")
    branch = operators[pool : pool + 4]
    assert [op.name for op in branch] == ["AVERAGE_POOL_2D", "CONV_2D", "RESIZE_BILINEAR", "CONV_2D"]
    operators[pool : pool + 4] = [branch[3], *branch[:3]]
    actual = match_layers(replace(graph, operators=tuple(operators))).convolutions
    assert actual.keys() == expected.keys()
    for name in expected:
        np.testing.assert_array_equal(actual[name].kernel, expected[name].kernel)


def test_the_projection_is_reordered_like_the_concatenation(graph):
    kernel = match_layers(graph).convolutions["concat_projection"].kernel
    operators = tuple(
        replace(op, inputs=op.inputs[::-1]) if op.name == "CONCATENATION" else op for op in graph.operators
    )
    reordered = match_layers(replace(graph, operators=operators)).convolutions["concat_projection"].kernel
    np.testing.assert_array_equal(reordered, np.concatenate([kernel[:, :, 256:], kernel[:, :, :256]], axis=2))


@pytest.mark.parametrize(
    ("kind", "number", "options", "message"),
    [
        ("CONV_2D", 0, {"fused_activation_function": "RELU"}, "backbone_stem: expected a 3x3 CONV_2D with activation"),
        ("CONV_2D", 0, {"padding": "VALID"}, "does not use SAME padding"),
        ("CONV_2D", 2, {"fused_activation_function": "NONE"}, "backbone_block1_expand: expected a 1x1 CONV_2D"),
        # The first layer of the last stage keeps its rate, although its stride was replaced.
        (
            "DEPTHWISE_CONV_2D", 13, {"dilation_h_factor": 4},
            "backbone_block13_depthwise: expected stride 1 and rate 2 at output stride 8, got stride 1 and rate 4",
        ),
        ("CONV_2D", 0, {"stride_h": 3}, "expected output_stride 12"),
        ("CONV_2D", 34, {"fused_activation_function": "RELU6"}, "expected activation RELU, got RELU6"),
    ],
)  # fmt: skip
def test_the_first_difference_is_reported(graph, kind, number, options, message):
    with pytest.raises(UnsupportedNetworkError, match=message):
        match_layers(with_options(graph, kind, number, **options))


def test_a_missing_shortcut_is_reported(graph):
    adds = [i for i, op in enumerate(graph.operators) if op.name == "ADD"]
    operators = list(graph.operators)
    first = operators[adds[0]]
    operators[adds[0]] = replace(first, inputs=(first.inputs[0], first.inputs[0]))
    with pytest.raises(UnsupportedNetworkError, match="backbone_block2 has no shortcut"):
        match_layers(replace(graph, operators=tuple(operators)))


def test_a_repeated_branch_of_the_head_is_reported(graph):
    operators = tuple(
        replace(op, inputs=(op.inputs[1], op.inputs[1])) if op.name == "CONCATENATION" else op for op in graph.operators
    )
    with pytest.raises(UnsupportedNetworkError, match="its head concatenates aspp0, aspp0"):
        match_layers(replace(graph, operators=operators))


def test_additional_convolutions_are_reported(graph):
    additional = replace(graph.operators[0], inputs=graph.operators[5].inputs)
    with pytest.raises(UnsupportedNetworkError, match="expected 55 convolutions, got 56"):
        match_layers(replace(graph, operators=(*graph.operators, additional)))


def test_a_small_other_network_is_reported():
    other = TfliteGraph((Operator("FULLY_CONNECTED", (0, 1), (2,), {}),), (), (0,), (2,), "")
    with pytest.raises(UnsupportedNetworkError, match=r"backbone_stem: expected .*, got FULLY_CONNECTED"):
        match_layers(other)
