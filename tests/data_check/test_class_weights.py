import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.config import DataConfig
from deeplab.data_check.class_weights import COUNTS_FILE, class_weights, training_counts
from deeplab.data_check.statistics import SplitStatistics
from deeplab.errors import UserError
from tests.datasets.test_folder import make_folder


def test_median_frequency_uses_the_share_of_the_pixels_in_images_with_the_class():
    # Frequencies 900/1000, 100/500 and 50/1000, with the median 0.2; the fourth class does not occur.
    counts = SplitStatistics("s", 2, 2, (900, 100, 50, 0), (2, 1, 2, 0), (1000, 500, 1000, 0), 0)
    assert class_weights(counts, "median_frequency") == pytest.approx((0.2 / 0.9, 1.0, 4.0, 1.0))


def test_effective_number_uses_the_number_of_images():
    # One image counts as 1, two as 1 + 0.999, three as 1 + 0.999 + 0.998001; the mean of the weights is 1.
    counts = SplitStatistics("s", 3, 3, (900, 100, 50, 0), (3, 1, 2, 0), (1000, 500, 1000, 0), 0)
    inverse = np.array([1 / 2.997001, 1, 1 / 1.999])
    expected = inverse / inverse.sum() * 3
    assert class_weights(counts, "effective_number") == pytest.approx((*expected, 1.0))
    # A million images count as 1000.
    many = dataclasses.replace(counts, images=(10**6, 1, 10**6, 0))
    weights = class_weights(many, "effective_number")
    assert weights[1] / weights[0] == pytest.approx(1000)


def test_without_labeled_pixels_all_weights_are_equal():
    counts = SplitStatistics("s", 1, 1, (0, 0), (0, 0), (0, 0), 12)
    assert class_weights(counts, "median_frequency") == class_weights(counts, "effective_number") == (1.0, 1.0)


@pytest.fixture
def config(tmp_path: Path) -> DataConfig:
    config = make_folder(tmp_path / "data", 4, classes=("background", "leaf", "stem"))
    (tmp_path / "data/train.txt").write_text("p0\np1\np2\n")
    (tmp_path / "data/val.txt").write_text("p3\n")
    return config


def test_the_whole_training_split_is_counted_once(config: DataConfig, tmp_path: Path):
    run = tmp_path / "run"
    counts = training_counts(config, run)
    # Masks of 24 x 32: the left half is background, the right half leaf, stem, leaf.
    shapes = ((24, 32), (24, 32), (3, 2, 1), (0.5, 0.5, 0.5))
    assert counts == SplitStatistics(
        "data/train", 3, 3, (3 * 384, 2 * 384, 384), (3, 2, 1), (3 * 768, 2 * 768, 768), 0, *shapes
    )
    content = json.loads((run / COUNTS_FILE).read_text())
    content["ignored"] = 5
    (run / COUNTS_FILE).write_text(json.dumps(content))
    assert training_counts(config, run).ignored == 5
    ids = np.zeros((24, 32), np.uint8)
    ids[:, 16:] = 255
    Image.fromarray(ids).save(tmp_path / "data/masks/p2.png")
    # Ignored pixels are excluded from the frequencies.
    shapes = ((24, 32), (24, 32), (3, 1, 1), (0.5, 0.5, 0.5))
    assert training_counts(config, run) == SplitStatistics(
        "data/train", 3, 3, (3 * 384, 384, 384), (3, 1, 1), (2 * 768 + 384, 768, 768), 384, *shapes
    )
    (run / COUNTS_FILE).write_text("{")
    assert training_counts(config, run).ignored == 384


def test_an_unreadable_image_is_an_error_or_is_skipped(config: DataConfig, tmp_path: Path):
    (tmp_path / "data/images/p1.jpg").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"p1.jpg: cannot be read"):
        training_counts(config, tmp_path / "run")
    assert not (tmp_path / "run").exists()
    counts = training_counts(dataclasses.replace(config, on_unreadable="skip"), tmp_path / "run")
    assert counts.images == (2, 2, 0)


def test_the_first_images_of_an_endless_source_are_counted(tmp_path: Path):
    counts = training_counts(DataConfig(), tmp_path)
    assert (counts.size, counts.checked) == (None, 200)
    assert min(counts.pixels) > 0
