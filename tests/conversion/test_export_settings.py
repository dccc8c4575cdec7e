"""The settings of an export: those of the target, and the file that is written."""

from dataclasses import replace

import pytest

from deeplab.config import DataConfig, ExportConfig, TrainConfig, TrainingConfig, to_mapping
from deeplab.conversion.export_settings import resolve_settings
from deeplab.datasets.shapes import CLASSES
from deeplab.errors import UserError
from deeplab.files import write_json
from deeplab.run_folder import ModelDescription, save_model
from tests.conversion.conftest import SIZE, TINY


@pytest.fixture
def config(workshop, tmp_path):
    save_model(tmp_path, workshop.model, ModelDescription(TINY, CLASSES))
    settings = TrainConfig(training=TrainingConfig(crop_size=SIZE), data=DataConfig(source="shapes"))
    write_json(tmp_path / "train.json", to_mapping(settings))
    return ExportConfig(run=str(tmp_path))


def test_the_settings_of_the_target_reach_the_export(config):
    settings = resolve_settings(replace(config, target="interpreter_sample"))
    assert settings.image_size == (257, 257)
    assert settings.config.output_type == "float32"


def test_a_target_that_the_size_of_the_run_contradicts_is_refused(config):
    with pytest.raises(UserError, match=r"image_size: .* contradicts target=edgetpu"):
        resolve_settings(replace(config, target="edgetpu", image_size=1025))
