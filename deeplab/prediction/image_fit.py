"""Padding and stretching: how an image of any size meets a network of fixed input size, and the way back."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from deeplab.config import Fit
from deeplab.errors import UserError
from deeplab.pixels import PIXEL_MEAN, Pixel

Size = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True)
class FittedImage:
    """An image `[H, W, 3]` at the input size of a network, and the (h, w) of the original image.

    If it was not stretched to the input size, it was padded or left unchanged.
    """

    image: np.ndarray
    size: Size
    stretched: bool


def needs_stretching(size: Size, model_size: Size | None, fit: Fit) -> bool:
    """Return whether `fit_image` stretches an image of (h, w) pixels."""
    if model_size is None or size == model_size or fit == "pad":
        return False
    return fit == "stretch" or size[0] > model_size[0] or size[1] > model_size[1]


def fit_image(
    image: np.ndarray,
    model_size: Size | None,
    fit: Fit = "auto",
    padding_value: float | Pixel = PIXEL_MEAN,
) -> FittedImage:
    """Pad or stretch an image to the input size of a network.

    Args:
        image: `[h, w, 3]` uint8, RGB.
        model_size: (H, W) of the network; None for a network of any size, which takes the image unchanged.
        fit: "pad" adds `padding_value` at the bottom and on the right, as the official DeepLab evaluation does.
            "stretch" resizes without keeping the aspect ratio, as the on-device runners do (here with the bilinear
            filter of Pillow, which averages when it shrinks). "auto" pads an image that is small enough and stretches a
            larger one.
        padding_value: the pixel that the network normalizes to zero: a gray value, or red, green and blue
            (`pixels.mean_pixel`). A padded image stays uint8 if these are integers, else it becomes float32.

    Raises:
        UserError: not a uint8 RGB image, or "pad" with an image larger than `model_size`.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise UserError("image", f"expected [h, w, 3] uint8, got {list(image.shape)} {image.dtype}", "give RGB images")
    size: Size = (image.shape[0], image.shape[1])
    if model_size is None or size == model_size:
        return FittedImage(image, size, stretched=False)
    if needs_stretching(size, model_size, fit):
        # First the columns, then the rows: in one call, Pillow 13 chooses the order by the sizes, and the bytes differ.
        narrow = Image.fromarray(image).resize((model_size[1], size[0]), Image.Resampling.BILINEAR)
        stretched = narrow.resize(model_size[::-1], Image.Resampling.BILINEAR)
        return FittedImage(np.asarray(stretched), size, stretched=True)
    if size[0] > model_size[0] or size[1] > model_size[1]:
        problem = f"{size[0]}x{size[1]} pixels exceed the model's input of {model_size[0]}x{model_size[1]}"
        raise UserError("image", problem, "use fit=stretch, tiles, or a model of any size")
    value = np.asarray(padding_value, np.float32)
    padded = np.full((*model_size, 3), value, np.uint8 if (value == np.rint(value)).all() else np.float32)
    padded[: size[0], : size[1]] = image
    return FittedImage(padded, size, stretched=False)


def scores_at_image_size(scores: np.ndarray, fitted: FittedImage) -> np.ndarray:
    """Return the class scores at the size of the original image, `[h, w, classes]` float32.

    `scores` are those of the fitted image, `[h', w', classes]`, at its size or smaller with aligned corners. Those of a
    padded image are enlarged with aligned corners, then cropped.
    """
    height, width = fitted.size if fitted.stretched else fitted.image.shape[:2]
    return resize_and_crop(scores, (height, width), fitted.size)


def ids_at_image_size(ids: np.ndarray, fitted: FittedImage) -> np.ndarray:
    """Return class ids `[h', w']` of the fitted image at the original size `[h, w]`, by nearest neighbor.

    Those of a padded image are enlarged with aligned corners if they are smaller than it, and cropped.
    """
    if fitted.stretched:
        # The nearest of the old rows and columns, with pixel centers at half integers as in Pillow.
        sizes = zip(ids.shape, fitted.size, strict=True)
        return ids[np.ix_(*(((np.arange(new) + 0.5) * old // new).astype(np.intp) for old, new in sizes))]
    steps = ((old - 1) / max(new - 1, 1) for old, new in zip(ids.shape, fitted.image.shape, strict=False))
    nearest = (np.floor(np.arange(n) * step + 0.5).astype(np.intp) for n, step in zip(fitted.size, steps, strict=True))
    return ids[np.ix_(*nearest)]


def resize_and_crop(scores: np.ndarray, size: Size, crop: Size) -> np.ndarray:
    """Return the top left `crop` of `[h', w', c]` resized to `size`, as float32, without computing the rest.

    The resize is bilinear with aligned corners, as DeepLab resizes its logits.
    """
    scores = np.asarray(scores, np.float32)
    if scores.shape[:2] != size:
        # Columns first, while there are few rows.
        for axis in (1, 0):
            scores = _interpolate(scores, size[axis], crop[axis], axis)
    return scores[: crop[0], : crop[1]]


def _interpolate(x: np.ndarray, size: int, count: int, axis: int) -> np.ndarray:
    """Return the first `count` of `size` samples of `x` along `axis`, with aligned corners."""
    last = x.shape[axis] - 1
    position = np.arange(count) * (last / max(size - 1, 1))
    low = np.minimum(position.astype(np.intp), last)
    weight = (position - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
    lower, result = np.take(x, low, axis), np.take(x, np.minimum(low + 1, last), axis)
    result -= lower
    result *= weight
    result += lower
    return result
