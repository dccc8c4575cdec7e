"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

SHARED = Path(os.environ.get("DEEPLAB_SHARED", Path(__file__).parents[1].parent / "shared"))


def _needed(path: Path) -> Path:
    if not path.exists():
        pytest.skip(f"real data are not at hand: no {path.name} in the folder named by DEEPLAB_SHARED")
    return path


@pytest.fixture(scope="session")
def voc_root() -> Path:
    """A VOCdevkit with real pictures; the test is skipped where there is none."""
    return _needed(SHARED / "data" / "VOCdevkit")


@pytest.fixture(scope="session")
def official_models() -> Path:
    """Folder with the official .tflite files and their golden files; the test is skipped where there is none."""
    return _needed(SHARED / "models")
