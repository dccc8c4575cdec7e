"""The table of an evaluation: candidates with their scores, times and differences, for the terminal and as JSON."""

import dataclasses
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.table import Table

from deeplab.config import EvaluateConfig
from deeplab.datasets.open import limited
from deeplab.datasets.source import Source
from deeplab.evaluation.bootstrap import Interval, difference_interval, miou_interval, shared_images
from deeplab.evaluation.candidates import Candidate
from deeplab.evaluation.evaluate import evaluate
from deeplab.evaluation.scores import Scores
from deeplab.prediction.image_fit import Size
from deeplab.prediction.predictor import Predictor

COLUMNS = (
    "model", "mIoU", "95 % interval", "minus row 1", "pixel acc.", "mean acc.", "fw. IoU", "MAdds", "ms", "size",
)  # fmt: skip
_DROPPED_FIRST = [COLUMNS.index(name) for name in ("fw. IoU", "mean acc.", "size", "pixel acc.", "minus row 1")]


@dataclass(frozen=True)
class Row:
    """An evaluated candidate.

    Attributes:
        candidate: the model, its output stride and its scales.
        scores: on the images.
        interval: of the mIoU; None if no bootstrap was requested.
        milliseconds: median time of the network per image on this machine, over all scales and flips together. It
            excludes reading, padding or stretching, and the argmax.
        size: (height, width) of an image at which the multiply-adds are counted.
        multiply_adds: per image.
    """

    candidate: Candidate
    scores: Scores
    interval: Interval | None
    milliseconds: float
    size: Size
    multiply_adds: int

    def __repr__(self) -> str:
        """Return a short text for notebooks."""
        return f"Row(name={self.name!r}, scores={self.scores!r})"

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
            "fit": candidate.input.fit,
            "image_size": list(candidate.input.size) if candidate.input.size else None,
            **self.scores.to_mapping(),
            "miou_interval": [self.interval.low, self.interval.high] if self.interval else None,
            "milliseconds": self.milliseconds,
            "multiply_adds": self.multiply_adds,
            "bytes": candidate.file_bytes,
            "sha256": candidate.sha256,
        }


@dataclass(frozen=True)
class Difference:
    """The mIoU of row number `row` minus that of row number `minus` (from 0).

    Both are measured on the `images` images that both rows have, over the `labeled_classes` classes in their labels.
    """

    row: int
    minus: int
    images: int
    labeled_classes: int
    interval: Interval

    def to_mapping(self, rows: Sequence[Row]) -> dict[str, Any]:
        """Return the difference as JSON-ready values."""
        return {
            "row": rows[self.row].name,
            "minus": rows[self.minus].name,
            "images": self.images,
            "labeled_classes": self.labeled_classes,
            "miou_difference": self.interval.value,
            "interval": [self.interval.low, self.interval.high],
        }


def measure(candidate: Candidate, source: Source, config: EvaluateConfig, size: Size) -> Row:
    """Evaluate a candidate on a source; its multiply-adds are counted at `size`, (height, width)."""
    if not candidate.single_scale and config.multi_scale_images:
        source = limited(source, config.multi_scale_images)
    predictor, seconds = timed(candidate.make_predictor())
    examples, classes, widths = source.examples(), source.classes, config.trimap_widths
    scores = evaluate(predictor, examples, classes, trimap_widths=widths, progress=candidate.name, total=source.size)
    interval = miou_interval(scores, config.bootstrap_samples, config.seed) if config.bootstrap_samples else None
    milliseconds = 1000 * statistics.median(seconds)
    return Row(candidate, scores, interval, milliseconds, size, candidate.multiply_adds(size))


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
    result = []
    for i, j in pairs:
        first, second = rows[j].scores, rows[i].scores
        if shared := shared_images(first, second):
            labeled = int(np.count_nonzero(first.counts[:shared, 1].sum(axis=0)))
            interval = difference_interval(first, second, bootstrap_samples, seed)
            result.append(Difference(j, i, shared, labeled, interval))
    return result


