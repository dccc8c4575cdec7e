import dataclasses

import numpy as np
import pytest

from deeplab.config import AugmentConfig
from deeplab.datasets.augment import (
    Draw,
    augment,
    draw,
    jitter,
    resized_by_tensorflow,
    rotated,
    take_bilinear,
    take_nearest,
    turned_label,
)

EXACT = AugmentConfig()
RNG = np.random.default_rng(0)


def _taken(image: np.ndarray, plan: Draw) -> np.ndarray:
    # A part of a larger array, as in a batch.
    out = np.full((plan.drawn[0] + 2, plan.drawn[1] + 3, 3), -1, np.float32)
    take_bilinear(image, plan, out[: plan.drawn[0], : plan.drawn[1]])
    assert (out[plan.drawn[0] :] == -1).all()
    assert (out[:, plan.drawn[1] :] == -1).all()
    return out[: plan.drawn[0], : plan.drawn[1]]


def _jittered(picture: np.ndarray, plan: Draw) -> np.ndarray:
    changed = picture.copy()
    jitter(changed, plan)
    return changed


def _bilinear_by_hand(image: np.ndarray, drawn: tuple[int, int]) -> np.ndarray:
    """The center of pixel i of n lies at (i + 1/2) * size / n of the edges, and the outermost pixels go on outwards."""
    rows = (np.arange(drawn[0]) + 0.5) * image.shape[0] / drawn[0] - 0.5
    columns = (np.arange(drawn[1]) + 0.5) * image.shape[1] / drawn[1] - 0.5
    by_column = np.stack(
        [[np.interp(columns, np.arange(image.shape[1]), r) for r in c] for c in image.T.swapaxes(1, 2)]
    )
    out = [[np.interp(rows, np.arange(image.shape[0]), c) for c in channel.T] for channel in by_column]
    return np.array(out).transpose(2, 1, 0)


@pytest.mark.parametrize("opencv", [True, False])
def test_a_window_is_resampled_at_the_centers_of_its_pixels(opencv: bool, monkeypatch: pytest.MonkeyPatch):
    if opencv:
        pytest.importorskip("cv2")
    else:
        monkeypatch.setattr("deeplab.datasets.augment.cv2", None)
    image = RNG.integers(0, 256, (20, 30, 3)).astype(np.uint8)
    plan = Draw((3, 5), (11, 17), (24, 13))
    np.testing.assert_allclose(
        _taken(image, plan), _bilinear_by_hand(image[3:14, 5:22].astype(float), (24, 13)), atol=1e-3
    )
    flipped = dataclasses.replace(plan, flip=True)
    by_hand = _bilinear_by_hand(image[3:14, 5:22][:, ::-1].astype(float), (24, 13))
    np.testing.assert_allclose(_taken(image, flipped), by_hand, atol=1e-3)
    whole = Draw((3, 5), (11, 17), (11, 17), flip=True)
    np.testing.assert_array_equal(_taken(image, whole), image[3:14, 5:22][:, ::-1])


def test_opencv_and_tensorflow_resample_alike():
    pytest.importorskip("cv2")
    image = RNG.integers(0, 256, (23, 31, 3)).astype(np.uint8)
    for drawn in ((12, 15), (40, 70), (23, 9)):
        np.testing.assert_allclose(
            _taken(image, Draw((0, 0), (23, 31), drawn)), resized_by_tensorflow(image, drawn), atol=0.01
        )


def test_nearest_takes_the_nearest():
    ids = np.arange(7, dtype=np.uint8)[None, :].repeat(2, 0)
    # 7 pixels at 4 places have their centers at 7/8, 21/8, 35/8 and 49/8; the 5 from 1 on at 10 places each come twice.
    assert take_nearest(ids, Draw((0, 0), (2, 7), (2, 4)))[0].tolist() == [0, 2, 4, 6]
    assert take_nearest(ids, Draw((0, 1), (2, 5), (2, 10)))[0].tolist() == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert take_nearest(ids, Draw((0, 1), (2, 5), (2, 5), flip=True))[0].tolist() == [5, 4, 3, 2, 1]
    # 4 pixels at 3 places have their centers at 2/3, 2 and 10/3, here counted from the right.
    assert take_nearest(ids[:, :4], Draw((0, 0), (2, 4), (2, 3), flip=True))[0].tolist() == [3, 1, 0]
    tall = np.array([[1, 2], [3, 4]], np.uint8)
    assert take_nearest(tall, Draw((0, 0), (2, 2), (4, 2), flip=True)).tolist() == [[2, 1], [2, 1], [4, 3], [4, 3]]


