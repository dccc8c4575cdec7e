import numpy as np
import pytest
import tensorflow as tf

from deeplab.config import ModelConfig, TrainingConfig
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.training.checkpoint import load_state, save_state, saved_states, step_of
from deeplab.training.optimizer import make_optimizer
from tests.networks import randomize

SMALL = ModelConfig(depth_multiplier=0.1, head="v3", aspp_rates=(), aspp_channels=8, classes=3)


def fresh(seed: int, config: ModelConfig = SMALL):
    model = randomize(build_model(config), seed)
    optimizer = make_optimizer(TrainingConfig(), model)
    rng = np.random.default_rng(seed)
    for variable in optimizer.variables[2:]:
        variable.assign(rng.normal(size=variable.shape))
    optimizer.iterations.assign(seed)
    return {"model": model.variables, "optimizer": optimizer.variables, "average": [tf.Variable(float(seed))]}


def test_a_state_holds_weights_momenta_seeds_and_step(tmp_path):
    parts, other = fresh(7), fresh(8)
    path = save_state(tmp_path, 12, parts, keep=2)
    assert load_state(path, other) == 12
    for part in ("model", "optimizer", "average"):
        for a, b in zip(parts[part], other[part], strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert any("seed" in v.path for v in parts["model"]), "the dropout's seed is part of the state"


def test_only_the_latest_states_are_kept_in_order(tmp_path):
    parts = fresh(1)
    for step in (5, 100, 20, 1000):
        save_state(tmp_path, step, parts, keep=2)
    assert [step_of(path) for path in saved_states(tmp_path)] == [100, 1000]
    save_state(tmp_path, 1001, parts, keep=1)
    assert [step_of(path) for path in saved_states(tmp_path)] == [1001]


def test_a_truncated_state_is_named_and_changes_nothing(tmp_path):
    path = save_state(tmp_path, 3, fresh(1), keep=2)
    path.write_bytes(path.read_bytes()[:-2000])
    other = fresh(2)
    before = [np.copy(v) for v in other["model"]]
    with pytest.raises(UserError, match=r"step-00000003.npz: is damaged .*remove it"):
        load_state(path, other)
    for a, b in zip(before, other["model"], strict=True):
        np.testing.assert_array_equal(a, np.asarray(b))


def test_the_state_of_another_network_is_refused(tmp_path):
    path = save_state(tmp_path, 3, fresh(1), keep=2)
    other = ModelConfig(**{**vars(SMALL), "classes": 4})
    with pytest.raises(UserError, match="another network"):
        load_state(path, fresh(1, other))


def test_an_interrupted_write_leaves_what_was_there(tmp_path, monkeypatch):
    parts = fresh(1)
    save_state(tmp_path, 1, parts, keep=2)

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(OSError, match="No space left"):
        save_state(tmp_path, 2, parts, keep=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.npz"]
