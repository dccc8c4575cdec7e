"""Export of a run folder: files, reports and user errors."""

import dataclasses
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import deeplab.conversion.export as export_module
from deeplab.config import DataConfig, ExportConfig, TrainConfig, TrainingConfig, VerifyConfig, build, to_mapping
from deeplab.conversion.checks import CheckId, check
from deeplab.conversion.export import export, run_export
from deeplab.conversion.export_report import Report, sha256
from deeplab.conversion.inspection import inspect
from deeplab.conversion.verify import verify_file
from deeplab.datasets.shapes import CLASSES, shapes_source
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


def _states(config):
    return {c.id: c.state for c in verify_file(config)}


def test_export_writes_a_file_and_a_report(run, tmp_path):
    out = tmp_path / "sub" / "model.tflite"
    (report,) = export(_config(run, out, quantization="float32", mask_stride=4, max_miou_drop=100))
    assert sorted(p.name for p in out.parent.iterdir()) == ["model.card.md", "model.report.json", "model.tflite"]
    assert report.sha256 in (out.parent / "model.card.md").read_text()
    saved = json.loads(out.with_suffix(".report.json").read_text())
    assert saved["sha256"] == sha256(out.read_bytes()) == report.sha256
    assert saved["bytes"] == out.stat().st_size
    assert saved["settings"]["output_stride"] == 16
    assert {c["state"] for c in saved["checks"]} <= {"passed", "not checked"}
    labels = {"id": "labels", "title": "labels", "state": "passed", "measured": "equal", "limit": "equal"}
    labels["result"] = "equal"
    assert labels in saved["checks"]
    model = TfliteModel(out)
    assert model.image_size == (SIZE, SIZE)
    assert model.mask_size == (33, 33)
    assert model.labels == CLASSES
    assert json.loads(model.metadata.files["origin.json"])["weights_sha256"] == report.origin["weights_sha256"]
    text = inspect(out)
    assert "labels         7: background, disc" in text
    assert "DEPTHWISE_CONV_2D 20" in text
    states = _states(VerifyConfig(verify=str(out), run=str(run), agreement_images=2, miou_images=4, max_miou_drop=100))
    assert states[CheckId.REPORT_SHA256] == "passed"
    assert states[CheckId.PIXEL_AGREEMENT] == "passed"
    assert "failed" not in states.values()


def test_a_report_of_another_file_fails(run, tmp_path):
    out = tmp_path / "model.tflite"
    export(_config(run, out, quantization="float32", max_miou_drop=100, miou_images=0))
    report = out.with_suffix(".report.json")
    report.write_text(report.read_text().replace(sha256(out.read_bytes()), "0" * 64))
    assert _states(VerifyConfig(verify=str(out)))[CheckId.REPORT_SHA256] == "failed"


def test_each_part_of_an_export_is_announced(run, tmp_path):
    lines = []
    config = _config(run, tmp_path / "m.tflite", quantization=("float32", "float16"), max_miou_drop=100, miou_images=0)
    reports = export(config, lines.append)
    assert lines == [
        "Loading the model and computing reference outputs ...",
        "Converting to float32 ...",
        f"Checking {reports[0].bytes:,} bytes ...",
        "Converting to float16 ...",
        f"Checking {reports[1].bytes:,} bytes ...",
    ]
    assert sorted(p.name for p in tmp_path.glob("*.tflite")) == ["m_float16.tflite", "m_float32.tflite"]


def test_no_file_is_written_if_a_check_fails(run, tmp_path, monkeypatch, workshop):
    # The replaced conversion writes no metadata.
    monkeypatch.setattr(export_module, "make_file", lambda *_: workshop.bare("float32"))
    with pytest.raises(UserError, match=r"not written, a check failed: float32: metadata: failed, none \(expected"):
        export(_config(run, tmp_path / "model.tflite", quantization="float32"))
    assert list(tmp_path.iterdir()) == []


def test_the_files_that_are_written_are_named_if_another_fails_a_check(run, tmp_path, monkeypatch, workshop, capsys):
    make, pages = export_module.make_file, []

    def make_file(prepared, expected, settings):
        is_whole = expected.quantization == "float16"
        return make(prepared, expected, settings) if is_whole else workshop.bare("float32")

    monkeypatch.setattr(export_module, "make_file", make_file)
    monkeypatch.setattr(export_module, "write_page", lambda config, _: pages.append(config.page) or Path("a.html"))
    monkeypatch.chdir(tmp_path)
    changes = {"quantization": ("float32", "float16"), "max_miou_drop": 100, "miou_images": 0, "page": True}
    with pytest.raises(UserError, match=r"not written, a check failed: float32: .*; written: m_float16\.tflite; "):
        run_export(_config(run, "m.tflite", **changes))
    assert sorted(path.name for path in tmp_path.glob("*.tflite")) == ["m_float16.tflite"]
    assert pages == ["m_float16.tflite"]
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith("m_float16.tflite ")
    assert lines[-2:] == [
        "written: m_float16.tflite with m_float16.report.json and m_float16.card.md",
        "written: a.html",
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"out": "model.onnx"}, "out: expected a name that ends in .tflite, got 'model.onnx'"),
        ({"image_size": 128, "mask_stride": 4}, "mask_stride: 4 does not fit"),
        ({"image_size": 8}, "image_size: expected an integer from 33"),
        ({"run": "nowhere"}, "nowhere"),
        ({"output_stride": 5}, "output_stride"),
        ({"output": "labels", "quantization": ("int8", "int16x8")}, "output: labels are not available with int16x8"),
        (
            {"float_layers": ("logits",), "quantization": "float16"},
            "float_layers: only int8 files can have float layers",
        ),
        ({"float_layers": ("logit",)}, "float_layers: the model has no layer 'logit'; did you mean 'logits'"),
    ],
)
def test_wrong_settings_are_user_errors(run, tmp_path, changes, message):
    settings = {"run": str(run), "out": str(tmp_path / "m.tflite"), **changes}
    with pytest.raises(UserError, match=message):
        export(ExportConfig(**settings))
    assert list(tmp_path.iterdir()) == []


