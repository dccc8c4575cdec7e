"""Images that are copies of each other, also after a resize, another compression or a slight crop."""

from collections.abc import Mapping

import numpy as np

SIDE = 16
"""Side of a thumbnail in pixels."""

MAX_DIFFERENCE, MAX_SHARE = 5.0, 0.1
"""Mean absolute difference of the thumbnails of near duplicates, in levels of 0..255, and as a share of their contrast.

Of 700 images of PASCAL VOC no pair of different photos is closer than 17. Thumbnails of a photo and of its copy at two
thirds of the size, as JPEG of quality 60, differ by 3.5 at most; a crop by 4 pixels on each side changes them by 3.5 in
the median, and by 5.2 at the 95th percentile.
"""

CANDIDATES = 64
"""Number of thumbnails that are compared at a time."""


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return the mean colors `[16, 16, 3]` float32 of a grid over an image `[h, w, 3]` uint8.

    The images of a set are compared by these, because a hash of bits has no margin between copies and similar scenes.
    Sides below 16 pixels are repeated.
    """
    # A mean of 16 x 16 pixels per cell suffices; a photo of 12 megapixels has 100 times as many.
    stride = max(max(image.shape[:2]) // (SIDE * SIDE), 1)
    pixels = image[::stride, ::stride].astype(np.float32)
    for axis in (0, 1):
        size = pixels.shape[axis]
        if size < SIDE:
            pixels = pixels.repeat(-(-SIDE // size), axis)
            size = pixels.shape[axis]
        starts = np.arange(SIDE) * size // SIDE
        lengths = np.diff(np.append(starts, size)).astype(np.float32)
        shape = [1, 1, 1]
        shape[axis] = SIDE
        pixels = np.add.reduceat(pixels, starts, axis) / lengths.reshape(shape)
    return pixels


def near_duplicates(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray] | None = None
) -> list[tuple[str, str]]:
    """Return a pair of names (first, second) for each image of `second` whose thumbnail nearly equals one of `first`.

    The pair has the earliest such image of `first`: all pairs of the frames of a still camera would fill the memory.

    Args:
        first: thumbnails by name.
        second: those of another split; None compares each image with the earlier ones of `first`.
    """
    if not first or (second is not None and not second):
        return []
    names, other_names = list(first), list(first if second is None else second)
    rows = np.stack([first[name].ravel() for name in names])
    others = rows if second is None else np.stack([second[name].ravel() for name in other_names])
    # Images without contrast, such as dark scans, are alike without being copies.
    limits = np.minimum(MAX_DIFFERENCE, MAX_SHARE * others.std(1))
    # Images whose mean levels differ by more than the limit differ by more than it at all.
    order = rows.mean(1).argsort()
    levels = rows.mean(1)[order]
    pairs = []
    for j, other in enumerate(others):
        low, high = np.searchsorted(levels, (other.mean() - MAX_DIFFERENCE, other.mean() + MAX_DIFFERENCE))
        candidates = np.sort(order[low:high])
        candidates = candidates[candidates < j] if second is None else candidates
        for start in range(0, len(candidates), CANDIDATES):
            part = candidates[start : start + CANDIDATES]
            found = part[np.abs(rows[part] - other).mean(1) <= limits[j]]
            if len(found):
                pairs.append((names[found[0]], other_names[j]))
                break
    return pairs
