"""Whole trainings of a tiny network whose validations return given scores."""

import json
from collections.abc import Callable, Iterator

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.config import TrainConfig, TrainingConfig, build
from deeplab.errors import UserError
from deeplab.evaluation.scores import scores_from_matrices
from deeplab.files import list_checkpoints
from deeplab.run_folder import load_model
from deeplab.training.checkpoint import checkpoint_step
from deeplab.training.distribution import Workers
from deeplab.training.early_stopping import EarlyStopping
from deeplab.training.train import run_training, train
from deeplab.training.validation import Validator
from deeplab.training.validation_table import read_validations

pytestmark = pytest.mark.usefixtures("uncompiled")

MIOUS = (0.2, 0.6, 0.5, 0.55, 0.9)
"""With patience 2 the second of these is the best, and the training stops after the fourth, at step 4."""

SETTINGS = {
    "model": {"depth_multiplier": 0.1, "head": "v3", "aspp_rates": [], "aspp_channels": 8, "batch_norm_momentum": 0.9},
    "data": {"source": "shapes", "val_size": 2},
    "training": {
        "steps": 6,
        "batch_size": 2,
        "crop_size": 33,
        "save_every": 2,
        "log_every": 1,
        "evaluate_every": 1,
        "evaluate_images": 1,
        "patience": 2,
        "preview_images": 0,
    },
    "output_stride": [16],
}

WITHOUT_PATIENCE = SETTINGS["training"] | {"steps": 2, "patience": None, "evaluate_every": None}


class Recorder(keras.callbacks.Callback):
    """Keeps the weights after each update, and interrupts the training before update `stop_at`."""

    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.stop_at, self.weights = stop_at, [[]]

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.stop_at:
            raise KeyboardInterrupt

    def on_train_batch_end(self, batch, logs=None):
        self.weights.append(self.model.get_weights())


@pytest.fixture
def validate(monkeypatch) -> Callable[[tuple[float, ...]], None]:
    """A function that sets the mIoU of the next validations; the evaluation at the end has 0.7."""
    mious: Iterator[float] = iter(())

    def evaluate(self, images=None):
        miou = 0.7 if images is None else next(mious)
        # Both classes have IoU a / (a + 2b).
        a, b = round(1000 * miou), round(500 * (1 - miou))
        return {16: scores_from_matrices([np.array([[a, b], [b, a]])], ("one", "two"), ["x"])}

    def set_mious(values):
        nonlocal mious
        mious = iter(values)

    monkeypatch.setattr(Validator, "evaluate", evaluate)
    monkeypatch.setattr(Validator, "classes", ("one", "two"))
    return set_mious


def assert_equal_weights(one, other) -> None:
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def steps_of(run) -> list[str]:
    return [row.split(",")[0] for row in (run / "log.csv").read_text().splitlines()[1:]]


def test_training_stops_without_a_better_validation_and_ends_with_the_best_weights(validate, tmp_path, capsys):
    config, recorder = build(TrainConfig, SETTINGS | {"run": str(tmp_path)}), Recorder()
    validate(MIOUS)
    train(config, callbacks=[recorder])
    assert len(recorder.weights) == 1 + 4
    assert checkpoint_step(list_checkpoints(tmp_path / "state")[-1]) == 4
    assert json.loads((tmp_path / "best.json").read_text())["step"] == 2
    assert_equal_weights(load_model(tmp_path, 16).get_weights(), recorder.weights[2])
    assert json.loads((tmp_path / "train.json").read_text())["training"]["result"] == "best"
    page = (tmp_path / "training.html").read_text()
    assert "Stopped early after 4 of 6 steps: 2 validations in a row without a better mIoU." in page
    assert "http-equiv" not in page
    capsys.readouterr()
    validate(())
    train(config)
    assert "is complete; evaluating it" in capsys.readouterr().out
    assert steps_of(tmp_path) == ["1", "2", "3", "4"]
    assert_equal_weights(load_model(tmp_path, 16).get_weights(), recorder.weights[2])


