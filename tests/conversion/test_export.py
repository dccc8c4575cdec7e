"""The whole way from a run folder to files, reports, and refusals."""

import json

import pytest

import deeplab.conversion.export as export_module
from deeplab.config import DataConfig, ExportConfig, TrainConfig, TrainingConfig, to_mapping
from deeplab.conversion.export import export
from deeplab.conversion.export_report import sha256
from deeplab.conversion.inspection import inspect
from deeplab.conversion.verify_file import verify_file
from deeplab.datasets.shapes import CLASSES
from deeplab.errors import UserError
from deeplab.files import write_json
from deeplab.run_folder import ModelDescription, save_model
from deeplab.tflite.interpreter import TfliteModel
from tests.conversion.conftest import SIZE, TINY


@pytest.fixture(scope="module")
def run(workshop, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    save_model(folder, workshop.model, ModelDescription(TINY, CLASSES))
    settings = TrainConfig(training=TrainingConfig(crop_size=SIZE), data=DataConfig(source="shapes"))
    write_json(folder / "train.json", to_mapping(settings))
    return folder


def _config(run, out, **changes):
    few = {"calibration_images": 2, "agreement_images": 2, "miou_images": 4}
    return ExportConfig(run=str(run), out=str(out), **{**few, **changes})


def test_a_run_becomes_a_file_with_a_report(run, tmp_path, capsys):
    out = tmp_path / "sub" / "model.tflite"
    (report,) = export(_config(run, out, quantization="float32", mask_stride=4, max_miou_drop=100))
    assert sorted(p.name for p in out.parent.iterdir()) == ["model.report.json", "model.tflite"]
    saved = json.loads(out.with_suffix(".report.json").read_text())
    assert saved["sha256"] == sha256(out.read_bytes()) == report.sha256
    assert saved["bytes"] == out.stat().st_size
    assert saved["settings"]["output_stride"] == 16
    assert {c["state"] for c in saved["checks"]} <= {"passed", "not checked"}
    model = TfliteModel(out)
    assert model.image_size == (SIZE, SIZE)
    assert model.mask_size == (33, 33)
    assert model.labels == CLASSES
    assert json.loads(model.metadata.files["origin.json"])["weights_sha256"] == report.origin["weights_sha256"]
    text = inspect(out)
    assert "labels         7: background, disc" in text
    assert "DEPTHWISE_CONV_2D 20" in text
    states = {c.name: c.state for c in verify_file(_config(run, out, verify=str(out), max_miou_drop=100))}
    assert states["sha256 of its report"] == "passed"
    assert states["pixels that agree with Keras"] == "passed"
    assert "failed" not in states.values()


def test_nothing_is_written_when_a_check_fails(run, tmp_path, monkeypatch, workshop):
    # The conversion is replaced by one whose file has no metadata.
    monkeypatch.setattr(export_module, "make_file", lambda *_: workshop.bare("float32"))
    with pytest.raises(UserError, match=r"not written, a check failed: float32: metadata: failed, none \(limit"):
        export(_config(run, tmp_path / "model.tflite", quantization="float32"))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": "model.onnx"}, "out: .* is no .tflite file"),
        ({"image_size": 128, "mask_stride": 4}, "mask_stride: 4 does not fit"),
        ({"image_size": 8}, "image_size: 8x8 pixels"),
        ({"run": "nowhere"}, "nowhere"),
        ({"output_stride": 5}, "output_stride"),
        ({"output": "labels", "quantization": ("int8", "int16x8")}, "output: labels cannot be had with int16x8"),
        ({"float_layers": ("logits",), "quantization": "float16"}, "float_layers: only int8 files can have some"),
        ({"float_layers": ("logit",)}, "float_layers: the model has no layer 'logit'; close to it: logits"),
    ],
)
def test_what_the_user_can_mend_is_one_line(run, tmp_path, changes, message):
    settings = {"run": str(run), "out": str(tmp_path / "m.tflite"), **changes}
    with pytest.raises(UserError, match=message):
        export(ExportConfig(**settings))
    assert list(tmp_path.iterdir()) == []


def test_without_a_run_there_is_nothing_to_export():
    with pytest.raises(UserError, match="run: a value is needed"):
        ExportConfig()


def test_verify_without_a_run_says_what_it_could_not_check(official_models):
    path = str(official_models / "starter_deeplabv3_257_float.tflite")
    states = {c.name: c.state for c in verify_file(ExportConfig(verify=path))}
    assert states["agreement with Keras"] == "not checked"
    assert states["Task Library"] == "passed"
    assert "failed" not in states.values()


def test_verify_refuses_the_official_file_whose_output_no_client_takes(official_models, tmp_path):
    path = str(official_models / "deeplabv3_mnv2_dm05_pascal_quant.tflite")
    states = {c.name: c.state for c in verify_file(ExportConfig(verify=path))}
    assert states["metadata"] == "failed"
    assert states["Task Library"] == "not checked"
