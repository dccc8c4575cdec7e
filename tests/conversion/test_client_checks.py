"""The masks of clients against scores written by hand, and against a real file."""

import numpy as np
import pytest

from deeplab.conversion.checks import CheckId
from deeplab.conversion.client_checks import _client_check, client_checks, winners_share
from deeplab.conversion.convert import convert
from deeplab.conversion.export_graph import export_graph
from deeplab.datasets.shapes import CLASSES
from deeplab.errors import UserError
from deeplab.tflite.metadata import write_metadata
from deeplab.tflite.tflite_file import TfliteFile

FILE = TfliteFile("model.tflite", b"")
SCORES = np.array([[[5, 9, 9], [7, 3, 1], [0, 0, 2], [4, 6, 5]]], np.uint8)


def test_either_class_of_a_tie_is_a_winner():
    assert winners_share(np.array([[1, 0, 2, 1]]), SCORES) == 1.0
    assert winners_share(np.array([[2, 0, 2, 1]]), SCORES) == 1.0


def test_a_score_of_one_byte_less_does_not_win():
    assert winners_share(np.array([[1, 0, 2, 2]]), SCORES) == 0.75


def test_float_scores_may_differ_by_the_order_of_summation_only():
    mask = np.array([[1]])
    assert winners_share(mask, np.array([[[1.0 + 4e-6, 1.0]]], np.float32)) == 1.0
    assert winners_share(mask, np.array([[[1.0 + 4e-5, 1.0]]], np.float32)) == 0.0


def test_a_mask_of_another_size_or_with_unknown_classes_agrees_nowhere():
    assert winners_share(np.zeros((2, 2), int), SCORES) == 0.0
    assert winners_share(np.array([[1, 0, 3, 1]]), SCORES) == 0.0


def _check(mask, *maps, limit=1.0):
    scores = {f"kernels {i}": [m] for i, m in enumerate(maps)}
    return _client_check(CheckId.TASK_LIBRARY, lambda *_: [mask], FILE, [np.zeros((1, 4, 3))], scores, limit)


def test_a_client_must_agree_with_a_single_kernel_set_in_all_pixels():
    mask = np.array([[1, 0, 2, 1]])
    check = _check(mask, np.flip(SCORES, -1), SCORES)
    assert (check.state, check.measured) == ("passed", "100 % of the pixels equal to kernels 1")
    # Half of the mask agrees with the one kernel set, half with the other.
    one, other = SCORES.copy(), SCORES.copy()
    one[0, :2], other[0, 2:] = SCORES[0, :2, ::-1], SCORES[0, 2:, [1, 2, 0]].T
    check = _check(mask, one, other)
    assert check.state == "failed"
    assert _check(np.array([[1, 0, 2, 2]]), SCORES, limit=0.75).state == "passed"


@pytest.mark.parametrize("mask", [np.zeros((1, 4, 1), int), np.zeros((4, 1), int), np.zeros((2, 4), int)])
@pytest.mark.parametrize("maps", [(SCORES,), ()])
def test_a_mask_of_another_shape_fails_by_its_shape(mask, maps):
    check = _check(mask, *maps)
    assert check.state == "failed"
    assert check.measured == f"1 masks, {mask.shape}"
    assert check.limit == "1 masks, (1, 4)"


@pytest.mark.parametrize(("error", "state"), [(ImportError("none"), "not checked"), (UserError("a", "b"), "failed")])
def test_a_missing_client_is_not_checked_and_a_rejecting_one_fails(error, state):
    def segment(*_):
        raise error

    assert _client_check(CheckId.TASK_LIBRARY, segment, FILE, [], {}, 1.0).state == state


def test_a_rejection_is_reported_without_the_file_name_and_the_remedy():
    def segment(*_):
        raise UserError("a; b: c.tflite", "MediaPipe rejects it: no; labels", "check its metadata")

    check = _client_check(CheckId.MEDIAPIPE, segment, FILE, [], {}, 1.0)
    assert str(check) == "MediaPipe: failed, MediaPipe rejects it: no; labels (expected: opens the file)"


def test_both_clients_run_an_int8_file_with_float_scores(workshop):
    images = [p.astype(np.float32) for p in workshop.images]
    content = convert(export_graph(workshop.model), (129, 129), "int8", images, output_type="float32")
    content = write_metadata(content, CLASSES, activation="softmax")
    checks = {c.id: c for c in client_checks(content, workshop.images, 2, tolerance=4)}
    for client in (CheckId.TASK_LIBRARY, CheckId.MEDIAPIPE):
        if checks[client].state != "not checked":
            assert str(checks[client].measured).startswith("100 % of the pixels equal to ")


@pytest.mark.parametrize("output_type", [None, "float32"])
def test_mediapipe_passes_an_enlarged_mask_only_if_its_pixels_agree(workshop, output_type):
    """MediaPipe 0.10 reads uint8 scores as float32, which gives masks of the right shape and arbitrary content."""
    images = [p.astype(np.float32) for p in workshop.images]
    content = convert(export_graph(workshop.model, mask_stride=4), (129, 129), "int8", images, output_type=output_type)
    content = write_metadata(content, CLASSES, activation="softmax")
    (check,) = [c for c in client_checks(content, workshop.images, 2, tolerance=4) if c.id is CheckId.MEDIAPIPE]
    if "is not installed" in str(check.limit):
        pytest.skip(str(check.limit))
    if output_type is None and check.state == "not checked":
        assert "does not read uint8 outputs; output_type=float32" in str(check.limit)
        return
    assert check.state == "passed"
    share = float(str(check.measured).split(" %")[0])
    assert share >= 99.9
