import re
from pathlib import Path

import keras
import numpy as np
import pytest

import deeplab.model
from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.build import build_model
from tests.networks import picture, randomize

SMALL = ModelConfig(depth_multiplier=0.25, aspp_channels=16, decoder_channels=16, classes=5)


def folded_parameters(model: keras.Model) -> int:
    """Parameters of convolutions once each batch norm is folded to one bias a channel."""
    kernels = sum(
        int(np.prod(layer.kernel.shape)) + (layer.bias is not None) * layer.kernel.shape[-1]
        for layer in model.layers
        if isinstance(layer, (keras.layers.Conv2D, keras.layers.DepthwiseConv2D))
    )
    return kernels + sum(
        layer.gamma.shape[0] for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)
    )


# The counts of the official .tflite files, in which batch norm is folded.
@pytest.mark.parametrize(("multiplier", "parameters"), [(0.5, 688_357), (1.0, 2_097_013)])
def test_mobile_head_has_the_official_parameters(multiplier, parameters):
    model = build_model(ModelConfig(depth_multiplier=multiplier, head="v3", aspp_rates=()))
    assert folded_parameters(model) == parameters


@pytest.mark.parametrize("head", ["v3", "v3plus"])
@pytest.mark.parametrize("size", [(65, 65), (64, 64), (50, 75)])
def test_logits_have_the_size_of_the_image(head, size):
    model = build_model(ModelConfig(**{**vars(SMALL), "head": head}))
    assert model(picture(*size)).shape == (1, *size, 5)


def test_a_fixed_size_gives_what_a_free_size_gives():
    free, fixed = randomize(build_model(SMALL)), build_model(SMALL, image_size=(50, 75))
    fixed.set_weights(free.get_weights())
    image = picture(50, 75)
    np.testing.assert_allclose(np.asarray(fixed(image)), np.asarray(free(image)), atol=1e-5)


def test_padding_by_hand_changes_nothing():
    """A picture that is padded with the mean before it enters gives the logits of the picture alone."""
    model = randomize(build_model(SMALL))
    image = picture(50, 75)
    by_hand = np.full((1, 65, 97, 3), 127.5, "float32")
    by_hand[:, :50, :75] = image
    np.testing.assert_allclose(np.asarray(model(by_hand))[:, :50, :75], np.asarray(model(image)), atol=1e-4)


def test_low_level_features_are_the_144_channels_at_stride_4():
    model = build_model(ModelConfig(), image_size=65)
    assert model.get_layer("decoder_low_level").input.shape == (None, 17, 17, 144)
    assert model.get_layer("decoder_concat").output.shape == (None, 17, 17, 304)


@pytest.mark.parametrize(
    ("rounded", "channels"), [(False, [8, 12, 16, 32, 48, 80, 160]), (True, [8, 16, 16, 32, 48, 80, 160])]
)
def test_channels_at_depth_multiplier_half(rounded, channels):
    model = build_model(ModelConfig(depth_multiplier=0.5, round_channels=rounded))
    found = [model.get_layer(f"backbone_block{n}_project").filters for n in (0, 1, 3, 6, 10, 13, 16)]
    assert found == channels


def test_image_pooling_and_separable_convolutions_are_choices():
    plain = build_model(ModelConfig(**{**vars(SMALL), "image_pooling": False, "aspp_separable": False}))
    names = {layer.name for layer in plain.layers}
    assert "image_pooling" not in names
    assert plain.get_layer("aspp1").kernel.shape[:2] == (3, 3)


@pytest.mark.parametrize("output_stride", [7, 64, "16"])
def test_an_unknown_output_stride_is_named(output_stride):
    with pytest.raises(UserError, match=r"output_stride.*is not offered.*one of"):
        build_model(SMALL, output_stride=output_stride)


def test_three_operators_ask_for_tensorflow_and_nothing_is_a_lambda():
    assert not any(isinstance(layer, keras.layers.Lambda) for layer in build_model(SMALL).layers)
    folder = Path(deeplab.model.__file__).parent
    asking = {
        str(path.relative_to(folder))
        for path in folder.rglob("*.py")
        if re.search(r"^\s*(import|from) tensorflow", path.read_text(), re.M) and path.parent.name != "pretrained"
    }
    assert asking == {"resize.py", "batch_norm.py", "quantization/rounding.py"}
    at_the_top = [name for name in asking if re.search(r"^(import|from) tensorflow", (folder / name).read_text(), re.M)]
    assert not at_the_top
