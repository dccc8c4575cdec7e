import dataclasses

import numpy as np
import pytest

from deeplab.config import DataConfig
from deeplab.datasets.resizing import fitted_source, resize, resize_image, resize_label, resized_source, size_in_range
from deeplab.datasets.shapes import shapes_source
from deeplab.datasets.source import Example, Source
from deeplab.errors import UserError
from deeplab.prediction.image_fit import fit_image


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


def source_of(image: np.ndarray, label: np.ndarray) -> Source:
    return Source("one", ("a", "b"), 1, lambda _: Example(image, label, "one"))


@pytest.mark.parametrize(
    ("size", "resize", "target", "expected"),
    [
        ((300, 400), "letterbox", 257, (193, 257)),
        ((400, 300), "letterbox", (257, 129), (172, 129)),
        ((30, 40), "letterbox", 257, (193, 257)),
        ((300, 400), "stretch", 257, (257, 257)),
        ((300, 400), "stretch", (129, 257), (129, 257)),
    ],
)
def test_training_images_equal_those_of_prediction(size, resize, target, expected):
    image = np.random.default_rng(0).integers(0, 256, (*size, 3)).astype(np.uint8)
    config = DataConfig(source="folder", resize=resize, image_size=target)
    example = fitted_source(source_of(image, image[..., 0] % 2), config).load(0)
    assert example.image.shape[:2] == example.label.shape == expected
    model_size = (target, target) if isinstance(target, int) else target
    predicted = fit_image(image, model_size, resize).image[: expected[0], : expected[1]]
    np.testing.assert_array_equal(example.image, predicted)


def test_without_resize_the_source_is_unchanged():
    source = source_of(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8))
    assert fitted_source(source, DataConfig(source="folder")) is source


def test_labels_are_the_pixels_at_the_new_centers():
    """Of 6 columns, 3 new ones have their centers at 1, 3 and 5, the borders after columns 0, 2 and 4."""
    label = np.arange(24, dtype=np.uint8).reshape(4, 6)
    assert resize_label(label, (2, 3)).tolist() == [[7, 9, 11], [19, 21, 23]]
    assert resize_label(label[:1, :2], (1, 4)).tolist() == [[0, 0, 1, 1]]


@pytest.mark.parametrize(("old", "new"), [(4000, 257), (4000, 193), (375, 257), (100, 257), (257, 257)])
def test_edges_of_image_and_label_stay_within_half_a_pixel(old, new):
    """Left of an edge the image is black and the label 0, right of it white and 1."""
    for edge in (old // 9, old // 3, old // 2, old - old // 7):
        label = np.zeros((2, old), np.uint8)
        label[:, edge:] = 1
        image = resize_image(np.repeat(255 * label[..., None], 3, axis=2), (2, new))
        # The number of white pixels, with fractions, is the distance of the edge from the right border.
        image_edge = new - image[0, :, 0].sum() / 255
        label_edge = new - np.count_nonzero(resize_label(label, (2, new))[0])
        assert abs(image_edge - edge * new / old) <= 0.05
        assert abs(label_edge - edge * new / old) <= 0.5


def test_shrinking_averages_instead_of_picking_pixels():
    """Columns of black and white: any choice of single pixels, or of neighbors, would leave stripes."""
    stripes = np.zeros((64, 1024, 3), np.uint8)
    stripes[:, ::2] = 255
    shrunk = resize_image(stripes, (8, 120))
    assert abs(shrunk[:, 2:-2].astype(float) - 127.5).max() < 12


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"resize": "letterbox"}, "data.image_size: expected a size in pixels with data.resize=letterbox, got None"),
        ({"image_size": 65}, "data.image_size: expected null, unless data.resize is set, got 65"),
        ({"resize": "stretch", "image_size": 12}, "data.image_size: expected an integer from 33 to 1,000,000, got 12"),
        (
            {"resize": "stretch", "image_size": 65, "min_resize_value": 33},
            "data.min_resize_value: expected null with data.resize=stretch, got 33",
        ),
    ],
)
def test_contradicting_sizes_are_refused(settings, problem):
    with pytest.raises(UserError, match=problem):
        DataConfig(source="folder", **settings)
