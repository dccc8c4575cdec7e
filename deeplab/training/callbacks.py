"""What watches a training: saved states, log.csv, TensorBoard, the progress bar."""

import csv
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from deeplab.datasets.source import Example
from deeplab.files import atomic_write
from deeplab.rendering.masks import overlay
from deeplab.training.csv_log import kept_rows

COLUMNS = ("step", "loss", "cross_entropy", "learning_rate", "images_per_second")


def comparison(example: Example, prediction: np.ndarray) -> np.ndarray:
    """Picture, truth and prediction `[h, w]` side by side, `[h, 3w, 3]` uint8."""
    truth, found = overlay(example.image, example.label), overlay(example.image, prediction)
    return np.concatenate([example.image, truth, found], axis=1)


class SaveState(keras.callbacks.Callback):
    """Calls `save` with the number of updates made: every so many, and after the last."""

    def __init__(self, save: Callable[[int], Any], every: int, steps: int) -> None:
        super().__init__()
        self.save, self.every, self.steps = save, every, steps

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves where it is due."""
        done = batch + 1
        if done % self.every == 0 or done == self.steps:
            self.save(done)


class CsvLog(keras.callbacks.Callback):
    """Adds a line to log.csv every so many updates; lines beyond `start`, of a run that was cut off, are dropped."""

    def __init__(self, path: Path, every: int, start: int) -> None:
        super().__init__()
        self.path, self.every = path, every
        kept = kept_rows(path, COLUMNS, start)
        with atomic_write(path) as aside, aside.open("w", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *kept])

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Writes a line where it is due."""
        if (batch + 1) % self.every == 0:
            with self.path.open("a", newline="") as file:
                csv.writer(file).writerow([batch + 1, *(f"{logs[name]:.6g}" for name in COLUMNS[1:])])


class TensorBoard(keras.callbacks.Callback):
    """Scalars every `every` updates; every `pictures_every`, what the model makes of a few validation pictures."""

    def __init__(
        self,
        folder: Path,
        every: int,
        pictures_every: int,
        examples: Sequence[Example],
        predict: Callable[[np.ndarray], np.ndarray],
    ) -> None:
        super().__init__()
        self.writer = tf.summary.create_file_writer(str(folder))
        self.every, self.pictures_every, self.examples, self.predict = every, pictures_every, examples, predict

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Writes what is due."""
        done = batch + 1
        with self.writer.as_default(step=done):
            if done % self.every == 0:
                for name in COLUMNS[1:]:
                    tf.summary.scalar(f"training/{name}", logs[name])
            if done % self.pictures_every == 0:
                for number, example in enumerate(self.examples):
                    panel = comparison(example, self.predict(example.image))
                    tf.summary.image(f"validation/{number}", panel[None])

    def measured(self, done: int, mious: dict[int, float]) -> None:
        """Writes the mIoU at each output stride, measured after `done` updates."""
        with self.writer.as_default(step=done):
            for stride, miou in mious.items():
                tf.summary.scalar(f"validation/miou_os{stride}", miou)

    def on_train_end(self, logs: Any = None) -> None:
        """Writes out what is still held."""
        self.writer.close()


class ProgressBar(keras.callbacks.Callback):
    """Step, loss, images a second and time left: a bar in a terminal, else a line every so many updates."""

    def __init__(self, steps: int, start: int, every: int) -> None:
        super().__init__()
        self.steps, self.start, self.every = steps, start, every
        columns = (TextColumn("training"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        # Not rich's own idea of a terminal: an environment that asks for colors is none.
        self.live = sys.stdout.isatty()
        console = Console(file=sys.stdout)
        self.bar = Progress(*columns, TimeRemainingColumn(), console=console, transient=True)
        self.task = self.bar.add_task("", total=steps, completed=start)
        self.speeds: list[float] = []

    def on_train_begin(self, logs: Any = None) -> None:
        """Shows the bar."""
        if self.live:
            self.bar.start()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Moves on."""
        done = batch + 1
        # A median, because the first update is compiled and others wait for a checkpoint.
        self.speeds = [*self.speeds[-50:], logs["images_per_second"]]
        text = f"loss {logs['loss']:.3f}  {float(np.median(self.speeds)):.1f} images/s"
        if self.live:
            self.bar.update(self.task, completed=done, description=text)
        elif done % self.every == 0 or done == self.steps:
            print(f"step {done}/{self.steps}  {text}", flush=True)

    def measured(self, done: int, mious: dict[int, float]) -> None:
        """Says how well the network does after `done` updates."""
        found = "  ".join(f"OS{stride} {miou:.4f}" for stride, miou in mious.items())
        line = f"step {done}/{self.steps}  validation mIoU {found}"
        if self.live:
            self.bar.console.print(line, highlight=False)
        else:
            print(line, flush=True)

    def on_train_end(self, logs: Any = None) -> None:
        """Takes the bar away."""
        if self.live:
            self.bar.stop()
