"""Scaling of examples to a range of sizes, or to the size that the network sees, before the augmentation."""

import dataclasses
import math

import numpy as np
from PIL import Image

from deeplab.config import DataConfig, Resize, fixed_height_width
from deeplab.datasets.source import Example, Source

Size = tuple[int, int]
"""(height, width) in pixels."""


def fitted_source(source: Source, config: DataConfig) -> Source:
    """Return a source of training examples resized as `config.resize` says; with "none", `source` itself.

    A letterboxed example has the size of its content: augmentation pads it, as it pads every image smaller than the
    crop. Image and label are aligned: both have pixel centers at i + 1/2.
    """
    resize, target = config.resize, fixed_height_width(config.image_size)
    if resize == "none" or target is None:
        return source

    def load(index: int) -> Example:
        example = source.load(index)
        size = content_size(example.label.shape, target, resize)
        return Example(resize_image(example.image, size), resize_label(example.label, size), example.name)

    return dataclasses.replace(source, load=load)


def content_size(size: tuple[int, ...], target: Size, resize: Resize) -> Size:
    """Return the (height, width) that an image of (height, width) `size` has inside `target`.

    "letterbox" scales it to the largest size with the same aspect that fits, rounded to whole pixels; "stretch" scales
    it to `target`, and "none" does not scale it.
    """
    (height, width), (rows, columns) = size, target
    if resize == "none":
        return height, width
    if resize == "stretch":
        return target
    # In integers, so that Python and JavaScript round alike.
    if height * columns >= width * rows:
        return rows, max((2 * width * rows + height) // (2 * height), 1)
    return max((2 * height * columns + width) // (2 * width), 1), columns


def resize_image(image: np.ndarray, size: Size) -> np.ndarray:
    """Resize an image `[h, w, 3]` uint8 with Pillow's bilinear filter, which averages when it shrinks (antialiasing).

    Training, evaluation, prediction, calibration and the page all use this rule (web/image_fit.js in a browser).
    """
    if image.shape[:2] == size:
        return image
    # First the columns, then the rows: in one call, Pillow 13 chooses the order by the sizes, and the bytes differ.
    narrow = Image.fromarray(image).resize((size[1], image.shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(narrow.resize(size[::-1], Image.Resampling.BILINEAR))


def resize_label(label: np.ndarray, size: Size) -> np.ndarray:
    """Resize a label `[h, w, ...]` by nearest neighbor, aligned with `resize_image`."""
    rows, columns = (nearest(*sizes) for sizes in zip(label.shape, size, strict=False))
    return label[np.ix_(rows, columns)]


def nearest(old: int, new: int) -> np.ndarray:
    """Return the indices of the pixels, of `old` in a row, that contain the centers of `new` evenly spaced pixels."""
    return (2 * np.arange(new) + 1) * old // (2 * new)


def resized_source(source: Source, config: DataConfig) -> Source:
    """Return a source whose examples are scaled to the sizes of `size_in_range`; without `min_resize_value`, `source`.

    The image is resized bilinearly and rounded, the label with nearest-neighbor interpolation, both with aligned
    corners (tensorflow/models research/deeplab, core/preprocess_utils.py, `resize_to_range`).
    """
    shortest, longest, factor = config.min_resize_value, config.max_resize_value, config.resize_factor
    if shortest is None:
        return source

    def load(index: int) -> Example:
        example = source.load(index)
        size = size_in_range(example.label.shape, shortest, longest, factor)
        return Example(*resize(example.image, example.label, size), example.name)

    return dataclasses.replace(source, load=load)


def size_in_range(
    size: tuple[int, ...], min_size: int, max_size: int | None = None, factor: int | None = None
) -> tuple[int, int]:
    """Return the (height, width) that an image of (height, width) `size` is scaled to.

    The shorter side becomes `min_size`, unless the longer side would exceed `max_size`, which it then becomes. With
    `factor`, `max_size` is first rounded down to a multiple of `factor` plus one, and both sides are then rounded up to
    such numbers (`resize_to_range`).
    """
    if max_size is not None and factor is not None:
        max_size -= (max_size - 1) % factor
    # The source computes in float32, on which its rounding depends.
    height, width = np.float32(size[0]), np.float32(size[1])
    scaled = [math.floor(side * (np.float32(min_size) / min(height, width))) for side in (height, width)]
    if max_size is not None and max(scaled) > max_size:
        scaled = [math.floor(side * (np.float32(max_size) / max(height, width))) for side in (height, width)]
    if factor is not None:
        scaled = [side + (factor - (side - 1) % factor) % factor for side in scaled]
    return scaled[0], scaled[1]


def resize(image: np.ndarray, label: np.ndarray, size: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Resize an image `[h, w, 3]` uint8 and its label `[h, w]` uint8 to (height, width) `size`."""
    import tensorflow as tf

    with tf.device("cpu"):
        pixels = tf.raw_ops.ResizeBilinear(images=np.ascontiguousarray(image)[None], size=size, align_corners=True)
        ids = tf.raw_ops.ResizeNearestNeighbor(
            images=np.ascontiguousarray(label)[None, ..., None], size=size, align_corners=True
        )
    return np.rint(np.asarray(pixels)[0]).astype(np.uint8), np.asarray(ids)[0, ..., 0]
