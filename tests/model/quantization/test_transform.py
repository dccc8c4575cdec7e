"""Networks with simulated int8."""

import keras
import numpy as np
import pytest
from keras import layers

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.build import DeepLab, build_model
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
from tests.networks import random_image, randomize

TINY = ModelConfig(
    depth_multiplier=0.1, aspp_rates=(2,), aspp_channels=8, decoder_channels=8, low_level_channels=8, classes=5
)
BETA = ModelConfig(backbone="resnet50_beta", depth_multiplier=0.05, head="v3", aspp_rates=(), aspp_channels=8)
# Its activations belong to its convolutions.
VGG = ModelConfig(backbone="vgg16", depth_multiplier=0.05, head="v1", aspp_rates=(6,), aspp_channels=8)


@pytest.fixture(scope="module")
def networks():
    """A float network of free size and its quantization-aware form, with ranges measured on two images."""
    plain = randomize(build_model(TINY, 16), seed=2)
    aware = quantize_aware(plain)
    measure_ranges(aware, [random_image(65, 65, seed=s) for s in (1, 2)])
    return plain, aware


@pytest.mark.parametrize(
    "config", [TINY, pytest.param(BETA, marks=pytest.mark.slow), VGG], ids=["mobilenet_v2", "resnet50_beta", "vgg16"]
)
def test_without_rounding_the_logits_are_those_of_the_float_network(config):
    plain = randomize(build_model(config, 16), seed=1)
    # Logits of magnitude 1, for the absolute tolerance of 1e-5.
    logits = plain.get_layer("logits")
    logits.kernel.assign(0.1 * np.asarray(logits.kernel))
    aware = quantize_aware(plain)
    simulate(aware, False)
    image = random_image(50, 70)
    actual, expected = (np.asarray(m(image, training=False)) for m in (aware, plain))
    assert expected.std() > 0.05
    assert np.abs(actual - expected).max() <= 1e-5 * max(1.0, float(np.abs(expected).max()))


def test_with_rounding_the_logits_are_close_to_those_of_the_float_network(networks):
    plain, aware = networks
    image = random_image(65, 65, seed=1)
    actual, expected = (np.asarray(m(image, training=False)) for m in (aware, plain))
    error = np.sqrt(np.mean((actual - expected) ** 2)) / expected.std()
    assert 0.005 < error < 0.5


def test_resized_logits_are_multiples_of_the_scale(networks):
    _, aware = networks
    scale, _ = aware.get_layer("logits_range").parameters()
    integers = np.asarray(aware(random_image(65, 65, seed=1), training=False)) / scale
    np.testing.assert_allclose(integers, np.round(integers), atol=1e-2)
    assert len(np.unique(np.round(integers))) > 20


@pytest.mark.slow
def test_weights_load_at_every_output_stride_and_size(networks, tmp_path):
    _, aware = networks
    aware.save_weights(tmp_path / "a.weights.h5")
    for stride, size in ((8, (65, 97)), (16, 65)):
        other = build_network(TINY, stride, size, quantized=True)
        assert [w.shape for w in other.weights] == [w.shape for w in aware.weights]
        assert [layer.name for layer in other.layers] == [layer.name for layer in aware.layers]
        other.load_weights(tmp_path / "a.weights.h5")
    image = random_image(65, 65, seed=4)
    np.testing.assert_allclose(np.asarray(other(image)), np.asarray(aware(image)), atol=1e-5)


def test_weights_are_shared_and_keep_their_names(networks):
    plain, aware = networks
    paths = {id(v): v.path for v in aware.variables}
    assert all(paths[id(v)] == v.path for layer in plain.layers for v in layer.weights)
    assert {layer.name for layer in unfolded_layers(aware) if layer.weights} >= {
        layer.name for layer in plain.layers if layer.weights
    }


def test_tensors_that_share_a_scale_in_the_file_share_a_range():
    plan = make_plan(build_model(TINY, 16))
    # ASPP concatenates image pooling and two branches; the decoder concatenates ASPP and the low-level features.
    shared = [sources for sources in plan.sources.values() if len(sources) > 1]
    assert sorted(map(len, shared)) == [2, 3]
    for concat in ("aspp_concat", "decoder_concat"):
        assert plan.range_of[concat] in plan.sources
    assert plan.range_of["image_pooling_resize"] == plan.range_of["image_pooling_relu"] == plan.range_of["aspp_concat"]
    assert plan.range_of["upsample"] == plan.range_of["crop"] == "logits"
    assert plan.range_of["pad"] == "image"
    # One operator of the file has one range, after its activation.
    assert "backbone_stem" not in plan.range_of
    assert "backbone_stem_bn" not in plan.range_of
    assert plan.sources["backbone_stem"] == ["backbone_stem_relu6"]
    # A linear bottleneck and the sum after it have separate ranges.
    assert plan.sources["backbone_block2_project"] == ["backbone_block2_project_bn"]
    assert plan.sources["backbone_block2_add"] == ["backbone_block2_add"]
    assert plan.sources["image_pooling_mean"] == ["image_pooling_mean"]


