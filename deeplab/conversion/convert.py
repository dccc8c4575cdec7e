"""Converts an export function to the bytes of a .tflite file that contains only builtin operators."""

import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import tensorflow as tf
from tensorflow.lite.python.convert import mlir_quantize

from deeplab.config import IO_TYPES, IoType, Quantization
from deeplab.conversion.bias_correction import with_corrected_biases
from deeplab.conversion.export_graph import ExportFunction
from deeplab.conversion.float_layers import operators_of
from deeplab.errors import UserError
from deeplab.pixels import PIXEL_SCALE
from deeplab.quiet import quiet
from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.rewrite import layer_name, move_conversion_before_resize, rename_tensors

NO_LABELS: tuple[Quantization, ...] = ("int16x8",)
"""Quantizations for which the converter has no ARG_MAX, so that output=labels is impossible."""

_DTYPES = {"float32": tf.float32, "uint8": tf.uint8, "int8": tf.int8, "int16": tf.int16}

NEEDS_CALIBRATION: dict[Quantization, tf.lite.OpsSet] = {
    "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
    "int16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
}
"""Quantizations whose activation ranges come from a representative dataset, unless trained, and their operators."""


def convert(
    function: ExportFunction,
    size: tuple[int, int],
    quantization: Quantization = "float32",
    images: Iterable[np.ndarray] = (),
    input_type: IoType | None = None,
    output_type: IoType | None = None,
    float_layers: Sequence[str] = (),
    correct_biases: bool = True,
    per_tensor: bool = False,
) -> bytes:
    """Convert an export function at a fixed input size.

    The converter gets a concrete function and nothing else; it then freezes all variables first. With a SavedModel or a
    Keras model as well, batch norms stay in training mode or dilated convolutions become SPACE_TO_BATCH_ND pairs.

    Args:
        function: from `export_graph`.
        size: (height, width) of the input in pixels.
        quantization: "float32"; "float16" (half the size, computed in float32); "dynamic" (int8 kernels, float
            activations); "int8" (int8 kernels and activations); "int16x8" (int8 kernels, int16 activations).
        images: representative dataset for int8 and int16x8, `[h, w, 3]` each; must span 0..255 (`with_full_range`).
            Without images, the fake-quant operators of the function set the ranges of an int8 file.
        input_type: dtype of the input; None means uint8 for int8 and float32 otherwise.
        output_type: dtype of the scores, with the same default. Class ids are always int32.
        float_layers: names of Keras layers whose operators stay float in an int8 file.
        correct_biases: whether the biases of a calibrated file compensate for the rounding of the kernels, see
            `bias_correction`.
        per_tensor: whether each kernel of a calibrated int8 file has a single scale instead of one per output channel,
            as some NPUs require. Without images, the fake-quant operators decide.

    Returns:
        The file, without metadata. Its tensors have the names of the Keras layers that compute them.

    Raises:
        UserError: the converter does not support an operator in this quantization (HARD_SWISH in int16x8), or no
            operator was made from `float_layers`.
    """
    images = tuple(images) if quantization in NEEDS_CALIBRATION else ()
    reference = calibrate(function, size, images) if float_layers else None
    if reference:
        operators = operators_of(read_graph(reference), float_layers)
        content = quantize(reference, input_type, output_type, operators, per_tensor)
    else:
        content = _convert(function, size, quantization, images, input_type, output_type, per_tensor)
    if not images or not correct_biases:
        return content
    return with_corrected_biases(content, reference or _convert(function, size, "float32"), map(_normalized, images))


def calibrate(function: ExportFunction, size: tuple[int, int], images: Iterable[np.ndarray]) -> bytes:
    """Return a float file with the range of every tensor on a representative dataset; `quantize` converts it to int8.

    The arguments are those of `convert`.
    """
    with _converter(function, size, images) as converter:
        converter._experimental_calibrate_only = True
        return bytes(converter.convert())


def quantize(
    calibrated: bytes,
    input_type: IoType | None = None,
    output_type: IoType | None = None,
    float_operators: Sequence[str] = (),
    per_tensor: bool = False,
) -> bytes:
    """Quantize a calibrated file to int8, except for some operators.

    Args:
        calibrated: from `calibrate`.
        input_type: as for `convert`.
        output_type: as for `convert`.
        float_operators: names, in `calibrated`, of the output tensors of operators that stay float.
        per_tensor: as for `convert`.
    """
    with quiet():
        # The last stage of the converter itself; the converter's public interface takes no list of operators.
        content = mlir_quantize(
            calibrated,
            disable_per_channel=per_tensor,
            input_data_type=_DTYPES[io_type("int8", input_type)],
            output_data_type=_DTYPES[io_type("int8", output_type)],
            denylisted_nodes=list(float_operators),
        )
    return _rewritten(bytes(content))


def io_type(quantization: Quantization, requested: IoType | None) -> IoType:
    """Return the dtype of an input or output; None requests the default of the quantization."""
    return requested or IO_TYPES[quantization][0]


def _convert(
    function: ExportFunction,
    size: tuple[int, int],
    quantization: Quantization,
    images: tuple[np.ndarray, ...] = (),
    input_type: IoType | None = None,
    output_type: IoType | None = None,
    per_tensor: bool = False,
) -> bytes:
    """Convert without bias correction; without `images`, fake-quant operators set the ranges of an int8 file."""
    with _converter(function, size, images) as converter:
        if quantization == "float16":
            converter.target_spec.supported_types = [tf.float16]
        if quantization != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if quantization in NEEDS_CALIBRATION:
            if images:
                converter.target_spec.supported_ops = [NEEDS_CALIBRATION[quantization]]
                converter._experimental_disable_per_channel = per_tensor
            converter.inference_input_type = _DTYPES[io_type(quantization, input_type)]
            converter.inference_output_type = _DTYPES[io_type(quantization, output_type)]
        try:
            return _rewritten(bytes(converter.convert()))
        except RuntimeError as error:
            missing = sorted(set(re.findall(r"not yet supported for op: '(\w+)'", str(error))))
            if not missing:
                raise
            problem = f"the converter does not support {', '.join(missing)} in {quantization}"
            raise UserError("quantization", problem, "use int8 or float16") from error


@contextmanager
def _converter(function: ExportFunction, size: tuple[int, int], images: Iterable[np.ndarray]) -> Iterator[Any]:
    """Yield TensorFlow's converter for a function at a fixed input size; it prints nothing within the block."""
    with quiet(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # With a free batch size the converter would write SPACE_TO_BATCH_ND pairs instead of dilations.
        signature = tf.TensorSpec((1, *size, 3), tf.float32, name="image")
        concrete = tf.function(function, autograph=False).get_concrete_function(signature)
        converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete])
        if images:
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
            converter.representative_dataset = lambda: ([_normalized(image)] for image in images)
        yield converter


def _rewritten(content: bytes) -> bytes:
    """Return a converted file with readable tensor names and its last dtype conversion before the resize."""
    return move_conversion_before_resize(rename_tensors(content, layer_name))


def _normalized(image: np.ndarray) -> np.ndarray:
    """Return `[h, w, 3]` 0..255 as the output of the layer "normalize": `[1, h, w, 3]` float32 -1..1."""
    return image[None].astype(np.float32) * np.float32(PIXEL_SCALE) - np.float32(1.0)
