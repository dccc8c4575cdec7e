"""Models with the weights of the official .tflite files, and of our own, agree with these files."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from deeplab.config import ModelConfig
from deeplab.datasets.voc import voc_source
from deeplab.errors import UserError
from deeplab.model.atrous import StrideRate
from deeplab.model.build import build_model
from deeplab.prediction.image_fit import fit_image
from deeplab.pretrained import import_weights, load_tflite, read_network
from deeplab.pretrained.tflite_layers import TfliteConvolution
from deeplab.pretrained.tflite_network import (
    _input_normalization,
    _kernel_scales,
    bias_only_batch_norm,
    fold_input_normalization,
)
from deeplab.tflite.flatbuffer import QuantizationParameters, Tensor
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.metadata import Metadata
from deeplab.tflite.tflite_file import open_tflite
from tests.networks import random_image, randomize

STARTER = "starter_deeplabv3_257_float.tflite"
QUANTIZED = {1.0: "deeplabv3_mnv2_pascal_quant.tflite", 0.5: "deeplabv3_mnv2_dm05_pascal_quant.tflite"}


@pytest.fixture(scope="module")
def starter(official_models):
    return load_tflite(official_models / STARTER, output_stride=8, image_size=257)


def test_the_starter_model_has_the_logits_of_its_file_and_the_golden_mask(official_models, starter):
    file = TfliteModel(official_models / STARTER)
    image = np.array(Image.open(official_models / "segmentation_input_rotation0.jpg").convert("RGB"))
    logits = np.asarray(starter(image[None].astype("float32")))[0]
    assert np.abs(logits - file(image)).max() <= 1e-3
    golden = np.array(Image.open(official_models / "segmentation_golden_rotation0.png")) // 10
    assert (logits.argmax(-1) == golden).mean() >= 0.99


def test_the_starter_model_has_the_logits_of_its_file_on_photographs(official_models, voc_root, starter):
    file = TfliteModel(official_models / STARTER)
    for example in voc_source(voc_root, "val").examples(4):
        image = fit_image(example.image, (257, 257), "stretch").image
        logits = np.asarray(starter(image[None].astype("float32")))[0]
        assert np.abs(logits - file(image)).max() <= 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("depth", QUANTIZED)
def test_the_float_model_of_a_quantized_file_predicts_its_labels(official_models, voc_root, depth):
    path = official_models / QUANTIZED[depth]
    file, model = TfliteModel(path), load_tflite(path, output_stride=16, image_size=513)
    agreements = []
    for example in voc_source(voc_root, "val").examples(8):
        fitted = fit_image(example.image, (513, 513), "pad", 128)
        labels = np.asarray(model(fitted.image[None].astype("float32")))[0].argmax(-1)
        height, width = fitted.size
        agreements.append((labels == file(fitted.image))[:height, :width].mean())
    assert np.mean(agreements) >= 0.97


@pytest.mark.parametrize(("name", "depth"), [(STARTER, 0.5), (QUANTIZED[0.5], 0.5), (QUANTIZED[1.0], 1.0)])
def test_the_architecture_is_read_from_the_file(official_models, name, depth):
    config = read_network(official_models / name).config
    assert config == ModelConfig(depth_multiplier=depth, head="v3", aspp_rates=(), classes=21)


def test_size_output_stride_normalization_and_quantization_are_read_from_the_file(official_models):
    starter, quantized = (read_network(official_models / name) for name in (STARTER, QUANTIZED[0.5]))
    assert (starter.image_size, starter.output_stride) == ((257, 257), 8)
    assert (quantized.image_size, quantized.output_stride) == ((513, 513), 16)
    assert (starter.ranges is None, quantized.ranges is None) == (True, False)
    np.testing.assert_allclose([starter.input_scale, starter.input_offset], [[1, 1, 1], [0, 0, 0]])
    # (u - 128) / 128 of u = 127.5 * (x + 1).
    np.testing.assert_allclose(quantized.input_scale, [127.5 / 128] * 3)
    np.testing.assert_allclose(quantized.input_offset, [-0.5 / 128] * 3)


def test_a_path_its_bytes_the_opened_file_and_a_network_are_accepted(official_models):
    path = official_models / STARTER
    expected = read_network(path)
    for source in (path.read_bytes(), open_tflite(path)):
        assert read_network(source).config == expected.config
    assert read_network(expected) is expected


def test_class_names_come_from_the_file_or_are_those_of_pascal(official_models):
    labels = (official_models / "labelmap.txt").read_text().split("\n")[:21]
    assert list(read_network(official_models / STARTER).classes) == labels
    assert list(read_network(official_models / QUANTIZED[1.0]).classes) == labels


def test_the_first_convolution_includes_the_input_normalization_of_the_file(official_models):
    """The stem of the model equals the kernel of the file applied to (u - 128) / 128 away from the border."""
    network = read_network(official_models / QUANTIZED[0.5])
    model = build_model(network.config, output_stride=16, image_size=33)
    report = import_weights(model, official_models / QUANTIZED[0.5])
    assert report.folded
    assert "was folded into the first convolution" in str(report)
    u = np.random.default_rng(0).integers(0, 256, (1, 33, 33, 3)).astype("float32")
    stem = network.convolutions["backbone_stem"]
    # Output pixel (5, 6) at stride 2 with symmetric padding of 1 covers rows 9..11 and columns 11..13.
    patch = (u[0, 9:12, 11:14] - 128) / 128
    expected = np.tensordot(patch, stem.kernel, axes=3) + stem.bias
    x = model.get_layer("backbone_stem")(u * 2 / 255 - 1)
    actual = np.asarray(model.get_layer("backbone_stem_bn")(x))[0, 5, 6]
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_only_the_logits_of_other_classes_are_reinitialized(official_models):
    model = build_model(ModelConfig(depth_multiplier=0.5, head="v3", aspp_rates=(), classes=3), output_stride=32)
    report = import_weights(model, official_models / STARTER)
    assert report.reinitialized == ("logits/kernel", "logits/bias")
    assert report.missing == ()
    assert len(report.loaded) == 54 * 5


def test_a_model_of_another_width_is_refused(official_models):
    narrow = build_model(ModelConfig(depth_multiplier=0.25, head="v3", aspp_rates=()), image_size=33)
    with pytest.raises(UserError, match=r"starter.*backbone_stem: expected shapes .* 8\).*, got shapes .* 16\)"):
        import_weights(narrow, official_models / STARTER)


@pytest.mark.parametrize("length", [100, 100_000, 760_000])
def test_a_truncated_file_is_refused(official_models, tmp_path, length):
    path = tmp_path / "truncated.tflite"
    path.write_bytes((official_models / QUANTIZED[0.5]).read_bytes()[:length])
    with pytest.raises(UserError, match=r"truncated\.tflite: .*damaged or"):
        load_tflite(path)


def input_tensor(dtype: str, quantization: QuantizationParameters | None) -> Tensor:
    return Tensor(0, "x", (1, 33, 33, 3), (1, 33, 33, 3), dtype, quantization, None)


@pytest.mark.parametrize(
    ("tensor", "metadata", "scale", "offset"),
    [
        # The network takes (u - 127) * 2 / 255.
        (input_tensor("uint8", QuantizationParameters((2 / 255,), (127,))), None, 1, 0.5 * 2 / 255),
        (input_tensor("int8", QuantizationParameters((2 / 255,), (-1,))), None, 1, 0.5 * 2 / 255),
        # (u - 127.5) / 127.5, from the metadata or as the default.
        (input_tensor("float32", None), Metadata(mean=(127.5,), std=(127.5,)), 1, 0),
        (input_tensor("float32", None), None, 1, 0),
        # u / 255, and a normalization per color.
        (input_tensor("float32", None), Metadata(mean=(0.0,), std=(255.0,)), 0.5, 0.5),
        (
            input_tensor("float32", None), Metadata(mean=(27.5, 127.5, 0.0), std=(100.0, 255.0, 127.5)),
            [1.275, 0.5, 1], [1, 0, 1],
        ),
    ],
)  # fmt: skip
def test_input_normalization_is_relative_to_ours(tensor, metadata, scale, offset):
    expected = [np.broadcast_to(scale, 3), np.broadcast_to(offset, 3)]
    np.testing.assert_allclose(_input_normalization(tensor, metadata), expected, atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["v3", "v3plus"])
def test_a_file_of_our_own_is_read_back(head):
    from deeplab.conversion.convert import convert
    from deeplab.conversion.export_graph import export_graph

    config = ModelConfig(
        depth_multiplier=0.25, head=head, aspp_channels=16, low_level_channels=8, decoder_channels=12, classes=5,
        aspp_rates=(2, 4), aspp_separable=head == "v3plus", decoder_separable=head == "v3plus",
    )  # fmt: skip
    size = 65 if head == "v3" else 64
    model = randomize(build_model(config, output_stride=8, image_size=size))
    content = convert(export_graph(model), (size, size))
    actual = read_network(content).config
    assert actual.aspp_rates == (2, 4)
    assert (actual.head, actual.classes, actual.aspp_separable) == (head, 5, head == "v3plus")
    image = random_image(size, size)
    expected = np.asarray(model(image))
    assert np.abs(np.asarray(load_tflite(content, 8, size)(image)) - expected).max() <= 1e-4 * expected.std()


@pytest.mark.parametrize("depth", QUANTIZED)
def test_more_than_99_percent_of_the_channels_keep_the_kernel_scale_of_an_official_file(official_models, depth):
    network = read_network(official_models / QUANTIZED[depth])
    kept = total = 0
    for name, convolution in network.convolutions.items():
        factor = network.input_scale[0] if name == "backbone_stem" else 1.0
        scales = _kernel_scales(network, name, per_tensor=False)
        kernel = convolution.kernel * factor
        kernel = kernel[..., 0] if name.endswith("_depthwise") else kernel
        stored = kernel / scales
        assert np.abs(stored).max() < 127.5
        unchanged = np.isclose(scales, convolution.scale * factor, rtol=1e-6)
        # A channel that keeps its scale keeps its integers, up to the zero point of the file.
        np.testing.assert_allclose(stored[..., unchanged], np.round(stored[..., unchanged]), atol=1e-3)
        kept, total = kept + unchanged.sum(), total + scales.size
    assert kept / total > 0.99


def test_kernel_scales_that_do_not_reach_the_largest_value_are_increased():
    kernel = np.zeros((1, 1, 2, 2), np.float32)
    kernel[0, 0, :, 0], kernel[0, 0, :, 1] = (1.27, -0.5), (1.28, 0.01)
    bias, scale = np.zeros(2, np.float32), np.array([0.01, 0.01])
    convolution = TfliteConvolution(kernel, bias, StrideRate(1, 1), 0, scale)
    network = SimpleNamespace(convolutions={"aspp0": convolution}, input_scale=np.ones(3))
    np.testing.assert_allclose(_kernel_scales(network, "aspp0", per_tensor=False), [0.01, 1.28 / 127], rtol=1e-5)


@pytest.mark.parametrize("epsilon", [1e-3, 1e-5])
def test_bias_only_batch_norm_only_adds_the_bias(epsilon):
    bias = np.random.default_rng(0).normal(0, 3, 64).astype("float32")
    layer = keras.layers.BatchNormalization(epsilon=epsilon)
    layer.build((None, 4, 4, 64))
    layer.set_weights(bias_only_batch_norm(bias, epsilon))
    x = np.random.default_rng(1).normal(0, 5, (2, 4, 4, 64)).astype("float32")
    np.testing.assert_allclose(np.asarray(layer(x, training=False)), x + bias, rtol=3e-7, atol=3e-6)


def test_input_normalization_is_folded_into_the_kernel():
    # The file normalizes a byte u to (u - 128) / 128, our model to u / 127.5 - 1. A 1x1 kernel has no border.
    rng = np.random.default_rng(0)
    kernel, bias = rng.normal(size=(1, 1, 3, 5)), rng.normal(size=5)
    u = np.arange(0, 255, 7, dtype=np.float64)[:, None] * np.ones(3)
    expected = (u - 128) / 128 @ kernel[0, 0] + bias
    scale, offset = np.full(3, 127.5 / 128), np.full(3, -0.5 / 128)
    folded_kernel, folded_bias = fold_input_normalization(kernel, bias, scale, offset)
    np.testing.assert_allclose((u / 127.5 - 1) @ folded_kernel[0, 0] + folded_bias, expected, atol=1e-6)


def test_scale_is_per_color_and_the_offset_applies_to_every_kernel_element():
    kernel, bias = np.ones((3, 3, 3, 1)), np.zeros(1)
    folded_kernel, folded_bias = fold_input_normalization(
        kernel, bias, np.array([1.0, 2.0, 3.0]), np.array([0.1, 0.0, -0.3])
    )
    np.testing.assert_allclose(folded_kernel[1, 2, :, 0], [1.0, 2.0, 3.0])
    np.testing.assert_allclose(folded_bias, [9 * (0.1 - 0.3)], rtol=1e-6)
