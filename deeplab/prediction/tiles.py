"""Prediction of large images in overlapping tiles, at full resolution."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Span:
    """The extent of one tile along one axis, in pixels.

    The network receives start <= pixel < stop; the prediction is kept of first <= pixel < last, a part of these.
    """

    start: int
    stop: int
    first: int
    last: int


def tile_spans(side: int, tile: int, overlap: int) -> list[Span]:
    """Divide `side` pixels evenly into tiles of `tile` pixels that overlap by at least `overlap`.

    Each pixel is kept from one tile. Neighbors are joined in the middle of their overlap, where both have the most
    context.

    Raises:
        ValueError: the overlap is not smaller than the tile.
    """
    if overlap >= tile:
        raise ValueError(f"expected an overlap smaller than the tile of {tile} pixels, got {overlap}")
    if side <= tile:
        return [Span(0, side, 0, side)]
    count = -(-(side - overlap) // (tile - overlap))
    starts = [(side - tile) * i // (count - 1) for i in range(count)]
    seams = [(left + tile + right + 1) // 2 for left, right in pairwise(starts)]
    return [
        Span(start, start + tile, first, last)
        for start, first, last in zip(starts, [0, *seams], [*seams, side], strict=True)
    ]


def predict_in_tiles(
    predict: Callable[[np.ndarray], np.ndarray], image: np.ndarray, tile: int, overlap: int
) -> np.ndarray:
    """Return the class ids `[h, w]` uint8 of a large image `[h, w, 3]` uint8 RGB, predicted tile by tile.

    Only class ids are joined, so it needs the memory of one tile at a time and works with models that return no scores.
    An image no larger than a tile is predicted as a whole.

    Args:
        predict: maps an image `[h, w, 3]` uint8 to class ids `[h, w]`.
        image: the image.
        tile: side of the tiles in pixels.
        overlap: minimum overlap of neighboring tiles in pixels.
    """
    ids = np.empty(image.shape[:2], np.uint8)
    for row in tile_spans(image.shape[0], tile, overlap):
        for column in tile_spans(image.shape[1], tile, overlap):
            predicted = predict(image[row.start : row.stop, column.start : column.stop])
            ids[row.first : row.last, column.first : column.last] = predicted[
                row.first - row.start : row.last - row.start,
                column.first - column.start : column.last - column.start,
            ]
    return ids
