"""The input size of an exported file, and a warning if it scales images that the training saw at their own size."""

import warnings
from math import prod

from deeplab.compatibility.targets import largest_side, required_size
from deeplab.config import ExportConfig, Fit
from deeplab.data_check.check import stored_splits
from deeplab.datasets.resizing import Size, content_size
from deeplab.plan.rules import LARGE_SIDE
from deeplab.prediction.model_input import network_input
from deeplab.run_folder import TrainedModel

MULTIPLE = 4
"""Sides are multiples of this, or of a larger mask stride, plus one: the corners of mask and image coincide."""

MAX_PIXELS = 2
"""Pixels of the largest validation image, per pixel of the median one, up to which the file takes the largest."""


def file_input_of(config: ExportConfig, run: TrainedModel) -> tuple[Size, Fit]:
    """Return (height, width) of the input of an exported file, and how images meet it.

    Without `config.image_size` this is the size of the evaluation. If that is the own size of each image, the file
    takes the validation images at it: see `own_size`. The crop size of the training is the last choice.

    Args:
        config: the settings of the export, with those of its target.
        run: the opened run folder or .tflite file.

    Warns:
        The size is the crop size, because the run states no other; or, by default or by the target, images are
        stretched that the training saw at their own size.
    """
    training, required, limit = run.training, required_size(config), largest_side(config)
    multiple = max(config.mask_stride, MULTIPLE)
    default: Size | int
    is_crop = False
    median, largest = _validation_sizes(run)
    if training is None:
        default = run.network.image_size
    else:
        known = training.eval_size or own_size(median, largest, multiple, limit)
        is_crop = known is None and config.image_size is None and not max(largest)
        default = known or training.training.crop
    chosen = network_input(run, config.fit, config.image_size, default)
    assert chosen.size is not None
    if is_crop:
        warnings.warn(
            f"image_size={_text(chosen.size)}: the crop size of the training, because the run states neither a size of "
            "the evaluation nor the sizes of its validation images; image_size=[HEIGHT,WIDTH] sets another",
            stacklevel=3,
        )
    if chosen.fit == "auto" and (config.image_size is None or required is not None):
        _warn_if_stretched(largest, chosen.size, multiple, 0 if required else limit or LARGE_SIDE)
    return chosen.size, chosen.fit


def own_size(median: Size, largest: Size, multiple: int, limit: int | None) -> Size | None:
    """Return the (height, width) at which a file takes the validation images as they are.

    This is the largest height and width, rounded up: smaller images are padded. If single images are much larger than
    the others, it is the median height and width.

    Args:
        median: median height and width of the validation images; zeros if they are not known.
        largest: largest height and width.
        multiple: the sides are multiples of this plus one.
        limit: maximum of the longer side, to which the size is reduced with its aspect kept.

    Returns:
        None if the sizes are not known, or above `LARGE_SIDE`, from which plans scale images down.
    """
    size = largest if max(largest) <= LARGE_SIDE and prod(largest) <= MAX_PIXELS * prod(median) else median
    if not 0 < max(size) <= LARGE_SIDE:
        return None
    if limit is not None and max(size) > limit:
        size = content_size(size, (limit, limit), "letterbox")
    return _rounded_up(size, multiple)


def _rounded_up(size: Size, multiple: int) -> Size:
    """Return the next (height, width) of multiples plus one, at least 33 pixels as networks need."""
    height, width = (max(side + -(side - 1) % multiple, 33) for side in size)
    return height, width


def _validation_sizes(run: TrainedModel) -> tuple[Size, Size]:
    """Return the median and the largest (height, width) in the data check of a run; zeros if they are not known."""
    splits = stored_splits(run.folder, run.training.data) if run.training else []
    validation = splits[1] if len(splits) == 2 else {}
    (height, width), (rows, columns) = (validation.get(k, (0, 0)) for k in ("height_width", "max_height_width"))
    return (height, width), (rows, columns)


def _warn_if_stretched(largest: Size, size: Size, multiple: int, limit: int) -> None:
    """Warn if validation images exceed `size`; the remedy is the `largest` (height, width) if it is up to `limit`."""
    if largest[0] <= size[0] and largest[1] <= size[1]:
        return
    remedy = f"train with data.resize=stretch data.image_size={_text(size)} to avoid it"
    if max(largest) <= limit:
        remedy = f"image_size={_text(_rounded_up(largest, multiple))} takes them as they are"
    warnings.warn(
        f"image_size={_text(size)}: validation images of up to {largest[1]}x{largest[0]} pixels are stretched to it, "
        f"which the training did not do and which can cost mIoU (evaluate.py measures it); {remedy}",
        stacklevel=4,
    )


def _text(size: Size) -> str:
    return f"[{size[0]},{size[1]}]"
