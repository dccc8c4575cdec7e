"""The one rule by which a picture of any size meets a model of fixed size, and its inverse."""

from dataclasses import dataclass

import numpy as np
from PIL import Image

from deeplab.config import Fit
from deeplab.errors import UserError

Size = tuple[int, int]
"""(height, width) in pixels."""


@dataclass(frozen=True)
class Fitted:
    """A picture as a model takes it, and how it became so.

    Attributes:
        image: `[H, W, 3]` at the model's size.
        size: (h, w) of the picture itself.
        rescaled: whether it was resized rather than padded.
    """

    image: np.ndarray
    size: Size
    rescaled: bool


def rescales(size: Size, model_size: Size | None, fit: Fit) -> bool:
    """Whether `fit_image` will resize a picture of (h, w) pixels rather than pad it."""
    if model_size is None or size == model_size or fit == "pad":
        return False
    return fit == "stretch" or size[0] > model_size[0] or size[1] > model_size[1]


def fit_image(image: np.ndarray, model_size: Size | None, fit: Fit = "auto", gray: float = 127.5) -> Fitted:
    """Brings a picture to a model's size.

    "pad" is the official protocol: never rescaled, `gray` added at the bottom and on the right. "stretch" is what the
    on-device runners do: stretched to the model's size, the aspect ratio not kept (here by Pillow's bilinear filter,
    which averages when it shrinks). "auto" pads where the picture fits and resizes where it does not.

    Args:
        image: `[h, w, 3]` uint8, RGB.
        model_size: (H, W) of the model; None for a model of any size, which gets the picture as it is.
        fit: the rule.
        gray: the value that the model's normalization takes to zero; the picture stays uint8 if it is whole.

    Raises:
        UserError: no RGB picture; "pad" with a picture larger than the model.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or 0 in image.shape:
        raise UserError("picture", f"{image.dtype} {list(image.shape)} is no [h, w, 3] uint8", "give RGB pictures")
    size: Size = (image.shape[0], image.shape[1])
    if model_size is None or size == model_size:
        return Fitted(image, size, False)
    if rescales(size, model_size, fit):
        height, width = model_size
        stretched = Image.fromarray(image).resize((width, height), Image.Resampling.BILINEAR)
        return Fitted(np.asarray(stretched), size, True)
    if size[0] > model_size[0] or size[1] > model_size[1]:
        raise UserError(
            "picture",
            f"{size[0]}x{size[1]} pixels do not fit the model's {model_size[0]}x{model_size[1]}",
            "use fit=stretch, tiles, or a model of any size",
        )
    dtype = np.uint8 if float(gray).is_integer() else np.float32
    padded = np.full((*model_size, 3), gray, dtype)
    padded[: size[0], : size[1]] = image
    return Fitted(padded, size, False)


def undo_scores(scores: np.ndarray, fitted: Fitted) -> np.ndarray:
    """Class scores of the fitted picture as those of the picture itself.

    Args:
        scores: `[h', w', classes]` float32 over the fitted picture, possibly smaller than it, corners aligned.
        fitted: the picture they belong to.

    Returns:
        `[h, w, classes]` float32: enlarged with aligned corners and cropped, or resized back if it was stretched.
    """
    if fitted.rescaled:
        return resize_scores(scores, fitted.size)
    return crop_of_resized(scores, (fitted.image.shape[0], fitted.image.shape[1]), fitted.size)


def undo_ids(ids: np.ndarray, fitted: Fitted) -> np.ndarray:
    """Class ids `[H, W]` of the fitted picture as those of the picture itself, `[h, w]`; nearest where stretched."""
    if fitted.rescaled:
        rows, columns = (_nearest(old, new) for old, new in zip(ids.shape, fitted.size, strict=True))
        return ids[rows[:, None], columns]
    return ids[: fitted.size[0], : fitted.size[1]]


def _nearest(old: int, new: int) -> np.ndarray:
    """For each of `new` samples the nearest of `old`, pixel centers as Pillow places them."""
    return np.minimum((np.arange(new) + 0.5) * old // new, old - 1).astype(np.intp)


def resize_scores(scores: np.ndarray, size: Size) -> np.ndarray:
    """Bilinear resize of `[h', w', c]` to `[*size, c]` with aligned corners, as DeepLab resizes its own logits."""
    return crop_of_resized(scores, size, size)


def crop_of_resized(scores: np.ndarray, size: Size, crop: Size) -> np.ndarray:
    """The top left `crop` of `scores` `[h', w', c]` resized to `size`, without making the rest; float32."""
    scores = np.asarray(scores, np.float32)
    if scores.shape[:2] != size:
        # Columns first, while there are few rows.
        for axis in (1, 0):
            scores = _interpolate(scores, size[axis], crop[axis], axis)
    return scores[: crop[0], : crop[1]]


def _interpolate(x: np.ndarray, size: int, count: int, axis: int) -> np.ndarray:
    """The first `count` of `size` samples of `x` along `axis`, corners aligned."""
    last = x.shape[axis] - 1
    position = np.arange(count) * (last / max(size - 1, 1))
    low = np.minimum(position.astype(np.intp), last)
    weight = (position - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(3)])
    below, above = np.take(x, low, axis), np.take(x, np.minimum(low + 1, last), axis)
    above -= below
    above *= weight
    above += below
    return above