@pytest.mark.parametrize("turn", [0.0, 35.0])
def test_a_picture_that_is_its_own_label_stays_it(turn: float):
    """Pixel for pixel under nearest sampling, and within half a step of a ramp under bilinear sampling."""
    config = AugmentConfig(1, 1, 0, 0.5, rotation=turn) if turn else EXACT
    ids = RNG.integers(0, 200, (47, 61)).astype(np.uint8)
    columns, rows = np.meshgrid(np.arange(61), np.arange(47))
    for position in range(40):
        plan = draw(ids.shape, (1, position), config, 49)
        image = ids[..., None].repeat(3, 2)
        turned, label = image, ids
        if plan.angle:
            turned, label = rotated(image, plan.angle, "NEAREST", 255), turned_label(ids, plan.angle)
        np.testing.assert_array_equal(take_nearest(turned, plan)[..., 1], take_nearest(label, plan))
        for ramp in (columns, rows):
            picture = ramp[..., None].repeat(3, 2).astype(np.uint8)
            picture, mask = augment(picture, ramp.astype(np.uint8), (1, position), config, 49)
            inside = mask != 255
            apart = (picture[..., 0] - mask)[inside]
            if turn:
                # At the turned edge bilinear sampling mixes the padding in.
                near = np.abs(apart) < 0.51
                assert near.mean() > 0.9
                assert abs(apart[near].mean()) < 0.06
            else:
                assert np.abs(apart).max() <= 0.5001
            assert inside.mean() > 0.05


def test_scales_are_the_official_seven():
    drawn = [draw((100, 200), (0, p), EXACT, 10_000).drawn for p in range(700)]
    counts = {size: drawn.count(size) for size in set(drawn)}
    assert set(counts) == {(int(100 * s), int(200 * s)) for s in (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)}
    assert min(counts.values()) > 60  # 100 expected, standard deviation 9.3


def test_a_cut_axis_keeps_its_scale_and_covers_the_picture():
    double = AugmentConfig(min_scale=2.0, max_scale=2.0, scale_step=0)
    starts = set()
    for position in range(300):
        plan = draw((100, 60), (0, position), double, 65)
        # 65 pixels at twice the size are 32.5 of the picture, which leaves 100 - 32 and 60 - 32 for the place.
        assert plan.taken == (32, 32)
        assert plan.drawn == (65, 65)
        assert plan.start[0] in range(69)
        assert plan.start[1] in range(29)
        starts.add(plan.start[1])
    assert starts == set(range(29))


def test_small_pictures_are_padded_below_and_right():
    still = AugmentConfig(min_scale=1, max_scale=1, scale_step=0, flip=0)
    image = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)
    label = RNG.integers(0, 21, (5, 7)).astype(np.uint8)
    picture, ids = augment(image, label, (0, 0), still, 9)
    assert (picture.dtype, ids.dtype) == (np.float32, np.int32)
    np.testing.assert_array_equal(picture[:5, :7], image)
    np.testing.assert_array_equal(ids[:5, :7], label)
    assert (picture[5:] == 127.5).all()
    assert (picture[:, 7:] == 127.5).all()
    assert (ids[5:] == 255).all()
    assert (ids[:, 7:] == 255).all()


def test_flips_are_as_frequent_as_asked():
    def flips(probability: float) -> int:
        config = dataclasses.replace(EXACT, flip=probability)
        return sum(draw((9, 9), (0, p), config, 9).flip for p in range(400))

    assert (flips(0.0), flips(1.0)) == (0, 400)
    assert 160 < flips(0.5) < 240


def test_a_quarter_turn_is_a_quarter_turn():
    image = RNG.integers(0, 256, (9, 9, 3)).astype(np.uint8)
    np.testing.assert_allclose(rotated(image, np.pi / 2, "BILINEAR", 0), np.rot90(image), atol=0.05)
    ids = image[..., 0]
    np.testing.assert_array_equal(turned_label(ids, np.pi / 2), np.rot90(ids))
    assert turned_label(ids, np.pi / 4)[0, 0] == 255


def test_jitter_is_off_by_default_and_does_what_it_says():
    picture = np.array([[[10.0, 20.0, 30.0], [50.0, 60.0, 70.0]]], np.float32)
    plan = draw((9, 9), (0, 0), EXACT, 9)
    assert (plan.angle, plan.brightness, plan.contrast, plan.saturation) == (0, 1, 1, 1)
    brighter = _jittered(picture, dataclasses.replace(plan, brightness=1.5))
    np.testing.assert_allclose(brighter, picture * 1.5, rtol=1e-5)
    # Gray values by ITU-R BT.601: 0.299 * 10 + 0.587 * 20 + 0.114 * 30 = 18.15, and 58.15; their mean is 38.15.
    dull = _jittered(picture, dataclasses.replace(plan, saturation=0.0))
    np.testing.assert_allclose(dull, [[[18.15] * 3, [58.15] * 3]], rtol=1e-5)
    harder = _jittered(picture, dataclasses.replace(plan, contrast=2.0))
    np.testing.assert_allclose(harder, np.clip(picture * 2 - 38.15, 0, 255), rtol=1e-5)


def test_optional_draws_leave_the_crops_as_they_are():
    more = AugmentConfig(rotation=20, brightness=0.3, contrast=0.3, saturation=0.3)
    for position in range(20):
        plain, rich = draw((90, 80), (2, position), EXACT, 65), draw((90, 80), (2, position), more, 65)
        assert (plain.start, plain.taken, plain.drawn, plain.flip) == (rich.start, rich.taken, rich.drawn, rich.flip)
        assert 0 < abs(rich.angle) <= np.deg2rad(20)
        assert 0.7 <= rich.brightness <= 1.3
