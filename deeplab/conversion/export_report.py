"""What was checked of a .tflite file, and how it came about."""

import dataclasses
import hashlib
import importlib.metadata
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from deeplab.files import write_json

State = Literal["passed", "failed", "not checked"]
Value = str | float | int | None

_PACKAGES = ("deeplab-toolkit", "tensorflow", "keras", "ai-edge-litert", "tflite-support", "mediapipe", "numpy")


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: what.
        state: "not checked" where it could not be run, never "passed".
        measured: the value found.
        limit: what it may be; or why the check could not be run.
    """

    name: str
    state: State
    measured: Value = None
    limit: Value = None

    def __str__(self) -> str:
        """One line: name, state, value and limit."""
        if self.state == "not checked":
            return f"{self.name}: not checked ({self.limit})"
        return f"{self.name}: {self.state}, {_short(self.measured)} (limit: {_short(self.limit)})"


@dataclass(frozen=True)
class Report:
    """All that is known of an exported file.

    Attributes:
        file: its name.
        bytes: its size.
        sha256: of its content.
        input: type and shape, as "uint8 [1, 257, 257, 3]".
        output: in the same way.
        operators: how often each occurs.
        float_operators: names of the layers of an int8 file that compute in float, as `float_layers` ordered.
        checks: all of them.
        milliseconds: median time a picture on this machine, one thread, XNNPACK.
        settings: what the file was made with.
        origin: run, hash of the weights, classes, raised logits, calibration, versions.
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

    @property
    def failed(self) -> tuple[Check, ...]:
        """The checks that did not pass."""
        return tuple(c for c in self.checks if c.state == "failed")

    def measured(self, name: str) -> Value:
        """What the check of that name measured; None where it was not run."""
        return next((c.measured for c in self.checks if c.name == name), None)

    def save(self, path: Path) -> None:
        """Writes the report as JSON, whole or not at all."""
        write_json(path, dataclasses.asdict(self))


def check(name: str, holds: bool, measured: Value, limit: Value) -> Check:
    """A check that was run."""
    return Check(name, "passed" if holds else "failed", measured, limit)


def not_checked(name: str, why: str) -> Check:
    """A check that could not be run."""
    return Check(name, "not checked", None, why)


def report_path(file: str | Path) -> Path:
    """Where the report of a .tflite file lies: beside it."""
    return Path(file).with_suffix(".report.json")


def sha256(content: bytes) -> str:
    """Hexadecimal SHA-256."""
    return hashlib.sha256(content).hexdigest()


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that had a part; those that are not installed are left out."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _short(value: Value) -> str:
    """A value for a line of text."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
