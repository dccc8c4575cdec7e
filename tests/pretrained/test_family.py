"""Weights of keras.applications and TensorFlow 1 names for MobileNetV3, ResNet and Xception."""

import re

import h5py
import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.pretrained import import_weights
from deeplab.pretrained.keras_applications import mobilenet_v3_layer, resnet_layer
from deeplab.pretrained.tf1_scopes import BACKBONES
from tests.networks import picture, randomize

SLOW = pytest.mark.slow
SIZE = 97


def ours(backbone: str, **fields) -> keras.Model:
    head = {"head": "v3", "aspp_rates": (), "aspp_channels": 8, "multi_grid": (1, 1, 1), "round_channels": True}
    return build_model(ModelConfig(backbone=backbone, **{**head, **fields}), output_stride=32)


def theirs(kind: str, **arguments) -> keras.Model:
    if "V3" in kind:
        arguments["include_preprocessing"] = False
    network = getattr(keras.applications, kind)
    model = network(input_shape=(SIZE, SIZE, 3), include_top=False, weights=None, **arguments)
    rng = np.random.default_rng(7)
    for layer in randomize(model, seed=5).layers:
        # Three residual convolutions in a row let a deep network's values grow out of float32's comfort.
        if isinstance(layer, keras.layers.BatchNormalization) and re.search("_3_bn|project_bn", layer.name):
            layer.gamma.assign(rng.uniform(0.1, 0.3, layer.gamma.shape))
    return model


def save(model: keras.Model, path, rename=str) -> None:
    """In the layout of the published files."""
    with h5py.File(path, "w") as file:
        layers = [layer for layer in model.layers if layer.weights]
        file.attrs["layer_names"] = [rename(layer.name).encode() for layer in layers]
        for layer in layers:
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group = file.create_group(rename(layer.name))
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value


def assert_same_features(model: keras.Model, source: keras.Model, preprocess) -> None:
    image = picture(SIZE, SIZE)
    features = keras.Model(model.input, model.get_layer("aspp0").input)
    found, expected = np.asarray(features(image)), np.asarray(source(preprocess(image.copy())))
    assert expected.std() > 0.05
    assert np.abs(found - expected).max() <= 1e-4 * expected.std()


@pytest.mark.parametrize(
    ("backbone", "kind", "alpha"),
    [
        ("mobilenet_v3_small", "MobileNetV3Small", 1.0),
        pytest.param("mobilenet_v3_small", "MobileNetV3Small", 0.75, marks=SLOW),
        pytest.param("mobilenet_v3_large", "MobileNetV3Large", 0.75, marks=SLOW),
        pytest.param("mobilenet_v3_large", "MobileNetV3Large", 1.0, marks=SLOW),
    ],
)
def test_mobilenet_v3_gives_the_features_of_keras_applications(backbone, kind, alpha, tmp_path):
    source, model = theirs(kind, alpha=alpha), ours(backbone, depth_multiplier=alpha)
    save(source, tmp_path / "published.h5")
    report = import_weights(model, tmp_path / "published.h5")
    assert report.unused == ()
    assert not [name for name in report.missing if name.startswith("backbone")]
    assert_same_features(model, source, lambda image: image / 127.5 - 1)


@pytest.mark.slow
@pytest.mark.parametrize(("backbone", "kind"), [("resnet50", "ResNet50"), ("resnet101", "ResNet101")])
def test_resnet_gives_the_features_of_keras_applications(backbone, kind, tmp_path):
    """Their own preprocessing of RGB 0..255: the mean taken off, blue first."""
    source, model = theirs(kind), ours(backbone)
    save(source, tmp_path / "published.h5")
    report = import_weights(model, tmp_path / "published.h5")
    assert report.unused == ()
    assert "biases" in report.notes[0]
    assert_same_features(model, source, keras.applications.resnet.preprocess_input)


@pytest.mark.slow
def test_imagenet_is_asked_for_by_the_backbone(monkeypatch):
    asked = {}

    def published(**arguments):
        asked.update(arguments)
        return keras.applications.resnet.ResNet50(include_top=False, weights=None)

    monkeypatch.setattr(keras.applications, "ResNet50", published)
    report = import_weights(ours("resnet50"), "imagenet")
    assert asked == {"include_top": False, "weights": "imagenet"}
    assert report.source == "keras.applications ResNet50 (imagenet)"


