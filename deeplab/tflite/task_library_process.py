"""The program that `task_library.segment` starts: a process with the Task Library and without TensorFlow.

It must not import this package, TensorFlow or Keras: tflite-support's native module cannot live beside TensorFlow.
Usage: python task_library_process.py MODEL IMAGES.npy MASKS.npy

Exit codes: 0 done; 3 the Task Library is not installed; 4 it refuses the model or the pictures. The last line of
standard error then says why.
"""

import ctypes
import sys

NOT_INSTALLED = 3
REFUSED = 4


def main() -> int:
    """Writes the category mask of each picture."""
    # This folder comes first on the path of a program; its modules must not stand in for anybody's.
    del sys.path[0]
    # tflite-support imports TensorFlow only if it is there; None makes the import fail.
    sys.modules["tensorflow"] = None  # type: ignore[assignment]
    try:
        import libusb_package
        import numpy as np

        ctypes.CDLL(str(libusb_package.get_library_path()), mode=ctypes.RTLD_GLOBAL)
        from tflite_support.task import core, processor, vision
    except ImportError as e:
        print(f"{e}", file=sys.stderr)
        return NOT_INSTALLED
    model, images, masks = sys.argv[1:]
    try:
        options = vision.ImageSegmenterOptions(
            core.BaseOptions(file_name=model),
            processor.SegmentationOptions(output_type=processor.OutputType.CATEGORY_MASK),
        )
        segmenter = vision.ImageSegmenter.create_from_options(options)
        found = [
            np.array(segmenter.segment(vision.TensorImage.create_from_array(image)).segmentations[0].category_mask)
            for image in np.load(images)
        ]
    except (ValueError, RuntimeError) as e:
        print(" ".join(str(e).split()), file=sys.stderr)
        return REFUSED
    np.save(masks, np.stack(found).astype(np.uint8))
    return 0


if __name__ == "__main__":
    sys.exit(main())
