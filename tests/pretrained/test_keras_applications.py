"""Weights of keras.applications give its output in our graph."""

import functools

import h5py
import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.pretrained import import_weights
from deeplab.pretrained.keras_applications import mobilenet_v2_layer
from tests.networks import picture, randomize


@functools.cache
def ours(multiplier: float, rounded: bool = True) -> keras.Model:
    return build_model(
        ModelConfig(depth_multiplier=multiplier, round_channels=rounded, head="v3", aspp_rates=(), aspp_channels=16),
        output_stride=32,
    )


@functools.cache
def theirs(multiplier: float, size: int = 65) -> keras.Model:
    model = keras.applications.MobileNetV2((size, size, 3), alpha=multiplier, include_top=False, weights=None)
    return randomize(model, seed=5)


def save_as_published(model: keras.Model, path) -> None:
    """The layout of the published files: a group for each layer, the order of arrays in attributes."""
    with h5py.File(path, "w") as file:
        layers = [layer for layer in model.layers if layer.weights]
        file.attrs["layer_names"] = [layer.name.encode() for layer in layers]
        for layer in layers:
            names = [f"{layer.name}/{weight.name}:0" for weight in layer.weights]
            group = file.create_group(layer.name)
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, value in zip(names, layer.get_weights(), strict=True):
                group[name] = value


@pytest.mark.parametrize(
    "multiplier", [0.35, 1.0, *(pytest.param(m, marks=pytest.mark.slow) for m in (0.5, 0.75, 1.3, 1.4))]
)
def test_the_same_weights_give_the_same_features(multiplier, tmp_path):
    source, model = theirs(multiplier), ours(multiplier)
    save_as_published(source, tmp_path / "published.h5")
    report = import_weights(model, tmp_path / "published.h5")
    assert len(report.loaded) == 51 * 5
    # Their classifier's convolution with its norm comes behind the features.
    assert report.unused == ("Conv_1", "Conv_1_bn")
    image = picture(65, 65)
    features = keras.Model(model.input, model.get_layer("backbone_block16_project_bn").output)
    wanted = keras.Model(source.input, source.get_layer("block_16_project_BN").output)
    found, expected = np.asarray(features(image)), np.asarray(wanted(image / 127.5 - 1))
    assert expected.std() > 0.05
    assert np.abs(found - expected).max() <= 1e-4 * expected.std()


@pytest.mark.parametrize("name", ["whole.h5", "whole.weights.h5"])
def test_files_that_keras_3_writes_are_read_too(name, tmp_path):
    source, model = theirs(0.35), ours(0.35)
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
    ("name", "expected"),
    [
        ("Conv1", "backbone_stem"),
        ("bn_Conv1", "backbone_stem_bn"),
        ("expanded_conv_depthwise", "backbone_block0_depthwise"),
        ("expanded_conv_project_BN", "backbone_block0_project_bn"),
        ("block_16_expand_BN", "backbone_block16_expand_bn"),
        ("Conv_1", None),
        ("predictions", None),
    ],
)
def test_names(name, expected):
    assert mobilenet_v2_layer(name) == expected


def test_imagenet_is_asked_for_by_the_width_of_the_model(monkeypatch):
    source, asked = theirs(0.35), {}

    def published(**arguments):
        asked.update(arguments)
        return source

    monkeypatch.setattr(keras.applications, "MobileNetV2", published)
    report = import_weights(ours(0.35), "imagenet")
    assert asked == {"alpha": 0.35, "include_top": False, "weights": "imagenet"}
    assert report.source == "keras.applications MobileNetV2 0.35 (imagenet)"
    assert len(report.loaded) == 51 * 5


def test_no_network_is_one_clear_line(monkeypatch):
    def fails(**_):
        raise Exception("URL fetch failure on https://example.org/weights.h5: None -- unreachable")

    monkeypatch.setattr(keras.applications, "MobileNetV2", fails)
    with pytest.raises(UserError, match=r"imagenet.*cannot be downloaded: URL fetch failure.*give its path"):
        import_weights(ours(0.35), "imagenet")


def test_a_width_that_is_not_published_is_refused():
    with pytest.raises(UserError, match="no weights are published for 80 channels of features"):
        import_weights(ours(0.25), "imagenet")


def test_unrounded_channels_do_not_fit(tmp_path):
    save_as_published(theirs(0.5), tmp_path / "published.h5")
    with pytest.raises(UserError, match="round_channels"):
        import_weights(ours(0.5, rounded=False), tmp_path / "published.h5")


@pytest.mark.parametrize("content", [b"\x89HDF\r\n\x1a\n", b"\x89HDF\r\n\x1a\n" + bytes(5000)])
def test_a_damaged_file_is_refused(content, tmp_path):
    (tmp_path / "cut.h5").write_bytes(content)
    with pytest.raises(UserError, match=r"cut\.h5: damaged"):
        import_weights(ours(0.35), tmp_path / "cut.h5")
