"""Timing operators one by one."""

import math

from benchmarks.operator_times import profile
from deeplab.conversion.timing import times_in_turns
from deeplab.tflite.flatbuffer import read_graph


def test_every_operator_has_a_time_of_its_own(workshop):
    content = workshop.bare("int8")
    found = profile(content, rounds=3)
    graph = read_graph(content)
    assert [(op.kind, op.shape) for op in found.operators] == [
        (op.name, graph.tensors[op.outputs[0]].shape) for op in graph.operators
    ]
    assert all(op.milliseconds > 0 for op in found.operators)
    assert found.operators[-2].layer == "Identity1"
    assert "backbone_stem" in {op.layer for op in found.operators}
    assert {kind: number for kind, _, number in found.kinds} == graph.operator_counts()
    total = sum(op.milliseconds for op in found.operators)
    assert math.isclose(sum(ms for _, ms, _ in found.kinds), total, rel_tol=1e-9)
    assert found.top[0].milliseconds == max(op.milliseconds for op in found.operators)


def test_files_take_turns(workshop):
    times = times_in_turns({"a": workshop.bare("int8"), "b": workshop.bare("int8")}, rounds=4)
    assert {name: values.shape for name, values in times.items()} == {"a": (4,), "b": (4,)}
    assert all((values > 0).all() for values in times.values())
