"""From a graph to the bytes of a .tflite file, by the route that leaves nothing in it but builtin operators."""

import re
import warnings
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize

from deeplab.config import IoType, Quantization
from deeplab.conversion.bias_correction import with_corrected_biases
from deeplab.conversion.float_layers import operators_of
from deeplab.errors import UserError
from deeplab.quiet import quiet
from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.packing import layer_name, rename_tensors
from deeplab.tflite.reorder import move_conversion_before_resize

NO_LABELS: tuple[Quantization, ...] = ("int16x8",)
"""Quantizations for which the converter has no ARG_MAX."""

NEEDS_CALIBRATION: tuple[Quantization, ...] = ("int8", "int16x8")

_ENDS = {"float32": tf.float32, "uint8": tf.uint8, "int8": tf.int8, "int16": tf.int16}


def convert(
    graph: Callable[[Any], Any],
    size: tuple[int, int],
    quantization: Quantization = "float32",
    images: Iterable[np.ndarray] = (),
    input_type: IoType | None = None,
    output_type: IoType | None = None,
    float_layers: Sequence[str] = (),
    trained_ranges: bool = False,
    correct_biases: bool = True,
) -> bytes:
    """Converts a graph of fixed size.

    From a concrete function alone the converter makes the variables constants before anything else. A SavedModel or a
    Keras model as source, or beside the function, keeps batch norms in training mode, SPACE_TO_BATCH pairs or both.

    Args:
        graph: from `export_graph`.
        size: (height, width) of its input in pixels.
        quantization: "float32"; "float16" (half the size, computed in float32); "dynamic" (int8 kernels, float
            activations); "int8" (all of it); "int16x8" (int8 kernels, int16 activations).
        images: calibration pictures `[h, w, 3]` for int8 and int16x8; must span 0..255 (`calibration.spanning`).
        input_type: of the input; None takes uint8 for int8 and float32 otherwise.
        output_type: of the output, in the same way. Class ids are int32 in any case.
        float_layers: names of Keras layers whose operators of an int8 file stay float.
        trained_ranges: whether the graph itself tells the ranges of an int8 file, by its fake-quant operators; there
            are no `images` then.
        correct_biases: whether calibrated files have biases that make up for the rounding of the kernels, see
            `bias_correction`.

    Returns:
        The file, without metadata. Its tensors bear the names of the Keras layers that compute them.

    Raises:
        UserError: the converter has no such quantization for an operator (HARD_SWISH in int16x8); or none of
            `float_layers` has an operator of its own.
    """
    images = tuple(images)
    if float_layers:
        calibrated = calibrate(graph, size, images)
        operators = operators_of(read_graph(calibrated), float_layers)
        content = quantize(calibrated, input_type, output_type, operators)
        return with_corrected_biases(content, calibrated, map(_normalized, images)) if correct_biases else content
    content = _converted(graph, size, quantization, images, input_type, output_type)
    if trained_ranges or quantization not in NEEDS_CALIBRATION or not correct_biases:
        return content
    return with_corrected_biases(content, _converted(graph, size, "float32"), map(_normalized, images))


def _converted(
    graph: Callable[[Any], Any],
    size: tuple[int, int],
    quantization: Quantization,
    images: tuple[np.ndarray, ...] = (),
    input_type: IoType | None = None,
    output_type: IoType | None = None,
) -> bytes:
    """What the converter makes of a graph; without `images` the graph itself tells the ranges of an int8 file."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converter = _converter(graph, size)
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantization != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization in NEEDS_CALIBRATION:
            if images:
                converter.representative_dataset = lambda: ([_normalized(image)] for image in images)
                converter.target_spec.supported_ops = [_OPERATORS[quantization]]
            converter.inference_input_type = _ENDS[io_type(quantization, input_type)]
            converter.inference_output_type = _ENDS[io_type(quantization, output_type)]
        try:
            return _finished(bytes(converter.convert()))
        except RuntimeError as e:
            missing = sorted(set(re.findall(r"not yet supported for op: '(\w+)'", str(e))))
            if not missing:
                raise
            why = f"{quantization} cannot be had: the converter lacks it for {', '.join(missing)}"
            raise UserError("quantization", why, "use int8 or float16") from e


def calibrate(graph: Callable[[Any], Any], size: tuple[int, int], images: Iterable[np.ndarray]) -> bytes:
    """A float file whose tensors carry the ranges that they take on the pictures; `quantize` makes int8 files of it.

    Args:
        graph: from `export_graph`.
        size: (height, width) of its input in pixels.
        images: as for `convert`.
    """
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        converter = _converter(graph, size)
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([_normalized(image)] for image in images)
        converter._experimental_calibrate_only = True
        return bytes(converter.convert())


def quantize(
    calibrated: bytes,
    input_type: IoType | None = None,
    output_type: IoType | None = None,
    float_operators: Sequence[str] = (),
) -> bytes:
    """An int8 file of a calibrated one, some of its operators in float.

    Args:
        calibrated: from `calibrate`.
        input_type: as for `convert`.
        output_type: as for `convert`.
        float_operators: names of the tensors that they compute, as `calibrated` has them.
    """
    with quiet():
        # What the converter itself ends with; it takes no names of operators to leave alone.
        content = mlir_quantize(
            calibrated,
            input_data_type=_ENDS[io_type("int8", input_type)],
            output_data_type=_ENDS[io_type("int8", output_type)],
            denylisted_nodes=list(float_operators),
        )
    return _finished(bytes(content))


def _finished(content: bytes) -> bytes:
    """What the converter gave, with readable names and its last conversion where it costs least."""
    return move_conversion_before_resize(rename_tensors(content, layer_name))


def _converter(graph: Callable[[Any], Any], size: tuple[int, int]) -> Any:
    """TensorFlow's converter for a graph of fixed size."""
    # Batch 1 is fixed: with a free batch the converter writes SPACE_TO_BATCH_ND in place of dilations.
    signature = tf.TensorSpec((1, *size, 3), tf.float32, name="image")
    function = tf.function(graph, autograph=False).get_concrete_function(signature)
    return tf.lite.TFLiteConverter.from_concrete_functions([function])


_OPERATORS = {
    "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    "int16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}


def io_type(quantization: Quantization, wanted: IoType | None) -> IoType:
    """The type of an input or output where `wanted` is asked for, None being the default."""
    return wanted or ("uint8" if quantization == "int8" else "float32")


def _normalized(image: np.ndarray) -> np.ndarray:
    """What the layer "normalize" gives: `[1, h, w, 3]` float32 -1..1 of `[h, w, 3]` 0..255."""
    return image[None].astype(np.float32) * np.float32(2.0 / 255.0) - np.float32(1.0)
