import sys

import numpy as np

from deeplab.config import TrainConfig, build, to_mapping
from deeplab.evaluation.scores import scores_from_matrices
from deeplab.files import write_json
from deeplab.training.summary import summary


def made_run(folder, **training):
    settings = {"data": {"source": "folder", "root": "x", "val_split": "test"}, "training": {"steps": 300, **training}}
    folder.mkdir()
    write_json(folder / "train.json", to_mapping(build(TrainConfig, settings)))
    return folder


def scores():
    """Scores of four classes, of which bike does not occur."""
    matrix = np.zeros((4, 4), np.int64)
    matrix[0, 0], matrix[1, 2], matrix[2, 2] = 90, 10, 20
    matrix[0, 2] = 10
    return scores_from_matrices([matrix], ("sky", "pole", "car", "bike"), ["a"])


def test_the_last_lines_state_scores_data_weak_classes_and_the_export_command(tmp_path, monkeypatch):
    """IoU of sky 90/100, of pole 0, of car 20/40: mIoU 1.4/3."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["train.py"])
    run = made_run(tmp_path / "my run")
    assert summary(run, {16: scores(), 8: scores()}) == [
        "output stride 16: mIoU 46.67%  pixel accuracy 84.62%",
        "output stride  8: mIoU 46.67%  pixel accuracy 84.62%",
        "on 1 image of data=folder, split test",
        "weights: the last, of 300 steps",
        "weak classes (less than half of the mIoU, output stride 16): pole 0.0%",
        "not in the labels of this split, hence not measured: bike",
        "run folder: my run; curves and images: my run/training.html",
        "export: python export.py 'run=my run'",
    ]


def test_the_export_is_that_of_the_evaluated_stride_by_the_same_program(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/deeplab", "train"])
    run = made_run(tmp_path / "run", result="best", evaluate_every=100)
    (run / "validation.csv").write_text("step,miou_os8\n100,0.4\n200,0.5\n300,0.4\n")
    lines = summary(run, {8: scores()})
    assert lines[-1] == "export: deeplab export run=run output_stride=8"
    assert "weights: the best of 3 validations, of step 200 of 300" in lines


def test_the_best_weights_of_validations_on_a_part_of_the_split_name_it(tmp_path):
    names = ["a", "b", "c"]
    score = scores_from_matrices([np.diag([3, 1])] * 3, ("sky", "pole"), names)
    for images, text in ((2, " on the first 2 of 3 images"), (3, ""), (None, "")):
        run = made_run(tmp_path / str(images), result="best", evaluate_every=100, evaluate_images=images)
        (run / "validation.csv").write_text("step,miou_os8\n100,0.4\n200,0.5\n")
        lines = summary(run, {8: score})
        assert f"weights: the best of 2 validations{text}, of step 200 of 300" in lines
        assert "on 3 images of data=folder, split test" in lines


def test_initial_weights_that_no_update_improved_are_named(tmp_path):
    run = made_run(tmp_path / "run", result="best", evaluate_every=100)
    (run / "validation.csv").write_text("step,miou_os8\n0,0.5\n100,0.4\n200,0.5\n")
    expected = "weights: the initial ones (step 0), the best of 3 validations; no later one was better"
    assert expected in summary(run, {8: scores()})


def test_last_weights_that_are_no_better_than_the_initial_ones_are_named(tmp_path):
    run = made_run(tmp_path / "run", result="last", evaluate_every=100)
    for mious, expected in (("0.5 0.4 0.5", True), ("0.5 0.4 0.51", False)):
        rows = "".join(f"{step},{miou}\n" for step, miou in zip((0, 100, 200), mious.split(), strict=True))
        (run / "validation.csv").write_text(f"step,miou_os8\n{rows}")
        line = (
            "no validation was better than that of the initial weights, 50.00%; best.weights.h5 has them, and "
            "a training with training.result=best ends with them"
        )
        assert (line in summary(run, {8: scores()})) == expected


def test_a_training_that_stopped_early_with_its_last_weights_states_their_step(tmp_path):
    run = made_run(tmp_path / "run", result="last", evaluate_every=50, patience=2)
    (run / "state").mkdir()
    for step in (100, 150):
        (run / f"state/step-{step:08d}.npz").touch()
    assert "weights: the last, of step 150 of 300 steps" in summary(run, {16: scores()})
