import os
import signal

import keras
import pytest

from deeplab.config import TrainingConfig
from deeplab.errors import UserError
from deeplab.training.interrupt import StopOnSignal
from deeplab.training.loop import run_loop

LOGS = {"loss": 1.0, "cross_entropy": 1.0, "learning_rate": 0.1}


@pytest.fixture(autouse=True)
def heard_signals():
    """Signals that the tests were started to ignore, as a job in the background, are heard."""
    handlers = {number: signal.signal(number, signal.default_int_handler) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in handlers.items():
        signal.signal(number, handler)


def endless():
    while True:
        yield None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_after_the_update_during_which_it_arrives(number, capfd):
    made = []
    before = signal.getsignal(number)

    def step(_):
        made.append(len(made))
        if len(made) == 3:
            os.kill(os.getpid(), number)
        return LOGS

    saved = []
    stop = StopOnSignal(saved.append)
    run_loop(step, endless(), keras.Sequential(), TrainingConfig(steps=10), [stop])
    assert (len(made), stop.caught, stop.step, saved) == (3, number.name, 3, [3])
    assert signal.getsignal(number) is before
    assert f"{number.name}: stopping after this step" in capfd.readouterr().err
    with pytest.raises(UserError, match=rf"stopped by {number.name} after step 3; a checkpoint is saved; run the same"):
        stop.raise_if_stopped()


def test_signal_after_the_last_update_reports_that_step():
    """A later callback, such as one that saves, receives the signal."""

    class Signal(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                os.kill(os.getpid(), signal.SIGTERM)

    saved = []
    stop = StopOnSignal(saved.append)
    run_loop(lambda _: LOGS, endless(), keras.Sequential(), TrainingConfig(steps=5), [stop, Signal()])
    with pytest.raises(UserError, match="stopped by SIGTERM after step 5"):
        stop.raise_if_stopped()
    assert saved == [5]


def test_an_ignored_signal_stays_ignored():
    """Shells start jobs in the background with SIGINT ignored."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def step(_):
        os.kill(os.getpid(), signal.SIGINT)
        return LOGS

    saved = []
    stop = StopOnSignal(saved.append)
    run_loop(step, endless(), keras.Sequential(), TrainingConfig(steps=3), [stop])
    assert (stop.caught, stop.step, saved) == ("", 3, [])


def test_training_without_a_signal_raises_nothing():
    saved = []
    stop = StopOnSignal(saved.append)
    run_loop(lambda _: LOGS, endless(), keras.Sequential(), TrainingConfig(steps=3), [stop])
    stop.raise_if_stopped()
    assert (stop.caught, saved) == ("", [])


def test_a_diverged_update_is_not_saved_when_a_signal_arrives():
    def step(_):
        os.kill(os.getpid(), signal.SIGTERM)
        return LOGS | {"loss": float("nan")}

    saved = []
    stop = StopOnSignal(saved.append)
    with pytest.raises(UserError, match="the loss is nan at step 1"):
        run_loop(step, endless(), keras.Sequential(), TrainingConfig(steps=9), [stop])
    assert saved == []
