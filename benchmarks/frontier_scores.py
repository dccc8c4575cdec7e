"""Keeps the scores of .tflite files, so that an interrupted or extended measurement resumes."""

import functools
import hashlib
import operator
import zipfile
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np

from deeplab.config import Fit
from deeplab.datasets.source import Source
from deeplab.errors import UserError
from deeplab.evaluation.evaluate import evaluate
from deeplab.evaluation.scores import Scores
from deeplab.files import atomic_write
from deeplab.prediction.predictor import Predictor
from deeplab.rendering.console import progress_bar

CHUNK = 20
"""Number of images whose scores are written together."""


def kept_folder(folder: Path, sha256: str, fit: Fit, data: str) -> Path:
    """Return the folder for the scores of a .tflite file.

    Args:
        folder: of all such folders.
        sha256: of the .tflite file.
        fit: how images meet it.
        data: hash of the images and labels, see `deeplab.datasets.source.fingerprint`.
    """
    return folder / hashlib.sha256(f"{sha256} {fit} {data}".encode()).hexdigest()[:24]


def measured_scores(
    make_predictor: Callable[[], Predictor], source: Source, count: int, folder: Path, progress: str = ""
) -> tuple[Scores, int]:
    """Return the scores on the first `count` images, and how many images were evaluated for it now.

    Args:
        make_predictor: opens the model; called only if images are to be evaluated.
        source: the labeled images.
        count: number of images, at most the size of the source.
        folder: of the kept scores, one file for each chunk of images; missing ones are added.
        progress: title of the progress bar.

    Raises:
        UserError: a kept file is damaged, or the model does not have the classes of the source.
    """
    # The last chunk includes the remainder: the scores of a single image with ignored pixels only are undefined.
    starts = range(0, max(count // CHUNK, 1) * CHUNK, CHUNK)
    chunks = list(zip(starts, (*starts[1:], count), strict=True))
    files = {chunk: folder / f"{chunk[0]}-{chunk[1]}.npz" for chunk in chunks}
    scores = {chunk: _read(file, source.classes) for chunk, file in files.items() if file.exists()}
    missing = [chunk for chunk in chunks if chunk not in scores]
    indices = [i for chunk in missing for i in range(*chunk)]
    if missing:
        predictor = make_predictor()
        with progress_bar() as bar:
            examples = map(source.load, bar.track(indices, description=progress))
            for start, stop in missing:
                found = evaluate(predictor, islice(examples, stop - start), source.classes, warn=False)
                _write(files[start, stop], found)
                scores[start, stop] = found
    return functools.reduce(operator.add, (scores[chunk] for chunk in chunks)), len(indices)


def _read(path: Path, classes: tuple[str, ...]) -> Scores:
    """Read the scores on a chunk of images; raise UserError if the file is damaged."""
    try:
        with np.load(path) as arrays:
            names, stretched = tuple(arrays["names"].tolist()), int(arrays["stretched"])
            return Scores(classes, arrays["matrix"], arrays["counts"], names, stretched)
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise UserError(str(path), "is damaged", "delete it; its images are then evaluated again") from error


def _write(path: Path, scores: Scores) -> None:
    with atomic_write(path, suffix=".npz") as temporary:
        np.savez_compressed(
            temporary,
            matrix=scores.matrix,
            counts=scores.counts,
            names=np.array(scores.names),
            stretched=np.array(scores.stretched),
        )
