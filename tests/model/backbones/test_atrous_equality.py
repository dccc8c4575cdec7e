"""Every backbone computes the same features at every output stride, at the positions they have in common."""

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.model.backbones import BACKBONES
from deeplab.model.resize import Normalize, PadToGrid
from tests.model.short_backbones import SHORT
from tests.networks import random_image, randomize

ALL = BACKBONES | SHORT
QUICK = ["mobilenet_v3_small", "vgg16", *SHORT]
NAMES = [*QUICK, *(pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES if name not in QUICK)]
SIZES = ((97, 65), (80, 50))


def encoder(name: str, output_stride: int) -> keras.Model:
    image = keras.Input((None, None, 3))
    config = ModelConfig(backbone=name, depth_multiplier=0.125)
    features = ALL[name](PadToGrid()(Normalize()(image)), config, output_stride)
    return keras.Model(image, {"high": features.high, "low": features.low, "middle": features.middle})


def at_common_positions(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Subsample the denser of two feature maps `[1, h, w, c]` to the positions of the other."""
    every = [(s - 1) // (t - 1) for s, t in ((a.shape[1], b.shape[1]), (b.shape[1], a.shape[1]))]
    return tuple(x[:, :: max(n, 1), :: max(n, 1)] for x, n in zip((a, b), every, strict=True))


def assert_equal_features(name: str, output_strides: tuple[int, ...]) -> None:
    dense = randomize(encoder(name, 8))
    expected = {size: dense(random_image(*size)) for size in SIZES}
    for output_stride in output_strides:
        other = encoder(name, output_stride)
        assert [(w.path, w.shape) for w in other.weights] == [(w.path, w.shape) for w in dense.weights]
        other.set_weights(dense.get_weights())
        for size, features in expected.items():
            actual = other(random_image(*size))
            assert actual["high"].shape[1] == -(-(size[0] - 1) // 32) * 32 // output_stride + 1
            for kind, tensor in features.items():
                a, b = at_common_positions(np.asarray(actual[kind]), np.asarray(tensor))
                assert b.std() > 0.05, "the features are almost constant, so the test proves nothing"
                np.testing.assert_allclose(a, b, atol=2e-4 * b.std(), rtol=0, err_msg=f"{kind}, {output_stride}")


@pytest.mark.parametrize("name", NAMES)
def test_features_are_equal_at_common_positions(name):
    assert_equal_features(name, (16, 32))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v2", *QUICK])
def test_features_are_equal_at_output_stride_4(name):
    assert_equal_features(name, (4,))


@pytest.mark.parametrize("name", ["mobilenet_v3_large", pytest.param("resnet50", marks=pytest.mark.slow)])
def test_low_level_features_have_strides_4_and_8(name):
    channels = {"mobilenet_v3_large": (960, 72, 120), "resnet50": (2048, 256, 512)}[name]
    features = BACKBONES[name](keras.Input((65, 65, 3)), ModelConfig(backbone=name), 16)
    assert features.high.shape == (None, 5, 5, channels[0])
    assert features.low.shape == (None, 17, 17, channels[1])
    assert features.middle.shape == (None, 9, 9, channels[2])
