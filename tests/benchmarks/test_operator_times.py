"""The times of single operators."""

import math

import pytest

from benchmarks.operator_times import profile
from deeplab.config import ModelConfig
from deeplab.conversion.calibration import choose_calibration
from deeplab.conversion.convert import convert
from deeplab.conversion.export_graph import export_graph
from deeplab.datasets.shapes import shapes_source
from deeplab.model.build import build_model
from deeplab.tflite.flatbuffer import read_graph

NETWORK = ModelConfig(depth_multiplier=0.1, aspp_rates=(), aspp_channels=8, decoder_channels=8, low_level_channels=8)


@pytest.fixture(scope="module")
def content():
    images = choose_calibration(shapes_source("train", 65), 2, (65, 65), 0).images
    return convert(export_graph(build_model(NETWORK, 16, 65)), (65, 65), "int8", images)


def test_every_operator_is_measured(content):
    result = profile(content, rounds=3)
    graph = read_graph(content)
    assert [(op.name, op.shape) for op in result.operators] == [
        (op.name, graph.tensors[op.outputs[0]].shape) for op in graph.operators
    ]
    assert all(op.milliseconds > 0 for op in result.operators)
    assert result.operators[-2].layer == "Identity1"
    assert "backbone_stem" in {op.layer for op in result.operators}
    assert {name: count for name, _, count in result.by_name} == graph.operator_counts()
    total = sum(op.milliseconds for op in result.operators)
    assert math.isclose(sum(ms for _, ms, _ in result.by_name), total, rel_tol=1e-9)
    assert result.slowest[0].milliseconds == max(op.milliseconds for op in result.operators)
