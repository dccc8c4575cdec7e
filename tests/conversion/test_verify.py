"""Good files pass all checks, and each kind of damage fails its check."""

import dataclasses
import importlib.util

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder

from deeplab.conversion.checks import CheckId
from deeplab.conversion.convert import convert
from deeplab.conversion.verify import verify
from deeplab.datasets.shapes import CLASSES
from deeplab.tflite.metadata import write_metadata


def _states(checks):
    return {c.id: c.state for c in checks}


def _changed(content, change):
    """Return the file after `change(model)` on the objects of the schema, without metadata."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    model.metadata = None
    change(model)
    builder = Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _written(content):
    return write_metadata(content, CLASSES, activation="softmax")


@pytest.mark.parametrize("quantization", ["float32", "int8"])
def test_a_good_file_passes(workshop, quantization):
    checks = verify(workshop.file(quantization), workshop.target(quantization), workshop.images)
    assert [str(c) for c in checks if c.state == "failed"] == []
    states = _states(checks)
    for check_id in (
        CheckId.OPERATORS,
        CheckId.LABELS,
        CheckId.PIXEL_AGREEMENT,
        CheckId.MIOU_DROP,
        *([CheckId.TASK_LIBRARY] if importlib.util.find_spec("tflite_support") else []),
    ):
        assert states[check_id] == "passed", check_id
    if quantization == "float32" and importlib.util.find_spec("mediapipe"):
        assert states[CheckId.MEDIAPIPE] == "passed"
    if quantization == "int8":
        # Depending on its version, MediaPipe reads uint8 scores.
        assert states[CheckId.MEDIAPIPE] in ("passed", "not checked")


def test_agreement_is_not_checked_without_a_keras_model(workshop):
    states = _states(verify(workshop.file("float32"), None, workshop.images))
    assert states[CheckId.KERAS_AGREEMENT] == "not checked"
    assert "failed" not in states.values()


def _zero_a_layer(content):
    def change(model):
        op = [o for o in model.subgraphs[0].operators if len(o.inputs) == 3][10]
        buffer = model.buffers[model.subgraphs[0].tensors[op.inputs[1]].buffer]
        buffer.data = np.zeros_like(buffer.data)

    return _written(_changed(content, change))


def _scale_of_the_output(content):
    def change(model):
        graph = model.subgraphs[0]
        quantization = graph.tensors[graph.outputs[0]].quantization
        # The last resize keeps the stored values, so its input and output must have the same scale.
        quantization.scale = quantization.scale / np.float32(4)

    return _written(_changed(content, change))


def _scale_of_the_input(content):
    def change(model):
        graph = model.subgraphs[0]
        quantization = graph.tensors[graph.inputs[0]].quantization
        quantization.scale = quantization.scale * np.float32(0.8)

    return _written(_changed(content, change))


def _swap_channels_of_the_logits(content):
    def change(model):
        convolutions = [o for o in model.subgraphs[0].operators if len(o.inputs) == 3]
        kernel = model.subgraphs[0].tensors[convolutions[-1].inputs[1]]
        data = np.array(model.buffers[kernel.buffer].data).reshape(len(CLASSES), -1)
        data[[0, 1]] = data[[1, 0]]
        model.buffers[kernel.buffer].data = data.ravel()

    return _written(_changed(content, change))


def _half_pixel_resize(content):
    def change(model):
        for op in model.subgraphs[0].operators:
            if isinstance(op.builtinOptions, schema.ResizeBilinearOptionsT):
                op.builtinOptions.alignCorners = False

    return _written(_changed(content, change))


def _relabeled(labels=CLASSES, **changes):
    return lambda content: write_metadata(content, labels, **{"activation": "softmax", **changes})


DAMAGE = {
    "a zeroed layer": ("float32", _zero_a_layer, CheckId.SCORE_ERROR),
    "swapped channels": ("float32", _swap_channels_of_the_logits, CheckId.CLEAR_PIXEL_AGREEMENT),
    "another resize": ("float32", _half_pixel_resize, CheckId.SCORE_ERROR),
    "scale of the output": ("int8", _scale_of_the_output, CheckId.OPENS),
    "scale of the input": ("int8", _scale_of_the_input, CheckId.RAW_PIXELS),
    "swapped labels": ("int8", _relabeled(CLASSES[::-1]), CheckId.LABELS),
    "a missing label": ("int8", _relabeled(CLASSES[:-1]), CheckId.LABEL_COUNT),
    "another mean": ("int8", _relabeled(mean=0.0), CheckId.NORMALIZATION),
    "another std": ("int8", _relabeled(std=255.0), CheckId.NORMALIZATION),
    "another activation": ("int8", _relabeled(activation="sigmoid"), CheckId.ACTIVATION),
    "no metadata": ("int8", lambda c: c, CheckId.METADATA),
    "truncated": ("int8", lambda c: c[: len(c) // 2], CheckId.OPENS),
    "empty": ("int8", lambda c: b"", CheckId.OPENS),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_each_damage_fails_its_check(workshop, damage):
    quantization, change, check_id = DAMAGE[damage]
    target = workshop.target(quantization)
    assert _states(verify(workshop.file(quantization), target, ())).get(check_id) != "failed"
    assert _states(verify(change(workshop.bare(quantization)), target, ()))[check_id] == "failed"


def test_an_int8_file_fails_if_float_was_requested(workshop):
    states = _states(verify(workshop.file("int8"), workshop.target("float32"), ()))
    assert states[CheckId.INPUT_MATCHES] == "failed"
    assert states[CheckId.OUTPUT_MATCHES] == "failed"
    assert states[CheckId.KERAS_AGREEMENT] == states[CheckId.CLIENTS] == "not checked"


def test_a_mask_of_another_stride_fails(workshop):
    states = _states(verify(workshop.file("float32"), workshop.target("float32", mask_stride=4), ()))
    assert states[CheckId.OUTPUT_MATCHES] == "failed"


def test_a_miou_drop_above_the_limit_fails(workshop):
    # The reference scores are set to a perfect mIoU.
    target = workshop.target("float32")
    scores = target.reference.scores
    perfect = dataclasses.replace(scores, matrix=np.diag(scores.matrix.sum(axis=1)))
    reference = dataclasses.replace(target.reference, scores=perfect)
    checks = verify(workshop.file("float32"), dataclasses.replace(target, reference=reference), ())
    (drop,) = [c for c in checks if c.id == CheckId.MIOU_DROP]
    assert drop.state == "failed"
    assert drop.limit == 1.5
    assert isinstance(drop.measured, float)
    assert drop.measured > 50


def test_arithmetic_on_the_image_fails():
    kernel = tf.random.stateless_normal((3, 3, 3, len(CLASSES)), (1, 2))

    def normalize_and_convolve(image):
        return tf.nn.conv2d(image * (2 / 255) - 1, kernel, 1, "SAME")

    content = _written(convert(normalize_and_convolve, (33, 33)))
    states = _states(verify(content, None, ()))
    assert states[CheckId.FIRST_OPERATORS] == "failed"


def test_an_operator_that_no_deeplab_network_needs_fails():
    content = _written(convert(lambda image: tf.reverse(image, [1]), (33, 33)))
    checks = [c for c in verify(content, None, ()) if c.id == CheckId.OPERATORS]
    assert [(c.state, c.measured) for c in checks] == [("failed", "REVERSE_V2")]


def test_a_dilation_that_was_not_folded_fails():
    kernel = tf.random.stateless_normal((3, 3, 3, len(CLASSES)), (1, 2))

    def space_to_batch_convolution(image):
        x = tf.space_to_batch(image, [2, 2], [[2, 3], [2, 3]])
        return tf.batch_to_space(tf.nn.conv2d(x + 1.0, kernel, 1, "VALID"), [2, 2], [[0, 1], [0, 1]])

    content = _written(convert(space_to_batch_convolution, (33, 33)))
    (operators,) = [c for c in verify(content, None, ()) if c.id == CheckId.OPERATORS]
    assert operators.state == "failed"
    assert operators.measured == "BATCH_TO_SPACE_ND, SPACE_TO_BATCH_ND"
