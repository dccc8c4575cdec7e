"""Quantization-aware trainings of a tiny network: from a float run, cut off, measured, and what is refused."""

import dataclasses
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.config import TrainConfig, TrainingConfig, build, to_mapping
from deeplab.datasets.shapes import shapes_source
from deeplab.errors import UserError
from deeplab.files import read_json, write_json
from deeplab.model.build import build_model
from deeplab.model.quantization.layers import Range, unfolded_layers
from deeplab.model.quantization.transform import activation_ranges, quantization_parameters
from deeplab.pretrained import import_weights
from deeplab.run_folder import ModelDescription, describe_model, load_model, save_model
from deeplab.training.optimizer import decayed_kernels
from deeplab.training.train import train
from deeplab.training.train_state import TrainState, make_train_state
from deeplab.training.train_step import averaged_variables, make_train_step
from tests.networks import picture, randomize

TINY = {
    "model": {"depth_multiplier": 0.1, "head": "v3", "aspp_rates": [], "aspp_channels": 8, "batch_norm_momentum": 0.9},
    "data": {"source": "shapes", "val_size": 1},
    "image_size": 33,
    "output_stride": [16],
}
FLOAT = {"steps": 2, "batch_size": 2, "crop_size": 33, "save_every": 2, "log_every": 1, "pictures": 1}
AWARE = FLOAT | {
    "steps": 3,
    "batch_norm": "frozen",
    "learning_rate": 1e-4,
    "quantize_aware": True,
    "quantization": {"delay": 1, "range_batches": 1, "range_momentum": 0.5},
}


def settings(run: Path, training: dict, **changes) -> TrainConfig:
    return build(TrainConfig, TINY | {"run": str(run), "training": training} | changes)


