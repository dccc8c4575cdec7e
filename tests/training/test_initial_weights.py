"""Weights that a training starts from: statistics, equalized kernels and the fitted classifier."""

import itertools
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
from deeplab.training import initial_weights
from deeplab.training.initial_weights import load_pretrained
from deeplab.training.train import train
from deeplab.training.train_state import TrainState, make_train_state
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
    state = make_train_state(config)
    load_pretrained(state, config, open_source(config.data, "train"), "a file")
    return state


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


@pytest.mark.slow
def test_the_classifier_is_fitted_to_the_first_images(tmp_path, monkeypatch):
    def import_random(model, path, *, allow_missing):
        randomize(model)
        return assignment.ImportReport(path, (), (), (), folded=False)

    fitted: list[tuple[int, int]] = []

    def fit(model, batches, pixels, seed):
        fitted.append((sum(len(image) for image, _ in batches), pixels))

    monkeypatch.setattr(initial_weights, "import_weights", import_random)
    monkeypatch.setattr(initial_weights, "fit_classifier", fit)
    load(settings(tmp_path, linear_probe_images=0))
    assert not fitted
    # Batches of 2 images: 3 batches, each with a third of the pixels.
    load(settings(tmp_path, linear_probe_images=5))
    assert fitted == [(6, 83_333)]


def test_a_classifier_cannot_be_fitted_to_random_features(tmp_path):
    run = tmp_path / "run"
    with pytest.raises(UserError, match=r"^pretrained: is missing, but training\.linear_probe_images=5 fits"):
        train(settings(run, linear_probe_images=5))
    assert not run.exists()
