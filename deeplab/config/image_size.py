"""The size of an image as a setting, and how an image of another size meets it."""

from typing import Literal

from deeplab.config.ranges import Side

ImageSize = Side | tuple[Side, Side] | None
"""Side of a square, (height, width), or None for any size; in pixels."""

Resize = Literal["none", "letterbox", "stretch"]
"""How a training image becomes what the network sees, see `deeplab.datasets.resizing.fitted_source`."""

Fit = Literal["auto", "pad", "letterbox", "stretch"]
"""How an image meets a network of another input size, see `deeplab.prediction.image_fit.fit_image`."""


def height_width(image_size: ImageSize) -> tuple[int | None, int | None]:
    """Return (height, width); (None, None) for any size."""
    if image_size is None or isinstance(image_size, int):
        return image_size, image_size
    return image_size


def fixed_height_width(image_size: ImageSize) -> tuple[int, int] | None:
    """Return (height, width), or None for any size."""
    height, width = height_width(image_size)
    return None if height is None or width is None else (height, width)