def test_measured_ranges_are_the_means_of_the_extremes_of_the_batches(networks):
    plain, aware = networks
    images = [random_image(65, 65, seed=s) for s in (1, 2)]
    probe = keras.Model(plain.input, plain.get_layer("backbone_block0_project_bn").output)
    outputs = [np.asarray(probe(image, training=False)) for image in images]
    low, high = (float(bound) for bound in aware.get_layer("backbone_block0_project_range").bounds())
    assert low == pytest.approx(np.mean([s.min() for s in outputs]), rel=1e-4)
    assert high == pytest.approx(np.mean([s.max() for s in outputs]), rel=1e-4)


def test_ranges_move_only_while_tracking_is_enabled(networks):
    _, aware = networks
    before = quantization_parameters(aware)
    bright = 255 - random_image(65, 65, seed=9)
    aware(bright, training=True)
    assert quantization_parameters(aware) == before
    track_ranges(aware, 0.5)
    assert all(layer.uses_batch_statistics for layer in aware.layers if isinstance(layer, FoldedConvolution))
    weights = aware.get_weights()
    aware(bright, training=False)
    track_ranges(aware, None)
    assert quantization_parameters(aware) != before
    assert not any(layer.uses_batch_statistics for layer in aware.layers if isinstance(layer, FoldedConvolution))
    aware.set_weights(weights)


def test_ranges_that_were_never_measured_are_rejected():
    plain = build_model(TINY, 16)
    assert quantization_parameters(plain) == ()
    with pytest.raises(UserError, match="ranges are empty, first backbone_stem_range"):
        quantization_parameters(quantize_aware(plain))
    with pytest.raises(ValueError, match="no batches"):
        measure_ranges(quantize_aware(build_model(TINY, 16)), [])


def test_a_logit_offset_changes_only_the_zero_point(networks):
    _, aware = networks
    scale, zero = aware.get_layer("logits_range").parameters()
    parameters = quantization_parameters(aware, logit_offset=10 * scale)
    assert any(s == pytest.approx(scale) and z == max(zero - 10, -128) for s, z in parameters)
    assert len(activation_ranges(aware)) == len(quantization_parameters(aware))


@pytest.mark.parametrize(
    ("config", "layer"),
    [
        (ModelConfig(backbone="mobilenet_v3_small", depth_multiplier=0.25), "mean"),
        (ModelConfig(depth_multiplier=0.1, head="lraspp", aspp_rates=()), "image_pooling"),
    ],
)
def test_a_network_that_is_not_simulated_is_rejected(config, layer):
    with pytest.raises(UserError, match=f"int8 is not simulated for layer '[a-z0-9_]*{layer}"):
        quantize_aware(build_model(config, 16))


def test_a_batch_norm_without_a_convolution_before_it_is_rejected():
    image = keras.Input((33, 33, 3), name="image")
    x = layers.Conv2D(4, 1, activation="relu", name="conv")(image)
    model = DeepLab(image, layers.BatchNormalization(name="lonely")(x))
    with pytest.raises(UserError, match=r"int8 is not simulated for layer 'lonely' \(BatchNormalization\)"):
        quantize_aware(model)


@pytest.mark.parametrize("config", [TINY, BETA], ids=["mobilenet_v2", "resnet50_beta"])
def test_the_quantization_aware_model_carries_architecture_and_features(config):
    plain = randomize(build_model(config, 16), seed=1)
    aware = quantize_aware(plain)
    assert aware.config == config
    assert (aware.features.auxiliary is None) == (config is TINY)
    simulate(aware, False)
    names = [name for name, tensor in vars(plain.features).items() if tensor is not None]
    image = random_image(50, 70)
    actual, expected = (
        keras.Model(m.input, [getattr(m.features, name) for name in names])(image) for m in (aware, plain)
    )
    for name, a, b in zip(names, actual, expected, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-4 * float(np.std(b)), err_msg=name)
