"""Pairs of the plan and the recipe: their settings, which are kept, and what an incomplete or a failed one leaves."""

import json
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks import plan_recipe
from benchmarks.plan_recipe import Outcome, Training, compare, log_file, recipe, row
from deeplab.datasets import voc
from deeplab.errors import UserError

PLAN = Outcome(0.5, {"a": 0.9, "b": 0.1, "c": None}, 80, 2.0)
RECIPE = Outcome(0.45, {"a": 0.9, "b": 0.0, "c": None}, 72, 2.5)
SETTINGS = ["experiment=voc_finetune", "training.learning_rate=0.5"]


class Started(list[Training]):
    """The trainings that `compare` started, and the settings of each, by the name of its run folder."""

    def __init__(self) -> None:
        super().__init__()
        self.settings: dict[str, list[str]] = {}


def write_folder(root: Path, classes: Sequence[str]) -> Path:
    """Write two images with masks of class 0, and the class names if there are any."""
    for part, pixels in (("images", np.zeros((8, 8, 3), np.uint8)), ("masks", np.zeros((8, 8), np.uint8))):
        (root / part).mkdir(parents=True)
        for name in "ab":
            Image.fromarray(pixels).save(root / part / f"{name}.png")
    if classes:
        (root / "classes.txt").write_text("\n".join(classes) + "\n")
    return root


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> Started:
    """The trainings that `compare` starts: a process that writes the results of a run, or waits for a minute."""
    trainings = Started()

    def train(root: Path, run: Path, cores: set[int], settings: list[str]) -> Training:
        assert not run.exists()
        run.mkdir()
        (run / "train.json").write_text(json.dumps({"training": {"steps": 80}}))
        scores = {"16": {"miou": 0.5, "per_class": {"a": 0.5}}}
        (run / "scores.json").write_text(json.dumps(scores))
        seconds = 60 if root.name == "waits" else 0
        code = f"import time, sys; time.sleep({seconds}); sys.exit({int(root.name == 'fails')})"
        trainings.settings[run.name] = settings
        trainings.append(Training(run, subprocess.Popen([sys.executable, "-c", code]), 0.0))
        return trainings[-1]

    monkeypatch.setattr(plan_recipe, "train", train)
    # A separate process would not see the replaced functions.
    monkeypatch.setattr(plan_recipe, "ProcessPoolExecutor", lambda workers, _: ThreadPoolExecutor(workers))
    monkeypatch.setattr(plan_recipe, "recipe_steps", lambda *_: 72)
    return trainings


def test_a_row_has_percents_and_the_number_of_classes_with_iou_0():
    expected = "| animal | 1 | 50.00 | 0 | 80 | 2.0 | 45.00 | 1 | 72 | 2.5 | +5.00 |"
    assert row("animal", 1, (PLAN, RECIPE)) == expected


def test_a_complete_pair_is_not_trained_again(tmp_path: Path, started: Started):
    stored = {"plan": asdict(PLAN), "recipe": asdict(RECIPE)}
    (tmp_path / "animal_10min_1.json").write_text(json.dumps(stored))
    assert compare("animal", tmp_path, SETTINGS, 1, 10.0, tmp_path) == (PLAN, RECIPE)
    assert not started


def test_a_pair_is_complete_for_its_minutes_only(tmp_path: Path, started: Started):
    compare("animal", tmp_path, SETTINGS, 1, 10.0, tmp_path)
    assert len(started) == 2
    compare("animal", tmp_path, SETTINGS, 1, 2.5, tmp_path)
    assert len(started) == 4
    compare("animal", tmp_path, SETTINGS, 1, 10.0, tmp_path)
    assert len(started) == 4


