"""At which size and with which fit a command runs a model: as in its training, unless the user gives others."""

import warnings
from dataclasses import dataclass

from deeplab.config import Fit, ImageSize, fixed_height_width
from deeplab.errors import UserError
from deeplab.prediction.image_fit import Size
from deeplab.run_folder import TrainedModel


@dataclass(frozen=True)
class ModelInput:
    """How images meet a model, see `deeplab.prediction.image_fit.fit_image`.

    Attributes:
        fit: how; "auto" pads, and stretches images that are larger than a fixed input.
        size: (height, width) that they are fitted to; None for their own size.
    """

    fit: Fit
    size: Size | None

    def __str__(self) -> str:
        """Return the input as in a sentence: "letterboxed to 257x257"."""
        if self.size is None:
            return "at their own size"
        verb = {"auto": "padded", "pad": "padded", "letterbox": "letterboxed", "stretch": "stretched"}[self.fit]
        return f"{verb} to {self.size[0]}x{self.size[1]}"


UNFITTED = ModelInput("auto", None)
"""Each image at its own size."""


def network_input(model: TrainedModel, fit: Fit, image_size: ImageSize, default: ImageSize) -> ModelInput:
    """Return how images meet the network of a run folder or an imported .tflite file.

    Args:
        model: the run folder or the file.
        fit: the setting of the command; "auto" is that of the training (`DataConfig.fit`).
        image_size: the setting of the command; None is the size of the training, if it resized the images.
        default: the size otherwise.

    Warns:
        Fit or size differ from those of a training that resized the images.

    Raises:
        UserError: letterboxing or stretching was requested without a size.
    """
    trained = ModelInput(model.fit, model.description.image_size)
    chosen = trained.fit if fit == "auto" else fit
    if image_size is None:
        image_size = trained.size or default
        if trained.size is None and chosen in ("letterbox", "stretch") and model.is_tflite:
            image_size = model.network.image_size
    result = ModelInput(chosen, fixed_height_width(image_size))
    if chosen in ("letterbox", "stretch") and result.size is None:
        raise UserError(f"fit={chosen}", "the size is unknown", "add image_size=SIDE or image_size=[HEIGHT,WIDTH]")
    _warn_if_other(model, trained, result)
    return result


def file_input(model: TrainedModel, fit: Fit, size: Size) -> ModelInput:
    """Return how images meet a .tflite file of input size (height, width) `size`: as it states, unless `fit` is given.

    Warns:
        `fit` differs from that of the file.
    """
    trained = ModelInput(model.fit, size)
    result = ModelInput(trained.fit if fit == "auto" else fit, size)
    _warn_if_other(model, trained, result)
    return result


def _warn_if_other(model: TrainedModel, trained: ModelInput, chosen: ModelInput) -> None:
    if trained.fit != "auto" and chosen != trained:
        text = f"{model.path}: made for images {trained}, but used with images {chosen}"
        warnings.warn(f"{text}; omit fit and image_size to use it as it was made", stacklevel=3)
