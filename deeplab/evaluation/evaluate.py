"""One evaluation for Keras models and .tflite files."""

import dataclasses
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deeplab.datasets.source import Example
from deeplab.evaluation.boundary import Borders, borders_of
from deeplab.evaluation.confusion import Scores, confusion_matrix, scores_of
from deeplab.prediction.predictor import Predictor

ONE_CLASS_SHARE = 0.99
"""Beyond this share of all predicted pixels in one class a warning is due."""


def evaluate(
    predict: Predictor | Callable[[np.ndarray], np.ndarray],
    examples: Iterable[Example],
    classes: Sequence[str],
    *,
    trimap_widths: Sequence[int] = (),
    progress: str | None = None,
    total: int | None = None,
) -> Scores:
    """Measures a model on labeled pictures.

    Pictures are predicted one by one and their counts added up as integers, so neither a batch size nor the order of
    the pictures has a part in the result. Shares of a set measured on several machines add up with `+`.

    Args:
        predict: turns a picture `[h, w, 3]` uint8 RGB into class ids `[h, w]`; a `Predictor` also says which pictures
            it has to rescale.
        examples: the labeled pictures.
        classes: names by id, background first.
        trimap_widths: widths in pixels of bands around borders to measure in as well, with the boundary IoU; costs some 40 ms
            a picture of 500x375 pixels.
        progress: title of a progress bar; None shows none, and neither does anything but a terminal.
        total: number of examples, for the bar, where it is known.

    Raises:
        UserError: no picture, nothing but ignored pixels, a label that is neither a class nor 255.
    """
    matrices, names, resized, widths = [], [], 0, sorted(trimap_widths)
    borders: Borders | None = None
    for example in _shown(examples, progress, total):
        prediction = predict(example.image)
        if isinstance(predict, Predictor):
            resized += predict.rescales(example.image)
        matrices.append(confusion_matrix(example.label, prediction, len(classes), example.name))
        names.append(example.name)
        if widths:
            near = borders_of(example.label, prediction, len(classes), widths)
            borders = borders + near if borders else near
    scores = dataclasses.replace(scores_of(matrices, classes, names, resized), borders=borders)
    warn_if_one_class(scores)
    return scores


def warn_if_one_class(scores: Scores) -> None:
    """Warns where nearly all pixels were given one class though the truth has others (the "all black" masks)."""
    name, share = scores.dominant
    true_share = scores.matrix.sum(axis=1).max() / scores.matrix.sum()
    if share > ONE_CLASS_SHARE and true_share <= ONE_CLASS_SHARE:
        warnings.warn(
            f"{share:.1%} of all predicted pixels are {name!r}, against {true_share:.1%} for the largest class of the "
            "masks: the model tells nothing apart; look at the masks' ids, the class count, the learning rate",
            stacklevel=3,
        )


def _shown(examples: Iterable[Example], title: str | None, total: int | None) -> Iterator[Example]:
    """The same examples, with a progress bar if `title` is given."""
    if title is None or not Console(stderr=True).is_terminal:
        yield from examples
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield from bar.track(examples, total=total, description=title)
