"""Kernels of uint8 files as per-tensor int8 kernels."""

import keras
import numpy as np
import pytest

from deeplab.pretrained.kernel_limits import fit_kernels, move_excess
from deeplab.pretrained.tflite_network import load_quantized, load_tflite, read_network


def test_the_excess_of_a_depthwise_tap_moves_to_its_neighbors():
    kernel = np.zeros((3, 3, 2, 1))
    kernel[1, 1, 0, 0], kernel[0, 1, 1, 0] = 150.0, -130.0
    result = move_excess(kernel, 127.0)
    # Distances 1 and sqrt(2) from the center, each four times: weights e^-1 and e^-2.
    near, diagonal = (23 * np.exp(-d) / (4 * np.exp(-1) + 4 * np.exp(-2)) for d in (1, 2))
    expected = [[diagonal, near, diagonal], [near, 127, near], [diagonal, near, diagonal]]
    np.testing.assert_allclose(result[:, :, 0, 0], expected)
    np.testing.assert_allclose(result.sum((0, 1, 3)), [150, -130])
    # From the middle of the first row, the squared distances are 1 and 2 as before, and 4 and 5 in the last row.
    weights = np.exp(-np.float64([[1, np.inf, 1], [2, 1, 2], [5, 4, 5]]))
    expected = -3 * weights / weights.sum()
    expected[0, 1] = -127
    np.testing.assert_allclose(result[:, :, 1, 0], expected)


def test_a_channel_that_exceeds_127_scales_is_scaled_down_and_up_again_in_the_next_kernel():
    image = keras.Input((1, 1, 1))
    x = keras.layers.Conv2D(2, 1, use_bias=False, name="first")(image)
    model = keras.Model(image, keras.layers.Conv2D(1, 1, use_bias=False, name="second")(x))
    model.set_weights([np.reshape([300.0, 50.0], (1, 1, 1, 2)), np.reshape([10.0, 20.0], (1, 1, 2, 1))])
    fit_kernels(model, {"first": 2.0, "second": 1.0})
    first, second = model.get_weights()
    np.testing.assert_allclose(first.ravel(), [254, 50])
    np.testing.assert_allclose(second.ravel(), [10 * 300 / 254, 20], rtol=1e-6)


@pytest.mark.slow
def test_a_per_tensor_import_keeps_all_integers_but_those_that_do_not_fit(official_models):
    network = read_network(official_models / "deeplabv3_mnv2_dm05_pascal_quant.tflite")
    model = load_quantized(network, 16, 65, per_tensor=True)
    changed = total = 0
    for name, convolution in network.convolutions.items():
        if name == "backbone_stem":
            continue  # Its kernel includes the input normalization.
        layer = model.get_layer(name)
        scale = np.float64(convolution.scale[0])
        assert layer.imported_scales == pytest.approx(np.full(layer.imported_scales.shape, scale))
        stored = np.asarray(layer.conv.kernel, np.float64).reshape(convolution.kernel.shape) / scale
        integers = np.clip(np.round(stored), -127, 127)
        changed += int((integers != np.round(convolution.kernel / scale)).sum())
        total += integers.size
    # 75 values lie more than 127 scales from zero. They change, and with them the other taps of 20 depthwise channels,
    # and the rows and columns of 15 channels of linear outputs.
    assert 75 <= changed < 0.02 * total
    reference = np.asarray(load_tflite(network, 16, 65).get_layer("logits").kernel)
    np.testing.assert_allclose(np.asarray(model.get_layer("logits").conv.kernel), reference, atol=0.1)
