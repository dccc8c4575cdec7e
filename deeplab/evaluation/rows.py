"""Rows of the table: contenders, measured."""

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
from deeplab.evaluation.confusion import Scores
from deeplab.evaluation.contenders import Contender
from deeplab.evaluation.evaluate import evaluate
from deeplab.evaluation.fitting import Size
from deeplab.evaluation.predictor import Predictor


@dataclass(frozen=True)
class Row:
    """One model at one output stride and scale setting, measured.

    Attributes:
        contender: what was measured.
        scores: how well it did.
        interval: of the mIoU; None where no bootstrap was asked for.
        milliseconds: median time of the network for a picture, its views together, on this machine; without reading,
            fitting, and the step from scores to ids.
        multiply_adds: for a picture.
    """

    contender: Contender
    scores: Scores
    interval: Interval | None
    milliseconds: float
    multiply_adds: int

    @property
    def name(self) -> str:
        """Of the row."""
        return self.contender.name

    def to_mapping(self) -> dict[str, Any]:
        """The row as JSON-ready values."""
        contender = self.contender
        return {
            "name": contender.name,
            "run": contender.run,
            "output_stride": contender.output_stride,
            "scales": list(contender.scales),
            "flip": contender.flip,
            **self.scores.to_mapping(),
            "miou_interval": [self.interval.low, self.interval.high] if self.interval else None,
            "milliseconds": self.milliseconds,
            "multiply_adds": self.multiply_adds,
            "bytes": contender.file_bytes,
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


def measure(contender: Contender, source: Source, config: EvaluateConfig, cost_size: Size) -> Row:
    """Measures one contender on a source; `cost_size` is the (height, width) at which multiply-adds are counted."""
    if not contender.single and config.multi_scale_pictures:
        source = limited(source, config.multi_scale_pictures)
    predictor, times = timed(contender.open())
    scores = evaluate(
        predictor,
        source.examples(),
        source.classes,
        trimaps=config.trimaps,
        progress=contender.name,
        total=source.size,
    )
    interval = miou_interval(scores, config.resamples, config.seed) if config.resamples else None
    return Row(contender, scores, interval, 1000 * statistics.median(times), contender.count(cost_size))


def timed(predictor: Predictor) -> tuple[Predictor, list[float]]:
    """The same predictor, and a list that grows by the seconds each run of its network takes."""
    times: list[float] = []

    def run(image: np.ndarray) -> np.ndarray:
        start = time.perf_counter()
        output = predictor.run(image)
        times.append(time.perf_counter() - start)
        return output

    return dataclasses.replace(predictor, run=run), times


def differences(rows: Sequence[Row], resamples: int, seed: int) -> list[Difference]:
    """The later of every two rows less the earlier, where they share pictures; none without resamples."""
    pairs = ((i, j) for j in range(len(rows)) for i in range(j)) if resamples else ()
    return [
        Difference(j, i, shared, difference_interval(rows[j].scores, rows[i].scores, resamples, seed))
        for i, j in pairs
        if (shared := comparable(rows[j].scores, rows[i].scores))
    ]
