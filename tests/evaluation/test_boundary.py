"""Bands around borders against small cases solved by hand, scipy and OpenCV."""

import numpy as np
import pytest
from PIL import Image

from deeplab.evaluation.boundary import boundary_counts, distance_to_border, trimap_matrices
from deeplab.evaluation.confusion import confusion_matrix, iou_of_counts


def blobs(seed: int, height: int = 24, width: int = 31) -> np.ndarray:
    """Return rectangles, one of them surrounded by a strip of 255."""
    rng = np.random.default_rng(seed)
    label = np.zeros((height, width), np.uint8)
    label[4:15, 5:16] = 255
    label[5:14, 6:15] = 1
    top, left = rng.integers(12, 16), rng.integers(14, 20)
    label[top : top + 7, left : left + 9] = 2
    return label


def test_band_grows_from_the_strip_to_all_sides():
    label = np.zeros((7, 8), np.uint8)
    label[2:5, 3:6] = 255
    label[3, 4] = 1
    expected = [
        [3, 2, 2, 2, 2, 2, 2, 2],
        [3, 2, 1, 1, 1, 1, 1, 2],
        [3, 2, 1, 0, 0, 0, 1, 2],
        [3, 2, 1, 0, 1, 0, 1, 2],
        [3, 2, 1, 0, 0, 0, 1, 2],
        [3, 2, 1, 1, 1, 1, 1, 2],
        [3, 2, 2, 2, 2, 2, 2, 2],
    ]
    np.testing.assert_array_equal(distance_to_border(label, 2), expected)


@pytest.mark.parametrize("seed", range(3))
def test_band_is_the_strip_dilated_by_a_square(seed):
    ndimage = pytest.importorskip("scipy.ndimage", reason="scipy is not installed")
    label = np.zeros((40, 50), np.uint8)
    label[10:30, 15:40] = 2
    strip = np.random.default_rng(seed).random(label.shape) < 0.02
    label[strip] = 255
    label[9:11, 15:40] = label[29:31, 15:40] = 255
    label[9:31, 14:16] = label[9:31, 39:41] = 255
    distance = distance_to_border(label, 12)
    for width in (1, 2, 5, 12):
        dilated = ndimage.binary_dilation(label == 255, np.ones((2 * width + 1, 2 * width + 1)))
        np.testing.assert_array_equal(distance <= width, dilated)


def test_classes_that_touch_without_a_strip_have_distance_1_on_both_sides():
    label = np.zeros((3, 8), np.uint8)
    label[:, 4:] = 1
    label[0, 0] = 255
    # Three pixels touch along the line, but the ignored pixel touches two: the labels have no strip.
    expected = [[0, 1, 2, 1, 1, 2, 3, 4], [1, 1, 2, 1, 1, 2, 3, 4], [2, 2, 2, 1, 1, 2, 3, 4]]
    np.testing.assert_array_equal(distance_to_border(label, 5), expected)


def test_a_gap_in_the_strip_is_no_border():
    label = np.zeros((9, 7), np.uint8)
    label[:, 3] = 255
    label[:, 4:] = 1
    label[3:6, 3] = 0
    # The classes touch along three pixels, and the strip along fourteen.
    np.testing.assert_array_equal(distance_to_border(label, 9)[4], [3, 2, 2, 2, 2, 2, 3])


def test_bands_of_real_masks_equal_those_of_opencv(voc_root):
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    folder = voc_root / "VOC2012"
    names = (folder / "ImageSets/Segmentation/val.txt").read_text().split()[::6]
    pixels = 0
    for name in names:
        with Image.open(folder / f"SegmentationClass/{name}.png") as mask:
            label = np.asarray(mask)
        strip = (label == 255).astype(np.uint8)
        distance = distance_to_border(label, 5)
        for width in (1, 5):
            dilated = cv2.dilate(strip, np.ones((2 * width + 1, 2 * width + 1), np.uint8))
            np.testing.assert_array_equal(distance <= width, dilated > 0, err_msg=name)
        pixels += int((distance == 1).sum())
    assert pixels > 1000 * len(names)


def test_distance_exceeds_the_limit_without_a_border():
    assert (distance_to_border(np.zeros((5, 6), np.uint8), 3) == 4).all()


