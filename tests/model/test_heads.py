import keras
import numpy as np
import pytest
from keras import layers

from deeplab.config import ModelConfig
from deeplab.errors import UserError
from deeplab.model.backbones.features import Features
from deeplab.model.build import build_model
from deeplab.model.heads import HEADS
from tests.networks import randomize

FIELDS = {"aspp_channels": 6, "classes": 3, "dropout": 0.0}


def head(name: str, rates: tuple[int, ...], output_stride: int = 16, backbone: str = "resnet101") -> keras.Model:
    """Build a head on the features of 129 pixels: 5 channels at stride 16, 4 at 8 and 2 at 4."""
    high, low, middle = (keras.Input((side, side, c)) for side, c in ((9, 5), (33, 2), (17, 4)))
    config = ModelConfig(head=name, aspp_rates=rates, backbone=backbone, **FIELDS)
    return keras.Model([high, low, middle], HEADS[name](Features(high, low, middle), config, output_stride))


def run(model: keras.Model) -> tuple[list[np.ndarray], np.ndarray]:
    rng = np.random.default_rng(3)
    features = [rng.normal(size=(1, *x.shape[1:])).astype("float32") for x in model.inputs]
    return features, np.asarray(model(features))[0]


def atrous(x: np.ndarray, layer: layers.Conv2D, rate: int) -> np.ndarray:
    """Compute an atrous convolution in NumPy: nine taps of `x` `[h, w, c]`, `rate` pixels apart, zeros outside."""
    kernel, bias = (np.asarray(w) for w in layer.weights)
    h, w, _ = x.shape
    padded = np.pad(x, ((rate, rate), (rate, rate), (0, 0)))
    taps = [(i, j, padded[i * rate : i * rate + h, j * rate : j * rate + w]) for i in range(3) for j in range(3)]
    return sum(tap @ kernel[i, j] for i, j, tap in taps) + bias


def pointwise(x: np.ndarray, layer: layers.Conv2D) -> np.ndarray:
    return x @ np.asarray(layer.kernel)[0, 0] + (0 if layer.bias is None else np.asarray(layer.bias))


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0)


@pytest.mark.parametrize(("output_stride", "rate"), [(16, 3), (8, 6)])
def test_v1_is_one_atrous_convolution_to_the_classes_with_the_scaled_rate(output_stride, rate):
    model = randomize(head("v1", (3,), output_stride))
    (high, _, _), actual = run(model)
    np.testing.assert_allclose(actual, atrous(high[0], model.get_layer("logits"), rate), atol=1e-4)
    # A kernel of 3x3 pixels of 5 channels for each of 3 classes, and their biases.
    assert sum(w.shape.num_elements() for w in model.weights) == 9 * 5 * 3 + 3


def test_v2_is_the_sum_of_one_atrous_convolution_to_the_classes_per_rate():
    # The paper states the rates 6, 12, 18, 24 at its output stride 8.
    model = randomize(head("v2", (3, 6, 9, 12), output_stride=8))
    (high, _, _), actual = run(model)
    branches = ((model.get_layer(f"logits_{n}"), rate) for n, rate in enumerate((6, 12, 18, 24), start=1))
    np.testing.assert_allclose(actual, sum(atrous(high[0], *branch) for branch in branches), atol=1e-4)


def test_v1_on_vgg16_has_two_hidden_layers():
    model = randomize(head("v1", (3,), output_stride=8, backbone="vgg16"))
    (high, _, _), actual = run(model)
    x = relu(atrous(high[0], model.get_layer("fc6"), 6))
    expected = pointwise(relu(pointwise(x, model.get_layer("fc7"))), model.get_layer("logits"))
    np.testing.assert_allclose(actual, expected, atol=1e-4)


