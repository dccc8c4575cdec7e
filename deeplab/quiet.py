"""Suppression of output, including that of native code, which writes to the file descriptors directly.

TensorFlow is imported here, because its native code prints messages when it starts.
"""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import IO

from deeplab.errors import UserError
from deeplab.interruption import is_interrupted

LOG_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
"""Environment variable with the least severe messages that TensorFlow prints; 0 is all."""

_originals: list[tuple[int, int]] = []
"""Standard output and standard error while they are redirected, each with a duplicate that leads to its destination."""


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress standard output and standard error, of Python and of native code.

    If the block fails, the suppressed output is written to standard error, so that the cause is visible; a UserError
    states it itself, and after a signal the failure is a consequence.
    The file descriptors belong to the whole process: other threads must not print meanwhile.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    originals = [(fd, os.dup(fd)) for fd in (1, 2)]
    with _storage() as output:
        _originals[:] = originals
        for fd, _ in originals:
            os.dup2(output.fileno(), fd)
        failed = True
        try:
            yield
            failed = False
        except (UserError, KeyboardInterrupt):
            failed = False
            raise
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            restore_output()
            for _, original in originals:
                os.close(original)
            if failed and not is_interrupted() and output.readable():
                output.seek(0)
                os.write(2, output.read())


def load_tensorflow() -> None:
    """Import TensorFlow, unless it is imported, without its messages about missing devices and CPU features.

    `TF_CPP_MIN_LOG_LEVEL=0` or `1` in the environment keeps them. Some of them appear at every level, hence `quiet`:
    the first call redirects the file descriptors 1 and 2 of the whole process while TensorFlow loads.
    """
    open_closed_output()
    if "tensorflow" in sys.modules:
        return
    with nullcontext() if os.environ.setdefault(LOG_LEVEL, "2") in ("0", "1") else quiet():
        import tensorflow as tf

        tf.config.list_physical_devices("GPU")


def open_closed_output() -> None:
    """Lead standard output and standard error to the null device if the process was started without them (`>&-`)."""
    for fd, name in ((1, "stdout"), (2, "stderr")):
        if getattr(sys, name) is None:
            null = os.open(os.devnull, os.O_WRONLY)
            if null != fd:
                os.dup2(null, fd)
                os.close(null)
            setattr(sys, name, os.fdopen(fd, "w", encoding="utf-8", closefd=False))


def restore_output() -> None:
    """End the redirection of `quiet`, also if a signal has interrupted its own end."""
    for fd, original in _originals:
        os.dup2(original, fd)
    _originals.clear()


def _storage() -> IO[bytes]:
    """Return a temporary file, or the null device, whose content is lost, if the system has no place for one."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "wb")
