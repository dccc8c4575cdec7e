"""Checks and reports as text, JSON and a table."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from deeplab.compatibility.apps import AppVerdict
from deeplab.compatibility.summary import Compatibility
from deeplab.conversion.checks import CheckId, check, not_checked
from deeplab.conversion.export_report import Report, print_reports, report_path, sha256

OPERATORS = check(CheckId.OPERATORS, True, 1, 1)
AGREEMENT = check(CheckId.PIXEL_AGREEMENT, True, 0.875, 0.5)
NOT_INSTALLED = not_checked(CheckId.TASK_LIBRARY, "not installed")


def _report(*checks, name="m.tflite"):
    return Report(name, 1234567, "00", "uint8 [1]", "uint8 [1]", {"CONV_2D": 2}, (), checks, 1.5, {"seed": 0}, {})


def test_a_failed_check_states_its_value_and_limit():
    assert str(check(CheckId.CONVERSIONS, False, 3, 2)) == "dtype conversions: failed, 3 (at most 2)"
    assert str(check(CheckId.KERNEL_AGREEMENT, False, 0.5, 0.9)).endswith("failed, 0.5 (at least 0.9)")
    assert str(check(CheckId.FIRST_OPERATORS, False, "MUL", "no arithmetic")).endswith("MUL (expected: no arithmetic)")


def test_a_value_that_equals_its_limit_is_written_once():
    assert str(check(CheckId.LABELS, True, "equal", "equal")) == "labels: passed, equal"


def test_the_scope_of_a_check_is_in_its_line_the_json_and_the_printed_report(capsys, tmp_path):
    words = "72.82 %, 0.25 points below the Keras model"
    drop = check(CheckId.MIOU_DROP, True, 0.25, 1.5, "over the 13 of 21 classes in the labels of 20 images", words)
    scope = "mIoU over the 13 of 21 classes in the labels of 20 images"
    assert str(drop) == f"{scope}: passed, {words} (at most 1.5)"
    assert drop.to_mapping()["scope"] == "over the 13 of 21 classes in the labels of 20 images"
    print_reports([_report(drop)] * 2, [tmp_path / "m.tflite"] * 2)
    printed = capsys.readouterr().out
    assert printed.count(scope) == 1
    assert printed.splitlines()[1].endswith(f" {words}")


def test_the_printed_report_states_what_per_tensor_kernels_cost(capsys, tmp_path):
    cost = check(CheckId.PER_TENSOR_COST, True, 0.5, 1.5, words="70.00 %, 0.50 points below 70.50 %")
    print_reports([_report(cost)], [tmp_path / "m.tflite"])
    line = "m.tflite: mIoU with per-tensor kernels: passed, 70.00 %, 0.50 points below 70.50 % (at most 1.5)"
    assert line in capsys.readouterr().out.splitlines()


def test_a_check_that_was_not_run_neither_passed_nor_failed():
    report = _report(OPERATORS, NOT_INSTALLED, check(CheckId.LABELS, False, 0, 1))
    assert [c.id for c in report.failed] == [CheckId.LABELS]
    assert report.checks[1].state == "not checked"
    assert str(report.checks[1]) == "Task Library: not checked (not installed)"
    assert report.measured(CheckId.OPERATORS) == 1
    assert report.measured(CheckId.MEDIAPIPE) is None


def test_a_report_is_saved_as_json_with_the_ids_of_its_checks(tmp_path):
    path = tmp_path / "m.report.json"
    _report(AGREEMENT).save(path)
    saved = json.loads(path.read_text())
    assert saved["operators"] == {"CONV_2D": 2}
    title = "pixels that agree with Keras"
    assert saved["checks"] == [
        {
            "id": "pixel_agreement",
            "title": title,
            "state": "passed",
            "measured": 0.875,
            "limit": 0.5,
            "result": "0.875 (at least 0.5)",
        }
    ]
    assert [p.name for p in tmp_path.iterdir()] == ["m.report.json"]


@pytest.mark.parametrize(
    ("program", "command"), [("export.py", "python export.py"), ("/somewhere/bin/deeplab", "deeplab export")]
)
def test_the_printed_report_has_the_rows_of_the_target_and_the_number_of_apps(
    program, command, capsys, tmp_path, monkeypatch
):
    monkeypatch.setattr(sys, "argv", [program])
    apps = tuple(
        AppVerdict(app, app.upper(), opens, ("why",), "", "") for app, opens in [("litert_js", 1), ("other", 0)]
    )
    found = Compatibility(apps, "", (), "", "")
    settings = {"seed": 0, "target": "web"}
    print_reports([replace(_report(), compatibility=found, settings=settings)], [tmp_path / "m.tflite"])
    lines = capsys.readouterr().out.splitlines()
    assert "m.tflite for target=web: LITERT_JS: opens" in lines
    path = os.path.relpath(tmp_path / "m.tflite")
    opened = "1 of 2 known sample apps and client libraries open it, by their documented requirements"
    assert f"m.tflite: {opened}; {command} inspect={path} names them" in lines
    assert "OTHER" not in "".join(lines)


def test_ids_and_titles_are_unique():
    assert len({c.value for c in CheckId}) == len(CheckId.__members__)
    assert len({c.title for c in CheckId}) == len(CheckId.__members__)


def test_the_remedy_of_a_failed_miou_check_names_its_limit():
    assert CheckId.MIOU_DROP.remedy.startswith("raise max_miou_drop")
    assert "float_layers" in CheckId.PIXEL_AGREEMENT.remedy
    assert CheckId.LABELS.remedy.startswith("report this as a fault of the toolkit")


def test_the_report_is_next_to_the_file(tmp_path):
    assert report_path(tmp_path / "a.b.tflite") == tmp_path / "a.b.report.json"


def test_sha256_of_empty_content_is_the_published_value():
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"


def test_the_table_names_the_files_of_checks_that_were_skipped_for_some(capsys):
    skipped = not_checked(CheckId.MEDIAPIPE, "uint8 outputs")
    reports = [_report(AGREEMENT, NOT_INSTALLED, name="a.tflite"), _report(NOT_INSTALLED, skipped, name="b.tflite")]
    print_reports(reports, [Path("a.tflite"), Path("b.tflite")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["a.tflite", "1,234,567", "1.5", "87.50%", "-"]
    assert lines[3] == (
        "checks: 1 passed; not checked: MediaPipe (uint8 outputs) of b.tflite, Task Library (not installed)"
    )


def test_the_card_of_an_earlier_file_is_not_printed_as_written(capsys, tmp_path):
    path, card = tmp_path / "m.tflite", tmp_path / "m.card.md"
    report = replace(_report(), sha256="ab12")
    card.write_text("| SHA-256 | cd34 |")
    print_reports([report], [path])
    assert capsys.readouterr().out.splitlines()[-1].endswith("m.tflite with m.report.json")
    card.write_text("| SHA-256 | ab12 |")
    print_reports([report], [path])
    assert capsys.readouterr().out.splitlines()[-1].endswith("m.tflite with m.report.json and m.card.md")
