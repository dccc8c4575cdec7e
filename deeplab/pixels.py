"""The pixel normalization shared by all networks: 0..255 becomes `x * 2 / 255 - 1`, in -1..1.

The published MobileNet and Xception models use it (tensorflow/models research/deeplab, core/feature_extractor.py).
The networks with another mean subtract it afterwards, see `mean_pixel`.
"""

PIXEL_SCALE = 2.0 / 255.0
"""Scale of the normalization: normalized = pixel * PIXEL_SCALE - 1."""

PIXEL_MEAN = 127.5
"""The pixel value that is normalized to zero. It pads images that are smaller than a network's input."""

PIXEL_STD = 127.5
"""The normalization in the terms of TFLite metadata: (pixel - PIXEL_MEAN) / PIXEL_STD."""

Pixel = tuple[float, float, float]
"""Red, green and blue in 0..255."""

GRAY: Pixel = (PIXEL_MEAN, PIXEL_MEAN, PIXEL_MEAN)
"""The pixel that is normalized to zero."""

IMAGENET_MEAN: Pixel = (123.68, 116.779, 103.939)
"""Mean pixel of ImageNet in 0..255: red, green, blue. keras.applications subtracts it for ResNet and VGG-16."""

_SUBTRACT_IMAGENET_MEAN = frozenset({"resnet50", "resnet101", "vgg16"})
"""The backbones whose published weights take 0..255 minus `IMAGENET_MEAN` instead of -1..1."""


def mean_pixel(backbone: str) -> Pixel:
    """Return the pixel that `backbone` maps to zero: red, green, blue in 0..255.

    Padding of this value looks like the zeros with which convolutions pad. tensorflow/models pads in the same way
    (research/deeplab, core/feature_extractor.py `mean_pixel`). Its plain ResNet was trained with another mean, which is
    (123.15, 115.90, 103.06).
    """
    return IMAGENET_MEAN if backbone in _SUBTRACT_IMAGENET_MEAN else GRAY
