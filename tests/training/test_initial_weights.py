"""Weights that a training starts from: statistics, equalized kernels and the fitted classifier."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from deeplab.config import TrainConfig, build
from deeplab.datasets.open import open_source
from deeplab.datasets.pipeline import iterate, training_batches
from deeplab.errors import UserError
from deeplab.model.batch_norm import BatchNorm
from deeplab.pretrained import assignment
from deeplab.run_folder import ModelDescription
from deeplab.training import initial_weights
from deeplab.training.initial_weights import load_pretrained
from deeplab.training.train import train
from deeplab.training.train_state import TrainState, make_train_state
from deeplab.training.train_step import averaged_variables
from tests.networks import randomize
from tests.training.test_train import TINY

pytestmark = pytest.mark.usefixtures("uncompiled")


def settings(run: Path, model: dict[str, Any] | None = None, **training: Any) -> TrainConfig:
    training = TINY["training"] | {"steps": 1, "learning_rate": 1e-12, "weight_decay": 0.0} | training
    changes = {"run": str(run), "model": model or TINY["model"], "training": training, "output_stride": [16]}
    return build(TrainConfig, TINY | changes)


def first_images(config: TrainConfig, batches: int) -> np.ndarray:
    """Return the images of the first training batches, all in one."""
    stream = iterate(training_batches(open_source(config.data, "train"), config.training, config.seed))
    return np.concatenate([image.numpy() for image, _ in itertools.islice(stream, batches)])


def output_of(model: keras.Model, layer: str, images: np.ndarray) -> np.ndarray:
    probe = keras.Model(model.input, model.get_layer(layer).output)
    return np.asarray(probe(images, training=False), np.float64)


def load(config: TrainConfig) -> TrainState:
    """Return the state of a training that loads "a file"."""
    return load_with_result(config)[0]


def load_with_result(config: TrainConfig) -> tuple[TrainState, bool]:
    """Return the state of a training that loads "a file", and what `load_pretrained` returns."""
    state = make_train_state(config)
    return state, load_pretrained(state, config, open_source(config.data, "train"), "a file")


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "unfolds"), [("train", True), ("frozen_statistics", False)])
def test_folded_batch_norms_get_statistics_unless_these_are_frozen(tmp_path, monkeypatch, mode, unfolds):
    def import_folded(model, path, *, allow_missing):
        randomize(model)
        for layer in model.layers:
            if isinstance(layer, BatchNorm):
                layer.moving_mean.assign(np.zeros(layer.moving_mean.shape))
        return assignment.ImportReport(path, (), (), (), folded=True)

    monkeypatch.setattr(initial_weights, "import_weights", import_folded)
    config = settings(tmp_path, batch_norm=mode)
    state = load(config)
    pixels = output_of(state.network, "backbone_stem", first_images(config, 4))
    mean = pixels.mean((0, 1, 2)) if unfolds else 0.0
    np.testing.assert_allclose(state.network.get_layer("backbone_stem_bn").moving_mean, mean, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("per_tensor", [True, False])
def test_kernels_with_one_scale_are_equalized_before_they_are_rounded(tmp_path, monkeypatch, per_tensor):
    """Every second channel of a projection is a thousand times as large, and what reads it as much smaller."""
    project, expand = "backbone_block0_project", "backbone_block1_expand"
    imported: list[np.ndarray] = []

    def import_unequal(model, path, *, allow_missing):
        randomize(model)
        factor = np.where(np.arange(model.get_layer(expand).kernel.shape[2]) % 2, 1000.0, 1.0)
        norm, kernel = model.get_layer(f"{project}_bn"), model.get_layer(expand).kernel
        norm.gamma.assign(np.asarray(norm.gamma) * factor)
        norm.beta.assign(np.asarray(norm.beta) * factor)
        kernel.assign(np.asarray(kernel) / factor[:, None])
        imported.append(output_of(model, "logits", images))
        return assignment.ImportReport(path, (), (), (), folded=False)

    monkeypatch.setattr(initial_weights, "import_weights", import_unequal)
    quantized = {"quantize_aware": True, "batch_norm": "frozen", "quantization": {"per_tensor": per_tensor, "delay": 0}}
    config = settings(tmp_path, TINY["model"] | {"aspp_rates": []}, **quantized)
    images = first_images(config, 1)
    state = load(config)
    np.testing.assert_allclose(output_of(state.float_network, "logits", images), imported[0], rtol=1e-3, atol=1e-4)
    ranges = np.abs(state.float_network.get_layer(expand).kernel).max((0, 1, 3))
    assert (ranges.max() / ranges.min() < 30) == per_tensor


def import_random(missing: tuple[str, ...] = (), loaded: tuple[str, ...] = ()) -> Callable[..., Any]:
    """Return a replacement of `import_weights` that draws weights and reports these variables."""

    def import_weights(model, path, *, allow_missing):
        randomize(model)
        return assignment.ImportReport(path, loaded, ("logits/kernel",) if not loaded else (), missing, folded=False)

    return import_weights


@pytest.mark.slow
def test_the_classifier_is_fitted_to_the_first_crops(tmp_path, monkeypatch):
    fitted: list[tuple[np.ndarray, np.ndarray, int]] = []

    def fit(model, batches, pixels, seed):
        images, labels = zip(*((image.numpy(), label.numpy()) for image, label in batches), strict=True)
        fitted.append((np.concatenate(images), np.concatenate(labels), pixels))

    monkeypatch.setattr(initial_weights, "import_weights", import_random())
    monkeypatch.setattr(initial_weights, "fit_classifier", fit)
    assert not load_with_result(settings(tmp_path, linear_probe_images=0))[1]
    assert not fitted
    config = settings(tmp_path, linear_probe_images=5)
    assert load_with_result(config)[1]
    ((images, labels, pixels),) = fitted
    # 3 batches of 2 images, each with a third of the pixels.
    np.testing.assert_array_equal(images, first_images(config, 3))
    assert pixels == 83_333
    # An image of drawn shapes contains background and shapes.
    assert labels.shape == images.shape[:3]
    assert all(len(np.unique(label)) > 1 for label in labels)


@pytest.mark.slow
def test_a_fitted_classifier_separates_the_classes_and_is_averaged(tmp_path, monkeypatch):
    """The random features of a small network are better than none: the fit has a lower loss than equal logits."""
    monkeypatch.setattr(initial_weights, "import_weights", import_random())
    config = settings(tmp_path, linear_probe_images=8, ema_decay=0.9)
    state = load(config)
    kernel = state.network.get_layer("logits").kernel
    averages = dict(zip((v.path for v in averaged_variables(state.model)), state.averages, strict=True))
    np.testing.assert_array_equal(averages[kernel.path], np.asarray(kernel))
    image, label = next(iter(iterate(training_batches(open_source(config.data, "train"), config.training, 0))))
    logits = np.asarray(state.network(image, training=False)).reshape(-1, config.network.classes)
    ids = label.numpy().reshape(-1)
    losses = np.log(np.exp(logits).sum(axis=-1)) - np.take_along_axis(logits, ids[:, None] % 255, 1)[:, 0]
    assert losses[ids != 255].mean() < 0.9 * np.log(config.network.classes)


@pytest.mark.slow
@pytest.mark.parametrize("same", [True, False])
def test_a_loaded_classifier_of_the_same_classes_is_kept(tmp_path, monkeypatch, same):
    config = settings(tmp_path, linear_probe_images=5)
    classes = open_source(config.data, "train").classes
    description = ModelDescription(config.network, classes if same else classes[::-1])
    fitted = []
    monkeypatch.setattr(initial_weights, "import_weights", import_random(loaded=("logits/kernel", "logits/bias")))
    monkeypatch.setattr(initial_weights, "describe_weights", lambda _: description)
    monkeypatch.setattr(initial_weights, "fit_classifier", lambda *arguments: fitted.append(arguments))
    assert load_with_result(config)[1]
    assert bool(fitted) != same
    assert load_with_result(settings(tmp_path, linear_probe_images=0))[1] == same


@pytest.mark.slow
def test_the_classifier_of_a_head_with_several_layers_of_logits_is_found(tmp_path, monkeypatch):
    loaded = ("logits_high/kernel", "logits_high/bias", "logits_low/kernel", "logits_low/bias")
    config = settings(tmp_path)
    description = ModelDescription(config.network, open_source(config.data, "train").classes)
    monkeypatch.setattr(initial_weights, "import_weights", import_random(loaded=loaded))
    monkeypatch.setattr(initial_weights, "describe_weights", lambda _: description)
    assert load_with_result(config)[1]
    monkeypatch.setattr(initial_weights, "import_weights", import_random(loaded=("aspp0/kernel",)))
    assert not load_with_result(config)[1]


@pytest.mark.slow
def test_a_classifier_is_not_fitted_to_layers_that_were_not_loaded(tmp_path, monkeypatch):
    config = settings(tmp_path, linear_probe_images=5)
    monkeypatch.setattr(initial_weights, "fit_classifier", lambda *_: None)
    monkeypatch.setattr(initial_weights, "import_weights", import_random(missing=("decoder_low_level/kernel",)))
    load(config)
    monkeypatch.setattr(initial_weights, "import_weights", import_random(missing=("aspp0/kernel",)))
    with pytest.raises(
        UserError, match=r"training\.linear_probe_images: .* layers before the classifier, first aspp0/k"
    ):
        load(config)


def test_a_classifier_cannot_be_fitted_to_random_features(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"^pretrained: training\.linear_probe_images=5 needs"):
        train(settings(run, linear_probe_images=5))
    assert not run.exists()
