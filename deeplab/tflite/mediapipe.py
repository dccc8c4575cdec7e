"""MediaPipe's ImageSegmenter, as apps use it, in a process of its own."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from deeplab.tflite.client_process import segment_with
from deeplab.tflite.tflite_file import TfliteSource


def segment(source: TfliteSource, images: Sequence[np.ndarray], timeout: float = 300.0) -> list[np.ndarray]:
    """Segments pictures with MediaPipe.

    It stretches each picture to the model's input, applies the activation that the metadata name, and resizes the
    scores back to the picture.

    Args:
        source: path of the .tflite file, or its bytes.
        images: `[h, w, 3]` uint8 RGB each, all of one size.
        timeout: seconds for all of them together.

    Returns:
        Category masks `[h, w]` uint8 at the size of the pictures.

    Raises:
        UserError: MediaPipe refuses the model, or dies of it; the message is its own.
        ImportError: MediaPipe is not installed.
    """
    return segment_with(Path(__file__).with_name("mediapipe_process.py"), "MediaPipe", source, images, timeout)
