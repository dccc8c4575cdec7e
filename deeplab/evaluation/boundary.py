"""Scores near the borders of objects, where segmentation models differ most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deeplab.datasets.source import IGNORE_LABEL
from deeplab.evaluation.confusion import class_counts, iou_of_counts, mean_of_occurring

BOUNDARY_WIDTH = 0.02
"""Width of the band of boundary IoU, as a fraction of the image diagonal (Boundary IoU, arXiv:2103.16562, sec. 5)."""


@dataclass(frozen=True)
class BoundaryScores:
    """The scores of a model near borders, on a set of images.

    Attributes:
        widths: of the trimaps in pixels, ascending.
        matrices: `[widths, classes, classes]` int64, see `trimap_matrices`.
        boundary: `[3, classes]` int64, see `boundary_counts`.
    """

    widths: tuple[int, ...]
    matrices: np.ndarray
    boundary: np.ndarray

    @property
    def trimap_mious(self) -> dict[int, float]:
        """The mIoU of the pixels within each width of a border; NaN if there are none."""
        mious = mean_of_occurring(iou_of_counts(class_counts(self.matrices)))
        return dict(zip(self.widths, map(float, mious), strict=True))

    @property
    def boundary_iou(self) -> float:
        """Mean boundary IoU over the classes that occur in the bands."""
        return float(mean_of_occurring(iou_of_counts(self.boundary)))

    def __add__(self, other: "BoundaryScores") -> "BoundaryScores":
        """Return the scores on both sets of images together."""
        if self.widths != other.widths:
            raise ValueError("cannot add trimaps of different widths")
        return BoundaryScores(self.widths, self.matrices + other.matrices, self.boundary + other.boundary)


def distance_to_border(label: np.ndarray, limit: int) -> np.ndarray:
    """Compute the distance of each pixel to the nearest border: the larger of its distances in rows and in columns.

    PASCAL VOC draws borders as a strip of 255. The pixels next to the strip have distance 1 on all of its sides, so
    those up to distance w are the strip dilated by a square of 2w+1 pixels, as in the trimaps of DeepLabv3+
    (arXiv:1802.02611, sec. 4.4; the square: MyVOCevalsegBoundary.m in the Caffe code of DeepLab).

    A label has no such strip if its classes touch each other along more pixels than they touch 255. Its borders are
    then the lines between classes too, and the pixels on both sides of a line have distance 1.

    Args:
        label: `[h, w]` uint8, class ids, 255 = ignore.
        limit: largest distance of interest in pixels.

    Returns:
        `[h, w]` int32: 0 where the label is 255; `limit` + 1 beyond the limit.
    """
    near, at_lines = _border_pixels(label)
    if not (near.any() or at_lines.any()):
        return np.full(label.shape, limit + 1, np.int32)
    distance = (~near).astype(np.int32)
    for _ in range(limit):
        near = _dilated(near) | at_lines
        if near.all():
            break
        distance += ~near
    return distance


def trimap_matrices(label: np.ndarray, prediction: np.ndarray, classes: int, widths: Sequence[int]) -> np.ndarray:
    """Compute the confusion matrices of the bands around borders (DeepLabv3+, arXiv:1802.02611, fig. 5).

    A band holds the pixels at a distance of at most its width from a border (`distance_to_border`), without those
    labeled 255; the widths are in pixels, ascending. Takes a label `[h, w]` uint8 (255 = ignore) and predicted class
    ids `[h, w]`; returns `[widths, classes, classes]` int64; row = label, column = predicted class.
    """
    distance = distance_to_border(label, widths[-1])
    near = (distance <= widths[-1]) & (label != IGNORE_LABEL)
    band = np.searchsorted(widths, distance[near], side="left")
    index = (band * classes + label[near]) * classes + prediction[near].astype(np.intp)
    rings = np.bincount(index, minlength=len(widths) * classes * classes)
    return np.asarray(np.cumsum(rings.reshape(len(widths), classes, classes), axis=0), np.int64)


def boundary_counts(label: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """Count the pixels from which boundary IoU is computed (arXiv:2103.16562, eq. 2), for all classes at once.

    A pixel is near the boundary of its class if the square around it, of `BOUNDARY_WIDTH` times the diagonal in each
    direction, contains another class or extends beyond the image. In both masks the ignored pixels count as another
    class, so that a prediction equal to the label scores 1. The arguments are those of `trimap_matrices`.

    Returns:
        `[3, classes]` int64: the pixels that are near the boundary in both masks and correct, near it in the label,
        and near it in the prediction. `iou_of_counts` of their sum over images is the boundary IoU.
    """
    distance = max(round(BOUNDARY_WIDTH * float(np.hypot(*label.shape))), 1)
    ignored = label == IGNORE_LABEL
    predicted = np.where(ignored, IGNORE_LABEL, prediction).astype(np.uint8)
    near_label = _near_other_class(label, distance) & ~ignored
    near_predicted = _near_other_class(predicted, distance) & ~ignored
    correct = near_label & near_predicted & (label == predicted)
    counted = (label[correct], label[near_label], predicted[near_predicted])
    return np.stack([np.bincount(ids, minlength=classes) for ids in counted]).astype(np.int64)


def _border_pixels(label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the pixels labeled 255 and those on both sides of a line between classes, `[h, w]` bool.

    The lines are left out if strips of 255 are the borders.
    """
    strip = label == IGNORE_LABEL
    at_lines, touching, at_strip = np.zeros(label.shape, bool), 0, 0
    for first, second in ((np.s_[1:], np.s_[:-1]), (np.s_[:, 1:], np.s_[:, :-1])):
        differs, strip_side = label[first] != label[second], strip[first] | strip[second]
        line = differs & ~strip_side
        at_lines[first] |= line
        at_lines[second] |= line
        touching += np.count_nonzero(line)
        at_strip += np.count_nonzero(differs & strip_side)
    return strip, at_lines if touching > at_strip else np.zeros_like(at_lines)


def _dilated(mask: np.ndarray) -> np.ndarray:
    """Return a mask `[h, w]` bool dilated by a square of 3x3 pixels."""
    rows = mask.copy()
    rows[1:] |= mask[:-1]
    rows[:-1] |= mask[1:]
    square = rows.copy()
    square[:, 1:] |= rows[:, :-1]
    square[:, :-1] |= rows[:, 1:]
    return square


def _near_other_class(ids: np.ndarray, distance: int) -> np.ndarray:
    """Return the pixels, `[h, w]` bool, that have another id or the image edge within `distance` rows and columns."""
    near, side = np.ones(ids.shape, bool), 2 * distance + 1
    minima, maxima = (_over_squares(ids, side, reduce) for reduce in (np.minimum, np.maximum))
    near[distance:-distance, distance:-distance] = minima != maxima
    return near


def _over_squares(x: np.ndarray, side: int, reduce: np.ufunc) -> np.ndarray:
    """Return the minimum or maximum of each square of `side` times `side` pixels inside `x`."""
    covered = 1
    while covered < side:
        # Each pass combines squares that overlap or touch, so the covered side doubles.
        shift = min(covered, side - covered)
        x = reduce(x[:-shift], x[shift:])
        x = reduce(x[:, :-shift], x[:, shift:])
        covered += shift
    return x
