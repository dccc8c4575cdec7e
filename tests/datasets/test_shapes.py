import colorsys

import numpy as np
import pytest

from deeplab.datasets.shapes import CLASSES, shapes_source


def test_a_scene_depends_on_seed_split_and_index_only():
    source = shapes_source("train", size=64, seed=3)
    first, again = source.load(5), shapes_source("train", size=64, seed=3).load(5)
    np.testing.assert_array_equal(first.image, again.image)
    np.testing.assert_array_equal(first.label, again.label)
    for other in (source.load(6), shapes_source("val", 64, 3).load(5), shapes_source("train", 64, 4).load(5)):
        assert (first.image != other.image).mean() > 0.5


def test_scenes_are_endless_and_contain_every_class():
    source = shapes_source("train", size=96)
    assert source.size is None
    seen = np.zeros(256, int)
    for example in source.examples(40):
        assert example.image.shape == (96, 96, 3)
        assert example.image.dtype == np.uint8
        assert example.label.shape == (96, 96)
        seen += np.bincount(example.label.ravel(), minlength=256)
    assert set(np.flatnonzero(seen)) == {*range(len(CLASSES)), 255}
    assert seen[0] / seen.sum() > 0.4  # enough background to be learned


def test_shapes_are_separated_by_an_ignored_border():
    touching = borders = 0
    for example in shapes_source("train", size=96).examples(20):
        left, right = example.label[:, :-1], example.label[:, 1:]
        borders += int((left != right).sum())
        touching += int(((left != right) & (left != 255) & (right != 255)).sum())
    assert borders > 1000
    assert touching < 0.01 * borders


def test_the_shapes_have_the_area_of_their_class():
    """Area over area of the smallest rotated bounding box: box 1, disc pi/4, less for the others."""
    fills: dict[int, list[float]] = {i: [] for i in range(1, len(CLASSES))}
    for example in shapes_source("form", size=96).examples(150):
        for class_id, class_fills in fills.items():
            rows, columns = np.nonzero(example.label == class_id)
            if len(rows) > 200 and min(rows.min(), columns.min()) > 0 and max(rows.max(), columns.max()) < 95:
                # The smallest bounding box over all rotations.
                angles = np.deg2rad(np.arange(0, 90, 3))
                across = np.outer(np.cos(angles), columns) + np.outer(np.sin(angles), rows)
                along = np.outer(np.cos(angles), rows) - np.outer(np.sin(angles), columns)
                class_fills.append(len(rows) / ((np.ptp(across, 1) + 1) * (np.ptp(along, 1) + 1)).min())
    fill = {CLASSES[i]: np.percentile(class_fills, 80) for i, class_fills in fills.items()}
    assert fill["box"] > 0.9
    assert fill["disc"] == pytest.approx(np.pi / 4, abs=0.06)
    assert fill["triangle"] == pytest.approx(0.5, abs=0.08)
    assert fill["star"] < 0.5
    assert fill["cross"] < 0.65


def test_color_is_a_hint_but_does_not_determine_the_class():
    """Most hues are nearest to the hue of their class; some are nearer to that of a neighbor."""
    near, stray = 0, 0
    for example in shapes_source("color", size=64).examples(150):
        for class_id in set(np.unique(example.label)) - {0, 255}:
            inside = example.image[example.label == class_id].mean(axis=0) / 255
            deviation = (colorsys.rgb_to_hsv(*inside)[0] * 6 - class_id + 3) % 6 - 3
            near += abs(deviation) <= 0.5
            stray += abs(deviation) > 0.5
    assert near > 6 * stray
    assert stray > 5
