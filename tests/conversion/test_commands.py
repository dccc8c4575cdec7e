"""The scripts as programs: their output and exit code."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from deeplab.cli import app
from deeplab.config import DataConfig, TrainConfig, TrainingConfig, to_mapping
from deeplab.datasets.shapes import CLASSES
from deeplab.files import write_json
from deeplab.run_folder import ModelDescription, save_model
from tests.conversion.conftest import SIZE, TINY

ROOT = Path(__file__).parents[2]


def program(name, *arguments):
    command = [sys.executable, str(ROOT / name), *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["export.py", "evaluate.py", "predict.py"])
def test_a_damaged_file_is_reported_before_anything_is_printed(name, tmp_path):
    path = tmp_path / "cut.tflite"
    path.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(range(200)))
    code, out, err = program(name, f"run={path}", *(["images=x"] if name == "predict.py" else []))
    assert code == 1
    assert out == ""
    assert err.strip() == f"error: {path}: is damaged or truncated; copy or export it again"


def test_a_file_is_inspected_without_tensorflow(workshop, tmp_path, monkeypatch, capsys):
    path = tmp_path / "model.tflite"
    path.write_bytes(workshop.bare("int8"))
    monkeypatch.setattr(app, "load_tensorflow", lambda: pytest.fail("TensorFlow was loaded"))
    app.main("export", [f"inspect={path}"])
    printed = capsys.readouterr().out
    assert printed.startswith("file           model.tflite, ")
    assert "  LiteRT.js, web page                       opens\n" in printed
    assert re.search(r"  Core ML \(iOS\) +of (\d+) operators 0 delegated, \1 fall back, 0 unknown; ", printed)


@pytest.mark.slow
def test_export_writes_a_file_that_passes_verify(workshop, tmp_path):
    run, out = tmp_path / "run", tmp_path / "model.tflite"
    run.mkdir()
    save_model(run, workshop.model, ModelDescription(TINY, CLASSES))
    settings = TrainConfig(training=TrainingConfig(crop_size=SIZE), data=DataConfig(source="shapes"))
    write_json(run / "train.json", to_mapping(settings))
    few = ["agreement_images=1", "miou_images=1", "max_miou_drop=100"]
    code, printed, err = program("export.py", f"run={run}", "quantization=float32", f"out={out}", *few)
    assert code == 0, err
    assert printed.splitlines()[0].split()[:2] == ["file", "bytes"]
    assert out.is_file()
    # Progress lines only, no messages of TensorFlow or the converter.
    assert err.splitlines() == [
        f"warning: image_size=[{SIZE},{SIZE}]: the crop size of the training, because the run states neither a size of "
        "the evaluation nor the sizes of its validation images; image_size=[HEIGHT,WIDTH] sets another",
        "Loading the model and computing reference outputs ...",
        "Converting to float32 ...",
        f"Checking {out.stat().st_size:,} bytes ...",
    ]
    assert out.with_suffix(".report.json").is_file()
    code, printed, err = program("export.py", f"verify={out}", f"run={run}", *few)
    assert (code, err) == (0, "")
    assert "sha256 in its report: passed" in printed
    code, printed, err = program("export.py", f"verify={out}", f"run={run}", "image_size=33", *few)
    assert (code, printed) == (1, "")
    assert err.endswith("cannot be combined with image_size=; remove image_size=\n")
