"""Images that are copies of each other, also after a resize, another compression or a slight crop."""

from collections.abc import Mapping

import numpy as np

from deeplab.rendering.console import progress_bar

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

ROUNDING = 1e-3
"""More than the rounding errors of means of levels in float32."""

MANY = 5000
"""Number of images from which a terminal shows the progress of the comparison."""


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Return the mean colors `[16, 16, 3]` float16 of a grid over an image `[h, w, 3]` uint8.

    Those of 100,000 images have 150 MB; rounding changes a level by 1/16 at most.

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
    return pixels.astype(np.float16)


def near_duplicates(
    first: Mapping[str, np.ndarray], second: Mapping[str, np.ndarray] | None = None
) -> list[tuple[str, str]]:
    """Return a pair of names (first, second) for each image of `second` whose thumbnail nearly equals one of `first`.

    The pair has the earliest such image of `first`: all pairs of the frames of a still camera would fill the memory.
    An image is compared with those that are similar in the mean colors of their quarters: 20,000 photos take 2 seconds.
    A terminal shows the progress for `MANY` images.

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
    limits = [min(MAX_DIFFERENCE, MAX_SHARE * float(other.std(dtype=np.float32))) for other in others]
    # The mean difference of two images is at least that of their means, over the whole image and over its quarters.
    quarters = _quarters(rows)
    order = quarters.mean(1).argsort()
    quarters = quarters[order]
    levels = quarters.mean(1)
    other_quarters = _quarters(others)
    pairs = []
    with progress_bar(shown=len(others) >= MANY) as bar:
        for j in bar.track(range(len(others)), description="near duplicates"):
            level = other_quarters[j].mean()
            largest = limits[j] + ROUNDING
            low, high = np.searchsorted(levels, (level - largest, level + largest))
            differences = np.abs(quarters[low:high] - other_quarters[j]).mean(1)
            candidates = np.sort(order[low:high][differences <= largest])
            candidates = candidates[candidates < j] if second is None else candidates
            for start in range(0, len(candidates), CANDIDATES):
                part = candidates[start : start + CANDIDATES]
                found = part[np.abs(rows[part].astype(np.float32) - others[j]).mean(1) <= limits[j]]
                if len(found):
                    pairs.append((names[found[0]], other_names[j]))
                    break
    return pairs


def _quarters(rows: np.ndarray) -> np.ndarray:
    """Return the mean colors `[n, 12]` float32 of the quarters of thumbnails `[n, 768]`."""
    half = SIDE // 2
    parts = rows.reshape(-1, 2, half, 2, half, 3).mean((2, 4), dtype=np.float32)
    return np.asarray(parts.reshape(-1, 12))
