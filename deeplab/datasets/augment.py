"""The official augmentation, drawn first and resampled once: scale, random crop, padding and flip.

Pictures are resampled bilinearly and labels to the nearest, both at the same positions (align_corners: the first and
the last pixel of a window stay the first and the last).
"""

from typing import Any, NamedTuple

import tensorflow as tf

from deeplab.config import AugmentConfig
from deeplab.datasets.source import IGNORE_LABEL

PADDING_GREY = 127.5
"""Fills the picture below and right of its content: zero after the network's normalisation."""


class Window(NamedTuple):
    """What an augmentation takes out of a picture and where it puts it; whole pixels, rows before columns.

    Attributes:
        start: `[2]` int32, first row and column taken.
        taken: `[2]` int32, rows and columns taken.
        drawn: `[2]` int32, rows and columns that they fill in the crop, at its top left; padding fills the rest.
        flip: whether left and right change places.
    """

    start: tf.Tensor
    taken: tf.Tensor
    drawn: tf.Tensor
    flip: tf.Tensor


def augment(
    image: tf.Tensor, label: tf.Tensor, seed: tf.Tensor, config: AugmentConfig, crop_size: int
) -> tuple[tf.Tensor, tf.Tensor]:
    """Scales, crops, pads and flips a picture together with its label; a function of its arguments alone.

    Numbers as in tensorflow/models research/deeplab, input_preprocess.py.

    Args:
        image: `[h, w, 3]` uint8.
        label: `[h, w]` uint8.
        seed: `[2]` integers; the same seed gives the same result, eagerly and inside a graph.
        config: ranges of the draws.
        crop_size: side of the result in pixels.

    Returns:
        The picture `[crop, crop, 3]` float32, 0..255, padded with 127.5, and the label `[crop, crop]` uint8, padded
        with 255.
    """
    window = draw_window(tf.shape(label), seed, config, crop_size)
    picture = take_bilinear(image, window)
    ids = take_nearest(label, window)
    margin = tf.stack([tf.zeros(2, tf.int32), crop_size - window.drawn], axis=1)
    picture = tf.pad(picture, tf.concat([margin, [[0, 0]]], 0), constant_values=PADDING_GREY)
    ids = tf.pad(ids, margin, constant_values=IGNORE_LABEL)
    return tf.ensure_shape(picture, (crop_size, crop_size, 3)), tf.ensure_shape(ids, (crop_size, crop_size))


def draw_window(size: Any, seed: tf.Tensor, config: AugmentConfig, crop_size: int) -> Window:
    """Draws scale, place and flip for a picture of `size` (h, w).

    An axis that is longer than the crop after scaling is cut in the picture itself, at whole pixels; so the scale of
    a cut axis is met to half a pixel in its window, and nothing outside the window is ever resampled.
    """
    size = tf.cast(size, tf.int32)
    draws = tf.random.stateless_uniform([4], tf.cast(seed, tf.int32))
    scaled = tf.maximum(tf.cast(tf.cast(size, tf.float32) * _scale(draws[0], config), tf.int32), 1)
    step = tf.cast(size - 1, tf.float32) / tf.cast(tf.maximum(scaled - 1, 1), tf.float32)
    reach = tf.cast(tf.round(step * (crop_size - 1)), tf.int32) + 1
    taken = tf.where(scaled > crop_size, tf.minimum(reach, size), size)
    room = tf.cast(size - taken + 1, tf.float32)
    start = tf.minimum(tf.cast(draws[1:3] * room, tf.int32), size - taken)
    return Window(start, taken, tf.minimum(scaled, crop_size), draws[3] < config.flip)


def take_bilinear(image: tf.Tensor, window: Window) -> tf.Tensor:
    """The window of `image` `[h, w, c]`, resampled to `window.drawn`; float32 of the same range."""
    content = _content(image, window)
    return tf.raw_ops.ResizeBilinear(images=content[None], size=window.drawn, align_corners=True)[0]


def take_nearest(image: tf.Tensor, window: Window) -> tf.Tensor:
    """The window of `image` `[h, w, ...]`, each pixel the nearest one of the picture; same type."""
    content = _content(image, window)
    rows, columns = (_nearest(window.taken[axis], window.drawn[axis]) for axis in (0, 1))
    return tf.gather(tf.gather(content, rows, axis=0), columns, axis=1)


def _content(image: tf.Tensor, window: Window) -> tf.Tensor:
    stop = window.start + window.taken
    content = image[window.start[0] : stop[0], window.start[1] : stop[1]]
    # Flipping before the resampling moves the fewest bytes and gives the mirrored result exactly.
    return tf.cond(window.flip, lambda: content[:, ::-1], lambda: content)


def _nearest(taken: tf.Tensor, drawn: tf.Tensor) -> tf.Tensor:
    """Indices 0..taken-1 nearest to `drawn` evenly spread positions; halves go up, in whole numbers, hence exactly."""
    last = tf.maximum(drawn - 1, 1)
    return (2 * tf.range(drawn) * (taken - 1) + last) // (2 * last)


def _scale(draw: tf.Tensor, config: AugmentConfig) -> tf.Tensor:
    """A factor from the configured set for a `draw` in [0, 1)."""
    span = config.max_scale - config.min_scale
    if config.scale_step == 0:
        return config.min_scale + draw * span
    count = int(span / config.scale_step + 1e-6) + 1
    return config.min_scale + tf.minimum(tf.floor(draw * count), count - 1) * config.scale_step
