"""Stops a training after the update during which SIGTERM or Ctrl-C arrives.

Machines that can be reclaimed send SIGTERM about half a minute before they are taken away.
"""

import os
import signal
import threading
from collections.abc import Callable
from typing import Any

import keras

from deeplab.errors import InterruptedRunError


class StopOnSignal(keras.callbacks.Callback):
    """Saves and stops the training if SIGTERM or Ctrl-C arrives; a second signal ends the process.

    Attributes:
        caught: name of the signal that arrived, or "".
        step: number of updates made.
        saved: whether `save` was called.
    """

    def __init__(self, save: Callable[[int], object]) -> None:
        """Take `save`, which receives the number of updates made."""
        super().__init__()
        self.save, self.caught, self.step, self.saved = save, "", 0, False
        self._handlers: dict[signal.Signals, Any] = {}

    def on_train_begin(self, logs: Any = None) -> None:
        """Install the signal handlers; Python allows this in the main thread only. Ignored signals stay ignored."""
        if threading.current_thread() is threading.main_thread():
            heard = [s for s in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(s) is not signal.SIG_IGN]
            self._handlers = {s: signal.signal(s, self._catch) for s in heard}

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Save and stop if a signal has arrived; reading the loss raises UserError if it is not finite."""
        self.step = batch + 1
        if self.caught and logs["loss"] is not None:
            self.save(self.step)
            self.model.stop_training = self.saved = True

    def on_train_end(self, logs: Any = None) -> None:
        """Restore the previous signal handlers."""
        self._restore()

    def raise_if_stopped(self) -> None:
        """Save if a signal arrived after the last update, and raise InterruptedRunError if a signal has arrived."""
        if self.caught:
            if not self.saved:
                self.save(self.step)
            problem = f"stopped by {self.caught} after step {self.step}; a checkpoint is saved"
            number = signal.Signals[self.caught]
            raise InterruptedRunError(number, "training", problem, "run the same command again to resume")

    def _catch(self, number: int, _: Any) -> None:
        self.caught = signal.Signals(number).name
        # Not print(): the signal may have interrupted another print, which must not be entered again.
        os.write(2, f"\n{self.caught}: stopping after this step; a second signal ends the process\n".encode())
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
        self._handlers = {}
