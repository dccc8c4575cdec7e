import dataclasses
from pathlib import Path

import numpy as np
import pytest

from deeplab.config import DataConfig
from deeplab.datasets.cache import cached
from deeplab.datasets.fingerprint import fingerprint
from deeplab.datasets.open import open_source
from deeplab.datasets.source import Example, Source
from deeplab.errors import UserError
from tests.datasets.test_folder import make_folder


def _counting() -> tuple[Source, list[int]]:
    asked: list[int] = []

    def load(index: int) -> Example:
        asked.append(index)
        rng = np.random.default_rng(index)
        return Example(rng.integers(0, 256, (5, 7, 3), np.uint8), rng.integers(0, 3, (5, 7), np.uint8), f"n{index}")

    return Source("s", ("a", "b", "c"), 3, load), asked


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_what_was_decoded_once_is_not_decoded_again(tmp_path: Path, place: str):
    source, asked = _counting()
    kept = cached(source, "memory" if place == "memory" else str(tmp_path), "f" * 64)
    first = [kept.load(i) for i in (0, 2, 0, 2)]
    assert asked == [0, 2]
    for example, index in zip(first, (0, 2, 0, 2), strict=True):
        np.testing.assert_array_equal(example.image, source.load(index).image)
        np.testing.assert_array_equal(example.label, source.load(index).label)
        assert example.name == f"n{index}"


def test_a_damaged_file_on_disk_is_made_anew(tmp_path: Path):
    source, asked = _counting()
    cached(source, str(tmp_path), "f" * 64).load(1)
    (kept,) = tmp_path.rglob("1.npy")
    kept.write_bytes(kept.read_bytes()[:50])
    again = cached(source, str(tmp_path), "f" * 64).load(1)
    assert asked == [1, 1]
    np.testing.assert_array_equal(again.label, source.load(1).label)


def test_each_state_of_the_data_has_its_own_files(tmp_path: Path):
    source, asked = _counting()
    for state in ("a" * 64, "b" * 64, "a" * 64):
        cached(source, str(tmp_path), state).load(1)
    assert asked == [1, 1]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path):
    source, _ = _counting()
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(UserError, match=r"data.cache=.*file: cannot be written"):
        cached(source, str(tmp_path / "file"), "f" * 64).load(1)


def test_names_that_are_known_are_kept(tmp_path: Path):
    source, _ = _counting()
    kept = cached(dataclasses.replace(source, names=("x", "y", "z")), str(tmp_path), "f" * 64)
    kept.load(2)
    assert kept.load(2).name == "z"
    assert not list(tmp_path.rglob("*.txt"))


def test_changed_files_are_decoded_again(tmp_path: Path):
    config = make_folder(tmp_path / "data", 3)
    before = open_source(config, "train")
    state = fingerprint(before, config)
    assert fingerprint(open_source(config, "train"), config) == state
    before.files[1].write_bytes(before.files[3].read_bytes() + b" ")
    assert fingerprint(open_source(config, "train"), config) != state
    other = DataConfig(source="folder", root=config.root, classes=config.classes, label_ids=(0, 1))
    assert fingerprint(before, other) != fingerprint(before, config)


def test_an_endless_source_is_not_kept():
    source = open_source(DataConfig(cache="memory"), "train")
    assert source.load(0) is not source.load(0)
