"""Pairs of the plan and the recipe: which are kept, and what an incomplete or a failed one leaves."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import pytest

from benchmarks import plan_recipe
from benchmarks.plan_recipe import Outcome, Training, compare, log_file, recipe, row
from deeplab.datasets import voc

PLAN = Outcome(0.5, {"a": 0.9, "b": 0.1, "c": None}, 80, 2.0)
RECIPE = Outcome(0.45, {"a": 0.9, "b": 0.0, "c": None}, 72, 2.5)


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Training]:
    """The trainings that `compare` starts: a process that writes the results of a run, or waits for a minute."""
    trainings: list[Training] = []

    def train(root: Path, run: Path, cores: set[int], settings: list[str]) -> Training:
        assert not run.exists()
        run.mkdir()
        (run / "train.json").write_text(json.dumps({"training": {"steps": 80}}))
        scores = {"16": {"miou": 0.5, "per_class": {"a": 0.5}}}
        (run / "scores.json").write_text(json.dumps(scores))
        seconds = 60 if root.name == "waits" else 0
        code = f"import time, sys; time.sleep({seconds}); sys.exit({int(root.name == 'fails')})"
        trainings.append(Training(run, subprocess.Popen([sys.executable, "-c", code]), 0.0))
        return trainings[-1]

    monkeypatch.setattr(plan_recipe, "train", train)
    # A separate process would not see the replaced functions.
    monkeypatch.setattr(plan_recipe, "ProcessPoolExecutor", lambda workers, _: ThreadPoolExecutor(workers))
    monkeypatch.setattr(plan_recipe, "recipe_steps", lambda *_: 72)
    monkeypatch.setattr(plan_recipe, "recipe", lambda *_: [])
    return trainings


def test_a_row_has_percents_and_the_number_of_classes_with_iou_0():
    expected = "| animal | 1 | 50.00 | 0 | 80 | 2.0 | 45.00 | 1 | 72 | 2.5 | +5.00 |"
    assert row("animal", 1, (PLAN, RECIPE)) == expected


def test_a_complete_pair_is_not_trained_again(tmp_path: Path, started: list[Training]):
    stored = {"plan": asdict(PLAN), "recipe": asdict(RECIPE)}
    (tmp_path / "animal_10min_1.json").write_text(json.dumps(stored))
    assert compare("animal", tmp_path, 1, 10.0, tmp_path) == (PLAN, RECIPE)
    assert not started


def test_a_pair_is_complete_for_its_minutes_only(tmp_path: Path, started: list[Training]):
    compare("animal", tmp_path, 1, 10.0, tmp_path)
    assert len(started) == 2
    compare("animal", tmp_path, 1, 2.5, tmp_path)
    assert len(started) == 4
    compare("animal", tmp_path, 1, 10.0, tmp_path)
    assert len(started) == 4


def test_an_incomplete_pair_starts_again(tmp_path: Path, started: list[Training]):
    for part in ("plan", "recipe"):
        (tmp_path / f"animal_10min_1_{part}" / "checkpoints").mkdir(parents=True)
    plan, recipe = compare("animal", tmp_path, 1, 10.0, tmp_path)
    assert (plan.miou, recipe.steps) == (0.5, 80)
    assert not list(tmp_path.glob("*/checkpoints"))


def test_a_failed_trial_ends_the_training_of_the_plan(
    tmp_path: Path, started: list[Training], monkeypatch: pytest.MonkeyPatch
):
    def fail(*_: object) -> int:
        raise ValueError("no trial")

    monkeypatch.setattr(plan_recipe, "recipe_steps", fail)
    with pytest.raises(ValueError, match="no trial"):
        compare("animal", tmp_path / "waits", 1, 10.0, tmp_path)
    assert [training.process.poll() for training in started] == [-9]


def test_a_failed_training_is_named_with_its_log(tmp_path: Path, started: list[Training]):
    with pytest.raises(SystemExit, match=r"animal_2\.5min_0_plan: the training failed; see .*_2\.5min_0_plan\.log"):
        compare("animal", tmp_path / "fails", 0, 2.5, tmp_path)
    assert all(training.process.poll() is not None for training in started)
    assert not list(tmp_path.glob("*.json"))


def test_runs_whose_names_contain_a_dot_have_different_logs():
    logs = {log_file(Path("out") / name) for name in ("a.b_plan", "a.c_plan", "a.b_recipe")}
    assert logs == {Path("out/a.b_plan.log"), Path("out/a.c_plan.log"), Path("out/a.b_recipe.log")}


def test_only_a_new_classifier_has_the_higher_learning_rate(tmp_path: Path):
    (tmp_path / "classes.txt").write_text("background\nanimal\n")
    assert "training.learning_rate=0.007" in recipe(tmp_path, 3)
    assert "seed=3" in recipe(tmp_path, 3)
    (tmp_path / "classes.txt").write_text("\n".join(voc.CLASSES) + "\n")
    assert not any(setting.startswith("training.learning_rate") for setting in recipe(tmp_path, 3))
