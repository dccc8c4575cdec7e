"""Padding, letterboxing and stretching: how an image of any size meets a network, and the way back to its pixels."""

from dataclasses import dataclass

import numpy as np

from deeplab.config import Fit, Resize
from deeplab.datasets.resizing import Size, content_size, resize_image
from deeplab.datasets.source import Example
from deeplab.errors import UserError
from deeplab.pixels import PIXEL_MEAN, Pixel

_STRIP = 64
"""Number of rows of a large image whose scores are in memory at a time."""


@dataclass(frozen=True)
class FittedImage:
    """An image `[H, W, 3]` at the input size of a network.

    Attributes:
        image: the fitted image.
        size: (height, width) of the original image.
        content: (height, width) of the part at the top left that shows the original image; padding fills the rest.
    """

    image: np.ndarray
    size: Size
    content: Size


def needs_stretching(size: Size, model_size: Size | None, fit: Fit) -> bool:
    """Return whether `fit_image` stretches an image of (h, w) pixels."""
    if model_size is None or size == model_size or fit in ("pad", "letterbox"):
        return False
    return fit == "stretch" or size[0] > model_size[0] or size[1] > model_size[1]


def fit_image(
    image: np.ndarray,
    model_size: Size | None,
    fit: Fit = "auto",
    padding_value: float | Pixel = PIXEL_MEAN,
) -> FittedImage:
    """Pad, letterbox or stretch an image to the input size of a network.

    Args:
        image: `[h, w, 3]` uint8, RGB.
        model_size: (H, W) of the network; None for a network of any size, which takes the image unchanged.
        fit: "pad" adds `padding_value` at the bottom and on the right, as the official DeepLab evaluation does.
            "letterbox" first scales the image, up or down, to the largest size of its aspect that fits. "stretch"
            scales without keeping the aspect, as the on-device runners do. "auto" pads an image that is small enough
            and stretches a larger one. All scaling is that of the training (`datasets.resizing.resize_image`).
        padding_value: the pixel that the network normalizes to zero: a gray value, or red, green and blue
            (`pixels.mean_pixel`). A padded image stays uint8 if these are integers, else it becomes float32.

    Raises:
        UserError: not a uint8 RGB image, or "pad" with an image larger than `model_size`.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise UserError("image", f"expected [h, w, 3] uint8, got {list(image.shape)} {image.dtype}", "give RGB images")
    size: Size = (image.shape[0], image.shape[1])
    if model_size is None:
        return FittedImage(image, size, size)
    resize: Resize = "letterbox" if fit == "letterbox" else "none"
    if needs_stretching(size, model_size, fit):
        resize = "stretch"
    content = content_size(size, model_size, resize)
    if content[0] > model_size[0] or content[1] > model_size[1]:
        problem = f"{size[0]}x{size[1]} pixels exceed the model's input of {model_size[0]}x{model_size[1]}"
        raise UserError("image", problem, "use fit=letterbox or fit=stretch, or a model with a larger input")
    resized = resize_image(image, content)
    if content == model_size:
        return FittedImage(resized, size, content)
    value = np.asarray(padding_value, np.float32)
    padded = np.full((*model_size, 3), value, np.uint8 if (value == np.rint(value)).all() else np.float32)
    padded[: content[0], : content[1]] = resized
    return FittedImage(padded, size, content)


def fit_example(
    example: Example, model_size: Size, fit: Fit = "auto", padding_value: float | Pixel = PIXEL_MEAN
) -> FittedImage:
    """Return the image of an example at the input size of a network, see `fit_image`.

    Raises:
        UserError: "pad" with an image larger than `model_size`; the message names the example.
    """
    try:
        return fit_image(example.image, model_size, fit, padding_value)
    except UserError as error:
        raise error.about(example.name) from error


def scores_at_image_size(scores: np.ndarray, fitted: FittedImage) -> np.ndarray:
    """Return the class scores at the size of the original image, `[h, w, classes]` float32.

    `scores` are those of the fitted image, `[h', w', classes]`, at its size or smaller with aligned corners. They are
    interpolated bilinearly at the centers of the original pixels; the scores of the padding are left out.
    """
    scores, (rows, columns) = np.asarray(scores, np.float32), _positions(scores.shape, fitted)
    if scores.shape[:2] == fitted.image.shape[:2] and fitted.content == fitted.size:
        return scores[: fitted.size[0], : fitted.size[1]]
    # Columns first, while there are few rows.
    return _interpolate(_interpolate(scores, columns, 1), rows, 0)


def class_ids_at_image_size(scores: np.ndarray, fitted: FittedImage) -> np.ndarray:
    """Return the argmax of `scores_at_image_size`, `[h, w]` uint8, without the memory and the time for all scores.

    The scores of a photo of 12 megapixels and 21 classes have 1 GB. Here a strip of rows is in memory at a time, with
    the classes that can win in it: usually a few.
    """
    scores, (rows, columns) = np.asarray(scores, np.float32), _positions(scores.shape, fitted)
    if scores.shape[:2] == fitted.image.shape[:2] and fitted.content == fitted.size:
        return scores[: fitted.size[0], : fitted.size[1]].argmax(-1).astype(np.uint8)
    can_win, ids = _possible_winners(scores).any(axis=1), np.empty(fitted.size, np.uint8)
    for start in range(0, fitted.size[0], _STRIP):
        strip = rows[start : start + _STRIP]
        first, last = int(strip[0]), int(strip[-1])
        classes = np.flatnonzero(can_win[first : last + 1].any(axis=0)).astype(np.uint8)
        part = _interpolate(scores[first : last + 2, :, classes], columns, 1)
        ids[start : start + _STRIP] = classes[_interpolate(part, strip - first, 0).argmax(-1)]
    return ids


def ids_at_image_size(ids: np.ndarray, fitted: FittedImage) -> np.ndarray:
    """Return class ids `[h', w']` of the fitted image at the original size `[h, w]`, by nearest neighbor.

    Ids smaller than the fitted image have aligned corners with it.
    """
    rows, columns = (np.floor(positions + 0.5).astype(np.intp) for positions in _positions(ids.shape, fitted))
    return ids[np.ix_(rows, columns)]


def resize_and_crop(scores: np.ndarray, size: Size, crop: Size) -> np.ndarray:
    """Return the top left `crop` of `[h', w', c]` resized to `size`, as float32, without computing the rest.

    The resize is bilinear with aligned corners, as DeepLab resizes its logits.
    """
    return scores_at_image_size(scores, FittedImage(np.empty((*size, 0)), crop, crop))


def _positions(shape: tuple[int, ...], fitted: FittedImage) -> tuple[np.ndarray, ...]:
    """Return the rows and the columns of the original pixels in an output of the network, as fractions.

    Args:
        shape: of the output, `[h', w', ...]`; its corners are aligned with those of the fitted image.
        fitted: the image; its content and the original have pixel centers at i + 1/2, and thus aligned borders.
    """
    positions = []
    sizes = zip(shape, fitted.image.shape, fitted.content, fitted.size, strict=False)
    for samples, full, content, size in sizes:
        inside = np.clip((np.arange(size) + 0.5) * (content / size) - 0.5, 0, content - 1)
        positions.append(inside * ((samples - 1) / max(full - 1, 1)))
    return tuple(positions)


def _possible_winners(scores: np.ndarray) -> np.ndarray:
    """Return whether a class can win between neighboring scores `[h', w', classes]`, of the same shape.

    An interpolated score lies between its four neighbors. A class whose four scores are all below the lowest of another
    class cannot win.
    """
    low, high = scores, scores
    for axis in (0, 1):
        following = np.minimum(np.arange(scores.shape[axis]) + 1, scores.shape[axis] - 1)
        low, high = np.minimum(low, low.take(following, axis)), np.maximum(high, high.take(following, axis))
    # More than the rounding errors of the interpolation.
    margin = np.float32(1e-5) * np.abs(scores).max()
    return np.asarray(~(high < low.max(-1, keepdims=True) - margin))


def _interpolate(x: np.ndarray, position: np.ndarray, axis: int) -> np.ndarray:
    """Return the samples of `x` at the positions `[n]` along `axis`, between 0 and its size - 1."""
    last = x.shape[axis] - 1
    low = np.minimum(position.astype(np.intp), last)
    weight = (position - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
    lower, result = np.take(x, low, axis), np.take(x, np.minimum(low + 1, last), axis)
    result -= lower
    result *= weight
    result += lower
    return result
