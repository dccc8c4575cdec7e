import keras
import numpy as np
import pytest

from deeplab.config import ModelConfig, TrainingConfig
from deeplab.errors import UserError
from deeplab.model.batch_norm_statistics import batch_norms
from deeplab.model.build import build_model
from deeplab.training.optimizer import (
    SlowStartPoly,
    SlowStartStep,
    decayed_kernels,
    make_optimizer,
    multiplier,
    set_trainable,
)

SMALL = ModelConfig(depth_multiplier=0.25, aspp_rates=(6,), aspp_channels=8, decoder_channels=8, classes=3, dropout=0.0)


def one_convolution() -> keras.Model:
    image = keras.Input((None, None, 1))
    return keras.Model(image, keras.layers.Conv2D(2, 1, kernel_initializer="ones", name="logits")(image))


def test_poly_schedule_matches_the_formula():
    schedule = SlowStartPoly(0.5, 100, 0.9, 0, 0.0)
    rates = [float(schedule(step)) for step in (0, 25, 50, 100, 120)]
    np.testing.assert_allclose(rates, [0.5, 0.5 * 0.75**0.9, 0.5 * 0.5**0.9, 0.0, 0.0], rtol=1e-5)


def test_poly_schedule_starts_after_the_slow_start():
    schedule = SlowStartPoly(0.5, 100, 2.0, 20, 0.01)
    rates = [float(schedule(step)) for step in (0, 19, 20, 60, 100)]
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.5, 0.5 * 0.25, 0.0], rtol=1e-5)


def test_step_schedule_starts_after_the_slow_start():
    schedule = SlowStartStep(0.5, 30, 0.1, 20, 0.01)
    rates = [float(schedule(step)) for step in (0, 19, 20, 49, 50, 80)]
    np.testing.assert_allclose(rates, [0.01, 0.01, 0.5, 0.5, 0.05, 0.005], rtol=1e-5)


def test_learning_policy_step_multiplies_the_rate_every_2000_updates():
    """DeepLabv1, arXiv:1412.7062, sec. 4: 0.001, times 0.1 at every 2000 iterations."""
    optimizer = make_optimizer(TrainingConfig(learning_rate=0.001, learning_policy="step"), one_convolution())
    rates = []
    for step in (0, 1999, 2000, 4000, 5999):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(rates, [1e-3, 1e-3, 1e-4, 1e-5, 1e-5], rtol=1e-5)


def test_weight_decay_that_is_left_to_an_unknown_network_is_an_error():
    with pytest.raises(ValueError, match="weight_decay is None"):
        make_optimizer(TrainingConfig(optimizer="adamw"), one_convolution())


def test_weight_decay_acts_on_kernels_of_full_convolutions_only():
    model = build_model(SMALL)
    paths = {kernel.path for kernel in decayed_kernels(model)}
    assert "logits/kernel" in paths
    assert "backbone_stem/kernel" in paths
    assert not [path for path in paths if "depthwise" in path or "bias" in path or "gamma" in path]
    # The stem, 17 projections, 16 expansions; image pooling, 1x1, one pointwise, projection; decoder; logits.
    assert len(paths) == 1 + 17 + 16 + 4 + 3 + 1


def test_multiplier_depends_on_the_part_of_the_network():
    factors = {
        "backbone_stem/kernel": 0.5,
        "backbone_block3_project_bn/gamma": 0.5,
        "aspp0/kernel": 10.0,
        "logits/kernel": 10.0,
        "logits/bias": 20.0,
        "decoder_conv0_pointwise/kernel": 7.0,
        "decoder_low_level/kernel": 3.0,
    }
    prefixes = {"decoder_": 7.0, "decoder_low": 3.0}
    config = TrainingConfig(backbone_multiplier=0.5, last_layers_multiplier=10.0, layer_multipliers=prefixes)
    variables = {variable.path: variable for variable in build_model(SMALL).trainable_variables}
    assert {path: multiplier(variables[path], config) for path in factors} == factors


@pytest.mark.parametrize("optimizer", ["sgd", "adamw"])
def test_multiplier_scales_the_update(optimizer):
    """The first update of Adam is its learning rate, whatever the gradient: a factor on the gradient has no effect."""
    model = one_convolution()
    config = TrainingConfig(optimizer=optimizer, learning_rate=0.1, power=0.0, weight_decay=0.0, bias_multiplier=3.0)
    make_optimizer(config, model).apply([np.full((1, 1, 1, 2), 0.5, "float32"), np.full(2, 0.5, "float32")])
    kernel, bias = (np.ravel(w) for w in model.get_weights())
    step = 0.1 * 0.5 if optimizer == "sgd" else 0.1
    np.testing.assert_allclose(kernel, 1 - step, rtol=1e-4)
    np.testing.assert_allclose(bias, -3 * step, rtol=1e-4)


def test_adamw_decays_only_kernels():
    """With a zero gradient, only the decay remains: w * (1 - lr * wd)."""
    model = one_convolution()
    model.layers[-1].bias.assign([1.0, 1.0])
    config = TrainingConfig(optimizer="adamw", learning_rate=0.1, weight_decay=0.5)
    make_optimizer(config, model).apply([np.zeros((1, 1, 1, 2), "float32"), np.zeros(2, "float32")])
    kernel, bias = (np.ravel(w) for w in model.get_weights())
    np.testing.assert_allclose(kernel, 0.95, rtol=1e-6)
    np.testing.assert_array_equal(bias, 1)


@pytest.mark.parametrize(
    ("mode", "trainable", "synchronized", "frozen_statistics"),
    [
        ("train", True, False, False),
        ("sync", True, True, False),
        ("frozen_statistics", True, False, True),
        ("frozen", False, False, False),
    ],
)
def test_batch_norm_mode_applies_to_all_batch_norms(mode, trainable, synchronized, frozen_statistics):
    model = build_model(SMALL)
    set_trainable(model, TrainingConfig(batch_norm=mode))
    modes = {(x.trainable, x.synchronized, x.frozen_statistics) for x in batch_norms(model)}
    assert modes == {(trainable, synchronized, frozen_statistics)}
    assert model.get_layer("backbone_stem").trainable
    set_trainable(model, TrainingConfig())
    assert {(x.trainable, x.synchronized, x.frozen_statistics) for x in batch_norms(model)} == {(True, False, False)}


def test_frozen_backbone_freezes_its_gamma_and_beta_too():
    model = build_model(SMALL)
    set_trainable(model, TrainingConfig(backbone_multiplier=0.0, batch_norm="frozen_statistics"))
    assert {x.trainable for x in batch_norms(model) if x.name.startswith("backbone_")} == {False}
    assert {x.trainable for x in batch_norms(model) if not x.name.startswith("backbone_")} == {True}


def test_backbone_with_multiplier_0_is_not_trainable():
    model = build_model(SMALL)
    set_trainable(model, TrainingConfig(backbone_multiplier=0.0))
    parts = {v.path.partition("_")[0] for v in model.trainable_variables}
    assert "backbone" not in parts
    assert {"decoder", "aspp0/kernel"} <= parts


def test_multiplier_for_missing_layers_is_refused():
    with pytest.raises(UserError, match=r"training\.layer_multipliers: no layer name starts with 'dekoder'"):
        make_optimizer(TrainingConfig(layer_multipliers={"dekoder": 2.0}), build_model(SMALL))