def test_v2_on_vgg16_has_two_hidden_layers_per_rate():
    model = randomize(head("v2", (3, 6, 9, 12), output_stride=8, backbone="vgg16"))
    (high, _, _), actual = run(model)
    expected = 0
    for number, rate in enumerate((6, 12, 18, 24), start=1):
        x = relu(atrous(high[0], model.get_layer(f"fc6_{number}"), rate))
        x = relu(pointwise(x, model.get_layer(f"fc7_{number}")))
        expected = expected + pointwise(x, model.get_layer(f"logits_{number}"))
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize("name", ["v1", "v2", "v3"])
@pytest.mark.parametrize("backbone", ["resnet101", "vgg16"])
def test_the_initial_logits_are_small_and_the_hidden_layers_keep_the_magnitude(name, backbone):
    """Classifiers start with 0.01 (tensorflow/models research/deeplab, model.py), cut at two deviations: 0.88 of it."""
    keras.utils.set_random_seed(2)
    high = keras.Input((9, 9, 64))
    config = ModelConfig(head=name, aspp_rates=(3,), backbone=backbone, aspp_channels=128, classes=21)
    model = keras.Model(high, HEADS[name](Features(high, high, high), config, 16))
    kernels = {layer.name: np.asarray(layer.kernel) for layer in model.layers if isinstance(layer, layers.Conv2D)}
    assert kernels["logits"].std() == pytest.approx(0.0088, rel=0.05)
    # He et al., arXiv:1502.01852, eq. 10: the variance is 2 / inputs.
    for hidden in {"fc6", "fc7"} & set(kernels):
        inputs = np.prod(kernels[hidden].shape[:3])
        assert kernels[hidden].std() == pytest.approx(np.sqrt(2 / inputs), rel=0.05)


def test_only_vgg16_drops_hidden_values_of_v1_and_v2():
    """In the published prototxts, dropout follows fc6 and fc7 of VGG-16; those of ResNet-101 have none."""
    for backbone, count in (("resnet101", 0), ("vgg16", 4)):
        model = head("v2", (3, 6), backbone=backbone)
        assert sum(isinstance(layer, layers.Dropout) for layer in model.layers) == count


def test_lraspp_is_gated_by_the_mean_and_adds_features_at_stride_8():
    model = randomize(head("lraspp", ()))
    (high, _, middle), actual = run(model)
    norm = model.get_layer("aspp0_bn")
    gamma, beta, mean, variance = (np.asarray(w) for w in norm.weights)
    x = relu((pointwise(high[0], model.get_layer("aspp0")) - mean) / np.sqrt(variance + 1e-5) * gamma + beta)
    # The gate is relu6(x + 3) / 6 of a convolution with bias.
    assert model.get_layer("image_pooling").bias.shape == (6,)
    gate = np.clip(pointwise(high[0].mean(axis=(0, 1)), model.get_layer("image_pooling")) + 3, 0, 6) / 6
    assert not any(isinstance(layer, layers.Dropout) for layer in model.layers)
    # In the order of the paper: 6 channels are resized to stride 8, then a 1x1 convolution makes the logits.
    at = np.linspace(0, 8, 17)
    rows = np.stack([np.stack([np.interp(at, np.arange(9), (x * gate)[:, j, c]) for j in range(9)]) for c in range(6)])
    resized = np.stack([np.stack([np.interp(at, np.arange(9), rows[c, :, i]) for i in range(17)]) for c in range(6)])
    expected = pointwise(resized.transpose(1, 2, 0), model.get_layer("logits_high"))
    expected = expected + pointwise(middle[0], model.get_layer("logits_low"))
    assert actual.shape == (17, 17, 3)
    np.testing.assert_allclose(actual, expected, atol=1e-4)


@pytest.mark.parametrize(("name", "side"), [("v3", 9), ("v3plus", 33)])
def test_the_logits_of_v3plus_have_stride_4_and_those_of_v3_the_output_stride(name, side):
    assert head(name, (6,)).output_shape == (None, side, side, 3)


@pytest.mark.parametrize(("name", "rates"), [("v1", (6, 12)), ("v1", ()), ("v2", ())])
def test_rates_that_do_not_suit_the_head_are_rejected(name, rates):
    with pytest.raises(UserError, match=rf"model\.aspp_rates: .*with head {name}"):
        ModelConfig(head=name, aspp_rates=rates)


def test_a_rate_that_is_not_an_integer_at_the_output_stride_is_rejected():
    config = ModelConfig(head="v2", aspp_rates=(3,), depth_multiplier=0.125)
    with pytest.raises(UserError, match=r"output_stride: .*not integers at output stride 32"):
        build_model(config, output_stride=32)


def test_an_unknown_backbone_is_rejected_with_the_list_of_names():
    with pytest.raises(
        UserError, match=r"model\.backbone: unknown backbone 'vgg19'; use one of mobilenet_v2, .*xception71"
    ):
        build_model(ModelConfig(backbone="vgg19"))
