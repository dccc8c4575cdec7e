import logging
import os
from pathlib import Path

import numpy as np
import pytest

from deeplab.datasets.cache import cached_source
from deeplab.datasets.source import Example, Source


def counting_source(folder: Path, loaded: list[int], count: int = 3) -> Source:
    """Return a source of images of 2x5 pixels (40 bytes with their labels), whose files are small text files."""
    files = tuple(folder / f"{i}{kind}" for i in range(count) for kind in (".jpg", ".png"))
    for file in files:
        file.write_text("old")

    def load(index: int) -> Example:
        loaded.append(index)
        return Example(np.full((2, 5, 3), index, np.uint8), np.full((2, 5), index, np.uint8), str(index))

    return Source("counted", ("a", "b"), count, load, files=files)


def test_each_example_is_loaded_once(tmp_path: Path):
    loaded: list[int] = []
    source = cached_source(counting_source(tmp_path, loaded), 1000)
    for index in (1, 0, 1, 2, 0, 1):
        example = source.load(index)
        assert (example.name, example.image.min(), example.label.max()) == (str(index), index, index)
    assert loaded == [1, 0, 2]


@pytest.mark.parametrize("change", ["size", "time", "removal"])
@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_changed_image_or_mask_is_loaded_again(tmp_path: Path, change: str, suffix: str):
    loaded: list[int] = []
    source = cached_source(counting_source(tmp_path, loaded), 1000)
    source.load(0), source.load(1)
    file = tmp_path / f"1{suffix}"
    if change == "size":
        state = file.stat()
        file.write_text("longer")
        os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    elif change == "time":
        os.utime(file, ns=(1, 1))
    else:
        file.unlink()
    source.load(0), source.load(1), source.load(1)
    assert loaded == [0, 1, 1]


def test_examples_above_the_limit_are_loaded_again_with_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    loaded: list[int] = []
    source = cached_source(counting_source(tmp_path, loaded), 80)
    with caplog.at_level(logging.WARNING):
        for index in (0, 1, 2, 0, 1, 2):
            source.load(index)
    assert loaded == [0, 1, 2, 2]
    assert [record.message.partition(":")[2] for record in caplog.records] == [
        " 2 of 3 resized images fill 0.0 GiB of memory; the others are decoded again each time (data.cache_memory)"
    ]
    # A changed example leaves its place to the new one.
    os.utime(tmp_path / "0.jpg", ns=(1, 1))
    for index in (0, 0, 1):
        source.load(index)
    assert loaded == [0, 1, 2, 2, 0]


def test_examples_of_sources_without_files_are_kept(tmp_path: Path):
    loaded: list[int] = []
    plain = counting_source(tmp_path, loaded)
    source = cached_source(Source(plain.name, plain.classes, plain.size, plain.load), 1000)
    source.load(2), source.load(2)
    assert loaded == [2]
