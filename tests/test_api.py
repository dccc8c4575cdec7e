"""Training from Python has the settings of the command line."""

import re
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import deeplab
from deeplab.cli.settings import compose_settings, config_folder
from deeplab.config import TrainConfig, build, is_given
from deeplab.conversion.export_report import Report
from deeplab.errors import UserError
from deeplab.evaluation.scores import scores_from_matrices
from deeplab.evaluation.table import Row

DOCUMENT = Path(__file__).parents[1] / "docs" / "training.md"
TINY = {
    "model": {"depth_multiplier": 0.1, "head": "v3", "aspp_rates": [], "aspp_channels": 8, "batch_norm_momentum": 0.5},
    "training": {"steps": 2, "batch_size": 2, "crop_size": 33, "preview_images": 0},
}


@pytest.fixture
def trained(monkeypatch) -> list[TrainConfig]:
    """The configs that are trained, instead of a training."""
    configs: list[TrainConfig] = []

    def train(config, callbacks):
        configs.append(config)
        return {}

    monkeypatch.setattr("deeplab.training.train.train", train)
    return configs


def of_command(*arguments: str) -> TrainConfig:
    settings = compose_settings("train", arguments, config_folder())
    assert settings is not None
    return build(TrainConfig, settings)


def test_settings_are_those_of_the_command_with_its_recipe(trained, tmp_path):
    (tmp_path / "12").mkdir()
    run = deeplab.train(
        data={"source": "folder", "root": tmp_path / "12", "classes": ["a", "1e3"]},
        model={"head": "v3", "aspp_rates": []},
        training={"learning_rate": np.float32(0.5), "augment": {"flip": 0.0}, "clip_norm": None},
        run="runs/mine",
        seed=np.int64(3),
    )
    root = f"data.root={tmp_path / '12'}"
    arguments = ("model.head=v3", "model.aspp_rates=[]", "training.learning_rate=0.5", "training.augment.flip=0")
    expected = of_command(
        "data=folder", root, "data.classes=[a,'1e3']", *arguments, "training.clip_norm=null", "run=runs/mine", "seed=3"
    )
    assert trained == [expected]
    assert run.folder == Path("runs/mine")
    assert is_given(trained[0], "training")
    assert not is_given(trained[0], "minutes")


def test_data_alone_select_their_recipe(trained):
    deeplab.train(data="shapes")
    # configs/experiment/shapes.yaml: the demo trains crops of 97 pixels, the published recipe crops of 513.
    assert (trained[0].run, trained[0].training.crop_size) == ("runs/demo", 97)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"training": {"stpes": 3}}, r"training\.stpes: unknown key; did you mean 'training\.steps'\?"),
        ({"data": {"source": "vco"}}, r"data=vco: unknown choice; did you mean 'voc'\?"),
        ({"steps": 3}, r"steps: unknown key; did you mean 'training\.steps'\?"),
        ({"check_data": True}, "check_data: does not train"),
        ({"config": TrainConfig(), "seed": 3}, "seed: cannot be combined with a config"),
        ({}, "config: expected settings or a TrainConfig, got none"),
    ],
)
def test_wrong_settings_are_named(settings, line, trained):
    with pytest.raises(UserError, match=line):
        deeplab.train(**settings)
    assert not trained


def test_the_example_of_the_documents_runs(trained, tmp_path, monkeypatch):
    (example,) = re.findall(r"```python\n(import deeplab\n.*?)```", DOCUMENT.read_text(), re.DOTALL)
    (tmp_path / "my_data").mkdir()
    monkeypatch.chdir(tmp_path)
    exported = []
    monkeypatch.setattr("deeplab.conversion.export.run_export", lambda config: exported.append(config))
    monkeypatch.setattr("deeplab.evaluation.compare.run_evaluation", lambda config: exported.append(config))
    exec(example, {})
    assert trained == [of_command("data=folder", "data.root=my_data", "minutes=15", "run=runs/mine")]
    assert [type(config).__name__ for config in exported] == ["EvaluateConfig", "ExportConfig"]
    assert {config.run for config in exported} == {"runs/mine"}


def test_warnings_to_users_are_one_line(monkeypatch):
    shown = []

    def train(config, callbacks):
        shown.extend(warnings.formatwarning("two\nlines", c, "a.py", 3) for c in (UserWarning, RuntimeWarning))
        return {}

    monkeypatch.setattr("deeplab.training.train.train", train)
    usual = warnings.formatwarning
    run = deeplab.train(data="shapes")
    assert shown == ["warning: two lines\n", "a.py:3: RuntimeWarning: two\nlines\n"]
    assert warnings.formatwarning is usual
    assert repr(run) == f"TrainedRun(folder={Path('runs/demo')!r})"


def test_results_are_short_in_a_notebook():
    scores = scores_from_matrices([np.diag([30, 10])] * 2, ("a", "b"), ["x", "y"])
    assert repr(scores) == "Scores(miou=1.0000, classes=2, images=2)"
    candidate = SimpleNamespace(name="run, output stride 16")
    row = Row(candidate, scores, None, 1.0, (1, 1), 1)
    assert repr(row) == f"Row(name='run, output stride 16', scores={scores!r})"
    report = Report("int8.tflite", 1234, "0", "i", "o", {}, (), (), None, {}, {})
    assert repr(report) == "Report(file='int8.tflite', bytes=1234, failed=0)"


@pytest.mark.slow
def test_a_trained_run_is_evaluated_and_exported(tmp_path, capsys):
    run = deeplab.train(data={"source": "shapes", "val_size": 2}, run=tmp_path / "run", output_stride=[16], **TINY)
    assert set(run.scores) == {16}
    (row,) = run.evaluate(output_stride=16, bootstrap_samples=0)
    assert row.scores.miou == run.scores[16].miou
    capsys.readouterr()
    (report,) = run.export(quantization="float32", image_size=33, miou_images=0)
    assert f"{run.folder.name}/float32_image_size_33.tflite with " in capsys.readouterr().out
    assert not report.failed
    assert (run.folder / report.file).is_file()
    assert run.load(16, 33).output_shape == (None, 33, 33, 7)
