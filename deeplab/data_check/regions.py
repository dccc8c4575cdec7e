"""Connected regions of one class: the objects of a mask, as far as masks of classes separate them."""

import numpy as np

from deeplab.datasets.source import IGNORE_LABEL

SIDE, MIN_PIXELS = 256, 4
"""Longer side in pixels at which the regions are counted, and the smallest region there that is counted."""


def region_areas(label: np.ndarray) -> list[tuple[int, float]]:
    """Return (class id, share of the pixels of the image) of each connected region of a label `[h, w]` uint8.

    Pixels with a common edge and the same class are connected; ignored pixels belong to no region. The label is
    subsampled to 256 pixels at the longer side; regions of less than 4 pixels are left out there.
    """
    stride = -(-max(label.shape) // SIDE)
    label = label[::stride, ::stride]
    ids = label.ravel()
    areas = np.bincount(_roots(label).ravel(), minlength=label.size)
    roots = np.flatnonzero((areas >= MIN_PIXELS) & (ids != IGNORE_LABEL))
    return [(int(ids[root]), float(areas[root] / label.size)) for root in roots]


def _roots(label: np.ndarray) -> np.ndarray:
    """Return the smallest flat index `[h, w]` of the region of each pixel."""
    parents = np.arange(label.size)
    index = parents.reshape(label.shape)
    right, below = label[:, 1:] == label[:, :-1], label[1:] == label[:-1]
    first = np.concatenate([index[:, :-1][right], index[:-1][below]])
    second = np.concatenate([index[:, 1:][right], index[1:][below]])
    while True:
        roots, other_roots = parents[first], parents[second]
        low, high = np.minimum(roots, other_roots), np.maximum(roots, other_roots)
        if not (low < high).any():
            return parents.reshape(label.shape)
        np.minimum.at(parents, high, low)
        # Each pixel refers to the root of its parent until nothing changes.
        while not np.array_equal(parents[parents], parents):
            parents = parents[parents]
