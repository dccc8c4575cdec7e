"""The scores of a model on a set of labeled images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab.errors import UserError
from deeplab.evaluation.boundary import BoundaryScores
from deeplab.evaluation.confusion import class_counts, iou_of_counts, iou_of_labeled, mean_of_occurring, ratio

WEAK_SHARE = 0.5
"""Share of the mIoU below which the IoU of a class is weak."""


def is_weak(iou: float, miou: float) -> bool:
    """Return whether a class is weak: its IoU is below half of the mIoU. NaN is not."""
    return iou < WEAK_SHARE * miou


@dataclass(frozen=True)
class Scores:
    """The scores of a model on a set of images.

    Attributes:
        classes: names by id.
        matrix: `[classes, classes]` int64, the confusion matrix of all images; row = label, column = predicted class.
        counts: `[images, 3, classes]` int64, `class_counts` of each image; the bootstrap draws from these.
        names: of the images, in the order of `counts`.
        stretched: number of images that were stretched to the fixed input size of the model.
        borders: scores near borders; None if they were not requested.
    """

    classes: tuple[str, ...]
    matrix: np.ndarray
    counts: np.ndarray
    names: tuple[str, ...]
    stretched: int = 0
    borders: BoundaryScores | None = None

    def __repr__(self) -> str:
        """Return a short text for notebooks, without the arrays."""
        return f"Scores(miou={self.miou:.4f}, classes={len(self.classes)}, images={len(self.names)})"

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class, `[classes]`, 0..1; NaN if the class does not occur."""
        return iou_of_counts(class_counts(self.matrix))

    @property
    def miou(self) -> float:
        """Mean of `iou` over the classes that occur in the labels or in the predictions."""
        return float(mean_of_occurring(self.iou))

    @property
    def labeled_miou(self) -> float:
        """Mean of `iou` over the classes that occur in the labels: for comparisons with another model."""
        return float(mean_of_occurring(iou_of_labeled(class_counts(self.matrix))))

    @property
    def labeled_classes(self) -> int:
        """Number of classes that occur in the labels."""
        return int(np.count_nonzero(self.matrix.sum(axis=1)))

    @property
    def pixel_accuracy(self) -> float:
        """Fraction of the labeled pixels whose predicted class is correct."""
        return float(np.trace(self.matrix) / self.matrix.sum())

    @property
    def mean_accuracy(self) -> float:
        """Mean over the classes in the labels of the fraction of their pixels that is predicted correctly."""
        return float(mean_of_occurring(ratio(np.diagonal(self.matrix), self.matrix.sum(axis=1))))

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of `iou` weighted by the fraction of pixels with each label."""
        weight = self.matrix.sum(axis=1) / self.matrix.sum()
        return float(np.sum(weight * np.nan_to_num(self.iou)))

    def __add__(self, other: "Scores") -> "Scores":
        """Return the scores on both sets of images together."""
        if self.classes != other.classes:
            raise ValueError("cannot add scores of different classes")
        return Scores(
            self.classes,
            self.matrix + other.matrix,
            np.concatenate([self.counts, other.counts]),
            self.names + other.names,
            self.stretched + other.stretched,
            self.borders + other.borders if self.borders and other.borders else None,
        )

    def to_mapping(self) -> dict[str, Any]:
        """Return the scores as JSON-ready values; NaN becomes None."""
        mapping = {
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_accuracy": self.mean_accuracy,
            "frequency_weighted_iou": self.frequency_weighted_iou,
            "per_class": {name: _none_if_nan(iou) for name, iou in zip(self.classes, self.iou, strict=True)},
            "labeled_classes": self.labeled_classes,
            "images": len(self.names),
            "stretched_images": self.stretched,
        }
        if self.borders:
            mapping["boundary_iou"] = _none_if_nan(self.borders.boundary_iou)
            mapping["trimap_miou"] = {str(w): _none_if_nan(miou) for w, miou in self.borders.trimap_mious.items()}
        return mapping


def _none_if_nan(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def scores_from_matrices(
    matrices: Sequence[np.ndarray],
    classes: Sequence[str],
    names: Sequence[str],
    stretched: int = 0,
    borders: BoundaryScores | None = None,
) -> Scores:
    """Return the `Scores` of a set of images from the `[classes, classes]` confusion matrix of each.

    Raises:
        UserError: there are no images, or all pixels are ignored.
    """
    if not matrices:
        raise UserError("evaluation", "there are no labeled images", "give at least one image with a mask")
    total = np.sum(matrices, axis=0, dtype=np.int64)
    if not total.any():
        problem = f"all pixels of the {len(matrices)} images are labeled 255 (ignore)"
        raise UserError("evaluation", problem, "check the masks")
    return Scores(tuple(classes), total, class_counts(np.stack(matrices)), tuple(names), stretched, borders)
