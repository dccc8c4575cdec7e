"""A backbone with the weights of keras.applications has the features of keras.applications."""

import functools
import re
from pathlib import Path

import h5py
import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.build import DeepLab, build_model
from deeplab.pretrained import import_weights
from deeplab.pretrained.keras_applications import mobilenet_v2_layer, mobilenet_v3_layer, resnet_layer, vgg16_layer
from tests.networks import random_image, randomize

SLOW = pytest.mark.slow
SIZES = {"MobileNetV2": 65}


def build(backbone: str = "mobilenet_v2", **fields) -> DeepLab:
    head = {"head": "v3", "aspp_rates": (), "aspp_channels": 8, "multi_grid": (1, 1, 1), "round_channels": True}
    return build_model(ModelConfig(backbone=backbone, **{**head, **fields}), output_stride=32)


@functools.cache
def published(network: str, alpha: float | None = None) -> keras.Model:
    """A network of keras.applications with random weights."""
    arguments = {} if alpha is None else {"alpha": alpha}
    if "V3" in network:
        arguments["include_preprocessing"] = False
    size = SIZES.get(network, 97)
    constructor = getattr(keras.applications, network)
    model = randomize(constructor(input_shape=(size, size, 3), include_top=False, weights=None, **arguments), seed=5)
    rng = np.random.default_rng(7)
    for layer in model.layers:
        # Residual sums would let the values of a deep network grow beyond the precision of float32.
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        if network != "MobileNetV2" and is_norm and re.search("_3_bn|project_bn", layer.name):
            layer.gamma.assign(rng.uniform(0.1, 0.3, layer.gamma.shape))
    return model


def save_as_published(model: keras.Model, path: Path) -> None:
    """Write the layout of the published files: a group per layer, the order of its arrays in an attribute."""
    with h5py.File(path, "w") as file:
        layers = [layer for layer in model.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value


def assert_same_features(features: keras.KerasTensor, model: keras.Model, source: keras.Model, preprocess) -> None:
    """Compare `features` of `model` with the output of `source` on one image."""
    image = random_image(*source.input_shape[1:3])
    actual = np.asarray(keras.Model(model.input, features)(image))
    expected = np.asarray(source(preprocess(image.copy())))
    assert expected.std() > 0.05
    assert np.abs(actual - expected).max() <= 1e-4 * expected.std()


@pytest.mark.parametrize("alpha", [0.35, 1.0, *(pytest.param(alpha, marks=SLOW) for alpha in (0.5, 0.75, 1.3, 1.4))])
def test_mobilenet_v2_has_the_features_of_keras_applications(alpha, tmp_path):
    network, model = published("MobileNetV2", alpha), build(depth_multiplier=alpha)
    save_as_published(network, tmp_path / "published.h5")
    report = import_weights(model, tmp_path / "published.h5")
    assert len(report.loaded) == 51 * 5
    # The first convolution of the classifier and its batch norm.
    assert report.unused == ("Conv_1", "Conv_1_bn")
    source = keras.Model(network.input, network.get_layer("block_16_project_BN").output)
    features = model.get_layer("backbone_block16_project_bn").output
    assert_same_features(features, model, source, lambda image: image / 127.5 - 1)


@pytest.mark.parametrize(
    ("backbone", "network", "alpha"),
    [
        ("mobilenet_v3_small", "MobileNetV3Small", 1.0),
        pytest.param("mobilenet_v3_small", "MobileNetV3Small", 0.75, marks=SLOW),
        pytest.param("mobilenet_v3_large", "MobileNetV3Large", 0.75, marks=SLOW),
        pytest.param("mobilenet_v3_large", "MobileNetV3Large", 1.0, marks=SLOW),
    ],
)
def test_mobilenet_v3_has_the_features_of_keras_applications(backbone, network, alpha, tmp_path):
    source, model = published(network, alpha), build(backbone, depth_multiplier=alpha)
    save_as_published(source, tmp_path / "published.h5")
    report = import_weights(model, tmp_path / "published.h5")
    assert report.unused == ()
    assert not [name for name in report.missing if name.startswith("backbone")]
    assert_same_features(model.get_layer("aspp0").input, model, source, lambda image: image / 127.5 - 1)


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "network"), [("resnet50", "ResNet50"), ("resnet101", "ResNet101")])
def test_resnet_has_the_features_of_keras_applications(backbone, network, tmp_path):
    """`preprocess_input` subtracts the mean from RGB 0..255 and puts blue first."""
    source, model = published(network), build(backbone)
    save_as_published(source, tmp_path / "published.h5")
    report = import_weights(model, tmp_path / "published.h5")
    assert report.unused == ()
    assert "biases" in report.notes[0]
    preprocess = keras.applications.resnet.preprocess_input
    assert_same_features(model.get_layer("aspp0").input, model, source, preprocess)


