"""Scaling of examples to a range of sizes, before augmentation and evaluation."""

import dataclasses
import math

import numpy as np

from deeplab.config import DataConfig
from deeplab.datasets.source import Example, Source


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