def test_run_is_required():
    with pytest.raises(UserError, match="run: a value is required"):
        build(ExportConfig, {})


def test_calibration_images_are_padded_with_the_mean_of_the_backbone(workshop, monkeypatch):
    """The mean is that of keras.applications."""
    monkeypatch.setattr(export_module, "load_keras_model", lambda *_: workshop.model)
    monkeypatch.setattr(export_module, "make_reference", lambda *_: workshop.reference)
    settings = SimpleNamespace(
        config=ExportConfig("run", calibration_images=1),
        run=SimpleNamespace(description=ModelDescription(dataclasses.replace(TINY, backbone="resnet50"), CLASSES)),
        image_size=(193, 193),
        fit="auto",
        per_tensor=False,
        validation=None,
        training=shapes_source("train", 160),
    )
    (image,) = export_module._prepare(settings, keep_ranges=False).calibration.images
    np.testing.assert_array_equal(image[160:192, 0], np.broadcast_to(np.float32([123.68, 116.779, 103.939]), (32, 3)))


@pytest.mark.parametrize(
    ("per_tensor", "equalize", "equalized"),
    [(True, True, True), (True, False, False), (False, True, False), (False, False, False)],
)
def test_only_per_tensor_files_are_equalized_and_state_it(workshop, monkeypatch, per_tensor, equalize, equalized):
    monkeypatch.setattr(export_module, "equalized", lambda *_: "the equalized model")
    monkeypatch.setattr(export_module, "export_graph", lambda model, *_: model)
    monkeypatch.setattr(export_module, "convert", lambda graph, *_: graph)
    monkeypatch.setattr(export_module, "write_metadata", lambda content, *_, files, **__: (content, files))
    calibration = SimpleNamespace(images=("an image",))
    prepared = export_module._PreparedModel("the model", (), calibration, workshop.reference, 0.0, {})
    expected = dataclasses.replace(workshop.target("int8").expected, per_tensor=per_tensor)
    settings = SimpleNamespace(config=ExportConfig("run", equalize=equalize, per_tensor=per_tensor))
    content, files = export_module.make_file(prepared, expected, settings)
    assert content == ("the equalized model" if equalized else "the model")
    origin = json.loads(files["origin.json"])
    assert (origin["equalized"], origin["per_tensor"]) == (equalized, per_tensor)


def test_verify_without_a_run_does_not_check_the_agreement_with_keras(official_models):
    path = str(official_models / "starter_deeplabv3_257_float.tflite")
    states = _states(VerifyConfig(verify=path))
    assert states[CheckId.KERAS_AGREEMENT] == "not checked"
    assert states[CheckId.TASK_LIBRARY] == "passed"
    assert "failed" not in states.values()


def test_verify_fails_for_the_official_file_without_metadata(official_models, tmp_path):
    path = str(official_models / "deeplabv3_mnv2_dm05_pascal_quant.tflite")
    states = _states(VerifyConfig(verify=path))
    assert states[CheckId.METADATA] == "failed"
    assert states[CheckId.TASK_LIBRARY] == "not checked"


def test_a_page_is_written_after_the_files_and_its_failure_costs_none(run, tmp_path, monkeypatch):
    pages = []

    def fail(config, _):
        pages.append(config.page)
        assert sorted(p.name for p in tmp_path.iterdir()) == ["m.card.md", "m.report.json", "m.tflite"]
        raise UserError("npm", "is not installed")

    monkeypatch.setattr(export_module, "write_page", fail)
    config = _config(run, tmp_path / "m.tflite", quantization="float32", max_miou_drop=100, miou_images=0, page=True)
    with pytest.raises(UserError, match="npm: is not installed"):
        export(config)
    assert pages == [str(tmp_path / "m.tflite")]
    assert TfliteModel(tmp_path / "m.tflite").labels == CLASSES


