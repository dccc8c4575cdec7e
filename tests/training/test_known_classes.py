import numpy as np
import pytest

from deeplab.training.known_classes import explained_entropy


class Predictions:
    """A model whose images are the class ids that it predicts."""

    def __init__(self, classes: int) -> None:
        self.output_shape = (None, None, None, classes)

    def __call__(self, image: np.ndarray, *, training: bool) -> np.ndarray:
        assert not training
        assert len(image) == 1
        return np.eye(self.output_shape[-1])[image]


def explained(predicted: list[int], labels: list[int], classes: int = 4) -> float | None:
    batch = np.array(predicted).reshape(1, 1, -1), np.array(labels).reshape(1, 1, -1)
    return explained_entropy(Predictions(classes), [batch])


def test_classes_of_other_names_can_explain_everything():
    assert explained([3, 2, 2, 0], [1, 0, 0, 7]) == pytest.approx(1)
    # Two predicted classes for one label are no less.
    assert explained([3, 2, 1, 0], [1, 0, 0, 7]) == pytest.approx(1)


def test_independent_classes_explain_nothing():
    assert explained([0, 0, 1, 1], [0, 1, 0, 1]) == pytest.approx(0, abs=1e-12)
    assert explained([2, 2, 2, 2], [0, 1, 0, 1]) == pytest.approx(0, abs=1e-12)


def test_the_share_is_that_of_the_mutual_information():
    """Right for 3 of 4 pixels of each class: 1 - H(3/4, 1/4) / H(1/2, 1/2) = 1 - 0.8113 = 0.1887, in bits."""
    share = explained([0, 0, 0, 1, 1, 1, 1, 0], [0, 0, 0, 0, 1, 1, 1, 1])
    assert share == pytest.approx(0.188722, abs=1e-6)


def test_ignored_pixels_do_not_count_and_batches_add_up():
    first = np.array([[[0, 0]], [[0, 1]]]), np.array([[[0, 0]], [[0, 0]]])
    second = np.array([[[1, 1, 1, 0, 3]]]), np.array([[[1, 1, 1, 1, 255]]])
    assert explained_entropy(Predictions(4), [first, second]) == pytest.approx(0.188722, abs=1e-6)


def test_labels_of_one_class_have_nothing_to_explain():
    assert explained([0, 1, 2], [1, 1, 1]) is None
    assert explained([0, 1], [255, 255]) is None
