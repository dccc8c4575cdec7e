"""A v3plus model with v3 weights and an identity decoder has the logits of the v3 model."""

import numpy as np
import pytest

from deeplab.config import ModelConfig
from deeplab.model.build import build_model
from deeplab.pretrained import import_weights
from deeplab.run_folder import ModelDescription, save_model
from tests.networks import random_image, randomize

V3 = ModelConfig(depth_multiplier=0.25, head="v3", aspp_rates=(6,), aspp_channels=8, classes=5)


def v3plus(**changes: object) -> ModelConfig:
    return ModelConfig(**{**vars(V3), "head": "v3plus", "decoder_channels": 8, "low_level_channels": 4, **changes})


@pytest.fixture
def source(tmp_path):
    """A v3 model that is saved in `tmp_path`."""
    model = randomize(build_model(V3, 16))
    save_model(tmp_path, model, ModelDescription(V3, tuple("abcde")))
    return model


@pytest.mark.parametrize("separable", [True, False])
def test_an_identity_decoder_changes_no_logit(source, tmp_path, separable):
    model = build_model(v3plus(decoder_separable=separable), 16)
    report = import_weights(model, tmp_path)
    assert any("identity" in note for note in report.notes)
    assert not [name for name in report.missing if not name.startswith("decoder_low_level")]
    image = random_image(129, 97)
    expected, actual = (np.asarray(m(image, training=False)) for m in (source, model))
    # Every 16th pixel is a logit itself; the pixels between are interpolated linearly by both models. Interpolating
    # by 4 twice is the same as interpolating by 16 once.
    np.testing.assert_allclose(actual[:, ::16, ::16], expected[:, ::16, ::16], atol=1e-4 * expected.std())
    np.testing.assert_allclose(actual, expected, atol=1e-3 * expected.std())


@pytest.mark.usefixtures("source")
def test_kernels_on_low_level_features_are_zero_but_have_gradients(tmp_path):
    import tensorflow as tf

    model = build_model(v3plus(), 16)
    import_weights(model, tmp_path)
    pointwise = model.get_layer("decoder_conv0_pointwise").kernel
    assert not np.asarray(pointwise)[0, 0, 8:].any()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(random_image(65, 65), training=False)))
    assert np.abs(tape.gradient(loss, pointwise.value)[0, 0, 8:]).max() > 0


@pytest.mark.usefixtures("source")
def test_a_decoder_with_other_channels_than_aspp_keeps_its_initial_weights(tmp_path):
    report = import_weights(build_model(v3plus(decoder_channels=6), 16), tmp_path)
    assert "logits/kernel" in report.reinitialized
    assert "decoder_conv0_pointwise/kernel" in report.missing
