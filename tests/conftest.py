"""Fixtures shared by all tests."""

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

SHARED = Path(os.environ.get("DEEPLAB_SHARED", Path(__file__).parents[1].parent / "shared"))


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup() -> None:
    """Draws are the same in every run of a test: weights near a rounding step would else fail it now and then."""
    if keras := sys.modules.get("keras"):
        keras.utils.set_random_seed(1)


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
