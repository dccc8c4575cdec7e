"""The checks against Keras, on arrays written by hand."""

from types import SimpleNamespace

import numpy as np
import pytest

from deeplab.conversion import agreement
from deeplab.conversion.agreement import (
    VerificationTarget,
    _lead,
    _pixel_checks,
    _shift_check,
    miou_check,
    per_tensor_check,
    relative_error,
    simulation_checks,
)
from deeplab.conversion.keras_reference import KerasReference
from deeplab.conversion.structure import ExpectedFile
from deeplab.datasets.source import Example
from deeplab.evaluation.evaluate import evaluate


def test_relative_error_is_rms_over_standard_deviation():
    expected = np.array([1.0, 3.0])
    assert relative_error(expected + 0.5, expected) == pytest.approx(0.5)
    assert relative_error(np.array([1.0, np.nan]), expected) == float("inf")


@pytest.mark.parametrize("shift", [(0, 0), (0, 1), (-1, 0), (1, 1)])
def test_a_shifted_mask_fails(shift):
    rng = np.random.default_rng(0)
    expected = np.kron(rng.integers(0, 3, (6, 6)), np.ones((5, 5), int))
    ids = np.roll(expected, shift, (0, 1))
    check = _shift_check([ids], [expected])
    assert check.state == ("passed" if shift == (0, 0) else "failed")
    assert check.measured == str(shift)


def test_pixels_that_differ_by_chance_are_not_a_shift():
    expected = np.zeros((40, 40), int)
    expected[10:30, 10:30] = 1
    ids = expected.copy()
    # A shift by one column gains 13 + 12 pixels on the two sides and loses 7 + 8; 90 pixels of noise differ anyway.
    ids[10:23, 10] = 0
    ids[10:22, 30] = 1
    ids[2:7, 2:38:2] = 1
    assert _shift_check([ids], [expected]).state == "passed"


def test_a_small_mask_that_agrees_better_when_shifted_by_chance_passes():
    expected = np.zeros((9, 9), int)
    expected[:, 5:] = 1
    ids = expected.copy()
    # A shift by one column gains these four of the 49 inner pixels and loses none.
    ids[2:6, 5] = 0
    assert _shift_check([ids], [expected]).state == "passed"


def test_masks_with_a_single_class_are_not_checked_for_shifts():
    assert _shift_check([np.zeros((9, 9))], [np.zeros((9, 9))]).state == "not checked"


def test_lead_is_the_difference_of_the_two_highest_logits():
    logits = np.array([[[1.0, 4.0, 2.5], [3.0, 3.0, -9.0]]])
    np.testing.assert_array_equal(_lead(logits), [[1.5, 0.0]])


def _two_checks(equal, clear):
    return _pixel_checks(np.array([[equal]], bool), np.array([[clear]], bool))


def test_pixels_without_a_clear_winner_may_differ():
    every, clear = _two_checks([1, 1, 0, 0], [1, 1, 0, 0])
    assert (every.state, every.measured) == ("passed", 0.5)
    assert (clear.state, clear.measured) == ("passed", 1.0)


def test_a_clear_pixel_must_agree():
    every, clear = _two_checks([1, 0, 1, 1], [1, 1, 0, 0])
    assert (every.state, every.measured) == ("passed", 0.75)
    assert (clear.state, clear.measured) == ("failed", 0.5)
    every, _ = _two_checks([1, 0, 0, 1], [1, 1, 1, 1])
    assert (every.state, every.limit) == ("failed", 0.999)


def test_clear_pixels_are_not_checked_if_there_are_none():
    assert [c.state for c in _two_checks([0, 0], [0, 0])] == ["passed", "not checked"]


def test_less_than_one_percent_of_clear_pixels_is_not_checked():
    clear = np.zeros(1000)
    clear[:9] = 1
    _, check = _two_checks(1 - clear, clear)
    assert check.state == "not checked"
    clear[:10] = 1
    _, check = _two_checks(1 - clear, clear)
    assert check.state == "failed"


