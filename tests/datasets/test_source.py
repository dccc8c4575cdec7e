import numpy as np
import pytest

from deeplab.datasets.source import Example, Source, checked_example
from deeplab.errors import UserError

CLASSES = ("background", "cat", "dog")


def _pair(label: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    ids = np.array(label, np.uint8)
    return np.zeros((*ids.shape, 3), np.uint8), ids


def test_labels_other_than_class_ids_and_255_are_refused():
    image, label = _pair([[0, 1], [2, 255]])
    example = checked_example(image, label, CLASSES, "folder/one.jpg", "folder/one.png")
    assert example.name == "one"
    assert example.label is label
    with pytest.raises(UserError, match=r"folder/one.png: expected labels 0\.\.2 and 255 \(ignore\), got 3; "):
        checked_example(image, np.array([[0, 3], [1, 255]], np.uint8), CLASSES, "one.jpg", "folder/one.png")
    with pytest.raises(UserError, match="got 254"):
        checked_example(image, np.array([[0, 3], [254, 255]], np.uint8), CLASSES, "one.jpg", "one.png")


def test_a_mask_with_only_ignored_pixels_is_valid():
    image, label = _pair([[255, 255]])
    assert checked_example(image, label, CLASSES, "a", "b").label.max() == 255


def test_image_and_mask_of_different_size_are_refused():
    image, label = _pair([[0, 1], [2, 255]])
    with pytest.raises(UserError, match=r"one.png: expected 2x2 pixels, the size of one.jpg, got 1x2; .*nearest"):
        checked_example(image, label[:, :1], CLASSES, "one.jpg", "one.png")


def test_examples_stop_at_the_limit():
    def load(index: int) -> Example:
        return Example(np.zeros((1, 1, 3), np.uint8), np.zeros((1, 1), np.uint8), str(index))

    of_three = Source("three", CLASSES, 3, load)
    assert [e.name for e in of_three.examples()] == ["0", "1", "2"]
    assert [e.name for e in of_three.examples(2)] == ["0", "1"]
    assert [e.name for e in of_three.examples(9)] == ["0", "1", "2"]
    with pytest.raises(ValueError, match="limit"):
        Source("all", CLASSES, None, load).examples()
