"""Scores near the borders of objects, where segmentation models differ most."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deeplab.datasets.source import IGNORE_LABEL
from deeplab.evaluation.confusion import class_counts, iou_of_counts, mean_of_occurring

DILATION = 0.02
"""Width of the band of boundary IoU, as a share of the picture's diagonal (Boundary IoU, arXiv:2103.16562, sec. 5)."""


@dataclass(frozen=True)
class Borders:
    """How well a model does near borders, over a set of pictures.

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
        """The mIoU within each width of a border; NaN where no pixel lies there."""
        return {
            width: float(mean_of_occurring(iou_of_counts(class_counts(matrix))))
            for width, matrix in zip(self.widths, self.matrices, strict=True)
        }

    @property
    def boundary_iou(self) -> float:
        """Mean boundary IoU over the classes that occur there."""
        return float(mean_of_occurring(iou_of_counts(self.boundary)))

    def __add__(self, other: "Borders") -> "Borders":
        """Both sets of pictures together."""
        if self.widths != other.widths:
            raise ValueError("trimaps of different widths do not add up")
        return Borders(self.widths, self.matrices + other.matrices, self.boundary + other.boundary)


def borders_of(label: np.ndarray, prediction: np.ndarray, classes: int, widths: Sequence[int]) -> Borders:
    """`Borders` of one picture: `[h, w]` truth (255 = left out) and `[h, w]` prediction."""
    matrices = trimap_matrices(label, prediction, classes, widths)
    return Borders(tuple(widths), matrices, boundary_counts(label, prediction, classes))


def distance_to_border(label: np.ndarray, reach: int) -> np.ndarray:
    """Euclidean distance of each pixel to the nearest border pixel.

    Border pixels are those labeled 255, as in the trimaps of DeepLabv3+ (arXiv:1802.02611, sec. 4.4: PASCAL VOC draws
    a strip of 255 along objects), and those whose right or lower neighbor has another label, for data without a strip.

    Args:
        label: `[h, w]` uint8, class ids, 255 = ignore.
        reach: in pixels; beyond it distances are not told apart.

    Returns:
        `[h, w]` float32, exact up to `reach`, larger than `reach` beyond it.
    """
    border = label == IGNORE_LABEL
    border[:-1] |= label[:-1] != label[1:]
    border[:, :-1] |= label[:, :-1] != label[:, 1:]
    far = reach + 1
    # Along columns first: how many rows to the nearest border pixel; then the best over the columns in reach.
    rows = np.where(border, 0, far).astype(np.int32)
    for y in range(1, len(rows)):
        np.minimum(rows[y], rows[y - 1] + 1, out=rows[y])
    for y in range(len(rows) - 2, -1, -1):
        np.minimum(rows[y], rows[y + 1] + 1, out=rows[y])
    squares = rows * rows
    nearest = squares.copy()
    for offset in range(1, min(reach, label.shape[1] - 1) + 1):
        step = np.int32(offset * offset)
        np.minimum(nearest[:, offset:], squares[:, :-offset] + step, out=nearest[:, offset:])
        np.minimum(nearest[:, :-offset], squares[:, offset:] + step, out=nearest[:, :-offset])
    return np.sqrt(nearest, dtype=np.float32)


def trimap_matrices(
    label: np.ndarray, prediction: np.ndarray, classes: int, widths: Sequence[int], distance: np.ndarray | None = None
) -> np.ndarray:
    """Confusion matrices of the bands around borders (DeepLabv3+, arXiv:1802.02611, fig. 5).

    Args:
        label: `[h, w]` uint8, truth; 255 is left out.
        prediction: `[h, w]` class ids.
        classes: number of classes.
        widths: of the bands in pixels, ascending: a pixel at distance d from a border is in those with d <= width.
        distance: `distance_to_border(label, widths[-1])`, where it is at hand.

    Returns:
        `[widths, classes, classes]` int64; row = truth, column = prediction.
    """
    if distance is None:
        distance = distance_to_border(label, widths[-1])
    near = (distance <= widths[-1]) & (label != IGNORE_LABEL)
    band = np.searchsorted(np.asarray(widths, np.float32), distance[near], side="left")
    index = (band * classes + label[near]) * classes + prediction[near].astype(np.intp)
    rings = np.bincount(index, minlength=len(widths) * classes * classes)
    return np.asarray(np.cumsum(rings.reshape(len(widths), classes, classes), axis=0), np.int64)


def boundary_counts(label: np.ndarray, prediction: np.ndarray, classes: int) -> np.ndarray:
    """The pixels behind boundary IoU (arXiv:2103.16562, eq. 2), for every class at once.

    A pixel is near the boundary of its own class where the square of `DILATION` times the diagonal around it holds
    another class or leaves the picture. Ignored pixels are made another class in both maps, so that a prediction equal
    to the truth scores 1.

    Args:
        label: `[h, w]` uint8, truth; 255 is left out.
        prediction: `[h, w]` class ids.
        classes: number of classes.

    Returns:
        `[3, classes]` int64: pixels near the boundary in both and right, in the truth, in the prediction. Summed over
        pictures, `iou_of_counts` makes the boundary IoU of them.
    """
    distance = max(round(DILATION * float(np.hypot(*label.shape))), 1)
    ignored = label == IGNORE_LABEL
    guess = np.where(ignored, IGNORE_LABEL, prediction).astype(np.uint8)
    near_truth = _near_other(label, distance) & ~ignored
    near_guess = _near_other(guess, distance) & ~ignored
    right = near_truth & near_guess & (label == guess)
    return np.stack(
        [
            np.bincount(ids[mask], minlength=classes)
            for ids, mask in ((label, right), (label, near_truth), (guess, near_guess))
        ]
    ).astype(np.int64)


def _near_other(ids: np.ndarray, distance: int) -> np.ndarray:
    """Pixels `[h, w]` bool with another id, or the outside, within `distance` rows and columns."""
    low, high = ids, ids
    for axis in (0, 1):
        low, high = _running(low, distance, axis, np.minimum), _running(high, distance, axis, np.maximum)
    near = low != high
    near[:distance] = near[-distance:] = True
    near[:, :distance] = near[:, -distance:] = True
    return near


def _running(x: np.ndarray, distance: int, axis: int, pick: np.ufunc) -> np.ndarray:
    """Minimum or maximum over the window of 2 * distance + 1 samples along `axis`; the picture's edge is repeated."""
    widths = [(distance, distance) if i == axis else (0, 0) for i in range(2)]
    x = np.moveaxis(np.pad(x, widths, mode="edge"), axis, 0)
    window, reached = 2 * distance + 1, 1
    while reached < window:
        # Windows of twice the width are the pick of two neighbors, so a few passes reach any width.
        step = min(reached, window - reached)
        x = pick(x[:-step], x[step:])
        reached += step
    return np.moveaxis(x, 0, axis)
