"""Keeps the confusion matrices of .tflite files, so that an interrupted or extended measurement resumes."""

import hashlib
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from deeplab.config import Fit
from deeplab.datasets.source import Source
from deeplab.errors import UserError
from deeplab.evaluation.confusion import confusion_matrix
from deeplab.evaluation.scores import Scores, scores_from_matrices
from deeplab.files import atomic_write
from deeplab.prediction.predictor import Predictor
from deeplab.rendering.console import progress_bar

SAVE_EVERY = 20
"""Number of images after which the matrices are written."""


@dataclass(frozen=True)
class Kept:
    """The matrices of the first images of a source.

    Attributes:
        matrices: confusion matrix of each image, `[images, classes, classes]` int64.
        stretched: whether each image was stretched, `[images]` bool.
        names: name of each image.
    """

    matrices: np.ndarray
    stretched: np.ndarray
    names: tuple[str, ...] = ()

    def scores(self, count: int, classes: tuple[str, ...]) -> Scores:
        """Return the scores on the first `count` images."""
        return scores_from_matrices(
            list(self.matrices[:count]), classes, self.names[:count], int(self.stretched[:count].sum())
        )


def kept_path(folder: Path, sha256: str, fit: Fit, data: str) -> Path:
    """Return the file for the matrices of a .tflite file.

    Args:
        folder: of all such files.
        sha256: of the .tflite file.
        fit: how images meet it.
        data: hash of the images and labels, see `deeplab.datasets.source.fingerprint`.
    """
    return folder / f"{hashlib.sha256(f'{sha256} {fit} {data}'.encode()).hexdigest()[:24]}.npz"


def measured_scores(
    make_predictor: Callable[[], Predictor], source: Source, count: int, path: Path, progress: str = ""
) -> tuple[Scores, int]:
    """Return the scores on the first `count` images, and how many images were evaluated for it now.

    Args:
        make_predictor: loads the model; only called if an image is missing in `path`.
        source: the labeled images.
        count: number of images, at most the size of the source.
        path: file of the matrices, which is extended.
        progress: title of the progress bar.

    Raises:
        UserError: the kept file is damaged, or the model does not have the classes of the source.
    """
    kept = read_kept(path, len(source.classes))
    first = len(kept.names)
    if first < count:
        predictor = make_predictor()
        with progress_bar() as bar:
            for i in bar.track(range(first, count), description=progress, total=count - first):
                kept = _extended(kept, predictor, source, i)
                if len(kept.names) % SAVE_EVERY == 0 or len(kept.names) == count:
                    _write(path, kept)
    return kept.scores(count, source.classes), max(count - first, 0)


def read_kept(path: Path, classes: int) -> Kept:
    """Return the kept matrices; empty if there are none. Raises UserError if the file is damaged."""
    if not path.exists():
        return Kept(np.zeros((0, classes, classes), np.int64), np.zeros(0, bool))
    try:
        with np.load(path) as arrays:
            kept = Kept(arrays["matrices"], arrays["stretched"], tuple(arrays["names"].tolist()))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(str(path), "holds no scores", "delete it; the images are then evaluated again") from error
    return kept


def _extended(kept: Kept, predictor: Predictor, source: Source, index: int) -> Kept:
    """Return the matrices with that of one more image."""
    example = source.load(index)
    try:
        prediction = predictor(example.image)
    except UserError as error:
        raise error.about(example.name) from error
    matrix = confusion_matrix(example.label, prediction, len(source.classes), example.name)
    return Kept(
        np.concatenate([kept.matrices, matrix[None]]),
        np.append(kept.stretched, predictor.stretches(example.image)),
        (*kept.names, example.name),
    )


def _write(path: Path, kept: Kept) -> None:
    with atomic_write(path, suffix=".npz") as temporary:
        np.savez_compressed(temporary, matrices=kept.matrices, stretched=kept.stretched, names=np.array(kept.names))
