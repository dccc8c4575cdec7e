"""Starting a runtime that apps use in a process of its own, and reading its masks."""

import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deeplab.errors import UserError
from deeplab.tflite.tflite_file import TfliteSource, open_tflite

NOT_INSTALLED = 3
"""Exit code of a program whose runtime is not installed."""

REFUSED = 4
"""Exit code of a program whose runtime refuses the model or the pictures."""


def segment_with(
    program: Path, client: str, source: TfliteSource, images: Sequence[np.ndarray], timeout: float
) -> list[np.ndarray]:
    """Segments pictures with `python PROGRAM MODEL IMAGES.npy MASKS.npy`.

    Args:
        program: a file that ends with 0, `NOT_INSTALLED` or `REFUSED`; the last line of its standard error says why.
        client: what messages call the runtime.
        source: path of the .tflite file, or its bytes.
        images: `[h, w, 3]` uint8 RGB each, all of one size.
        timeout: seconds for all of them together.

    Returns:
        Category masks `[h', w']` uint8.

    Raises:
        UserError: the runtime refuses the model, or dies of it; the message is its own.
        ImportError: the runtime is not installed.
    """
    file = open_tflite(source)
    name, content = file.name, file.content
    with tempfile.TemporaryDirectory() as folder:
        model, pictures, masks = (Path(folder) / n for n in ("model.tflite", "images.npy", "masks.npy"))
        model.write_bytes(content)
        np.save(pictures, np.stack(images))
        command = [sys.executable, str(program), str(model), str(pictures), str(masks)]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout, cwd=folder, check=False)
        except subprocess.TimeoutExpired as e:
            raise UserError(name, f"{client} gave no answer in {timeout:.0f} s", "try a smaller model") from e
        if done.returncode == 0:
            return list(np.load(masks))
    lines = done.stderr.strip().splitlines()
    reason = lines[-1] if lines else ""
    if done.returncode == NOT_INSTALLED:
        raise ImportError(f"{client} is not installed: {reason}")
    if done.returncode == REFUSED:
        raise UserError(name, f"{client} refuses it: {reason}", "check its metadata, inputs and outputs")
    # A signal leaves no reason behind: the last line is what it printed before.
    end = f"died of signal {-done.returncode}" if done.returncode < 0 else f"failed: {reason}"
    raise UserError(name, f"{client} {end}", "check its metadata, inputs and outputs")
