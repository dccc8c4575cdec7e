"""Calibration images cover the classes and span the input."""

import numpy as np
import pytest

from deeplab.conversion.calibration import choose_calibration, with_full_range
from deeplab.datasets.source import Example, Source
from deeplab.errors import UserError


def _source(size=40):
    def load(index):
        label = np.zeros((20, 30), np.uint8)
        # Class 7 is in one image only; 255 is the ignore label.
        label[0, :2] = (7 if index == 31 else index % 3, 255)
        return Example(np.full((20, 30, 3), 100 + index, np.uint8), label, f"image {index}")

    return Source("test", ("a",) * 8, size, load)


def test_the_seed_determines_the_images():
    first, again = (choose_calibration(_source(), 4, (33, 33), seed=5) for _ in range(2))
    other = choose_calibration(_source(), 4, (33, 33), seed=6)
    assert first.names == again.names
    assert first.names != other.names
    assert len(set(first.names)) == 4


def test_an_image_with_a_rare_class_is_chosen():
    chosen = choose_calibration(_source(), 10, (33, 33), seed=0)
    assert "image 31" in chosen.names
    assert chosen.classes == 4


def test_images_for_a_resnet_are_padded_with_its_mean():
    mean = (123.68, 116.779, 103.939)
    image = choose_calibration(_source(), 3, (33, 40), 0, mean).images[1]
    np.testing.assert_array_equal(image[20:], np.broadcast_to(np.float32(mean), (13, 40, 3)))


def test_images_are_padded_with_gray_and_not_augmented():
    chosen = choose_calibration(_source(), 3, (33, 40), seed=0)
    index = int(chosen.names[1].split()[1])
    image = chosen.images[1]
    assert image.shape == (33, 40, 3)
    assert (image[:20, :30] == 100 + index).all()
    assert (image[20:] == 127.5).all()
    assert (image[:, 30:] == 127.5).all()


def test_an_image_that_is_too_large_to_be_padded_is_named():
    with pytest.raises(UserError, match=r"^image \d+: 20x30 pixels exceed .* 20x29; use fit=letterbox"):
        choose_calibration(_source(), 3, (20, 29), 0, fit="pad")


def test_all_images_of_a_small_source_are_chosen():
    assert len(choose_calibration(_source(3), 16, (33, 33), seed=0).names) == 3


@pytest.mark.parametrize("value", [0, 100, 255])
def test_uniform_images_are_changed_to_span_the_input(value):
    images = (np.full((5, 5, 3), value, np.float32), np.full((5, 5, 3), 60, np.float32))
    spanned = with_full_range(images)
    for channel in range(3):
        assert spanned[0][..., channel].min() == 0
        assert spanned[0][..., channel].max() == 255
    assert np.count_nonzero(spanned[0][..., 0] != value) <= 2
    np.testing.assert_array_equal(spanned[1], images[1])
    assert (images[0] == value).all()
