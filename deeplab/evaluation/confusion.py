"""The confusion matrix, and the scores that follow from it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from deeplab.datasets.source import IGNORE_LABEL
from deeplab.errors import UserError

if TYPE_CHECKING:
    from deeplab.evaluation.boundary import Borders

_BYTE = 256


def confusion_matrix(label: np.ndarray, prediction: np.ndarray, classes: int, what: str = "label") -> np.ndarray:
    """Counts how often each class was taken for each other.

    Args:
        label: `[h, w]` integers, the truth; 255 is left out.
        prediction: `[h, w]` integers, class ids.
        classes: number of classes, 1..256.
        what: the name of the picture, for messages.

    Returns:
        `[classes, classes]` int64; row = truth, column = prediction.

    Raises:
        UserError: a label that is neither a class nor 255, a predicted id beyond the classes, sizes that differ.
    """
    if label.shape != prediction.shape:
        raise UserError(
            what, f"the mask is {label.shape} pixels and the prediction {prediction.shape}", "make them equal"
        )
    # Two bytes side by side index a table of every (truth, prediction) pair: labels out of range and 255 are found in
    # the small table afterwards, with no mask over the pixels.
    pairs = (_as_byte(label, what) << np.uint16(8)) | _as_byte(prediction, f"prediction for {what}")
    table = _histogram(pairs.ravel()).reshape(_BYTE, _BYTE)
    strange = table[classes:IGNORE_LABEL].sum(axis=1)
    if strange.any():
        found = classes + int(np.flatnonzero(strange)[0])
        raise UserError(what, f"label {found} with {classes} classes", f"labels are 0..{classes - 1}, or 255 = ignore")
    counted = table[: min(classes, IGNORE_LABEL)]
    beyond = counted[:, classes:].sum(axis=0)
    if beyond.any():
        found = classes + int(np.flatnonzero(beyond)[0])
        raise UserError(
            what, f"class {found} was predicted", f"the data name {classes} classes: give all of the model's"
        )
    matrix = np.zeros((classes, classes), np.int64)
    matrix[: len(counted)] = counted[:, :classes]
    return matrix


def _histogram(values: np.ndarray) -> np.ndarray:
    """How often each of the 65536 values occurs in `values`, uint16; int64."""
    ends = np.flatnonzero(values[1:] != values[:-1])
    if 4 * len(ends) > len(values):
        return np.bincount(values, minlength=_BYTE * _BYTE)
    # Masks are flat: counting the lengths of runs takes a quarter of the time. Lengths sum exactly in float64.
    lengths = np.diff(ends, prepend=-1, append=len(values) - 1)
    values = values[np.append(ends, len(values) - 1)] if len(values) else values
    return np.bincount(values, weights=lengths[: len(values)], minlength=_BYTE * _BYTE).astype(np.int64)


def _as_byte(ids: np.ndarray, what: str) -> np.ndarray:
    """`ids` as uint16 in 0..255, or a UserError."""
    if ids.dtype != np.uint8 and ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < _BYTE:
        raise UserError(what, f"ids from {ids.min()} to {ids.max()}", "ids are 0..255")
    return ids.astype(np.uint16)


def class_counts(matrix: np.ndarray) -> np.ndarray:
    """The `[..., 3, classes]` int64 (correct, true, predicted) pixels of each class, of `[..., classes, classes]`."""
    return np.stack(
        [np.diagonal(matrix, axis1=-2, axis2=-1), matrix.sum(axis=-1), matrix.sum(axis=-2)], axis=-2, dtype=np.int64
    )


def iou_of_counts(counts: np.ndarray) -> np.ndarray:
    """Intersection over union, `[..., classes]` in 0..1, of `class_counts`; NaN where a class does not occur.

    A class occurs where it is in the truth or in the prediction: its union is not empty (the convention of
    tf.metrics.mean_iou, by which the DeepLab figures were made).
    """
    correct, true, predicted = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    return _share(correct, true + predicted - correct)


def mean_of_occurring(values: np.ndarray) -> np.ndarray:
    """Mean over the last axis, NaN left out; NaN where all are."""
    there = ~np.isnan(values)
    return _share(np.where(there, values, 0.0).sum(axis=-1), there.sum(axis=-1))


def _share(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Element-wise part / whole, NaN for 0 / 0."""
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)


