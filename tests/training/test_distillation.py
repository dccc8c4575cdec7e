"""The distillation loss in an update, compared with numpy, and the checks of the teacher."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.config import DistillationConfig, ModelConfig, TrainConfig, TrainingConfig
from deeplab.errors import UserError
from deeplab.files import file_sha256
from deeplab.model.build import build_model
from deeplab.pixels import GRAY
from deeplab.run_folder import ModelDescription, save_model
from deeplab.training.distillation import Teacher, check_teacher, teacher_sha256
from deeplab.training.optimizer import make_optimizer
from deeplab.training.train_step import make_train_step
from tests.networks import random_image, randomize

CLASSES = ("background", "a", "b")
TINY = ModelConfig(depth_multiplier=0.1, head="v3", aspp_rates=(), aspp_channels=8, classes=3, dropout=0.0)

X = np.array([[2.0, -1.0, 5.0, 127.5], [0.5, 3.0, -2.0, 1.0]])
LABEL = np.array([[0, 1, 255, 255], [1, 1, 0, 255]])
"""Two images of one row. The fourth pixel of the first image is padding, of one channel in these tests."""

TEACHER_KERNEL = np.array([0.3, -0.2])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a network of random weights."""
    folder = tmp_path_factory.mktemp("teacher")
    model = build_model(TINY, 16)
    randomize(model)
    save_model(folder, model, ModelDescription(TINY, CLASSES))
    return folder


def one_convolution(kernel: np.ndarray, precision: str = "float32", block: int = 1) -> keras.Model:
    """A convolution of the brightest pixel of each block, upsampled in float32 as in a real network."""
    image = keras.Input((None, None, 1))
    layer = keras.layers.Conv2D(2, 1, name="logits", dtype=precision)
    logits = layer(keras.layers.MaxPooling2D(block)(image))
    model = keras.Model(image, keras.layers.UpSampling2D(block)(logits))
    model.set_weights([kernel.reshape(1, 1, 1, 2), np.zeros(2)])
    return model


def linear_teacher(config: DistillationConfig, monkeypatch: pytest.MonkeyPatch) -> Teacher:
    """A teacher whose network is one convolution, for images of one channel."""
    opened = SimpleNamespace(load=lambda output_stride: one_convolution(TEACHER_KERNEL))
    monkeypatch.setattr("deeplab.training.distillation.open_model", lambda path: opened)
    return Teacher(config, (127.5,))


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    return x - np.log(np.exp(x).sum(axis, keepdims=True))


def losses(kernel: np.ndarray, config: DistillationConfig) -> tuple[float, float]:
    """Return the mean cross entropy and the mean distillation loss, computed by numpy."""
    logits, targets = X[..., None] * kernel, X[..., None] * TEACHER_KERNEL
    valid = LABEL != 255
    entropy = -np.take_along_axis(log_softmax(logits, -1)[valid], LABEL[valid][:, None], -1).mean()
    counted = X != 127.5 if config.ignored_pixels else valid
    t = config.temperature
    if config.loss == "logits":
        p, q = log_softmax(targets[counted] / t, -1), log_softmax(logits[counted] / t, -1)
        return entropy, t**2 * (np.exp(p) * (p - q)).sum(-1).mean()
    divergences = []
    for image in range(2):
        p, q = (log_softmax(x[image][counted[image]] / t, 0) for x in (targets, logits))
        divergences.append(t**2 * (np.exp(p) * (p - q)).sum(0).mean())
    return entropy, float(np.mean(divergences))


def gradient(kernel: np.ndarray, config: DistillationConfig) -> np.ndarray:
    """Return the numerical gradient of cross entropy plus weighted distillation loss."""

    def total(k: np.ndarray) -> float:
        entropy, distilled = losses(k, config)
        return entropy + config.weight * distilled

    return np.array([(total(kernel + d) - total(kernel - d)) / 2e-5 for d in 1e-5 * np.eye(2)])


def distillation_gradient(kernel: np.ndarray, config: DistillationConfig) -> np.ndarray:
    """Return the numerical gradient of the distillation loss alone, without its weight."""

    def distilled(k: np.ndarray) -> float:
        return losses(k, config)[1]

    return np.array([(distilled(kernel + d) - distilled(kernel - d)) / 2e-5 for d in 1e-5 * np.eye(2)])


@pytest.mark.parametrize("accumulation", [1, 2])
@pytest.mark.parametrize(
    "changes",
    [
        {"temperature": 3.0},
        {"weight": 0.7, "ignored_pixels": False},
        {"loss": "channel", "temperature": 4.0, "weight": 3.0},
    ],
)
def test_an_update_follows_both_losses(changes, accumulation, monkeypatch):
    distillation = DistillationConfig(teacher="run", scales=(1.0,), **changes)
    training = TrainingConfig(
        learning_rate=0.1, weight_decay=0.0, batch_size=2, accumulation=accumulation, distillation=distillation
    )
    kernel = np.array([0.1, 0.4])
    model = one_convolution(kernel)
    teacher = linear_teacher(distillation, monkeypatch)
    step = make_train_step(model, make_optimizer(training, model), training, teacher=teacher)
    logs = step((tf.constant(X[:, None, :, None], tf.float32), tf.constant(LABEL[:, None], tf.int32)))

    entropy, distilled = losses(kernel, distillation)
    assert float(logs["cross_entropy"]) == pytest.approx(entropy, rel=1e-5)
    assert float(logs["distillation"]) == pytest.approx(distilled, rel=1e-4)
    assert float(logs["loss"]) == pytest.approx(entropy + distillation.weight * distilled, rel=1e-4)
    # The first update of momentum SGD is -learning rate * gradient.
    update = np.ravel(model.get_weights()[0]) - kernel
    np.testing.assert_allclose(update, -0.1 * gradient(kernel, distillation), rtol=1e-3)


