import re
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest

import deeplab.model
from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.backbones import BACKBONES
from deeplab.model.build import build_model
from tests.model.short_backbones import SHORT
from tests.networks import random_image, randomize

SMALL = ModelConfig(depth_multiplier=0.25, aspp_channels=16, decoder_channels=16, classes=5)


def folded_parameters(model: keras.Model) -> int:
    """Count the parameters of the convolutions after each batch norm is folded into one bias per channel."""
    kernels = sum(
        int(np.prod(layer.kernel.shape)) + (layer.bias is not None) * layer.kernel.shape[-1]
        for layer in model.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D))
    )
    return kernels + sum(
        layer.gamma.shape[0] for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)
    )


# Expected: the number of values in the official .tflite files, in which batch norm is folded.
@pytest.mark.parametrize(("multiplier", "parameters"), [(0.5, 688_357), (1.0, 2_097_013)])
def test_the_mobile_head_has_as_many_parameters_as_the_official_files(multiplier, parameters):
    model = build_model(ModelConfig(depth_multiplier=multiplier, head="v3", aspp_rates=()))
    assert folded_parameters(model) == parameters


@pytest.mark.parametrize("head", ["v3", "v3plus"])
@pytest.mark.parametrize("size", [(65, 65), (64, 64), (50, 75)])
def test_logits_have_the_size_of_the_image(head, size):
    model = build_model(ModelConfig(**{**vars(SMALL), "head": head}))
    assert model(random_image(*size)).shape == (1, *size, 5)


def test_a_model_of_fixed_size_gives_the_same_logits_as_one_of_free_size():
    free, fixed = randomize(build_model(SMALL)), build_model(SMALL, image_size=(50, 75))
    fixed.set_weights(free.get_weights())
    image = random_image(50, 75)
    np.testing.assert_allclose(np.asarray(fixed(image)), np.asarray(free(image)), atol=1e-5)


@pytest.mark.parametrize(("backbone", "mean"), [("mobilenet_v2", 127.5), ("vgg16", (123.68, 116.779, 103.939))])
def test_an_image_padded_with_the_mean_pixel_gives_the_same_logits(backbone, mean):
    model = randomize(build_model(replace(SMALL, backbone=backbone, depth_multiplier=0.125)))
    image = random_image(50, 75)
    padded = np.ones((1, 65, 97, 3), "float32") * np.float32(mean)
    padded[:, :50, :75] = image
    np.testing.assert_allclose(np.asarray(model(padded))[:, :50, :75], np.asarray(model(image)), atol=1e-4)


def test_low_level_features_have_144_channels_at_stride_4():
    model = build_model(ModelConfig(), image_size=65)
    assert model.get_layer("decoder_low_level").input.shape == (None, 17, 17, 144)
    assert model.get_layer("decoder_concat").output.shape == (None, 17, 17, 304)


@pytest.mark.parametrize(
    ("rounded", "channels"), [(False, [8, 12, 16, 32, 48, 80, 160]), (True, [8, 16, 16, 32, 48, 80, 160])]
)
def test_channels_at_depth_multiplier_half(rounded, channels):
    model = build_model(ModelConfig(depth_multiplier=0.5, round_channels=rounded))
    actual = [model.get_layer(f"backbone_block{n}_project").filters for n in (0, 1, 3, 6, 10, 13, 16)]
    assert actual == channels


def test_image_pooling_and_separable_convolutions_can_be_disabled():
    plain = build_model(ModelConfig(**{**vars(SMALL), "image_pooling": False, "aspp_separable": False}))
    names = {layer.name for layer in plain.layers}
    assert "image_pooling" not in names
    assert plain.get_layer("aspp1").kernel.shape[:2] == (3, 3)


@pytest.mark.parametrize("output_stride", [7, 64, "16"])
def test_an_output_stride_that_is_not_offered_is_rejected(output_stride):
    with pytest.raises(UserError, match=rf"output_stride: expected one of 4, 8, 16, 32, got {output_stride!r}"):
        build_model(SMALL, output_stride=output_stride)


def test_only_three_modules_import_tensorflow_and_only_inside_functions():
    folder = Path(deeplab.model.__file__).parent
    importing = {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if re.search(r"^\s*(import|from) tensorflow", path.read_text(), re.M)
    }
    assert importing == {"resize.py", "batch_norm.py", "quantization/rounding.py"}
    at_module_level = [
        name for name in importing if re.search(r"^(import|from) tensorflow", (folder / name).read_text(), re.M)
    ]
    assert not at_module_level


def test_no_layer_is_a_lambda():
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in build_model(SMALL).layers)


def test_the_model_carries_its_architecture_and_features():
    model = build_model(SMALL, image_size=65)
    assert model.config == SMALL
    # 320 channels times 0.25 at stride 16; expanded channels 6 * 6 at stride 4 and 6 * 8 at stride 8.
    assert model.features.high.shape == (None, 5, 5, 80)
    assert model.features.low.shape == (None, 17, 17, 36)
    assert model.features.middle.shape == (None, 9, 9, 48)
    assert model.features.auxiliary is None


@pytest.mark.parametrize("beta", [False, True])
def test_the_auxiliary_features_of_a_resnet_are_the_output_of_its_third_stage(beta, monkeypatch):
    monkeypatch.setitem(BACKBONES, "short", SHORT["resnet_beta_short" if beta else "resnet_short"])
    model = build_model(replace(SMALL, backbone="short"), 32, image_size=65)
    assert model.features.auxiliary is model.get_layer("backbone_stage2_unit0_relu").output
    # The beta layout has its stride at the end of the third stage, the plain one at the start.
    side = 3 if beta else 5
    assert model.features.auxiliary.shape == (None, side, side, 4 * 64)


def test_a_model_saved_by_keras_computes_the_same_after_loading(tmp_path):
    model = randomize(build_model(SMALL))
    model.save(tmp_path / "whole.keras")
    image = random_image(33, 40)
    loaded = keras.models.load_model(tmp_path / "whole.keras")
    np.testing.assert_array_equal(np.asarray(loaded(image)), np.asarray(model(image)))
