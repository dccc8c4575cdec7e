"""Whole trainings of a tiny network with a teacher, and from a pruned network."""

import dataclasses
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from deeplab.cli.app import main
from deeplab.config import TrainConfig, build
from deeplab.datasets.shapes import CLASSES
from deeplab.errors import UserError
from deeplab.files import read_json
from deeplab.model.build import build_model
from deeplab.model.cost import cost
from deeplab.pretrained.tflite_network import load_tflite
from deeplab.run_folder import ModelDescription, load_model, open_model, save_model
from deeplab.training.csv_log import read_table
from deeplab.training.train import train
from tests.networks import random_image, randomize

pytestmark = pytest.mark.usefixtures("uncompiled")

TINY = {"depth_multiplier": 0.1, "head": "v3", "aspp_rates": [], "aspp_channels": 8}
TRAINING = {"steps": 3, "batch_size": 2, "crop_size": 33, "save_every": 2, "log_every": 1, "preview_images": 1}
AWARE = {
    "batch_norm": "frozen",
    "learning_rate": 1e-4,
    "quantize_aware": True,
    "quantization": {"delay": 1, "range_batches": 1},
    "ema_decay": 0.5,
}


@pytest.fixture(scope="module")
def teacher(tmp_path_factory) -> Path:
    """A run folder with a network of random weights, for the classes of the drawn shapes."""
    config = build(TrainConfig, {"model": TINY | {"classes": len(CLASSES)}}).network
    folder = tmp_path_factory.mktemp("teacher")
    save_model(folder, randomize(build_model(config), seed=3), ModelDescription(config, CLASSES))
    return folder


def settings(run: Path, training: dict, teacher: Path | None, **changes) -> TrainConfig:
    mapping = {"run": str(run), "model": TINY, "data": {"source": "shapes", "val_size": 1}, "output_stride": [16]}
    distillation = {} if teacher is None else {"teacher": str(teacher), "flip": True, "scales": [0.75, 1.0]}
    return build(TrainConfig, mapping | {"training": TRAINING | training | {"distillation": distillation}} | changes)


def test_the_distillation_loss_and_its_time_are_shown(teacher, tmp_path, capsys):
    train(settings(tmp_path / "run", {"steps": 1}, teacher))
    assert re.search(rf"teacher {teacher} at output stride 8: [0-9.e-]+ s of each update", capsys.readouterr().out)
    table = read_table(tmp_path / "run" / "log.csv")
    assert 0 < table["distillation"][0] < table["loss"][0]
    assert "Distillation loss, without its weight" in (tmp_path / "run" / "training.html").read_text()
    assert read_json(tmp_path / "run" / "train.json")["training"]["distillation"]["teacher"] == str(teacher)


def test_another_teacher_is_refused_when_a_run_resumes(teacher, tmp_path):
    train(settings(tmp_path / "run", {"steps": 1}, teacher))
    network = open_model(teacher).load(16)
    network.get_layer("logits").bias.assign(np.ones(len(CLASSES)))
    save_model(tmp_path / "other", network, open_model(teacher).description)
    with pytest.raises(UserError, match=r"was trained with training\.distillation\.(sha256|teacher)="):
        train(settings(tmp_path / "run", {"steps": 1}, tmp_path / "other"))


class Interrupt(keras.callbacks.Callback):
    """Interrupts the training after its second update."""

    def on_train_batch_begin(self, batch, logs=None):
        if batch == 2:
            raise KeyboardInterrupt


@pytest.mark.slow
@pytest.mark.parametrize("changes", [{}, AWARE], ids=["float", "quantization-aware with moving average"])
def test_an_interrupted_distillation_resumes_with_equal_weights(teacher, changes, tmp_path):
    configs = [settings(tmp_path / name, changes, teacher, pretrained=str(teacher)) for name in ("straight", "resumed")]
    train(configs[0])
    with pytest.raises(KeyboardInterrupt):
        train(configs[1], callbacks=[Interrupt()])
    train(configs[1])
    straight, resumed, alone = (load_model(config.run, 16).get_weights() for config in (*configs, _alone(configs[0])))
    for a, b in zip(straight, resumed, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(straight, alone, strict=True)), "the teacher has no effect"


def _alone(config: TrainConfig) -> TrainConfig:
    """Train with the same settings without the teacher."""
    training = dataclasses.replace(config.training, distillation=TrainConfig().training.distillation)
    config = dataclasses.replace(config, training=training, run=f"{config.run}_alone")
    train(config)
    return config


@pytest.mark.slow
def test_a_pruned_network_trains_resumes_evaluates_exports_and_predicts(teacher, tmp_path, capsys):
    full = cost(open_model(teacher).description.config, 16, 65).multiply_adds
    prune = {"target_multiply_adds": 0.8 * full, "image_size": 65, "images": 4}
    config = settings(tmp_path / "run", {}, teacher, pretrained=str(teacher), prune=prune)
    with pytest.raises(KeyboardInterrupt):
        train(config, callbacks=[Interrupt()])
    assert "Measuring the importance" in capsys.readouterr().out
    train(config)
    assert "Measuring the importance" not in capsys.readouterr().out, "a resumed training pruned again"
    description = open_model(config.run).description
    assert cost(description.config, 16, 65).multiply_adds <= 0.8 * full
    assert open_model(tmp_path / "run" / "pruned").description.config == description.config
    with pytest.raises(UserError, match=r"was trained with prune\.images=4, not 5"):
        train(settings(tmp_path / "run", {}, teacher, pretrained=str(teacher), prune=prune | {"images": 5}))

    common = [f"run={config.run}", "output_stride=16"]
    main("summarize", [f"run={config.run}", "image_size=65"])
    number = cost(description.config, 16, 65).multiply_adds
    assert f"{number:,}" in capsys.readouterr().out
    main("evaluate", [*common, "bootstrap_samples=0", "trimap_widths=[]"])
    few = ["agreement_images=1", "miou_images=0", "calibration_images=1", "image_size=65"]
    for quantization in ("float32", "int8"):
        file = tmp_path / f"{quantization}.tflite"
        main("export", [*common, *few, f"quantization={quantization}", f"out={file}"])
        imported = load_tflite(file, 16)
        assert imported.config.expanded_channels == description.config.expanded_channels
    image = random_image(65, 65)
    expected = load_model(config.run, 16)(image)
    float_network = load_tflite(tmp_path / "float32.tflite", 16)
    np.testing.assert_allclose(float_network(image), expected, atol=1e-3 * float(np.abs(expected).max()))
    aware = settings(tmp_path / "aware", AWARE, None, pretrained=config.run)
    train(dataclasses.replace(aware, model={}))
    assert open_model(aware.run).description.config.expanded_channels == description.config.expanded_channels
