"""A whole network with simulated int8."""

import keras
import numpy as np
import pytest
from keras import layers

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.model.quantization.layers import FoldedConvolution, unfolded_layers
from deeplab.model.quantization.plan import make_plan
from deeplab.model.quantization.transform import (
    activation_ranges,
    build_network,
    measure_ranges,
    quantization_parameters,
    quantize_aware,
    simulate,
    track_ranges,
)
from tests.networks import picture, randomize

TINY = ModelConfig(
    depth_multiplier=0.1, aspp_rates=(2,), aspp_channels=8, decoder_channels=8, low_level_channels=8, classes=5
)
BETA = ModelConfig(backbone="resnet50_beta", depth_multiplier=0.05, head="v3", aspp_rates=(), aspp_channels=8)


@pytest.fixture(scope="module")
def networks():
    """A float network at free size, and the one made of it, its ranges measured on two pictures."""
    plain = randomize(build_model(TINY, 16), seed=2)
    aware = quantize_aware(plain)
    measure_ranges(aware, [picture(65, 65, seed=s) for s in (1, 2)])
    return plain, aware


@pytest.mark.parametrize("config", [TINY, BETA], ids=["mobilenet_v2", "resnet50_beta"])
def test_switched_off_it_is_the_float_network(config):
    plain = randomize(build_model(config, 16), seed=1)
    # Logits of order one, so that 1e-5 is what it says.
    logits = plain.get_layer("logits")
    logits.kernel.assign(0.1 * np.asarray(logits.kernel))
    aware = quantize_aware(plain)
    simulate(aware, False)
    image = picture(50, 70)
    found, wanted = (np.asarray(m(image, training=False)) for m in (aware, plain))
    assert wanted.std() > 0.05
    assert np.abs(found - wanted).max() <= 1e-5 * max(1.0, float(np.abs(wanted).max()))


def test_switched_on_it_is_near(networks):
    plain, aware = networks
    image = picture(65, 65, seed=1)
    found, wanted = (np.asarray(m(image, training=False)) for m in (aware, plain))
    error = np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std()
    assert 0.005 < error < 0.5


def test_enlarged_logits_are_on_the_grid_of_the_file(networks):
    _, aware = networks
    scale, _ = aware.get_layer("logits_range").grid()
    steps = np.asarray(aware(picture(65, 65, seed=1), training=False)) / scale
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-2)
    assert len(np.unique(np.round(steps))) > 20


def test_weights_fit_at_every_output_stride_and_size(networks, tmp_path):
    _, aware = networks
    aware.save_weights(tmp_path / "a.weights.h5")
    for stride, size in ((8, (65, 97)), (16, 65)):
        other = build_network(TINY, stride, size, quantized=True)
        assert [w.shape for w in other.weights] == [w.shape for w in aware.weights]
        assert [layer.name for layer in other.layers] == [layer.name for layer in aware.layers]
        other.load_weights(tmp_path / "a.weights.h5")
    image = picture(65, 65, seed=4)
    np.testing.assert_allclose(np.asarray(other(image)), np.asarray(aware(image)), atol=1e-5)


def test_weights_are_shared_and_keep_their_names(networks):
    plain, aware = networks
    held = {id(v): v.path for v in aware.variables}
    assert all(held[id(v)] == v.path for layer in plain.layers for v in layer.weights)
    assert {layer.name for layer in unfolded_layers(aware) if layer.weights} >= {
        layer.name for layer in plain.layers if layer.weights
    }


