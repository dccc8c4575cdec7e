"""The names of the files that an export writes."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from deeplab.compatibility.targets import with_target
from deeplab.config import ExportConfig, record_given
from deeplab.conversion.output_paths import output_paths
from deeplab.errors import UserError

RUN = SimpleNamespace(is_tflite=False, folder=Path("runs/a"))
CONFIG = ExportConfig(run="runs/a")


def names(**settings):
    config = record_given(replace(CONFIG, **settings), settings)
    return [path.relative_to("runs/a").as_posix() for path in output_paths(with_target(config), RUN).values()]


def test_a_file_is_named_by_its_target_or_its_quantization():
    assert names() == ["int8.tflite"]
    assert names(target="gpu") == ["gpu.tflite"]
    assert names(target="gpu", quantization=("float16", "float32")) == ["gpu_float16.tflite", "gpu_float32.tflite"]


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"per_tensor": True}, "int8_per_tensor.tflite"),
        ({"output_stride": 8}, "int8_output_stride_8.tflite"),
        ({"output_stride": 16, "mask_stride": 1, "output": "logits"}, "int8.tflite"),
        ({"mask_stride": 4, "output_stride": 8}, "int8_output_stride_8_mask_stride_4.tflite"),
        ({"image_size": (257, 513)}, "int8_image_size_257x513.tflite"),
        ({"image_size": 257, "output_type": "float32"}, "int8_image_size_257_output_type_float32.tflite"),
        (
            {"correct_biases": False, "float_layers": ("logits", "aspp_1")},
            "int8_float_layers_logits_aspp_1_3dfc27_no_correct_biases.tflite",
        ),
        # printf 'logits_aspp*' | sha256sum
        ({"float_layers": ("logits", "aspp*")}, "int8_float_layers_logits_aspp_9ee49d.tflite"),
        ({"target": "npu"}, "npu.tflite"),
        ({"target": "npu", "per_tensor": False}, "npu_no_per_tensor.tflite"),
        ({"target": "interpreter_sample", "image_size": 257}, "interpreter_sample.tflite"),
        ({"seed": 3, "calibration_images": 8, "max_miou_drop": 3.0}, "int8.tflite"),
    ],
)
def test_the_name_contains_the_settings_that_shape_the_file(settings, expected):
    assert names(**settings) == [expected]


def test_files_with_other_float_layers_do_not_replace_each_other():
    layers = [("logits",), ("logits", "aspp"), ("logits", "aspp*"), ("logits", "aspp?"), ("a" * 70,), ("a" * 71,)]
    layers += [("a_b",), ("a", "b"), ("b", "a")]
    found = [names(float_layers=value)[0] for value in layers]
    assert len(set(found)) == len(layers)
    assert all(len(name) < 80 and not set(name) & set("*?/[") for name in found)


def test_settings_of_int8_files_are_not_in_the_names_of_others():
    assert names(quantization=("float32", "int8"), per_tensor=True, mask_stride=4) == [
        "float32_mask_stride_4.tflite",
        "int8_mask_stride_4_per_tensor.tflite",
    ]


def test_a_name_that_the_user_gives_is_kept(tmp_path):
    config = replace(CONFIG, out=str(tmp_path / "m.tflite"), per_tensor=True)
    assert output_paths(config, RUN) == {"int8": tmp_path / "m.tflite"}
    several = replace(config, quantization=("int8", "float32"))
    assert [p.name for p in output_paths(several, RUN).values()] == ["m_int8.tflite", "m_float32.tflite"]


def test_the_imported_file_is_not_replaced(tmp_path):
    path = tmp_path / "m.tflite"
    path.touch()
    run = SimpleNamespace(is_tflite=True, path=path)
    with pytest.raises(UserError, match="out: is the file that is imported"):
        output_paths(replace(CONFIG, out=str(path)), run)
    with pytest.raises(UserError, match=r"out: a value is required when run is a .tflite file"):
        output_paths(CONFIG, run)
