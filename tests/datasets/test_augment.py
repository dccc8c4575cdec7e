import dataclasses

import numpy as np
import pytest

from deeplab.config import AugmentConfig
from deeplab.datasets.augment import (
    Augmentation,
    adjust_colors,
    augment,
    augment_into,
    crop_image,
    crop_label,
    draw_augmentation,
    resize_with_tensorflow,
    rotate,
    rotate_label,
)
from deeplab.errors import UserError

DEFAULT = AugmentConfig()
RNG = np.random.default_rng(0)


def _crop(image: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    # The output is a part of a larger array, as in a batch.
    rows, columns = augmentation.resized
    out = np.full((rows + 2, columns + 3, 3), -1, np.float32)
    crop_image(image, augmentation, out[:rows, :columns])
    assert (out[rows:] == -1).all()
    assert (out[:, columns:] == -1).all()
    return out[:rows, :columns]


def _adjusted(image: np.ndarray, augmentation: Augmentation) -> np.ndarray:
    copy = image.copy()
    adjust_colors(copy, augmentation)
    return copy


def _bilinear_reference(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Interpolate along rows, then columns: the center of pixel i of n is at (i + 1/2) * input size / n."""
    rows = (np.arange(size[0]) + 0.5) * image.shape[0] / size[0] - 0.5
    columns = (np.arange(size[1]) + 0.5) * image.shape[1] / size[1] - 0.5
    by_column = np.stack(
        [[np.interp(columns, np.arange(image.shape[1]), r) for r in c] for c in image.T.swapaxes(1, 2)]
    )
    out = [[np.interp(rows, np.arange(image.shape[0]), c) for c in channel.T] for channel in by_column]
    return np.array(out).transpose(2, 1, 0)


@pytest.mark.parametrize("opencv", [True, False])
def test_a_window_is_resampled_at_pixel_centers(opencv: bool, monkeypatch: pytest.MonkeyPatch):
    if opencv:
        pytest.importorskip("cv2", exc_type=ImportError)
    else:
        monkeypatch.setattr("deeplab.datasets.augment.cv2", None)
    image = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    augmentation = Augmentation((3, 5), (11, 17), (24, 13))
    expected = _bilinear_reference(image[3:14, 5:22].astype(float), (24, 13))
    np.testing.assert_allclose(_crop(image, augmentation), expected, atol=1e-3)
    flipped = dataclasses.replace(augmentation, flip=True)
    expected = _bilinear_reference(image[3:14, 5:22][:, ::-1].astype(float), (24, 13))
    np.testing.assert_allclose(_crop(image, flipped), expected, atol=1e-3)
    same_size = Augmentation((3, 5), (11, 17), (11, 17), flip=True)
    np.testing.assert_array_equal(_crop(image, same_size), image[3:14, 5:22][:, ::-1])


def test_opencv_and_tensorflow_resize_equally():
    pytest.importorskip("cv2", exc_type=ImportError)
    image = RNG.integers(0, 256, (23, 31, 3)).astype(np.uint8)
    for size in ((12, 15), (40, 70), (23, 9)):
        with_opencv = _crop(image, Augmentation((0, 0), (23, 31), size))
        np.testing.assert_allclose(with_opencv, resize_with_tensorflow(image, size), atol=0.01)


def test_labels_are_resized_to_the_nearest_pixel():
    ids = np.arange(7, dtype=np.uint8)[None, :].repeat(2, 0)
    # Resizing 7 pixels to 4 samples the positions 7/8, 21/8, 35/8 and 49/8; resizing 5 to 10 repeats each pixel.
    assert crop_label(ids, Augmentation((0, 0), (2, 7), (2, 4)))[0].tolist() == [0, 2, 4, 6]
    assert crop_label(ids, Augmentation((0, 1), (2, 5), (2, 10)))[0].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert crop_label(ids, Augmentation((0, 1), (2, 5), (2, 5), flip=True))[0].tolist() == [5, 4, 3, 2, 1]
    # Resizing 4 pixels to 3 samples the positions 2/3, 2 and 10/3, counted from the right because of the flip.
    assert crop_label(ids[:, :4], Augmentation((0, 0), (2, 4), (2, 3), flip=True))[0].tolist() == [3, 1, 0]
    tall = np.array([[1, 2], [3, 4]], np.uint8)
    flipped = Augmentation((0, 0), (2, 2), (4, 2), flip=True)
    assert crop_label(tall, flipped).tolist() == [[2, 1], [2, 1], [4, 3], [4, 3]]


@pytest.mark.parametrize("rotation", [0.0, 35.0])
def test_image_and_label_stay_aligned(rotation: float):
    """An image equal to its label stays equal: exactly with nearest sampling, within half a ramp step with bilinear."""
    config = AugmentConfig(1, 1, 0, 0.5, rotation=rotation) if rotation else DEFAULT
    ids = RNG.integers(0, 200, (47, 61)).astype(np.uint8)
    columns, rows = np.meshgrid(np.arange(61), np.arange(47))
    for position in range(40):
        augmentation = draw_augmentation(ids.shape, (1, position), config, (49, 49))
        image, label = ids[..., None].repeat(3, 2), ids
        if augmentation.angle:
            image = rotate(image, augmentation.angle, "NEAREST", 255)
            label = rotate_label(ids, augmentation.angle)
        np.testing.assert_array_equal(crop_label(image, augmentation)[..., 1], crop_label(label, augmentation))
        for ramp in (columns, rows):
            image = ramp[..., None].repeat(3, 2).astype(np.uint8)
            crop, label = augment(image, ramp.astype(np.uint8), (1, position), config, (49, 49))
            inside = label != 255
            difference = (crop[..., 0] - label)[inside]
            if rotation:
                # At the rotated edge, bilinear sampling includes the padding.
                near = np.abs(difference) < 0.51
                assert near.mean() > 0.9
                assert abs(difference[near].mean()) < 0.06
            else:
                assert np.abs(difference).max() <= 0.5001
            assert inside.mean() > 0.05


def test_scales_are_the_seven_official_ones():
    sizes = [draw_augmentation((100, 200), (0, p), DEFAULT, (10_000, 10_000)).resized for p in range(700)]
    counts = {size: sizes.count(size) for size in set(sizes)}
    assert set(counts) == {(int(100 * s), int(200 * s)) for s in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)}
    assert min(counts.values()) > 60  # 100 expected, standard deviation 9.3


def test_windows_keep_the_scale_and_reach_every_position():
    double = AugmentConfig(min_scale=2.0, max_scale=2.0, scale_step=0)
    left = set()
    for position in range(300):
        augmentation = draw_augmentation((100, 60), (0, position), double, (65, 65))
        # At scale 2 a crop of 65 pixels covers 32.5 pixels of the image: offsets up to 100 - 32 and 60 - 32.
        assert augmentation.window == (32, 32)
        assert augmentation.resized == (65, 65)
        assert augmentation.offset[0] in range(69)
        assert augmentation.offset[1] in range(29)
        left.add(augmentation.offset[1])
    assert left == set(range(29))


def test_small_images_are_padded_at_the_bottom_and_right():
    identity = AugmentConfig(min_scale=1, max_scale=1, scale_step=0, flip=0)
    image = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    label = RNG.integers(0, 21, (5, 7)).astype(np.uint8)
    image_crop, label_crop = augment(image, label, (0, 0), identity, (9, 9))
    assert (image_crop.dtype, label_crop.dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(image_crop[:5, :7], image)
    np.testing.assert_array_equal(label_crop[:5, :7], label)
    assert (image_crop[5:] == 127.5).all()
    assert (image_crop[:, 7:] == 127.5).all()
    assert (label_crop[5:] == 255).all()
    assert (label_crop[:, 7:] == 255).all()


def test_images_are_padded_with_the_pixel_of_the_backbone_and_rotated_into_it():
    """123.68, 116.779, 103.939 is the mean of keras.applications for ResNet."""
    mean = (123.68, 116.779, 103.939)
    identity = AugmentConfig(min_scale=1, max_scale=1, scale_step=0, flip=0)
    image, label = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8), np.zeros((5, 7), np.uint8)
    crop, _ = augment(image, label, (0, 0), identity, (9, 9), mean)
    np.testing.assert_array_equal(crop[:5, :7], image)
    for padding in (crop[5:], crop[:, 7:]):
        np.testing.assert_array_equal(padding, np.broadcast_to(np.float32(mean), padding.shape))
    rotated, _ = augment(np.zeros((9, 9, 3), np.uint8), np.zeros((9, 9), np.uint8), (0, 1),
                         dataclasses.replace(identity, rotation=180), (9, 9), mean)  # fmt: skip
    corners = rotated[[0, 0, -1, -1], [0, -1, 0, -1]]
    assert 0 < corners[:, 0].max() <= np.float32(123.68)
    np.testing.assert_allclose(corners / corners[:, :1], np.tile(np.divide(mean, 123.68), (4, 1)), rtol=1e-5)


def test_rotated_channels_equal_those_of_a_rotated_image():
    image = RNG.integers(0, 256, (15, 11, 3)).astype(np.uint8)
    turned = dataclasses.replace(draw_augmentation((15, 11), (0, 0), DEFAULT, (9, 9)), angle=0.4, offset=(0, 0),
                                 window=(15, 11), resized=(15, 11), flip=False)  # fmt: skip
    crop, label = np.empty((15, 11, 3), np.float32), np.empty((15, 11), np.int32)
    augment_into(crop, label, image, np.zeros((15, 11), np.uint8), turned)
    np.testing.assert_array_equal(crop, rotate(image, 0.4, "BILINEAR", 127.5))


def test_the_flip_rate_is_the_configured_probability():
    def flips(probability: float) -> int:
        config = dataclasses.replace(DEFAULT, flip=probability)
        return sum(draw_augmentation((9, 9), (0, p), config, (9, 9)).flip for p in range(400))

    assert (flips(0.0), flips(1.0)) == (0, 400)
    assert 160 < flips(0.5) < 240


def test_rotation_by_90_degrees_equals_rot90():
    image = RNG.integers(0, 256, (9, 9, 3)).astype(np.uint8)
    np.testing.assert_allclose(rotate(image, np.pi / 2, "BILINEAR", 0), np.rot90(image), atol=0.05)
    ids = image[..., 0]
    np.testing.assert_array_equal(rotate_label(ids, np.pi / 2), np.rot90(ids))
    assert rotate_label(ids, np.pi / 4)[0, 0] == 255


def test_color_factors_are_1_by_default_and_applied_as_defined():
    image = np.array([[[10.0, 20.0, 30.0], [50.0, 60.0, 70.0]]], np.float32)
    default = draw_augmentation((9, 9), (0, 0), DEFAULT, (9, 9))
    assert (default.angle, default.brightness, default.contrast, default.saturation) == (0, 1, 1, 1)
    brighter = _adjusted(image, dataclasses.replace(default, brightness=1.5))
    np.testing.assert_allclose(brighter, image * 1.5, rtol=1e-5)
    # Gray values by ITU-R BT.601: 0.299 * 10 + 0.587 * 20 + 0.114 * 30 = 18.15, and 58.15; their mean is 38.15.
    gray = _adjusted(image, dataclasses.replace(default, saturation=0.0))
    np.testing.assert_allclose(gray, [[[18.15] * 3, [58.15] * 3]], rtol=1e-5)
    contrast = _adjusted(image, dataclasses.replace(default, contrast=2.0))
    np.testing.assert_allclose(contrast, np.clip(image * 2 - 38.15, 0, 255), rtol=1e-5)


def test_optional_augmentations_do_not_change_the_crops():
    more = AugmentConfig(rotation=20, brightness=0.3, contrast=0.3, saturation=0.3)
    for position in range(20):
        plain, rich = (draw_augmentation((90, 80), (2, position), config, (65, 65)) for config in (DEFAULT, more))
        for name in ("offset", "window", "resized", "flip"):
            assert getattr(plain, name) == getattr(rich, name)
        assert 0 < abs(rich.angle) <= np.deg2rad(20)
        assert 0.7 <= rich.brightness <= 1.3


def _rare(**settings: object) -> AugmentConfig:
    return AugmentConfig(min_scale=1.0, max_scale=1.0, flip=0.0, rare_crops=1.0, rare_classes=(2, 3), **settings)  # type: ignore[arg-type]


def test_rare_crops_are_centered_on_the_rare_pixel():
    """A crop of 21 of a pixel in row 40, column 70 has it in the middle; next to a corner the image is the limit."""
    label = np.zeros((100, 120), np.uint8)
    label[40, 70] = 2
    assert draw_augmentation(label.shape, (0, 0), _rare(), (21, 21), label).offset == (30, 60)
    corner = np.zeros((100, 120), np.uint8)
    corner[3, 119] = 3
    assert draw_augmentation(corner.shape, (0, 0), _rare(), (21, 21), corner).offset == (0, 99)


def test_every_present_rare_class_and_every_pixel_of_it_is_equally_likely():
    label = np.zeros((60, 90), np.uint8)
    label[10:20, 10:20] = 2  # 100 pixels
    label[45, 70:72] = 3  # 2 pixels
    crops = [augment(label[..., None].repeat(3, -1), label, (0, i), _rare(), (5, 5))[1] for i in range(600)]
    centers = [int(crop[2, 2]) for crop in crops]
    assert set(centers) == {2, 3}
    # 600 fair draws: mean 300, standard deviation 12.2.
    assert abs(centers.count(3) - 300) < 50
    offsets = [draw_augmentation(label.shape, (0, i), _rare(), (5, 5), label).offset for i in range(600)]
    columns = [left + 2 for top, left in offsets if top + 2 == 45]
    assert set(columns) == {70, 71}
    assert abs(columns.count(70) - len(columns) / 2) < 40


def test_rare_crops_keep_scale_flip_and_the_other_crops():
    """With probability 0.5, half of the windows move, and only they; nothing else changes."""
    label = np.zeros((200, 300), np.uint8)
    label[150, 250] = 2
    half = dataclasses.replace(DEFAULT, rare_crops=0.5, rare_classes=(2,))
    moved = 0
    for i in range(200):
        plain = draw_augmentation(label.shape, (7, i), DEFAULT, (33, 33))
        drawn = draw_augmentation(label.shape, (7, i), half, (33, 33), label)
        assert dataclasses.replace(drawn, offset=plain.offset) == plain
        top, left = drawn.offset
        centered = abs(top + drawn.window[0] / 2 - 150) <= 1 and abs(left + drawn.window[1] / 2 - 250) <= 1
        assert centered or drawn == plain or drawn.window[0] > 100
        moved += drawn != plain
    # 200 fair draws: mean 100, standard deviation 7.1.
    assert abs(moved - 100) < 30


def test_images_without_rare_classes_keep_their_crops():
    label = np.ones((50, 60), np.uint8)
    for i in range(20):
        expected = draw_augmentation(
            label.shape, (0, i), dataclasses.replace(_rare(), rare_crops=0, rare_classes=()), (9, 9)
        )
        assert draw_augmentation(label.shape, (0, i), _rare(), (9, 9), label) == expected


def test_rare_crops_follow_the_rotation():
    """The rare pixels, a square of 3, stay in the center of the crop of the rotated label."""
    label = np.zeros((101, 141), np.uint8)
    label[29:32, 89:92] = 2
    for i in range(30):
        _, crop = augment(label[..., None].repeat(3, -1), label, (1, i), _rare(rotation=40.0), (11, 11))
        rows, columns = np.nonzero(crop == 2)
        assert len(rows)
        # Any of the nine pixels is the center, so the middle of the square is at most 1 (and rounding) away.
        assert abs(rows.mean() - 5) < 2.2
        assert abs(columns.mean() - 5) < 2.2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rare_crops": 0.5}, r"rare_crops: expected 0 without rare_classes"),
        ({"rare_classes": (1,)}, r"rare_crops: .* above 0 with them"),
        ({"rare_crops": 0.5, "rare_classes": (1, 1)}, r"rare_classes: expected each class id once"),
        ({"rare_crops": 0.5, "rare_classes": (255,)}, r"rare_classes\[0\]: expected .*from 0 to 254"),
    ],
)
def test_incomplete_rare_class_settings_are_refused(settings: dict, message: str):
    with pytest.raises(UserError, match=message):
        AugmentConfig(**settings)
