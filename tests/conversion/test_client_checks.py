"""Masks of clients against scores, by hand-made numbers."""

import numpy as np
import pytest

from deeplab.conversion.client_checks import _client_check, client_checks, winners_share
from deeplab.errors import UserError

SCORES = np.array([[[5, 9, 9], [7, 3, 1], [0, 0, 2], [4, 6, 5]]], np.uint8)


def test_either_class_of_a_tie_wins():
    assert winners_share(np.array([[1, 0, 2, 1]]), SCORES) == 1.0
    assert winners_share(np.array([[2, 0, 2, 1]]), SCORES) == 1.0


def test_a_byte_less_is_no_tie():
    assert winners_share(np.array([[1, 0, 2, 2]]), SCORES) == 0.75


def test_floats_may_differ_by_the_order_of_their_sums_alone():
    mask = np.array([[1]])
    assert winners_share(mask, np.array([[[1.0 + 4e-6, 1.0]]], np.float32)) == 1.0
    assert winners_share(mask, np.array([[[1.0 + 4e-5, 1.0]]], np.float32)) == 0.0


def test_a_mask_of_another_size_or_with_other_classes_agrees_nowhere():
    assert winners_share(np.zeros((2, 2), int), SCORES) == 0.0
    assert winners_share(np.array([[1, 0, 3, 1]]), SCORES) == 0.0


def _check(mask, *maps, least=1.0):
    scores = {f"kernels {i}": [m] for i, m in enumerate(maps)}
    return _client_check("client", lambda *_: [mask], b"", [np.zeros((1, 4, 3))], scores, least)


def test_a_client_has_to_agree_with_one_set_of_kernels_throughout():
    mask = np.array([[1, 0, 2, 1]])
    found = _check(mask, np.flip(SCORES, -1), SCORES)
    assert (found.state, found.measured) == ("passed", "100 % of the pixels as by kernels 1")
    # Half of the mask is right by one set and half by the other.
    one, other = SCORES.copy(), SCORES.copy()
    one[0, :2], other[0, 2:] = SCORES[0, :2, ::-1], SCORES[0, 2:, [1, 2, 0]].T
    found = _check(mask, one, other)
    assert found.state == "failed"
    assert _check(np.array([[1, 0, 2, 2]]), SCORES, least=0.75).state == "passed"


@pytest.mark.parametrize(("error", "state"), [(ImportError("none"), "not checked"), (UserError("a", "b"), "failed")])
def test_a_client_that_is_absent_was_not_checked_and_one_that_refuses_failed(error, state):
    def segment(*_):
        raise error

    assert _client_check("client", segment, b"", [], {}, 1.0).state == state


def test_both_clients_run_an_int8_file_with_float_scores(workshop):
    from deeplab.conversion.convert import convert
    from deeplab.conversion.export_graph import export_graph
    from deeplab.datasets.shapes import CLASSES
    from deeplab.tflite.metadata import write_metadata

    images = [p.astype(np.float32) for p in workshop.pictures]
    content = convert(export_graph(workshop.model), (129, 129), "int8", images, output_type="float32")
    content = write_metadata(content, CLASSES, activation="softmax")
    checks = {c.name: c for c in client_checks(content, workshop.pictures, 2, tolerance=4)}
    for name in ("Task Library", "MediaPipe"):
        if checks[name].state != "not checked":
            assert str(checks[name].measured).startswith("100 % of the pixels as by ")
