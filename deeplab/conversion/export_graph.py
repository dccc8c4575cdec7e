"""The graph that becomes a file: fixed size, behind the normalization, with the output that the app wants."""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from deeplab.config import ExportOutput
from deeplab.errors import UserError
from deeplab.model.quantization.rounding import fake_quantize
from deeplab.model.quantization.transform import activation_ranges
from deeplab.model.resize import feature_size, padded_size, resize_bilinear

Graph = Callable[[Any], Any]


def export_graph(
    model: keras.Model, output: ExportOutput = "logits", mask_stride: int = 1, logit_offset: float = 0.0
) -> Graph:
    """The part of a model that is worth a file, in inference mode.

    It begins behind the layer "normalize", because quantization and metadata do that step at no cost. That of a
    quantization-aware model holds the fake-quant operators which tell the converter the trained ranges.

    Args:
        model: from `build_model` at a fixed image size, weights loaded.
        output: what to give for each pixel.
        mask_stride: pixels of the image for each pixel of the output; 1 is full size.
        logit_offset: added to all logits, which changes neither softmax nor argmax; see `deeplab.conversion.raising`.

    Returns:
        A function from normalized images `[1, h, w, 3]` float32 -1..1 to `[1, h', w', classes]` float32 scores, or
        `[1, h', w']` int32 ids, with h' = (h - 1) / mask_stride + 1. Output pixel i lies on image pixel
        mask_stride * i.

    Raises:
        UserError: a free image size; a mask stride that is not offered or that does not fit the size.
    """
    size = fixed_size(model)
    check_mask_stride(size, mask_stride)
    body = keras.Model(model.get_layer("normalize").output, model.get_layer("logits").output)
    rounded = _rounding(model, logit_offset)
    whole = (feature_size(padded_size(size[0]), mask_stride), feature_size(padded_size(size[1]), mask_stride))
    kept = (feature_size(size[0], mask_stride), feature_size(size[1], mask_stride))

    def graph(image: Any) -> Any:
        logits = body(image, training=False)
        if logit_offset:
            # Folded into the bias of the last convolution by the converter.
            logits = logits + logit_offset
        logits = rounded(logits)
        if tuple(logits.shape[1:3]) != whole:
            logits = rounded(resize_bilinear(logits, whole))
        if kept != whole:
            logits = logits[:, : kept[0], : kept[1], :]
        if output == "probabilities":
            return _rounded_probabilities(tf.nn.softmax(logits)) if activation_ranges(model) else tf.nn.softmax(logits)
        if output == "labels":
            return tf.argmax(logits, axis=-1, output_type=tf.int32)
        return logits

    return graph


def _rounding(model: keras.Model, logit_offset: float) -> Graph:
    """What brings logits onto the grid that they have in the file; nothing where int8 is not simulated."""
    if not activation_ranges(model):
        return lambda logits: logits
    low, high = (float(end) + logit_offset for end in model.get_layer("logits_range").ends())
    return lambda logits: fake_quantize(logits, low, high)


def _rounded_probabilities(probabilities: Any) -> Any:
    """Probabilities on the grid that SOFTMAX gives in every int8 file: 256 steps from 0."""
    return fake_quantize(probabilities, 0.0, 255.0 / 256.0)


def fixed_size(model: keras.Model) -> tuple[int, int]:
    """(height, width) in pixels that the model was built for; raises UserError where it takes any."""
    height, width = model.input_shape[1:3]
    if height is None or width is None:
        raise UserError("image_size", "the model takes any size", "give one, as image_size=513 or image_size=[360,640]")
    return height, width


def check_mask_stride(size: tuple[int, int], mask_stride: int) -> None:
    """Raises UserError where the corners of the mask would not lie on the corners of the image.

    Every client draws the mask over the whole picture, so anything else is off by up to mask_stride - 1 pixels.
    """
    if mask_stride not in (1, 4, 8, 16, 32):
        raise UserError("mask_stride", f"{mask_stride!r} is not offered", "1, 4 or the output stride")
    for side in size:
        if (side - 1) % mask_stride:
            low = side - (side - 1) % mask_stride
            raise UserError(
                "mask_stride",
                f"{mask_stride} does not fit an image side of {side} pixels",
                f"sides of {mask_stride}k+1 pixels fit, such as {low} or {low + mask_stride}; so does mask_stride=1",
            )
