"""Reports as a few lines of text."""

import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from deeplab.conversion.export_report import Report, report_path


def print_reports(reports: Iterable[Report], paths: Iterable[Path]) -> None:
    """A line for each file, then what was checked and where the files are."""
    reports, paths = list(reports), list(paths)
    print(f"{'file':32} {'bytes':>10} {'ms, 1 thread':>12} {'agreement':>10} {'mIoU drop':>10}")
    for report in reports:
        agreement = report.measured("pixels that agree with Keras")
        drop = report.measured("mIoU drop in points")
        print(
            f"{report.file:32} {report.bytes:>10,} {_number(report.milliseconds, '.1f'):>12} "
            f"{_number(agreement, '.2%'):>10} {_number(drop, '+.2f'):>10}"
        )
    states = Counter(c.state for report in reports for c in report.checks)
    unchecked: dict[str, list[str]] = {}
    for report in reports:
        for c in report.checks:
            if c.state == "not checked":
                unchecked.setdefault(f"{c.name} ({c.limit})", []).append(report.file)
    # Which files, where it is not all of them.
    lines = [
        k if len(files) == len(reports) else f"{k} of {', '.join(files)}" for k, files in sorted(unchecked.items())
    ]
    print(f"checks: {states['passed']} passed" + (f"; not checked_example: {', '.join(lines)}" if lines else ""))
    for path in paths:
        print(f"written: {os.path.relpath(path)} and {report_path(path).name}")


def _number(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, (int, float)) else "-"
