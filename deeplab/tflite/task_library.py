"""The Task Library's ImageSegmenter, as apps use it, in a process of its own."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deeplab.errors import UserError
from deeplab.tflite.flatbuffer import read_file
from deeplab.tflite.task_library_process import NOT_INSTALLED, REFUSED


def segment(source: str | Path | bytes, images: Sequence[np.ndarray], timeout: float = 300.0) -> list[np.ndarray]:
    """Segments pictures with the Task Library.

    It stretches each picture to the model's input without keeping the aspect ratio, and marks a pixel with the class
    of the highest score above 0.0, or class 0 if there is none.

    Args:
        source: path of the .tflite file, or its bytes.
        images: `[h, w, 3]` uint8 RGB each, all of one size.
        timeout: seconds for all of them together.

    Returns:
        Category masks `[h', w']` uint8 at the size of the model's output.

    Raises:
        UserError: the Task Library refuses the model, or dies of it; the message is its own.
        ImportError: the Task Library is not installed.
    """
    name, content = read_file(source)
    with tempfile.TemporaryDirectory() as folder:
        model, pictures, masks = (Path(folder) / n for n in ("model.tflite", "images.npy", "masks.npy"))
        model.write_bytes(content)
        np.save(pictures, np.stack(images))
        program = Path(__file__).with_name("task_library_process.py")
        command = [sys.executable, str(program), str(model), str(pictures), str(masks)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=folder, check=False)
        except subprocess.TimeoutExpired as e:
            raise UserError(name, f"the Task Library gave no answer in {timeout:.0f} s", "try a smaller model") from e
        if done.returncode == 0:
            return list(np.load(masks))
    lines = done.stderr.strip().splitlines()
    reason = lines[-1] if lines else ""
    if done.returncode == NOT_INSTALLED:
        raise ImportError(f"the Task Library is not installed: {reason}")
    if done.returncode == REFUSED:
        raise UserError(name, f"the Task Library refuses it: {reason}", "check its metadata, inputs and outputs")
    raise UserError(name, f"the Task Library died with exit code {done.returncode}: {reason}", "report this model")
