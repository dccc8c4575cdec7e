"""Every head on every backbone can be trained, run at another output stride, and converted to a .tflite file."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from deeplab.config import ModelConfig
from deeplab.conversion.convert import convert
from deeplab.conversion.export_graph import export_graph
from deeplab.model.backbones import BACKBONES
from deeplab.model.build import build_model
from deeplab.tflite.flatbuffer import read_graph
from deeplab.tflite.interpreter import TfliteModel
from tests.model.short_backbones import SHORT
from tests.networks import random_image, randomize

RATES = {"v1": (6,), "v2": (4, 6), "v3": (2, 4), "v3plus": (2, 4), "lraspp": ()}
# Pairs that no other quick test covers; most of them use DeepLabv3+ on MobileNetV2.
QUICK = [
    ("v1", "xception_short"),
    ("v2", "resnet_beta_short"),
    ("v2", "vgg16"),
    ("lraspp", "mobilenet_v3_small"),
]
MOBILE = ("mobilenet_v2", "mobilenet_v3_large", "mobilenet_v3_small")
# LR-ASPP was designed for mobile backbones; the heads of v1 and v2 are older than MobileNetV3.
COMBINATIONS = [
    *itertools.product(("v1", "v2"), ("mobilenet_v2", "vgg16", *SHORT)),
    *itertools.product(("v3", "v3plus"), (*MOBILE, "vgg16", *SHORT)),
    *itertools.product(("lraspp",), MOBILE),
]
PAIRS = [*QUICK, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in COMBINATIONS if pair not in QUICK)]


@pytest.fixture(autouse=True)
def short_backbones(monkeypatch):
    for name, backbone in SHORT.items():
        monkeypatch.setitem(BACKBONES, name, backbone)


def config(head: str, backbone: str) -> ModelConfig:
    return ModelConfig(
        backbone=backbone,
        depth_multiplier=0.125,
        head=head,
        aspp_rates=RATES[head],
        aspp_channels=8,
        decoder_channels=8,
        low_level_channels=4,
        classes=3,
        dropout=0.0,
    )


def loss(model: keras.Model, images: np.ndarray, labels: np.ndarray) -> tf.Tensor:
    logits = model(images, training=True)
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits))


@pytest.mark.parametrize(("head", "backbone"), PAIRS)
def test_one_update_lowers_the_loss_and_every_weight_has_a_gradient(head, backbone):
    model = build_model(config(head, backbone), image_size=65)
    images = np.concatenate([random_image(65, 65, seed) for seed in range(4)])
    labels = (images.mean(axis=-1) > 127.5).astype("int32")
    weights = model.trainable_variables
    before = [np.asarray(w) for w in weights]
    with tf.GradientTape() as tape:
        initial_loss = loss(model, images, labels)
    gradients = tape.gradient(initial_loss, [w.value for w in weights])
    assert all(g is not None and np.isfinite(g).all() for g in gradients)
    norm = float(tf.linalg.global_norm(gradients))
    assert norm > 0
    # The update is short enough for a linear loss: its length is 0.1 % of that of the weights.
    length = 0.001 * float(tf.linalg.global_norm(before))
    for weight, value, gradient in zip(weights, before, gradients, strict=True):
        weight.assign(value - length / norm * gradient)
    assert loss(model, images, labels) < initial_loss


@pytest.mark.parametrize(("head", "backbone"), PAIRS)
def test_weights_saved_at_one_output_stride_load_at_another_and_back(head, backbone, tmp_path):
    dense, other = (build_model(config(head, backbone), output_stride) for output_stride in (8, 16))
    image = random_image(33, 20)
    expected = np.asarray(randomize(dense)(image))
    assert expected.std() > 1e-3
    dense.save_weights(tmp_path / "a.weights.h5")
    other.load_weights(tmp_path / "a.weights.h5")
    assert other(image).shape == expected.shape
    other.save_weights(tmp_path / "b.weights.h5")
    dense.set_weights([np.zeros_like(w) for w in dense.get_weights()])
    dense.load_weights(tmp_path / "b.weights.h5")
    np.testing.assert_array_equal(np.asarray(dense(image)), expected)


@pytest.mark.parametrize(("head", "backbone"), PAIRS)
def test_a_float_file_gives_the_logits_of_keras(head, backbone):
    model = randomize(build_model(config(head, backbone), image_size=129))
    content = convert(export_graph(model), (129, 129))
    image = np.round(random_image(129, 129)[0]).astype(np.uint8)
    expected = np.asarray(model(image[None].astype("float32"), training=False))[0]
    assert expected.std() > 1e-3
    np.testing.assert_allclose(TfliteModel(content)(image), expected, atol=1e-4 * max(1.0, np.abs(expected).max()))
    operators = read_graph(content).operator_counts()
    assert not {name for name in operators if name.startswith(("FLEX", "CUSTOM", "SPACE", "BATCH"))}
    if backbone.startswith("mobilenet_v3"):
        assert operators["HARD_SWISH"] > 0
