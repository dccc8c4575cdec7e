"""The clients that apps use, the Task Library and MediaPipe, each run in a separate process."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deeplab.errors import UserError
from deeplab.tflite.client_program import NOT_INSTALLED, REJECTED
from deeplab.tflite.tflite_file import TfliteSource, open_tflite

TASK_LIBRARY_PYTHON = "DEEPLAB_TASK_LIBRARY_PYTHON"
"""Environment variable with the Python of an environment that has tflite-support, for Python versions without it."""

_KEPT_BYTES = 65_536
"""The end of a client's messages that is kept; a client may print without limit."""

_CLIENTS = {
    "task_library": (
        "the Task Library",
        "tflite-support needs Python 3.11: python3.11 -m venv DIR && DIR/bin/pip install tflite-support==0.4.4 "
        f"libusb-package, then set {TASK_LIBRARY_PYTHON}=DIR/bin/python",
    ),
    "mediapipe": (
        "MediaPipe",
        "pip install mediapipe; its system libraries on Debian: apt-get install libegl1 libgles2",
    ),
}
"""Name in messages and installation of each client."""


def segment_with_task_library(
    source: TfliteSource, images: Sequence[np.ndarray], timeout: float = 300.0
) -> list[np.ndarray]:
    """Segment images with the Task Library's ImageSegmenter.

    It runs in this Python environment, or in that of the Python that the environment variable
    DEEPLAB_TASK_LIBRARY_PYTHON names. It stretches each image to the model's input without keeping the aspect ratio. A
    pixel gets the class of the highest score above 0.0, or class 0 if no score is above 0.0.

    Args:
        source: the .tflite file.
        images: `[h, w, 3]` uint8 RGB each, all of one size.
        timeout: seconds for all images together.

    Returns:
        Category masks `[h', w']` uint8 at the size of the model's output.

    Raises:
        UserError: the client rejects the model, crashes or exceeds the timeout; the client's own message is included.
        ImportError: the client is not installed.
    """
    python = os.environ.get(TASK_LIBRARY_PYTHON) or sys.executable
    return _segment("task_library", python, source, images, timeout)


def segment_with_mediapipe(
    source: TfliteSource, images: Sequence[np.ndarray], timeout: float = 300.0
) -> list[np.ndarray]:
    """Segment images with MediaPipe's ImageSegmenter.

    It stretches each image to the model's input, applies the activation of the metadata, and resizes the scores to the
    size of the image. Arguments and errors are those of `segment_with_task_library`.

    Returns:
        Category masks `[h, w]` uint8 at the size of the images.
    """
    return _segment("mediapipe", sys.executable, source, images, timeout)


def _segment(
    client: str, python: str, source: TfliteSource, images: Sequence[np.ndarray], timeout: float
) -> list[np.ndarray]:
    """Run the program with a client in the environment of `python`."""
    file, program = open_tflite(source), Path(__file__).with_name("client_program.py")
    title, installation = _CLIENTS[client]
    remedy = "check its metadata, input and output"
    with tempfile.TemporaryDirectory() as folder:
        model_path, images_path, masks_path = (Path(folder) / n for n in ("model.tflite", "images.npy", "masks.npy"))
        model_path.write_bytes(file.content)
        np.save(images_path, np.stack(images))
        # An absolute path, because the program runs in another folder.
        command = [
            os.path.abspath(shutil.which(python) or python),
            *map(str, (program, client, model_path, images_path, masks_path)),
        ]
        try:
            returncode, errors = _run(command, folder, timeout)
        except OSError as error:
            problem = f"{python} cannot be started ({error.strerror})"
            raise UserError(TASK_LIBRARY_PYTHON, problem, "set it to a Python with tflite-support") from error
        except subprocess.TimeoutExpired as error:
            raise UserError(file.name, f"{title} did not finish in {timeout:.0f} s", "try a smaller model") from error
        if returncode == 0:
            return _read_masks(masks_path, file.name, title)
    reason = (errors.strip().splitlines() or [""])[-1]
    if returncode == NOT_INSTALLED:
        raise ImportError(f"{title} is not installed ({reason}); {installation}")
    if returncode == REJECTED:
        raise UserError(file.name, f"{title} rejects it: {reason}", remedy)
    # A process that a signal ends writes no reason: its last line was printed before.
    end = f"crashed with signal {-returncode}" if returncode < 0 else f"failed: {reason[-500:]}"
    raise UserError(file.name, f"{title} {end}", remedy)


def _run(command: Sequence[str], folder: str, timeout: float) -> tuple[int, str]:
    """Run a command; return its exit status and the end of its standard error, however much it prints.

    Raises:
        subprocess.TimeoutExpired: it did not end in time; it and all processes that it started have been killed.
    """
    tail = b""
    with subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=folder, start_new_session=True
    ) as process:
        stream = process.stderr
        assert stream is not None

        def read() -> None:
            nonlocal tail
            while chunk := os.read(stream.fileno(), _KEPT_BYTES):
                tail = (tail + chunk)[-_KEPT_BYTES:]

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        try:
            process.wait(timeout)
        finally:
            # The group of its session: a client that is a shell script would leave its programs running.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            reader.join(timeout=5)
    return process.returncode, tail.decode(errors="replace")


def _read_masks(path: Path, name: str, title: str) -> list[np.ndarray]:
    """Read the masks that a client has written; raises UserError if it wrote none."""
    try:
        return list(np.load(path))
    except (OSError, ValueError, EOFError) as error:
        raise UserError(name, f"{title} ended without masks ({error})", "check its installation") from error