def narrow_vgg16(channels: int, hidden: int) -> keras.Model:
    """VGG16 with the layers and names of keras.applications, `channels` in the first convolution, and 3x3 pooling."""
    x = image = keras.Input((225, 225, 3))
    for stage, count in enumerate((2, 2, 3, 3, 3), start=1):
        filters = channels * min(2 ** (stage - 1), 8)
        for number in range(1, count + 1):
            name = f"block{stage}_conv{number}"
            x = keras.layers.Conv2D(filters, 3, padding="same", activation="relu", name=name)(x)
        x = keras.layers.MaxPooling2D(3, 2, "same", name=f"block{stage}_pool")(x)
    # fc1 sees 7x7 of the 8x8 features.
    x = keras.layers.Flatten(name="flatten")(keras.layers.Cropping2D(((0, 1), (0, 1)))(x))
    x = keras.layers.Dense(hidden, "relu", name="fc1")(x)
    x = keras.layers.Dense(hidden, "relu", name="fc2")(x)
    return randomize(keras.Model(image, keras.layers.Dense(10, name="predictions")(x)), seed=5)


@pytest.mark.slow
def test_the_narrow_vgg16_has_the_layers_of_keras_applications():
    original = keras.applications.VGG16(weights=None)
    shapes = {x.name: [w.shape for w in x.weights] for x in original.layers if x.weights}
    actual = {x.name: [w.shape for w in x.weights] for x in narrow_vgg16(64, 4096).layers if x.weights}
    assert {**actual, "predictions": None} == {**shapes, "predictions": None}


def test_vgg16_has_the_features_of_keras_applications_with_its_preprocessing(tmp_path):
    source, model = narrow_vgg16(8, 16), build("vgg16", depth_multiplier=0.125)
    save_as_published(source, tmp_path / "published.h5")
    report = import_weights(model, tmp_path / "published.h5")
    assert len([name for name in report.loaded if name.startswith("backbone")]) == 13 * 2
    assert set(report.unused) == {"fc6", "fc7", "predictions"}
    features = keras.Model(source.input, source.get_layer("block5_pool").output)
    assert_same_features(model.features.high, model, features, keras.applications.vgg16.preprocess_input)


@pytest.mark.parametrize(("head", "rates", "suffixes"), [("v1", (6,), ("",)), ("v2", (4, 6), ("_1", "_2"))])
def test_fc6_and_fc7_of_vgg16_keep_every_third_pixel_and_every_fourth_channel(head, rates, suffixes, tmp_path):
    source = narrow_vgg16(8, 16)
    model = build("vgg16", depth_multiplier=0.125, head=head, aspp_rates=rates, aspp_channels=4)
    save_as_published(source, tmp_path / "published.h5")
    report = import_weights(model, tmp_path / "published.h5")
    assert report.unused == ("predictions",)
    assert not [name for name in report.missing if not name.startswith("logits")]
    (fc1, bias1), (fc2, bias2) = (source.get_layer(name).get_weights() for name in ("fc1", "fc2"))
    for suffix in suffixes:
        kernel, bias = model.get_layer(f"fc6{suffix}").get_weights()
        assert kernel.shape == (3, 3, 64, 4)
        # Row 2, column 1 of 3x3 is row 6, column 3 of 7x7; a pixel has 64 inputs. Channel 3 of 4 is 12 of 16.
        np.testing.assert_array_equal(kernel[2, 1, :, 3], fc1[(6 * 7 + 3) * 64 :][:64, 12])
        np.testing.assert_array_equal(bias, bias1[[0, 4, 8, 12]])
        kernel, bias = model.get_layer(f"fc7{suffix}").get_weights()
        assert kernel[0, 0, 1, 2] == fc2[4, 8]
        np.testing.assert_array_equal(bias, bias2[[0, 4, 8, 12]])


@pytest.mark.parametrize(("head", "rates", "top"), [("v1", (6,), True), ("v3", (), False)])
def test_the_classifier_of_vgg16_is_downloaded_only_for_fc6_and_fc7(head, rates, top, monkeypatch):
    requested = {}

    def constructor(**arguments):
        requested.update(arguments)
        return narrow_vgg16(64, 16)

    monkeypatch.setattr(keras.applications, "VGG16", constructor)
    import_weights(build("vgg16", head=head, aspp_rates=rates, aspp_channels=4), "imagenet")
    assert requested == {"include_top": top, "weights": "imagenet"}


@pytest.mark.parametrize("name", ["whole.h5", "whole.weights.h5"])
def test_files_written_by_keras_3_are_read(name, tmp_path):
    source, model = published("MobileNetV2", 0.35), build(depth_multiplier=0.35)
    if name == "whole.h5":
        source.save(tmp_path / name)
    else:
        source.save_weights(tmp_path / name)
    report = import_weights(model, tmp_path / name)
    assert len(report.loaded) == 51 * 5
    np.testing.assert_array_equal(
        model.get_layer("backbone_block16_project_bn").get_weights()[2],
        source.get_layer("block_16_project_BN").get_weights()[2],
    )


