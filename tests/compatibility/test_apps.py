"""Which apps open a file, by the requirements in their sources."""

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from deeplab.compatibility.apps import app_verdicts
from deeplab.compatibility.rules import apps
from deeplab.tflite.flatbuffer import serialize
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.metadata import write_metadata

TASK = {"task_library", "examples_task_android", "examples_task_ios", "litert_interpreter_ios"}
MEDIAPIPE = {"mediapipe", "mediapipe_samples_android", "mediapipe_samples_ios", "mediapipe_samples_web"}
COLORS_21 = {"mediapipe_samples_ios", "mediapipe_samples_web"}
COMPILED = {"compiled_model_android", "compiled_model_ios"}
GUIDE, WEB = {"examples_interpreter_android"}, {"litert_js"}
INTERPRETER = {"litert_interpreter_android", "examples_interpreter_ios"}


def segmenter(size=257, classes=21, mask=None, dtype=tf.float32, ids=False, labels=True):
    """Return a file with one convolution, float or with float tensors cast to `dtype` at both ends."""
    size = size if isinstance(size, tuple) else (size, size)
    kernel = tf.ones((1, 1, 3, classes))

    def network(image):
        scores = tf.nn.conv2d(tf.cast(image, tf.float32), kernel, 1, "SAME")
        scores = tf.image.resize(scores, mask or size)
        return tf.argmax(scores, -1, output_type=tf.int32) if ids else tf.cast(scores, dtype)

    signature = tf.TensorSpec((1, *size, 3), dtype)
    function = tf.function(network, autograph=False).get_concrete_function(signature)
    content = _with_scales(tf.lite.TFLiteConverter.from_concrete_functions([function]).convert())
    return write_metadata(content, [f"class {i}" for i in range(classes)]) if labels else content


def _with_scales(content):
    """Return a file whose 8-bit input and output have a scale and a zero point, as those of quantized files have."""
    model = schema.ModelT.InitFromPackedBuf(content, 0)
    graph = model.subgraphs[0]
    for tensor in (graph.tensors[i] for i in (*graph.inputs, *graph.outputs)):
        if tensor.type in (schema.TensorType.INT8, schema.TensorType.UINT8):
            zero_point = 127 if tensor.type == schema.TensorType.UINT8 else -1
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.array([2 / 255], np.float32)
            tensor.quantization.zeroPoint = np.array([zero_point], np.int64)
    return serialize(model)


CASES = {
    # The apps that open the file, read from the sources that rules.toml names.
    "257, 21 classes": (segmenter(), TASK | MEDIAPIPE | GUIDE | INTERPRETER | WEB),
    "256, 6 classes": (segmenter(256, 6), TASK | MEDIAPIPE | COMPILED | INTERPRETER | WEB),
    "257, 7 classes": (segmenter(classes=7), TASK | MEDIAPIPE | INTERPRETER | WEB),
    "mask of 65": (segmenter(mask=(65, 65)), TASK | MEDIAPIPE | WEB),
    "23 classes": (
        segmenter(classes=23),
        TASK | MEDIAPIPE - COLORS_21 | WEB,
    ),
    "129 classes": (
        segmenter(33, 129),
        TASK - {"examples_task_android"} | (MEDIAPIPE - COLORS_21) | WEB,
    ),
    "257 classes": (segmenter(33, 257), MEDIAPIPE - COLORS_21 | WEB),
    "one channel": (segmenter(33, 1), TASK | INTERPRETER | WEB),
    "not square": (segmenter((33, 65)), TASK - {"litert_interpreter_ios"} | MEDIAPIPE | INTERPRETER | WEB),
    "no metadata": (segmenter(labels=False), GUIDE | INTERPRETER | WEB),
    "class ids": (segmenter(ids=True), WEB),
    "uint8": (segmenter(33, dtype=tf.uint8), TASK | WEB),
    "int8": (segmenter(33, dtype=tf.int8), set()),
}


@pytest.mark.parametrize("name", CASES)
def test_apps_open_the_files_that_their_sources_allow(name):
    content, opening = CASES[name]
    assert {verdict.app for verdict in app_verdicts(TfliteModel(content)) if verdict.opens} == opening


def test_every_app_opens_one_of_the_files_and_refuses_another():
    opened = [opening for _, opening in CASES.values()]
    assert set.union(*opened) == set(apps())
    assert not set.intersection(*opened)


def test_the_verdict_names_reason_actual_value_and_the_change_of_the_app():
    verdicts = {verdict.app: verdict for verdict in app_verdicts(TfliteModel(CASES["257, 7 classes"][0]))}
    assert verdicts["examples_interpreter_android"].summary == (
        "does not open: NUM_CLASSES is 21 (the file has 7 classes); opens after a change of the app: "
        "set NUM_CLASSES and labelsArrays"
    )
    assert verdicts["task_library"].summary == "opens"
    ids = {verdict.app: verdict for verdict in app_verdicts(TfliteModel(CASES["class ids"][0]))}
    # No change of the sample makes class ids scores.
    assert ids["examples_interpreter_android"].change == ""
