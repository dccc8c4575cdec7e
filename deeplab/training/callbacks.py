"""Callbacks that record a training: state checkpoints, log.csv, TensorBoard, the progress bar.

They read the logs of an update only if they show them: reading waits until the device has finished the update.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from deeplab.datasets.source import Example
from deeplab.rendering.masks import overlay
from deeplab.training.csv_log import append_row, start_table
from deeplab.training.forecast import Forecast, duration

COLUMNS = ("step", "loss", "cross_entropy", "learning_rate", "images_per_second")
"""Columns of log.csv; a training with a teacher has `DISTILLATION` too, at the end."""

DISTILLATION = "distillation"


class SaveCheckpoints(keras.callbacks.Callback):
    """Calls `save` with the number of updates made: every `every` updates, and after the last one.

    An update at which a callback before this one stops the training is the last one.
    """

    def __init__(self, save: Callable[[int], Any], every: int, steps: int) -> None:
        super().__init__()
        self.save, self.every, self.steps = save, every, steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Save if due."""
        done = batch + 1
        if done % self.every == 0 or done == self.steps or getattr(self.model, "stop_training", False):
            self.save(done)


class CsvLog(keras.callbacks.Callback):
    """Adds a row to log.csv every `every` updates; rows after step `start` of an interrupted run are removed."""

    def __init__(self, path: Path, every: int, start: int, columns: Sequence[str] = COLUMNS) -> None:
        super().__init__()
        self.path, self.every, self.columns = path, every, columns
        start_table(path, columns, start)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Write a row if due."""
        if (batch + 1) % self.every == 0:
            append_row(self.path, [batch + 1, *(f"{logs[name]:.6g}" for name in self.columns[1:])])


class TensorBoardLog(keras.callbacks.Callback):
    """Writes scalars every `every` updates, and predictions of validation images every `images_every` updates."""

    def __init__(
        self,
        folder: Path,
        every: int,
        images_every: int,
        examples: Sequence[Example],
        predict: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder))
        self.every, self.images_every, self.examples, self.predict = every, images_every, examples, predict

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Write what is due."""
        done = batch + 1
        with self.writer.as_default(step=done):
            if done % self.every == 0:
                for name in (*COLUMNS[1:], DISTILLATION):
                    if name in logs:
                        tf.summary.scalar(f"training/{name}", logs[name])
            if done % self.images_every == 0:
                for number, example in enumerate(self.examples):
                    # Image, label and prediction next to each other, `[1, h, 3w, 3]`.
                    masks = [overlay(example.image, ids) for ids in (example.label, self.predict(example.image))]
                    panel = np.concatenate([example.image, *masks], axis=1)
                    tf.summary.image(f"validation/{number}", panel[None])

    def write_validation(self, done: int, mious: dict[int, float]) -> None:
        """Write the mIoU at each output stride after `done` updates."""
        with self.writer.as_default(step=done):
            for stride, miou in mious.items():
                tf.summary.scalar(f"validation/miou_os{stride}", miou)

    def on_train_end(self, logs: Any = None) -> None:
        """Flush and close the file."""
        self.writer.close()


class ProgressBar(keras.callbacks.Callback):
    """Shows step, loss, images per second and remaining time: a bar in a terminal, else a line every `every` updates.

    The loss and the speed in the bar change every `every` updates too.
    """

    def __init__(self, steps: int, start: int, every: int, forecast: Forecast, subset: str = "") -> None:
        """Create the callback.

        Args:
            steps: number of updates of the training.
            start: number of updates made before.
            every: interval of the logs in updates.
            forecast: forecasts the time left.
            subset: which images validations use, if not all, see `deeplab.training.notices.subset_text`.
        """
        super().__init__()
        self.steps, self.every, self.forecast, self.subset = steps, every, forecast, subset
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        # Not rich's detection of a terminal, which also accepts environment variables that request colors.
        self.live = sys.stdout.isatty()
        console = Console(file=sys.stdout)
        self.bar = Progress(*columns, console=console, transient=True)
        self.task = self.bar.add_task("", total=steps, completed=start)

    def on_train_begin(self, logs: Any = None) -> None:
        """Show the bar."""
        if self.live:
            self.bar.start()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Advance the bar, and show the logs if due."""
        done = batch + 1
        self.bar.update(self.task, completed=done)
        if done % self.every == 0 or done == self.steps:
            text = f"loss {logs['loss']:.3f}  {logs['images_per_second']:.1f} images/s"
            left = self.forecast.seconds_left()
            if left is not None and done < self.steps:
                text += f"  about {duration(left)} left"
            self.bar.update(self.task, description=text)
            if not self.live:
                print(f"step {done}/{self.steps}  {text}", flush=True)

    def show_validation(self, done: int, mious: dict[int, float]) -> None:
        """Show the mIoU at each output stride after `done` updates."""
        values = "  ".join(f"OS{stride} {miou:.2%}" for stride, miou in mious.items())
        line = f"step {done}/{self.steps}  validation mIoU {values}{self.subset}"
        if self.live:
            self.bar.console.print(line, highlight=False)
        else:
            print(line, flush=True)

    def on_train_end(self, logs: Any = None) -> None:
        """Remove the bar."""
        if self.live:
            self.bar.stop()
