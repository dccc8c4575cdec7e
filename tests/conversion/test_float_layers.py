"""Layers of an int8 file that stay float."""

import numpy as np
import pytest

from deeplab.conversion.calibration import choose_calibration
from deeplab.conversion.convert import convert
from deeplab.conversion.export_graph import export_graph
from deeplab.conversion.float_layers import chosen_layers, float_operators
from deeplab.conversion.structure import structure_checks
from deeplab.conversion.verify import verify
from deeplab.datasets.shapes import CLASSES, shapes_source
from deeplab.errors import UserError
from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.metadata import write_metadata
from tests.conversion.conftest import SIZE

LAYERS = ("backbone_stem", "aspp0", "aspp0_bn", "aspp1_depthwise", "logits")


def test_patterns_give_layers_in_the_models_order():
    assert chosen_layers(("logits", "aspp*"), LAYERS) == ("aspp0", "aspp0_bn", "aspp1_depthwise", "logits")
    assert chosen_layers((), LAYERS) == ()


def test_an_unknown_layer_is_refused_with_names_like_it():
    with pytest.raises(UserError, match=r"float_layers: the model has no layer 'logit'; close to it: logits"):
        chosen_layers(("aspp0", "logit"), LAYERS)


@pytest.fixture(scope="module")
def mixed(workshop):
    """An int8 file whose first and last convolutions are float, and the layers that were named."""
    layers = ("backbone_stem", "backbone_stem_bn", "logits")
    images = choose_calibration(shapes_source("train", SIZE), 4, (SIZE, SIZE), 0).images
    content = convert(export_graph(workshop.model), (SIZE, SIZE), "int8", images, float_layers=layers)
    return write_metadata(content, CLASSES, activation="softmax"), layers


def test_the_named_layers_alone_are_float(mixed, workshop):
    content, _ = mixed
    graph = read_graph(content)
    assert float_operators(graph) == ("backbone_stem", "logits")
    kinds = [
        (op.name, graph.tensors[op.inputs[1]].dtype, graph.tensors[op.inputs[1]].shape)
        for op in graph.operators
        if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D")
    ]
    floats = [k for k in kinds if k[1] == "float32"]
    # The stem of depth 0.25 has 8 kernels of 3x3x3; the logits are 1x1 on the decoder's 16 channels.
    assert [(name, shape) for name, _, shape in floats] == [("CONV_2D", (8, 3, 3, 3)), ("CONV_2D", (7, 1, 1, 16))]
    assert {dtype for _, dtype, _ in kinds} == {"float32", "int8"}
    assert TfliteModel(content).input.dtype == "uint8"


def test_a_file_with_float_layers_passes_all_checks_and_comes_closer(mixed, workshop):
    content, layers = mixed
    proof = workshop.proof("int8")
    expected = proof.expected.__class__(**{**vars(proof.expected), "float_layers": layers})
    proof = proof.__class__(**{**vars(proof), "expected": expected})
    checks = verify(content, proof, workshop.pictures)
    assert [str(c) for c in checks if c.state == "failed"] == []
    assert {c.name: c.measured for c in checks}["float operators"] == "backbone_stem, logits"
    wanted = workshop.reference.logits[0]
    picture = workshop.reference.pictures[0]

    def error(file):
        return np.sqrt(np.mean(np.square(TfliteModel(file)(picture) - wanted)))

    assert error(content) < error(workshop.file("int8"))


def test_a_layer_that_is_float_without_an_order_is_refused(mixed, workshop):
    content, _ = mixed
    checks = {c.name: c for c in structure_checks(TfliteModel(content), workshop.proof("int8").expected)}
    assert checks["float operators"].state == "failed"
    assert checks["float operators"].measured == "backbone_stem, logits"


def test_an_ordered_float_layer_that_is_int8_is_refused(workshop):
    expected = workshop.proof("int8").expected
    expected = expected.__class__(**{**vars(expected), "float_layers": ("logits",)})
    checks = {c.name: c for c in structure_checks(TfliteModel(workshop.file("int8")), expected)}
    assert checks["float operators"].state == "failed"


def test_a_layer_without_an_operator_of_its_own_is_refused(workshop):
    images = [np.zeros((SIZE, SIZE, 3), np.float32)]
    with pytest.raises(UserError, match=r"backbone_stem_bn: not an operator of its own.*such as backbone_stem"):
        convert(export_graph(workshop.model), (SIZE, SIZE), "int8", images, float_layers=("backbone_stem_bn",))