def test_the_initial_weights_are_the_result_if_no_update_improves_them(validate, tmp_path, capsys):
    """Step 0 does not count for the patience: the training stops at step 4 as with a random classifier."""
    validate(MIOUS)
    train(build(TrainConfig, SETTINGS | {"run": str(tmp_path / "first")}))
    capsys.readouterr()
    second = {"run": str(tmp_path / "second"), "pretrained": str(tmp_path / "first")}
    config = build(TrainConfig, SETTINGS | second)
    validate((0.8, 0.2))
    with pytest.raises(KeyboardInterrupt):
        train(config, callbacks=[Recorder(stop_at=1)])
    validate((0.8, *MIOUS))
    run_training(config)
    validations = read_validations(tmp_path / "second")
    assert (validations.steps, validations.deciding) == ([0, 1, 2, 3, 4], [0.8, *MIOUS[:4]])
    first, result = (load_model(tmp_path / name, 16).get_weights() for name in ("first", "second"))
    assert_equal_weights(first, result)
    lines = capsys.readouterr().out
    assert "step 0/6  validation mIoU OS16 80.00%" in lines
    assert "weights: the initial ones (step 0), the best of 5 validations; no later one was better" in lines


@pytest.mark.slow
def test_initial_weights_are_not_the_best_of_no_other_validation(validate, tmp_path):
    train(build(TrainConfig, SETTINGS | {"run": str(tmp_path / "first"), "training": WITHOUT_PATIENCE}))
    second = {"run": str(tmp_path / "second"), "pretrained": str(tmp_path / "first")}
    training = WITHOUT_PATIENCE | {"evaluate_every": 3, "result": "best"}
    train(build(TrainConfig, SETTINGS | second | {"training": training}))
    assert read_validations(tmp_path / "second").steps == []
    first, result = (load_model(tmp_path / name, 16).get_weights() for name in ("first", "second"))
    assert any((a != b).any() for a, b in zip(first, result, strict=True))


@pytest.mark.slow
def test_a_resumed_training_waits_for_as_many_validations(validate, tmp_path):
    """Interrupted after step 3, with the checkpoint of step 2: the validation after step 3 is repeated."""
    config, first, second = build(TrainConfig, SETTINGS | {"run": str(tmp_path)}), Recorder(stop_at=3), Recorder()
    validate(MIOUS[:3])
    with pytest.raises(KeyboardInterrupt):
        train(config, callbacks=[first])
    validate(MIOUS[2:])
    train(config, callbacks=[second])
    assert len(second.weights) == 1 + 2
    assert steps_of(tmp_path) == ["1", "2", "3", "4"]
    assert_equal_weights(load_model(tmp_path, 16).get_weights(), first.weights[2])


def test_a_better_validation_in_time_keeps_the_training_going(tmp_path):
    workers = Workers(tf.distribute.get_strategy())
    stopping = EarlyStopping(tmp_path, TrainingConfig(evaluate_every=1, patience=2), workers)
    rows = enumerate((0.2, 0.1, 0.3, 0.3, 0.4, 0.4, 0.2), 1)
    (tmp_path / "validation.csv").write_text("\n".join(["step,miou_os16", *(f"{s},{m}" for s, m in rows), ""]))
    # Of equal ones the first counts as the best: step 5.
    assert [step for step in range(8) if stopping.has_stopped(step)] == [7]
    assert not EarlyStopping(tmp_path, TrainingConfig(evaluate_every=1), workers).has_stopped(7)


def test_patience_needs_validations(tmp_path):
    training = SETTINGS["training"] | {"evaluate_every": None}
    with pytest.raises(UserError, match=r"training\.patience: expected null without training\.evaluate_every, got 2"):
        train(build(TrainConfig, SETTINGS | {"run": str(tmp_path / "run"), "training": training}))
    assert not list(tmp_path.iterdir())
