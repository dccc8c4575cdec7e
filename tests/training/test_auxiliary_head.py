"""The auxiliary head against a computation in NumPy, and the backbones that it refuses."""

from types import SimpleNamespace

import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.backbones.features import Features
from deeplab.model.build import DeepLab
from deeplab.model.resize import CropTo, PadToGrid
from deeplab.training.auxiliary_head import add_auxiliary_head
from tests.networks import randomize

CONFIG = ModelConfig(classes=3, dropout=0.3)


def network() -> DeepLab:
    """Build features of 5 channels at stride 16, and logits that are the image."""
    image = keras.Input((60, 33, 3))
    padded = PadToGrid(name="pad")(image)
    features = keras.layers.Conv2D(5, 3, strides=16, padding="same")(padded)
    logits = CropTo()(padded, image)
    return DeepLab.create(CONFIG, Features(features, features, features, features), image, logits, "network")


def test_its_logits_are_those_of_a_convolution_batch_norm_and_classifier():
    """A 3x3 convolution to 256 channels, batch norm, ReLU and a 1x1 convolution (PSPNet, arXiv:1612.01105)."""
    plain = network()
    model = add_auxiliary_head(plain, CONFIG)
    assert model.get_layer("auxiliary_dropout").rate == 0.3
    # A standard deviation of 0.01, cut at two: 0.88 of it.
    assert np.asarray(model.get_layer("auxiliary_logits").kernel).std() == pytest.approx(0.0088, rel=0.2)
    randomize(model)
    image = np.random.default_rng(0).uniform(-1, 1, (1, 60, 33, 3)).astype("float32")
    main, auxiliary = (np.asarray(y) for y in model(image, training=False))
    np.testing.assert_array_equal(main, image)
    x = np.asarray(keras.Model(model.input, plain.features.auxiliary)(image))[0]
    kernel = np.asarray(model.get_layer("auxiliary_conv").kernel)
    padded = np.pad(x, [(1, 1), (1, 1), (0, 0)])
    h, w, _ = x.shape
    y = sum(padded[i : i + h, j : j + w] @ kernel[i, j] for i in range(3) for j in range(3))
    gamma, beta, mean, variance = model.get_layer("auxiliary_conv_bn").get_weights()
    y = np.maximum((y - mean) / np.sqrt(variance + 1e-5) * gamma + beta, 0)
    classifier, bias = model.get_layer("auxiliary_logits").get_weights()
    assert classifier.shape == (1, 1, 256, 3)
    # Features lie on every 16th pixel; the last row of 5 lies on the padding, which is cropped.
    assert auxiliary.shape == (1, 60, 33, 3)
    np.testing.assert_allclose(auxiliary[0, ::16, ::16], (y @ classifier[0, 0] + bias)[:4], atol=1e-4)


def test_a_backbone_other_than_a_resnet_is_refused():
    other = SimpleNamespace(features=Features(None, None, None))
    with pytest.raises(UserError, match=r"training\.auxiliary_weight: no auxiliary head exists for mobilenet_v2, only"):
        add_auxiliary_head(other, CONFIG)
