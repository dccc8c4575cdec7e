import math

import numpy as np

from deeplab.evaluation.scores import scores_from_matrices
from deeplab.training.validation_table import append_validation, labeled, read_validations, start_validation_table

CLASSES = ("background", "a, b", "absent", "invented")


def scores(correct: int, wrong: int):
    """Scores of pixels of class 1; class 2 does not occur, and class 3 only in the predictions."""
    matrix = np.zeros((4, 4), np.int64)
    matrix[0, 0], matrix[1, 1], matrix[1, 3] = 5, correct, wrong
    return scores_from_matrices([matrix], CLASSES, ["x"])


def test_a_row_has_the_miou_of_each_stride_and_the_iou_of_each_class_at_the_first(tmp_path):
    start_validation_table(tmp_path, (16, 8), CLASSES, 0)
    append_validation(tmp_path, 10, {16: scores(1, 2), 8: scores(3, 0)})
    table = read_validations(tmp_path)
    assert table.steps == [10]
    # IoU 1 and 1/3; class 3 is predicted but not labeled: IoU 0 in the mIoU, and no curve.
    assert table.mious == {16: [(1 + 1 / 3 + 0) / 3], 8: [1.0]}
    assert table.ious["a, b"] == [1 / 3]
    assert math.isnan(table.ious["absent"][0])
    assert math.isnan(table.ious["invented"][0])
    assert list(labeled(table.ious)) == ["background", "a, b"]


def test_the_best_is_the_first_of_equal_ones_at_the_first_stride(tmp_path):
    rows = ("step,miou_os16,miou_os8", "5,0.25,0.9", "10,0.5,0.1", "15,0.5,0.2", "20,0.4,0.3", "")
    (tmp_path / "validation.csv").write_text("\n".join(rows))
    table = read_validations(tmp_path)
    assert (table.best, table.since_best) == (1, 2)
    assert (read_validations(tmp_path, end=5).best, read_validations(tmp_path, end=5).since_best) == (0, 0)
    assert read_validations(tmp_path, end=4).best is None
    assert (read_validations(tmp_path, 15).steps, read_validations(tmp_path, 15).best) == ([15, 20], 0)
    assert read_validations(tmp_path / "none").since_best == 0


def test_a_training_from_the_start_repeats_the_validation_of_the_initial_weights(tmp_path):
    for start, steps in ((5, [0, 5]), (0, [])):
        (tmp_path / "validation.csv").write_text("step,miou_os16\n0,0.75\n5,0.25\n10,0.5\n")
        start_validation_table(tmp_path, (16,), CLASSES, start)
        assert read_validations(tmp_path).steps == steps


def test_a_resumed_training_keeps_the_rows_before_it_also_of_older_versions_without_classes(tmp_path):
    (tmp_path / "validation.csv").write_text("step,miou_os16\n5,0.25\n10,0.75\n15,0.5\n20,0.")
    start_validation_table(tmp_path, (16,), CLASSES, 15)
    append_validation(tmp_path, 20, {16: scores(1, 0)})
    table = read_validations(tmp_path)
    assert table.steps == [5, 10, 15, 20]
    assert table.deciding == [0.25, 0.75, 0.5, 1.0]
    np.testing.assert_array_equal(table.ious["a, b"], [math.nan, math.nan, math.nan, 1.0])
