from types import SimpleNamespace

import keras
import numpy as np
import tensorflow as tf

from deeplab.config import TrainingConfig
from deeplab.datasets.source import Example
from deeplab.training.callbacks import CsvLog, ProgressBar, SaveCheckpoints, TensorBoardLog
from deeplab.training.forecast import Forecast
from deeplab.training.notices import subset_text


def logs(loss: float) -> dict[str, float]:
    return {"loss": loss, "cross_entropy": loss / 2, "learning_rate": 0.25, "images_per_second": 8.0}


def steps(callback: keras.callbacks.Callback, start: int, end: int) -> None:
    callback.on_train_begin()
    for step in range(start, end):
        callback.on_train_batch_end(step, logs(float(step + 1)))
    callback.on_train_end()


def test_log_has_one_row_per_interval_also_after_resuming(tmp_path):
    path = tmp_path / "log.csv"
    steps(CsvLog(path, every=2, start=0), 0, 7)
    assert [line.split(",")[:3] for line in path.read_text().splitlines()] == [
        ["step", "loss", "cross_entropy"],
        ["2", "2", "1"],
        ["4", "4", "2"],
        ["6", "6", "3"],
    ]
    # Interrupted after step 7, resumed from the checkpoint of step 4.
    steps(CsvLog(path, every=2, start=4), 4, 8)
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["step", "2", "4", "6", "8"]


def test_incomplete_row_of_an_interrupted_run_is_removed(tmp_path):
    path = tmp_path / "log.csv"
    steps(CsvLog(path, every=1, start=0), 0, 2)
    path.write_text(path.read_text() + "3,0.")
    CsvLog(path, every=1, start=5)
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["step", "1", "2"]


def test_checkpoints_are_saved_at_the_interval_and_at_the_end():
    saved: list[int] = []
    steps(SaveCheckpoints(saved.append, every=5, steps=7), 0, 7)
    assert saved == [5, 7]


def test_a_checkpoint_is_saved_at_the_update_at_which_a_callback_stops_the_training():
    saved: list[int] = []
    callback = SaveCheckpoints(saved.append, every=5, steps=7)
    callback.set_model(SimpleNamespace(stop_training=True))
    callback.on_train_batch_end(2)
    assert saved == [3]


def test_tensorboard_has_scalars_and_panels_of_image_label_and_prediction(tmp_path):
    example = Example(np.full((6, 4, 3), 200, np.uint8), np.zeros((6, 4), np.uint8), "one")
    callback = TensorBoardLog(tmp_path, 2, 4, [example], lambda image: np.ones(image.shape[:2], np.uint8))
    steps(callback, 0, 4)
    scalars, images = {}, []
    for path in tmp_path.glob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                array = tf.make_ndarray(value.tensor)
                if value.tag.startswith("training/"):
                    scalars[value.tag, event.step] = float(array)
                else:
                    images.append((value.tag, event.step, tf.io.decode_png(array[2]).numpy()))
    assert scalars["training/loss", 2] == 2.0
    assert scalars["training/loss", 4] == 4.0
    assert scalars["training/learning_rate", 4] == 0.25
    ((tag, step, panel),) = images
    assert (tag, step, panel.shape) == ("validation/0", 4, (6, 12, 3))
    # Background shows the image; class 1 of VOC's colors is (128, 0, 0), blended at opacity 0.5.
    np.testing.assert_array_equal(panel[2, 5], [200, 200, 200])
    np.testing.assert_array_equal(panel[2, 9], [164, 100, 100])


def test_progress_is_printed_as_lines_without_a_terminal(capsys, monkeypatch):
    forecast = Forecast(TrainingConfig(steps=5))
    monkeypatch.setattr(forecast, "seconds_left", lambda: 180.0)
    steps(ProgressBar(steps=5, start=0, every=2, forecast=forecast), 0, 5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step 2/5  loss 2.000  8.0 images/s  about 3 min left"
    assert lines[-1] == "step 5/5  loss 5.000  8.0 images/s"
    assert [line.split()[1] for line in lines] == ["2/5", "4/5", "5/5"]


def test_a_validation_on_a_part_of_the_split_says_so(capsys):
    settings = TrainingConfig(steps=5, evaluate_every=1, evaluate_images=100)
    for size in (1345, 100):
        ProgressBar(5, 0, 2, Forecast(settings), subset_text(settings, size)).show_validation(2, {16: 0.25, 8: 0.5})
    assert capsys.readouterr().out.splitlines() == [
        "step 2/5  validation mIoU OS16 25.00%  OS8 50.00% on the first 100 of 1,345 images",
        "step 2/5  validation mIoU OS16 25.00%  OS8 50.00%",
    ]