def cells(rows: Sequence[Row], differences: Sequence[Difference]) -> list[tuple[str, ...]]:
    """Return the text of the table: for each row one text per column of `COLUMNS`."""
    to_first = {difference.row: difference for difference in differences if difference.minus == 0}
    return [
        (
            row.name,
            percent(row.scores.miou),
            f"{percent(row.interval.low)}–{percent(row.interval.high)}" if row.interval else "",
            difference_text(to_first[i].interval) if i in to_first else "",
            percent(row.scores.pixel_accuracy),
            percent(row.scores.mean_accuracy),
            percent(row.scores.frequency_weighted_iou),
            amount(row.multiply_adds),
            f"{row.milliseconds:.1f}",
            f"{row.candidate.file_bytes / 1e6:.2f} MB",
        )
        for i, row in enumerate(rows)
    ]


def terminal_table(title: str, rows: Sequence[Row], differences: Sequence[Difference], width: int) -> Table:
    """Return the table for a terminal of `width` characters, without empty columns and those that do not fit."""
    text = cells(rows, differences)
    shown = [i for i in range(len(COLUMNS)) if any(line[i] for line in text)]
    widths = {i: max(len(COLUMNS[i]), *(len(line[i]) for line in text)) + 3 for i in shown}
    for dropped in _DROPPED_FIRST:
        if sum(widths[i] for i in shown) >= width and dropped in shown:
            shown.remove(dropped)
    table = Table(title=title, title_justify="left")
    for i in shown:
        table.add_column(COLUMNS[i], justify="right" if i else "left", overflow="fold", no_wrap=i > 0)
    for line in text:
        table.add_row(*(line[i] for i in shown))
    return table


def notes(rows: Sequence[Row], differences: Sequence[Difference]) -> list[str]:
    """Return the explanations below the table, one sentence each."""
    sizes = " or ".join(dict.fromkeys(f"{row.size[0]}x{row.size[1]}" for row in rows))
    sentences = [
        f"MAdds: multiply-adds for an image of {sizes} pixels (for a .tflite file: of its input size)",
        "ms: median network time per image on this machine under its load at the time, all scales and flips together",
    ]
    for row in rows:
        if row.candidate.input.fit in ("letterbox", "stretch"):
            sentences.append(f"{row.name}: images were {row.candidate.input}, and masks returned to the original size")
        elif row.scores.stretched:
            sentences.append(
                f"{row.name}: {row.scores.stretched} of {len(row.scores.names)} images were larger than the model's "
                "input and were stretched to it"
            )
    counts = [len(row.scores.names) for row in rows]
    for count in sorted(set(counts) - {max(counts)}):
        names = ", ".join(row.name for row in rows if len(row.scores.names) == count)
        sentences.append(
            f"evaluated on the first {count} of {max(counts)} images: {names}; differences to other rows use these only"
        )
    classes = len(rows[0].scores.classes)
    labeled = sorted({difference.labeled_classes for difference in differences} - {classes})
    if labeled:
        counted = f"{' or '.join(map(str, labeled))} of {classes}"
        sentences.append(
            f"differences are over the classes in the labels ({counted}); mIoU also includes a class that is only "
            "predicted, with IoU 0"
        )
    return sentences


def to_mapping(data: str, rows: Sequence[Row], differences: Sequence[Difference]) -> dict[str, Any]:
    """Return the content of evaluation.json as JSON-ready values; `size` is that of the first row."""
    return {
        "data": data,
        "size": list(rows[0].size),
        "rows": [row.to_mapping() for row in rows],
        "differences": [difference.to_mapping(rows) for difference in differences],
    }


def percent(fraction: float) -> str:
    """Format 0.7269 as "72.69", in percent as in the papers."""
    return f"{100 * fraction:.2f}"


def difference_text(difference: Interval) -> str:
    """Format a difference and its interval in points: "+0.45 [-0.02, +0.91]"."""
    value, low, high = (100 * x for x in (difference.value, difference.low, difference.high))
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]"


def amount(count: float) -> str:
    """Format 2750000000 as "2.75B"."""
    for unit, letter in ((1e9, "B"), (1e6, "M"), (1e3, "K")):
        if count >= unit:
            return f"{count / unit:.2f}{letter}"
    return f"{count:.0f}"
