"""The size of an image as a setting."""

ImageSize = int | tuple[int, int] | None
"""One side of a square, (height, width), or None for any size. Pixels."""


def height_width(image_size: ImageSize) -> tuple[int | None, int | None]:
    """(height, width) of an image size; (None, None) where any will do."""
    if image_size is None or isinstance(image_size, int):
        return image_size, image_size
    return image_size
