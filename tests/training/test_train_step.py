"""One update, compared with numpy and with equivalent settings."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.config import ModelConfig, TrainingConfig
from deeplab.model.batch_norm import BatchNorm
from deeplab.model.build import build_model
from deeplab.training.optimizer import make_optimizer, set_trainable
from deeplab.training.train_step import averaged_variables, make_averages, make_train_step
from tests.networks import random_image, randomize

SMALL = ModelConfig(depth_multiplier=0.25, aspp_rates=(6,), aspp_channels=8, decoder_channels=8, classes=3, dropout=0.0)
TINY = ModelConfig(depth_multiplier=0.1, head="v3", aspp_rates=(), aspp_channels=8, classes=3, dropout=0.0)


def batch(images: int = 2, ignored: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Return images of 33 pixels with labels by brightness; the first `ignored` rows of the first label are ignored."""
    image = np.concatenate([random_image(33, 33, seed) for seed in range(1, images + 1)])
    label = np.digitize(image.mean(-1), [110, 145]).astype("int32")
    label[0, :ignored] = 255
    return tf.constant(image), tf.constant(label)


def one_convolution() -> keras.Model:
    image = keras.Input((None, None, 1))
    return keras.Model(image, keras.layers.Conv2D(2, 1, kernel_initializer="ones", name="logits")(image))


X, LABEL = np.array([2.0, -1.0, 5.0]), np.array([0, 1, 255])
ONE_BATCH = (tf.constant(X.reshape(1, 1, 3, 1), tf.float32), tf.constant(LABEL.reshape(1, 1, 3), tf.int32))


def test_two_updates_match_sgd_with_momentum_and_weight_decay():
    """The network is one convolution, so that numpy can compute two updates."""
    model = one_convolution()
    config = TrainingConfig(steps=10, learning_rate=0.1, momentum=0.9, power=1.0, weight_decay=0.5, bias_multiplier=1.0)
    step = make_train_step(model, make_optimizer(config, model), config)

    kernel, bias, velocity_k, velocity_b = np.ones(2), np.zeros(2), np.zeros(2), np.zeros(2)
    for number in range(2):
        logs = step(ONE_BATCH)
        logits = X[:2, None] * kernel + bias
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        entropy = -np.log(p[[0, 1], [0, 1]]).mean()
        assert float(logs["cross_entropy"]) == pytest.approx(entropy, rel=1e-5)
        assert float(logs["loss"]) == pytest.approx(entropy + 0.25 * (kernel**2).sum(), rel=1e-5)
        rate = 0.1 * (1 - number / 10)
        assert float(logs["learning_rate"]) == pytest.approx(rate)
        error = (p - np.eye(2)) / 2
        velocity_k = 0.9 * velocity_k - rate * ((error * X[:2, None]).sum(0) + 0.5 * kernel)
        velocity_b = 0.9 * velocity_b - rate * error.sum(0)
        kernel, bias = kernel + velocity_k, bias + velocity_b
    np.testing.assert_allclose(np.ravel(model.get_weights()[0]), kernel, rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[1], bias, rtol=1e-4)


def test_gradient_is_clipped_only_above_the_limit():
    """The gradient of the first update above is (-.75, .75) for the kernel and 0 for the bias."""
    for limit, factor in ((0.1, 0.1 / np.hypot(0.75, 0.75)), (2.0, 1.0)):
        model = one_convolution()
        config = TrainingConfig(learning_rate=1.0, weight_decay=0.0, clip_norm=limit)
        make_train_step(model, make_optimizer(config, model), config)(ONE_BATCH)
        np.testing.assert_allclose(np.ravel(model.get_weights()[0]), 1 - factor * np.array([-0.75, 0.75]), rtol=1e-5)


