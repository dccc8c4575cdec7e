"""Planned trainings of a tiny network on a few drawn scenes."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab.config import ModelConfig, TrainConfig, build, record_given
from deeplab.datasets.shapes import shapes_source
from deeplab.errors import UserError
from deeplab.model.quantization.transform import build_network
from deeplab.plan.facts import Trial
from deeplab.run_folder import ModelDescription, read_training_config, save_model
from deeplab.training import trial
from deeplab.training.distribution import Workers, find_workers
from deeplab.training.known_classes import explained_entropy
from deeplab.training.planning import planned_settings, print_plan
from deeplab.training.run_lock import check_settings
from deeplab.training.train import run_training, train
from deeplab.training.trial import measure_explained, measure_trial

pytestmark = pytest.mark.usefixtures("uncompiled")

TINY_MODEL = {"depth_multiplier": 0.1, "head": "v3", "aspp_rates": [], "aspp_channels": 8}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory) -> Path:
    """A folder of eight drawn scenes, scaled down to 64 pixels."""
    root = tmp_path_factory.mktemp("scenes")
    source = shapes_source("train", seed=0)
    for part in ("images", "masks"):
        (root / part).mkdir()
    for index in range(8):
        example = source.load(index)
        Image.fromarray(np.ascontiguousarray(example.image[::2, ::2])).save(root / f"images/p{index}.png")
        Image.fromarray(np.ascontiguousarray(example.label[::2, ::2])).save(root / f"masks/p{index}.png")
    (root / "classes.txt").write_text("\n".join(source.classes))
    return root


def settings(scenes: Path, run: Path, **changes) -> TrainConfig:
    """Return settings of a tiny network, as from a command line; the model is given, everything else is planned."""
    values = {"data": {"source": "folder", "root": str(scenes)}, "run": str(run), "model": TINY_MODEL} | changes
    given = {f"model.{key}" for key in TINY_MODEL} | {"data", "data.root", "run"}
    for key, value in changes.items():
        given |= {f"{key}.{inner}" for inner in value} if isinstance(value, dict) else {key}
    return record_given(build(TrainConfig, values), given)


def fast(config: TrainConfig, workers: Workers) -> Trial:
    """A machine on which one minute holds 8 updates, with 2 images in the validation split."""
    return Trial(update_seconds=6.0, start_seconds=0.0, image_seconds=0.1)


def slow(config: TrainConfig, workers: Workers) -> Trial:
    """A machine of half that speed."""
    return Trial(update_seconds=12.0, start_seconds=0.0, image_seconds=0.1)


@pytest.fixture(autouse=True)
def fast_machine(monkeypatch, tmp_path):
    """Replace the trial; the official weights cannot be had."""
    monkeypatch.setenv("DEEPLAB_WEIGHTS", str(tmp_path))
    monkeypatch.setattr("deeplab.training.planning.measure_trial", fast)


@pytest.mark.slow
def test_a_planned_training_runs_and_a_repeated_command_keeps_the_plan(
    scenes: Path, tmp_path: Path, monkeypatch, capsys
):
    run, one_minute = tmp_path / "run", {"minutes": 1.0}
    with pytest.warns(UserWarning, match="hold 8 updates"):
        train(settings(scenes, run, **one_minute))
    printed = capsys.readouterr().out
    assert "training.optimizer" in printed
    plan = json.loads((run / "plan.json").read_text())
    assert plan["trial"]["update_seconds"] == 6.0
    trained = read_training_config(run)
    # Of 55.2 s, 0.2 s are the evaluation at the end, and 90 % of the rest hold 8.25 updates.
    assert (trained.training.steps, trained.training.evaluate_every) == (8, 1)
    assert (trained.training.crop_size, trained.training.optimizer) == (65, "adamw")
    assert trained.network.depth_multiplier == 0.1
    # A machine of another speed does not change the plan of this run.
    monkeypatch.setattr("deeplab.training.planning.measure_trial", None)
    train(settings(scenes, run, **one_minute))
    assert "is complete" in capsys.readouterr().out
    assert json.loads((run / "plan.json").read_text()) == plan
    with pytest.raises(UserError, match=r"was trained with training\.batch_size=4, not 2"):
        train(settings(scenes, run, training={"batch_size": 2}, **one_minute))


def test_only_printing_the_plan_writes_nothing(scenes: Path, tmp_path: Path, capsys):
    run = tmp_path / "run"
    run_training(settings(scenes, run, plan=True))
    printed = capsys.readouterr().out
    assert "Measuring a few updates" in printed
    assert "Forecast: " in printed
    assert not run.exists()


def test_a_plan_with_a_given_number_of_updates_measures_nothing(scenes: Path, tmp_path: Path, capsys):
    run_training(settings(scenes, tmp_path / "run", plan=True, training={"steps": 8}))
    assert "Measuring" not in capsys.readouterr().out


def test_a_run_that_has_started_keeps_its_plan(scenes: Path, tmp_path: Path, monkeypatch, capsys):
    workers = Workers(tf.distribute.get_strategy())
    first = planned_settings(settings(scenes, tmp_path, minutes=1.0), workers)
    monkeypatch.setattr("deeplab.training.planning.measure_trial", slow)
    # Nothing is trained yet: the plan is made again.
    assert planned_settings(settings(scenes, tmp_path, minutes=2.0), workers).training.steps == 8
    check_settings(tmp_path, first)
    (tmp_path / "model.weights.h5").touch()
    assert planned_settings(settings(scenes, tmp_path, minutes=1.0), workers).training.steps == 8
    monkeypatch.setattr("deeplab.training.planning.measure_trial", None)
    capsys.readouterr()
    print_plan(settings(scenes, tmp_path, plan=True))
    line = next(line for line in capsys.readouterr().out.splitlines() if "training.batch_size" in line)
    assert line.split()[:2] == ["training.batch_size", "4"]


def test_without_a_plan_the_recipe_is_the_published_one(scenes: Path, tmp_path: Path):
    config = settings(scenes, tmp_path / "run", plan=False)
    assert planned_settings(config, Workers(tf.distribute.get_strategy())) is config
    assert not (tmp_path / "run").exists()


def test_the_batch_of_a_plan_suits_any_number_of_replicas(scenes: Path, tmp_path: Path, monkeypatch):
    """The default, 16, cannot be divided among 3 replicas; a CPU takes 4 images, hence 6."""
    monkeypatch.setattr(Workers, "replicas", 3)
    monkeypatch.setattr("deeplab.training.planning.measure_trial", fast)
    config = settings(scenes, tmp_path / "run")
    workers = find_workers(config.training)
    assert planned_settings(config, workers).training.batch_size == 6


def test_several_workers_have_no_plan(scenes: Path, tmp_path: Path, capsys):
    config = settings(scenes, tmp_path / "run")
    assert planned_settings(config, Workers(tf.distribute.get_strategy(), 0, 2)) is config
    assert "no plan: several workers" in capsys.readouterr().out


def test_settings_of_a_plan_are_refused_for_several_workers(scenes: Path, tmp_path: Path, monkeypatch):
    workers = Workers(tf.distribute.get_strategy(), 0, 2)
    with pytest.raises(UserError, match=r"minutes: cannot be used: several workers .*; remove minutes"):
        planned_settings(settings(scenes, tmp_path, minutes=5.0), workers)
    monkeypatch.setattr("deeplab.training.planning.find_workers", lambda _: workers)
    with pytest.raises(UserError, match=r"plan: cannot be used: several workers"):
        print_plan(settings(scenes, tmp_path, plan=True))


def test_a_run_without_a_plan_has_none_to_print(scenes: Path, tmp_path: Path):
    check_settings(tmp_path, settings(scenes, tmp_path))
    (tmp_path / "model.weights.h5").touch()
    with pytest.raises(UserError, match=r"plan: run=.* was trained without a plan"):
        print_plan(settings(scenes, tmp_path, plan=True))


@pytest.mark.slow
def test_trial_updates_are_timed_and_leave_nothing(scenes: Path, tmp_path: Path, monkeypatch, capsys):
    monkeypatch.setattr(trial, "SECONDS", 0.0)
    config = settings(scenes, tmp_path / "run", training={"batch_size": 2, "crop_size": 33}, output_stride=[16])
    measured = measure_trial(config, Workers(tf.distribute.get_strategy()))
    assert 0 < measured.update_seconds < 60
    assert 0 < measured.image_seconds < 60
    assert measured.start_seconds > 0
    assert measured.peak_memory is None or 1e8 < measured.peak_memory < 1e12
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_the_classes_of_a_run_are_compared_with_the_labels_of_resized_crops(scenes, tmp_path, monkeypatch):
    """The run is given by its weights file. A network with random weights explains hardly anything."""
    model = build_network(ModelConfig(**TINY_MODEL, classes=4), 16)
    save_model(tmp_path / "run", model, ModelDescription(model.config, ("a", "b", "c", "d")))
    seen = []

    def explained(network, batches):
        made = list(batches)
        seen.extend((network.output_shape[-1], image.shape, np.unique(label)) for image, label in made)
        return explained_entropy(network, made)

    monkeypatch.setattr(trial, "explained_entropy", explained)
    data = {"source": "folder", "root": str(scenes), "resize": "letterbox", "image_size": 33}
    changes = {"data": data, "training": {"batch_size": 2}, "pretrained": str(tmp_path / "run/model.weights.h5")}
    share = measure_explained(settings(scenes, tmp_path / "new", **changes), Workers(tf.distribute.get_strategy()))
    assert share is not None
    assert 0 <= share < 0.2
    assert [(classes, shape) for classes, shape, _ in seen] == [(4, (2, 33, 33, 3))] * 10
    # The crops are whole scenes, which contain several classes.
    assert all(len(ids) > 2 for _, _, ids in seen)


@pytest.mark.parametrize("make", [print_plan, train])
def test_wrong_weights_are_refused_before_a_plan_is_made(make, scenes, tmp_path, monkeypatch):
    monkeypatch.setattr("deeplab.training.planning.check_before_training", lambda *_: pytest.fail("data were checked"))
    with pytest.raises(UserError, match=r"offical: no such file or folder; did you mean 'official'\?"):
        make(settings(scenes, tmp_path / "run", pretrained="offical"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "updates"),
    [
        # The defaults of TrainingConfig, the recipe of DeepLabv3 (arXiv:1706.05587, sec. 4.1) for smaller batches.
        ({}, "30,000 updates of 16 crops"),
        ({"training": {"batch_size": 2, "learning_rate": 0.001}}, "30,000 updates of 2 crops"),
        ({"training": {"steps": 5}}, None),
        ({"plan": False}, None),
    ],
)
def test_a_pruned_network_on_own_data_is_said_to_have_no_plan(changes, updates, scenes, tmp_path, recwarn):
    config = settings(scenes, tmp_path / "run", prune={"target_ms": 5.0}, pretrained="official", **changes)
    assert planned_settings(config, find_workers(config.training)) is config
    lines = [
        str(warning.message) for warning in recwarn if "no plan is made for a pruned network" in str(warning.message)
    ]
    assert len(lines) == (updates is not None)
    assert all(f"it is trained for {updates}; set training.steps" in line for line in lines)
