"""Quantization-aware trainings of a tiny network: from a float run, interrupted, evaluated, with wrong settings."""

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
from deeplab.model.batch_norm import BatchNorm
from deeplab.model.build import build_model
from deeplab.model.quantization.layers import Range, unfolded_layers
from deeplab.model.quantization.transform import activation_ranges, quantization_parameters
from deeplab.pretrained import import_weights
from deeplab.run_folder import ModelDescription, load_model, open_model, save_model
from deeplab.training.optimizer import decayed_kernels
from deeplab.training.train import train
from deeplab.training.train_state import TrainState, make_train_state
from deeplab.training.train_step import averaged_variables, make_train_step
from tests.networks import random_image, randomize

pytestmark = pytest.mark.usefixtures("uncompiled")

TINY = {
    "model": {"depth_multiplier": 0.1, "head": "v3", "aspp_rates": [], "aspp_channels": 8, "batch_norm_momentum": 0.9},
    "data": {"source": "shapes", "val_size": 1},
    "image_size": 33,
    "output_stride": [16],
}
FLOAT = {"steps": 2, "batch_size": 2, "crop_size": 33, "save_every": 2, "log_every": 1, "preview_images": 1}
AWARE = FLOAT | {
    "steps": 3,
    "batch_norm": "frozen",
    "learning_rate": 1e-4,
    "weight_decay": 4e-5,
    "quantize_aware": True,
    "quantization": {"delay": 1, "range_batches": 1, "range_momentum": 0.5},
}


def settings(run: Path, training: dict, **changes) -> TrainConfig:
    return build(TrainConfig, TINY | {"run": str(run), "training": training} | changes)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    """Return a float run, and a quantization-aware run that started from it."""
    folder = tmp_path_factory.mktemp("runs")
    runs = {name: folder / name for name in ("float", "aware")}
    config = settings(runs["float"], FLOAT)
    classes = shapes_source("train", 33).classes
    network = dataclasses.replace(config.network, classes=len(classes))
    runs["float"].mkdir()
    save_model(runs["float"], randomize(build_model(network, 16), seed=5), ModelDescription(network, classes))
    write_json(runs["float"] / "train.json", to_mapping(config))
    train(settings(runs["aware"], AWARE, pretrained=str(runs["float"])))
    return runs


def test_run_folder_states_that_it_is_quantization_aware(runs):
    assert read_json(runs["aware"] / "model.json")["quantized"] is True
    assert open_model(runs["aware"]).description.quantized
    assert not open_model(runs["float"]).description.quantized
    assert quantization_parameters(load_model(runs["aware"], 8, 33))
    assert quantization_parameters(load_model(runs["float"], 8, 33)) == ()


