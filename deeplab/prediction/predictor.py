"""Prediction of class ids for images of any size, with a Keras model or a .tflite file, at one or several scales."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deeplab.config import Fit, ImageSize, fixed_height_width
from deeplab.errors import UserError
from deeplab.memory import require_memory
from deeplab.pixels import GRAY, Pixel, mean_pixel
from deeplab.prediction.image_fit import (
    FittedImage,
    Size,
    class_ids_at_image_size,
    fit_image,
    ids_at_image_size,
    needs_stretching,
    scores_at_image_size,
)

if TYPE_CHECKING:
    from deeplab.tflite.interpreter import TfliteModel


_TILES = "predict it in tiles: tile=513"


@dataclass(frozen=True)
class Predictor:
    """Predicts images of any size with a model that may accept one size only.

    Attributes:
        run: the model: maps `[H, W, 3]` at its input size (uint8, or float32 0..255 if padded with a fractional
            `padding_value`) to class scores `[h', w', classes]` float32 or class ids `[H, W]` of an integer dtype.
        image_size: (H, W) to fit images to; None for no such size.
        fit: how images of other sizes are fitted, see `fit_image`.
        padding_value: red, green and blue of the padding.
        accepts_larger: whether the model accepts images larger than `image_size`. They then run at their own size if
            `fit` is "auto" or "pad".
    """

    run: Callable[[np.ndarray], np.ndarray]
    image_size: Size | None = None
    fit: Fit = "auto"
    padding_value: Pixel = GRAY
    accepts_larger: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Return the class ids `[h, w]` uint8 of an image `[h, w, 3]` uint8 RGB.

        Raises:
            UserError: not such an image, or an image that is too large and must not be stretched.
        """
        output, fitted = self._run(image)
        if output.dtype.kind in "iu":
            return ids_at_image_size(output, fitted).astype(np.uint8)
        return class_ids_at_image_size(output, fitted)

    def scores(self, image: np.ndarray) -> np.ndarray:
        """Return the class scores of the model, `[h, w, classes]` float32, for an image `[h, w, 3]` uint8 RGB.

        Raises:
            UserError: as for a call, or the model returns class ids only.
        """
        output, fitted = self._run(image)
        if output.dtype.kind in "iu":
            raise UserError("model", "returns class ids, not scores", "use a run, or a file with output=logits")
        return scores_at_image_size(output, fitted)

    def stretches(self, image: np.ndarray) -> bool:
        """Return whether this image is stretched to the input size."""
        return needs_stretching(image.shape[:2], self._input_size(image), self.fit)

    def runs_at_own_size(self, image: np.ndarray) -> bool:
        """Return whether this image is larger than `image_size` and therefore not fitted to it."""
        return self.image_size is not None and self._input_size(image) is None

    def _run(self, image: np.ndarray) -> tuple[np.ndarray, FittedImage]:
        """Return the output of the model and the image that it received."""
        fitted = fit_image(image, self._input_size(image), self.fit, self.padding_value)
        return self.run(fitted.image), fitted

    def _input_size(self, image: np.ndarray) -> Size | None:
        """Return the size to fit `image` to; None to run it at its own size."""
        size = self.image_size
        larger = size is not None and (image.shape[0] > size[0] or image.shape[1] > size[1])
        return None if larger and self.accepts_larger and self.fit in ("auto", "pad") else size


def tflite_predictor(model: "TfliteModel", fit: Fit = "auto") -> Predictor:
    """Return a predictor that runs a .tflite file; `fit` is how images of other sizes meet it; "auto": as it states."""
    from deeplab.tflite.interpreter import dequantize

    padding = model.padding

    def run(image: np.ndarray) -> np.ndarray:
        if image.dtype == np.uint8:
            return model(image)
        # No uint8 pixel equals a mean, which is a fraction: these values are the padding.
        tensor = model.prepare(image.astype(np.uint8))
        tensor = np.where(image == np.rint(image), tensor, padding)
        stored = model.run(tensor)
        if model.returns_labels:
            return stored.reshape(model.mask_size)
        return np.asarray(dequantize(stored, model.output.quantization)[0])

    return Predictor(run, model.image_size, model.fit if fit == "auto" else fit, model.mean_pixel)


def keras_predictor(model: Any, image_size: ImageSize = None, fit: Fit = "auto") -> Predictor:
    """Return a predictor that runs a Keras model. TensorFlow traces the model once for all image sizes.

    Args:
        model: maps RGB float32 0..255 `[b, h, w, 3]` to logits `[b, h, w, classes]`, at a fixed size or any.
        image_size: fit images to this size (513 in the official evaluation on VOC); with fit "auto" or "pad" larger
            images run at their own size. None takes the fixed size of the model, if it has one.
        fit: how images meet this size, see `fit_image`.

    Raises:
        UserError: `image_size` differs from the fixed size of the model.
    """
    import tensorflow as tf

    height, width = model.input_shape[1:3]
    fixed = (height, width) if height and width else None
    requested = fixed_height_width(image_size)
    if fixed and requested and fixed != requested:
        problem = f"{requested} differs from the model's fixed size {fixed}"
        raise UserError("image_size", problem, "leave it out, or rebuild the model at this size")

    classes = model.output_shape[-1]
    if fixed or requested:
        require_memory("image_size", fixed or requested or (0, 0), classes)

    # One signature for every size; otherwise each new size would be traced and compiled.
    @tf.function(input_signature=[tf.TensorSpec((None, *(fixed or (None, None)), 3), tf.float32)])
    def forward(images: Any) -> Any:
        return model(images, training=False)

    def run(image: np.ndarray) -> np.ndarray:
        require_memory("image", image.shape[:2], classes, remedy=_TILES)
        return np.asarray(forward(tf.constant(image[None], tf.float32))[0])

    return Predictor(run, fixed or requested, fit, _padding(model), accepts_larger=fixed is None)


def scaled_side(side: int, scale: float) -> int:
    """Return the side of an image at `scale` with aligned corners: 513 at 0.5 is 257."""
    return int((side - 1) * scale + 1)


def multi_scale_predictor(
    model: Any, scales: Sequence[float], flip: bool, image_size: ImageSize = None, fit: Fit = "auto"
) -> Predictor:
    """Return a predictor that averages the class probabilities over scales and flips of each image.

    As in the papers (DeepLabv3, arXiv:1706.05587, sec. 4.1), the image (fitted to `image_size`) is resized, the logits
    are resized back to its size, and their softmax is averaged. Both resizes align the corners.

    Args:
        model: a Keras model of any input size: RGB float32 0..255 `[b, h, w, 3]` to logits `[b, h, w, classes]`.
        scales: factors on height and width; the papers use 0.5, 0.75, 1, 1.25, 1.5 and 1.75.
        flip: also run the left-right flipped image at each scale.
        image_size: fit images to this size first; None runs each at its own size.
        fit: how images meet this size, see `fit_image`.

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
        largest = max(scales)
        require_memory("scales", (int(height * largest), int(width * largest)), model.output_shape[-1], 1 + flip)
        sizes = [[scaled_side(height, scale), scaled_side(width, scale)] for scale in scales]
        mean: Any = sum(probabilities(batch, size) for size in sizes) / len(scales)
        return np.asarray(mean)

    return Predictor(run, fixed_height_width(image_size), fit, _padding(model), accepts_larger=True)


def _padding(model: Any) -> Pixel:
    """Return the pixel that a Keras model maps to zero; that of an unknown network is gray."""
    from deeplab.model.build import DeepLab

    known = isinstance(model, DeepLab) and hasattr(model, "config")
    return mean_pixel(model.config.backbone) if known else GRAY
