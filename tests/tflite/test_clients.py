"""The real Task Library and MediaPipe against the golden mask."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.errors import UserError
from deeplab.tflite import client_program
from deeplab.tflite.clients import segment_with_mediapipe, segment_with_task_library
from deeplab.tflite.metadata import read_metadata, write_metadata

STARTER = "starter_deeplabv3_257_float.tflite"
needs_task_library = pytest.mark.skipif(
    importlib.util.find_spec("tflite_support") is None, reason="tflite-support is not installed"
)
needs_mediapipe = pytest.mark.skipif(importlib.util.find_spec("mediapipe") is None, reason="MediaPipe is not installed")


@pytest.fixture(scope="module")
def image(official_models):
    return np.array(Image.open(official_models / "segmentation_input_rotation0.jpg").convert("RGB"))


@pytest.fixture(scope="module")
def golden(official_models):
    return np.array(Image.open(official_models / "segmentation_golden_rotation0.png")) // 10


@needs_task_library
def test_the_task_library_returns_the_golden_mask(official_models, image, golden):
    masks = segment_with_task_library(official_models / STARTER, [image, image[:, ::-1]])
    assert len(masks) == 2
    assert (masks[0] == golden).mean() >= 0.99
    assert (masks[1] == golden).mean() < 0.99


@needs_mediapipe
@pytest.mark.parametrize("activation", [None, "softmax"])
def test_mediapipe_returns_the_golden_mask(official_models, image, golden, activation):
    model = (official_models / STARTER).read_bytes()
    if activation:
        model = write_metadata(model, read_metadata(model).labels, activation=activation)
    masks = segment_with_mediapipe(model, [image, image[:, ::-1]])
    assert len(masks) == 2
    assert (masks[0] == golden).mean() >= 0.99
    assert (masks[1] == golden).mean() < 0.99


@needs_task_library
def test_a_rejection_includes_the_message_of_the_task_library(official_models, image):
    with pytest.raises(UserError, match=r"the Task Library rejects it: .*expected to have 4 dimensions, found 3"):
        segment_with_task_library(official_models / "deeplabv3_mnv2_pascal_quant.tflite", [image])


@needs_mediapipe
def test_a_model_that_mediapipe_rejects_or_crashes_on_is_an_error(official_models):
    with pytest.raises(UserError, match=r"MediaPipe (rejects it|crashed with signal)"):
        segment_with_mediapipe(
            official_models / "deeplabv3_mnv2_pascal_quant.tflite", [np.zeros((513, 513, 3), np.uint8)]
        )


@pytest.mark.parametrize("segment", [segment_with_task_library, segment_with_mediapipe])
def test_a_client_that_is_not_installed_raises_import_error(official_models, image, tmp_path, monkeypatch, segment):
    # An interpreter that finds no installed packages stands in for a machine without the client.
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(ImportError, match="not installed"):
        segment(official_models / STARTER, [image])


def test_a_client_that_takes_too_long_is_an_error(official_models, image):
    with pytest.raises(UserError, match="the Task Library did not finish in 0 s"):
        segment_with_task_library(official_models / STARTER, [image], timeout=0.01)


@pytest.mark.parametrize("client", [pytest.param("task_library", marks=needs_task_library), "mediapipe"])
def test_the_program_imports_neither_this_package_nor_keras(client, tmp_path):
    images = tmp_path / "images.npy"
    np.save(images, np.zeros((1, 8, 8, 3), np.uint8))
    code = (
        f"import runpy, sys; sys.argv = ['x', {client!r}, '/dev/null', {str(images)!r}, '/dev/null']\n"
        f"try: runpy.run_path({str(Path(client_program.__file__))!r}, run_name='__main__')\n"
        "except SystemExit as end: print(end.code)\n"
        "print([m for m in ('deeplab', 'keras', 'tensorflow') if sys.modules.get(m)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.split()[-2:] == ["4", "[]"]


def test_the_task_library_runs_in_the_environment_of_another_python(tmp_path, monkeypatch):
    """A stand-in for the other Python writes the masks that the real program would write."""
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport sys, numpy as np\n"
        "_, program, client, model, images, masks = sys.argv\n"
        "assert client == 'task_library' and program.endswith('client_program.py')\n"
        "np.save(masks, np.full((1, 2, 3), 7, np.uint8))\n"
    )
    python.chmod(0o755)
    monkeypatch.setenv("DEEPLAB_TASK_LIBRARY_PYTHON", str(python))
    (mask,) = segment_with_task_library(b"\0\0\0\0TFL3", [np.zeros((2, 3, 3), np.uint8)])
    np.testing.assert_array_equal(mask, np.full((2, 3), 7))


def test_another_python_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setenv("DEEPLAB_TASK_LIBRARY_PYTHON", "/no/such/python")
    with pytest.raises(UserError, match=r"^DEEPLAB_TASK_LIBRARY_PYTHON: /no/such/python cannot be started"):
        segment_with_task_library(b"\0\0\0\0TFL3", [np.zeros((2, 3, 3), np.uint8)])


def test_a_missing_client_is_reported_with_the_command_that_installs_it(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text(
        f"#!/bin/sh\necho \"No module named 'libusb_package'\" >&2\nexit {client_program.NOT_INSTALLED}\n"
    )
    python.chmod(0o755)
    monkeypatch.setenv("DEEPLAB_TASK_LIBRARY_PYTHON", str(python))
    with pytest.raises(
        ImportError, match=r"Task Library is not installed \(No module named 'libusb_package'\); .*pip install"
    ):
        segment_with_task_library(b"\0\0\0\0TFL3", [np.zeros((2, 3, 3), np.uint8)])
