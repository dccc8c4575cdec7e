from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from deeplab.datasets.image_files import read_image, read_list, read_mask, read_orientation, required_root
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


# The stored pixels of an image that viewers show as UPRIGHT, by EXIF orientation: the first row and column of the
# stored pixels are the sides that the standard names (1 top left, 2 top right, ..., 8 left bottom).
UPRIGHT = np.array([[10, 20, 30], [40, 50, 60]], np.uint8)
STORED = {
    1: UPRIGHT,
    2: UPRIGHT[:, ::-1],
    3: UPRIGHT[::-1, ::-1],
    4: UPRIGHT[::-1],
    5: UPRIGHT.T,
    6: UPRIGHT.T[::-1],
    7: UPRIGHT.T[::-1, ::-1],
    8: UPRIGHT.T[:, ::-1],
}


@pytest.mark.parametrize("orientation", STORED)
def test_an_image_is_turned_upright(tmp_path: Path, orientation: int):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.repeat(STORED[orientation][..., None], 3, 2)).save(tmp_path / "turned.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png")[..., 0], UPRIGHT)
    np.testing.assert_array_equal(read_image(tmp_path / "turned.png", "", False)[..., 0], STORED[orientation])
    assert read_orientation(tmp_path / "turned.png") == orientation


def test_animations_and_masks_of_fractions_or_transparency_are_refused(tmp_path: Path):
    frames = [Image.new("L", (4, 4), value) for value in (0, 9, 99)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(UserError, match=r"moving.gif: expected one frame, got 3"):
        read_image(tmp_path / "moving.gif")
    Image.new("F", (4, 4)).save(tmp_path / "fractions.tif")
    with pytest.raises(UserError, match=r"fractions.tif: expected class ids, got floating-point numbers"):
        read_mask(tmp_path / "fractions.tif")
    for mode, channels in (("RGBA", 4), ("LA", 2)):
        Image.new(mode, (4, 4)).save(tmp_path / "mask.png")
        with pytest.raises(UserError, match=f"mask.png: expected one channel of class ids, got {channels} channels"):
            read_mask(tmp_path / "mask.png")
    Image.fromarray(np.array([[-1, 3]], np.int32)).save(tmp_path / "negative.tif")
    with pytest.raises(UserError, match=r"negative.tif: expected labels 0..255, got -1"):
        read_mask(tmp_path / "negative.tif")


def test_a_missing_root_suggests_a_similar_name_and_lists_nothing(tmp_path: Path):
    (tmp_path / "VOCdevkit").mkdir()
    with pytest.raises(UserError, match=r"VOCdevkt: no such folder .*; did you mean .*/VOCdevkit\?"):
        required_root(tmp_path / "VOCdevkt", "the VOCdevkit folder")
    with pytest.raises(UserError) as caught:
        required_root("/no-such-place", "the folder with images and masks")
    assert str(caught.value) == (
        "/no-such-place: no such folder (data.root is the folder with images and masks); correct data.root"
    )


def test_invalid_list_files_are_reported(tmp_path: Path):
    (tmp_path / "train.txt").write_text("one\n\n two \n")
    assert read_list(tmp_path / "train.txt") == ["one", "two"]
    (tmp_path / "none.txt").write_text("\n")
    with pytest.raises(UserError, match="the list is empty"):
        read_list(tmp_path / "none.txt")
    with pytest.raises(UserError, match=r"vall.txt: no such list file; .* contains none.txt, train.txt"):
        read_list(tmp_path / "vall.txt")