def test_the_reduced_tail_says_that_these_weights_do_not_fit(tmp_path):
    save(theirs("MobileNetV3Small", alpha=0.75), tmp_path / "published.h5")
    model = ours("mobilenet_v3_small", depth_multiplier=0.75, reduced_tail=True)
    with pytest.raises(UserError, match=r"backbone_block8_expand|backbone_block8_depthwise"):
        import_weights(model, tmp_path / "published.h5")


def test_there_is_no_imagenet_for_xception():
    with pytest.raises(UserError, match=r"imagenet.*xception41"):
        import_weights(ours("xception41", depth_multiplier=0.125), "imagenet")


@pytest.mark.parametrize(
    ("layer_of", "name", "expected"),
    [
        (mobilenet_v3_layer, "conv_bn", "backbone_stem_bn"),
        (mobilenet_v3_layer, "expanded_conv_squeeze_excite_conv_1", "backbone_block0_excite"),
        (mobilenet_v3_layer, "expanded_conv_10_squeeze_excite_conv", "backbone_block10_squeeze"),
        (mobilenet_v3_layer, "expanded_conv_1/project/BatchNorm", "backbone_block1_project_bn"),
        (mobilenet_v3_layer, "conv_1_bn", "backbone_last_bn"),
        (mobilenet_v3_layer, "conv_2", None),
        (resnet_layer, "conv2_block1_0_conv", "backbone_stage0_unit0_shortcut"),
        (resnet_layer, "conv5_block3_3_bn", "backbone_stage3_unit2_conv2_bn"),
        (resnet_layer, "predictions", None),
    ],
)
def test_names_of_keras_applications(layer_of, name, expected):
    assert layer_of(name) == expected


@pytest.mark.parametrize(
    ("backbone", "name", "expected"),
    [
        ("resnet_v1_101", "backbone_stem2", "conv1_3"),
        ("resnet_v1_101", "backbone_stage2_unit22_conv1", "block3/unit_23/bottleneck_v1/conv2"),
        ("resnet_v1_50", "backbone_stage0_unit0_shortcut", "block1/unit_1/bottleneck_v1/shortcut"),
        ("resnet_v1_50", "backbone_stem", None),
        ("xception_65", "backbone_stem1", "entry_flow/conv1_2"),
        (
            "xception_65",
            "backbone_block1_conv1_pointwise",
            "entry_flow/block2/unit_1/xception_module/separable_conv2_pointwise",
        ),
        ("xception_65", "backbone_block2_shortcut", "entry_flow/block3/unit_1/xception_module/shortcut"),
        (
            "xception_65",
            "backbone_block18_conv0_depthwise",
            "middle_flow/block1/unit_16/xception_module/separable_conv1_depthwise",
        ),
        (
            "xception_65",
            "backbone_block20_conv2_pointwise",
            "exit_flow/block2/unit_1/xception_module/separable_conv3_pointwise",
        ),
        (
            "xception_71",
            "backbone_block4_conv2_depthwise",
            "entry_flow/block5/unit_1/xception_module/separable_conv3_depthwise",
        ),
        ("xception_41", "backbone_block11_shortcut", "exit_flow/block1/unit_1/xception_module/shortcut"),
    ],
)
def test_scopes_of_tensorflow_1(backbone, name, expected):
    assert BACKBONES[f"{backbone}/"](name) == (expected and f"{backbone}/{expected}")


@pytest.mark.parametrize(
    ("backbone", "scope"),
    [("resnet50_beta", "resnet_v1_50/"), pytest.param("xception71", "xception_71/", marks=SLOW)],
)
def test_every_layer_of_the_backbone_has_a_scope_of_its_own(backbone, scope):
    model = ours(backbone, depth_multiplier=0.125)
    names = {layer.name.removesuffix("_bn") for layer in model.layers if layer.weights}
    scopes = [BACKBONES[scope](name) for name in names if name.startswith("backbone_")]
    assert None not in scopes
    assert len(set(scopes)) == len(scopes)
