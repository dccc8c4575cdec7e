"""The world of the hostile suite, a folder with a trained run, its .tflite file and data, and the runner of cases.

Everything is made once per session. After each case the folder is restored, so that cases may damage what they like.
"""

import shlex
import shutil
import signal
import tempfile
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.cli import app
from deeplab.cli.commands import Job
from deeplab.config import DataConfig, TrainConfig, TrainingConfig, to_mapping
from deeplab.files import write_json
from deeplab.run_folder import load_model
from tests.hostile.case import ALIASES, Case

CLASSES = ("background", "cat", "dog")

SECONDS = 120
"""A case that takes longer counts as a hang."""

_Snapshot = dict[str, tuple[int, int, int]]


@pytest.fixture(scope="session")
def pristine(tmp_path_factory, make_run) -> Path:
    """The folder with all files, which no case touches: cases run in a copy."""
    from deeplab.conversion.convert import convert
    from deeplab.conversion.export_graph import export_graph
    from deeplab.tflite.metadata import write_metadata

    folder = tmp_path_factory.mktemp("pristine")
    _make_data(folder)
    shutil.copytree(make_run(CLASSES), folder / "run")
    # The data are those of the pristine folder, as an absolute path: no case damages them.
    data = DataConfig(source="folder", root=str(folder / "set"))
    training = TrainingConfig(crop_size=33, batch_size=2)
    write_json(folder / "run" / "train.json", to_mapping(TrainConfig(data=data, training=training)) | {"run": "run"})
    write_json(folder / "run" / "scores.json", {"16": {"miou": 0.5}})
    content = convert(export_graph(load_model(folder / "run", 16, 33)), (33, 33))
    (folder / "model.tflite").write_bytes(write_metadata(content, CLASSES, activation="softmax"))
    return folder


@pytest.fixture(scope="session")
def world_folder(pristine, tmp_path_factory) -> Path:
    """The copy in which the cases run."""
    folder = tmp_path_factory.mktemp("hostile") / "world"
    shutil.copytree(pristine, folder)
    return folder


@pytest.fixture
def world(world_folder, pristine, monkeypatch, tmp_path) -> Iterator[Path]:
    """The current folder of a case; restored afterwards. Temporary files go to another empty folder."""
    monkeypatch.chdir(world_folder)
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    yield world_folder
    _restore(world_folder, pristine)
    # TensorFlow keeps the source that its autograph makes.
    remaining = [path.name for path in temporary.iterdir() if not path.name.startswith("__autograph")]
    assert not remaining, f"temporary files remain: {remaining}"


@pytest.fixture
def check(world, capfd, monkeypatch) -> Callable[[Case], None]:
    """A function that runs a case and checks its exit code, its output and what it wrote."""

    def run(case: Case) -> None:
        if case.early:
            monkeypatch.setattr(app, "load_tensorflow", lambda: pytest.fail("the command began its work"))
            monkeypatch.setattr(Job, "run", lambda *_: pytest.fail("the command began its work"))
        for change in case.given:
            change(world)
        before = _snapshot(world)
        capfd.readouterr()
        code = _run(case.command)
        output, errors = capfd.readouterr()
        written = {path for path in _changes(before, _snapshot(world)) if not _expected(path, case.writes)}
        assert "Traceback" not in output + errors
        assert not written, f"wrote or changed {sorted(written)}"
        missing = [path for path in case.writes if not (world / path).exists()]
        assert not missing, f"did not write {missing}"
        lines = errors.strip().splitlines()
        if case.error:
            assert code == 1, f"exit code {code}: {errors}"
            assert lines[-1].startswith("error: "), errors
            assert case.error in lines[-1], lines[-1]
            assert sum(line.startswith("error: ") for line in lines) == 1, errors
            assert not case.early or (len(lines) == 1 and not output), f"other output: {output}{errors}"
        else:
            assert code == 0, f"exit code {code}: {errors}"
        assert case.printed in output + errors, output + errors

    return run


def _make_data(folder: Path) -> None:
    """Write a folder data set, a VOC tree, an image and files that are none of these."""
    rng = np.random.default_rng(0)
    voc = folder / "voc" / "VOC2012"
    for path in ("set/images", "set/masks", "empty", *(f"voc/VOC2012/{p}" for p in _VOC_PARTS)):
        (folder / path).mkdir(parents=True)
    for i in range(6):
        label = np.kron(rng.integers(0, 3, (4, 5)), np.ones((10, 10))).astype(np.uint8)
        image = (label[..., None] * 80 + rng.integers(0, 60, (40, 50, 3))).astype(np.uint8)
        Image.fromarray(image).save(folder / "set" / "images" / f"{i}.png")
        Image.fromarray(label).save(folder / "set" / "masks" / f"{i}.png")
        Image.fromarray(image).save(voc / "JPEGImages" / f"{i}.jpg")
        Image.fromarray(label).save(voc / "SegmentationClass" / f"{i}.png")
    (folder / "set" / "classes.txt").write_text("background\ncat\ndog\n")
    (voc / "ImageSets" / "Segmentation" / "train.txt").write_text("0\n1\n2\n3\n")
    (voc / "ImageSets" / "Segmentation" / "val.txt").write_text("4\n5\n")
    shutil.copy(folder / "set" / "images" / "0.png", folder / "photo.png")
    (folder / "notes.txt").write_text("no model, no image\n")


_VOC_PARTS = ("ImageSets/Segmentation", "JPEGImages", "SegmentationClass")


def _run(command: str) -> int:
    """Run a command in this process; return its exit code."""
    first, *arguments = shlex.split(command)
    if first in ALIASES:
        # The last value of a setting counts, so that a case can change one of the alias.
        arguments = shlex.split(ALIASES[first]) + arguments
        arguments = list({argument.partition("=")[0]: argument for argument in arguments}.values())
    else:
        arguments = [first, *arguments]

    def hang(*_: object) -> None:
        pytest.fail(f"took longer than {SECONDS} s")

    previous = signal.signal(signal.SIGALRM, hang)
    signal.alarm(SECONDS)
    try:
        with warnings.catch_warnings():
            app.main(None, arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)
    return 0


def _snapshot(folder: Path) -> _Snapshot:
    """Return size, modification time and mode of everything in a folder."""
    found = {}
    for path in folder.rglob("*"):
        status = path.lstat()
        kept = 0 if path.is_dir() else status.st_mtime_ns
        found[str(path.relative_to(folder))] = (0 if path.is_dir() else status.st_size, kept, status.st_mode)
    return found


def _changes(before: _Snapshot, after: _Snapshot) -> set[str]:
    return {path for path in before.keys() | after.keys() if before.get(path) != after.get(path)}


def _expected(path: str, writes: tuple[str, ...]) -> bool:
    """Return whether `path` is one of `writes`, in one of them, or a folder that holds one of them."""
    return any(path == w or path.startswith(f"{w}/") or w.startswith(f"{path}/") for w in writes)


def _restore(folder: Path, pristine: Path) -> None:
    """Undo all changes of a case."""
    changed = _changes(_snapshot(pristine), _snapshot(folder))
    for name in sorted(changed, reverse=True):
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    for name in sorted(changed):
        source, path = pristine / name, folder / name
        if source.is_dir():
            path.mkdir(exist_ok=True)
            shutil.copymode(source, path)
        elif source.is_file():
            shutil.copy2(source, path)
