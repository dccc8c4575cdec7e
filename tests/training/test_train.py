"""Whole trainings of a tiny network, cut off and gone on with, and what a user may get wrong."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from deeplab import command
from deeplab.config import TrainConfig, build
from deeplab.errors import UserError
from deeplab.run_folder import load_model
from deeplab.training.checkpoint import saved_states, step_of
from deeplab.training.train import run_training, train

PROJECT = Path(__file__).parents[2]
TINY = {
    "model": {"depth_multiplier": 0.1, "head": "v3", "aspp_rates": [], "aspp_channels": 8, "batch_norm_momentum": 0.9},
    "data": {"source": "shapes", "val_size": 2},
    "training": {"steps": 7, "batch_size": 2, "crop_size": 33, "save_every": 3, "log_every": 1, "pictures": 1},
}


def settings(run: Path, **changes) -> TrainConfig:
    return build(TrainConfig, TINY | {"run": str(run)} | changes)


class CutOff(keras.callbacks.Callback):
    """IoType the process' training in the middle of an update, as a power cut would."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.after:
            raise KeyboardInterrupt


@pytest.fixture(scope="module", autouse=True)
def uncompiled():
    """A few updates of a tiny network take less time than compiling one; the command below runs compiled."""
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> Path:
    """A run that was never cut off."""
    run = tmp_path_factory.mktemp("runs") / "straight"
    train(settings(run))
    return run


@pytest.fixture(scope="module")
def cut(tmp_path_factory) -> Path:
    """A run that was cut off at its sixth update, two behind its last saved state, and gone on with."""
    run = tmp_path_factory.mktemp("runs") / "cut"
    with pytest.raises(KeyboardInterrupt):
        train(settings(run), callbacks=[CutOff(after=5)])
    assert [step_of(path) for path in saved_states(run / "state")] == [3]
    train(settings(run))
    return run


def test_a_run_folder_holds_what_others_rely_on(straight):
    names = {path.name for path in straight.iterdir()}
    assert {"model.weights.h5", "model.json", "train.json", "scores.json", "log.csv", "state"} <= names
    assert any(name.startswith("events.") for name in names)
    assert "output_stride" not in (straight / "model.json").read_text()
    scores = json.loads((straight / "scores.json").read_text())
    assert set(scores) == {"16", "8"}
    assert {"miou", "pixel_accuracy", "per_class"} <= set(scores["16"])
    assert list(scores["8"]["per_class"]) == json.loads((straight / "model.json").read_text())["classes"]
    rows = (straight / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "1", "2", "3", "4", "5", "6", "7"]


def test_a_training_that_was_cut_off_ends_with_the_very_same_weights(straight, cut):
    one, other = (load_model(run, 16).get_weights() for run in (straight, cut))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    logs = [[line.split(",")[:3] for line in (run / "log.csv").read_text().splitlines()] for run in (straight, cut)]
    assert logs[0] == logs[1]


def test_a_complete_run_is_only_measured(cut, capsys):
    before = (cut / "model.weights.h5").read_bytes()
    train(settings(cut, output_stride=[32]))
    assert "is complete" in capsys.readouterr().out
    assert (cut / "model.weights.h5").read_bytes() == before
    assert set(json.loads((cut / "scores.json").read_text())) == {"16", "8", "32"}