@pytest.mark.parametrize(
    ("layer_name", "name", "expected"),
    [
        (mobilenet_v2_layer, "Conv1", "backbone_stem"),
        (mobilenet_v2_layer, "bn_Conv1", "backbone_stem_bn"),
        (mobilenet_v2_layer, "expanded_conv_depthwise", "backbone_block0_depthwise"),
        (mobilenet_v2_layer, "expanded_conv_project_BN", "backbone_block0_project_bn"),
        (mobilenet_v2_layer, "block_16_expand_BN", "backbone_block16_expand_bn"),
        (mobilenet_v2_layer, "Conv_1", None),
        (mobilenet_v2_layer, "predictions", None),
        (mobilenet_v3_layer, "conv_bn", "backbone_stem_bn"),
        (mobilenet_v3_layer, "expanded_conv_squeeze_excite_conv_1", "backbone_block0_excite"),
        (mobilenet_v3_layer, "expanded_conv_10_squeeze_excite_conv", "backbone_block10_squeeze"),
        (mobilenet_v3_layer, "expanded_conv_1/project/BatchNorm", "backbone_block1_project_bn"),
        (mobilenet_v3_layer, "Conv/BatchNorm", "backbone_stem_bn"),
        (mobilenet_v3_layer, "conv_1_bn", "backbone_last_bn"),
        (mobilenet_v3_layer, "conv_2", None),
        (resnet_layer, "conv1_conv", "backbone_stem"),
        (resnet_layer, "conv2_block1_0_conv", "backbone_stage0_unit0_shortcut"),
        (resnet_layer, "conv5_block3_3_bn", "backbone_stage3_unit2_conv2_bn"),
        (resnet_layer, "predictions", None),
        (vgg16_layer, "block1_conv1", "backbone_conv1_1"),
        (vgg16_layer, "block5_conv3", "backbone_conv5_3"),
        (vgg16_layer, "fc1", "fc6"),
        (vgg16_layer, "predictions", None),
    ],
)
def test_layer_names(layer_name, name, expected):
    assert layer_name(name) == expected


def test_imagenet_weights_are_requested_for_the_depth_multiplier(monkeypatch):
    source, requested = published("MobileNetV2", 0.35), {}

    def constructor(**arguments):
        requested.update(arguments)
        return source

    monkeypatch.setattr(keras.applications, "MobileNetV2", constructor)
    report = import_weights(build(depth_multiplier=0.35), "imagenet")
    assert requested == {"alpha": 0.35, "include_top": False, "weights": "imagenet"}
    assert report.source == "keras.applications MobileNetV2 0.35 (imagenet)"
    assert len(report.loaded) == 51 * 5


@pytest.mark.slow
def test_imagenet_weights_are_requested_for_the_backbone(monkeypatch):
    requested = {}

    def constructor(**arguments):
        requested.update(arguments)
        return keras.applications.resnet.ResNet50(include_top=False, weights=None)

    monkeypatch.setattr(keras.applications, "ResNet50", constructor)
    report = import_weights(build("resnet50"), "imagenet")
    assert requested == {"include_top": False, "weights": "imagenet"}
    assert report.source == "keras.applications ResNet50 (imagenet)"


def test_a_failed_download_is_reported_in_one_line(monkeypatch):
    def fail(**_):
        raise Exception("URL fetch failure on https://example.org/weights.h5: None -- unreachable\nsecond line")

    monkeypatch.setattr(keras.applications, "MobileNetV2", fail)
    with pytest.raises(UserError, match=r"imagenet.*cannot be downloaded: URL fetch failure.*give its path") as caught:
        import_weights(build(depth_multiplier=0.35), "imagenet")
    assert "second line" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        (
            {"depth_multiplier": 0.25},
            "published for depth_multiplier=0.25 with round_channels=true; .* 0.35, 0.5, 0.75",
        ),
        ({"depth_multiplier": 0.5, "round_channels": False}, "depth_multiplier=0.5 with round_channels=false"),
        ({"backbone": "xception41", "depth_multiplier": 0.125}, "no weights are published for backbone xception41"),
        ({"backbone": "resnet50_beta", "depth_multiplier": 0.125}, "published for backbone resnet50_beta"),
    ],
)
def test_a_model_without_published_imagenet_weights_is_refused(fields, problem):
    with pytest.raises(UserError, match=f"imagenet: .*{problem}"):
        import_weights(build(**fields), "imagenet")


def test_weights_of_rounded_channels_do_not_match_unrounded_ones(tmp_path):
    save_as_published(published("MobileNetV2", 0.5), tmp_path / "published.h5")
    with pytest.raises(UserError, match="round_channels"):
        import_weights(build(depth_multiplier=0.5, round_channels=False), tmp_path / "published.h5")


def test_weights_of_the_full_network_do_not_match_the_reduced_tail(tmp_path):
    save_as_published(published("MobileNetV3Small", 0.75), tmp_path / "published.h5")
    model = build("mobilenet_v3_small", depth_multiplier=0.75, reduced_tail=True)
    with pytest.raises(UserError, match=r"backbone_block8_expand|backbone_block8_depthwise"):
        import_weights(model, tmp_path / "published.h5")


@pytest.mark.parametrize("content", [b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(5000)])
def test_a_damaged_file_is_refused(content, tmp_path):
    (tmp_path / "truncated.h5").write_bytes(content)
    with pytest.raises(UserError, match=r"truncated\.h5: is damaged or truncated"):
        import_weights(build(depth_multiplier=0.35), tmp_path / "truncated.h5")
