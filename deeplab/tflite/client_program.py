"""The program that `clients` starts: segments images with one client, in a process without TensorFlow.

Usage: python client_program.py task_library|mediapipe MODEL IMAGES.npy MASKS.npy. It imports neither this package,
TensorFlow nor Keras: one process cannot load the native modules of both tflite-support and TensorFlow.
"""

import ctypes
import sys
import types
from typing import Any

NOT_INSTALLED, REJECTED = 3, 4
"""Exit codes: the client or a library that it needs is not installed; the client rejects the model or the images. The
last line of standard error is the reason."""


def main() -> int:
    """Write the category mask of each image; return the exit code."""
    client, model, images_path, masks_path = sys.argv[1:]
    # Python puts a program's folder first in the search path. Its modules must not hide installed packages.
    del sys.path[0]
    # Both clients import TensorFlow if it is installed: MediaPipe then starts seconds later, and tflite-support
    # fails. None as a module makes the import raise ImportError, as if TensorFlow were not installed.
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        import numpy as np

        segment = _mediapipe if client == "mediapipe" else _task_library
        masks = segment(model, np.ascontiguousarray(np.load(images_path)))
        np.save(masks_path, np.stack(masks).astype(np.uint8))
    except (ImportError, OSError) as error:
        if not isinstance(error, ImportError) and "shared object" not in str(error):
            raise
        # An OSError about a shared object: a system library is missing, for example libEGL.so.1.
        print(error, file=sys.stderr)
        return NOT_INSTALLED
    except (ValueError, RuntimeError) as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return REJECTED
    return 0


def _task_library(model: str, images: Any) -> list[Any]:
    """Return the category masks of the Task Library for images `[n, h, w, 3]` uint8."""
    import libusb_package
    import numpy as np

    # The native module needs libusb; loading it here makes a system package unnecessary.
    ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
    from tflite_support.task import core, processor, vision

    category_mask = processor.SegmentationOptions(output_type=processor.OutputType.CATEGORY_MASK)
    options = vision.ImageSegmenterOptions(core.BaseOptions(file_name=model), category_mask)
    segmenter = vision.ImageSegmenter.create_from_options(options)
    results = [segmenter.segment(vision.TensorImage.create_from_array(image)) for image in images]
    return [np.array(result.segmentations[0].category_mask) for result in results]


def _mediapipe(model: str, images: Any) -> list[Any]:
    """Return the category masks of MediaPipe for images `[n, h, w, 3]` uint8."""
    import numpy as np

    try:
        import cv2  # noqa: F401
    except ImportError:
        # MediaPipe imports OpenCV for drawing only. OpenCV needs system libraries that a bare machine lacks.
        sys.modules["cv2"] = types.ModuleType("cv2")
    import mediapipe
    from mediapipe.tasks.python import vision
    from mediapipe.tasks.python.core.base_options import BaseOptions

    options = vision.ImageSegmenterOptions(
        base_options=BaseOptions(model_asset_path=model), output_category_mask=True, output_confidence_masks=False
    )
    with vision.ImageSegmenter.create_from_options(options) as segmenter:
        inputs = [mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=image) for image in images]
        # Copied at once, because the result owns the memory of the view. MediaPipe 1.x returns [h, w, 1], 0.10 [h, w].
        masks = [np.array(segmenter.segment(image).category_mask.numpy_view()) for image in inputs]
        return [mask.reshape(mask.shape[:2]) for mask in masks]


if __name__ == "__main__":
    sys.exit(main())