def test_an_incomplete_pair_starts_again(tmp_path: Path, started: Started):
    for part in ("plan", "recipe"):
        (tmp_path / f"animal_10min_1_{part}" / "checkpoints").mkdir(parents=True)
    plan, recipe = compare("animal", tmp_path, SETTINGS, 1, 10.0, tmp_path)
    assert (plan.miou, recipe.steps) == (0.5, 80)
    assert not list(tmp_path.glob("*/checkpoints"))


def test_a_failed_trial_ends_the_training_of_the_plan(
    tmp_path: Path, started: Started, monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> int:
        raise ValueError("no trial")

    monkeypatch.setattr(plan_recipe, "recipe_steps", fail)
    with pytest.raises(ValueError, match="no trial"):
        compare("animal", tmp_path / "waits", SETTINGS, 1, 10.0, tmp_path)
    assert [training.process.poll() for training in started] == [-9]


def test_a_failed_training_is_named_with_its_log(tmp_path: Path, started: Started):
    with pytest.raises(SystemExit, match=r"animal_2\.5min_0_plan: the training failed; see .*_2\.5min_0_plan\.log"):
        compare("animal", tmp_path / "fails", SETTINGS, 0, 2.5, tmp_path)
    assert all(training.process.poll() is not None for training in started)
    assert not list(tmp_path.glob("*.json"))


def test_runs_whose_names_contain_a_dot_have_different_logs():
    logs = {log_file(Path("out") / name) for name in ("a.b_plan", "a.c_plan", "a.b_recipe")}
    assert logs == {Path("out/a.b_plan.log"), Path("out/a.c_plan.log"), Path("out/a.b_recipe.log")}


def test_the_plan_has_its_minutes_and_the_recipe_its_settings_and_updates(tmp_path: Path, started: Started):
    compare("animal", tmp_path, SETTINGS, 3, 2.5, tmp_path)
    assert started.settings == {
        "animal_2.5min_3_plan": ["minutes=2.5", "seed=3"],
        "animal_2.5min_3_recipe": [*SETTINGS, "seed=3", "training.steps=72"],
    }


def test_the_trial_measures_the_settings_of_the_recipe(
    tmp_path: Path, started: Started, monkeypatch: pytest.MonkeyPatch
):
    measured: list[tuple[object, ...]] = []
    monkeypatch.setattr(plan_recipe, "recipe_steps", lambda *arguments: measured.append(arguments[:4]) or 72)
    compare("animal", tmp_path, SETTINGS, 3, 2.5, tmp_path)
    assert measured == [(tmp_path, [*SETTINGS, "seed=3"], 2.5, 3)]


VOC_RECIPE = ["experiment=voc_finetune", "pretrained=official", "output_stride=[16]"]


@pytest.mark.parametrize(
    ("classes", "rate"),
    [
        (["background", "animal"], ["training.learning_rate=0.007"]),
        ([*voc.CLASSES[:-1], "lamp"], ["training.learning_rate=0.007"]),
        ([*voc.CLASSES], []),
        (["tv" if name == "tvmonitor" else name for name in voc.CLASSES], []),
    ],
    ids=["two classes", "21 other classes", "VOC", "VOC as in the official files"],
)
def test_only_a_new_classifier_has_the_higher_learning_rate(tmp_path: Path, classes: list[str], rate: list[str]):
    assert recipe(write_folder(tmp_path / "set", classes)) == [*VOC_RECIPE, *rate]


def test_a_folder_without_class_names_ends_with_one_line_before_any_training(
    tmp_path: Path, started: Started, monkeypatch: pytest.MonkeyPatch
):
    other = write_folder(tmp_path / "other", [])
    with pytest.raises(UserError, match="class"):
        recipe(other)
    monkeypatch.setattr(plan_recipe, "make_folders", lambda *_: {"voc": write_folder(tmp_path / "voc", voc.CLASSES)})
    arguments = ["plan_recipe", "VOCDEVKIT", "--out", str(tmp_path / "out"), "--also", str(other)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match=r"^error: .*classes\.txt"):
        plan_recipe.main()
    assert not started