def test_two_stages_are_one_training(tmp_path):
    """The second, at a rate of nearly nothing and with frozen batch norm, ends where the first did."""
    second = TINY["training"] | {"steps": 2, "learning_rate": 1e-12, "batch_norm": "frozen", "output_stride": 8}
    first = {"training": {"steps": 4, "learning_rate": 0.05, "batch_norm": "train", "output_stride": 16}}
    config = settings(tmp_path / "run", training=second, first_stage=first)
    train(config)
    one, other = (load_model(run, 16).get_weights() for run in (tmp_path / "run" / "first_stage", tmp_path / "run"))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)
    stages = [json.loads((run / "train.json").read_text())["training"] for run in
              (tmp_path / "run" / "first_stage", tmp_path / "run")]  # fmt: skip
    assert [(s["steps"], s["output_stride"], s["batch_norm"]) for s in stages] == [(4, 16, "train"), (2, 8, "frozen")]
    before = (tmp_path / "run" / "first_stage" / "scores.json").stat().st_mtime_ns
    train(config)
    assert (tmp_path / "run" / "first_stage" / "scores.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("first", "line"),
    [
        ({"model": {}}, r"first_stage\.model: cannot differ"),
        ({"training": {"stpes": 3}}, r"first_stage\.training\.stpes: no such key"),
        ({"training": 3}, r"first_stage\.training: 3 is no mapping"),
    ],
)
def test_a_first_stage_that_cannot_be_is_told(first, line, tmp_path):
    with pytest.raises(UserError, match=line):
        train(settings(tmp_path / "run", first_stage=first))


def test_the_moving_average_is_measured_and_saved_and_the_best_is_kept(tmp_path):
    changes = {"ema_decay": 0.99, "evaluate_every": 3, "evaluate_images": 1, "learning_rate": 0.05}
    train(settings(tmp_path / "run", training=TINY["training"] | changes))
    states = np.load(saved_states(tmp_path / "run" / "state")[-1])
    averages = [states[name] for name in states.files if name.startswith("average/")]
    weights = load_model(tmp_path / "run", 16).get_weights()
    assert len(averages) == len(weights)
    for average, weight in zip(averages, weights, strict=True):
        np.testing.assert_array_equal(average, weight)
    raw = [states[name] for name in states.files if name.startswith("model/")]
    assert any(a.shape == b.shape and not np.array_equal(a, b) for a, b in zip(raw, weights, strict=False))
    rows = (tmp_path / "run" / "validation.csv").read_text().splitlines()
    assert rows[0] == "step,miou_os16,miou_os8"
    assert [row.split(",")[0] for row in rows[1:]] == ["3", "6"]
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    first, second = (float(row.split(",")[1]) for row in rows[1:])
    assert best["step"] == (6 if second > first else 3)
    page = (tmp_path / "run" / "training.html").read_text()
    assert "Validation mIoU" in page
    assert "<polyline" in page
    assert "http-equiv" not in page, "a page of a training that is over is not loaded again"


def test_a_run_with_other_settings_is_not_gone_on_with(straight):
    changed = TINY["training"] | {"learning_rate": 0.5}
    with pytest.raises(UserError, match=r"training\.learning_rate=0\.007, not 0\.5; .*another run=FOLDER"):
        train(settings(straight, training=changed))


def test_a_damaged_state_is_named(straight, tmp_path):
    run = shutil.copytree(straight, tmp_path / "run")
    latest = saved_states(run / "state")[-1]
    latest.write_bytes(latest.read_bytes()[:1000])
    with pytest.raises(UserError, match=rf"{latest.name}: is damaged"):
        train(settings(run))


def test_damaged_weights_are_named(straight, tmp_path):
    run = shutil.copytree(straight, tmp_path / "run")
    weights = run / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"model\.weights\.h5: is damaged"):
        load_model(run)


def test_a_class_count_that_contradicts_the_data_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"model\.classes: 5, but shapes/train has 7"):
        train(settings(tmp_path, model=TINY["model"] | {"classes": 5}))


def devkit(root: Path) -> Path:
    """Four pictures of a VOCdevkit, all as they should be."""
    base = root / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (base / name).mkdir(parents=True)
    rng = np.random.default_rng(0)
    for name in "abcd":
        Image.fromarray(rng.integers(0, 256, (40, 50, 3), np.uint8)).save(base / "JPEGImages" / f"{name}.jpg")
        label = np.zeros((40, 50), np.uint8)
        label[10:30, 10:40] = 1 + ord(name) % 20
        save_mask(base, name, label)
    for split, names in (("train", "ab"), ("val", "cd")):
        (base / "ImageSets" / "Segmentation" / f"{split}.txt").write_text("\n".join(names) + "\n")
    return base


