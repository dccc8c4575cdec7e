"""Everything about the size of images: the grid of 32k+1 pixels and the one bilinear convention.

At 32k+1 pixels every feature map of the network is odd, so "same" padding is symmetric at every strided layer, and
feature i of a map at stride s lies on pixel s*i, which is just where the align_corners resize draws it. Images of any
other size are padded bottom and right with zeros, after normalization, and the logits cropped.
"""

from typing import Any

import keras
from keras import ops

GRID = 32
"""Images inside the network have GRID * k + 1 pixels a side."""


def padded_size(size: int) -> int:
    """The smallest GRID * k + 1 that is at least `size` pixels."""
    return size + -(size - 1) % GRID


def feature_size(size: int, stride: int) -> int:
    """Features at `stride` along `size` pixels: 513 gives 33 at 16, 65 at 8 and 129 at 4."""
    return (size - 1) // stride + 1


@keras.saving.register_keras_serializable(package="deeplab")
class Normalize(keras.layers.Layer):
    """Pixels 0..255 to -1..1: `x * 2 / 255 - 1`, as all the official models with our backbones want it."""

    def call(self, image: Any) -> Any:
        """`[b, h, w, 3]` 0..255 to `[b, h, w, 3]` -1..1."""
        return image * (2.0 / 255.0) - 1.0


@keras.saving.register_keras_serializable(package="deeplab")
class PadToGrid(keras.layers.Layer):
    """Zero-pads bottom and right to `padded_size`; costs nothing where the size already fits."""

    def call(self, x: Any) -> Any:
        """`[b, h, w, c]` to `[b, padded_size(h), padded_size(w), c]`."""
        height, width = x.shape[1:3]
        if height is not None and width is not None:
            more = (padded_size(height) - height, padded_size(width) - width)
            return ops.pad(x, ((0, 0), (0, more[0]), (0, more[1]), (0, 0))) if any(more) else x
        for axis in (1, 2):
            # keras.ops.pad takes no width that is known only when the graph runs.
            shape = list(ops.shape(x))
            shape[axis] = -(shape[axis] - 1) % GRID
            x = ops.concatenate([x, ops.zeros(shape, x.dtype)], axis=axis)
        return x

    def compute_output_spec(self, x: Any) -> keras.KerasTensor:
        """Sides that are unknown stay so."""
        sides = (None if side is None else padded_size(side) for side in x.shape[1:3])
        return keras.KerasTensor((x.shape[0], *sides, x.shape[3]), dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="deeplab")
class ResizeBilinear(keras.layers.Layer):
    """Bilinear resize, align_corners=True: corner pixels of input and output coincide.

    The convention of every official DeepLab model. `keras.ops.image.resize` and `tf.image.resize` have half-pixel
    centers only.
    """

    def call(self, x: Any, like: Any) -> Any:
        """`[b, h, w, c]` to `[b, H, W, c]`, H and W those of `like` `[b, H, W, ...]`."""
        if None not in (*x.shape[1:3], *like.shape[1:3]) and tuple(x.shape[1:3]) == tuple(like.shape[1:3]):
            return x
        return resize_bilinear(x, tuple(ops.shape(like)[1:3]))

    def compute_output_spec(self, x: Any, like: Any) -> keras.KerasTensor:
        """Sides of `like`, batch and channels of `x`."""
        return keras.KerasTensor((x.shape[0], like.shape[1], like.shape[2], x.shape[3]), dtype=self.compute_dtype)


def resize_bilinear(x: Any, size: tuple[Any, Any]) -> Any:
    """Resizes `x` `[b, h, w, c]` to `size` (height, width) with align_corners=True; keeps the dtype."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # tf.image.resize has not this convention; the raw operator becomes one RESIZE_BILINEAR in a .tflite file.
        return ops.cast(tf.raw_ops.ResizeBilinear(images=x, size=size, align_corners=True), x.dtype)
    return _interpolate(_interpolate(x, size[0], axis=1), size[1], axis=2)


def _interpolate(x: Any, size: int, axis: int) -> Any:
    """Linear interpolation along `axis` to `size` samples with aligned corners, in plain keras.ops."""
    last = x.shape[axis] - 1
    position = ops.arange(size, dtype="float32") * (last / max(size - 1, 1))
    low = ops.cast(ops.floor(position), "int32")
    shape = [-1 if i == axis else 1 for i in range(4)]
    weight = ops.reshape(ops.cast(position - ops.cast(low, "float32"), x.dtype), shape)
    below, above = ops.take(x, low, axis=axis), ops.take(x, ops.minimum(low + 1, last), axis=axis)
    return below + (above - below) * weight


@keras.saving.register_keras_serializable(package="deeplab")
class CropTo(keras.layers.Layer):
    """Cuts off what `PadToGrid` added."""

    def call(self, x: Any, like: Any) -> Any:
        """`[b, H, W, c]` to `[b, h, w, c]`, h and w those of `like`."""
        if None not in (*x.shape[1:3], *like.shape[1:3]) and tuple(x.shape[1:3]) == tuple(like.shape[1:3]):
            return x
        height, width = ops.shape(like)[1:3]
        return x[:, :height, :width, :]

    def compute_output_spec(self, x: Any, like: Any) -> keras.KerasTensor:
        """Sides of `like`, batch and channels of `x`."""
        return keras.KerasTensor((x.shape[0], like.shape[1], like.shape[2], x.shape[3]), dtype=self.compute_dtype)
