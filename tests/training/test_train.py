"""Whole trainings of a tiny network: interrupted, resumed, in two stages, and with wrong data or settings."""

import csv
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
from PIL import Image

from deeplab.cli.app import main
from deeplab.config import TrainConfig, build
from deeplab.errors import UserError
from deeplab.files import list_checkpoints
from deeplab.run_folder import load_model
from deeplab.training.checkpoint import checkpoint_step
from deeplab.training.distribution import Workers
from deeplab.training.train import train

pytestmark = pytest.mark.usefixtures("uncompiled")

PROJECT = Path(__file__).parents[2]
TINY = {
    "model": {"depth_multiplier": 0.1, "head": "v3", "aspp_rates": [], "aspp_channels": 8, "batch_norm_momentum": 0.9},
    "data": {"source": "shapes", "val_size": 2},
    "training": {"steps": 7, "batch_size": 2, "crop_size": 33, "save_every": 3, "log_every": 1, "preview_images": 1},
}


def settings(run: Path, **changes) -> TrainConfig:
    return build(TrainConfig, TINY | {"run": str(run)} | changes)


class Interrupt(keras.callbacks.Callback):
    """Interrupts the training at the start of an update, without saving anything."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def on_train_batch_begin(self, batch, logs=None):
        if batch == self.after:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def straight(tmp_path_factory) -> Path:
    """Return a run that was not interrupted."""
    run = tmp_path_factory.mktemp("runs") / "straight"
    train(settings(run))
    return run


@pytest.fixture(scope="module")
def resumed(tmp_path_factory) -> Path:
    """Return a run that was interrupted at its sixth update, two after its last checkpoint, and resumed."""
    run = tmp_path_factory.mktemp("runs") / "resumed"
    with pytest.raises(KeyboardInterrupt):
        train(settings(run), callbacks=[Interrupt(after=5)])
    assert [checkpoint_step(path) for path in list_checkpoints(run / "state")] == [3]
    train(settings(run))
    return run


def test_run_folder_has_all_files_of_the_contract(straight):
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


def test_resumed_training_ends_with_equal_weights_and_log(straight, resumed):
    one, other = (load_model(run, 16).get_weights() for run in (straight, resumed))
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)
    logs = [[line.split(",")[:3] for line in (run / "log.csv").read_text().splitlines()] for run in (straight, resumed)]
    assert logs[0] == logs[1]


def test_complete_run_is_only_evaluated(resumed, capsys):
    before = (resumed / "model.weights.h5").read_bytes()
    train(settings(resumed, output_stride=[32]))
    assert "is complete" in capsys.readouterr().out
    assert (resumed / "model.weights.h5").read_bytes() == before
    assert set(json.loads((resumed / "scores.json").read_text())) == {"16", "8", "32"}


def test_second_stage_starts_from_the_weights_of_the_first(tmp_path):
    """The second stage changes nothing, because its learning rate is almost 0 and batch norm is frozen."""
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
        ({"training": {"stpes": 3}}, r"first_stage\.training\.stpes: unknown key"),
        ({"training": 3}, r"first_stage\.training: expected a mapping, got 3"),
    ],
)
def test_wrong_first_stage_is_refused(first, line, tmp_path):
    with pytest.raises(UserError, match=line):
        train(settings(tmp_path / "run", first_stage=first))


def test_settings_of_the_second_stage_are_checked_before_the_first(tmp_path, monkeypatch):
    run, first = tmp_path / "run", {"training": {"steps": 1, "batch_size": 3}}
    with pytest.raises(UserError, match=r"training\.patience: expected null without training\.evaluate_every, got 2"):
        train(
            settings(run, training=TINY["training"] | {"patience": 2}, first_stage={"training": {"evaluate_every": 3}})
        )
    monkeypatch.setattr(Workers, "replicas", 3)
    with pytest.raises(UserError, match=r"training\.batch_size: expected a multiple of 3 .*, got 2"):
        train(settings(run, first_stage=first))
    assert not run.exists()


def test_moving_average_is_saved_and_the_best_weights_are_kept(tmp_path):
    changes = {"ema_decay": 0.99, "evaluate_every": 3, "evaluate_images": 1, "learning_rate": 0.05}
    train(settings(tmp_path / "run", training=TINY["training"] | changes))
    checkpoint = np.load(list_checkpoints(tmp_path / "run" / "state")[-1])
    averages = [checkpoint[name] for name in checkpoint.files if name.startswith("average/")]
    weights = load_model(tmp_path / "run", 16).get_weights()
    assert len(averages) == len(weights)
    for average, weight in zip(averages, weights, strict=True):
        np.testing.assert_array_equal(average, weight)
    raw = [checkpoint[name] for name in checkpoint.files if name.startswith("model/")]
    assert any(a.shape == b.shape and not np.array_equal(a, b) for a, b in zip(raw, weights, strict=False))
    rows = (tmp_path / "run" / "validation.csv").read_text().splitlines()
    assert rows[0].startswith("step,miou_os16,miou_os8,iou_background,iou_")
    assert [row.split(",")[0] for row in rows[1:]] == ["3", "6"]
    validations = list(csv.DictReader(rows))
    best = json.loads((tmp_path / "run" / "best.json").read_text())
    first, second = (float(row.split(",")[1]) for row in rows[1:])
    assert best["step"] == (6 if second > first else 3)
    page = (tmp_path / "run" / "training.html").read_text()
    assert "Validation mIoU" in page
    classes = json.loads((tmp_path / "run" / "scores.json").read_text())["16"]["per_class"]
    labeled = [name for name in classes if f"<span>{name}</span>" in page]
    drawn = [name for name in labeled if any(row[f"iou_{name}"] not in ("", "nan") for row in validations)]
    # Classes that occur only in images that the validations leave out have no curve.
    assert page.count("<svg") == 4 + len(drawn) > 4
    assert "complete" in page
    assert "http-equiv" not in page, "the page of a complete training reloads itself"


def test_run_with_other_settings_is_not_resumed(straight):
    changed = TINY["training"] | {"learning_rate": 0.5}
    with pytest.raises(UserError, match=r"training\.learning_rate=0\.007, not 0\.5; .*another run=FOLDER"):
        train(settings(straight, training=changed))


def test_damaged_checkpoint_is_named(straight, tmp_path):
    run = shutil.copytree(straight, tmp_path / "run")
    latest = list_checkpoints(run / "state")[-1]
    latest.write_bytes(latest.read_bytes()[:1000])
    with pytest.raises(UserError, match=rf"{latest.name}: is damaged"):
        train(settings(run))


def test_damaged_weights_file_is_named(straight, tmp_path):
    run = shutil.copytree(straight, tmp_path / "run")
    weights = run / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"model\.weights\.h5: is damaged"):
        load_model(run)


def test_class_count_other_than_that_of_the_data_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"model\.classes: expected 7, the number of classes of shapes/train, got 5"):
        train(settings(tmp_path, model=TINY["model"] | {"classes": 5}))


def devkit(root: Path) -> Path:
    """Write a VOCdevkit with four valid images."""
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


def truncated_image(base: Path) -> None:
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
        (truncated_image, r"b\.jpg.*(truncated|damaged|cannot be read)"),
        (missing_folder, r"VOC2012"),
    ],
)
def test_wrong_data_is_reported_in_one_line_with_exit_code_1(damage, line, tmp_path, capsys):
    damage(devkit(tmp_path / "data"))
    arguments = [f"run={tmp_path / 'run'}", "data=voc", f"data.root={tmp_path / 'data'}", *tiny_arguments()]
    with pytest.raises(SystemExit) as exit_info:
        main("train", arguments)
    assert exit_info.value.code == 1
    errors = [row for row in capsys.readouterr().err.splitlines() if row.startswith("error: ")]
    assert len(errors) == 1
    assert re.search(line, errors[0])
    assert not (tmp_path / "run" / "model.weights.h5").exists()


def train_command(*arguments: str) -> list[str]:
    script = str(PROJECT / "train.py")
    given = (*tiny_arguments(), "data.val_size=2", "training.steps=40", *arguments)
    return [sys.executable, script, *{argument.partition("=")[0]: argument for argument in given}.values()]


def tiny_arguments() -> list[str]:
    return [f"{part}.{key}={value}" for part in ("model", "training") for key, value in TINY[part].items()]


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        ("training.stpes=3", "error: training.stpes: unknown key; did you mean 'training.steps'?"),
        ("training.steps=many", "error: training.steps: expected an integer, got 'many'"),
        ("data=vco", "error: data=vco: unknown choice; did you mean 'voc'?"),
    ],
)
def test_wrong_setting_is_reported_in_one_line_with_exit_code_1(argument, line, tmp_path):
    arguments = [sys.executable, str(PROJECT / "train.py"), argument]
    done = subprocess.run(arguments, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (1, line)
    assert done.stdout == ""
    assert not list(tmp_path.iterdir()), "files were written outside of the run folder"


@pytest.mark.slow
def test_killed_training_resumes_with_equal_weights(tmp_path):
    runs = [tmp_path / name for name in ("killed", "straight")]
    with subprocess.Popen(train_command(f"run={runs[0]}"), stdout=subprocess.DEVNULL) as process:
        log = runs[0] / "log.csv"
        while process.poll() is None and not (log.is_file() and log.read_text().count("\n") > 12):
            time.sleep(0.05)
        os.kill(process.pid, signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "the training ended before it could be killed"
    assert not (runs[0] / "model.weights.h5").exists()
    for run in runs:
        subprocess.run(train_command(f"run={run}"), check=True, stdout=subprocess.DEVNULL)
    one, other = (load_model(run, 16).get_weights() for run in runs)
    for a, b in zip(one, other, strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_training_that_cannot_start_leaves_no_run_folder(tmp_path):
    config = build(TrainConfig, {"run": str(tmp_path / "run"), "data": {"source": "shapes"}, "model": {"classes": 9}})
    with pytest.raises(UserError, match=r"model\.classes: expected 7, the number of classes of"):
        train(config)
    assert not (tmp_path / "run").exists()
