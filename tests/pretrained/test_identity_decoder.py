import numpy as np

from deeplab.config import ModelConfig
from deeplab.model.build import build_model
from deeplab.pretrained import import_weights
from deeplab.run_folder import ModelDescription, save_model
from tests.networks import picture, randomize

PLAIN = ModelConfig(depth_multiplier=0.25, head="v3", aspp_rates=(6,), aspp_channels=8, classes=5)


def decoding(**changes: object) -> ModelConfig:
    return ModelConfig(**{**vars(PLAIN), "head": "v3plus", "decoder_channels": 8, "low_level_channels": 4, **changes})


def saved(tmp_path):
    source = randomize(build_model(PLAIN, 16))
    save_model(tmp_path, source, ModelDescription(PLAIN, tuple("abcde")))
    return source


def test_a_decoder_that_the_source_lacks_changes_no_logit_at_stride_4(tmp_path):
    """At the corners of the cells the enlarged logits are the logits themselves; in between both are linear."""
    source = saved(tmp_path)
    for separable in (True, False):
        model = build_model(decoding(decoder_separable=separable), 16)
        report = import_weights(model, tmp_path)
        assert any("identity" in note for note in report.notes)
        assert not [name for name in report.missing if not name.startswith("decoder_low_level")]
        image = picture(129, 97)
        expected, found = (np.asarray(m(image, training=False)) for m in (source, model))
        np.testing.assert_allclose(found[:, ::16, ::16], expected[:, ::16, ::16], atol=1e-4 * expected.std())
        # Enlarging by 4 twice draws the same lines as enlarging by 16 once.
        np.testing.assert_allclose(found, expected, atol=1e-3 * expected.std())


def test_the_low_level_features_have_a_gradient_from_the_start(tmp_path):
    import tensorflow as tf

    saved(tmp_path)
    model = build_model(decoding(), 16)
    import_weights(model, tmp_path)
    pointwise = model.get_layer("decoder_conv0_pointwise").kernel
    assert not np.asarray(pointwise)[0, 0, 8:].any()
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(tf.square(model(picture(65, 65), training=False)))
    assert np.abs(tape.gradient(loss, pointwise.value)[0, 0, 8:]).max() > 0


def test_other_channels_leave_the_decoder_fresh_and_the_logits_too(tmp_path):
    saved(tmp_path)
    report = import_weights(build_model(decoding(decoder_channels=6), 16), tmp_path)
    assert "logits/kernel" in report.reinitialized
    assert "decoder_conv0_pointwise/kernel" in report.missing
