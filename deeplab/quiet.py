"""Silence for native code, which writes past sys.stderr straight to the file descriptors."""

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Holds back all that is written to standard output and error, by Python and by native code.

    It is shown after all where the block raises, so that the reason of a failure is never lost. The descriptors belong
    to the whole process: no other thread should print meanwhile.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    saved = [(fd, os.dup(fd)) for fd in (1, 2)]
    with tempfile.TemporaryFile() as held:
        for fd, _ in saved:
            os.dup2(held.fileno(), fd)
        failed = True
        try:
            yield
            failed = False
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            for fd, copy in saved:
                os.dup2(copy, fd)
                os.close(copy)
            if failed:
                held.seek(0)
                os.write(2, held.read())
