"""The pixel normalization shared by all networks: 0..255 becomes `x * 2 / 255 - 1`, in -1..1.

The published MobileNet and Xception models use it (tensorflow/models research/deeplab, core/feature_extractor.py).
"""

PIXEL_SCALE = 2.0 / 255.0
"""Scale of the normalization: normalized = pixel * PIXEL_SCALE - 1."""

PIXEL_MEAN = 127.5
"""The pixel value that is normalized to zero. It pads images that are smaller than a network's input."""

PIXEL_STD = 127.5
"""The normalization in the terms of TFLite metadata: (pixel - PIXEL_MEAN) / PIXEL_STD."""

PADDING_BYTE = 128
"""The byte nearest to `PIXEL_MEAN`, for padded images that have to stay uint8."""
