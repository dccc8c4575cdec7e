"""PASCAL VOC by way of TFRecord files."""

import dataclasses
import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from data.voc_segmentation import voc_segmentation_dataset_builder as module
from deeplab.config import DataConfig, TrainingConfig
from deeplab.datasets.open import open_source
from deeplab.datasets.pipeline import iterate, training_batches
from deeplab.datasets.prepared import AUTO, prepared_in_run
from deeplab.datasets.voc import voc_source
from deeplab.errors import UserError
from tests.datasets.test_voc import make_devkit

DUMMY = Path(module.__file__).parent / "dummy_data"
DEVKIT, SBD = DUMMY / "VOCdevkit", DUMMY / "benchmark_RELEASE"


def _devkit(root: Path) -> DataConfig:
    """Three pictures to train on, out of the order of their names, and one to measure on."""
    year = make_devkit(root, ("c", "a", "b", "d"))
    (year / "ImageSets/Segmentation/train.txt").write_text("c\na\nb\n")
    (year / "ImageSets/Segmentation/val.txt").write_text("d\n")
    return DataConfig(source="voc", root=str(root), prepared=AUTO)


def _same_examples(config: DataConfig, other: DataConfig, split: str) -> None:
    one, two = open_source(config, split), open_source(other, split)
    assert (one.name, one.size, one.names, one.classes) == (two.name, two.size, two.names, two.classes)
    for a, b in zip(one.examples(), two.examples(), strict=True):
        assert a.name == b.name
        np.testing.assert_array_equal(a.image, b.image)
        np.testing.assert_array_equal(a.label, b.label)


