"""The report of an exported file, as JSON and as a table row."""

import contextlib
import dataclasses
import hashlib
import importlib.metadata
import os
import platform
import shlex
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deeplab.compatibility.summary import Compatibility
from deeplab.compatibility.targets import target_rows
from deeplab.config.command_line import command_name
from deeplab.conversion.checks import Check, CheckId, Value, failed_checks
from deeplab.files import contains_text, write_json
from deeplab.tflite.tflite_file import card_path, report_path


@dataclass(frozen=True)
class Report:
    """The report of an exported file.

    Attributes:
        file: name of the file.
        bytes: size of the file.
        sha256: hash of the file.
        input: dtype and shape of the input, for example "uint8 [1, 257, 257, 3]".
        output: dtype and shape of the output.
        operators: number of uses of each operator.
        float_operators: layers of an int8 file that compute in float, as requested by `float_layers`.
        checks: all checks.
        milliseconds: median time per image on this machine, with one thread and XNNPACK; None if not measured.
        settings: of the export.
        origin: network, hash of the weights, logit offset, calibration, versions; also attached to the file.
        compatibility: which apps open the file and which operators each delegate takes, by rule and source.
    """

    file: str
    bytes: int
    sha256: str
    input: str
    output: str
    operators: Mapping[str, int]
    float_operators: tuple[str, ...]
    checks: tuple[Check, ...]
    milliseconds: float | None
    settings: Mapping[str, Any]
    origin: Mapping[str, Any]
    compatibility: Compatibility | None = None

    def __repr__(self) -> str:
        """Return a short text for notebooks."""
        return f"Report(file={self.file!r}, bytes={self.bytes}, failed={len(self.failed)})"

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that failed."""
        return failed_checks(self.checks)

    def measured(self, check_id: CheckId) -> Value:
        """Return the measured value of a check; None if it was not run."""
        return next((c.measured for c in self.checks if c.id == check_id), None)

    def save(self, path: Path) -> None:
        """Write the report atomically as JSON."""
        write_json(path, {**dataclasses.asdict(self), "checks": [c.to_mapping() for c in self.checks]})


def sha256(content: bytes) -> str:
    """Return the SHA-256 hash in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that the export uses, except those not installed."""
    installed = {"python": platform.python_version()}
    for package in ("deeplab-toolkit", "tensorflow", "keras", "ai-edge-litert", "tflite-support", "mediapipe", "numpy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            installed[package] = importlib.metadata.version(package)
    return installed


def print_reports(reports: Sequence[Report], paths: Iterable[Path]) -> None:
    """Print a table row for each file, then the checks that passed, those not run, their scope, and the paths."""
    print(f"{'file':32} {'bytes':>10} {'ms, 1 thread':>12} {'agreement':>10}  mIoU")
    for report in reports:
        agreement = report.measured(CheckId.PIXEL_AGREEMENT)
        miou = next((c.words for c in report.checks if c.id == CheckId.MIOU_DROP and c.words), "-")
        print(
            f"{report.file:32} {report.bytes:>10,} {_number(report.milliseconds, '.1f'):>12} "
            f"{_number(agreement, '.2%'):>10}  {miou}"
        )
    checks = [(report.file, c) for report in reports for c in report.checks]
    passed = Counter(c.state for _, c in checks)["passed"]
    skipped: dict[str, list[str]] = {}
    for file, c in checks:
        if c.state == "not checked":
            skipped.setdefault(f"{c.id.title} ({c.limit})", []).append(file)
    # The files are named unless the check was skipped for all of them.
    lines = [k if len(files) == len(reports) else f"{k} of {', '.join(files)}" for k, files in sorted(skipped.items())]
    print(f"checks: {passed} passed" + (f"; not checked: {', '.join(lines)}" if lines else ""))
    for scope in dict.fromkeys(f"{c.id.title} {c.scope}" for _, c in checks if c.scope):
        print(scope)
    for file, c in checks:
        if c.id == CheckId.PER_TENSOR_COST:
            print(f"{file}: {c}")
    for report, path in zip(reports, paths, strict=True):
        _print_compatibility(report, path)
        card = card_path(path)
        # A card that could not be written leaves that of an earlier file.
        others = [report_path(path).name, *([card.name] if contains_text(card, report.sha256) else ())]
        print(f"written: {os.path.relpath(path)} with {' and '.join(others)}")


def _print_compatibility(report: Report, path: Path) -> None:
    """Print what the target of the export does with the file, and how many apps and client libraries open it."""
    if report.compatibility is None:
        return
    target, apps = report.settings.get("target"), report.compatibility.apps
    for row in report.compatibility.rows(target_rows(target) if target else ()):
        print(f"{report.file} for target={target}: {row}")
    opening = sum(verdict.opens for verdict in apps)
    known = f"{len(apps)} known sample apps and client libraries"
    inspect = f"{command_name('export')} inspect={shlex.quote(os.path.relpath(path))}"
    print(f"{report.file}: {opening} of {known} open it, by their documented requirements; {inspect} names them")


def _number(value: object, form: str) -> str:
    return format(value, form) if isinstance(value, (int, float)) else "-"
