"""The command evaluate: its table, files and errors."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from deeplab.config import DataConfig, EvaluateConfig, TrainConfig, to_mapping
from deeplab.datasets.open import open_source
from deeplab.errors import UserError
from deeplab.evaluation.compare import default_size, run_evaluation
from deeplab.evaluation.evaluate import evaluate
from deeplab.run_folder import load_model, open_model

ROOT = Path(__file__).parents[2]
DATA = DataConfig(source="shapes", val_size=3)


@pytest.fixture(scope="module")
def run(make_run) -> Path:
    """A run folder of a tiny network for the drawn scenes, with the settings of its training."""
    folder = make_run(open_source(DATA, "val").classes)
    training = TrainConfig(run=str(folder), model=open_model(folder).description.config, data=DATA)
    (folder / "train.json").write_text(json.dumps(to_mapping(training)))
    return folder


@pytest.mark.parametrize(
    ("changes", "expected"),
    [(None, 161), ({"val_split": "train"}, 161), ({"eval_size": 129}, 129), ({"source": "shapes"}, None)],
)
def test_the_size_is_that_of_the_training_unless_other_data_are_given(run, tmp_path, changes, expected):
    shutil.copytree(run, tmp_path / "run")
    settings = json.loads((run / "train.json").read_text())
    (tmp_path / "run" / "train.json").write_text(json.dumps({**settings, "image_size": 161}))
    assert default_size(open_model(tmp_path / "run"), changes) == expected


def test_the_size_of_a_resized_training_is_not_that_of_other_runs(run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    settings = json.loads((run / "train.json").read_text())
    settings["data"] |= {"source": "voc", "root": "x", "resize": "letterbox", "image_size": 97, "eval_size": 161}
    (tmp_path / "run" / "train.json").write_text(json.dumps(settings))
    assert default_size(open_model(tmp_path / "run"), None) == 161


def test_run_yields_a_table_json_and_a_page(run, capsys):
    config = EvaluateConfig(
        str(run),
        output_stride=(32, 16),
        bootstrap_samples=20,
        trimap_widths=(2,),
        flip=True,
        multi_scale_strides=(16,),
        multi_scale_images=2,
    )
    rows = run_evaluation(config)
    printed = capsys.readouterr().out
    written = json.loads((run / "evaluation.json").read_text())
    assert [row["name"] for row in written["rows"]] == ["tiny OS32", "tiny OS16", "tiny OS16 + flip"]
    for row in written["rows"]:
        assert row["name"] in printed
        assert f"{100 * row['miou']:.2f}" in printed
    assert [row["images"] for row in written["rows"]] == [3, 3, 2]
    assert "<h1>Evaluation" in (run / "evaluation.html").read_text()

    # The same scores without the toolkit's predictor.
    model = load_model(run, 16)
    source = open_source(DATA, "val", 0)
    direct = evaluate(
        lambda image: np.asarray(model(image[None].astype(np.float32), training=False))[0].argmax(-1),
        source.examples(),
        source.classes,
    )
    assert (direct.matrix.sum(axis=0) > 0).sum() > 1
    # Compiled and eager arithmetic may order nearly equal scores differently.
    assert np.abs(rows[1].scores.matrix - direct.matrix).sum() <= 10


def test_data_keys_without_a_source_change_the_data_of_the_training(run, tmp_path):
    config = EvaluateConfig(
        str(run), str(tmp_path), 16, data={"val_size": 2}, bootstrap_samples=0, trimap_widths=(), example_images=0
    )
    (row,) = run_evaluation(config)
    assert len(row.scores.names) == 2
    assert json.loads((tmp_path / "evaluation.json").read_text())["rows"][0]["miou_interval"] is None


def test_data_with_another_number_of_classes_is_refused(run, voc_root):
    with pytest.raises(UserError, match="the data has 21 classes"):
        run_evaluation(EvaluateConfig(str(run), data={"source": "voc", "root": str(voc_root)}))


def test_error_names_a_missing_run(tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        run_evaluation(EvaluateConfig(str(tmp_path / "nowhere")))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["run=nowhere"], "nowhere"),
        (["run={run}", "ouput_stride=[8]"], "did you mean 'output_stride'"),
        (["run={run}", "output_stride=[7]"], "output_stride"),
        (["run={run}", "data=voc"], "data.root"),
        (["run={run}", "data=vok"], "did you mean 'voc'"),
    ],
)
def test_user_errors_are_one_line_and_exit_code_1(run, arguments, line):
    done = subprocess.run(
        [sys.executable, str(ROOT / "evaluate.py"), *(a.format(run=run) for a in arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    errors = [each for each in done.stderr.splitlines() if each.startswith("error: ")]
    assert len(errors) == 1
    assert line in errors[0]


@pytest.mark.slow
def test_command_accepts_lists_of_runs_and_strides(run, tmp_path):
    shutil.copytree(run, tmp_path / "copy")
    arguments = [
        f"run=[{run},{tmp_path / 'copy'}]",
        "output_stride=[32]",
        "bootstrap_samples=10",
        "example_images=0",
        f"out={tmp_path}",
    ]
    done = subprocess.run(
        [sys.executable, str(ROOT / "evaluate.py"), *arguments],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert len(json.loads((tmp_path / "evaluation.json").read_text())["rows"]) == 2
    assert "OS32" in done.stdout