@pytest.fixture
def converted(monkeypatch, tmp_path):
    """Replace the conversion: int8 fails a check, float32 passes; return the settings of the export."""

    def report(quantization, passes):
        result = check(CheckId.OPERATORS, passes, 3, 2)
        return Report(f"m_{quantization}.tflite", 1, "00", "uint8 [1]", "uint8 [1]", {}, (), (result,), 1.5, {}, {})

    reports = {"int8": report("int8", False), "float32": report("float32", True)}
    paths = {q: tmp_path / f"m_{q}.tflite" for q in reports}
    config = ExportConfig("run", page=True)
    settings = export_module.ExportSettings(config, None, (33, 33), "auto", paths, False, False, None, None)
    files = {q: SimpleNamespace(content=b"x") for q in reports}
    monkeypatch.setattr(export_module, "resolve_settings", lambda config: dataclasses.replace(settings, config=config))
    monkeypatch.setattr(export_module, "_convert_all", lambda *_: (files, reports))
    monkeypatch.setattr(export_module, "write_model_card", lambda *_: None)
    return config


def test_a_failed_check_and_a_page_that_cannot_be_written_are_reported_together(converted, monkeypatch):
    def fail(*_):
        raise UserError("npm", "is not installed", "install it")

    monkeypatch.setattr(export_module, "write_page", fail)
    with pytest.raises(UserError) as caught:
        export(converted)
    line = str(caught.value)
    assert line.startswith("export: not written, a check failed: int8: operators: failed, 3 (expected: 2); written: ")
    assert "m_float32.tflite; npm: is not installed; " in line
    assert line.endswith(CheckId.OPERATORS.remedy)


@pytest.mark.parametrize("error", [KeyboardInterrupt, TypeError])
def test_a_failed_check_does_not_hide_an_interruption_or_a_bug(converted, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr(export_module, "write_page", fail)
    with pytest.raises(error):
        export(converted)


def test_the_warning_of_an_earlier_page_shows_the_line_of_the_export(converted, tmp_path):
    (tmp_path / "m_float32.html").write_text("an earlier file")
    with (
        pytest.warns(UserWarning, match=r"contains an earlier m_float32\.tflite") as caught,
        pytest.raises(UserError, match="a check failed"),
    ):
        export(dataclasses.replace(converted, page=False))
    assert caught[0].filename == __file__


def test_a_page_that_fails_does_not_stop_the_others(tmp_path, monkeypatch):
    def write(config, _):
        if "b" in Path(config.page).stem:
            raise UserError(config.page, "has int64 output", "export it again")
        return Path(config.page).with_suffix(".html")

    monkeypatch.setattr(export_module, "write_page", write)
    written = []
    paths = {q: tmp_path / f"{name}.tflite" for q, name in (("int8", "b"), ("float32", "a"), ("float16", "b2"))}
    settings = SimpleNamespace(paths=paths, config=SimpleNamespace(page=True))
    errors = export_module._write_pages(settings, [None] * 3, print, written.append)
    assert [Path(error.subject).name for error in errors] == ["b.tflite", "b2.tflite"]
    assert written == [tmp_path / "a.html"]


@pytest.mark.parametrize(
    ("unwritten", "line"),
    [
        (["a"], "a.tflite: has int64 output; export it again"),
        (
            ["a", "b"],
            "page: 2 pages are not written: a.tflite: has int64 output; b.tflite: has int64 output; export it again",
        ),
    ],
)
def test_pages_that_cannot_be_written_end_the_export_with_one_line(converted, monkeypatch, unwritten, line):
    errors = [UserError(f"{name}.tflite", "has int64 output", "export it again") for name in unwritten]
    monkeypatch.setattr(export_module, "_convert_all", lambda *_: ({}, {}))
    monkeypatch.setattr(export_module, "_write_pages", lambda *_: errors)
    with pytest.raises(UserError) as caught:
        export(converted)
    assert str(caught.value) == line


def test_a_page_that_cannot_be_read_does_not_end_the_export(tmp_path, monkeypatch):
    settings = SimpleNamespace(paths={"int8": tmp_path / "int8.tflite"}, config=SimpleNamespace(page=False))
    (tmp_path / "int8.html").write_text("abc123")

    def refuse(*_: object, **__: object) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_text", refuse)
    with pytest.warns(UserWarning, match=r"int8.html contains an earlier int8.tflite"):
        export_module._write_pages(settings, [SimpleNamespace(sha256="abc123")], print)


def test_the_page_of_an_earlier_file_is_named(tmp_path, recwarn):
    settings = SimpleNamespace(paths={"int8": tmp_path / "int8.tflite"}, config=SimpleNamespace(page=False))
    (tmp_path / "int8.html").write_text("<dd>abc123</dd>")
    export_module._write_pages(settings, [SimpleNamespace(sha256="abc123")], print)
    assert not recwarn.list
    with pytest.warns(UserWarning, match=r"int8.html contains an earlier int8.tflite; page=true writes it again"):
        export_module._write_pages(settings, [SimpleNamespace(sha256="def456")], print)


def test_a_page_runs_no_dtypes_of_quantized_files_but_uint8(run, tmp_path):
    with pytest.raises(UserError, match="output_type: expected uint8 or float32, which page=true can run, got 'int8'"):
        _config(run, tmp_path / "m.tflite", page=True, output_type="int8")
