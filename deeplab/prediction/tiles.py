"""Large pictures in overlapping tiles, at their full resolution."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np


@dataclass(frozen=True)
class Span:
    """One tile along one axis, in pixels.

    Attributes:
        start, stop: what the network sees.
        first, last: what is kept of it: first <= pixel < last. Inside, start <= first and last <= stop.
    """

    start: int
    stop: int
    first: int
    last: int


def spans(side: int, tile: int, overlap: int) -> list[Span]:
    """Tiles of `tile` pixels along `side`, neighbors sharing at least `overlap`, evenly spread.

    Each pixel is kept from one tile: neighbors meet in the middle of what they share, where both see most around it.

    Raises:
        ValueError: the overlap is no smaller than the tile.
    """
    if overlap >= tile:
        raise ValueError(f"an overlap of {overlap} does not go with tiles of {tile}")
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
    """Class ids `[h, w]` uint8 of a large picture, predicted tile by tile.

    A picture no larger than a tile is predicted as it is. Needs the memory of one tile at a time, and works with models
    that give ids only.

    Args:
        predict: a picture `[h, w, 3]` uint8 to class ids `[h, w]`.
        image: `[h, w, 3]` uint8, RGB.
        tile: side of the tiles in pixels.
        overlap: what neighbors share at least, in pixels.
    """
    ids = np.empty(image.shape[:2], np.uint8)
    for down in spans(image.shape[0], tile, overlap):
        for across in spans(image.shape[1], tile, overlap):
            part = predict(image[down.start : down.stop, across.start : across.stop])
            ids[down.first : down.last, across.first : across.last] = part[
                down.first - down.start : down.last - down.start,
                across.first - across.start : across.last - across.start,
            ]
    return ids
