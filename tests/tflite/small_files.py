"""Small int8 files, made by the converter alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf


def two_convolutions() -> bytes:
    """Return a file with two int8 convolutions of 40 channels and float32 input and output."""
    kernels = [tf.random.stateless_normal((3, 3, n, 40), (n, 1)) for n in (3, 40)]
    biases = tf.random.stateless_normal((40,), (1, 1))

    def network(image: Any) -> Any:
        x = tf.nn.relu(tf.nn.conv2d(image, kernels[0], 2, "SAME") + biases)
        return tf.nn.conv2d(x, kernels[1], 1, "SAME") + biases

    return _converter(network).convert()


def convolution_and(ending: Callable[[Any], Any], output_type: Any) -> bytes:
    """Return a file with one int8 convolution of stride 8, from 33x33 to 5x5 pixels, and an ending; uint8 input."""
    kernel = tf.random.stateless_normal((3, 3, 3, 5), (1, 2))
    converter = _converter(lambda image: ending(tf.nn.conv2d(image, kernel, 8, "SAME")))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type, converter.inference_output_type = tf.uint8, output_type
    return converter.convert()


def _converter(network: Callable[[Any], Any]) -> Any:
    signature = tf.TensorSpec((1, 33, 33, 3), tf.float32, name="image")
    converter = tf.lite.TFLiteConverter.from_concrete_functions([tf.function(network).get_concrete_function(signature)])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    images = np.random.default_rng(0).uniform(-1, 1, (4, 1, 33, 33, 3)).astype(np.float32)
    converter.representative_dataset = lambda: ([image] for image in images)
    return converter
