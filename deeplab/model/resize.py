"""Images inside the network: normalization, padding to 32k+1 pixels, and bilinear resizing.

If the image has 32k+1 pixels per side, every feature map has an odd size. Then "same" padding is symmetric at every
strided layer, and feature i of a map with stride s lies on pixel s*i, where the align_corners resize puts it. Images of
other sizes are padded with zeros at the bottom and right after normalization, and the logits are cropped.
"""

from typing import Any

import keras
from keras import ops

from deeplab.pixels import PIXEL_MEAN, PIXEL_SCALE, PIXEL_STD

SIZE_MULTIPLE = 32
"""Images inside the network have SIZE_MULTIPLE * k + 1 pixels per side."""


def padded_size(size: int) -> int:
    """Return the smallest 32k+1 that is at least `size` pixels."""
    return size + -(size - 1) % SIZE_MULTIPLE


def feature_size(size: int, stride: int) -> int:
    """Return the number of features along `size` pixels: for 513 pixels 33 at stride 16, 65 at 8, 129 at 4."""
    return (size - 1) // stride + 1


@keras.saving.register_keras_serializable(package="deeplab")
class Normalize(keras.layers.Layer):
    """Normalizes pixels from 0..255 to -1..1 as described in `deeplab.pixels`."""

    def call(self, image: Any) -> Any:
        """Map `[b, h, w, 3]` 0..255 to `[b, h, w, 3]` -1..1."""
        return image * PIXEL_SCALE - 1.0


@keras.saving.register_keras_serializable(package="deeplab")
class SubtractMean(keras.layers.Layer):
    """Converts a normalized image to the pixels 0..255 minus a mean, for backbones that were trained on those.

    It precedes the padding, so that padding has the value of the mean. In a .tflite file it is one depthwise 1x1
    convolution.

    Args:
        mean: red, green and blue in 0..255.
    """

    def __init__(self, mean: tuple[float, float, float], **arguments: Any) -> None:
        super().__init__(**arguments)
        self.mean = tuple(mean)

    def call(self, image: Any) -> Any:
        """Map `[b, h, w, 3]` -1..1 to `[b, h, w, 3]` 0..255 minus the mean."""
        kernel = ops.full((1, 1, 3, 1), PIXEL_STD, image.dtype)
        offset = ops.convert_to_tensor([PIXEL_MEAN - mean for mean in self.mean], image.dtype)
        return ops.depthwise_conv(image, kernel) + offset

    def compute_output_spec(self, image: Any) -> keras.KerasTensor:
        """Return the shape of `image`."""
        return keras.KerasTensor(image.shape, dtype=self.compute_dtype)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "mean": self.mean}


@keras.saving.register_keras_serializable(package="deeplab")
class PadToGrid(keras.layers.Layer):
    """Pads with zeros at the bottom and right to `padded_size`; does nothing if the size already fits."""

    def call(self, x: Any) -> Any:
        """Map `[b, h, w, c]` to `[b, padded_size(h), padded_size(w), c]`."""
        height, width = x.shape[1:3]
        if height is not None and width is not None:
            bottom, right = padded_size(height) - height, padded_size(width) - width
            return ops.pad(x, ((0, 0), (0, bottom), (0, right), (0, 0))) if bottom or right else x
        for axis in (1, 2):
            # keras.ops.pad does not accept a width that is known only at run time.
            shape = list(ops.shape(x))
            shape[axis] = -(shape[axis] - 1) % SIZE_MULTIPLE
            x = ops.concatenate([x, ops.zeros(shape, x.dtype)], axis=axis)
        return x

    def compute_output_spec(self, x: Any) -> keras.KerasTensor:
        """Return the padded shape; unknown sides stay unknown."""
        sides = (None if side is None else padded_size(side) for side in x.shape[1:3])
        return keras.KerasTensor((x.shape[0], *sides, x.shape[3]), dtype=self.compute_dtype)


@keras.saving.register_keras_serializable(package="deeplab")
class ResizeBilinear(keras.layers.Layer):
    """Resizes bilinearly with align_corners=True: the corner pixels of input and output coincide.

    All official DeepLab models use this convention; `keras.ops.image.resize` and `tf.image.resize` do not offer it.
    """

    def call(self, x: Any, like: Any) -> Any:
        """Resize `x` `[b, h, w, c]` to the height and width of `like` `[b, H, W, ...]`."""
        return x if _same_size(x, like) else resize_bilinear(x, tuple(ops.shape(like)[1:3]))

    def compute_output_spec(self, x: Any, like: Any) -> keras.KerasTensor:
        """Return the shape `[b, H, W, c]`."""
        return keras.KerasTensor((x.shape[0], like.shape[1], like.shape[2], x.shape[3]), dtype=self.compute_dtype)


def resize_bilinear(x: Any, size: tuple[Any, Any]) -> Any:
    """Resize `x` `[b, h, w, c]` to `size` (height, width) with align_corners=True; the dtype is kept."""
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        # tf.image.resize lacks this convention; the raw operator becomes one RESIZE_BILINEAR in a .tflite file.
        return ops.cast(tf.raw_ops.ResizeBilinear(images=x, size=size, align_corners=True), x.dtype)
    return _interpolate(_interpolate(x, size[0], axis=1), size[1], axis=2)


def _interpolate(x: Any, size: int, axis: int) -> Any:
    """Interpolate `x` linearly along `axis` to `size` samples with aligned corners."""
    last = x.shape[axis] - 1
    position = ops.arange(size, dtype="float32") * (last / max(size - 1, 1))
    low = ops.cast(ops.floor(position), "int32")
    shape = [-1 if i == axis else 1 for i in range(4)]
    weight = ops.reshape(ops.cast(position - ops.cast(low, "float32"), x.dtype), shape)
    below, above = ops.take(x, low, axis=axis), ops.take(x, ops.minimum(low + 1, last), axis=axis)
    return below + (above - below) * weight


@keras.saving.register_keras_serializable(package="deeplab")
class CropTo(keras.layers.Layer):
    """Removes the padding that `PadToGrid` added."""

    def call(self, x: Any, like: Any) -> Any:
        """Crop `x` `[b, H, W, c]` at the bottom and right to the height and width of `like` `[b, h, w, ...]`."""
        if _same_size(x, like):
            return x
        height, width = ops.shape(like)[1:3]
        return x[:, :height, :width, :]

    def compute_output_spec(self, x: Any, like: Any) -> keras.KerasTensor:
        """Return the shape `[b, h, w, c]`."""
        return keras.KerasTensor((x.shape[0], like.shape[1], like.shape[2], x.shape[3]), dtype=self.compute_dtype)


def _same_size(x: Any, like: Any) -> bool:
    """Return whether height and width of both tensors are known and equal."""
    return None not in x.shape[1:3] and tuple(x.shape[1:3]) == tuple(like.shape[1:3])