def test_loss_scaling_changes_no_update_and_an_overflow_is_skipped():
    weights = []
    for precision in ("float32", "mixed_float16"):
        model = one_convolution()
        config = TrainingConfig(learning_rate=0.1, weight_decay=0.5, clip_norm=0.3, precision=precision)
        optimizer = make_optimizer(config, model)
        make_train_step(model, optimizer, config)(ONE_BATCH)
        weights.append(np.ravel(model.get_weights()[0]))
    np.testing.assert_allclose(*weights, rtol=1e-6)
    overflowing = one_convolution()
    optimizer = make_optimizer(config, overflowing)
    optimizer.dynamic_scale.assign(1e38)
    make_train_step(overflowing, optimizer, config)((100 * ONE_BATCH[0], ONE_BATCH[1]))
    np.testing.assert_array_equal(np.ravel(overflowing.get_weights()[0]), 1)
    assert float(optimizer.dynamic_scale) == pytest.approx(5e37)


def trained(config: TrainingConfig, steps: int = 3, ignored: int = 20) -> list[np.ndarray]:
    """Return the weights after a few updates on images with different numbers of ignored pixels."""
    keras.utils.set_random_seed(3)
    model = randomize(build_model(TINY))
    set_trainable(model, config)
    step = make_train_step(model, make_optimizer(config, model), config)
    for _ in range(steps):
        step(batch(4, ignored))
    return model.get_weights()


def test_accumulated_parts_make_the_update_of_the_whole_batch():
    settings = {"learning_rate": 0.05, "batch_size": 4, "batch_norm": "frozen", "clip_norm": 1.0, "weight_decay": 1e-3}
    whole = trained(TrainingConfig(**settings))
    parts = trained(TrainingConfig(**settings, accumulation=4))
    for a, b in zip(whole, parts, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * max(1, np.abs(a).max()))
    untouched = trained(TrainingConfig(**settings), steps=0)
    assert max(np.abs(a - b).max() for a, b in zip(whole, untouched, strict=True)) > 1e-3


def test_update_with_frozen_statistics_trains_gamma_and_beta_as_worked_out_with_numpy():
    """The network is one batch norm, so that numpy can compute the update; `fine_tune_batch_norm=False` computes it."""
    image = keras.Input((None, None, 2))
    norm = BatchNorm(epsilon=0.5, momentum=0.1)
    model = keras.Model(image, norm(image))
    gamma, beta, mean, variance = np.array([[2.0, 0.5], [1.0, -1.0], [3.0, -2.0], [0.5, 3.5]])
    norm.set_weights([gamma, beta, mean, variance])
    config = TrainingConfig(learning_rate=0.1, weight_decay=0.5, bias_multiplier=2.0, batch_norm="frozen_statistics")
    set_trainable(model, config)
    x = np.array([[1.0, 4.0], [-2.0, 0.0], [9.0, 9.0]])
    images, labels = tf.constant(x.reshape(1, 1, 3, 2), tf.float32), ONE_BATCH[1]
    make_train_step(model, make_optimizer(config, model), config)((images, labels))
    normalized = (x[:2] - mean) / np.sqrt(variance + 0.5)
    p = np.exp(gamma * normalized + beta)
    error = (p / p.sum(1, keepdims=True) - np.eye(2)) / 2
    expected = [gamma - 0.1 * (error * normalized).sum(0), beta - 0.1 * error.sum(0), mean, variance]
    np.testing.assert_allclose(norm.get_weights(), expected, rtol=1e-5)


@pytest.mark.parametrize("mode", ["train", "frozen"])
def test_frozen_batch_norm_does_not_change(mode):
    model = randomize(build_model(SMALL))
    config = TrainingConfig(steps=20, learning_rate=0.01, batch_norm=mode, weight_decay=4e-5)
    set_trainable(model, config)
    optimizer = make_optimizer(config, model)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [np.copy(w) for layer in norms for w in layer.get_weights()]
    kernel = np.copy(model.get_layer("logits").kernel)
    step = make_train_step(model, optimizer, config)
    for _ in range(10):
        step(batch())
    after = [w for layer in norms for w in layer.get_weights()]
    moved = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    # Not all change: a channel that is always 0 after its ReLU has no gradient.
    assert not any(moved) if mode == "frozen" else np.mean(moved) > 0.9
    assert not np.array_equal(kernel, model.get_layer("logits").kernel)


