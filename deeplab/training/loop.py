"""The training loop.

It is ours because Keras 3's `fit` fails under MultiWorkerMirroredStrategy. Keras callbacks hang around it as around
`fit`.
"""

import math
import time
from collections.abc import Iterator, Sequence
from typing import Any

import keras

from deeplab.config import TrainingConfig
from deeplab.errors import UserError
from deeplab.training.train_step import Step


def run_loop(
    step: Step,
    batches: Iterator[Any],
    model: keras.Model,
    config: TrainingConfig,
    callbacks: Sequence[keras.callbacks.Callback],
    start: int = 0,
) -> None:
    """Makes the updates `start` to `config.steps`, telling `callbacks` of each as Keras `fit` would.

    A callback gets the number of the update, from 0, and "loss", "cross_entropy", "learning_rate" and
    "images_per_second"; it ends the training early by `model.stop_training = True`.

    Raises:
        UserError: the loss is no longer finite. No callback has seen that update, so nothing of it was saved.
    """
    told = keras.callbacks.CallbackList(list(callbacks), model=model, steps=config.steps, initial_step=start)
    model.stop_training = False
    told.on_train_begin()
    try:
        for number in range(start, config.steps):
            begin = time.perf_counter()
            told.on_train_batch_begin(number)
            logs = {name: float(value) for name, value in step(next(batches)).items()}
            if not math.isfinite(logs["loss"]):
                raise UserError(
                    "training",
                    f"the loss is {logs['loss']} at step {number + 1}",
                    f"lower training.learning_rate ({config.learning_rate:g}), or look at the data",
                )
            logs["images_per_second"] = config.batch_size / (time.perf_counter() - begin)
            told.on_train_batch_end(number, logs)
            if model.stop_training:
                break
    finally:
        told.on_train_end()
