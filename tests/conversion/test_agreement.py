"""Raising logits for the Task Library, and the checks against Keras by hand-made numbers."""

import numpy as np
import pytest

from deeplab.conversion import agreement
from deeplab.conversion.agreement import (
    Reference,
    _lead,
    _pixel_checks,
    _place_check,
    relative_error,
    needed_logit_offset,
    simulation_checks,
)


def _logits(winner, loser):
    return [np.array([[[winner, loser], [loser, 9.0]]], np.float32)]


def test_clear_winners_are_left_alone():
    assert needed_logit_offset(_logits(5.0, -3.0), 1) == 0.0


def test_a_winner_below_zero_raises_the_lowest_logit_to_zero():
    assert needed_logit_offset(_logits(-1.0, -3.0), 1) == 3.0


def test_only_pixels_of_the_mask_count():
    logits = [np.full((5, 5, 2), 4.0, np.float32)]
    logits[0][1, 1] = -8.0
    assert needed_logit_offset(logits, 1) == 8.0
    assert needed_logit_offset(logits, 4) == 0.0


def test_therelative_error_is_rms_over_spread():
    wanted = np.array([1.0, 3.0])
    assert relative_error(wanted + 0.5, wanted) == pytest.approx(0.5)
    assert relative_error(np.array([1.0, np.nan]), wanted) == float("inf")


@pytest.mark.parametrize("shift", [(0, 0), (0, 1), (-1, 0), (1, 1)])
def test_a_shifted_mask_is_seen(shift):
    rng = np.random.default_rng(0)
    wanted = np.kron(rng.integers(0, 3, (6, 6)), np.ones((5, 5), int))
    ids = np.roll(wanted, shift, (0, 1))
    found = _place_check([ids], [wanted])
    assert found.state == ("passed" if shift == (0, 0) else "failed")
    assert found.measured == str(shift)


def test_a_few_pixels_that_differ_by_chance_are_no_shift():
    wanted = np.zeros((40, 40), int)
    wanted[10:30, 10:30] = 1
    ids = wanted.copy()
    # A shift by one column mends 13 + 12 pixels of the two sides and spoils 7 + 8; 90 pixels of noise differ anyway.
    ids[10:23, 10] = 0
    ids[10:22, 30] = 1
    ids[2:7, 2:38:2] = 1
    assert _place_check([ids], [wanted]).state == "passed"


def test_a_small_mask_that_fits_better_elsewhere_by_chance_is_no_shift():
    wanted = np.zeros((9, 9), int)
    wanted[:, 5:] = 1
    ids = wanted.copy()
    # A shift by one column mends these four of the 49 pixels inside and spoils none.
    ids[2:6, 5] = 0
    assert _place_check([ids], [wanted]).state == "passed"


def test_masks_of_one_class_tell_nothing_about_their_place():
    assert _place_check([np.zeros((9, 9))], [np.zeros((9, 9))]).state == "not checked"


def test_the_lead_is_between_the_first_and_the_second():
    logits = np.array([[[1.0, 4.0, 2.5], [3.0, 3.0, -9.0]]])
    np.testing.assert_array_equal(_lead(logits), [[1.5, 0.0]])


def _two_checks(equal, clear):
    return _pixel_checks(np.array([[equal]], bool), np.array([[clear]], bool))


def test_pixels_without_a_clear_winner_may_differ():
    every, clear = _two_checks([1, 1, 0, 0], [1, 1, 0, 0])
    assert (every.state, every.measured) == ("passed", 0.5)
    assert (clear.state, clear.measured) == ("passed", 1.0)


def test_a_clear_pixel_that_differs_is_a_fault():
    every, clear = _two_checks([1, 0, 1, 1], [1, 1, 0, 0])
    assert (every.state, every.measured) == ("passed", 0.75)
    assert (clear.state, clear.measured) == ("failed", 0.5)
    every, _ = _two_checks([1, 0, 0, 1], [1, 1, 1, 1])
    assert (every.state, every.limit) == ("failed", 0.999)


def test_where_no_pixel_is_clear_nothing_was_checked():
    assert [c.state for c in _two_checks([0, 0], [0, 0])] == ["passed", "not checked"]


def test_a_handful_of_clear_pixels_is_not_counted():
    clear = np.zeros(1000)
    clear[:9] = 1
    _, found = _two_checks(1 - clear, clear)
    assert found.state == "not checked"
    clear[:10] = 1
    _, found = _two_checks(1 - clear, clear)
    assert found.state == "failed"


def test_nearly_tied_pixels_are_not_held_to_the_simulation(monkeypatch):
    lead = np.where(np.arange(100) < 20, 0.04, 2.0).reshape(10, 10)
    simulated = np.stack([lead / 2, -lead / 2], -1)
    lead = lead / simulated.std()
    simulated = np.stack([lead / 2, -lead / 2], -1)
    found = simulated.copy()
    reference = Reference((np.zeros((10, 10, 3), np.uint8),), (simulated,), builtin_logits=(simulated,))
    file = type(
        "File",
        (),
        {"image_size": (10, 10), "mask_size": (10, 10), "returns_labels": False, "__call__": lambda self, _: found},
    )
    monkeypatch.setattr(agreement, "TfliteModel", lambda *_: file())
    # The first 20 pixels lead by 0.04 deviations, the others by 2.
    found[:2] *= -1
    assert [c.state for c in simulation_checks(b"", 1, reference)] == ["passed", "passed"]
    found[4, :2] *= -1
    checks = simulation_checks(b"", 1, reference)
    assert [(c.state, c.measured) for c in checks] == [("failed", 78 / 80)] * 2