def test_nearly_tied_pixels_may_differ_from_the_simulation(monkeypatch):
    lead = np.where(np.arange(100) < 20, 0.04, 2.0).reshape(10, 10)
    simulated = np.stack([lead / 2, -lead / 2], -1)
    lead = lead / simulated.std()
    simulated = np.stack([lead / 2, -lead / 2], -1)
    output = simulated.copy()
    reference = KerasReference((np.zeros((10, 10, 3), np.uint8),), (simulated,), builtin_logits=(simulated,))
    expected = ExpectedFile((10, 10), 1, ("a", "b"), "logits", "int8", "uint8", "uint8")
    target = VerificationTarget(expected, reference, max_miou_drop=1.5)
    model = type("Model", (), {"returns_labels": False, "__call__": lambda self, _: output})
    monkeypatch.setattr(agreement, "TfliteModel", lambda *_: model())
    # The first 20 pixels lead by 0.04 standard deviations, the others by 2.
    output[:2] *= -1
    assert [c.state for c in simulation_checks(b"", target, 1)] == ["passed", "passed"]
    output[4, :2] *= -1
    checks = simulation_checks(b"", target, 1)
    assert [(c.state, c.measured) for c in checks] == [("failed", 78 / 80)] * 2


def test_the_miou_drop_is_over_the_classes_in_the_labels(monkeypatch):
    label = np.repeat(np.arange(20, dtype=np.uint8), 10).reshape(20, 10)
    keras, file = label.copy(), label.copy()
    keras[0, 0] = 1
    file[0, 0] = 20
    examples = (Example(np.zeros((20, 10, 3), np.uint8), label, "one"),)
    classes = [f"class {i}" for i in range(21)]
    reference = KerasReference((), (), examples, evaluate(lambda _: keras, examples, classes))
    expected = ExpectedFile((20, 10), 1, tuple(classes), "logits", "int8", "uint8", "uint8")
    monkeypatch.setattr(agreement, "tflite_predictor", lambda *_: lambda _: file)
    result = miou_check(None, VerificationTarget(expected, reference, max_miou_drop=1.5))
    # In Keras the wrong pixel joins class 1: 10 / 11. In the file it joins class 20, which no label contains and which
    # would cost (19.9 / 20 - 19.9 / 21) = 4.7 points.
    assert result.measured == pytest.approx(100 * (10 / 11 - 1) / 20)
    assert result.state == "passed"
    # Keras: class 0 has 9 of 10 pixels, class 1 has 10 of 11, 18 are whole; the file: 9 of 10, and 19 are whole.
    assert str(result) == (
        "mIoU over the 20 of 21 classes in the labels of 1 images: passed, "
        "99.50 %, 0.45 points above the Keras model (at most 1.5)"
    )


def test_the_cost_of_per_tensor_kernels_is_stated_with_both_values():
    label = np.array([[0, 1, 1, 1]], np.uint8)
    examples = (Example(np.zeros((1, 4, 3), np.uint8), label, "one"),)
    scores = evaluate(lambda _: label, examples, ["a", "b"])
    expected = ExpectedFile((1, 4), 1, ("a", "b"), "logits", "int8", "uint8", "uint8", per_tensor=True)
    target = VerificationTarget(expected, KerasReference((), (), examples, scores), max_miou_drop=1.5)
    # The Keras model has 100 %.
    result = per_tensor_check(3.25, 1.25, target)
    assert (result.state, result.measured) == ("failed", 2.0)
    assert result.words == "96.75 %, 2.00 points below the 98.75 % of the same file with per-channel kernels"
    assert per_tensor_check(1.25, 1.25, target).words.startswith("98.75 %, equal to the 98.75 %")
    assert per_tensor_check(1.0, 1.25, target).words.startswith("99.00 %, 0.25 points above the 98.75 %")


@pytest.mark.parametrize(("drop", "other", "cost", "state"), [(3.0, 1.0, 2.0, "failed"), (1.0, 3.0, -2.0, "passed")])
def test_the_cost_of_per_tensor_kernels_is_the_drop_beyond_that_of_per_channel_kernels(drop, other, cost, state):
    scores = SimpleNamespace(labeled_miou=0.8)
    expected = ExpectedFile((20, 10), 1, ("a", "b"), "logits", "int8", "uint8", "uint8")
    target = VerificationTarget(expected, KerasReference((), (), scores=scores), max_miou_drop=1.5)
    result = per_tensor_check(drop, other, target)
    assert (result.measured, result.limit, result.state) == (cost, 1.5, state)
    # Both files are compared with the 80 % of the Keras model.
    assert f"{80 - drop:.2f} %" in str(result)
    assert f"{80 - other:.2f} %" in str(result)
