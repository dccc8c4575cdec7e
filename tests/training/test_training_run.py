"""Parts of one training: its padding, the statistics of imported layers, and their re-estimation at the end."""

import itertools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.config import TrainConfig, build
from deeplab.datasets.open import open_source
from deeplab.datasets.pipeline import iterate, training_batches
from deeplab.model.batch_norm import BatchNorm
from deeplab.pretrained import assignment
from deeplab.run_folder import load_model
from deeplab.training import training_run
from deeplab.training.distribution import Workers
from deeplab.training.train import train
from deeplab.training.train_state import make_train_state
from deeplab.training.training_run import TrainingRun
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


def test_training_images_are_padded_with_the_mean_of_the_backbone(tmp_path):
    """Images of 160 pixels at half their size fill 80 of 97 pixels. The mean is that of keras.applications."""
    half = {"crop_size": 97, "augment": {"min_scale": 0.5, "max_scale": 0.5}}
    config = settings(tmp_path, {"backbone": "vgg16", "head": "v1", "aspp_rates": [6]}, **half)
    (images,) = TrainingRun(config, Workers(tf.distribute.get_strategy()))._images(1)
    np.testing.assert_array_equal(images[:, -1], np.broadcast_to(np.float32([123.68, 116.779, 103.939]), (2, 97, 3)))


@pytest.mark.slow
@pytest.mark.parametrize(("mode", "unfolds"), [("train", True), ("frozen_statistics", False)])
def test_folded_batch_norms_get_statistics_unless_these_are_frozen(tmp_path, monkeypatch, mode, unfolds):
    def import_folded(model, path, *, allow_missing):
        randomize(model)
        for layer in model.layers:
            if isinstance(layer, BatchNorm):
                layer.moving_mean.assign(np.zeros(layer.moving_mean.shape))
        return assignment.ImportReport(path, (), (), (), folded=True)

    monkeypatch.setattr(training_run, "import_weights", import_folded)
    config = settings(tmp_path, batch_norm=mode)
    run = TrainingRun(config, Workers(tf.distribute.get_strategy()))
    run.state = make_train_state(run.config)
    run._import_weights("a file")
    pixels = output_of(run.state.network, "backbone_stem", first_images(config, 4))
    mean = pixels.mean((0, 1, 2)) if unfolds else 0.0
    np.testing.assert_allclose(run.state.network.get_layer("backbone_stem_bn").moving_mean, mean, rtol=1e-3, atol=1e-4)


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

    monkeypatch.setattr(training_run, "import_weights", import_unequal)
    quantized = {"quantize_aware": True, "batch_norm": "frozen", "quantization": {"per_tensor": per_tensor, "delay": 0}}
    config = settings(tmp_path, TINY["model"] | {"aspp_rates": []}, **quantized)
    images = first_images(config, 1)
    run = TrainingRun(config, Workers(tf.distribute.get_strategy()))
    run.state = make_train_state(run.config)
    run._import_weights("a file")
    np.testing.assert_allclose(output_of(run.state.float_network, "logits", images), imported[0], rtol=1e-3, atol=1e-4)
    ranges = np.abs(run.state.float_network.get_layer(expand).kernel).max((0, 1, 3))
    assert (ranges.max() / ranges.min() < 30) == per_tensor


@pytest.mark.slow
def test_reestimated_statistics_are_those_of_the_first_batches_and_a_frozen_backbone_keeps_its_own(tmp_path):
    config = settings(tmp_path / "run", recalibration_batches=2, backbone_multiplier=0.0)
    train(config)
    model = load_model(tmp_path / "run", 16)
    backbone = [x for x in model.layers if isinstance(x, BatchNorm) and x.name.startswith("backbone_")]
    assert not any(np.any(norm.moving_mean) for norm in backbone)
    pixels = output_of(model, "aspp0", first_images(config, 2))
    norm = model.get_layer("aspp0_bn")
    np.testing.assert_allclose(norm.moving_mean, pixels.mean((0, 1, 2)), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(norm.moving_variance, pixels.var((0, 1, 2)), rtol=1e-3, atol=1e-4)
