"""Good files pass; each kind of damage is refused by the check that is there for it."""

import dataclasses
import importlib.util

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from flatbuffers import Builder

from deeplab.conversion.convert import convert
from deeplab.conversion.verify import verify
from deeplab.datasets.shapes import CLASSES
from deeplab.tflite.metadata import write_metadata


def _states(checks):
    return {c.name: c.state for c in checks}


def _changed(content, change):
    """The file with `change(model)` applied to the schema's own objects; metadata are lost."""
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
    content, proof = workshop.file(quantization), workshop.proof(quantization)
    checks = verify(content, proof, workshop.pictures)
    assert [str(c) for c in checks if c.state == "failed"] == []
    states = _states(checks)
    for name in (
        "operators",
        "labels read back",
        "pixels that agree with Keras",
        "mIoU drop in points",
        "Task Library",
    ):
        assert states[name] == "passed", name
    if quantization == "float32" and importlib.util.find_spec("mediapipe"):
        assert states["MediaPipe"] == "passed"
    if quantization == "int8":
        assert states["MediaPipe"] == "not checked"


def test_without_a_model_to_compare_with_agreement_is_not_checked(workshop):
    states = _states(verify(workshop.file("float32"), None, workshop.pictures))
    assert states["agreement with Keras"] == "not checked"
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
        # Enlarging copies bytes, so both its ends must have one scale.
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
    "a zeroed layer": ("float32", _zero_a_layer, "error of the scores"),
    "channels swapped": ("float32", _swap_channels_of_the_logits, "clear pixels that agree with Keras"),
    "another resize": ("float32", _half_pixel_resize, "error of the scores"),
    "the output's scale": ("int8", _scale_of_the_output, "opens in LiteRT"),
    "the input's scale": ("int8", _scale_of_the_input, "raw bytes are pixels"),
    "labels swapped": ("int8", _relabeled(CLASSES[::-1]), "labels read back"),
    "a label too few": ("int8", _relabeled(CLASSES[:-1]), "labels = channels"),
    "another mean": ("int8", _relabeled(mean=0.0), "normalization"),
    "another std": ("int8", _relabeled(std=255.0), "normalization"),
    "another activation": ("int8", _relabeled(activation="sigmoid"), "activation"),
    "no metadata": ("int8", lambda c: c, "metadata"),
    "cut short": ("int8", lambda c: c[: len(c) // 2], "opens in LiteRT"),
    "empty": ("int8", lambda c: b"", "opens in LiteRT"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_refused(workshop, damage):
    quantization, change, name = DAMAGE[damage]
    whole = _relabeled()(workshop.bare(quantization))
    assert _states(verify(whole, workshop.proof(quantization), ())).get(name) != "failed"
    checks = verify(change(workshop.bare(quantization)), workshop.proof(quantization), ())
    assert _states(checks)[name] == "failed"


def test_an_int8_file_that_was_ordered_in_float_is_refused(workshop):
    states = _states(verify(workshop.file("int8"), workshop.proof("float32"), ()))
    assert states["input as ordered"] == "failed"
    assert states["output as ordered"] == "failed"


def test_a_mask_of_another_stride_is_refused(workshop):
    states = _states(verify(workshop.file("float32"), workshop.proof("float32", mask_stride=4), ()))
    assert states["output as ordered"] == "failed"


def test_a_drop_beyond_the_limit_is_refused(workshop):
    # The reference claims a perfect mIoU, so that the file must lose some.
    proof = workshop.proof("float32")
    scores = proof.reference.scores
    perfect = dataclasses.replace(scores, matrix=np.diag(scores.matrix.sum(axis=1)))
    reference = dataclasses.replace(proof.reference, scores=perfect)
    checks = verify(workshop.file("float32"), dataclasses.replace(proof, reference=reference), ())
    (drop,) = [c for c in checks if c.name == "mIoU drop in points"]
    assert drop.state == "failed"
    assert drop.limit == 1.5
    assert isinstance(drop.measured, float)
    assert drop.measured > 50


def test_arithmetic_on_the_image_is_refused():
    kernel = tf.random.stateless_normal((3, 3, 3, len(CLASSES)), (1, 2))

    def normalize_and_convolve(image):
        return tf.nn.conv2d(image * (2 / 255) - 1, kernel, 1, "SAME")

    content = _written(convert(normalize_and_convolve, (33, 33)))
    states = _states(verify(content, None, ()))
    assert states["normalization costs nothing"] == "failed"


def test_an_operator_that_no_plain_runtime_has_is_refused():
    content = _written(convert(lambda image: tf.reverse(image, [1]), (33, 33)))
    checks = [c for c in verify(content, None, ()) if c.name == "operators"]
    assert [(c.state, c.measured) for c in checks] == [("failed", "REVERSE_V2")]


def test_a_dilation_that_was_not_folded_is_refused():
    kernel = tf.random.stateless_normal((3, 3, 3, len(CLASSES)), (1, 2))

    def in_pieces(image):
        x = tf.space_to_batch(image, [2, 2], [[2, 3], [2, 3]])
        return tf.batch_to_space(tf.nn.conv2d(x + 1.0, kernel, 1, "VALID"), [2, 2], [[0, 1], [0, 1]])

    content = _written(convert(in_pieces, (33, 33)))
    (operators,) = [c for c in verify(content, None, ()) if c.name == "operators"]
    assert operators.state == "failed"
    assert operators.measured == "BATCH_TO_SPACE_ND, SPACE_TO_BATCH_ND"
