import dataclasses

import pytest

from deeplab.cli.commands import COMMANDS
from deeplab.cli.help import attribute_docs, command_help, overview
from deeplab.cli.settings import config_folder
from deeplab.config import AugmentConfig, DataConfig, ModelConfig, QuantizationAwareConfig, TrainingConfig


@pytest.mark.parametrize(
    "cls",
    [
        *(job.config for command in COMMANDS.values() for job in command.jobs.values()),
        *(ModelConfig, DataConfig, TrainingConfig, AugmentConfig, QuantizationAwareConfig),
    ],
)
def test_every_setting_is_described_in_the_docstring_in_order(cls):
    assert list(attribute_docs(cls)) == [field.name for field in dataclasses.fields(cls)]


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_settings_groups_and_three_examples(name):
    command = COMMANDS[name]
    text = command_help(command, config_folder(), f"deeplab {name}")
    assert text.startswith(f"usage: deeplab {name} key=value ...")
    assert len([line for line in text.splitlines() if line.startswith(f"  deeplab {name} ")]) >= 3
    for job in command.jobs.values():
        for field in dataclasses.fields(job.config):
            nested = dataclasses.is_dataclass(field.type) or field.name in ("model", "training")
            assert f"  {field.name}." in text if nested else f"  {field.name}: " in text or f".{field.name}: " in text


def test_help_states_type_and_default():
    text = command_help(COMMANDS["export"], config_folder(), "python export.py")
    assert "  run: text (required)" in text
    assert "  mask_stride: an integer above 0 = 1" in text
    assert "  float_layers: a list of text = []" in text
    assert "settings with verify=FILE" in text
    assert "  experiment" not in text
    text = command_help(COMMANDS["train"], config_folder(), "python train.py")
    assert "  training.learning_rate: a number above 0 and at most 100 = 0.007" in text
    assert "  training.augment.flip: a number from 0 to 1 = 0.5" in text
    assert "voc_finetune" in text


def test_the_overview_lists_all_commands():
    assert all(name in overview() for name in COMMANDS)
