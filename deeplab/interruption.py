"""The signals that end a command: SIGTERM, and SIGINT, which Ctrl-C sends."""

import signal
import sys
import threading
from typing import Any

RESEND_SECONDS = 1.0
"""Time after which a signal is sent again if the work goes on. Longer than the exception usually needs to pass."""

_current: "Interruption | None" = None


class Interruption:
    """Ends the work of the main thread with a KeyboardInterrupt when a signal arrives, and records the signal.

    The exception alone is not enough: native code turns it into another one, destructors and callbacks cannot raise
    it, and libraries catch what they do not expect. The record tells the command why its work failed, and the signal
    is sent again until the work ends.

    Attributes:
        number: the first signal that arrived, or None.
        ending: set by the command when its work has ended; signals are then only recorded.
    """

    def __init__(self) -> None:
        """Change nothing yet."""
        self.number: int | None = None
        self.ending = False
        self._handlers: dict[signal.Signals, Any] = {}
        self._hook = sys.unraisablehook
        self._arrived, self._stopped = threading.Event(), threading.Event()
        self._resending = threading.Thread(target=self._resend, name="signals", daemon=True)

    def start(self) -> None:
        """Install the handlers; Python allows this in the main thread only, and elsewhere nothing changes.

        A signal that the process was started to ignore stays ignored, as shells request for jobs in the background.
        """
        global _current
        if threading.current_thread() is not threading.main_thread():
            return
        _current = self
        # Started now: a signal handler must not wait for the locks that starting a thread takes.
        self._resending.start()
        sys.unraisablehook = self._report_unraisable
        for number in (signal.SIGTERM, signal.SIGINT):
            previous = signal.getsignal(number)
            if previous is not signal.SIG_IGN:
                self._handlers[number] = previous
                signal.signal(number, self._handle)

    def stop(self, process_ends: bool = False) -> None:
        """Restore the handlers; if the process ends, signals are ignored from now on, and so are errors of deletions.

        After a signal the process always ends.
        """
        global _current
        _current = None
        self.ending = True
        self._stopped.set()
        self._arrived.set()
        for number, handler in self._handlers.items():
            signal.signal(number, signal.SIG_IGN if process_ends or self.number is not None else handler)
        if self.number is None:
            sys.unraisablehook = self._hook

    def _handle(self, number: int, _: Any) -> None:
        if self.number is None:
            self.number = number
            self._arrived.set()
        if not self.ending:
            raise KeyboardInterrupt(self.number)

    def _resend(self) -> None:
        """Send the signal to the main thread, which may be waiting for something, until the work has ended."""
        self._arrived.wait()
        main = threading.main_thread().ident
        while not self._stopped.wait(RESEND_SECONDS) and self.number is not None and main is not None:
            signal.pthread_kill(main, self.number)

    def _report_unraisable(self, unraisable: "sys.UnraisableHookArgs") -> None:
        if self.number is None and not isinstance(unraisable.exc_value, KeyboardInterrupt):
            self._hook(unraisable)


def is_interrupted() -> bool:
    """Return whether a signal has arrived during the current command; errors are then its consequences."""
    return _current is not None and _current.number is not None
