"""Official files against their golden masks, and files that are not segmentation models."""

import numpy as np
import pytest
from PIL import Image

from deeplab.errors import UserError
from deeplab.tflite.flatbuffer import QuantizationParameters, Tensor
from deeplab.tflite.interpreter import TfliteModel, _input_table, accepts_raw_pixels, dequantize

STARTER = "starter_deeplabv3_257_float.tflite"


@pytest.fixture(scope="module")
def image(official_models):
    return np.array(Image.open(official_models / "segmentation_input_rotation0.jpg").convert("RGB"))


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin"])
def test_the_starter_file_returns_the_golden_mask(official_models, image, kernels):
    model = TfliteModel(official_models / STARTER, kernels=kernels)
    assert model.image_size == (257, 257)
    assert model.classes == 21
    assert model.labels is not None
    assert model.labels[15] == "person"
    scores = model(image)
    assert scores.dtype == np.float32
    assert scores.shape == (257, 257, 21)
    golden = np.array(Image.open(official_models / "segmentation_golden_rotation0.png")) // 10
    assert (scores.argmax(-1) == golden).mean() >= 0.99


def test_an_official_quantized_file_returns_class_ids_near_the_mask_of_the_bird(official_models):
    model = TfliteModel(official_models / "deeplabv3_mnv2_pascal_quant.tflite")
    assert model.returns_labels
    assert model.classes == 21
    assert model.labels is None
    bird = np.array(Image.open(official_models / "bird_segmentation.bmp").convert("RGB"))
    ids = model(bird)
    assert ids.dtype == np.int64
    assert ids.shape == (513, 513)
    # The mask was drawn by hand with classes 0 and 3 and two border ids.
    mask = np.array(Image.open(official_models / "bird_segmentation_mask.bmp"))
    assert (ids == mask).mean() > 0.97
    assert set(np.unique(ids)) == {0, 3}


def test_an_image_of_another_size_or_dtype_is_rejected(official_models, image):
    model = TfliteModel(official_models / STARTER)
    with pytest.raises(UserError, match=r"expected an image uint8 \[257, 257, 3\], got uint8 \[100, 257, 3\]"):
        model(image[:100])
    with pytest.raises(UserError, match="got float32"):
        model(image.astype(np.float32))


@pytest.mark.parametrize("kept", [0, 4, 1000, 2_000_000])
def test_a_truncated_file_is_rejected(official_models, tmp_path, kept):
    path = tmp_path / "cut.tflite"
    path.write_bytes((official_models / STARTER).read_bytes()[:kept])
    with pytest.raises(UserError, match=r"cut\.tflite"):
        TfliteModel(path)


def _input(dtype: str, scale: float, zero_point: int) -> Tensor:
    return Tensor(0, "x", (1, 2, 2, 3), (1, 2, 2, 3), dtype, QuantizationParameters((scale,), (zero_point,)), None)


@pytest.mark.parametrize(
    ("dtype", "scale", "zero_point", "raw"),
    [
        ("uint8", 2 / 255, 127, True),
        ("uint8", 1 / 128, 128, True),
        ("int8", 2 / 255, -1, True),
        ("int8", 2 / 255, 127, False),
        ("uint8", 1 / 255, 0, False),
        ("uint8", 1.8 / 255, 127, False),
    ],
)
def test_inputs_that_accept_raw_pixels(dtype, scale, zero_point, raw):
    assert accepts_raw_pixels(_input(dtype, scale, zero_point)) is raw


def test_input_values_of_bytes():
    mean, std = (127.5,), (127.5,)
    # int8 that accepts raw pixels: bytes minus 128, exactly.
    np.testing.assert_array_equal(_input_table(_input("int8", 2 / 255, -1), mean, std)[0], np.arange(-128, 128))
    # int8 over -2..2: byte 255 is 1.0, which is 63.75 times the scale of 4/255 above the zero point 0.
    table = _input_table(_input("int8", 4 / 255, 0), mean, std)
    assert table[0, [0, 255]].tolist() == [-64, 64]
    assert table.dtype == np.int8
    # float32 with a mean and a std per channel.
    plain = Tensor(0, "x", (1, 2, 2, 3), (1, 2, 2, 3), "float32", None, None)
    table = _input_table(plain, (0.0, 10.0, 20.0), (1.0, 2.0, 4.0))
    np.testing.assert_allclose(table[:, 100], [100.0, 45.0, 20.0])


def test_dequantized_values_are_scale_times_distance_from_the_zero_point():
    stored = np.array([0, 3, 255], np.uint8)
    np.testing.assert_allclose(dequantize(stored, QuantizationParameters((0.5,), (3,))), [-1.5, 0.0, 126.0])
