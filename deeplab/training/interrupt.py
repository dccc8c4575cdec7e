"""A training that is told to stop saves its state first: spot machines give half a minute's notice."""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import keras

from deeplab.errors import UserError


class StopOnSignal(keras.callbacks.Callback):
    """IoType the training behind the update in which SIGTERM, or Ctrl-C, came; a second one ends the process at once.

    Attributes:
        caught: name of the signal that came, or None.
        step: how many updates were made by then.
    """

    def __init__(self, save: Callable[[int], Any]) -> None:
        """`save` is called with the number of updates before the training ends."""
        super().__init__()
        self.save, self.caught, self.step = save, "", 0
        self._before: dict[signal.Signals, Any] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        """Takes the signals over, where the process allows it."""
        if threading.current_thread() is threading.main_thread():
            self._before = {s: signal.signal(s, self._catch) for s in (signal.SIGTERM, signal.SIGINT)}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Saves and stops, if told to."""
        if self.caught:
            self.step = batch + 1
            self.save(self.step)
            self.model.stop_training = True

    def on_train_end(self, logs: Any = None) -> None:
        """Gives the signals back."""
        self._release()

    def raise_if_stopped(self) -> None:
        """Says that the training is not complete.

        Raises:
            UserError: a signal ended it.
        """
        if self.caught:
            problem = f"stopped by {self.caught} after step {self.step}; its state is saved"
            raise UserError("training", problem, "the same command goes on from there")

    def _catch(self, number: int, _: Any) -> None:
        self.caught = signal.Signals(number).name
        # Not print(), which must not be entered again where the signal came within another one.
        os.write(2, f"\n{self.caught}: stopping after this step; once more ends it at once\n".encode())
        self._release()

    def _release(self) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}