def test_limit_may_exceed_the_image():
    label = np.array([[0, 0, 1]], np.uint8)
    np.testing.assert_array_equal(distance_to_border(label, 40), [[2, 1, 1]])


def test_trimap_matrix_is_the_confusion_matrix_of_the_band():
    label, prediction = blobs(1), np.where(blobs(2) == 255, 0, blobs(2))
    distance = distance_to_border(label, 8)
    widths = (1, 2, 5, 8)
    matrices = trimap_matrices(label, prediction, 3, widths)
    for width, matrix in zip(widths, matrices, strict=True):
        np.testing.assert_array_equal(
            matrix, confusion_matrix(np.where(distance <= width, label, 255).astype(np.uint8), prediction, 3)
        )


def test_trimap_equals_the_matrix_counted_by_hand():
    label = np.array([[0, 0, 0, 1, 1, 1, 1]], np.uint8)
    prediction = np.array([[0, 1, 0, 1, 1, 0, 0]])
    # The border is the line after the third pixel; the distances are 3 2 1 1 2 3 4.
    np.testing.assert_array_equal(trimap_matrices(label, prediction, 2, (1, 3)), [[[1, 0], [0, 1]], [[2, 1], [1, 2]]])


@pytest.mark.parametrize("seed", [3, 4])
def test_boundary_counts_equal_the_definition_for_each_class(seed):
    rng = np.random.default_rng(seed)
    label, prediction = blobs(seed), np.roll(np.where(blobs(seed + 5) == 255, 0, blobs(seed + 5)), 1, axis=1)
    prediction[rng.integers(0, 24, 9), rng.integers(0, 31, 9)] = 1
    ignored = label == 255
    prediction = np.where(ignored, 7, prediction)
    distance = round(0.02 * np.hypot(24, 31))
    assert distance == 1

    def boundary(mask: np.ndarray) -> np.ndarray:
        """Return the mask minus its erosion by the square; pixels beyond the image are not part of the mask."""
        padded = np.pad(mask, distance)
        eroded = np.ones_like(mask)
        for y, x in np.ndindex(2 * distance + 1, 2 * distance + 1):
            eroded &= padded[y : y + mask.shape[0], x : x + mask.shape[1]]
        return mask & ~eroded

    expected = np.zeros((3, 3), np.int64)
    for c in range(3):
        labeled, predicted = boundary(label == c), boundary(prediction == c)
        expected[:, c] = (labeled & predicted).sum(), labeled.sum(), predicted.sum()
    np.testing.assert_array_equal(boundary_counts(label, prediction, 3), expected)


def test_boundary_counts_of_a_wide_band_equal_the_definition():
    label = np.kron(blobs(6), np.ones((9, 9), np.uint8))
    distance = round(0.02 * float(np.hypot(*label.shape)))
    assert distance == 7
    near = np.zeros(label.shape, bool)
    padded = np.pad(label.astype(int), distance, constant_values=999)
    for y, x in np.ndindex(2 * distance + 1, 2 * distance + 1):
        near |= padded[y : y + label.shape[0], x : x + label.shape[1]] != label
    near &= label != 255
    counts = boundary_counts(label, np.where(label == 255, 0, label), 3)
    np.testing.assert_array_equal(counts[1], [(near & (label == c)).sum() for c in range(3)])


def test_prediction_equal_to_the_label_has_boundary_iou_1():
    label = blobs(7)
    prediction = np.where(label == 255, 1, label)
    np.testing.assert_array_equal(iou_of_counts(boundary_counts(label, prediction, 3)), [1, 1, 1])


def test_shift_lowers_boundary_iou_more_than_iou():
    label = np.zeros((60, 60), np.uint8)
    label[10:50, 10:50] = 1
    shifted = np.roll(label, 2, axis=1)
    # Two columns of 40 pixels differ on each side. The band is 2 pixels wide, so the left and right sides of the square
    # do not overlap with those of the shifted one.
    assert iou_of_counts(np.stack([(label & shifted).sum(), label.sum(), shifted.sum()])[:, None])[0] == 38 / 42
    ring = 40 * 40 - 36 * 36
    top_and_bottom = 2 * 2 * 38
    assert boundary_counts(label, shifted, 2)[:, 1].tolist() == [top_and_bottom, ring, ring]
