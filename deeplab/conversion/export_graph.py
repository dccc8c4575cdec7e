"""The function that is converted to a .tflite file: fixed size, without normalization, with the requested output."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from deeplab.config import ExportOutput, fixed_height_width
from deeplab.errors import UserError
from deeplab.model.quantization.rounding import fake_quantize
from deeplab.model.quantization.transform import activation_ranges
from deeplab.model.resize import feature_size, padded_size, resize_bilinear

ExportFunction = Callable[[Any], Any]
"""Maps normalized images to scores or class ids."""


def export_graph(
    model: keras.Model, output: ExportOutput = "logits", mask_stride: int = 1, logit_offset: float = 0.0
) -> ExportFunction:
    """Return the part of a model that is exported, in inference mode.

    It starts after the layer "normalize", because the quantization of the input and the metadata normalize at no cost.
    For a quantization-aware model it includes the fake-quant operators that tell the converter the trained ranges.

    Args:
        model: from `build_model` at a fixed image size, weights loaded.
        output: "logits", "probabilities" or "labels" (class ids).
        mask_stride: input pixels per output pixel and axis; 1 is full size.
        logit_offset: added to all logits, which changes neither softmax nor argmax; see `needed_logit_offset`.

    Returns:
        A function from normalized images `[1, h, w, 3]` float32 -1..1 to scores `[1, h', w', classes]` float32 or class
        ids `[1, h', w']` int32, with h' = (h - 1) / mask_stride + 1. Output pixel i lies on input pixel
        mask_stride * i.

    Raises:
        UserError: the model has no fixed image size, or the mask stride is not supported or does not fit the size.
    """
    size = fixed_height_width(model.input_shape[1:3])
    if size is None:
        remedy = "set one, as image_size=513 or image_size=[360,640]"
        raise UserError("image_size", "the model accepts any size", remedy)
    check_mask_stride(size, mask_stride)
    body = keras.Model(model.get_layer("normalize").output, model.get_layer("logits").output)
    quantized = bool(activation_ranges(model))
    low, high = model.get_layer("logits_range").bounds() if quantized else (0.0, 0.0)
    low, high = float(low) + logit_offset, float(high) + logit_offset
    padded = (feature_size(padded_size(size[0]), mask_stride), feature_size(padded_size(size[1]), mask_stride))
    height, width = (feature_size(side, mask_stride) for side in size)

    def rounded(logits: Any) -> Any:
        # To the scale and zero point that the logits of a quantization-aware model have in the file.
        return fake_quantize(logits, low, high) if quantized else logits

    def function(image: Any) -> Any:
        logits = body(image, training=False)
        if logit_offset:
            # The converter folds it into the bias of the last convolution.
            logits = logits + logit_offset
        logits = rounded(logits)
        if tuple(logits.shape[1:3]) != padded:
            logits = rounded(resize_bilinear(logits, padded))
        if (height, width) != padded:
            logits = logits[:, :height, :width, :]
        if output == "labels":
            return tf.argmax(logits, axis=-1, output_type=tf.int32)
        if output == "logits":
            return logits
        probabilities = tf.nn.softmax(logits)
        # SOFTMAX has a fixed output range in every int8 file: 256 values from 0, with scale 1/256.
        return fake_quantize(probabilities, 0.0, 255.0 / 256.0) if quantized else probabilities

    return function


def check_mask_stride(size: tuple[int, int], mask_stride: int) -> None:
    """Raise UserError unless the corner pixels of the mask lie on the corner pixels of the image.

    Clients stretch the mask over the whole image. It would otherwise be shifted by up to mask_stride - 1 pixels.
    """
    if mask_stride not in (1, 4, 8, 16, 32):
        raise UserError("mask_stride", f"{mask_stride!r} is not supported", "use 1, 4 or the output stride")
    for side in size:
        if (side - 1) % mask_stride:
            low = side - (side - 1) % mask_stride
            remedy = f"use sides of {mask_stride}k+1 pixels, such as {low} or {low + mask_stride}, or mask_stride=1"
            raise UserError("mask_stride", f"{mask_stride} does not fit an image side of {side} pixels", remedy)
