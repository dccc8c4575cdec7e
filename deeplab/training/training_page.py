"""training.html: the progress of a training, in one file that needs neither a network nor a server."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
from markupsafe import Markup

from deeplab.config import TrainConfig
from deeplab.datasets.source import Example
from deeplab.files import atomic_write
from deeplab.rendering.charts import curves
from deeplab.rendering.html import image_triple, render_page
from deeplab.run_folder import LOG_FILE
from deeplab.training.csv_log import read_table
from deeplab.training.validation import VALIDATION_FILE

PAGE = "training.html"
MAX_POINTS = 150
"""Maximum number of points of a curve; each is the median of a part of the log."""
REFRESH_SECONDS = 60
"""Interval at which a browser reloads the page until the training is complete."""


class TrainingPage(keras.callbacks.Callback):
    """Writes the page after each checkpoint, after each validation and at the end of the training."""

    def __init__(
        self,
        folder: Path,
        config: TrainConfig,
        examples: Sequence[Example],
        predict: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        """Create the callback.

        Args:
            folder: the run folder.
            config: settings of the training.
            examples: validation images to show.
            predict: predicts the class ids `[h, w]` of an image `[h, w, 3]` uint8 with the current weights.
        """
        super().__init__()
        self.folder, self.config, self.examples, self.predict = folder, config, examples, predict

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Write the page if it is due."""
        done, settings = batch + 1, self.config.training
        evaluated = settings.evaluate_every is not None and done % settings.evaluate_every == 0
        if evaluated or done % settings.save_every == 0 or done == settings.steps:
            predictions = [(example, self.predict(example.image)) for example in self.examples]
            with atomic_write(self.folder / PAGE) as temporary:
                temporary.write_text(training_page(self.folder, self.config, done, predictions), encoding="utf-8")


def training_page(
    folder: Path, config: TrainConfig, done: int, predictions: Sequence[tuple[Example, np.ndarray]]
) -> str:
    """Return the page as HTML, with the curves of log.csv and validation.csv in `folder`.

    Args:
        folder: the run folder.
        config: settings of the training.
        done: number of completed updates.
        predictions: validation images with their predicted class ids `[h, w]` uint8.
    """
    steps = config.training.steps
    log, validation = read_table(folder / LOG_FILE), read_table(folder / VALIDATION_FILE)
    validated = validation.pop("step", [])
    mious = {column.removeprefix("miou_os"): values for column, values in validation.items() if values}
    lines = [
        (number, [(step, 100 * miou) for step, miou in zip(validated, values, strict=True)])
        for number, values in enumerate(mious.values(), 1)
    ]
    return render_page(
        "training.html",
        title=f"Training {folder.name}: step {done} of {steps}",
        refresh_seconds=REFRESH_SECONDS if done < steps else None,
        summary=_summary(config),
        scores=[
            f"mIoU at output stride {stride}: {values[-1]:.2%} after step {validated[-1]:.0f}"
            for stride, values in mious.items()
        ],
        names={number: f"output stride {stride}" for number, stride in enumerate(mious, 1)},
        miou_chart=curves(lines, "step", "mIoU, %"),
        charts={
            heading: _log_chart(log, column)
            for heading, column in (
                ("Loss, including weight decay", "loss"),
                ("Learning rate", "learning_rate"),
                ("Speed", "images_per_second"),
            )
            if log.get(column)
        },
        examples=[image_triple(example.name, example.image, example.label, ids) for example, ids in predictions],
    )


def thin_out(points: Sequence[tuple[float, float]], limit: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Reduce a curve to at most `limit` points, the medians of equal parts."""
    parts = np.array_split(np.array(points, np.float64).reshape(-1, 2), min(limit, max(len(points), 1)))
    return [(float(np.median(part[:, 0])), float(np.median(part[:, 1]))) for part in parts if len(part)]


def _summary(config: TrainConfig) -> str:
    model, settings = config.network, config.training
    return (
        f"{model.backbone} with head {model.head}, {model.classes} classes, on {config.data.source}; batches of "
        f"{settings.batch_size} crops of {settings.crop[0]}x{settings.crop[1]} pixels at output stride {settings.output_stride}; "
        f"{settings.optimizer} with initial learning rate {settings.learning_rate:g}."
    )


def _log_chart(log: dict[str, list[float]], column: str) -> Markup:
    points = thin_out(list(zip(log["step"], log[column], strict=True)))
    return curves([(1, points)], "step", column.replace("_", " "))