@dataclass(frozen=True)
class Scores:
    """How well a model does on a set of pictures.

    Attributes:
        classes: names by id.
        matrix: `[classes, classes]` int64 pixels over all pictures; row = truth, column = prediction.
        counts: `[pictures, 3, classes]` int64, `class_counts` of each picture in the order of `names`; what a bootstrap
            over pictures draws from.
        names: of the pictures.
        resized: how many pictures had to be rescaled for a model of fixed size.
        borders: how well it does near borders, where that was measured.
    """

    classes: tuple[str, ...]
    matrix: np.ndarray
    counts: np.ndarray
    names: tuple[str, ...]
    resized: int = 0
    borders: "Borders | None" = None

    @property
    def iou(self) -> np.ndarray:
        """Intersection over union of each class, `[classes]`, 0..1; NaN where the class does not occur."""
        return iou_of_counts(class_counts(self.matrix))

    @property
    def miou(self) -> float:
        """Mean of `iou` over the classes that occur."""
        return float(mean_of_occurring(self.iou))

    @property
    def pixel_accuracy(self) -> float:
        """Share of the pixels, 255 left out, that got the right class."""
        return float(np.trace(self.matrix) / self.matrix.sum())

    @property
    def recall(self) -> np.ndarray:
        """Share of each class's true pixels that were found, `[classes]`; NaN where the truth lacks the class."""
        return _share(np.diagonal(self.matrix), self.matrix.sum(axis=1))

    @property
    def mean_accuracy(self) -> float:
        """Mean of `recall` over the classes in the truth."""
        return float(mean_of_occurring(self.recall))

    @property
    def frequency_weighted_iou(self) -> float:
        """Mean of `iou` weighted by each class's share of the true pixels."""
        weight = self.matrix.sum(axis=1) / self.matrix.sum()
        return float(np.sum(weight * np.nan_to_num(self.iou)))

    @property
    def dominant(self) -> tuple[str, float]:
        """The class with the most predicted pixels, and its share of them."""
        predicted = self.matrix.sum(axis=0)
        best = int(np.argmax(predicted))
        return self.classes[best], float(predicted[best] / predicted.sum())

    def __add__(self, other: "Scores") -> "Scores":
        """The scores of both sets of pictures together, as if they had been measured at once."""
        if self.classes != other.classes:
            raise ValueError("scores over different classes do not add up")
        return Scores(
            self.classes,
            self.matrix + other.matrix,
            np.concatenate([self.counts, other.counts]),
            self.names + other.names,
            self.resized + other.resized,
            self.borders + other.borders if self.borders and other.borders else None,
        )

    def to_mapping(self) -> dict[str, Any]:
        """The scores as JSON-ready values; NaN becomes null."""
        near: dict[str, Any] = {}
        if self.borders:
            widths = self.borders.trimap_mious.items()
            near = {"boundary_iou": _or_null(self.borders.boundary_iou)}
            near |= {"trimap_miou": {str(width): _or_null(miou) for width, miou in widths}}
        return {
            "miou": self.miou,
            "pixel_accuracy": self.pixel_accuracy,
            "mean_accuracy": self.mean_accuracy,
            "frequency_weighted_iou": self.frequency_weighted_iou,
            "per_class": {name: _or_null(iou) for name, iou in zip(self.classes, self.iou, strict=True)},
            "pictures": len(self.names),
            "resized": self.resized,
            **near,
        }


def _or_null(value: float) -> float | None:
    """JSON has no NaN."""
    return None if np.isnan(value) else float(value)


def scores_of(matrices: Sequence[np.ndarray], classes: Sequence[str], names: Sequence[str], resized: int = 0) -> Scores:
    """The scores of pictures, from the `[classes, classes]` confusion matrix of each.

    Raises:
        UserError: there is no picture, or no pixel with a label other than 255.
    """
    if not matrices:
        raise UserError("evaluation", "there is no picture to measure on", "give at least one labeled picture")
    total = np.sum(matrices, axis=0, dtype=np.int64)
    if not total.any():
        raise UserError(
            "evaluation",
            f"no pixel of the {len(matrices)} pictures has a label other than 255 (ignore)",
            "look at the masks",
        )
    return Scores(tuple(classes), total, class_counts(np.stack(matrices)), tuple(names), resized)
