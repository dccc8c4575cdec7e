import keras
import pytest

from deeplab.config import TrainingConfig
from deeplab.errors import UserError
from deeplab.training.loop import run_loop


class Recorder(keras.callbacks.Callback):
    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.ended = False
        self.stop_at = stop_at

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(batch)
        self.model.stop_training = batch == self.stop_at

    def on_train_end(self, logs=None):
        self.ended = True


def endless(value):
    while True:
        yield value


def fake_step(losses):
    remaining = iter(losses)
    return lambda _: {"loss": next(remaining), "cross_entropy": 0.0, "learning_rate": 0.1}


def test_callbacks_see_every_update_and_may_stop():
    recorder, model = Recorder(stop_at=5), keras.Sequential()
    run_loop(fake_step([1.0] * 10), endless(None), model, TrainingConfig(steps=10), [recorder], start=3)
    assert recorder.seen == [3, 4, 5]
    assert recorder.ended


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_anything_is_saved(bad):
    recorder = Recorder()
    with pytest.raises(UserError, match=r"training: the loss is (nan|inf) at step 3; lower training.learning_rate"):
        run_loop(
            fake_step([1.0, 1.0, bad, 1.0]), endless(None), keras.Sequential(), TrainingConfig(steps=4), [recorder]
        )
    assert recorder.seen == [0, 1]
    assert recorder.ended
