"""The program that `mediapipe.segment` starts: a process with MediaPipe and without TensorFlow.

Usage: python mediapipe_process.py MODEL IMAGES.npy MASKS.npy

Exit codes: 0 done; 3 MediaPipe is not installed; 4 it refuses the model or the pictures. The last line of standard
error then says why.
"""

import sys

NOT_INSTALLED = 3
REFUSED = 4


def main() -> int:
    """Writes the category mask of each picture."""
    # This folder comes first on the path of a program, and mediapipe.py in it must not stand in for the package.
    del sys.path[0]
    # MediaPipe imports TensorFlow if it is there, at the cost of seconds; None makes the import fail.
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        import mediapipe
        import numpy as np
        from mediapipe.tasks.python import vision
        from mediapipe.tasks.python.core.base_options import BaseOptions
    except ImportError as e:
        print(f"{e}", file=sys.stderr)
        return NOT_INSTALLED
    model, images, masks = sys.argv[1:]
    options = vision.ImageSegmenterOptions(
        base_options=BaseOptions(model_asset_path=model), output_category_mask=True, output_confidence_masks=False
    )
    try:
        with vision.ImageSegmenter.create_from_options(options) as segmenter:
            found = [
                segmenter.segment(
                    mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(x))
                )
                for x in np.load(images)
            ]
            np.save(masks, np.stack([result.category_mask.numpy_view() for result in found]).astype(np.uint8))
    except (ValueError, RuntimeError) as e:
        print(" ".join(str(e).split()), file=sys.stderr)
        return REFUSED
    return 0


if __name__ == "__main__":
    sys.exit(main())
