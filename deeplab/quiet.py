"""Suppression of output, including that of native code, which writes to the file descriptors directly."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Suppress standard output and standard error, of Python and of native code.

    If the block raises, the suppressed output is written to standard error, so that the cause of a failure is visible.
    The file descriptors belong to the whole process: other threads must not print meanwhile.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    originals = [(fd, os.dup(fd)) for fd in (1, 2)]
    with tempfile.TemporaryFile() as output:
        for fd, _ in originals:
            os.dup2(output.fileno(), fd)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for fd, original in originals:
                os.dup2(original, fd)
                os.close(original)
            if failed:
                output.seek(0)
                os.write(2, output.read())
