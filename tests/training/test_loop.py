import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.config import ModelConfig, TrainingConfig
from deeplab.errors import UserError
from deeplab.model.build import build_model
from deeplab.training.loop import decayed_kernels, make_optimizer, make_step, run_loop, set_batch_norm
from tests.networks import picture, randomize

SMALL = ModelConfig(depth_multiplier=0.25, aspp_rates=(6,), aspp_channels=8, decoder_channels=8, classes=3, dropout=0.0)


def batch(ignored: int = 0) -> tuple[tf.Tensor, tf.Tensor]:
    """Two pictures of 33 pixels whose label is told by brightness; the first `ignored` rows do not count."""
    image = np.concatenate([picture(33, 33, seed) for seed in (1, 2)])
    label = np.digitize(image.mean(-1), [110, 145]).astype("int32")
    label[:, :ignored] = 255
    return tf.constant(image), tf.constant(label)


def test_poly_schedule():
    optimizer = make_optimizer(TrainingConfig(steps=100, learning_rate=0.5, power=0.9))
    optimizer.build([])
    rates = []
    for step in (0, 25, 50, 100):
        optimizer.iterations.assign(step)
        rates.append(float(optimizer.learning_rate))
    np.testing.assert_allclose(rates, [0.5, 0.5 * 0.75**0.9, 0.5 * 0.5**0.9, 0.0], rtol=1e-5)


def test_weight_decay_acts_on_convolution_kernels_alone():
    model = build_model(SMALL)
    paths = {kernel.path for kernel in decayed_kernels(model)}
    assert "logits/kernel" in paths
    assert "backbone_stem/kernel" in paths
    assert not [path for path in paths if "depthwise" in path or "bias" in path or "gamma" in path]
    # The stem, 17 projections, 16 expansions; image pooling, 1x1, one pointwise, projection; decoder; logits.
    assert len(paths) == 1 + 17 + 16 + 4 + 3 + 1


def test_one_step_is_sgd_with_momentum_and_decay():
    """A network of one convolution, so that two updates can be worked out with numpy."""
    image = keras.Input((None, None, 1))
    model = keras.Model(image, keras.layers.Conv2D(2, 1, kernel_initializer="ones", name="logits")(image))
    config = TrainingConfig(steps=10, learning_rate=0.1, momentum=0.9, power=1.0, weight_decay=0.5)
    optimizer = make_optimizer(config)
    optimizer.build(model.trainable_variables)
    step = make_step(model, optimizer, config)
    x, label = np.array([2.0, -1.0, 5.0]), np.array([0, 1, 255])

    kernel, bias, velocity_k, velocity_b = np.ones(2), np.zeros(2), np.zeros(2), np.zeros(2)
    for number in range(2):
        logs = step((tf.constant(x.reshape(1, 1, 3, 1), tf.float32), tf.constant(label.reshape(1, 1, 3), tf.int32)))
        logits = x[:2, None] * kernel + bias
        p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
        entropy = -np.log(p[[0, 1], [0, 1]]).mean()
        assert float(logs["cross_entropy"]) == pytest.approx(entropy, rel=1e-5)
        assert float(logs["loss"]) == pytest.approx(entropy + 0.25 * (kernel**2).sum(), rel=1e-5)
        rate = 0.1 * (1 - number / 10)
        assert float(logs["learning_rate"]) == pytest.approx(rate)
        error = (p - np.eye(2)) / 2
        velocity_k = 0.9 * velocity_k - rate * ((error * x[:2, None]).sum(0) + 0.5 * kernel)
        velocity_b = 0.9 * velocity_b - rate * error.sum(0)
        kernel, bias = kernel + velocity_k, bias + velocity_b
    np.testing.assert_allclose(np.ravel(model.get_weights()[0]), kernel, rtol=1e-5)
    np.testing.assert_allclose(model.get_weights()[1], bias, rtol=1e-4)


@pytest.mark.parametrize("mode", ["train", "frozen"])
def test_frozen_batch_norm_does_not_move(mode):
    model = randomize(build_model(SMALL))
    set_batch_norm(model, mode)
    config = TrainingConfig(steps=4, learning_rate=0.01)
    optimizer = make_optimizer(config)
    optimizer.build(model.trainable_variables)
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [np.copy(w) for layer in norms for w in layer.get_weights()]
    kernel = np.copy(model.get_layer("logits").kernel)
    step = make_step(model, optimizer, config)
    for _ in range(3):
        step(batch())
    after = [w for layer in norms for w in layer.get_weights()]
    moved = [not np.array_equal(a, b) for a, b in zip(before, after, strict=True)]
    # A unit that is off behind its ReLU has no gradient, so not quite all move.
    assert not any(moved) if mode == "frozen" else np.mean(moved) > 0.9
    assert not np.array_equal(kernel, model.get_layer("logits").kernel)


def test_one_batch_can_be_learnt_by_heart():
    keras.utils.set_random_seed(0)
    model = build_model(SMALL)
    config = TrainingConfig(steps=40, learning_rate=0.1, weight_decay=0.0, power=0.1)
    optimizer = make_optimizer(config)
    optimizer.build(model.trainable_variables)
    step = make_step(model, optimizer, config)
    losses = [float(step(batch())["loss"]) for _ in range(40)]
    assert losses[-1] < 0.5 * losses[0]


class Recorder(keras.callbacks.Callback):
    def __init__(self, stop_at: int | None = None) -> None:
        super().__init__()
        self.seen: list[int] = []
        self.ended = False
        self.stop_at = stop_at

    def on_train_batch_end(self, batch, logs=None):
        self.seen.append(batch)
        self.model.stop_training = batch == self.stop_at

    def on_train_end(self, logs=None):
        self.ended = True


def endless(value):
    while True:
        yield value


def fake_step(losses):
    remaining = iter(losses)
    return lambda _: {"loss": next(remaining), "cross_entropy": 0.0, "learning_rate": 0.1}


def test_callbacks_see_every_update_and_may_stop():
    recorder, model = Recorder(stop_at=5), keras.Sequential()
    run_loop(fake_step([1.0] * 10), endless(None), model, TrainingConfig(steps=10), [recorder], start=3)
    assert recorder.seen == [3, 4, 5]
    assert recorder.ended


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_before_anything_is_saved(bad):
    recorder = Recorder()
    with pytest.raises(UserError, match=r"training: the loss is (nan|inf) at step 3; lower training.learning_rate"):
        run_loop(
            fake_step([1.0, 1.0, bad, 1.0]), endless(None), keras.Sequential(), TrainingConfig(steps=4), [recorder]
        )
    assert recorder.seen == [0, 1]
    assert recorder.ended
