"""Rows of the table: candidates, measured."""

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
from deeplab.evaluation.bootstrap import Interval, comparable, difference_interval, miou_interval
from deeplab.evaluation.candidates import Candidate
from deeplab.evaluation.confusion import Scores
from deeplab.evaluation.evaluate import evaluate
from deeplab.prediction.image_fit import Size
from deeplab.prediction.predictor import Predictor


@dataclass(frozen=True)
class Row:
    """One model at one output stride and scale setting, measured.

    Attributes:
        candidate: what was measured.
        scores: how well it did.
        interval: of the mIoU; None where no bootstrap was asked for.
        milliseconds: median time of the network for a picture, its views together, on this machine; without reading,
            fitting, and the step from scores to ids.
        multiply_adds: for a picture.
    """

    candidate: Candidate
    scores: Scores
    interval: Interval | None
    milliseconds: float
    multiply_adds: int

    @property
    def name(self) -> str:
        """Of the row."""
        return self.candidate.name

    def to_mapping(self) -> dict[str, Any]:
        """The row as JSON-ready values."""
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
    """The mIoU of row `row` less that of row `minus` (numbers from 0), on the pictures that both have."""

    row: int
    minus: int
    pictures: int
    interval: Interval

    def to_mapping(self, rows: Sequence[Row]) -> dict[str, Any]:
        """The difference as JSON-ready values."""
        return {
            "row": rows[self.row].name,
            "minus": rows[self.minus].name,
            "pictures": self.pictures,
            "miou_difference": self.interval.value,
            "interval": [self.interval.low, self.interval.high],
        }


def measure(candidate: Candidate, source: Source, config: EvaluateConfig, cost_size: Size) -> Row:
    """Measures one candidate on a source; `cost_size` is the (height, width) at which multiply-adds are counted."""
    if not candidate.single and config.multi_scale_images:
        source = limited(source, config.multi_scale_images)
    predictor, times = timed(candidate.open())
    scores = evaluate(
        predictor,
        source.examples(),
        source.classes,
        trimap_widths=config.trimap_widths,
        progress=candidate.name,
        total=source.size,
    )
    interval = miou_interval(scores, config.bootstrap_samples, config.seed) if config.bootstrap_samples else None
    return Row(candidate, scores, interval, 1000 * statistics.median(times), candidate.count(cost_size))


def timed(predictor: Predictor) -> tuple[Predictor, list[float]]:
    """The same predictor, and a list that grows by the seconds each run of its network takes."""
    times: list[float] = []

    def run(image: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        output = predictor.run(image)
        times.append(time.perf_counter() - start)
        return output

    return dataclasses.replace(predictor, run=run), times


def differences(rows: Sequence[Row], bootstrap_samples: int, seed: int) -> list[Difference]:
    """The later of every two rows less the earlier, where they share pictures; none without bootstrap_samples."""
    pairs = ((i, j) for j in range(len(rows)) for i in range(j)) if bootstrap_samples else ()
    return [
        Difference(j, i, shared, difference_interval(rows[j].scores, rows[i].scores, bootstrap_samples, seed))
        for i, j in pairs
        if (shared := comparable(rows[j].scores, rows[i].scores))
    ]
