"""training.html: the progress and the result of a training, in one file that needs neither a network nor a server."""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import keras
import numpy as np
from markupsafe import Markup

from deeplab.config import TrainConfig
from deeplab.datasets.source import Example
from deeplab.evaluation.confusion import class_counts, iou_of_labeled
from deeplab.evaluation.scores import Scores, is_weak
from deeplab.files import atomic_write
from deeplab.rendering.charts import curves, sparkline
from deeplab.rendering.html import image_triple, render_page
from deeplab.run_folder import LOG_FILE
from deeplab.training.csv_log import read_table
from deeplab.training.forecast import Forecast, duration
from deeplab.training.notices import notices
from deeplab.training.validation_table import ValidationTable, read_validations

PAGE = "training.html"
MAX_POINTS = 150
"""Maximum number of points of a curve; each is the median of a part of the log."""
REFRESH_SECONDS = 60
"""Interval at which a browser reloads the page until the training is complete."""

Predictions = Sequence[tuple[Example, np.ndarray]]
"""Validation images with their predicted class ids `[h, w]` uint8."""


class TrainingPage(keras.callbacks.Callback):
    """Writes the page after each checkpoint, each validation of an update, and at the end of the training."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        examples: Sequence[Example],
        predict: Callable[[np.ndarray], np.ndarray],
        forecast: Forecast,
        subset: str = "",
    ) -> None:
        """Create the callback.

        Args:
            folder: the run folder.
            config: settings of the training.
            examples: validation images to show.
            predict: predicts the class ids `[h, w]` of an image `[h, w, 3]` uint8 with the current weights.
            forecast: forecasts the time left.
            subset: which images validations use, if not all, see `deeplab.training.notices.subset_text`.
        """
        super().__init__()
        self.folder, self.config, self.examples, self.predict = folder, config, examples, predict
        self.forecast, self.subset = forecast, subset

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Write the page if it is due."""
        done, settings = batch + 1, self.config.training
        evaluated = settings.evaluate_every is not None and done % settings.evaluate_every == 0
        complete = done == settings.steps or self.model.stop_training
        if evaluated or complete or done % settings.save_every == 0:
            predictions = [(example, self.predict(example.image)) for example in self.examples]
            left = None if complete else self.forecast.seconds_left()
            state = {"complete": complete, "seconds_left": left, "subset": self.subset}
            write_page(self.folder, self.config, done, predictions, **state)


def write_page(folder: Path, config: TrainConfig, done: int, predictions: Predictions, **state: Any) -> None:
    """Write `training_page` into the run folder."""
    with atomic_write(folder / PAGE) as temporary:
        temporary.write_text(training_page(folder, config, done, predictions, **state), encoding="utf-8")


def training_page(
    folder: Path,
    config: TrainConfig,
    done: int,
    predictions: Predictions,
    *,
    complete: bool = False,
    seconds_left: float | None = None,
    scores: Mapping[int, Scores] | None = None,
    subset: str = "",
) -> str:
    """Return the page as HTML, with the curves of log.csv and validation.csv in `folder`.

    Args:
        folder: the run folder.
        config: settings of the training.
        done: number of completed updates.
        predictions: validation images to show.
        complete: whether no update is left.
        seconds_left: forecast of the time left; None if unknown.
        scores: scores of the final weights by output stride; None before the end.
        subset: which images validations use, if not all, see `deeplab.training.notices.subset_text`.
    """
    log, validations = read_table(folder / LOG_FILE), read_validations(folder, end=done)
    lines = [
        (number, [(float(step), 100 * miou) for step, miou in zip(validations.steps, values, strict=True)])
        for number, values in enumerate(validations.mious.values(), 1)
    ]
    classes, distills = _class_rows(validations, scores, done), "distillation" in log
    return render_page(
        "training.html",
        title=f"{folder.name}: {'complete' if complete else f'step {done:,} of {config.training.steps:,}'}",
        refresh_seconds=None if complete else REFRESH_SECONDS,
        state=_state(config, done, complete, seconds_left, datetime.now()),
        progress=100 * done / config.training.steps,
        summary=_summary(config),
        tiles=_tiles(config, validations, log, scores, seconds_left, subset),
        notices=list(notices(read_validations(folder, 1, done), log, config.training).values()),
        names={number: f"output stride {stride}" for number, stride in enumerate(validations.mious, 1)},
        miou_chart=curves(lines, "step", "mIoU, %") if validations.steps else None,
        stride=config.output_stride[0],
        classes=[row for row in classes if row["now"] is not None],
        unlabeled=[row["name"] for row in classes if row["now"] is None],
        charts={
            heading: _log_chart(log, column, unit)
            for heading, column, unit in (
                (f"Loss, including weight decay{' and distillation' * distills}", "loss", "loss"),
                ("Distillation loss, without its weight", "distillation", "loss"),
                ("Learning rate", "learning_rate", "learning rate"),
                ("Speed", "images_per_second", "images per second"),
            )
            if log.get(column)
        },
        predicted="prediction of the final weights" if scores else "current prediction",
        examples=[image_triple(example.name, example.image, example.label, ids) for example, ids in predictions],
    )


