"""Prediction averaged over scales and flips; needs TensorFlow."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deeplab.config import ImageSize, fixed_height_width
from deeplab.errors import UserError
from deeplab.prediction.predictor import Predictor

PAPER_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""Scales of the DeepLab papers (DeepLabv3, arXiv:1706.05587, sec. 4.1)."""


def scaled_side(side: int, scale: float) -> int:
    """Return the side of an image at `scale` with aligned corners: 513 at 0.5 is 257."""
    return max(int((side - 1) * scale + 1), 1)


def multi_scale_predictor(
    model: Any, scales: Sequence[float] = PAPER_SCALES, flip: bool = True, image_size: ImageSize = None
) -> Predictor:
    """Return a predictor that averages the class probabilities over scales and flips of each image.

    As in the papers, the image (padded to `image_size`) is resized, the logits are resized back to its size, and their
    softmax is averaged. Both resizes align the corners.

    Args:
        model: a Keras model of any input size: RGB float32 0..255 `[b, h, w, 3]` to logits `[b, h, w, classes]`.
        scales: factors on height and width.
        flip: also run the left-right flipped image at each scale.
        image_size: pad images to this size first; None runs each at its own size.

    Returns:
        A predictor whose scores are probabilities.

    Raises:
        UserError: the model has a fixed input size.
    """
    import tensorflow as tf

    from deeplab.model.resize import resize_bilinear

    if None not in model.input_shape[1:3]:
        problem = f"the model has the fixed input size {model.input_shape[1:3]}"
        raise UserError("scales", problem, "build the model for any size")

    # Each call computes one scale of one image, so that one trace serves all scales and sizes.
    @tf.function(input_signature=[tf.TensorSpec((1, None, None, 3), tf.float32), tf.TensorSpec((2,), tf.int32)])
    def probabilities(image: Any, size: Any) -> Any:
        scaled = resize_bilinear(image, (size[0], size[1]))
        if flip:
            scaled = tf.concat([scaled, scaled[:, :, ::-1]], axis=0)
        logits = model(scaled, training=False)
        if flip:
            logits = tf.stack([logits[0], logits[1, :, ::-1]])
        full = tf.shape(image)
        return tf.reduce_mean(tf.nn.softmax(resize_bilinear(logits, (full[1], full[2]))), axis=0)

    def run(image: np.ndarray) -> np.ndarray:
        height, width = image.shape[:2]
        batch = tf.constant(image[None], tf.float32)
        total = 0.0
        for scale in scales:
            total += probabilities(batch, [scaled_side(height, scale), scaled_side(width, scale)])
        mean: np.ndarray = (total / len(scales)).numpy()  # type: ignore[attr-defined]
        return mean

    return Predictor(run, fixed_height_width(image_size), accepts_larger=True)
