"""What the installed runtimes say about delegates."""

import sys

import pytest

from deeplab.compatibility import host
from deeplab.compatibility.host import gpu_analysis, xnnpack_operators
from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.tflite_file import open_tflite
from tests.compatibility.test_delegates import CASES


def test_litert_states_which_operators_of_a_network_run_in_xnnpack(workshop):
    file = open_tflite(workshop.bare("int8"))
    delegated = xnnpack_operators(file)
    left = [op.name for i, op in enumerate(file.graph.operators) if i not in delegated]
    # uint8 to int8 at the input, and back at the output.
    assert left == ["QUANTIZE", "QUANTIZE"]


def test_the_text_of_the_analyzer_lists_the_operators():
    verdict, text = gpu_analysis(CASES["argmax"][0])
    assert "Op#0 ARG_MAX" in text
    name = "TensorFlow" if "tensorflow" in sys.modules else "LiteRT"
    assert verdict.startswith(f"Analyzer of {name} ")


def test_an_analyzer_that_objects_to_nothing_gives_no_verdict(monkeypatch):
    monkeypatch.setattr(host, "_analyze", lambda content: "Your model looks compatible with GPU delegate")
    host._analyzer_checks.cache_clear()
    assert "no verdict: it calls SHAPE compatible too" in gpu_analysis(b"")[0]
    host._analyzer_checks.cache_clear()


def test_the_objection_of_an_analyzer_is_its_verdict(monkeypatch):
    line = "Subgraph#0 has GPU delegate compatibility issues at nodes 0 on TFLite runtime version 2.9.0"
    monkeypatch.setattr(host, "_analyze", lambda content: f"x\nGPU COMPATIBILITY WARNING: {line}\n")
    assert gpu_analysis(b"")[0].endswith(line)


def test_an_analyzer_that_objects_elsewhere_calls_a_file_compatible(monkeypatch):
    texts = {b"file": "Your model looks compatible", host._refused_file(): "GPU COMPATIBILITY WARNING: Subgraph#0 ..."}
    monkeypatch.setattr(host, "_analyze", texts.__getitem__)
    host._analyzer_checks.cache_clear()
    assert gpu_analysis(b"file")[0].endswith(": compatible")
    host._analyzer_checks.cache_clear()


def test_the_file_that_every_gpu_delegate_refuses_is_valid():
    graph = read_graph(host._refused_file())
    assert [op.name for op in graph.operators] == ["SHAPE"]


@pytest.mark.parametrize("name", ["convolution", "argmax"])
def test_a_single_operator_is_delegated_or_not(name):
    assert xnnpack_operators(open_tflite(CASES[name][0])) == (frozenset({0}) if name == "convolution" else frozenset())