def _state(config: TrainConfig, done: int, complete: bool, seconds_left: float | None, now: datetime) -> str:
    """Return where the training stands and when it will end, as a sentence."""
    settings = config.training
    if complete:
        if done >= settings.steps:
            return f"Complete after {done:,} steps."
        reason = f": {settings.patience} validations in a row without a better mIoU" if settings.patience else ""
        return f"Stopped early after {done:,} of {settings.steps:,} steps{reason}."
    if seconds_left is None:
        return f"Running, as of {now:%H:%M}."
    end = now + timedelta(seconds=seconds_left)
    day = "" if end.date() == now.date() else f"{end:%d %b} "
    return f"About {duration(seconds_left)} left, until about {day}{end:%H:%M} (as of {now:%H:%M})."


def _tiles(
    config: TrainConfig,
    validations: ValidationTable,
    log: Mapping[str, Sequence[float]],
    scores: Mapping[int, Scores] | None,
    seconds_left: float | None,
    subset: str,
) -> list[tuple[str, str, str]]:
    """Return the main figures, each as (name, value, note)."""
    tiles = []
    for stride, score in (scores or {}).items():
        tiles.append(("Result", f"{score.miou:.1%}", f"mIoU at output stride {stride}, {_images(score)}"))
    stride, best = config.output_stride[0], validations.best
    if best is not None:
        if not scores:
            now = f"mIoU at output stride {stride}, step {validations.steps[-1]:,}{subset}"
            tiles.append(("Last validation", f"{validations.deciding[-1]:.1%}", now))
        text = f"mIoU at output stride {stride}, step {validations.steps[best]:,}{subset}"
        tiles.append(("Best validation", f"{validations.deciding[best]:.1%}", text))
    if seconds_left is not None:
        tiles.append(("Time left", duration(seconds_left), "forecast with all validations"))
    if log.get("images_per_second"):
        tiles.append(("Speed", f"{np.median(log['images_per_second'][-20:]):.1f}", "images per second"))
    return tiles


def _images(scores: Scores) -> str:
    count = len(scores.names)
    return f"{count:,} image{'s' * (count != 1)}"


def _class_rows(validations: ValidationTable, scores: Mapping[int, Scores] | None, done: int) -> list[dict[str, Any]]:
    """Return name, curve and last IoU of each class; the IoU is None for classes that the labels do not contain.

    The curves end at update `done`.
    """
    ious = {name: (values, values[-1] if values else math.nan) for name, values in validations.ious.items()}
    miou = validations.deciding[-1] if validations.steps else math.nan
    if scores:
        final = next(iter(scores.values()))
        last = iou_of_labeled(class_counts(final.matrix))
        ious = {n: (validations.ious.get(n, []), float(v)) for n, v in zip(final.classes, last, strict=True)}
        miou = final.miou
    rows = []
    for name, (values, now) in ious.items():
        points = [(float(step), iou) for step, iou in zip(validations.steps, values, strict=False)]
        known = None if math.isnan(now) else f"{now:.1%}"
        curve = sparkline(points, done) if points else None
        rows.append({"name": name, "curve": curve, "now": known, "weak": is_weak(now, miou)})
    return rows


def thin_out(points: Sequence[tuple[float, float]], limit: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Reduce a curve to at most `limit` points, the medians of equal parts."""
    parts = np.array_split(np.array(points, np.float64).reshape(-1, 2), min(limit, max(len(points), 1)))
    return [(float(np.median(part[:, 0])), float(np.median(part[:, 1]))) for part in parts if len(part)]


def _summary(config: TrainConfig) -> str:
    model, settings = config.network, config.training
    return (
        f"{model.summary}, {model.classes} classes, on {config.data.source}; batches of "
        f"{settings.batch_size} crops of {settings.crop[0]}x{settings.crop[1]} pixels at output stride "
        f"{settings.output_stride}; "
        f"{settings.optimizer} with initial learning rate {settings.learning_rate:g}."
    )


def _log_chart(log: Mapping[str, Sequence[float]], column: str, unit: str) -> Markup:
    points = thin_out(list(zip(log["step"], log[column], strict=True)))
    return curves([(1, points)], "step", unit)
