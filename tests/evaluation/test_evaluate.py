"""Evaluation of simple functions on random images."""

import json
import warnings

import numpy as np
import pytest

from deeplab.datasets.source import Example
from deeplab.errors import UserError
from deeplab.evaluation.boundary import trimap_matrices
from deeplab.evaluation.evaluate import evaluate
from deeplab.prediction.predictor import Predictor

NAMES = ("background", "bright", "dark")


def examples(count: int = 6) -> list[Example]:
    rng = np.random.default_rng(7)
    made = []
    for i in range(count):
        height, width = int(rng.integers(4, 9)), int(rng.integers(4, 9))
        image = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        label = rng.integers(0, 3, (height, width)).astype(np.uint8)
        label[0] = 255
        made.append(Example(image, label, f"image {i}"))
    return made


def by_brightness(image: np.ndarray) -> np.ndarray:
    """Return class 1 for red values above 170, class 2 below 85, and class 0 otherwise."""
    red = image[..., 0].astype(int)
    return np.where(red > 170, 1, np.where(red < 85, 2, 0))


def test_matrix_equals_a_loop_over_all_pixels():
    made = examples()
    matrix = np.zeros((3, 3), np.int64)
    for example in made:
        for y, x in np.ndindex(example.label.shape):
            if example.label[y, x] != 255:
                red = int(example.image[y, x, 0])
                matrix[example.label[y, x], 1 if red > 170 else 2 if red < 85 else 0] += 1
    scores = evaluate(by_brightness, made, NAMES)
    np.testing.assert_array_equal(scores.matrix, matrix)
    assert scores.names == tuple(f"image {i}" for i in range(6))


def test_result_is_independent_of_order_and_subsets():
    made = examples()
    forward, backward = evaluate(by_brightness, made, NAMES), evaluate(by_brightness, made[::-1], NAMES)
    parts = evaluate(by_brightness, made[:2], NAMES) + evaluate(by_brightness, made[2:], NAMES)
    for other in (backward, parts):
        np.testing.assert_array_equal(other.matrix, forward.matrix)
        assert other.miou == forward.miou


def test_stretched_images_are_counted():
    made = examples(3)
    fixed = Predictor(by_brightness, (6, 6), fit="auto", padding_value=(128, 128, 128))
    sizes = [example.image.shape for example in made]
    expected = sum(h > 6 or w > 6 for h, w, _ in sizes)
    assert 0 < expected < 3
    assert evaluate(fixed, made, NAMES).stretched == expected


def test_an_image_that_cannot_be_predicted_is_named():
    made = examples(3)
    fixed = Predictor(by_brightness, (2, 2), fit="pad", padding_value=(128, 128, 128))
    with pytest.raises(UserError, match=rf"^{made[0].name}: .* pixels exceed the model's input of 2x2"):
        evaluate(fixed, made, NAMES)


def test_prediction_of_a_single_class_causes_a_warning():
    with pytest.warns(UserWarning, match="100.0% of all pixels are predicted as 'dark'"):
        evaluate(lambda image: np.full(image.shape[:2], 2), examples(), NAMES)


def test_no_warning_if_the_labels_have_a_single_class_too():
    example = Example(np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8), "blank")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert evaluate(lambda image: np.zeros(image.shape[:2], int), [example], NAMES).miou == 1.0


def test_no_images_are_an_error():
    with pytest.raises(UserError, match="no labeled images"):
        evaluate(by_brightness, [], NAMES)


def test_progress_bar_does_not_change_the_result():
    made = examples()
    assert evaluate(by_brightness, made, NAMES, progress="val").miou == evaluate(by_brightness, made, NAMES).miou


def test_scores_as_json_have_the_documented_keys():
    scores = evaluate(by_brightness, examples(), NAMES, trimap_widths=(2, 1))
    read = json.loads(json.dumps(scores.to_mapping(), allow_nan=False))
    assert set(read) >= {"miou", "pixel_accuracy", "per_class", "images", "stretched_images"}
    assert set(read["per_class"]) == set(NAMES)
    assert list(read["trimap_miou"]) == ["1", "2"]
    assert 0 <= read["boundary_iou"] <= 1


def test_boundary_scores_of_subsets_can_be_added():
    made = examples()
    whole = evaluate(by_brightness, made, NAMES, trimap_widths=(1, 3)).borders
    parts = evaluate(by_brightness, made[:4], NAMES, trimap_widths=(1, 3)) + evaluate(
        by_brightness, made[4:], NAMES, trimap_widths=(1, 3)
    )
    matrices = sum(trimap_matrices(e.label, by_brightness(e.image), 3, (1, 3)) for e in made)
    for borders in (whole, parts.borders):
        np.testing.assert_array_equal(borders.matrices, matrices)
        np.testing.assert_array_equal(borders.boundary, whole.boundary)
    assert parts.to_mapping() == evaluate(by_brightness, made, NAMES, trimap_widths=(1, 3)).to_mapping()


def test_perfect_prediction_has_perfect_boundary_scores():
    made = examples()
    labels = {example.image.tobytes(): np.where(example.label == 255, 0, example.label) for example in made}
    scores = evaluate(lambda image: labels[image.tobytes()], made, NAMES, trimap_widths=(1, 40))
    assert scores.borders.trimap_mious == {1: 1.0, 40: 1.0}
    assert scores.borders.boundary_iou == scores.miou == 1.0
