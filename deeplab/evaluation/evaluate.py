"""Evaluation of a Keras model or a .tflite file on labeled images."""

import warnings
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from deeplab.config import checked
from deeplab.config.class_names import check_class_names
from deeplab.config.mapping import require
from deeplab.datasets.source import Example
from deeplab.errors import UserError
from deeplab.evaluation.boundary import BoundaryScores, boundary_counts, trimap_matrices
from deeplab.evaluation.confusion import confusion_matrix
from deeplab.evaluation.scores import Scores, scores_from_matrices
from deeplab.prediction.predictor import Predictor
from deeplab.rendering.console import progress_bar

ONE_CLASS_FRACTION = 0.99
"""A class with more than this fraction of all predicted pixels causes a warning."""


def evaluate(
    predict: Predictor | Callable[[np.ndarray], np.ndarray],
    examples: Iterable[Example],
    classes: Sequence[str],
    *,
    trimap_widths: Sequence[int] = (),
    progress: str | None = None,
    total: int | None = None,
    warn: bool = True,
) -> Scores:
    """Evaluate a model on labeled images.

    Images are predicted one by one and counted in integers, so the result depends neither on a batch size nor on their
    order. The scores of several subsets can be added with `+`.

    Args:
        predict: maps an image `[h, w, 3]` uint8 RGB to class ids `[h, w]`. A `Predictor` also reports which images it
            stretches.
        examples: the labeled images.
        classes: names by id, background first.
        trimap_widths: widths in pixels of the bands around borders to evaluate, together with boundary IoU; takes about
            40 ms for an image of 500x375 pixels. Empty computes neither.
        progress: title of a progress bar, shown on a terminal only; None shows none.
        total: number of examples, if known, for the progress bar.
        warn: whether to warn if nearly all pixels are predicted as one class, see `one_class_text`.

    Raises:
        UserError: an argument has a wrong type; there are no images or only ignored pixels; or a label is neither a
            class nor 255.
    """
    require("predict", type(predict).__name__, callable(predict), "a function of an image")
    require("examples", type(examples).__name__, not isinstance(examples, str), "Example objects")
    classes = check_class_names(checked(tuple[str, ...], classes, "classes"), "classes")
    matrices, names, stretched, widths = [], [], 0, tuple(sorted(trimap_widths))
    borders: BoundaryScores | None = None
    with progress_bar(shown=progress is not None) as bar:
        for example in bar.track(examples, total=total, description=progress or ""):
            label = example.label
            try:
                prediction = predict(example.image)
            except UserError as error:
                raise error.about(example.name) from error
            if isinstance(predict, Predictor):
                stretched += predict.stretches(example.image)
            matrices.append(confusion_matrix(label, prediction, len(classes), example.name))
            names.append(example.name)
            if widths:
                trimaps = trimap_matrices(label, prediction, len(classes), widths)
                near = BoundaryScores(widths, trimaps, boundary_counts(label, prediction, len(classes)))
                borders = borders + near if borders else near
    scores = scores_from_matrices(matrices, classes, names, stretched, borders)
    text = one_class_text(scores)
    if warn and text:
        warnings.warn(text, stacklevel=2)
    return scores


def one_class_text(scores: Scores) -> str:
    """Return a sentence if nearly all pixels were predicted as one class although the labels have others, else ""."""
    predicted = scores.matrix.sum(axis=0) / scores.matrix.sum()
    labeled = (scores.matrix.sum(axis=1) / scores.matrix.sum()).max()
    if not predicted.max() > ONE_CLASS_FRACTION >= labeled:
        return ""
    return (
        f"{predicted.max():.1%} of all pixels are predicted as {scores.classes[predicted.argmax()]!r}, but only "
        f"{labeled:.1%} have the most frequent label: the model does not separate the classes; train for "
        "more steps, or check the mask values, the number of classes and the learning rate"
    )
