"""Layers of an int8 file that stay float."""

import dataclasses

import numpy as np
import pytest

from deeplab.conversion.calibration import choose_calibration
from deeplab.conversion.checks import CheckId
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


def test_matching_layers_are_in_the_order_of_the_model():
    assert chosen_layers(("logits", "aspp*"), LAYERS) == ("aspp0", "aspp0_bn", "aspp1_depthwise", "logits")
    assert chosen_layers((), LAYERS) == ()


def test_an_unknown_layer_is_rejected_with_the_most_similar_name():
    with pytest.raises(UserError, match=r"float_layers: the model has no layer 'logit'; did you mean 'logits'\?"):
        chosen_layers(("aspp0", "logit"), LAYERS)


@pytest.fixture(scope="module")
def mixed(workshop):
    """An int8 file whose first and last convolutions are float, and its `float_layers`."""
    layers = ("backbone_stem", "backbone_stem_bn", "logits")
    images = choose_calibration(shapes_source("train", SIZE), 4, (SIZE, SIZE), 0).images
    content = convert(export_graph(workshop.model), (SIZE, SIZE), "int8", images, float_layers=layers)
    return write_metadata(content, CLASSES, activation="softmax"), layers


def test_only_the_named_layers_are_float(mixed):
    content, _ = mixed
    graph = read_graph(content)
    assert float_operators(graph) == ("backbone_stem", "logits")
    kernels = [
        (op.name, graph.tensors[op.inputs[1]]) for op in graph.operators if op.name in ("CONV_2D", "DEPTHWISE_CONV_2D")
    ]
    # The stem at depth 0.25 has 8 kernels of 3x3x3; the logits are 1x1 on the 16 channels of the decoder.
    floats = [(name, kernel.shape) for name, kernel in kernels if kernel.dtype == "float32"]
    assert floats == [("CONV_2D", (8, 3, 3, 3)), ("CONV_2D", (7, 1, 1, 16))]
    assert {kernel.dtype for _, kernel in kernels} == {"float32", "int8"}
    assert TfliteModel(content).input.dtype == "uint8"


def test_float_layers_reduce_the_error_and_pass_all_checks(mixed, workshop):
    content, layers = mixed
    target = workshop.target("int8")
    target = dataclasses.replace(target, expected=dataclasses.replace(target.expected, float_layers=layers))
    checks = verify(content, target, workshop.images)
    assert [str(c) for c in checks if c.state == "failed"] == []
    assert {c.id: c.measured for c in checks}[CheckId.FLOAT_OPERATORS] == "backbone_stem, logits"
    logits, image = workshop.reference.logits[0], workshop.reference.images[0]

    def error(file):
        return np.sqrt(np.mean(np.square(TfliteModel(file)(image) - logits)))

    assert error(content) < error(workshop.file("int8"))


def test_a_float_layer_that_was_not_requested_fails_the_check(mixed, workshop):
    content, _ = mixed
    checks = {c.id: c for c in structure_checks(TfliteModel(content), workshop.target("int8").expected)}
    assert checks[CheckId.FLOAT_OPERATORS].state == "failed"
    assert checks[CheckId.FLOAT_OPERATORS].measured == "backbone_stem, logits"


def test_a_requested_float_layer_that_is_int8_fails_the_check(workshop):
    expected = dataclasses.replace(workshop.target("int8").expected, float_layers=("logits",))
    checks = {c.id: c for c in structure_checks(TfliteModel(workshop.file("int8")), expected)}
    assert checks[CheckId.FLOAT_OPERATORS].state == "failed"


def test_a_kernel_of_several_scales_fails_the_check_of_a_per_tensor_file(workshop):
    expected = dataclasses.replace(workshop.target("int8").expected, per_tensor=True)
    checks = {c.id: c for c in structure_checks(TfliteModel(workshop.file("int8")), expected)}
    # Each convolution has a kernel and a bias with a scale per channel; those of one channel have one.
    kernels = [op for op in read_graph(workshop.bare("int8")).operators if "CONV_2D" in op.name]
    assert checks[CheckId.SEVERAL_SCALES].state == "failed"
    assert checks[CheckId.SEVERAL_SCALES].measured == 2 * len(kernels)


def test_a_layer_that_is_not_a_separate_operator_is_rejected(workshop):
    images = [np.zeros((SIZE, SIZE, 3), np.float32)]
    with pytest.raises(UserError, match=r"backbone_stem_bn: not a separate operator.*such as backbone_stem"):
        convert(export_graph(workshop.model), (SIZE, SIZE), "int8", images, float_layers=("backbone_stem_bn",))
