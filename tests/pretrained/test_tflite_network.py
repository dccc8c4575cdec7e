"""The official .tflite files, and our own, run inside our network."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from deeplab.config import ModelConfig
from deeplab.datasets.voc import voc_source
from deeplab.errors import UserError
from deeplab.model.atrous import StrideRate
from deeplab.model.build import build_model
from deeplab.prediction.image_fit import fit_image
from deeplab.pretrained import import_weights, load_tflite, model_config_of, read_network
from deeplab.pretrained.tflite_layers import Convolution
from deeplab.pretrained.tflite_network import _input_map, _kept_steps, describe_tflite
from deeplab.tflite.flatbuffer import QuantizationParameters, Tensor
from deeplab.tflite.interpreter import TfliteModel
from deeplab.tflite.metadata import Metadata
from tests.networks import picture, randomize

STARTER = "starter_deeplabv3_257_float.tflite"
QUANTIZED = {1.0: "deeplabv3_mnv2_pascal_quant.tflite", 0.5: "deeplabv3_mnv2_dm05_pascal_quant.tflite"}


@pytest.fixture(scope="module")
def starter(official_models):
    return load_tflite(official_models / STARTER, output_stride=8, image_size=257)


@pytest.fixture(scope="module")
def narrow():
    """A model that none of the files fits."""
    return build_model(ModelConfig(depth_multiplier=0.25, head="v3", aspp_rates=()), image_size=33)


def test_the_starter_gives_its_own_logits_and_the_golden_mask(official_models, starter):
    file = TfliteModel(official_models / STARTER)
    image = np.array(Image.open(official_models / "segmentation_input_rotation0.jpg").convert("RGB"))
    ours = np.asarray(starter(image[None].astype("float32")))[0]
    assert np.abs(ours - file(image)).max() <= 1e-3
    golden = np.array(Image.open(official_models / "segmentation_golden_rotation0.png")) // 10
    assert (ours.argmax(-1) == golden).mean() >= 0.99


def test_the_starter_gives_its_own_logits_on_real_pictures(official_models, voc_root, starter):
    file = TfliteModel(official_models / STARTER)
    for example in voc_source(voc_root, "val").examples(4):
        image = fit_image(example.image, (257, 257), "stretch").image
        ours = np.asarray(starter(image[None].astype("float32")))[0]
        assert np.abs(ours - file(image)).max() <= 1e-3


@pytest.mark.slow
@pytest.mark.parametrize("depth", QUANTIZED)
def test_the_quantized_files_label_as_our_float_model_does(official_models, voc_root, depth):
    path = official_models / QUANTIZED[depth]
    file, model = TfliteModel(path), load_tflite(path, output_stride=16, image_size=513)
    agreeing = []
    for example in voc_source(voc_root, "val").examples(8):
        fitted = fit_image(example.image, (513, 513), "pad", padding_value=128)
        ours = np.asarray(model(fitted.image[None].astype("float32")))[0].argmax(-1)
        height, width = fitted.size
        agreeing.append((ours == file(fitted.image))[:height, :width].mean())
    assert np.mean(agreeing) >= 0.97


@pytest.mark.parametrize(("name", "depth"), [(STARTER, 0.5), (QUANTIZED[0.5], 0.5), (QUANTIZED[1.0], 1.0)])
def test_a_file_tells_its_configuration(official_models, name, depth):
    config = model_config_of(official_models / name)
    assert config == ModelConfig(depth_multiplier=depth, head="v3", aspp_rates=(), classes=21)


def test_a_file_tells_its_size_stride_and_normalization(official_models):
    starter, quantized = (read_network(official_models / name) for name in (STARTER, QUANTIZED[0.5]))
    assert (starter.image_size, starter.output_stride) == ((257, 257), 8)
    assert (quantized.image_size, quantized.output_stride) == ((513, 513), 16)
    np.testing.assert_allclose([starter.input_scale, starter.input_offset], [[1, 1, 1], [0, 0, 0]])
    # (u - 128) / 128 of u = 127.5 * (x + 1).
    np.testing.assert_allclose(quantized.input_scale, [127.5 / 128] * 3)
    np.testing.assert_allclose(quantized.input_offset, [-0.5 / 128] * 3)


def test_class_names_come_from_the_file_or_are_those_of_pascal(official_models):
    labels = (official_models / "labelmap.txt").read_text().split("\n")[:21]
    assert list(describe_tflite(official_models / STARTER)[1]) == labels
    assert list(describe_tflite(official_models / QUANTIZED[1.0])[1]) == labels


def test_the_first_convolution_takes_the_file_s_own_normalization(official_models):
    """The stem's output, against the file's kernel applied to (u - 128) / 128 by hand in the middle of a picture."""
    network = read_network(official_models / QUANTIZED[0.5])
    model = build_model(network.config, output_stride=16, image_size=33)
    report = import_weights(model, official_models / QUANTIZED[0.5])
    assert report.folded
    assert "went into the first convolution" in str(report)
    u = np.random.default_rng(0).integers(0, 256, (1, 33, 33, 3)).astype("float32")
    stem = network.convolutions["backbone_stem"]
    # Output pixel (5, 6) at stride 2 with symmetric padding of 1 sees rows 9..11 and columns 11..13.
    patch = (u[0, 9:12, 11:14] - 128) / 128
    wanted = np.tensordot(patch, stem.kernel, axes=3) + stem.bias
    x = model.get_layer("backbone_stem")(u * 2 / 255 - 1)
    found = np.asarray(model.get_layer("backbone_stem_bn")(x))[0, 5, 6]
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_other_classes_keep_everything_but_the_logits(official_models):
    model = build_model(ModelConfig(depth_multiplier=0.5, head="v3", aspp_rates=(), classes=3), output_stride=32)
    report = import_weights(model, official_models / STARTER)
    assert report.reinitialized == ("logits/kernel", "logits/bias")
    assert report.missing == ()
    assert len(report.loaded) == 54 * 5


def test_a_model_of_another_width_is_refused(official_models, narrow):
    with pytest.raises(UserError, match=r"starter.*backbone random, first backbone_stem: .*8.* here, .*16.* there"):
        import_weights(narrow, official_models / STARTER)


@pytest.mark.parametrize("kept", [100, 100_000, 760_000])
def test_a_cut_file_is_refused(official_models, tmp_path, kept):
    path = tmp_path / "cut.tflite"
    path.write_bytes((official_models / QUANTIZED[0.5]).read_bytes()[:kept])
    with pytest.raises(UserError, match=r"cut\.tflite: damaged or cut short"):
        load_tflite(path)


@pytest.mark.parametrize(
    ("name", "content"), [("notes.tflite", b"not a model at all"), ("x.ckpt", b"12345678"), ("none.h5", None)]
)
def test_what_is_no_model_is_refused(name, content, tmp_path, narrow):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name):
        import_weights(narrow, tmp_path / name)


def _input(dtype: str, quantization: QuantizationParameters | None) -> Tensor:
    return Tensor(0, "x", (1, 33, 33, 3), (1, 33, 33, 3), dtype, quantization, None)


@pytest.mark.parametrize(
    ("tensor", "metadata", "scale", "offset"),
    [
        # The network sees (u - 127) * 2 / 255.
        (_input("uint8", QuantizationParameters((2 / 255,), (127,))), None, 1, 0.5 * 2 / 255),
        (_input("int8", QuantizationParameters((2 / 255,), (-1,))), None, 1, 0.5 * 2 / 255),
        # (u - 127.5) / 127.5 by metadata, or by custom.
        (_input("float32", None), Metadata(mean=(127.5,), std=(127.5,)), 1, 0),
        (_input("float32", None), None, 1, 0),
        # u / 255, and means for each color.
        (_input("float32", None), Metadata(mean=(0.0,), std=(255.0,)), 0.5, 0.5),
        (
            _input("float32", None), Metadata(mean=(27.5, 127.5, 0.0), std=(100.0, 255.0, 127.5)),
            [1.275, 0.5, 1], [1, 0, 1],
        ),
    ],
)  # fmt: skip
def test_what_the_network_sees_of_our_pixels(tensor, metadata, scale, offset):
    found = _input_map(tensor, metadata)
    np.testing.assert_allclose(found, [np.broadcast_to(scale, 3), np.broadcast_to(offset, 3)], atol=1e-7)


@pytest.mark.slow
@pytest.mark.parametrize("head", ["v3", "v3plus"])
def test_our_own_file_comes_back(head):
    from deeplab.conversion.convert import convert
    from deeplab.conversion.export_graph import export_graph

    config = ModelConfig(
        depth_multiplier=0.25, head=head, aspp_channels=16, low_level_channels=8, decoder_channels=12, classes=5,
        aspp_rates=(2, 4), aspp_separable=head == "v3plus", decoder_separable=head == "v3plus",
    )  # fmt: skip
    size = 65 if head == "v3" else 64
    model = randomize(build_model(config, output_stride=8, image_size=size))
    content = convert(export_graph(model), (size, size))
    found = model_config_of(content)
    assert found.aspp_rates == (2, 4)
    assert (found.head, found.classes, found.aspp_separable) == (head, 5, head == "v3plus")
    image = picture(size, size)
    wanted = np.asarray(model(image))
    assert np.abs(np.asarray(load_tflite(content, 8, size)(image)) - wanted).max() <= 1e-4 * wanted.std()


@pytest.mark.parametrize("depth", QUANTIZED)
def test_nearly_all_channels_keep_the_steps_of_an_official_file(official_models, depth):
    network = read_network(official_models / QUANTIZED[depth])
    kept = total = 0
    for name, convolution in network.convolutions.items():
        factor = network.input_scale[0] if name == "backbone_stem" else 1.0
        steps = _kept_steps(network, name)
        kernel = convolution.kernel * factor
        kernel = kernel[..., 0] if name.endswith("_depthwise") else kernel
        numbers = kernel / steps
        assert np.abs(numbers).max() < 127.5
        exact = np.isclose(steps, convolution.scale * factor, rtol=1e-6)
        # What keeps its step keeps its integer, whatever zero point it had.
        np.testing.assert_allclose(numbers[..., exact], np.round(numbers[..., exact]), atol=1e-3)
        kept, total = kept + exact.sum(), total + steps.size
    assert kept / total > 0.99


def test_steps_that_would_not_reach_the_largest_value_are_widened():
    kernel = np.zeros((1, 1, 2, 2), np.float32)
    kernel[0, 0, :, 0], kernel[0, 0, :, 1] = (1.27, -0.5), (1.28, 0.01)
    convolution = Convolution(kernel, np.zeros(2, np.float32), StrideRate(1, 1), 0, np.array([0.01, 0.01]))
    network = SimpleNamespace(convolutions={"aspp0": convolution}, input_scale=np.ones(3))
    np.testing.assert_allclose(_kept_steps(network, "aspp0"), [0.01, 1.28 / 127], rtol=1e-5)
