"""A forecast of the time that a training still takes."""

import time
from collections.abc import Callable
from typing import Any

import keras

from deeplab.config import TrainingConfig


class Forecast(keras.callbacks.Callback):
    """Measures updates and validations, and extrapolates them to the end of the training.

    The first update is left out, because it contains the compilation. Until the first validation is measured, the
    forecast contains the updates only.
    """

    def __init__(
        self,
        settings: TrainingConfig,
        start: int = 0,
        images: int | None = None,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """Create the forecast of a training that continues after `start` updates.

        Args:
            settings: the training recipe.
            start: number of updates made before.
            images: size of the validation split, for the evaluation at the end; None if unknown.
            clock: returns the time in seconds.
        """
        super().__init__()
        self._settings, self._start, self._clock = settings, start, clock
        self._first_end = self._validating = 0.0
        self._done, self._validations = start, 0
        limit = settings.evaluate_images
        self._final_size = 1.0 if images is None or limit is None else max(1.0, images / limit)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Count an update."""
        self._done = batch + 1
        if self._done == self._start + 1:
            # The validation of the initial weights came before; later ones are subtracted.
            self._first_end = self._clock() - self._validating

    def add_validation(self, seconds: float) -> None:
        """Measure a validation during the training."""
        self._validating += seconds
        self._validations += 1

    def seconds_left(self) -> float | None:
        """Return the seconds until the end, with all validations and the evaluation at the end; None if unknown.

        Everything else between two updates, such as writing checkpoints, counts as part of an update.
        """
        measured = self._done - self._start - 1
        if measured < 1:
            return None
        steps, every = self._settings.steps, self._settings.evaluate_every
        update = (self._clock() - self._first_end - self._validating) / measured
        left = update * (steps - self._done)
        if self._validations and every is not None:
            left += self._validating / self._validations * (steps // every - self._done // every + self._final_size)
        return left


def duration(seconds: float) -> str:
    """Return a duration in the two units that matter: "40 s", "12 min", "3 h 20 min", "2 d 4 h"."""
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{max(seconds, 0):.0f} s"
    if minutes < 100:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} d {hours % 24} h"