def test_images_without_labels_train_through_the_teacher_alone(monkeypatch):
    distillation = DistillationConfig(teacher="run", weight=0.7)
    training = TrainingConfig(learning_rate=0.1, weight_decay=0.0, batch_size=2, distillation=distillation)
    kernel = np.array([0.1, 0.4])
    model = one_convolution(kernel)
    teacher = linear_teacher(distillation, monkeypatch)
    step = make_train_step(model, make_optimizer(training, model), training, teacher=teacher)
    unlabeled = np.full_like(LABEL, 255)
    logs = step((tf.constant(X[:, None, :, None], tf.float32), tf.constant(unlabeled[:, None], tf.int32)))

    _, distilled = losses(kernel, distillation)
    assert float(logs["cross_entropy"]) == 0
    assert float(logs["distillation"]) == pytest.approx(distilled, rel=1e-4)
    assert float(logs["loss"]) == pytest.approx(0.7 * distilled, rel=1e-4)
    # The first update of momentum SGD is -learning rate * gradient, here of the teacher's part alone.
    update = np.ravel(model.get_weights()[0]) - kernel
    np.testing.assert_allclose(update, -0.1 * 0.7 * distillation_gradient(kernel, distillation), rtol=1e-3)
    assert losses(kernel + update, distillation)[1] < distilled


def test_images_without_labels_train_in_half_precision(monkeypatch):
    """With a loss scale of 1, the gradients of a batch of 512 x 4096 pixels are within the range of float16."""
    distillation = DistillationConfig(teacher="run")
    training = TrainingConfig(
        learning_rate=0.1, weight_decay=0.0, batch_size=2, precision="mixed_float16", distillation=distillation
    )
    kernel = np.array([0.1, 0.4])
    model = one_convolution(kernel, "mixed_float16", 512)
    teacher = linear_teacher(distillation, monkeypatch)
    optimizer = make_optimizer(training, model)
    optimizer.dynamic_scale.assign(1.0)
    step = make_train_step(model, optimizer, training, teacher=teacher)
    # Equal pixels in blocks, in which the network predicts one pixel: they change no mean.
    images = X[:, None, :, None].repeat(512, axis=1).repeat(512, axis=2)
    step((tf.constant(images, tf.float32), tf.fill(images.shape[:3], 255)))

    update = np.ravel(model.get_weights()[0]) - kernel
    np.testing.assert_allclose(update, -0.1 * distillation_gradient(kernel, distillation), rtol=0.02)


def test_scales_and_flips_of_the_teacher_average_logits(run):
    image = random_image(65, 65)
    single = Teacher(DistillationConfig(teacher=str(run)), GRAY)
    flipped = Teacher(DistillationConfig(teacher=str(run), flip=True), GRAY)
    expected = np.mean([single.logits(image), single.logits(image[:, :, ::-1])[:, :, ::-1]], axis=0)
    np.testing.assert_allclose(flipped.logits(image), expected, atol=1e-5)

    scaled = Teacher(DistillationConfig(teacher=str(run), scales=(0.5, 1.0)), GRAY)
    corners = (slice(None), slice(None, None, 64), slice(None, None, 64))
    # With aligned corners, the corners of the half-size prediction stay where they are.
    half = single.logits(_aligned(image, 33))
    mean = np.mean([half[:, ::32, ::32], single.logits(image).numpy()[corners]], axis=0)
    np.testing.assert_allclose(scaled.logits(image).numpy()[corners], mean, atol=1e-5)


def _aligned(image: np.ndarray, size: int) -> tf.Tensor:
    return tf.raw_ops.ResizeBilinear(images=image, size=(size, size), align_corners=True)


def test_a_teacher_with_other_classes_is_refused(run):
    config = TrainConfig(training=TrainingConfig(distillation=DistillationConfig(teacher=str(run))))
    check_teacher(config, CLASSES)  # Classes that match raise nothing.
    with pytest.raises(UserError, match=r"has 3 classes, the data has 2"):
        check_teacher(config, CLASSES[:2])
    with pytest.raises(UserError, match=r"class 1 of .* is a, that of the data is b"):
        check_teacher(config, ("background", "b", "a"))


def test_a_run_is_not_its_own_teacher(run):
    config = TrainConfig(run=str(run), training=TrainingConfig(distillation=DistillationConfig(teacher=f"{run}/")))
    with pytest.raises(UserError, match="would be its own teacher"):
        check_teacher(config, CLASSES)


def test_another_teacher_of_the_same_name_is_refused(run):
    settings = DistillationConfig(teacher=str(run))
    config = TrainConfig(training=TrainingConfig(distillation=settings))
    sha256 = teacher_sha256(config)
    assert sha256 == file_sha256(run / "model.weights.h5")
    changed = dataclasses.replace(settings, sha256="0" * 64)
    with pytest.raises(UserError, match="SHA-256: expected 0000"):
        teacher_sha256(TrainConfig(training=TrainingConfig(distillation=changed)))


def test_hard_pixel_mining_with_a_teacher_is_refused():
    with pytest.raises(UserError, match=r"training\.mining_top"):
        TrainingConfig(mining_top=0.5, distillation=DistillationConfig(teacher="run"))
