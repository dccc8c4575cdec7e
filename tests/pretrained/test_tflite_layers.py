"""A graph is followed link by link; one that departs from our network is refused with the place."""

from dataclasses import replace

import numpy as np
import pytest

from deeplab.pretrained.tflite_layers import OtherNetworkError, walk
from deeplab.tflite.flatbuffer import Operator, TfliteGraph, read_graph


@pytest.fixture(scope="module")
def graph(official_models) -> TfliteGraph:
    return read_graph(official_models / "starter_deeplabv3_257_float.tflite")


def with_options(graph: TfliteGraph, kind: str, number: int, **options) -> TfliteGraph:
    """The graph with other options in operator `number` of its kind."""
    operators = list(graph.operators)
    place = [i for i, op in enumerate(operators) if op.name == kind][number]
    operators[place] = replace(operators[place], options={**operators[place].options, **options})
    return replace(graph, operators=tuple(operators))


def test_layers_get_the_weights_that_bear_their_name(graph):
    """The starter's tensors still have the names of the checkpoint: an oracle for the walk, which ignores them."""
    found = walk(graph).convolutions
    named = {t.name: t.values() for t in graph.tensors if t.data is not None and t.data.ndim == 4}

    def same(layer: str, name: str) -> None:
        np.testing.assert_array_equal(found[layer].kernel.transpose(3, 0, 1, 2), named[name])

    assert len(found) == len(named) == 55
    same("backbone_stem", "MobilenetV2/Conv/weights")
    same("backbone_block0_project", "MobilenetV2/expanded_conv/project/weights")
    for number in range(1, 17):
        for part in ("expand", "project"):
            same(f"backbone_block{number}_{part}", f"MobilenetV2/expanded_conv_{number}/{part}/weights")
        same(
            f"backbone_block{number}_depthwise",
            f"MobilenetV2/expanded_conv_{number}/depthwise/depthwise_weights",
        )
    for layer in ("image_pooling", "aspp0", "concat_projection"):
        same(layer, f"{layer}/weights")
    same("logits", "logits/semantic/weights")


def test_the_order_of_operators_does_not_matter(graph):
    """The two branches of the head in the other order, as the quantized files have them."""
    wanted = walk(graph).convolutions
    operators = list(graph.operators)
    pool = next(i for i, op in enumerate(operators) if op.name == "AVERAGE_POOL_2D")
    branch = operators[pool : pool + 4]
    assert [op.name for op in branch] == ["AVERAGE_POOL_2D", "CONV_2D", "RESIZE_BILINEAR", "CONV_2D"]
    operators[pool : pool + 4] = [branch[3], *branch[:3]]
    found = walk(replace(graph, operators=tuple(operators))).convolutions
    for name in wanted:
        np.testing.assert_array_equal(found[name].kernel, wanted[name].kernel)


def test_the_order_of_concatenation_goes_into_the_projection(graph):
    wanted = walk(graph).convolutions["concat_projection"].kernel
    operators = tuple(
        replace(op, inputs=op.inputs[::-1]) if op.name == "CONCATENATION" else op for op in graph.operators
    )
    found = walk(replace(graph, operators=operators)).convolutions["concat_projection"].kernel
    np.testing.assert_array_equal(found, np.concatenate([wanted[:, :, 256:], wanted[:, :, :256]], axis=2))


@pytest.mark.parametrize(
    ("kind", "number", "options", "message"),
    [
        ("CONV_2D", 0, {"fused_activation_function": "RELU"}, "where backbone_stem should be, a 3x3 CONV_2D"),
        ("CONV_2D", 0, {"padding": "VALID"}, "does not pad"),
        ("CONV_2D", 2, {"fused_activation_function": "NONE"}, "where backbone_block1_expand should be"),
        # All of the last stage with the new rate: the mistake that the measured rule forbids.
        ("DEPTHWISE_CONV_2D", 13, {"dilation_h_factor": 4}, "backbone_block13_depthwise has stride 1 and rate 4; at"),
        ("CONV_2D", 34, {"fused_activation_function": "RELU6"}, "does not end in RELU"),
    ],
)
def test_a_departure_is_named(graph, kind, number, options, message):
    with pytest.raises(OtherNetworkError, match=message):
        walk(with_options(graph, kind, number, **options))


def test_a_missing_shortcut_is_named(graph):
    adds = [i for i, op in enumerate(graph.operators) if op.name == "ADD"]
    operators = list(graph.operators)
    first = operators[adds[0]]
    operators[adds[0]] = replace(first, inputs=(first.inputs[0], first.inputs[0]))
    with pytest.raises(OtherNetworkError, match="backbone_block2 has no shortcut"):
        walk(replace(graph, operators=tuple(operators)))


def test_convolutions_left_over_are_counted(graph):
    more = replace(graph.operators[0], inputs=graph.operators[5].inputs)
    with pytest.raises(OtherNetworkError, match="56 convolutions where 55 were looked for"):
        walk(replace(graph, operators=(*graph.operators, more)))


def test_a_small_other_network_is_refused():
    empty = TfliteGraph((Operator("FULLY_CONNECTED", (0, 1), (2,), {}),), (), (0,), (2,), "")
    with pytest.raises(OtherNetworkError, match=r"where backbone_stem should be.*it has FULLY_CONNECTED"):
        walk(empty)