@pytest.fixture(scope="module", autouse=True)
def uncompiled():
    """A few updates of a tiny network take less time than compiling one."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """A float run, and a quantization-aware one from it."""
    folder = tmp_path_factory.mktemp("runs")
    found = {name: folder / name for name in ("float", "aware")}
    config = settings(found["float"], FLOAT)
    classes = shapes_source("train", 33).classes
    network = dataclasses.replace(config.model, classes=len(classes))
    found["float"].mkdir()
    save_model(found["float"], randomize(build_model(network, 16), seed=5), ModelDescription(network, classes))
    write_json(found["float"] / "train.json", to_mapping(config))
    train(settings(found["aware"], AWARE, pretrained=str(found["float"])))
    return found


def test_a_run_says_that_it_is_quantization_aware(runs):
    assert read_json(runs["aware"] / "model.json")["quantized"] is True
    assert describe_model(runs["aware"]).quantized
    assert not describe_model(runs["float"]).quantized
    assert quantization_parameters(load_model(runs["aware"], 8, 33))
    assert quantization_parameters(load_model(runs["float"], 8, 33)) == ()


class CutOff(keras.callbacks.Callback):
    """IoType the process' training behind its second update."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_a_training_cut_off_ends_as_one_that_was_not(runs, tmp_path):
    config = settings(tmp_path / "cut", AWARE, pretrained=str(runs["float"]))
    with pytest.raises(KeyboardInterrupt):
        train(config, callbacks=[CutOff()])
    train(config)
    whole, cut = (load_model(run, 16) for run in (runs["aware"], config.run))
    for a, b in zip(whole.get_weights(), cut.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_it_begins_with_the_float_weights_and_learns(runs):
    before = {layer.name: layer for layer in load_model(runs["float"], 16).layers}
    aware = [layer for layer in unfolded_layers(load_model(runs["aware"], 16)) if layer.weights]
    norms = [layer for layer in aware if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        for a, b in zip(norm.get_weights(), before[norm.name].get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    kernels = [layer for layer in aware if layer.name in before and not isinstance(layer, type(norms[0]))]
    moved = [np.abs(k.get_weights()[0] - before[k.name].get_weights()[0]).max() for k in kernels]
    assert 0 < max(moved) < 0.05


def test_the_state_tells_nothing_of_a_run_that_only_claims_to_be_aware(runs, tmp_path):
    for name in ("model.weights.h5", "train.json"):
        (tmp_path / name).write_bytes((runs["float"] / name).read_bytes())
    content = read_json(runs["float"] / "model.json")
    write_json(tmp_path / "model.json", content | {"quantized": True})
    with pytest.raises(UserError, match="of another network"):
        load_model(tmp_path, 16)
    # A run of before there was such a thing.
    write_json(tmp_path / "model.json", {k: content[k] for k in ("model", "classes")})
    assert not describe_model(tmp_path).quantized


def test_its_weights_can_be_imported_by_a_float_network(runs):
    aware = load_model(runs["aware"], 16)
    plain = build_model(describe_model(runs["aware"]).config, 16)
    report = import_weights(plain, runs["aware"])
    assert not report.missing
    assert not report.reinitialized
    wanted = {layer.name: layer.get_weights() for layer in unfolded_layers(aware)}
    for layer in plain.layers:
        for a, b in zip(layer.get_weights(), wanted.get(layer.name, []), strict=True):
            np.testing.assert_array_equal(a, b)


def batch():
    images = np.concatenate([picture(33, 33, seed=s) for s in (1, 2)])
    return tf.constant(images), tf.constant(np.arange(2 * 33 * 33).reshape(2, 33, 33) % 3, tf.int32)


def made_learner(config: TrainConfig, low: float, high: float) -> TrainState:
    """A learner with random weights and the same ends for every range that is not fixed."""
    learner = make_train_state(config)
    randomize(learner.plain, seed=3)
    for layer in activation_ranges(learner.network):
        if layer.fixed is None:
            layer.low.assign(low * np.ones(layer.sources))
            layer.high.assign(high * np.ones(layer.sources))
    return learner


@pytest.mark.parametrize("ranges", ["fixed", "learned"])
def test_ranges_follow_during_the_delay_and_then_stay_or_learn(ranges, tmp_path):
    quantization = {"delay": 1, "range_batches": 1, "range_momentum": 0.5, "ranges": ranges}
    config = settings(tmp_path, AWARE | {"quantization": quantization, "learning_rate": 1.0})
    # What the network sees lies far beyond its ranges, so that much is cut off and there is something to learn.
    learner = made_learner(config, -0.1, 0.1)
    step = make_train_step(learner.model, learner.optimizer, config.training)
    grids = [quantization_parameters(learner.network)]
    for _ in range(2):
        step(batch())
        grids.append(quantization_parameters(learner.network))
    assert grids[0] != grids[1]
    assert (grids[1] == grids[2]) == (ranges == "fixed")


def test_a_moving_average_is_over_the_ranges_as_well(tmp_path):
    config = settings(tmp_path, AWARE | {"ema_decay": 0.5, "learning_rate": 1.0})
    learner = made_learner(config, -1.0, 1.0)
    for average, variable in zip(learner.averages, averaged_variables(learner.model), strict=True):
        average.assign(variable.value)
    before = learner.network.get_weights()
    make_train_step(learner.model, learner.optimizer, config.training, averages=learner.averages)(batch())
    # A young average keeps (1 + 1) / (10 + 1) of what it was.
    after = learner.network.get_weights()
    for old, new, found in zip(before, after, learner.weights(), strict=True):
        np.testing.assert_allclose(found, 2 / 11 * old + 9 / 11 * new, rtol=1e-4, atol=1e-5)
    high = [
        i
        for i, v in enumerate(learner.network.weights)
        if v.path == learner.network.get_layer("logits_range").high.path
    ]
    assert np.abs(after[high[0]] - before[high[0]]).max() > 0.01


def test_a_batch_in_two_parts_is_one_batch(tmp_path):
    weights = []
    for parts in (1, 2):
        training = AWARE | {"accumulation": parts, "learning_rate": 1.0, "quantization": {"delay": 0}}
        config = settings(tmp_path, training, model=TINY["model"] | {"dropout": 0.0})
        learner = made_learner(config, -3.0, 6.0)
        before = learner.network.get_weights()
        make_train_step(learner.model, learner.optimizer, config.training)(batch())
        weights.append(learner.network.get_weights())
    moved, apart = (
        np.concatenate([np.ravel(a - b) for a, b in zip(weights[0], other, strict=True)])
        for other in (before, weights[1])
    )
    assert np.linalg.norm(moved) > 0
    assert np.linalg.norm(apart) < 1e-3 * np.linalg.norm(moved)


def test_ranges_and_frozen_norms_learn_only_if_asked(tmp_path):
    for ranges in ("fixed", "learned"):
        quantization = AWARE["quantization"] | {"ranges": ranges}
        model = make_train_state(settings(tmp_path, AWARE | {"quantization": quantization})).model
        names = [v.path for v in model.trainable_variables]
        assert any("_range/" in name for name in names) == (ranges == "learned")
        assert not any("_bn/" in name for name in names)
    # 16 expansions and 17 projections, the stem, four of the head: what decays is what does in the float network.
    assert len(decayed_kernels(model)) == 16 + 17 + 1 + 4
    assert sum(isinstance(layer, Range) for layer in model.layers) > 50


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "mixed_bfloat16"}, "training.precision"),
        ({"auxiliary_weight": 0.4}, "training.auxiliary_weight"),
        ({"recalibration_batches": 3}, "training.recalibration_batches"),
        ({"quantization": {"delay": -1}}, "training.quantization.delay"),
        ({"quantization": {"range_momentum": 1.0}}, "training.quantization.range_momentum"),
        ({"quantization": {"range_batches": 0}}, "training.quantization.range_batches"),
    ],
)
def test_settings_that_contradict_it_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        build(TrainingConfig, AWARE | changes)


def test_random_weights_are_refused(tmp_path):
    with pytest.raises(UserError, match="pretrained: none"):
        train(settings(tmp_path / "run", AWARE))
