import keras
import numpy as np
import tensorflow as tf

from deeplab.datasets.source import Example
from deeplab.training.callbacks import CsvLog, ProgressBar, SaveState, TensorBoard


def logs(loss: float) -> dict[str, float]:
    return {"loss": loss, "cross_entropy": loss / 2, "learning_rate": 0.25, "images_per_second": 8.0}


def steps(callback: keras.callbacks.Callback, start: int, end: int) -> None:
    callback.on_train_begin()
    for step in range(start, end):
        callback.on_train_batch_end(step, logs(float(step + 1)))
    callback.on_train_end()


def test_the_log_has_a_line_where_it_is_due_and_none_twice(tmp_path):
    path = tmp_path / "log.csv"
    steps(CsvLog(path, every=2, start=0), 0, 7)
    assert [line.split(",")[:3] for line in path.read_text().splitlines()] == [
        ["step", "loss", "cross_entropy"],
        ["2", "2", "1"],
        ["4", "4", "2"],
        ["6", "6", "3"],
    ]
    # Cut off at 7, gone on with from the state of step 4.
    steps(CsvLog(path, every=2, start=4), 4, 8)
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["step", "2", "4", "6", "8"]


def test_a_line_that_was_cut_off_is_dropped(tmp_path):
    path = tmp_path / "log.csv"
    steps(CsvLog(path, every=1, start=0), 0, 2)
    path.write_text(path.read_text() + "3,0.")
    CsvLog(path, every=1, start=5)
    assert [line.split(",")[0] for line in path.read_text().splitlines()] == ["step", "1", "2"]


def test_states_are_saved_where_due_and_at_the_end():
    saved: list[int] = []
    steps(SaveState(saved.append, every=5, steps=7), 0, 7)
    assert saved == [5, 7]


def test_tensorboard_gets_scalars_and_panels_of_three_pictures(tmp_path):
    example = Example(np.full((6, 4, 3), 200, np.uint8), np.zeros((6, 4), np.uint8), "one")
    callback = TensorBoard(tmp_path, 2, 4, [example], lambda image: np.ones(image.shape[:2], np.uint8))
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
    # Background shows the picture; class 1 of VOC's colors is (128, 0, 0), blended half and half.
    np.testing.assert_array_equal(panel[2, 5], [200, 200, 200])
    np.testing.assert_array_equal(panel[2, 9], [164, 100, 100])


def test_without_a_terminal_progress_is_lines(capsys):
    steps(ProgressBar(steps=5, start=0, every=2), 0, 5)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "step 2/5  loss 2.000  8.0 images/s"
    assert [line.split()[1] for line in lines] == ["2/5", "4/5", "5/5"]
