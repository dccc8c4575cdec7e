import numpy as np

from deeplab.data_check.statistics import scan_split
from deeplab.datasets.source import Example, Source


def _source(images: list[np.ndarray], labels: list[np.ndarray]) -> Source:
    def load(index: int) -> Example:
        return Example(images[index], labels[index], f"p{index}")

    return Source("set/train", ("background", "a", "b"), len(images), load)


def test_sizes_and_regions_are_those_of_the_images():
    rng = np.random.default_rng(0)
    labels = [np.zeros((20, 30), np.uint8), np.zeros((40, 20), np.uint8), np.zeros((22, 50), np.uint8)]
    labels[0][:10, :10] = 1  # 100 of 600
    labels[0][10:, 20:] = 1  # 100 of 600
    labels[1][:20] = 1  # 400 of 800
    images = [rng.integers(0, 256, (*label.shape, 3), np.uint8) for label in labels]
    statistics = scan_split(_source(images, labels), None).statistics
    assert statistics.height_width == (22, 30)
    assert statistics.max_height_width == (40, 50)
    assert statistics.regions == (3, 3, 0)
    # Medians of 1/6, 1/6, 1/2, and of 400/600, 400/800, 1.
    np.testing.assert_allclose(statistics.region_area, (2 / 3, 1 / 6, 0))
    assert statistics.copies == 0


def test_copies_within_a_split_are_counted():
    rng = np.random.default_rng(0)
    first, second = (rng.integers(0, 256, (32, 32, 3), np.uint8) for _ in range(2))
    label = np.zeros((32, 32), np.uint8)
    statistics = scan_split(_source([first, second, first, first], [label] * 4), None).statistics
    assert statistics.copies == 2


def test_an_empty_split_has_no_size():
    statistics = scan_split(_source([], []), None).statistics
    assert (statistics.height_width, statistics.regions, statistics.region_area) == ((0, 0), (0, 0, 0), (0, 0, 0))