def test_network_overfits_one_batch():
    """The label has three vertical stripes; the pixels between them, too thin for logits at stride 4, are ignored."""
    keras.utils.set_random_seed(0)
    model = build_model(SMALL)
    config = TrainingConfig(steps=120, learning_rate=0.02, weight_decay=0.0, optimizer="adamw", power=0.5)
    set_trainable(model, config)
    step = make_train_step(model, make_optimizer(config, model), config)
    image, label = batch()
    stripes = np.array([0] * 9 + [255] * 3 + [1] * 9 + [255] * 3 + [2] * 9, np.int32)
    label = tf.constant(np.broadcast_to(stripes, label.shape))
    losses = [float(step((image, label))["loss"]) for _ in range(config.steps)]
    assert losses[-1] < 0.01 * losses[0]


def test_moving_averages_match_numpy():
    """The decay after update t is min(0.5, (1 + t) / (10 + t)): 2/11, 3/12, then 4/13, and 0.5 from t = 8 on."""
    model = one_convolution()
    config = TrainingConfig(learning_rate=0.1, weight_decay=0.1, ema_decay=0.5)
    averages = make_averages(model)
    step = make_train_step(model, make_optimizer(config, model), config, averages=averages)
    expected = np.ones(2)
    for t in range(1, 12):
        step(ONE_BATCH)
        kept = min(0.5, (1 + t) / (10 + t))
        expected = kept * expected + (1 - kept) * np.ravel(model.get_weights()[0])
    np.testing.assert_allclose(np.ravel(averages[0]), expected, rtol=1e-5)
    assert len(averages) == len(averaged_variables(model)) == 2


def test_class_weights_and_auxiliary_weight_scale_the_gradient():
    """Two equal outputs, the second with weight 0.4: the gradient is 1.4 times that of the class-weighted loss."""
    model = one_convolution()
    doubled = keras.Model(model.input, [model.output, model.output])
    config = TrainingConfig(learning_rate=1.0, weight_decay=0.0, auxiliary_weight=0.4)
    logs = make_train_step(doubled, make_optimizer(config, doubled), config, class_weights=[3.0, 1.0])(ONE_BATCH)
    # Both valid pixels have equal logits of two classes, -log 1/2, with weights 3 and 1.
    assert float(logs["cross_entropy"]) == pytest.approx(2 * np.log(2), rel=1e-5)
    # d loss / d kernel[0] = (3 * -1/2 * 2 + 1 * 1/2 * -1) / 2 = -1.75
    np.testing.assert_allclose(np.ravel(model.get_weights()[0]), 1 + 1.4 * np.array([1.75, -1.75]), rtol=1e-5)


def test_mining_share_follows_the_number_of_updates():
    """The share decreases from 1 to 0.5 over two updates; floor(3 * share) of the three pixels are kept."""
    model = one_convolution()
    config = TrainingConfig(learning_rate=1e-9, weight_decay=0.0, mining_top=0.5, mining_steps=2)
    step = make_train_step(model, make_optimizer(config, model), config)
    model.layers[-1].kernel.assign(np.array([1.0, 0.0]).reshape(1, 1, 1, 2))
    # Logits (2, 0) with label 0 and (-1, 0) with label 1: losses log(1 + e^-2) and log(1 + e^-1).
    easy, hard = np.log1p(np.exp(-2)), np.log1p(np.exp(-1))
    losses = [float(step(ONE_BATCH)["cross_entropy"]) for _ in range(3)]
    # Shares 1, 0.75, 0.5 keep 3, 2, 1 pixels; the loss of the ignored one is 0, which is not counted.
    np.testing.assert_allclose(losses, [(easy + hard) / 2, (easy + hard) / 2, hard], rtol=1e-4)
