import os
import signal

import keras
import pytest

from deeplab.config import TrainingConfig
from deeplab.errors import UserError
from deeplab.training.interrupt import StopOnSignal
from deeplab.training.loop import run_loop


def endless():
    while True:
        yield None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_saves_behind_the_update_it_came_in_and_stops(number, capfd):
    made, saved = [], []
    before = signal.getsignal(number)

    def step(_):
        made.append(len(made))
        if len(made) == 3:
            os.kill(os.getpid(), number)
        return {"loss": 1.0, "cross_entropy": 1.0, "learning_rate": 0.1}

    stop = StopOnSignal(saved.append)
    run_loop(step, endless(), keras.Sequential(), TrainingConfig(steps=10), [stop])
    assert (len(made), saved) == (3, [3])
    assert signal.getsignal(number) is before
    assert f"{number.name}: stopping after this step" in capfd.readouterr().err
    with pytest.raises(UserError, match=rf"stopped by {number.name} after step 3; its state is saved; the same"):
        stop.raise_if_stopped()


def test_without_a_signal_nothing_is_said():
    stop = StopOnSignal(lambda step: None)
    step = {"loss": 1.0, "cross_entropy": 1.0, "learning_rate": 0.1}
    run_loop(lambda _: step, endless(), keras.Sequential(), TrainingConfig(steps=3), [stop])
    stop.raise_if_stopped()
    assert stop.caught == ""
