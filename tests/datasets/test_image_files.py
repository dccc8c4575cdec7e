from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.datasets.image_files import read_image, read_list, read_mask
from deeplab.errors import UserError

IDS = np.array([[0, 19, 255], [1, 2, 3]], np.uint8)


def test_palette_masks_return_palette_indices(tmp_path: Path):
    mask = Image.fromarray(IDS)
    mask.putpalette([i for n in range(256) for i in (n, 255 - n, 7)])
    mask.save(tmp_path / "palette.png")
    assert Image.open(tmp_path / "palette.png").mode == "P"
    np.testing.assert_array_equal(read_mask(tmp_path / "palette.png"), IDS)


def test_gray_and_16_bit_masks_return_their_values(tmp_path: Path):
    Image.fromarray(IDS).save(tmp_path / "gray.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "gray.png"), IDS)
    Image.fromarray(IDS.astype(np.uint16)).save(tmp_path / "wide.png")
    np.testing.assert_array_equal(read_mask(tmp_path / "wide.png"), IDS)
    Image.fromarray(np.array([[0, 300]], np.uint16)).save(tmp_path / "high.png")
    with pytest.raises(UserError, match=r"high.png: expected labels 0..255, got 300"):
        read_mask(tmp_path / "high.png")


def test_a_color_mask_is_refused(tmp_path: Path):
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "color.png")
    with pytest.raises(UserError, match=r"color.png: expected one channel of class ids, got 3 channels .*data.colors"):
        read_mask(tmp_path / "color.png")


@pytest.mark.parametrize("mode", ["L", "P", "RGB", "RGBA", "CMYK"])
def test_images_are_converted_to_rgb(tmp_path: Path, mode: str):
    path = tmp_path / ("p.tif" if mode == "CMYK" else "p.png")
    Image.new("RGB", (5, 4), (255, 255, 255)).convert(mode).save(path)
    image = read_image(path)
    assert image.shape == (4, 5, 3)
    assert image.dtype == np.uint8
    assert (image == 255).all()


def test_unreadable_images_are_reported(tmp_path: Path):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    (tmp_path / "half.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.jpg").write_text("not an image")
    (tmp_path / "empty.jpg").write_bytes(b"")
    for name in ("half.jpg", "text.jpg", "empty.jpg"):
        with pytest.raises(UserError, match=f"{name}: cannot be read"):
            read_image(tmp_path / name)
    with pytest.raises(UserError, match=r"gone.jpg: no such file"):
        read_image(tmp_path / "gone.jpg")
    Image.fromarray(np.zeros((2, 2), np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(UserError, match=r"deep.png: expected 8 bits per channel"):
        read_image(tmp_path / "deep.png")


def test_invalid_list_files_are_reported(tmp_path: Path):
    (tmp_path / "train.txt").write_text("one\n\n two \n")
    assert read_list(tmp_path / "train.txt") == ["one", "two"]
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(UserError, match="the list is empty"):
        read_list(tmp_path / "none.txt")
    with pytest.raises(UserError, match=r"vall.txt: no such list file; .* contains none.txt, train.txt"):
        read_list(tmp_path / "vall.txt")
