import numpy as np
import pytest
import tensorflow as tf

from deeplab.config import ModelConfig, TrainingConfig
from deeplab.errors import UserError
from deeplab.files import list_checkpoints
from deeplab.model.build import build_model
from deeplab.training.checkpoint import checkpoint_step, load_checkpoint, save_checkpoint
from deeplab.training.optimizer import make_optimizer
from tests.networks import randomize

SMALL = ModelConfig(depth_multiplier=0.1, head="v3", aspp_rates=(), aspp_channels=8, classes=3)


def random_parts(seed: int, config: ModelConfig = SMALL):
    model = randomize(build_model(config), seed)
    optimizer = make_optimizer(TrainingConfig(), model)
    rng = np.random.default_rng(seed)
    for variable in optimizer.variables[2:]:
        variable.assign(rng.normal(size=variable.shape))
    optimizer.iterations.assign(seed)
    return {"model": model.variables, "optimizer": optimizer.variables, "average": [tf.Variable(float(seed))]}


def test_checkpoint_restores_weights_momenta_seeds_and_step(tmp_path):
    parts, other = random_parts(7), random_parts(8)
    path = save_checkpoint(tmp_path, 12, parts, keep=2)
    assert load_checkpoint(path, other) == 12
    for part in ("model", "optimizer", "average"):
        for a, b in zip(parts[part], other[part], strict=True):
            np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
    assert any("seed" in v.path for v in parts["model"]), "the seed of dropout is not in the checkpoint"


def test_only_the_latest_checkpoints_are_kept_and_listed_in_order(tmp_path):
    parts = random_parts(1)
    for step in (5, 100, 20, 1000):
        save_checkpoint(tmp_path, step, parts, keep=2)
    assert [checkpoint_step(path) for path in list_checkpoints(tmp_path)] == [100, 1000]
    save_checkpoint(tmp_path, 1001, parts, keep=1)
    assert [checkpoint_step(path) for path in list_checkpoints(tmp_path)] == [1001]


def test_truncated_checkpoint_is_named_and_changes_no_variable(tmp_path):
    path = save_checkpoint(tmp_path, 3, random_parts(1), keep=2)
    path.write_bytes(path.read_bytes()[:-2000])
    other = random_parts(2)
    before = [np.copy(v) for v in other["model"]]
    with pytest.raises(UserError, match=r"step-00000003.npz: is damaged .*remove it"):
        load_checkpoint(path, other)
    for a, b in zip(before, other["model"], strict=True):
        np.testing.assert_array_equal(a, np.asarray(b))


def test_checkpoint_of_another_network_is_refused(tmp_path):
    path = save_checkpoint(tmp_path, 3, random_parts(1), keep=2)
    other = ModelConfig(**{**vars(SMALL), "classes": 4})
    with pytest.raises(UserError, match="belongs to another network"):
        load_checkpoint(path, random_parts(1, other))


def test_interrupted_write_keeps_the_previous_checkpoint(tmp_path, monkeypatch):
    parts = random_parts(1)
    save_checkpoint(tmp_path, 1, parts, keep=2)

    def raise_disk_full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", raise_disk_full)
    with pytest.raises(OSError, match="No space left"):
        save_checkpoint(tmp_path, 2, parts, keep=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-00000001.npz"]
