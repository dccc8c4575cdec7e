"""The rows of the evaluation table: candidates with their scores, times and differences."""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from deeplab.config import EvaluateConfig
from deeplab.datasets.open import limited
from deeplab.datasets.source import Source
from deeplab.evaluation.bootstrap import Interval, difference_interval, miou_interval, shared_images
from deeplab.evaluation.candidates import Candidate
from deeplab.evaluation.evaluate import evaluate
from deeplab.evaluation.scores import Scores
from deeplab.prediction.image_fit import Size
from deeplab.prediction.predictor import Predictor


@dataclass(frozen=True)
class Row:
    """An evaluated candidate.

    Attributes:
        candidate: the model, its output stride and its scales.
        scores: on the images.
        interval: of the mIoU; None if no bootstrap was requested.
        milliseconds: median time of the network per image on this machine, over all scales and flips together. It
            excludes reading, padding or stretching, and the argmax.
        multiply_adds: per image.
    """

    candidate: Candidate
    scores: Scores
    interval: Interval | None
    milliseconds: float
    multiply_adds: int

    @property
    def name(self) -> str:
        """The name of the candidate."""
        return self.candidate.name

    def to_mapping(self) -> dict[str, Any]:
        """Return the row as JSON-ready values."""
        candidate = self.candidate
        return {
            "name": candidate.name,
            "run": candidate.run,
            "output_stride": candidate.output_stride,
            "scales": list(candidate.scales),
            "flip": candidate.flip,
            **self.scores.to_mapping(),
            "miou_interval": [self.interval.low, self.interval.high] if self.interval else None,
            "milliseconds": self.milliseconds,
            "multiply_adds": self.multiply_adds,
            "bytes": candidate.file_bytes,
        }


@dataclass(frozen=True)
class Difference:
    """The mIoU of row number `row` minus that of row number `minus` (from 0), on the `images` images that both have."""

    row: int
    minus: int
    images: int
    interval: Interval

    def to_mapping(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the difference as JSON-ready values."""
        return {
            "row": rows[self.row].name,
            "minus": rows[self.minus].name,
            "images": self.images,
            "miou_difference": self.interval.value,
            "interval": [self.interval.low, self.interval.high],
        }


def measure(candidate: Candidate, source: Source, config: EvaluateConfig, cost_size: Size) -> Row:
    """Evaluate a candidate on a source; its multiply-adds are counted at `cost_size`, (height, width)."""
    if not candidate.single_scale and config.multi_scale_images:
        source = limited(source, config.multi_scale_images)
    predictor, seconds = timed(candidate.make_predictor())
    scores = evaluate(
        predictor,
        source.examples(),
        source.classes,
        trimap_widths=config.trimap_widths,
        progress=candidate.name,
        total=source.size,
    )
    interval = miou_interval(scores, config.bootstrap_samples, config.seed) if config.bootstrap_samples else None
    return Row(candidate, scores, interval, 1000 * statistics.median(seconds), candidate.multiply_adds(cost_size))


def timed(predictor: Predictor) -> tuple[Predictor, list[float]]:
    """Return a predictor that measures its network, and the list to which it appends the seconds of each call."""
    seconds: list[float] = []

    def run(image: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        output = predictor.run(image)
        seconds.append(time.perf_counter() - start)
        return output

    return dataclasses.replace(predictor, run=run), seconds


def differences(rows: Sequence[Row], bootstrap_samples: int, seed: int) -> list[Difference]:
    """Return the difference of every two rows that share images; none if `bootstrap_samples` is 0."""
    pairs = ((i, j) for j in range(len(rows)) for i in range(j)) if bootstrap_samples else ()
    return [
        Difference(j, i, shared, difference_interval(rows[j].scores, rows[i].scores, bootstrap_samples, seed))
        for i, j in pairs
        if (shared := shared_images(rows[j].scores, rows[i].scores))
    ]
