"""The Task Library's ImageSegmenter, as apps use it, in a process of its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deeplab.tflite.client_process import segment_with
from deeplab.tflite.tflite_file import TfliteSource


def segment(source: TfliteSource, images: Sequence[np.ndarray], timeout: float = 300.0) -> list[np.ndarray]:
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
    program = Path(__file__).with_name("task_library_process.py")
    return segment_with(program, "the Task Library", source, images, timeout)
