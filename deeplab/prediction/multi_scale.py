"""Predictions averaged over scales and flips; needs TensorFlow."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from deeplab.errors import UserError
from deeplab.prediction.image_fit import Size
from deeplab.prediction.predictor import GRAY, Predictor

PAPER_SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75)
"""Scales of the DeepLab papers (DeepLabv3, arXiv:1706.05587, sec. 4.1)."""


def scaled_size(side: int, scale: float) -> int:
    """The side of a picture at `scale`, corner pixels on corner pixels: 513 at 0.5 is 257."""
    return max(int((side - 1) * scale + 1), 1)


def multi_scale_predictor(
    model: Any, scales: Sequence[float] = PAPER_SCALES, flip: bool = True, image_size: int | Size | None = None
) -> Predictor:
    """A Keras model whose class probabilities are averaged over scales and flips of each picture.

    As in the papers: the picture (padded to `image_size`) is resized, the logits are resized back to the full size, and
    their softmax is averaged. Both resizes align the corners.

    Args:
        model: a Keras model of any size, RGB float32 0..255 `[b, h, w, 3]` to logits `[b, h, w, classes]`.
        scales: factors on height and width.
        flip: whether each scale also sees the picture flipped left to right.
        image_size: pictures are padded to this size first; None runs each at its own.

    Returns:
        A predictor whose scores are probabilities.

    Raises:
        UserError: a model built for one size.
    """
    import tensorflow as tf

    from deeplab.model.resize import resize_bilinear

    if None not in model.input_shape[1:3]:
        raise UserError("scales", f"the model takes {model.input_shape[1:3]} pixels only", "build it for any size")
    wanted = (image_size, image_size) if isinstance(image_size, int) else image_size

    # Each call is one scale of one picture, so that one trace serves all scales and sizes.
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
        picture = tf.constant(image[None], tf.float32)
        total = 0.0
        for scale in scales:
            total += probabilities(picture, [scaled_size(height, scale), scaled_size(width, scale)])
        mean: np.ndarray = (total / len(scales)).numpy()  # type: ignore[attr-defined]
        return mean

    return Predictor(run, wanted, "auto", GRAY, grows=True)
