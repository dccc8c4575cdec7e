"""A config as the command line that gives it."""

import shlex

import pytest

from deeplab.cli.settings import compose_settings, config_folder
from deeplab.config import ExportConfig, build
from deeplab.config.command_line import command_line


def test_only_settings_that_differ_from_their_defaults_are_in_the_command():
    config = ExportConfig(run="runs/demo", quantization=("int8", "float16"), image_size=(65, 97), keep_ranges=False)
    assert command_line("python export.py", config) == (
        "python export.py run=runs/demo 'image_size=[65,97]' 'quantization=[int8,float16]' keep_ranges=false"
    )
    changed = command_line("python export.py", config, quantization="int8")
    assert changed.endswith("'image_size=[65,97]' keep_ranges=false")


def test_the_source_of_the_data_comes_first():
    config = ExportConfig(run="m.tflite", out="n.tflite", data={"root": "/v", "source": "voc", "val_size": 5})
    assert command_line("python export.py", config) == (
        "python export.py run=m.tflite out=n.tflite data=voc data.root=/v data.val_size=5"
    )


@pytest.mark.parametrize(
    "text",
    ["a b", "x'y", 'x"y', "true", "null", "12", "1e3", "-.5", "inf", "[a]", "{b", "a\\", "a\\'b", "'", "ünï", "$x"],
)
def test_text_is_read_as_it_was(text):
    config = ExportConfig(run=f"{text}", out=f"{text}.tflite", float_layers=(text, "logits"), data={"classes": [text]})
    program, *words = shlex.split(command_line("python export.py", config))[1:]
    assert program == "export.py"
    read = build(ExportConfig, compose_settings("export", words, config_folder()))
    assert (read.run, read.out, read.float_layers) == (text, f"{text}.tflite", (text, "logits"))
    assert read.data["classes"] == [text]
