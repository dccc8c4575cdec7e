import dataclasses

import numpy as np
import pytest

from deeplab.config import DataConfig
from deeplab.datasets.resizing import resize, resized_source, size_in_range
from deeplab.datasets.shapes import shapes_source
from deeplab.errors import UserError


@pytest.mark.parametrize(
    ("size", "arguments", "expected"),
    [
        # The cases of preprocess_utils_test.py in tensorflow/models research/deeplab.
        ((60, 40), (50, 100, None), (75, 50)),
        ((15, 30), (50, 100, None), (50, 100)),
        ((15, 50), (50, 100, None), (30, 100)),
        ((60, 40), (50, 98, 8), (81, 57)),
        ((15, 30), (50, 98, 8), (49, 97)),
        ((15, 50), (50, 98, 8), (33, 97)),
        ((97, 38), (97, 97, 8), (97, 41)),
        ((3936, 5248), (1441, 1441, 16), (1089, 1441)),
        # Rounded down as in the source: 40 * 50 / 30 = 66.7.
        ((40, 30), (50, 100, None), (66, 50)),
        # ADE20K with 513, 513, 16: 512 * 513 / 683 = 384.6, rounded down and then up to 16k+1.
        ((512, 683), (513, 513, 16), (385, 513)),
    ],
)
def test_sizes_are_those_of_resize_to_range(size, arguments, expected):
    assert size_in_range(size, *arguments) == expected


def test_corners_are_aligned():
    """Four pixels of width 2 and 3 become 3 and 5: with aligned corners each new pixel is half-way."""
    image = np.repeat(np.array([[[0], [100], [200]], [[20], [120], [220]]], np.uint8), 3, 2)
    label = np.array([[1, 2, 3], [4, 5, 255]], np.uint8)
    pixels, ids = resize(image, label, (3, 5))
    assert pixels[..., 0].tolist() == [[0, 50, 100, 150, 200], [10, 60, 110, 160, 210], [20, 70, 120, 170, 220]]
    assert ids[[0, 0, 2, 2], [0, 4, 0, 4]].tolist() == [1, 3, 4, 255]


def test_a_source_is_scaled_only_if_asked():
    source = shapes_source("val")
    assert resized_source(source, DataConfig()) is source
    example = resized_source(source, DataConfig(min_resize_value=33, resize_factor=16)).load(0)
    assert example.image.shape == (33, 33, 3)
    assert example.image.dtype == example.label.dtype == np.uint8
    assert set(np.unique(example.label)) <= set(np.unique(source.load(0).label))
    with pytest.raises(UserError, match=r"data.resize_factor: expected null, unless data.min_resize_value is set"):
        dataclasses.replace(DataConfig(), resize_factor=16)
