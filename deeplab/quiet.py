"""Suppression of output, including that of native code, which writes to the file descriptors directly."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from deeplab.errors import UserError


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress standard output and standard error, of Python and of native code.

    If the block fails, the suppressed output is written to standard error, so that the cause is visible; a UserError
    and Ctrl-C state it themselves.
    The file descriptors belong to the whole process: other threads must not print meanwhile.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    originals = [(fd, os.dup(fd)) for fd in (1, 2)]
    with _storage() as output:
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
            for fd, original in originals:
                os.dup2(original, fd)
                os.close(original)
            if failed and output.readable():
                output.seek(0)
                os.write(2, output.read())


def _storage() -> IO[bytes]:
    """Return a temporary file, or the null device, whose content is lost, if the system has no place for one."""
    try:
        return tempfile.TemporaryFile()
    except OSError:
        return open(os.devnull, "wb")
