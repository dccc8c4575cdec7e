"""Ends a training whose validation mIoU no longer rises."""

from pathlib import Path
from typing import Any

import keras

from deeplab.config import TrainingConfig
from deeplab.training.distribution import Workers, broadcast_value
from deeplab.training.validation_table import read_validations


class EarlyStopping(keras.callbacks.Callback):
    """Stops all workers after `training.patience` validations in a row without a better mIoU.

    The validation of the initial weights (step 0) does not count: the first updates may lower the mIoU.
    validation.csv is the only state: its rows up to a checkpoint decide in the same way when the training resumes.
    """

    def __init__(self, folder: Path, settings: TrainingConfig, workers: Workers) -> None:
        super().__init__()
        self.folder, self.settings, self.workers = folder, settings, workers

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Stop if the validation of this update was the last one to wait for; it must have been recorded before."""
        done, every = batch + 1, self.settings.evaluate_every
        if every is not None and done % every == 0 and self.has_stopped(done):
            self.model.stop_training = True

    def has_stopped(self, done: int) -> bool:
        """Return whether the training ends after `done` updates. Every worker must call this."""
        patience = self.settings.patience
        if patience is None:
            return False
        exhausted = self.workers.is_chief and read_validations(self.folder, 1, done).since_best >= patience
        return bool(broadcast_value(self.workers, exhausted))
