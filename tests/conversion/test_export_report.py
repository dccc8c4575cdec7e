"""Checks and reports as text and JSON."""

import json

from deeplab.conversion.export_report import Report, check, not_checked, report_path, sha256


def _report(*checks):
    return Report("m.tflite", 3, "00", "uint8 [1]", "uint8 [1]", {"CONV_2D": 2}, (), checks, 1.5, {"seed": 0}, {})


def test_a_failed_check_shows_the_number_beside_its_limit():
    assert str(check("mIoU drop in points", False, 2.25, 1.5)) == "mIoU drop in points: failed, 2.25 (limit: 1.5)"


def test_what_was_not_checked_never_counts_as_passed():
    report = _report(check("a", True, 1, 1), not_checked("b", "no client"), check("c", False, 0, 1))
    assert [c.name for c in report.failed] == ["c"]
    assert report.checks[1].state == "not checked"
    assert str(report.checks[1]) == "b: not checked (no client)"
    assert report.measured("a") == 1
    assert report.measured("nothing of that name") is None


def test_a_report_saves_itself_as_json(tmp_path):
    path = tmp_path / "m.report.json"
    _report(check("a", True, 0.5, 1)).save(path)
    saved = json.loads(path.read_text())
    assert saved["operators"] == {"CONV_2D": 2}
    assert saved["checks"] == [{"name": "a", "state": "passed", "measured": 0.5, "limit": 1}]
    assert [p.name for p in tmp_path.iterdir()] == ["m.report.json"]


def test_the_report_lies_beside_the_file(tmp_path):
    assert report_path(tmp_path / "a.b.tflite") == tmp_path / "a.b.report.json"


def test_sha256_of_nothing_is_the_published_one():
    assert sha256(b"") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
