import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from deeplab.config import DataConfig
from deeplab.datasets.fingerprint import fingerprint
from deeplab.datasets.open import open_source
from deeplab.datasets.shapes import shapes_source
from tests.datasets.test_folder import make_folder


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files with the modification time of one second after the epoch."""
    (tmp_path / "here/masks").mkdir(parents=True)
    paths = [tmp_path / f"here/masks/{name}.png" for name in "ab"]
    for path in paths:
        path.write_bytes(b"123")
        os.utime(path, (1, 1))
    return paths


def _fingerprint(files: Sequence[Path]) -> str:
    return fingerprint(dataclasses.replace(shapes_source("train"), files=tuple(files)), DataConfig())


def test_size_and_modification_time_of_each_file_count(files: list[Path]):
    before = _fingerprint(files)
    assert _fingerprint(files) == before
    files[1].write_bytes(b"1234")
    os.utime(files[1], (1, 1))
    assert _fingerprint(files) != before
    files[1].write_bytes(b"321")
    os.utime(files[1], (1, 2))
    assert _fingerprint(files) != before
    os.utime(files[1], (1, 1))
    assert _fingerprint(files) == before


def test_names_and_order_count_but_not_the_location(files: list[Path], tmp_path: Path):
    before = _fingerprint(files)
    assert _fingerprint(files[::-1]) != before
    (tmp_path / "here").rename(tmp_path / "there")
    moved = [tmp_path / "there/masks" / path.name for path in files]
    assert _fingerprint(moved) == before
    moved[1].rename(moved[1].with_name("c.png"))
    assert _fingerprint([moved[0], moved[1].with_name("c.png")]) != before


def test_a_missing_file_counts_by_its_name(files: list[Path]):
    files[0].unlink()
    first_missing = _fingerprint(files)
    assert first_missing != _fingerprint(files[1:])
    assert first_missing != _fingerprint([files[0].with_name("other.png"), files[1]])


def test_settings_that_do_not_affect_the_examples_do_not_count(tmp_path: Path):
    config = make_folder(tmp_path / "data", 3)
    source = open_source(config, "train")
    before = fingerprint(source, config)
    for change in ({"root": "elsewhere"}, {"on_unreadable": "skip"}, {"eval_size": 513}, {"val_size": 1}):
        assert fingerprint(source, dataclasses.replace(config, **change)) == before, change
    assert fingerprint(source, dataclasses.replace(config, label_ids=(0, 1))) != before
    assert fingerprint(dataclasses.replace(source, classes=("a", "b")), config) != before
    assert fingerprint(dataclasses.replace(source, size=7), config) != before
    assert fingerprint(dataclasses.replace(source, name="other"), DataConfig()) != before
