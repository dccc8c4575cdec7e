"""From a model to something that labels pictures of any size."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deeplab.config import Fit
from deeplab.errors import UserError
from deeplab.prediction.image_fit import Size, fit_image, rescales, undo_ids, undo_scores

if TYPE_CHECKING:
    from deeplab.tflite.interpreter import TfliteModel

GRAY = 127.5
"""Halfway between black and white: zero behind the normalization x * 2 / 255 - 1."""


@dataclass(frozen=True)
class Predictor:
    """Labels pictures of any size with a model that may take one size only.

    Attributes:
        run: `[H, W, 3]` at the model's size (uint8, or float32 0..255 where it was padded with `gray`) to class scores
            `[h', w', classes]` float32 or class ids `[H, W]` of an integer type.
        image_size: (H, W) the model takes; None for any.
        fit: how other pictures are brought to it, see `fit_image`.
        gray: value of the padding.
        grows: whether a picture larger than `image_size` is run at its own size, as a model of any size can; it is
            then neither padded nor rescaled.
    """

    run: Callable[[np.ndarray], np.ndarray]
    image_size: Size | None = None
    fit: Fit = "auto"
    gray: float = GRAY
    grows: bool = False

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Class ids `[h, w]` uint8 of a picture `[h, w, 3]` uint8 RGB.

        Raises:
            UserError: no such picture, or one that does not fit and may not be resized.
        """
        fitted = fit_image(image, self._model_size(image), self.fit, self.gray)
        output = self.run(fitted.image)
        if output.dtype.kind in "iu":
            return undo_ids(output, fitted).astype(np.uint8)
        return np.argmax(undo_scores(output, fitted), axis=-1).astype(np.uint8)

    def scores(self, image: np.ndarray) -> np.ndarray:
        """Class scores `[h, w, classes]` float32 of a picture `[h, w, 3]` uint8 RGB: logits, or what the model gives.

        Raises:
            UserError: as `__call__`; or the model gives class ids only.
        """
        fitted = fit_image(image, self._model_size(image), self.fit, self.gray)
        output = self.run(fitted.image)
        if output.dtype.kind in "iu":
            raise UserError("model", "it gives class ids, no scores", "use a run, or a file with output=logits")
        return undo_scores(output, fitted)

    def rescales(self, image: np.ndarray) -> bool:
        """Whether this picture is resized rather than padded."""
        return rescales(image.shape[:2], self._model_size(image), self.fit)

    def _model_size(self, image: np.ndarray) -> Size | None:
        """The size to bring `image` to."""
        fixed = self.image_size
        larger = fixed is not None and (image.shape[0] > fixed[0] or image.shape[1] > fixed[1])
        return None if larger and self.grows and self.fit != "stretch" else fixed


def tflite_predictor(model: "TfliteModel", fit: Fit = "auto") -> Predictor:
    """A .tflite file as a predictor: pictures of another size are padded or stretched, scores enlarged and cropped.

    Args:
        model: the open file.
        fit: what to do with pictures of another size.
    """
    from deeplab.tflite.interpreter import dequantize

    quantization = model.input.quantization
    zero = quantization.zero_point[0] if quantization else 0

    def run(image: np.ndarray) -> np.ndarray:
        if image.dtype == np.uint8:
            return model(image)
        # No byte is 127.5, so that is the padding: exactly the file's own zero, whatever its normalization.
        tensor = model.prepare(image.astype(np.uint8)).copy()
        tensor[0][image == GRAY] = zero
        stored = model.run(tensor)
        if model.returns_labels:
            return stored.reshape(model.mask_size)
        return np.asarray(dequantize(stored, model.output.quantization)[0])

    return Predictor(run, model.image_size, fit)


def keras_predictor(model: Any, image_size: int | Size | None = None, fit: Fit = "auto") -> Predictor:
    """A Keras model as a predictor; needs TensorFlow, which traces the model once, whatever the pictures' sizes.

    Args:
        model: maps RGB float32 0..255 `[b, h, w, 3]` to logits `[b, h, w, classes]`, at a fixed size or any.
        image_size: pictures are padded to this size (the official protocol: 513 for VOC), larger ones run at their own.
            None: the model's own size, or each picture at its own. A model built for one size takes no other.
        fit: what to do with pictures that a model of fixed size cannot take.

    Raises:
        UserError: `image_size` is not the size that the model was built for.
    """
    import tensorflow as tf

    height, width = model.input_shape[1:3]
    built = (height, width) if height and width else None
    wanted = (image_size, image_size) if isinstance(image_size, int) else image_size
    if built and wanted and built != wanted:
        raise UserError(
            "image_size", f"{wanted} with a model built for {built}", "leave it out, or build the model anew"
        )

    # One signature for every size, or each new size would be traced and compiled anew.
    @tf.function(input_signature=[tf.TensorSpec((None, *(built or (None, None)), 3), tf.float32)])
    def forward(images: Any) -> Any:
        return model(images, training=False)

    def run(image: np.ndarray) -> np.ndarray:
        output: np.ndarray = forward(tf.constant(image[None], tf.float32))[0].numpy()
        return output

    return Predictor(run, built or wanted, fit, GRAY, grows=built is None)
