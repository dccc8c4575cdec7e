"""The real Task Library, against its own golden mask."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import deeplab.tflite.task_library as task_library
from deeplab.errors import UserError
from deeplab.tflite.task_library import segment


@pytest.fixture(scope="module")
def picture(official_models):
    return np.array(Image.open(official_models / "segmentation_input_rotation0.jpg").convert("RGB"))


def test_the_starter_gives_the_golden_mask(official_models, picture):
    masks = segment(official_models / "starter_deeplabv3_257_float.tflite", [picture, picture[:, ::-1]])
    assert len(masks) == 2
    golden = np.array(Image.open(official_models / "segmentation_golden_rotation0.png")) // 10
    assert (masks[0] == golden).mean() >= 0.99
    assert (masks[1] == golden).mean() < 0.99


def test_what_the_library_refuses_is_said_in_its_words(official_models, picture):
    with pytest.raises(UserError, match="expected to have 4 dimensions, found 3"):
        segment(official_models / "deeplabv3_mnv2_pascal_quant.tflite", [picture])


def test_a_library_that_is_not_installed_is_no_refusal(official_models, picture, tmp_path, monkeypatch):
    # An interpreter that sees no installed packages but NumPy stands in for a machine without tflite-support.
    bare = tmp_path / "python"
    bare.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S "$@"\n')
    bare.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(bare))
    with pytest.raises(ImportError, match="not installed"):
        segment(official_models / "starter_deeplabv3_257_float.tflite", [picture])


def test_the_process_imports_neither_this_package_nor_keras():
    program = Path(task_library.__file__).with_name("task_library_process.py")
    code = (
        "import runpy, sys; sys.argv = ['x', '/dev/null', '/dev/null', '/dev/null']\n"
        f"try: runpy.run_path({str(program)!r}, run_name='__main__')\n"
        "except SystemExit: pass\n"
        "print([m for m in ('deeplab', 'keras', 'tensorflow') if sys.modules.get(m)])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/")
    assert done.stdout.strip().endswith("[]")
