import math
import time
from collections.abc import Iterator

import keras
import pytest

from deeplab.config import TrainingConfig
from deeplab.errors import UserError
from deeplab.training.callbacks import CsvLog, ProgressBar, SaveCheckpoints
from deeplab.training.forecast import Forecast
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


class LogReader(keras.callbacks.Callback):
    """Reads all logs of every update."""

    def __init__(self) -> None:
        super().__init__()
        self.logs: list[dict[str, float]] = []

    def on_train_batch_end(self, batch, logs=None):
        self.logs.append(dict(logs))


class FakeDevice:
    """A train step whose logs record how many of them have been converted to floats.

    Attributes:
        converted: steps, from 1, whose loss was converted.
        converted_before: the same at the time when each step was dispatched.
    """

    def __init__(self, losses: list[float]) -> None:
        self.losses, self.dispatched = losses, 0
        self.converted: list[int] = []
        self.converted_before: list[list[int]] = []

    def __call__(self, _) -> dict[str, object]:
        self.converted_before.append(list(self.converted))
        self.dispatched += 1
        return {"loss": FakeTensor(self, self.dispatched), "cross_entropy": 0.5, "learning_rate": 0.1}


class FakeTensor:
    def __init__(self, device: FakeDevice, step: int) -> None:
        self.device, self.step = device, step

    def __float__(self) -> float:
        self.device.converted.append(self.step)
        return self.device.losses[self.step - 1]


def endless() -> Iterator[None]:
    while True:
        yield None


def fake_step(losses):
    remaining = iter(losses)
    return lambda _: {"loss": next(remaining), "cross_entropy": 0.0, "learning_rate": 0.1}


def test_callbacks_are_called_for_every_update_and_can_stop_the_training():
    recorder, model = Recorder(stop_at=5), keras.Sequential()
    run_loop(fake_step([1.0] * 10), endless(), model, TrainingConfig(steps=10), [recorder], start=3)
    assert recorder.seen == [3, 4, 5]
    assert recorder.ended


def test_callbacks_end_if_one_fails_before_the_first_update():
    class Failing(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            raise KeyboardInterrupt

    recorder = Recorder()
    with pytest.raises(KeyboardInterrupt):
        run_loop(fake_step([1.0]), endless(), keras.Sequential(), TrainingConfig(steps=1), [recorder, Failing()])
    assert recorder.ended


def test_logs_are_read_when_due_and_otherwise_after_the_next_update_is_dispatched(tmp_path):
    """Due are the first update, which is compiled, multiples of the intervals, and the last update."""
    device = FakeDevice([1.0] * 11)
    config = TrainingConfig(steps=11, log_every=4, save_every=6, evaluate_every=9)
    callbacks = [
        ProgressBar(config.steps, 0, config.log_every, Forecast(config)),
        CsvLog(tmp_path / "log.csv", config.log_every, 0),
        SaveCheckpoints(lambda step: None, config.save_every, config.steps),
    ]
    run_loop(device, endless(), keras.Sequential(), config, callbacks)
    due = {1, 4, 6, 8, 9, 11}
    for step, converted in enumerate(device.converted_before, start=1):
        newest = step - 1
        assert (newest in converted) == (newest in due), f"step {newest}, when step {step} is dispatched"
        assert set(range(1, newest)) <= set(converted), "logs are read at most one update later"
    assert device.converted == list(range(1, 12)), "every loss is converted once"


def test_a_callback_may_read_the_logs_of_every_update():
    reader = LogReader()
    run_loop(FakeDevice([1.0, 2.0, 3.0]), endless(), keras.Sequential(), TrainingConfig(steps=3), [reader])
    assert [logs["loss"] for logs in reader.logs] == [1.0, 2.0, 3.0]
    assert set(reader.logs[0]) == {"loss", "cross_entropy", "learning_rate", "images_per_second"}


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("interval", ["save_every", "log_every", "evaluate_every"])
def test_loss_that_is_not_finite_stops_before_anything_of_that_update_is_saved(bad, interval):
    recorder = Recorder()
    config = TrainingConfig(**{"steps": 9, "save_every": 9, "log_every": 9, interval: 3})
    with pytest.raises(UserError, match=r"training: the loss is (nan|inf) at step 3; lower training.learning_rate"):
        run_loop(FakeDevice([1.0, 1.0, bad, *[1.0] * 6]), endless(), keras.Sequential(), config, [recorder])
    assert recorder.seen == [0, 1]
    assert recorder.ended


def test_loss_that_is_not_finite_between_saves_stops_before_the_next_save():
    device, saved, recorder = FakeDevice([1.0, 1.0, math.nan, 1.0, 1.0]), [], Recorder()
    config = TrainingConfig(steps=5, save_every=4, log_every=5)
    with pytest.raises(UserError, match="the loss is nan at step 3"):
        run_loop(device, endless(), keras.Sequential(), config, [recorder, SaveCheckpoints(saved.append, 4, 5)])
    assert (device.dispatched, saved) == (4, [])
    assert recorder.seen == [0, 1, 2], "the callbacks for step 4 are not called"


def test_training_stopped_by_a_callback_is_checked_before_it_ends():
    with pytest.raises(UserError, match="the loss is nan at step 3"):
        run_loop(
            FakeDevice([1.0, 1.0, math.nan]),
            endless(),
            keras.Sequential(),
            TrainingConfig(steps=9),
            [Recorder(stop_at=2)],
        )


def test_speed_is_the_mean_since_the_logs_were_last_due(monkeypatch):
    """Each update takes 2 s, the first 100 s, and saving 50 s, which does not count."""
    clock = [1000.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock[0])
    speeds = {}

    def step(_):
        clock[0] += 100.0 if clock[0] == 1000.0 else 2.0
        return {"loss": 1.0, "cross_entropy": 1.0, "learning_rate": 0.1}

    class Save(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if (batch + 1) % 4 == 0:
                speeds[batch + 1] = logs["images_per_second"]
                clock[0] += 50.0

    config = TrainingConfig(steps=12, batch_size=16, log_every=4)
    run_loop(step, endless(), keras.Sequential(), config, [Save()])
    assert speeds == {4: 8.0, 8: 8.0, 12: 8.0}


def test_user_callbacks_receive_a_plain_dict_and_never_a_diverged_update():
    class User(keras.callbacks.LambdaCallback):
        def __init__(self):
            super().__init__(on_train_begin=lambda logs: begun.append(logs))

        def on_train_batch_end(self, batch, logs=None):
            seen.append((batch, type(logs), logs["loss"]))

    begun, seen = [], []
    config = TrainingConfig(steps=9, save_every=9, log_every=9)
    with pytest.raises(UserError, match="the loss is nan at step 4"):
        run_loop(FakeDevice([1.0, 2.0, 3.0, math.nan]), endless(), keras.Sequential(), config, [], 0, [User()])
    assert begun == [{}]
    assert seen == [(0, dict, 1.0), (1, dict, 2.0), (2, dict, 3.0)]