def _files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_prepared_pictures_are_those_of_the_devkit(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = DataConfig(source="voc", root=str(DEVKIT), prepared=str(tmp_path / "prepared"), sbd=str(SBD))
    for split in ("train", "val", "trainval", "train_aug"):
        for _ in range(2):
            _same_examples(config, dataclasses.replace(config, prepared=None), split)
    assert capsys.readouterr().out.count("copying") == 4
    moved = dataclasses.replace(config, root=str(tmp_path / "gone"))
    assert [e.name for e in open_source(moved, "train_aug").examples()] == list(
        voc_source(DEVKIT, "train_aug", sbd=SBD).names
    )
    with pytest.raises(UserError, match=r"data.root: a folder is needed"):
        open_source(moved, "mine")
    image, _ = next(iterate(training_batches(open_source(config, "train"), TrainingConfig(2, 3, crop_size=33), 0)))
    assert image.shape[1:] == (33, 33, 3)
    with pytest.raises(UserError, match=r"data.prepared=.*: takes VOC's own classes"):
        open_source(dataclasses.replace(config, classes=("a", "b")), "train")


def test_a_copy_keeps_the_order_of_a_list_of_any_name(tmp_path: Path):
    config = dataclasses.replace(_devkit(tmp_path / "data"), train_split="mine")
    lists = tmp_path / "data/VOC2012/ImageSets/Segmentation"
    (lists / "mine.txt").write_text("b\na\n")
    copied = prepared_in_run(config, tmp_path / "runs/one")
    assert copied.prepared == str(tmp_path / "runs/one/prepared")
    assert [e.name for e in open_source(copied, "mine").examples()] == ["b", "a"]
    for split in ("mine", "val"):
        _same_examples(copied, dataclasses.replace(config, prepared=None), split)
    assert {name.split("/")[1].split("-")[0] for name in _files(tmp_path / "runs/one")} == {"mine", "val"}


def test_a_training_copies_once_for_all_runs_and_writes_in_its_run_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    config = _devkit(tmp_path / "data")
    runs = tmp_path / "runs"
    before = _files(tmp_path)
    one = prepared_in_run(config, runs / "one")
    assert capsys.readouterr().out.splitlines() == [
        f"data: copying PASCAL VOC into {runs / 'one/prepared'}, once; data.prepared=null reads the devkit itself"
    ]
    assert all(name.startswith("runs/one/prepared/") for name in _files(tmp_path) - before)
    assert prepared_in_run(config, runs / "one") == one
    assert capsys.readouterr().out == ""
    two = prepared_in_run(config, runs / "two")
    assert "is the copy of" in capsys.readouterr().out
    assert _files(runs / "two") == _files(runs / "one")
    (record,) = (runs / "two").rglob("*train.tfrecord*")
    assert record.stat().st_nlink == 2
    for path in (runs / "one").rglob("*train.tfrecord*"):
        path.unlink()
    _same_examples(two, dataclasses.replace(config, prepared=None), "train")


def test_a_copy_is_made_where_there_are_no_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = _devkit(tmp_path / "data")
    prepared_in_run(config, tmp_path / "runs/one")

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError(errno.EPERM, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    two = prepared_in_run(config, tmp_path / "runs/two")
    assert _files(tmp_path / "runs/two") == _files(tmp_path / "runs/one")
    _same_examples(two, dataclasses.replace(config, prepared=None), "train")


def test_a_devkit_that_changed_is_copied_again(tmp_path: Path):
    config = _devkit(tmp_path / "data")
    run = tmp_path / "runs/one"
    prepared_in_run(config, run)
    make_devkit(tmp_path / "other", ("c",))
    picture = (tmp_path / "other/VOC2012/SegmentationClass/c.png").read_bytes()
    (tmp_path / "data/VOC2012/SegmentationClass/a.png").write_bytes(picture)
    copied = prepared_in_run(config, run)
    assert open_source(copied, "train").load(1).label.max() == 0
    assert len(list((run / "prepared").glob("train-*"))) == 2
    assert len(list((run / "prepared").glob("val-*"))) == 1


def test_what_cannot_be_copied_is_read_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    config = _devkit(tmp_path / "data")
    run = tmp_path / "runs/one"
    named = dataclasses.replace(config, classes=tuple(f"c{i}" for i in range(21)))
    assert prepared_in_run(named, run).prepared is None
    assert prepared_in_run(DataConfig(prepared=AUTO), run).prepared is None
    assert prepared_in_run(dataclasses.replace(config, prepared="mine"), run).prepared == "mine"
    # Outside of a training "auto" reads the devkit and writes nothing.
    assert open_source(config, "train").files[0].suffix == ".jpg"
    (tmp_path / "data/VOC2012/JPEGImages/a.jpg").write_bytes(b"no picture")
    as_it_is = prepared_in_run(config, run)
    assert as_it_is == dataclasses.replace(config, prepared=None)
    assert "a.jpg: cannot be read" in capsys.readouterr().out
    assert _files(run) == set()
    gone = dataclasses.replace(config, root=str(tmp_path / "gone"))
    assert prepared_in_run(gone, run).prepared is None


def test_a_run_with_its_copies_needs_no_devkit(tmp_path: Path):
    config = _devkit(tmp_path / "data")
    run = tmp_path / "runs/one"
    prepared_in_run(config, run)
    (tmp_path / "data").rename(tmp_path / "elsewhere")
    assert [e.name for e in open_source(prepared_in_run(config, run), "train").examples()] == ["c", "a", "b"]


def test_a_full_disk_leaves_no_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    config = _devkit(tmp_path / "data")
    run = tmp_path / "runs/one"
    whole = module.Builder._generate_examples

    def cut_off(self: Any, pairs: Any) -> Iterator[Any]:
        yield next(whole(self, pairs))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(module.Builder, "_generate_examples", cut_off)
    with pytest.raises(UserError, match=r"prepared: cannot be written .*No space left.*data.prepared=null"):
        prepared_in_run(config, run)
    monkeypatch.undo()
    assert not [name for name in _files(run) if "tfrecord" in name]
    _same_examples(prepared_in_run(config, run), dataclasses.replace(config, prepared=None), "train")


KILLED = """
import os, sys
from pathlib import Path
from data.voc_segmentation import voc_segmentation_dataset_builder as module
from deeplab.config import DataConfig
from deeplab.datasets.prepared import prepared_in_run

whole = module.Builder._generate_examples
def cut_off(self, pairs):
    yield next(whole(self, pairs))
    os._exit(9)
module.Builder._generate_examples = cut_off
prepared_in_run(DataConfig(source="voc", root=sys.argv[1], prepared="auto"), Path(sys.argv[2]))
"""


def test_a_preparation_that_was_killed_is_made_anew(tmp_path: Path):
    config = _devkit(tmp_path / "data")
    run = tmp_path / "runs/one"
    command = [sys.executable, "-c", KILLED, str(config.root), str(run)]
    killed = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, check=False)
    assert killed.returncode == 9
    assert list(run.rglob("*incomplete*"))
    _same_examples(prepared_in_run(config, run), dataclasses.replace(config, prepared=None), "train")
    assert not list(run.rglob("*incomplete*"))
