import re

import numpy as np
import pytest

from deeplab.config import ModelConfig, TrainConfig, TrainingConfig
from deeplab.datasets.source import Example
from deeplab.evaluation.scores import scores_from_matrices
from deeplab.training.csv_log import read_table
from deeplab.training.training_page import thin_out, training_page


def write_log(folder, steps: int = 3) -> None:
    rows = [f"{s},{1 / s},{1 / s},{0.1},{8 * s}" for s in range(1, steps + 1)]
    (folder / "log.csv").write_text("\n".join(["step,loss,cross_entropy,learning_rate,images_per_second", *rows, ""]))


def test_the_page_has_a_curve_for_each_output_stride_and_the_latest_scores(tmp_path):
    write_log(tmp_path)
    (tmp_path / "validation.csv").write_text("step,miou_os16,miou_os8\n10,0.25,0.3\n20,0.5,0.625\n")
    example = Example(np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8), "an <image>")
    config = TrainConfig(training=TrainingConfig(steps=40))
    html = training_page(tmp_path, config, 20, [(example, np.ones((4, 6), np.uint8))])
    assert "<strong>50.0%</strong><p>mIoU at output stride 16, step 20</p>" in html
    # mIoU, loss, learning rate and speed; two curves of mIoU, with a point for each of two rows.
    assert html.count("<svg") == 4
    miou_chart = html[html.index("<svg") : html.index("</svg>")]
    assert [miou_chart.count(f'fill: var(--{color}); stroke: var(--{color})"') for color in ("c0", "c1")] == [2, 2]
    assert 'http-equiv="refresh"' in html
    assert "an &lt;image&gt;" in html
    assert html.count("<img") == 3


def test_before_the_first_validation_there_is_no_curve_of_it(tmp_path):
    write_log(tmp_path)
    html = training_page(tmp_path, TrainConfig(training=TrainingConfig(steps=3)), 3, [], complete=True)
    assert "Validation mIoU" not in html
    assert html.count("<svg") == 3
    assert 'http-equiv="refresh"' not in html


def test_each_labeled_class_has_a_curve_and_weak_ones_are_marked(tmp_path):
    """mIoU 0.5 at step 20: below 0.25 a class is weak. The class "train" is not in the labels."""
    write_log(tmp_path)
    rows = ["step,miou_os16,iou_sky,iou_pole,iou_train", "10,0.25,0.5,0.0,nan", "20,0.5,0.76,0.24,nan", ""]
    (tmp_path / "validation.csv").write_text("\n".join(rows))
    html = training_page(tmp_path, TrainConfig(training=TrainingConfig(steps=40)), 20, [])
    classes = html[html.index("IoU of each class") :]
    # Width 112 from x 4 for the steps 0 to 20, height 32 above y 36 for IoU 1.
    assert 'points="60.0,20.0 116.0,11.7"' in classes
    assert "<span>76.0%</span>" in classes
    assert '<span class="weak">24.0%</span>' in classes
    assert "Not in the labels: train." in classes
    assert classes.count("<svg") == 2


def test_curves_begin_with_the_initial_weights_and_notices_are_about_updates(tmp_path):
    """The page of a checkpoint before the first validation of an update has a single point, at step 0."""
    write_log(tmp_path)
    table = tmp_path / "validation.csv"
    table.write_text("step,miou_os16,iou_sky,iou_pole\n0,0.5,0.5,0.5\n")
    config = TrainConfig(training=TrainingConfig(steps=40))
    html = training_page(tmp_path, config, 10, [])
    assert html[html.index("IoU of each class") :].count('points="4.0,20.0"') == 2
    assert html.count("<svg") == 4 + 2
    with table.open("a") as file:
        file.write("10,0.5,0.5,0\n20,0.5,0.5,0\n30,0.5,0.5,0\n")
    html = training_page(tmp_path, config, 30, [])
    assert "pole stays at IoU 0 in all 3 validations; " in html
    assert 'points="4.0,20.0 41.3,36.0 78.7,36.0 116.0,36.0"' in html


def test_the_page_states_the_time_left_and_what_the_curves_mean(tmp_path):
    write_log(tmp_path)
    table = "step,miou_os16,iou_sky,iou_pole\n10,0.2,0.4,0\n20,0.2,0.4,0\n30,0.2,0.4,0\n"
    (tmp_path / "validation.csv").write_text(table)
    html = training_page(tmp_path, TrainConfig(training=TrainingConfig(steps=40)), 30, [], seconds_left=720)
    assert re.search(r"About 12 min left, until about (\d\d \w+ )?\d\d:\d\d \(as of \d\d:\d\d\)\.", html)
    assert "pole stays at IoU 0 in all 3 validations; " in html
    assert 'style="width:75.0%"' in html


def test_the_end_shows_the_result_on_all_images(tmp_path):
    """IoU 60 / 100 of both classes, of the final weights; the last validation had another mIoU."""
    (tmp_path / "validation.csv").write_text("step,miou_os16,iou_a,iou_b\n40,0.5,0.5,0.5\n")
    scores = scores_from_matrices([np.array([[60, 20], [20, 60]])], ("a", "b"), ["x"])
    config = TrainConfig(training=TrainingConfig(steps=40))
    html = training_page(tmp_path, config, 40, [], complete=True, scores={16: scores})
    assert "Complete after 40 steps." in html
    assert "<strong>60.0%</strong><p>mIoU at output stride 16, 1 image</p>" in html
    assert html.count("<span>60.0%</span>") == 2


def test_a_long_log_is_thinned_out_to_medians():
    points = [(float(i), float(i % 2 * 100)) for i in range(300)]
    thinned = thin_out(points, 100)
    assert len(thinned) == 100
    assert thinned[0] == (1.0, 0.0)
    assert thinned[1] == (4.0, 100.0)
    assert thin_out([(1.0, 2.0)]) == [(1.0, 2.0)]


def test_an_incomplete_row_of_a_table_is_left_out(tmp_path):
    (tmp_path / "t.csv").write_text("step,loss\n1,0.5\n2")
    assert read_table(tmp_path / "t.csv") == {"step": [1.0], "loss": [0.5]}
    assert read_table(tmp_path / "none.csv") == {}


@pytest.mark.parametrize("value", [0.0, 0.007])
def test_a_constant_value_can_be_drawn(value, tmp_path):
    (tmp_path / "log.csv").write_text(f"step,learning_rate\n1,{value}\n2,{value}\n")
    assert training_page(tmp_path, TrainConfig(), 2, []).count("<svg") == 1


@pytest.mark.parametrize(("depth", "text"), [(0.5, " with depth multiplier 0.5"), (1.0, "")])
def test_the_page_names_the_network(depth, text, tmp_path):
    config = TrainConfig(model=ModelConfig(backbone="mobilenet_v2", depth_multiplier=depth, head="v3", classes=7))
    assert f"<p>mobilenet_v2{text}, head v3, 7 classes, on shapes; batches of" in training_page(tmp_path, config, 0, [])


def test_validations_on_a_part_of_the_split_say_so(tmp_path):
    (tmp_path / "validation.csv").write_text("step,miou_os16\n10,0.25\n20,0.125\n")
    html = training_page(tmp_path, TrainConfig(), 20, [], subset=" on the first 2 of 9 images")
    assert "<p>mIoU at output stride 16, step 20 on the first 2 of 9 images</p>" in html
    assert "<p>mIoU at output stride 16, step 10 on the first 2 of 9 images</p>" in html
