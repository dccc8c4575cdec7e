"""The frontier from the command line: its results, what it keeps, and its refusals."""

import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks import frontier
from benchmarks.frontier_files import Entry, Given
from deeplab.config import DataConfig, EvaluateConfig, ModelConfig, TrainConfig, TrainingConfig, to_mapping
from deeplab.config.description import ModelDescription, write_description
from deeplab.datasets.open import open_source
from deeplab.evaluation.compare import run_evaluation
from deeplab.files import write_json
from deeplab.run_folder import open_model

DATA = DataConfig(source="shapes", val_size=3)

SAME = ("path", "sha256", "input", "output", "bytes", "miou", "difference")
"""Keys of a row that do not depend on the time."""

CLASSES = open_source(DATA, "val").classes


def write_training(folder: Path) -> None:
    """Write the settings of a training on the drawn scenes into a run folder."""
    config = TrainConfig(model=open_model(folder).description.config, data=DATA, training=TrainingConfig(crop_size=65))
    write_json(folder / "train.json", to_mapping(config))


@pytest.fixture
def run(tmp_path) -> Path:
    """A run folder without weights: its settings can be checked."""
    folder = tmp_path / "tiny"
    folder.mkdir()
    description = ModelDescription(ModelConfig(classes=len(CLASSES)), CLASSES)
    write_description(folder / "model.json", description, "0" * 64)
    write_training(folder)
    return folder


@pytest.mark.slow  # Exports two files: 20 s.
def test_runs_are_exported_evaluated_and_timed_and_a_second_call_repeats_nothing(
    make_run, tmp_path, capsys, monkeypatch
):
    run = make_run(CLASSES)
    write_training(run)
    out = tmp_path / "out"
    grid = ["--size", "65:stretch", "--quantization", "float32", "float16", "--rounds", "3"]
    frontier.main([str(run), "--out", str(out), *grid, "--budget-bytes", "1000000"])
    printed = capsys.readouterr().out
    content = json.loads((out / "frontier.json").read_text())
    names = ["tiny_float32_65_stretch_mask4", "tiny_float16_65_stretch_mask4"]
    assert sorted(row["name"] for row in content["rows"]) == sorted(names)
    assert content["reference"] == names[0]
    times = [row["milliseconds"]["1"] for row in content["rows"]]
    assert times == sorted(times)
    assert "For 1,000,000 bytes: tiny_" in printed
    assert all(f"| {name} | " in printed for name in names)
    assert (out / "frontier.html").read_text().count("<svg") == 3
    # The scores are those of evaluate.py on the same files.
    files = tuple(str(out / f"{name}.tflite") for name in names)
    rows = run_evaluation(EvaluateConfig(files, out=str(tmp_path), data={"source": "shapes", "val_size": 3}))
    measured = {row["name"]: row for row in content["rows"]}
    assert [measured[name]["miou"]["value"] for name in names] == [row.scores.labeled_miou for row in rows]
    assert [measured[name]["bytes"] for name in names] == [row.candidate.file_bytes for row in rows]
    assert all(row["input"].endswith("65x65 stretched") for row in content["rows"])

    def fail(*_):
        raise AssertionError

    monkeypatch.setattr("deeplab.conversion.export.export", fail)
    monkeypatch.setattr(frontier, "tflite_predictor", fail)
    frontier.main([str(run), "--out", str(out), *grid])
    again = json.loads((out / "frontier.json").read_text())
    for row in again["rows"]:
        before = measured[row["name"]]
        assert {key: row[key] for key in SAME} == {key: before[key] for key in SAME}
    assert again["answers"] == []


def refused(capsys, *arguments: str) -> str:
    with pytest.raises(SystemExit) as raised:
        frontier.main(list(arguments))
    assert capsys.readouterr().out == ""
    text = str(raised.value)
    assert text.startswith("error: ")
    assert "\n" not in text
    return text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["missing.tflite", "--voc", "nowhere"], "nowhere"),
        (["RUN", "--reference", "other"], "--reference: expected one of tiny_int8_mask4, got 'other'"),
        (["RUN", "--budget-ms", "-1"], "--budget-ms"),
        (["RUN", "--threads", "0"], "--threads"),
        (["RUN", "--rounds", "0"], "--rounds"),
        (["RUN", "--images", "0"], "--images"),
        (["RUN", "--output-stride", "12"], "--output-stride"),
        (["RUN", "--size", "65", "--mask-stride", "3"], "mask_stride"),
        (["missing"], "run=missing: no such folder"),
        (["a.tflite", "--size", "449"], "--size: no model is exported"),
        (["a.tflite"], "--voc: no data to evaluate on"),
        (["RUN,fit=stretch"], "only a .tflite file has a fit"),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(arguments, message, run, tmp_path, capsys):
    out = tmp_path / "out"
    arguments = [argument.replace("RUN", str(run)) for argument in arguments]
    assert message in refused(capsys, *arguments, "--out", str(out))
    assert not out.exists()


def test_published_weights_are_calibrated_on_the_images_of_the_first_run_without_voc(run):
    data = DataConfig(source="folder", root="mine", val_size=3, resize="stretch", image_size=65, cache_memory=0.5)
    write_json(run / "train.json", to_mapping(TrainConfig(data=data)))
    data, keys = frontier._data([Given(str(run))], None)
    assert (data.root, data.resize) == ("mine", "stretch")
    assert keys == {"source": "folder", "root": "mine", "val_size": 3}


def test_help_does_not_load_tensorflow():
    code = """
import sys
from benchmarks import frontier
try:
    frontier.main(["--help"])
except SystemExit:
    print("tensorflow" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout.splitlines()[-1], done.stderr) == ("False", "")


def test_a_file_with_other_classes_is_refused(run, official_models, tmp_path, capsys):
    file = official_models / "deeplabv3_mnv2_dm05_pascal_quant.tflite"
    assert "has 21" in refused(capsys, str(file), str(run), "--out", str(tmp_path / "out"))


def test_an_interruption_states_that_the_results_are_kept(monkeypatch, tmp_path, capsys):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(frontier, "measure", interrupt)
    with pytest.raises(SystemExit) as raised:
        frontier.main(["a.tflite", "--out", str(tmp_path)])
    assert raised.value.code == 130
    message = f"interrupted: {tmp_path} keeps the exported files and the scores; repeat the command\n"
    assert capsys.readouterr().err == message


@pytest.mark.parametrize(
    ("given", "stated", "stretched", "text"),
    [
        ("auto", "auto", 0, "padded"),
        ("auto", "auto", 8, "stretched"),
        ("auto", "auto", 3, "padded or stretched"),
        ("auto", "letterbox", 0, "letterboxed"),
        ("stretch", "letterbox", 8, "stretched"),
        ("pad", "auto", 0, "padded"),
    ],
)
def test_the_input_states_how_the_images_met_the_file(given, stated, stretched, text):
    scores = SimpleNamespace(stretched=stretched, names=("image",) * 8)
    assert frontier.fit_text(Entry("a", Path("a.tflite"), given), SimpleNamespace(fit=stated), scores) == text
