"""Targets set the settings of an export together, and refuse those that contradict them."""

import re

import pytest

from deeplab.cli import app
from deeplab.compatibility.rules import apps, delegates, targets
from deeplab.compatibility.targets import check_image_size, describe_targets, find_target, with_target
from deeplab.config import ExportConfig, build, is_given, record_given
from deeplab.errors import UserError


def given(**settings):
    """A config as the command line builds it."""
    return record_given(build(ExportConfig, {"run": "r", **settings}), {"run", *settings})


def test_the_sample_of_the_guide_gets_a_float_file_of_257_pixels():
    config = with_target(given(target="interpreter_sample"))
    assert (config.quantization, config.input_type, config.output_type) == ("float32", "float32", "float32")
    assert (config.image_size, config.mask_stride, config.output) == (257, 1, "logits")


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("task_library", {"quantization": "int8", "input_type": None, "output_type": None}),
        ("mediapipe", {"quantization": "int8", "input_type": None, "output_type": "float32"}),
        ("compiled_model", {"quantization": "float32", "output_type": "float32", "image_size": 256}),
        ("gpu", {"quantization": "float16", "input_type": "float32", "output_type": "float32"}),
        ("npu", {"quantization": "int8", "output_type": "uint8", "float_layers": (), "per_tensor": True}),
        ("edgetpu", {"quantization": "int8", "mask_stride": 4, "image_size": None}),
        ("coreml", {"quantization": "float16", "output": "logits"}),
        ("web", {"quantization": "int8", "input_type": None}),
    ],
)
def test_a_target_sets_its_settings(target, expected):
    config = with_target(given(target=target))
    assert {name: getattr(config, name) for name in expected} == expected


def test_a_setting_by_hand_that_the_target_accepts_is_kept():
    config = with_target(given(target="mediapipe", quantization="float16", mask_stride=4))
    assert (config.quantization, config.mask_stride, config.output_type) == ("float16", 4, "float32")
    assert with_target(given(target="interpreter_sample", image_size=[257, 257])).image_size == (257, 257)


@pytest.mark.parametrize("target", ["task_library", "mediapipe", "interpreter_sample", "compiled_model", "web"])
def test_int16_activations_are_kept_where_input_and_output_are_float(target):
    config = with_target(given(target=target, quantization="int16x8"))
    assert config.quantization == "int16x8"
    with pytest.raises(UserError, match=f"input_type: int16 contradicts target={target}"):
        with_target(given(target=target, quantization="int16x8", input_type="int16"))


def test_the_default_of_a_setting_by_hand_counts_as_given():
    # int8 and mask_stride=1 are the defaults of export.py.
    with pytest.raises(UserError, match="quantization: int8 contradicts target=gpu"):
        with_target(given(target="gpu", quantization="int8"))
    assert with_target(given(target="edgetpu", mask_stride=1)).mask_stride == 1


def test_what_the_user_and_the_target_set_counts_as_given_afterwards():
    config = with_target(given(target="npu", seed=0))
    assert [is_given(config, name) for name in ("seed", "per_tensor", "quantization", "threads")] == [1, 1, 1, 0]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (
            {"target": "coreml", "quantization": "int8"},
            "quantization: int8 contradicts target=coreml, because the delegate refuses quantized operators; "
            "use float32 or float16, or omit it",
        ),
        (
            {"target": "coreml", "quantization": ["float32", "int16x8"]},
            "quantization: [float32,int16x8] contradicts target=coreml, because the delegate refuses quantized "
            "operators; use float32 or float16, or omit it",
        ),
        (
            {"target": "interpreter_sample", "image_size": 513},
            "image_size: 513 contradicts target=interpreter_sample, because imageSize is 257 in "
            "ImageSegmentationModelExecutor.kt; use 257, or omit it",
        ),
        (
            {"target": "edgetpu", "image_size": [513, 1025]},
            "image_size: [513,1025] contradicts target=edgetpu, because 513 pixels is the largest DeepLab that Coral "
            "publishes; use image_size=513 or a smaller size",
        ),
        (
            {"target": "npu", "float_layers": ["logits"]},
            "float_layers: [logits] contradicts target=npu, because float layers fall back to the CPU; "
            "use [], or omit it",
        ),
        ({"target": "gpuu"}, "target: unknown target 'gpuu'; did you mean 'gpu'? target=list describes all"),
    ],
)
def test_a_contradiction_is_one_line_with_reason_and_remedy(settings, message):
    with pytest.raises(UserError) as raised:
        with_target(given(**settings))
    assert str(raised.value) == message


def test_the_size_of_the_run_must_suit_the_target_too():
    check_image_size(given(target="edgetpu"), (513, 513))
    check_image_size(given(), (2049, 2049))
    with pytest.raises(UserError, match=r"image_size: \[1025,1025\] contradicts target=edgetpu"):
        check_image_size(given(target="edgetpu"), (1025, 1025))


def test_without_a_target_nothing_changes():
    config = given(quantization="int16x8")
    assert with_target(config) is config


def test_targets_name_settings_apps_and_delegates_that_exist():
    known = {*apps(), *delegates()}
    for target in targets().values():
        assert set(target.rows) <= known, target.id
        assert all(hasattr(given(), name) for name in target.setting), target.id
        # Each value that a target sets is one that it accepts.
        with_target(
            given(target=target.id, **{n: r.default for n, r in target.setting.items() if r.default is not None})
        )


def test_the_list_has_every_target_with_its_settings():
    text = describe_targets()
    assert re.findall(r"^(\w+)  ", text, re.MULTILINE) == list(targets())
    assert "quantization=float16 [float32]" in text
    assert "image_size up to 513" in text
    assert "per_tensor=true [false]" in text


def test_the_command_lists_the_targets_without_a_run(capsys):
    app.main("export", ["target=list"])
    assert capsys.readouterr().out == f"{describe_targets()}\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["target=gpu", "quantization=int8"], "error: quantization: int8 contradicts target=gpu, because the GPU "),
        (["target=npo"], "error: target: unknown target 'npo'; did you mean 'npu'? target=list describes all"),
    ],
)
def test_the_command_refuses_before_any_work(arguments, line, monkeypatch, capsys):
    monkeypatch.setattr(app, "load_tensorflow", lambda: pytest.fail("TensorFlow was loaded"))
    with pytest.raises(SystemExit) as ended:
        app.main("export", ["run=/does/not/exist", *arguments])
    printed = capsys.readouterr()
    assert (ended.value.code, printed.out) == (1, "")
    assert printed.err.startswith(line)
    assert printed.err.count("\n") == 1


def test_an_unknown_name_without_a_near_one_lists_all():
    with pytest.raises(UserError, match=r"use one of task_library, mediapipe, .*, web; target=list describes all"):
        find_target("zzz")
