import io

import numpy as np
import pytest
from PIL import Image

from deeplab.data_check.duplicates import near_duplicates, thumbnail


def _scene(seed: int, size: tuple[int, int] = (240, 320)) -> np.ndarray:
    """Return an image of random colors on a coarse grid, enlarged smoothly, as photos are."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8))
    return np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC))


def test_thumbnail_has_the_mean_of_each_cell():
    image = np.zeros((32, 48, 3), np.uint8)
    image[0:2, 0:3] = np.arange(6, dtype=np.uint8).reshape(2, 3, 1)
    image[30:, 45:, 1] = 90
    cells = thumbnail(image)
    assert cells.shape == (16, 16, 3)
    # (0 + 1 + 2 + 3 + 4 + 5) / 6 in each channel of the first cell of 2 x 3 pixels.
    assert cells[0, 0].tolist() == [2.5, 2.5, 2.5]
    assert cells[15, 15].tolist() == [0, 90, 0]
    assert not cells[1:15].any()


@pytest.mark.parametrize("size", [(1, 1), (5, 40), (15, 16), (700, 33)])
def test_thumbnail_of_any_size_has_the_color_of_a_uniform_image(size: tuple[int, int]):
    image = np.full((*size, 3), (10, 20, 30), np.uint8)
    np.testing.assert_allclose(thumbnail(image), np.broadcast_to((10.0, 20.0, 30.0), (16, 16, 3)), rtol=1e-6)


def test_a_smaller_compressed_and_a_slightly_cropped_copy_are_near_duplicates():
    image = _scene(0)
    file = io.BytesIO()
    Image.fromarray(image).resize((200, 150)).save(file, "JPEG", quality=50)
    copies = {"small": np.asarray(Image.open(file)), "cropped": image[3:-3, 3:-3], "other": _scene(1)}
    originals = {"a": thumbnail(_scene(2)), "b": thumbnail(image)}
    pairs = near_duplicates(originals, {name: thumbnail(copy) for name, copy in copies.items()})
    assert pairs == [("b", "small"), ("b", "cropped")]


def test_each_copy_in_one_split_is_named_once_with_its_earliest_original():
    images = {"a": _scene(0), "b": _scene(1), "c": _scene(0), "d": _scene(0)}
    pairs = near_duplicates({name: thumbnail(image) for name, image in images.items()})
    assert pairs == [("a", "c"), ("a", "d")]


def test_the_frames_of_a_still_camera_have_as_many_pairs_as_copies():
    """300 frames have 44,850 pairs."""
    frame = thumbnail(_scene(0))
    frames = {str(i): frame for i in range(300)}
    assert near_duplicates(frames) == [("0", str(i)) for i in range(1, 300)]
    assert near_duplicates({"other": thumbnail(_scene(1))} | frames, {"copy": frame}) == [("0", "copy")]


def test_the_pairs_are_those_of_a_comparison_of_all_images():
    rng = np.random.default_rng(0)
    originals = [rng.integers(0, 256, (16, 16, 3)).astype(np.float16) for _ in range(30)]
    # Differences of 0 to 8 levels on either side of the limit of 5, which means and quarters show in part.
    copies = [
        (original + rng.normal(0, spread, original.shape) + shift).astype(np.float16)
        for original in originals
        for spread, shift in rng.uniform(0, 8, (4, 2))
    ]
    first = {f"a{i}": image for i, image in enumerate(originals)}
    second = {f"b{i}": image for i, image in enumerate(copies)}
    expected = []
    for name, copy in second.items():
        for other, original in first.items():
            if np.abs(copy.astype(np.float64) - original).mean() <= 5.0:
                expected.append((other, name))
                break
    assert 20 < len(expected) < 100
    assert near_duplicates(first, second) == expected


def test_different_images_without_contrast_are_no_copies():
    """Their levels differ by 2 of 255, but their contrast is 3."""
    rng = np.random.default_rng(0)
    dark = {name: (10 + rng.integers(0, 4, (16, 16, 3))).astype(np.uint8) for name in "abcd"}
    assert not near_duplicates({name: thumbnail(image) for name, image in dark.items()})


def test_no_images_have_no_pairs():
    assert near_duplicates({}) == near_duplicates({}, {"a": thumbnail(_scene(0))}) == []
    assert near_duplicates({"a": thumbnail(_scene(0))}, {}) == []