def save_mask(base: Path, name: str, label: np.ndarray) -> None:
    mask = Image.fromarray(label)
    mask.putpalette(np.arange(768).astype(np.uint8).tobytes())
    mask.save(base / "SegmentationClass" / f"{name}.png")


def label_37(base: Path) -> None:
    save_mask(base, "a", np.full((40, 50), 37, np.uint8))


def other_size(base: Path) -> None:
    save_mask(base, "a", np.zeros((40, 49), np.uint8))


def truncated_mask(base: Path) -> None:
    path = base / "SegmentationClass" / "a.png"
    path.write_bytes(path.read_bytes()[:60])


def truncated_picture(base: Path) -> None:
    path = base / "JPEGImages" / "b.jpg"
    path.write_bytes(path.read_bytes()[:500])


def missing_folder(base: Path) -> None:
    shutil.rmtree(base)


@pytest.mark.parametrize(
    ("damage", "line"),
    [
        (label_37, r"a\.png.*37"),
        (other_size, r"a\.(png|jpg).*(49 ?x ?40|40 ?x ?49)"),
        (truncated_mask, r"a\.png.*(truncated|damaged|cannot be read)"),
        (truncated_picture, r"b\.jpg.*(truncated|damaged|cannot be read)"),
        (missing_folder, r"VOC2012"),
    ],
)
def test_a_fault_in_the_data_is_one_line_and_exit_code_1(damage, line, tmp_path, capsys):
    damage(devkit(tmp_path / "data"))
    mapping = TINY | {"run": str(tmp_path / "run"), "data": {"source": "voc", "root": str(tmp_path / "data")}}
    with pytest.raises(SystemExit) as ended:
        command.run(TrainConfig, mapping, run_training)
    assert ended.value.code == 1
    errors = [row for row in capsys.readouterr().err.splitlines() if row.startswith("error: ")]
    assert len(errors) == 1
    assert re.search(line, errors[0])
    assert not (tmp_path / "run" / "model.weights.h5").exists()


def train_command(*arguments: str) -> list[str]:
    tiny = [
        *(f"model.{key}={value}" for key, value in TINY["model"].items()),
        *(f"training.{key}={value}" for key, value in TINY["training"].items()),
        "data.val_size=2",
        "training.steps=40",
    ]
    return [sys.executable, str(PROJECT / "train.py"), *tiny, *arguments]


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("training.stpes=3", "error: training.stpes: no such key; did you mean 'steps'?"),
        ("training.steps=many", "error: training.steps: 'many' is no whole number; give a whole number"),
        ("data=vco", "error: data=vco: no such choice; did you mean 'voc'?"),
    ],
)
def test_a_wrong_setting_is_one_line_and_exit_code_1(argument, line, tmp_path):
    arguments = [sys.executable, str(PROJECT / "train.py"), argument]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, line)
    assert done.stdout == ""
    assert not list(tmp_path.iterdir()), "nothing is written outside the run folder"


@pytest.mark.slow
def test_a_killed_process_goes_on_from_its_last_state(tmp_path):
    runs = [tmp_path / name for name in ("killed", "straight")]
    with subprocess.Popen(train_command(f"run={runs[0]}"), stdout=subprocess.DEVNULL) as process:
        log = runs[0] / "log.csv"
        while process.poll() is None and not (log.is_file() and log.read_text().count("\n") > 12):
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "it ended before it could be killed"
    assert not (runs[0] / "model.weights.h5").exists()
    for run in runs:
        subprocess.run(train_command(f"run={run}"), check=True, stdout=subprocess.DEVNULL)
    one, other = (load_model(run, 16).get_weights() for run in runs)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