class Interrupt(keras.callbacks.Callback):
    """Interrupts the training after its second update."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
def test_interrupted_training_resumes_with_equal_weights(runs, tmp_path):
    config = settings(tmp_path / "resumed", AWARE, pretrained=str(runs["float"]))
    with pytest.raises(KeyboardInterrupt):
        train(config, callbacks=[Interrupt()])
    train(config)
    straight, resumed = (load_model(run, 16) for run in (runs["aware"], config.run))
    for a, b in zip(straight.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_training_starts_from_the_float_weights(runs):
    before = {layer.name: layer for layer in load_model(runs["float"], 16).layers}
    aware = [layer for layer in unfolded_layers(load_model(runs["aware"], 16)) if layer.weights]
    norms = [layer for layer in aware if isinstance(layer, keras.layers.BatchNormalization)]
    for norm in norms:
        for a, b in zip(norm.get_weights(), before[norm.name].get_weights(), strict=True):
            np.testing.assert_array_equal(a, b)
    kernels = [layer for layer in aware if layer.name in before and not isinstance(layer, type(norms[0]))]
    moved = [np.abs(k.get_weights()[0] - before[k.name].get_weights()[0]).max() for k in kernels]
    assert 0 < max(moved) < 0.05


def test_float_weights_with_a_quantization_aware_description_are_refused(runs, tmp_path):
    for name in ("model.weights.h5", "train.json"):
        (tmp_path / name).write_bytes((runs["float"] / name).read_bytes())
    content = read_json(runs["float"] / "model.json")
    write_json(tmp_path / "model.json", content | {"quantized": True})
    with pytest.raises(UserError, match="of another network"):
        load_model(tmp_path, 16)
    write_json(tmp_path / "model.json", {k: content[k] for k in ("model", "classes")})
    with pytest.raises(UserError, match="quantized: a value is required"):
        load_model(tmp_path, 16)


def test_float_network_imports_the_weights_of_a_quantization_aware_run(runs):
    aware = load_model(runs["aware"], 16)
    plain = build_model(open_model(runs["aware"]).description.config, 16)
    report = import_weights(plain, runs["aware"])
    assert not report.missing
    assert not report.reinitialized
    expected = {layer.name: layer.get_weights() for layer in unfolded_layers(aware)}
    for layer in plain.layers:
        for a, b in zip(layer.get_weights(), expected.get(layer.name, []), strict=True):
            np.testing.assert_array_equal(a, b)


def batch():
    images = np.concatenate([random_image(33, 33, seed=s) for s in (1, 2)])
    return tf.constant(images), tf.constant(np.arange(2 * 33 * 33).reshape(2, 33, 33) % 3, tf.int32)


def random_state(config: TrainConfig, low: float, high: float) -> TrainState:
    """Return a state with random weights and the range `low` to `high` for all activations but the image."""
    state = make_train_state(config)
    randomize(state.float_network, seed=3)
    for layer in activation_ranges(state.network):
        if layer.fixed is None:
            layer.low.assign(low * np.ones(layer.sources))
            layer.high.assign(high * np.ones(layer.sources))
    return state


@pytest.mark.parametrize("ranges", ["fixed", "learned"])
def test_ranges_track_the_batches_during_the_delay_and_are_then_fixed_or_learned(ranges, tmp_path):
    quantization = {"delay": 1, "range_batches": 1, "range_momentum": 0.5, "ranges": ranges}
    config = settings(tmp_path, AWARE | {"quantization": quantization, "learning_rate": 1.0})
    # The activations are far outside of the ranges: they are clipped, so learned ranges have a gradient.
    state = random_state(config, -0.1, 0.1)
    step = make_train_step(state.model, state.optimizer, config.training)
    parameters = [quantization_parameters(state.network)]
    for _ in range(2):
        step(batch())
        parameters.append(quantization_parameters(state.network))
    assert parameters[0] != parameters[1]
    assert (parameters[1] == parameters[2]) == (ranges == "fixed")


def test_update_does_not_read_the_optimizer_on_the_host(tmp_path, monkeypatch):
    config = settings(tmp_path, AWARE)
    state = random_state(config, -1.0, 1.0)
    step = make_train_step(state.model, state.optimizer, config.training)

    def fail(*_):
        raise AssertionError("a variable was read on the host")

    monkeypatch.setattr(keras.Variable, "numpy", fail)
    step(batch())


def test_moving_average_includes_the_ranges(tmp_path):
    config = settings(tmp_path, AWARE | {"ema_decay": 0.5, "learning_rate": 1.0})
    state = random_state(config, -1.0, 1.0)
    for average, variable in zip(state.averages, averaged_variables(state.model), strict=True):
        average.assign(variable.value)
    before = state.network.get_weights()
    make_train_step(state.model, state.optimizer, config.training, averages=state.averages)(batch())
    # The decay after the first update is (1 + 1) / (10 + 1).
    after = state.network.get_weights()
    for old, new, average in zip(before, after, state.weights(), strict=True):
        np.testing.assert_allclose(average, 2 / 11 * old + 9 / 11 * new, rtol=1e-4, atol=1e-5)
    high = [
        i for i, v in enumerate(state.network.weights) if v.path == state.network.get_layer("logits_range").high.path
    ]
    assert np.abs(after[high[0]] - before[high[0]]).max() > 0.01


@pytest.mark.parametrize(("mode", "learns"), [("frozen_statistics", True), ("frozen", False)])
def test_biases_learn_unless_batch_norm_is_frozen_and_statistics_stay(mode, learns, tmp_path):
    """Folded official weights have all their biases in beta, which quantization-aware training has to move."""
    config = settings(tmp_path, AWARE | {"batch_norm": mode, "learning_rate": 0.1, "quantization": {"delay": 2}})
    state = random_state(config, -3.0, 6.0)
    norms = [layer for layer in unfolded_layers(state.network) if isinstance(layer, BatchNorm)]
    before = [layer.get_weights() for layer in norms]
    make_train_step(state.model, state.optimizer, config.training)(batch())
    changed = [[not np.array_equal(a, b) for a, b in zip(old, x.get_weights(), strict=True)] for old, x in
               zip(before, norms, strict=True)]  # fmt: skip
    gammas, betas, means, variances = np.mean(changed, axis=0)
    assert (means, variances) == (0, 0)
    assert (gammas > 0.9, betas > 0.9) == (learns, learns)


def test_accumulated_parts_make_the_update_of_the_whole_batch(tmp_path):
    weights = []
    for parts in (1, 2):
        training = AWARE | {"accumulation": parts, "learning_rate": 1.0, "quantization": {"delay": 0}}
        config = settings(tmp_path, training, model=TINY["model"] | {"dropout": 0.0})
        state = random_state(config, -3.0, 6.0)
        before = state.network.get_weights()
        make_train_step(state.model, state.optimizer, config.training)(batch())
        weights.append(state.network.get_weights())
    update, difference = (
        np.concatenate([np.ravel(a - b) for a, b in zip(weights[0], other, strict=True)])
        for other in (before, weights[1])
    )
    assert np.linalg.norm(update) > 0
    assert np.linalg.norm(difference) < 1e-3 * np.linalg.norm(update)


def test_ranges_are_trainable_only_if_learned_and_frozen_batch_norms_never(tmp_path):
    for ranges in ("fixed", "learned"):
        quantization = AWARE["quantization"] | {"ranges": ranges}
        model = make_train_state(settings(tmp_path, AWARE | {"quantization": quantization})).model
        names = [v.path for v in model.trainable_variables]
        assert any("_range/" in name for name in names) == (ranges == "learned")
        assert not any("_bn/" in name for name in names)
    # The kernels that decay are those of the float network: 16 expansions, 17 projections, the stem, 4 of the head.
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
def test_settings_that_contradict_quantization_aware_training_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        build(TrainingConfig, AWARE | changes)


def test_quantization_aware_training_from_random_weights_is_refused(tmp_path):
    with pytest.raises(UserError, match="pretrained: quantization-aware training needs pretrained weights"):
        train(settings(tmp_path / "run", AWARE))
