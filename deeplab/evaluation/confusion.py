"""The confusion matrix, and the IoU of each class from it."""

import numpy as np

from deeplab.datasets.source import IGNORE_LABEL
from deeplab.errors import UserError

_BYTE = 256


def confusion_matrix(label: np.ndarray, prediction: np.ndarray, classes: int, name: str = "label") -> np.ndarray:
    """Count the pixels of every (label, predicted class) pair.

    Args:
        label: `[h, w]` integers; 255 = ignore.
        prediction: `[h, w]` integers, class ids.
        classes: number of classes, 1..256.
        name: name of the image, for messages.

    Returns:
        `[classes, classes]` int64; row = label, column = predicted class.

    Raises:
        UserError: a label that is neither a class nor 255, a predicted id that is not a class, or different sizes.
    """
    if label.shape != prediction.shape:
        problem = f"the mask has shape {label.shape}, the prediction {prediction.shape}"
        raise UserError(name, problem, "give a mask and a prediction of the same size")
    # Two bytes form the index into a 256x256 table of all pairs. Ignored pixels and invalid ids are then found in the
    # table instead of by comparing every pixel.
    pairs = (_as_uint16(label, name) << np.uint16(8)) | _as_uint16(prediction, f"prediction for {name}")
    table = _histogram(pairs.ravel()).reshape(_BYTE, _BYTE)
    invalid = np.flatnonzero(table[classes:IGNORE_LABEL].sum(axis=1))
    if len(invalid):
        problem = f"label {classes + invalid[0]} with {classes} classes"
        raise UserError(name, problem, f"use labels 0..{classes - 1}, and 255 for ignored pixels")
    counted = table[: min(classes, IGNORE_LABEL)]
    invalid = np.flatnonzero(counted[:, classes:].sum(axis=0))
    if len(invalid):
        problem = f"class {classes + invalid[0]} was predicted, but the data has {classes} classes"
        raise UserError(name, problem, "use data with all classes of the model")
    matrix = np.zeros((classes, classes), np.int64)
    matrix[: len(counted)] = counted[:, :classes]
    return matrix


def _histogram(values: np.ndarray) -> np.ndarray:
    """Count each of the 65536 values in `values`, uint16 `[n]`; int64."""
    ends = np.flatnonzero(values[1:] != values[:-1])
    if 4 * len(ends) > len(values):
        return np.bincount(values, minlength=_BYTE * _BYTE)
    # Masks have few edges: counting the lengths of runs takes a quarter of the time. Float64 sums them exactly.
    lengths = np.diff(ends, prepend=-1, append=len(values) - 1)
    values = values[np.append(ends, len(values) - 1)] if len(values) else values
    return np.bincount(values, weights=lengths[: len(values)], minlength=_BYTE * _BYTE).astype(np.int64)


def _as_uint16(ids: np.ndarray, name: str) -> np.ndarray:
    """Convert ids to uint16; raise UserError if one is outside 0..255."""
    if ids.dtype != np.uint8 and ids.size and not 0 <= int(ids.min()) <= int(ids.max()) < _BYTE:
        raise UserError(name, f"expected ids in 0..255, got {ids.min()} to {ids.max()}", "check the ids")
    return ids.astype(np.uint16)


def class_counts(matrix: np.ndarray) -> np.ndarray:
    """Return the (correct, labeled, predicted) pixels of each class, `[..., 3, classes]` int64.

    `matrix` is one or more confusion matrices, `[..., classes, classes]`.
    """
    correct = np.diagonal(matrix, axis1=-2, axis2=-1)
    return np.stack([correct, matrix.sum(axis=-1), matrix.sum(axis=-2)], axis=-2, dtype=np.int64)


def iou_of_counts(counts: np.ndarray) -> np.ndarray:
    """Return the IoU of each class, `[..., classes]` in 0..1, from `class_counts`; NaN if a class does not occur.

    A class occurs if a pixel is labeled or predicted as it, so that its union is not empty: the convention of
    tf.metrics.mean_iou, which the published DeepLab results follow.
    """
    correct, labeled, predicted = np.moveaxis(np.asarray(counts, np.float64), -2, 0)
    return ratio(correct, labeled + predicted - correct)


def iou_of_labeled(counts: np.ndarray) -> np.ndarray:
    """Return the IoU of each class, `[..., classes]` in 0..1, from `class_counts`; NaN if no pixel is labeled as it.

    Two models are compared by the mean of these. A class that is absent from the labels has the IoU 0 or none,
    depending on whether a model predicts it in any pixel: by the convention of `iou_of_counts` the means of two models
    would be over different classes, and one wrong pixel could cost several points.
    """
    return np.where(np.asarray(counts)[..., 1, :] > 0, iou_of_counts(counts), np.nan)


def mean_of_occurring(values: np.ndarray) -> np.ndarray:
    """Return the mean over the last axis without the NaN values; NaN if all are NaN."""
    occurs = ~np.isnan(values)
    return ratio(np.where(occurs, values, 0.0).sum(axis=-1), occurs.sum(axis=-1))


def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Return part / whole element by element; NaN for 0 / 0."""
    whole = np.asarray(whole, np.float64)
    return np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
