"""One set of weights computes the same features at every output stride, at the positions they have in common."""

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.model.build import build_model
from tests.networks import random_image, randomize

CONFIG = ModelConfig(depth_multiplier=0.25, aspp_channels=16, decoder_channels=16)
BRANCHES = ("aspp0_relu", "aspp1_pointwise_relu", "aspp2_pointwise_relu", "aspp3_pointwise_relu")
SIZES = [(224, 224), (225, 225), (256, 256), (257, 257), (200, 300)]


def inner(model: keras.Model) -> keras.Model:
    """Return a model with the outputs of the encoder and of the convolution branches of ASPP."""
    names = ("backbone_block16_project_bn", *BRANCHES)
    return keras.Model(model.input, [model.get_layer(name).output for name in names])


@pytest.fixture(scope="module")
def networks() -> dict[int, keras.Model]:
    dense = randomize(build_model(CONFIG, output_stride=4))
    models = {4: dense}
    for output_stride in (8, 16, 32):
        models[output_stride] = build_model(CONFIG, output_stride)
        models[output_stride].set_weights(dense.get_weights())
    return models


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_features_are_equal_at_common_positions(networks, size, output_stride):
    image = random_image(*size)
    every = output_stride // 4
    for dense, sparse in zip(inner(networks[4])(image), inner(networks[output_stride])(image), strict=True):
        dense, sparse = np.asarray(dense)[:, ::every, ::every], np.asarray(sparse)
        assert sparse.shape == dense.shape
        assert dense.std() > 0.05, "the features are almost constant, so the test proves nothing"
        assert np.abs(dense - sparse).max() <= 1e-4 * dense.std()


def test_the_layers_and_their_shapes_do_not_depend_on_the_output_stride(networks):
    shapes = {s: [(v.path, tuple(v.shape)) for v in m.weights] for s, m in networks.items()}
    assert shapes[4] == shapes[8] == shapes[16] == shapes[32]


def test_saved_weights_load_at_another_output_stride_and_size(networks, tmp_path):
    networks[8].save_weights(tmp_path / "a.weights.h5")
    other = build_model(CONFIG, output_stride=32, image_size=97)
    other.load_weights(tmp_path / "a.weights.h5")
    for a, b in zip(networks[8].get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
