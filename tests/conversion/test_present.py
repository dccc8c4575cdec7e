"""The table of an export."""

from pathlib import Path

from deeplab.conversion.export_report import Report, check, not_checked
from deeplab.conversion.present import print_reports


def _report(name, *checks):
    return Report(name, 1234567, "00", "uint8 [1]", "uint8 [1]", {"CONV_2D": 2}, (), checks, 1.5, {"seed": 0}, {})


def test_what_was_not_checked_says_of_which_files(capsys):
    agreement = check("pixels that agree with Keras", True, 0.875, 0.5)
    everywhere = not_checked("Task Library", "not installed")
    reports = [
        _report("a.tflite", agreement, everywhere),
        _report("b.tflite", everywhere, not_checked("MediaPipe", "uint8 outputs")),
    ]
    print_reports(reports, [Path("a.tflite"), Path("b.tflite")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["a.tflite", "1,234,567", "1.5", "87.50%", "-"]
    assert lines[3] == (
        "checks: 1 passed; not checked_example: MediaPipe (uint8 outputs) of b.tflite, Task Library (not installed)"
    )
