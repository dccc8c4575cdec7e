import numpy as np

from deeplab.data_check.regions import region_areas


def test_regions_are_connected_by_edges_and_not_by_corners():
    label = np.zeros((6, 8), np.uint8)
    label[0:2, 0:2] = 1
    label[2:4, 2:4] = 1  # touches the first square at a corner
    label[0:2, 6:8] = 2
    # 48 pixels: 4 + 4 of class 1, 4 of class 2, the rest background, which stays in one piece.
    assert sorted(region_areas(label)) == [(0, 36 / 48), (1, 4 / 48), (1, 4 / 48), (2, 4 / 48)]


def test_a_winding_region_is_one():
    """A spiral of class 1: its pixels are connected only along its whole length."""
    rows = ["111111", "000001", "111101", "100101", "101101", "100001", "111111"]
    label = np.array([[int(value) for value in row] for row in rows], np.uint8)
    ones = sum(row.count("1") for row in rows)
    assert (1, ones / 42) in region_areas(label)
    assert [class_id for class_id, _ in region_areas(label)].count(1) == 1


def test_ignored_pixels_and_specks_are_no_regions():
    label = np.zeros((4, 5), np.uint8)
    label[0] = 255
    label[3, :3] = 1  # three pixels
    assert region_areas(label) == [(0, 12 / 20)]


def test_large_labels_are_subsampled():
    label = np.zeros((600, 1024), np.uint8)
    label[:, 512:] = 3
    assert region_areas(label) == [(0, 0.5), (3, 0.5)]
