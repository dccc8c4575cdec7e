"""Colors by the rule of the VOC devkit, worked by hand."""

import numpy as np
from PIL import Image

from deeplab.rendering.colors import color_map

# By hand, from the bits of the id: r = bits 0, 3, 6; g = bits 1, 4, 7; b = bits 2, 5; most significant first.
DEVKIT = {
    0: (0, 0, 0),
    1: (128, 0, 0),
    2: (0, 128, 0),
    3: (128, 128, 0),
    4: (0, 0, 128),
    7: (128, 128, 128),
    8: (64, 0, 0),
    15: (192, 128, 128),
    16: (0, 64, 0),
    20: (0, 64, 128),
    64: (32, 0, 0),
    255: (224, 224, 192),
}


def test_colors_are_those_of_the_devkit():
    colors = color_map()
    assert {i: tuple(colors[i].tolist()) for i in DEVKIT} == DEVKIT
    assert len({tuple(c) for c in colors.tolist()}) == 256


def test_colors_of_a_real_voc_mask(voc_root):
    path = sorted((voc_root / "VOC2012" / "SegmentationClass").glob("*.png"))[0]
    with Image.open(path) as mask:
        palette = np.reshape(mask.getpalette("RGB"), (-1, 3))
    np.testing.assert_array_equal(color_map(len(palette)), palette)