def test_ranges_are_shared_where_the_file_shares_them():
    plan = make_plan(build_model(TINY, 16))
    # Image pooling and both branches meet in the concatenation of ASPP; its projection and the low-level features in
    # that of the decoder.
    shared = [sources for sources in plan.sources.values() if len(sources) > 1]
    assert sorted(map(len, shared)) == [2, 3]
    for concat in ("aspp_concat", "decoder_concat"):
        assert plan.group[concat] in plan.sources
    assert plan.group["image_pooling_resize"] == plan.group["image_pooling_relu"] == plan.group["aspp_concat"]
    assert plan.group["upsample"] == plan.group["crop"] == "logits"
    assert plan.group["pad"] == "image"
    # What one operator of the file computes has one range, behind its activation.
    assert "backbone_stem" not in plan.group
    assert "backbone_stem_bn" not in plan.group
    assert plan.sources["backbone_stem"] == ["backbone_stem_relu6"]
    # A linear bottleneck has one of its own, and so has the sum.
    assert plan.sources["backbone_block2_project"] == ["backbone_block2_project_bn"]
    assert plan.sources["backbone_block2_add"] == ["backbone_block2_add"]
    assert plan.sources["image_pooling_mean"] == ["image_pooling_mean"]


def test_measured_ranges_are_the_mean_of_what_batches_reach(networks):
    plain, aware = networks
    images = [picture(65, 65, seed=s) for s in (1, 2)]
    probe = keras.Model(plain.input, plain.get_layer("backbone_block0_project_bn").output)
    seen = [np.asarray(probe(image, training=False)) for image in images]
    low, high = (float(end) for end in aware.get_layer("backbone_block0_project_range").ends())
    assert low == pytest.approx(np.mean([s.min() for s in seen]), rel=1e-4)
    assert high == pytest.approx(np.mean([s.max() for s in seen]), rel=1e-4)


def test_ranges_follow_only_when_told(networks):
    _, aware = networks
    before = quantization_parameters(aware)
    bright = 255 - picture(65, 65, seed=9)
    aware(bright, training=True)
    assert quantization_parameters(aware) == before
    track_ranges(aware, 0.5)
    assert all(layer.batch_statistics for layer in aware.layers if isinstance(layer, FoldedConvolution))
    kept = aware.get_weights()
    aware(bright, training=False)
    track_ranges(aware, None)
    assert quantization_parameters(aware) != before
    assert not any(layer.batch_statistics for layer in aware.layers if isinstance(layer, FoldedConvolution))
    aware.set_weights(kept)


def test_ranges_that_hold_nothing_are_refused():
    plain = build_model(TINY, 16)
    assert quantization_parameters(plain) == ()
    with pytest.raises(UserError, match="ranges hold nothing, first backbone_stem_range"):
        quantization_parameters(quantize_aware(plain))
    with pytest.raises(ValueError, match="no batches"):
        measure_ranges(quantize_aware(build_model(TINY, 16)), [])


def test_raised_logits_keep_their_step(networks):
    _, aware = networks
    scale, zero = aware.get_layer("logits_range").grid()
    logit_offset = dict.fromkeys(quantization_parameters(aware, logit_offset=10 * scale))
    assert any(s == pytest.approx(scale) and z == max(zero - 10, -128) for s, z in logit_offset)
    assert len(activation_ranges(aware)) == len(quantization_parameters(aware))


@pytest.mark.parametrize(
    ("config", "layer"),
    [
        (ModelConfig(backbone="mobilenet_v3_small", depth_multiplier=0.25), "mean"),
        (ModelConfig(depth_multiplier=0.1, head="lraspp", aspp_rates=()), "image_pooling"),
    ],
)
def test_what_is_not_simulated_is_told(config, layer):
    with pytest.raises(UserError, match=f"int8 form of layer '[a-z0-9_]*{layer}"):
        quantize_aware(build_model(config, 16))


def test_a_batch_norm_behind_something_else_is_told():
    image = keras.Input((33, 33, 3), name="image")
    x = layers.Conv2D(4, 1, activation="relu", name="conv")(image)
    model = keras.Model(image, layers.BatchNormalization(name="lonely")(x))
    with pytest.raises(UserError, match="'lonely' \\(BatchNormalization\\) is not simulated"):
        quantize_aware(model)
