"""The training loop.

Keras 3's `fit` fails under MultiWorkerMirroredStrategy, so the toolkit has its own loop, which calls Keras callbacks as
`fit` does.
"""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras

from deeplab.config import TrainingConfig
from deeplab.errors import UserError
from deeplab.training.train_step import TrainStep


class UpdateLogs(Mapping[str, float]):
    """The logs of one update, converted from tensors when they are first read.

    Reading any value waits until the device has finished the update. It raises UserError if the loss is not finite, so
    a callback that reads the logs before it saves something never saves a diverged update.
    """

    def __init__(self, config: TrainingConfig, step: int, tensors: Mapping[str, Any], first: int, since: float) -> None:
        """Hold the `tensors` of update number `step`; update `first` ended at the time `since` (perf_counter)."""
        self._config, self._step, self._tensors, self._first, self._since = config, step, tensors, first, since
        self._values: dict[str, float] = {}

    def read(self) -> dict[str, float]:
        """Return all values as floats.

        Raises:
            UserError: the loss is not finite.
        """
        if not self._values:
            self._values = {name: float(tensor) for name, tensor in self._tensors.items()}
            images = self._config.batch_size * (self._step - self._first)
            self._values["images_per_second"] = images / (time.perf_counter() - self._since)
        if not math.isfinite(self._values["loss"]):
            problem = f"the loss is {self._values['loss']} at step {self._step}"
            remedy = f"lower training.learning_rate ({self._config.learning_rate:g}), or check the data"
            raise UserError("training", problem, remedy)
        return self._values

    def __getitem__(self, name: str) -> float:
        return self.read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.read())

    def __len__(self) -> int:
        return len(self.read())


def run_loop(
    train_step: TrainStep,
    batches: Iterator[Any],
    model: keras.Model,
    config: TrainingConfig,
    callbacks: Sequence[keras.callbacks.Callback],
    start: int = 0,
    user_callbacks: Sequence[keras.callbacks.Callback] = (),
) -> int:
    """Make the updates `start` to `config.steps`, with the calls to callbacks that Keras `fit` makes.

    Returns the number of updates made in all, with those before `start`: less than `config.steps` if a callback stopped
    the training.

    A callback receives the index of the update, from 0, and `UpdateLogs` with "loss", "cross_entropy", "learning_rate"
    and "images_per_second" (the mean since the previous update at which logs are due). It stops the training with
    `model.stop_training = True`.

    If logs are due (`_logs_are_due`), they are read before the callbacks are called; otherwise after the next update
    was dispatched, so that a GPU never waits for Python between two updates. The toolkit does not know what
    `user_callbacks` do: with them, the logs of every update are read; they receive the logs as a plain dict.

    Raises:
        UserError: the loss is not finite. No callback that saves, shows or evaluates has seen that update.
    """
    all_callbacks = [*callbacks, *user_callbacks]
    for callback in all_callbacks:
        # Not keras.callbacks.CallbackList, which converts all logs of every update.
        callback.set_model(model)
        callback.set_params({"steps": config.steps, "initial_step": start})
    model.stop_training = False
    begun: list[keras.callbacks.Callback] = []
    try:
        for callback in all_callbacks:
            begun.append(callback)
            callback.on_train_begin({})
        previous: UpdateLogs | None = None
        first, since, done = start, time.perf_counter(), start
        for index in range(start, config.steps):
            done = index + 1
            for callback in all_callbacks:
                callback.on_train_batch_begin(index, {})
            tensors = train_step(next(batches))
            if previous is not None:
                previous.read()
            logs = previous = UpdateLogs(config, done, tensors, first, since)
            due = _logs_are_due(done, start, config)
            if due or user_callbacks:
                logs.read()
            for callback in callbacks:
                callback.on_train_batch_end(index, logs)
            for callback in user_callbacks:
                callback.on_train_batch_end(index, dict(logs))
            if model.stop_training:
                logs.read()
                break
            if due:
                first, since = done, time.perf_counter()
        return done
    finally:
        for callback in begun:
            callback.on_train_end({})


def _logs_are_due(done: int, start: int, config: TrainingConfig) -> bool:
    """Return whether logs are shown, or weights saved or evaluated, after `done` updates.

    The first update is included because its time contains the compilation, which the later speeds exclude.
    """
    intervals = (config.log_every, config.save_every, config.evaluate_every)
    return done in (start + 1, config.steps) or any(interval and done % interval == 0 for interval in intervals)
